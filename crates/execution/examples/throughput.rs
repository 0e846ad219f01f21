//! Transfers a second on one core, with roots: `cargo run --release -p rota-execution --example throughput [accounts] [transfers]`.
//!
//! Senders and receivers are by chance among the accounts, a block is full at 1,428 transfers. Reading and recovering, which
//! other cores could do, and executing, which they could not, are timed apart.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use rota_execution::{
    Executor, Fate, Genesis, Height, MemoryState, Prepared, SINCE_CANCUN, SINCE_PRAGUE,
};
use serde_json::json;
use std::error::Error;
use std::time::{Duration, Instant};

const CHAIN_ID: u64 = 7_070;
/// Accounts that sign; the others are paid.
const SENDERS: u64 = 64;
/// What a block of 30 million gas holds.
const PER_BLOCK: usize = 1_428;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let accounts: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let transfers: usize = arguments.next().map_or(Ok(30_000), |text| text.parse())?;

    let signers = (0..SENDERS)
        .map(|index| PrivateKeySigner::from_bytes(&keccak256(index.to_be_bytes())))
        .collect::<Result<Vec<_>, _>>()?;
    let genesis = Genesis::parse(&genesis(&signers, accounts), CHAIN_ID)?;
    let raws = order(&signers, accounts, transfers)?;

    let started = Instant::now();
    let mut executor = Executor::new(genesis, MemoryState::default())?;
    println!("genesis of {accounts} accounts: {} ms", started.elapsed().as_millis());

    let (mut reading, mut executing, mut included) = (Duration::ZERO, Duration::ZERO, 0_usize);
    // One more, to close the last.
    let last: &[Bytes] = &[];
    for (second, raws) in (1..).zip(raws.chunks(PER_BLOCK).chain([last])) {
        let started = Instant::now();
        let transactions = raws.iter().map(|raw| Prepared::new(raw, CHAIN_ID)).collect();
        reading = reading.saturating_add(started.elapsed());
        let height = Height {
            number: second,
            timestamp_ms: second.saturating_mul(1_000),
            proposer: Address::repeat_byte(1),
            block_hash: keccak256(second.to_be_bytes()),
            l1_origin_hash: keccak256(second.to_le_bytes()),
            transactions,
        };
        let started = Instant::now();
        let executed = executor.execute(height)?;
        executing = executing.saturating_add(started.elapsed());
        let here = executed.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Included { .. }));
        included = included.saturating_add(here.count());
        executor.settle(second)?;
    }
    if included != transfers {
        return Err(format!("{included} of {transfers} transfers were included").into());
    }
    let per_second = |time: Duration| {
        let done = u128::try_from(included).unwrap_or_default().saturating_mul(1_000_000);
        done.checked_div(time.as_micros()).unwrap_or_default()
    };
    println!("reading and recovering: {} a second", per_second(reading));
    println!("executing, with roots: {} a second", per_second(executing));
    println!(
        "both on one core: {} transfers a second",
        per_second(reading.saturating_add(executing))
    );
    Ok(())
}

fn genesis(signers: &[PrivateKeySigner], accounts: u64) -> String {
    let mut alloc = serde_json::Map::new();
    for contract in SINCE_CANCUN.iter().chain(SINCE_PRAGUE.iter()) {
        alloc.insert(
            contract.address.to_string(),
            json!({ "balance": "0x0", "code": contract.code }),
        );
    }
    for signer in signers {
        alloc.insert(
            signer.address().to_string(),
            json!({ "balance": "0xffffffffffffffffffffffff" }),
        );
    }
    for index in 0..accounts {
        alloc.insert(account(index).to_string(), json!({ "balance": "0x1" }));
    }
    json!({
        "config": {
            "chainId": CHAIN_ID, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
            "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0,
            "berlinBlock": 0, "londonBlock": 0, "terminalTotalDifficulty": 0, "shanghaiTime": 0,
            "cancunTime": 0, "pragueTime": 0, "osakaTime": 0,
        },
        "timestamp": "0x0", "gasLimit": "0x1c9c380", "difficulty": "0x0", "baseFeePerGas": "0x7", "alloc": alloc,
    })
    .to_string()
}

fn account(index: u64) -> Address {
    Address::from_word(keccak256(index.wrapping_add(1_000_000_000).to_be_bytes()))
}

/// Signed transfers, a sender's in the order of its nonces.
fn order(
    signers: &[PrivateKeySigner],
    accounts: u64,
    transfers: usize,
) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let mut raws = Vec::with_capacity(transfers);
    let mut nonce = 0_u64;
    'all: loop {
        for signer in signers {
            if raws.len() == transfers {
                break 'all;
            }
            let seed = keccak256(raws.len().to_be_bytes());
            let to = account(U256::from_be_bytes(seed.0).wrapping_rem(U256::from(accounts)).to());
            let transaction = TxEip1559 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit: 21_000,
                max_fee_per_gas: 1_000_000_000_000,
                max_priority_fee_per_gas: 1,
                to: TxKind::Call(to),
                value: U256::from(1),
                access_list: Default::default(),
                input: Bytes::new(),
            };
            let signature = signer.sign_hash_sync(&transaction.signature_hash())?;
            raws.push(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into());
        }
        nonce = nonce.saturating_add(1);
    }
    Ok(raws)
}
