//! Double attestations to the deployed slasher: which pairs of batches it takes, block against block under the agent's
//! proofs and as a broken link, by a plain model of R23.

use crate::chain::Chain;
use crate::digests::{batch_header, sol_batch_header};
use crate::harness::{BlockProof, Slasher};
use crate::inputs;
use crate::reports::sol_signature;
use alloy::primitives::{B256, U256};
use alloy::sol_types::SolError as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::crypto::{SecretKey, SigningDomain, merkle};
use rota::domain::{BatchHeader, Height};

const REPORTS: usize = 512;
/// Heights of the chains that batches are cut from.
const HEIGHTS: u64 = 24;

/// A chain by height, with what comes before its first block in place 0, and one that leaves it at some height, or never.
fn chains(random: &mut StdRng) -> [Vec<B256>; 2] {
    let one: Vec<B256> = (0..=HEIGHTS).map(|_| B256::new(random.r#gen())).collect();
    let mut other = one.clone();
    let fork = random.gen_range(0..HEIGHTS + 8);
    for block in other.iter_mut().skip(fork as usize) {
        *block = B256::new(random.r#gen());
    }
    [one, other]
}

/// A header over some blocks of `chain`.
fn cut(random: &mut StdRng, chain: &[B256]) -> BatchHeader {
    let first = random.gen_range(1..=HEIGHTS);
    let last = random.gen_range(first..=HEIGHTS);
    let leaves: Vec<B256> =
        blocks(chain, first, last).iter().map(|hash| merkle::block_leaf(*hash)).collect();
    BatchHeader {
        first_height: Height::new(first),
        last_height: Height::new(last),
        parent_block_hash: chain[first as usize - 1],
        blocks_root: merkle::root(&leaves),
        last_block_hash: chain[last as usize],
        ..batch_header(random)
    }
}

fn blocks(chain: &[B256], first: u64, last: u64) -> &[B256] {
    &chain[first as usize..=last as usize]
}

/// The agent's proof of the block at `height`, where the batch has one. The last block needs none.
fn proof(random: &mut StdRng, chain: &[B256], header: &BatchHeader, height: u64) -> BlockProof {
    let (first, last) = (header.first_height.get(), header.last_height.get());
    if !(first..=last).contains(&height) || (height == last && random.r#gen()) {
        return BlockProof { blockHash: B256::ZERO, siblings: Vec::new() };
    }
    let leaves: Vec<B256> =
        blocks(chain, first, last).iter().map(|hash| merkle::block_leaf(*hash)).collect();
    BlockProof {
        blockHash: chain[height as usize],
        siblings: merkle::prove(&leaves, (height - first) as usize).unwrap(),
    }
}

/// What the slasher has to answer to headers cut from `chains`.
fn due(height: u64, headers: [&BatchHeader; 2], chains: &[Vec<B256>; 2]) -> Result<(), Vec<u8>> {
    let [a, b] = headers;
    for (earlier, later) in [(a, b), (b, a)] {
        if earlier.last_height.get() + 1 == height && later.first_height.get() == height {
            return differ(earlier.last_block_hash, later.parent_block_hash);
        }
    }
    for header in headers {
        let (first, last) = (header.first_height.get(), header.last_height.get());
        if !(first..=last).contains(&height) {
            return Err(Slasher::HeightOutsideBatch {
                firstHeight: first,
                lastHeight: last,
                height,
            }
            .abi_encode());
        }
    }
    differ(chains[0][height as usize], chains[1][height as usize])
}

fn differ(a: B256, b: B256) -> Result<(), Vec<u8>> {
    if a == b { Err(Slasher::SameBlock { blockHash: b }.abi_encode()) } else { Ok(()) }
}

#[tokio::test]
async fn the_deployed_slasher_takes_random_double_attestations_by_the_agents_proofs() {
    let mut random = inputs::generator();
    let random = &mut random;
    let chain = Chain::start().await;
    let bytes = random.r#gen();
    let member = SecretKey::from_bytes(bytes).unwrap();
    let joining = SecretKey::from_bytes(bytes).unwrap();
    let deployed = chain.deploy(&[(joining, U256::from(10).pow(U256::from(21)))]).await;
    let deployment = deployed.deployment;
    let domain = SigningDomain::new(deployment.chain_id, deployment.settlement);
    let key = (U256::from(1) << 255) | (U256::from(deployed.epoch.get()) << 8);

    let mut taken = 0;
    for number in 0..REPORTS {
        let chains = chains(random);
        let a = cut(random, &chains[0]);
        let b = BatchHeader { generation: a.generation, ..cut(random, &chains[1]) };
        // Near an edge of one of them more often than not.
        let height = match random.gen_range(0..4) {
            0 => random.gen_range(0..HEIGHTS + 2),
            1 => a.first_height.get(),
            2 => b.first_height.get(),
            _ => a.last_height.get().min(b.last_height.get()),
        };
        let call = Slasher::reportDoubleAttestationCall {
            key,
            height,
            a: sol_batch_header(&a),
            signatureA: sol_signature(&member.sign(domain.batch(&a))),
            proofA: proof(random, &chains[0], &a, height),
            b: sol_batch_header(&b),
            signatureB: sol_signature(&member.sign(domain.batch(&b))),
            proofB: proof(random, &chains[1], &b, height),
        };
        let expected = due(height, [&a, &b], &chains);
        let actual = chain.ask(deployment.slasher, call).await;
        taken += usize::from(actual.is_ok());
        let actual = actual.map(|_| ()).map_err(|error| error.to_vec());
        assert_eq!(expected, actual, "report {number} at {height}: {a:?}, {b:?}");
    }
    assert!(taken > 0 && taken < REPORTS, "of {REPORTS} reports, {taken} were taken");
}
