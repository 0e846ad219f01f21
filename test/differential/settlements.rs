//! Inputs of `settle` and `settleMany`, mutated at random: what the compiled contract reads is read alike by the agent, and
//! what it reverts on is nothing.

use crate::chain::Chain;
use crate::digests::batch_header;
use crate::harness::Harness;
use crate::inputs;
use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::SolValue as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::crypto::Signature;
use rota::domain::Deployment;
use rota::l1::{Certified, SettledPayload, read_settlement, settle_order};

const INPUTS: usize = 3_000;
/// EIP-712 type of what members sign.
const BATCH_TYPE: &str = "Batch(uint32 generation,uint64 epoch,uint64 firstHeight,uint64 lastHeight,\
    bytes32 parentBlockHash,bytes32 blocksRoot,bytes32 lastBlockHash,uint64 forcedThrough,uint64 l1OriginNumber,\
    bytes32 l1OriginHash,uint64 timestamp,bytes32 payloadHash,bytes32 blobsHash,bytes32 usageHash,bytes32 stateRoot,\
    uint64 regularSince)";
/// Inputs of one call.
const AT_ONCE: usize = 250;

fn deployment() -> Deployment {
    let nowhere = Address::ZERO;
    Deployment {
        chain_id: 1,
        block: 0,
        stake_token: nowhere,
        registry: nowhere,
        settlement: nowhere,
        tally: nowhere,
        slasher: nowhere,
        reward_pool: nowhere,
        rollups: nowhere,
        guardian: nowhere,
    }
}

fn signature(random: &mut StdRng) -> Signature {
    let mut bytes = [0; 64];
    random.fill(&mut bytes[..]);
    Signature::from_compact(bytes)
}

fn batch(random: &mut StdRng) -> Certified {
    let signatures = random.gen_range(0..5);
    Certified {
        header: batch_header(random),
        signers: random.r#gen(),
        signatures: (0..signatures).map(|_| signature(random)).collect(),
        members: signatures,
        payload: (0..random.gen_range(0..80)).map(|_| random.r#gen::<u8>()).collect(),
    }
}

/// A word as an attacker would choose it: a small number of words or bytes, forward or back, or anything.
fn word(random: &mut StdRng) -> [u8; 32] {
    let small = U256::from(random.gen_range(0..64_u64) * if random.r#gen() { 32 } else { 1 });
    match random.gen_range(0..8) {
        0..=2 => small.to_be_bytes(),
        3..=5 => U256::ZERO.wrapping_sub(small).to_be_bytes(),
        6 => (U256::ONE << random.gen_range(30..256_usize)).wrapping_sub(small).to_be_bytes(),
        _ => random.r#gen(),
    }
}

/// The word of `input` at `at`, which the compiler wrote and is an offset.
fn offset(input: &[u8], at: usize) -> usize {
    U256::from_be_slice(&input[at..at + 32]).to()
}

/// Lets the last of several batches take its payload from the first: what the contract reads well and hardly anybody else.
fn point_back(input: &mut [u8], batches: usize) {
    const ARRAY: usize = 4 + 2 * 32;
    const PAYLOAD: usize = 18 * 32;
    let start = |number: usize| ARRAY + offset(input, ARRAY + number * 32);
    let (first, last) = (start(0), start(batches - 1));
    let payload = first + offset(input, first + PAYLOAD);
    let back = U256::from(payload).wrapping_sub(U256::from(last));
    input[last + PAYLOAD..last + PAYLOAD + 32].copy_from_slice(&back.to_be_bytes::<32>());
}

fn input(random: &mut StdRng, deployment: &Deployment) -> Bytes {
    let batches: Vec<Certified> = (0..random.gen_range(1..4)).map(|_| batch(random)).collect();
    let mut input = settle_order(deployment, &batches).input.to_vec();
    // Of what is changed blindly, one in three hundred reads well: too few to rest on.
    if batches.len() > 1 && random.gen_ratio(1, 10) {
        point_back(&mut input, batches.len());
        return input.into();
    }
    // Offsets and lengths are rare among the words: most of the changes go where there are some.
    let heads: Vec<usize> = (0..(input.len() - 4) / 32)
        .filter(|word| {
            let at = 4 + word * 32;
            input[at..at + 24].iter().all(|byte| *byte == 0)
        })
        .collect();
    for _ in 0..random.gen_range(0..4) {
        let place = match random.gen_range(0..4) {
            0 => random.gen_range(0..(input.len() - 4) / 32),
            _ => heads[random.gen_range(0..heads.len())],
        };
        input[4 + place * 32..36 + place * 32].copy_from_slice(&word(random));
    }
    match random.gen_range(0..10) {
        0 => input.truncate(random.gen_range(4..=input.len())),
        1 => input.extend((0..random.gen_range(1..200)).map(|_| random.r#gen::<u8>())),
        _ => {}
    }
    input.into()
}

fn digest(one: &SettledPayload) -> [u8; 32] {
    let header = crate::digests::sol_batch_header(&one.header);
    let signatures: Vec<crate::harness::Signature> =
        one.signatures.iter().map(crate::reports::sol_signature).collect();
    let sum = [
        header.generation.into(),
        header.epoch,
        header.firstHeight,
        header.lastHeight,
        header.forcedThrough,
        header.l1OriginNumber,
        header.timestamp,
        header.regularSince,
    ];
    let sum: U256 = sum.into_iter().map(U256::from).sum();
    let parts = [
        keccak256([keccak256(BATCH_TYPE).as_slice(), &header.abi_encode()].concat()).as_slice(),
        &sum.to_be_bytes::<32>(),
        &one.signers.to_be_bytes(),
        keccak256(signatures.abi_encode()).as_slice(),
        keccak256(&one.payload).as_slice(),
    ]
    .concat();
    keccak256(parts).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_of_settlements_are_read_as_the_contract_reads_them() {
    let mut random = inputs::generator();
    let chain = Chain::start().await;
    let deployment = deployment();
    let inputs: Vec<Bytes> = (0..INPUTS).map(|_| input(&mut random, &deployment)).collect();

    let (mut read, mut back) = (0, 0);
    for inputs in inputs.chunks(AT_ONCE) {
        let answers = chain.harness(Harness::readManyCall { inputs: inputs.to_vec() }).await;
        assert_eq!(answers.len(), inputs.len());
        for (input, answer) in inputs.iter().zip(answers) {
            let own = read_settlement(input);
            let digests: Option<Vec<u8>> =
                own.as_ref().map(|batches| batches.iter().flat_map(digest).collect());
            // An array of none reads as nothing in both, and settles nowhere.
            assert_eq!(digests.unwrap_or_default(), answer, "input {input}");
            read += usize::from(!answer.is_empty());
            back += usize::from(!answer.is_empty() && !is_canonical(input));
        }
    }
    assert!(
        read > INPUTS / 10 && read < INPUTS && back > INPUTS / 50,
        "{read} read, {back} of them odd"
    );
}

/// Whether a decoder with unsigned offsets takes it.
fn is_canonical(input: &Bytes) -> bool {
    use alloy::sol_types::SolCall as _;
    crate::harness::Settlements::settleManyCall::abi_decode(input).is_ok()
        || crate::harness::Settlements::settleCall::abi_decode(input).is_ok()
}
