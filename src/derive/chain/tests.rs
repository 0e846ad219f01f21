#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "small numbers of the tests' own making"
)]

use super::{Derivation, DeriveError, DerivedBatch, Item, NoopReason};
use crate::batch::payload::{PayloadError, Version, encode};
use crate::batch::{HeaderError, build_header};
use crate::crypto::SecretKey;
use crate::domain::{
    BatchHeader, BatchNumber, Block, BlockHeader, Epoch, ForcedEntry, Generation, Height, L1Block,
    Millis, Params, Place, RollupId, RollupTransaction, Seconds, TransactionError, tx_root,
};
use alloy::consensus::TxEip1559;
use alloy::consensus::transaction::{RlpEcdsaEncodableTx, SignableTransaction};
use alloy::primitives::{Address, B256, Bytes, Signature, keccak256};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const ROLLUPS: [u64; 2] = [7, 8];

/// Signed transactions to pick from: five for each rollup.
static TRANSACTIONS: LazyLock<Vec<RollupTransaction>> = LazyLock::new(|| {
    let key = SecretKey::from_bytes([9; 32]).unwrap();
    let mut transactions = Vec::new();
    for nonce in 0..5 {
        for chain_id in ROLLUPS {
            let tx = TxEip1559 { chain_id, nonce, gas_limit: 21_000, ..Default::default() };
            let rsv = key.sign(tx.signature_hash()).to_rsv();
            let mut raw = Vec::new();
            tx.eip2718_encode(&Signature::from_raw_array(&rsv).unwrap(), &mut raw);
            transactions
                .push(RollupTransaction { rollup: RollupId::new(chain_id), raw: raw.into() });
        }
    }
    transactions
});

fn genesis() -> BlockHeader {
    BlockHeader {
        generation: Generation::new(0),
        height: Height::new(0),
        epoch: Epoch::new(0),
        proposer: Address::ZERO,
        timestamp: Millis::new(1_000_000),
        parent_hash: B256::ZERO,
        l1_origin_number: 3,
        l1_origin_hash: keccak256("origin"),
        forced_through: 0,
        tx_count: 0,
        tx_root: tx_root(&[]),
    }
}

/// A block on `parent` with these transactions, consuming `forced` more entries.
fn block(parent: &BlockHeader, transactions: Vec<RollupTransaction>, forced: u64) -> Block {
    let header = BlockHeader {
        height: parent.height.next(),
        proposer: Address::repeat_byte(1),
        timestamp: Millis::new(parent.timestamp.get() + 250),
        parent_hash: parent.hash(),
        forced_through: parent.forced_through + forced,
        tx_count: transactions.len() as u32,
        tx_root: tx_root(&transactions),
        ..parent.clone()
    };
    Block { header, transactions }
}

fn blocks(bodies: &[(Vec<usize>, u64)]) -> Vec<Block> {
    let mut parent = genesis();
    let mut blocks = Vec::new();
    for (picks, forced) in bodies {
        let transactions = picks.iter().map(|pick| TRANSACTIONS[*pick].clone()).collect();
        let next = block(&parent, transactions, *forced);
        parent = next.header.clone();
        blocks.push(next);
    }
    blocks
}

fn settled(blocks: &[Block]) -> (BatchHeader, Bytes) {
    let payload = encode(blocks, Version::Zstd).unwrap();
    (build_header(blocks, Epoch::new(1), &payload).unwrap(), payload)
}

fn derivation() -> Derivation {
    Derivation::new(&Params::for_tests(), &genesis())
}

fn entry(index: u64, transaction: RollupTransaction) -> ForcedEntry {
    let block = L1Block { number: 3, hash: keccak256("origin"), timestamp: Seconds::new(1_000) };
    ForcedEntry { index, sender: Address::ZERO, fee_wei: 1, block, transaction }
}

/// The same with a queue of these transactions.
fn derivation_with(queue: &[usize]) -> Derivation {
    let mut derivation = derivation();
    for (index, pick) in (0..).zip(queue) {
        derivation.enqueue(entry(index, TRANSACTIONS[*pick].clone()), true).unwrap();
    }
    derivation
}

fn settle(derivation: &mut Derivation, number: u64, blocks: &[Block]) -> DerivedBatch {
    let (header, payload) = settled(blocks);
    derivation.settle(BatchNumber::new(number), &header, &payload, &|_, _| true).unwrap()
}

/// (height, index) of the transactions, and (height that consumed it, number) of the entries.
type Places = (Vec<(u64, u32)>, Vec<(u64, u64)>);

fn places(items: &[Item]) -> Places {
    let mut transactions = Vec::new();
    let mut forced = Vec::new();
    for item in items {
        match item.place {
            Place::Forced { height, entry } => forced.push((height.get(), entry)),
            Place::Block { height, index } => transactions.push((height.get(), index)),
        }
    }
    (transactions, forced)
}

#[test]
fn each_rollup_gets_its_transactions_in_settled_order() {
    let mut derivation = derivation();
    let all = blocks(&[(vec![0, 1], 0), (vec![3, 2], 0), (vec![4], 0)]);
    let batches = [settle(&mut derivation, 1, &all[..2]), settle(&mut derivation, 2, &all[2..])];
    let nonces = |rollup| -> Vec<u64> {
        let rollup = RollupId::new(rollup);
        batches.iter().flat_map(|batch| batch.transactions_of(rollup)).map(|tx| tx.nonce).collect()
    };
    assert_eq!((nonces(7), nonces(8)), (vec![0, 1, 2], vec![0, 1]));
    assert_eq!(derivation.height(), Height::new(3));
    assert_eq!(derivation.block_hash(), all[2].header.hash());
    assert!(batches.iter().all(|batch| batch.flaw.is_none() && batch.noops.is_empty()));
}

#[test]
fn entries_come_before_the_blocks_own_and_from_their_first_consumer_only() {
    let mut derivation = derivation_with(&[4, 5, 6, 7, 8, 9]);
    let all = blocks(&[(vec![0], 2), (vec![1], 3), (vec![], 1)]);
    let first = settle(&mut derivation, 1, &all[..1]);
    let places_of: Vec<Place> = first.items.iter().map(|item| item.place).collect();
    let height = Height::new(1);
    assert_eq!(
        places_of,
        [
            Place::Forced { height, entry: 0 },
            Place::Forced { height, entry: 1 },
            Place::Block { height, index: 0 }
        ]
    );
    let escaped = derivation.escape(4).unwrap();
    assert_eq!((escaped.first, escaped.through), (2, 4));
    assert_eq!(places(&escaped.items).1, [(1, 2), (1, 3)], "between two batches");
    let nothing = derivation.escape(3).unwrap();
    assert_eq!((nothing.first, nothing.through, nothing.items.len()), (4, 4, 0));
    assert_eq!(places(&settle(&mut derivation, 2, &all[1..]).items).1, [(2, 4), (3, 5)]);
}

#[test]
fn a_forced_transaction_and_one_in_a_block_are_the_same_one() {
    // The queue holds 0 twice and 1, which block 1 has already; blocks repeat what was forced.
    let mut derivation = derivation_with(&[0, 1, 0, 4]);
    let all = blocks(&[(vec![1, 0], 1), (vec![0, 4], 2)]);
    let first = settle(&mut derivation, 1, &all[..1]);
    assert_eq!(places(&first.items), (vec![(1, 0)], vec![(1, 0)]));
    let second = settle(&mut derivation, 2, &all[1..]);
    assert_eq!(places(&second.items), (vec![(2, 1)], vec![]));
    let late = derivation.escape(4).unwrap();
    let places: Vec<Place> =
        [first.noops, second.noops, late.noops].concat().iter().map(|noop| noop.place).collect();
    let (one, two) = (Height::new(1), Height::new(2));
    assert_eq!(
        places,
        [
            Place::Block { height: one, index: 1 },
            Place::Forced { height: two, entry: 1 },
            Place::Forced { height: two, entry: 2 },
            Place::Block { height: two, index: 0 },
            Place::Forced { height: two, entry: 3 },
        ]
    );
}

#[test]
fn an_entry_that_nobody_can_execute_is_a_noop_and_is_consumed() {
    let mut derivation = derivation();
    let rollup = RollupId::new(7);
    let rubbish = RollupTransaction { rollup, raw: (&[9, 9][..]).into() };
    let misplaced = RollupTransaction { rollup: RollupId::new(8), ..TRANSACTIONS[0].clone() };
    derivation.enqueue(entry(0, rubbish), true).unwrap();
    derivation.enqueue(entry(1, misplaced), true).unwrap();
    derivation.enqueue(entry(2, TRANSACTIONS[0].clone()), false).unwrap();
    derivation.enqueue(entry(3, TRANSACTIONS[0].clone()), true).unwrap();
    let batch = settle(&mut derivation, 1, &blocks(&[(vec![], 4)]));
    assert_eq!(places(&batch.items).1, [(1, 3)]);
    let reasons: Vec<&NoopReason> = batch.noops.iter().map(|noop| &noop.reason).collect();
    assert!(matches!(reasons[0], NoopReason::Invalid(TransactionError::Malformed { .. })));
    assert!(matches!(reasons[1], NoopReason::Invalid(TransactionError::WrongRollup { .. })));
    assert_eq!(reasons[2], &NoopReason::Unregistered);
}

#[test]
fn what_cannot_be_in_the_queue_is_refused_and_changes_nothing() {
    let mut derivation = derivation_with(&[0]);
    let skipped = derivation.enqueue(entry(2, TRANSACTIONS[1].clone()), true);
    assert_eq!(skipped, Err(DeriveError::EntryNotNext { expected: 1, actual: 2 }));
    let missing = DeriveError::EntryMissing { length: 1, through: 2 };
    assert_eq!(derivation.escape(2).unwrap_err(), missing);
    let (header, payload) = settled(&blocks(&[(vec![], 2)]));
    let number = BatchNumber::new(1);
    assert_eq!(derivation.settle(number, &header, &payload, &|_, _| true), Err(missing));
    assert_eq!(places(&settle(&mut derivation, 1, &blocks(&[(vec![], 1)])).items).1, [(1, 0)]);
}

#[test]
fn a_duplicate_is_dropped_at_its_later_place() {
    let mut derivation = derivation();
    let all = blocks(&[(vec![0, 0], 0), (vec![2, 0], 0)]);
    let first = settle(&mut derivation, 1, &all[..1]);
    let second = settle(&mut derivation, 2, &all[1..]);
    assert_eq!((places(&first.items).0, places(&second.items).0), (vec![(1, 0)], vec![(2, 0)]));
    let duplicate = NoopReason::Duplicate { first: Height::new(1) };
    let place = |height| Place::Block { height: Height::new(height), index: 1 };
    assert_eq!((first.noops[0].place, &first.noops[0].reason), (place(1), &duplicate));
    assert_eq!((second.noops[0].place, &second.noops[0].reason), (place(2), &duplicate));
}

#[test]
fn after_the_window_only_the_nonce_tells() {
    let mut derivation = Derivation { window_heights: 3, ..derivation() };
    let all = blocks(&[(vec![0], 0), (vec![0], 0), (vec![0], 0), (vec![0], 0), (vec![0], 0)]);
    let batch = settle(&mut derivation, 1, &all);
    assert_eq!(places(&batch.items).0, [(1, 0), (4, 0)], "three heights: 2 and 3 still know it");
}

#[test]
fn what_nobody_can_execute_is_a_noop() {
    let mut derivation = derivation();
    let spoiled = RollupTransaction { rollup: RollupId::new(7), raw: (&[2, 0xc0][..]).into() };
    let misplaced = RollupTransaction { rollup: RollupId::new(8), ..TRANSACTIONS[0].clone() };
    let stranger = RollupTransaction { rollup: RollupId::new(99), raw: (&[1][..]).into() };
    let body = vec![spoiled, misplaced, stranger, TRANSACTIONS[0].clone()];
    let (header, payload) = settled(&[block(&genesis(), body, 0)]);
    let registered = |rollup: RollupId, origin| ROLLUPS.contains(&rollup.get()) && origin == 3;
    let batch = derivation.settle(BatchNumber::new(1), &header, &payload, &registered).unwrap();
    assert_eq!(places(&batch.items).0, [(1, 3)]);
    let reasons: Vec<&NoopReason> = batch.noops.iter().map(|noop| &noop.reason).collect();
    assert!(matches!(reasons[0], NoopReason::Invalid(TransactionError::Malformed { .. })));
    assert!(matches!(reasons[1], NoopReason::Invalid(TransactionError::WrongRollup { .. })));
    assert_eq!(reasons[2], &NoopReason::Unregistered);
}

#[test]
fn a_payload_that_does_not_decode_leaves_the_entries_and_the_heights() {
    let mut derivation = derivation_with(&[4, 5, 6]);
    let all = blocks(&[(vec![0], 1), (vec![1], 1), (vec![2], 1)]);
    let (mut header, _) = settled(&all[..2]);
    let rubbish = [9, 9, 9];
    header.payload_hash = keccak256(rubbish);
    let batch = derivation.settle(BatchNumber::new(1), &header, &rubbish, &|_, _| true).unwrap();
    assert_eq!(
        batch.flaw,
        Some(HeaderError::Payload(PayloadError::UnknownVersion { version: Some(9) }))
    );
    assert_eq!(places(&batch.items), (vec![], vec![(2, 0), (2, 1)]));
    let after = settle(&mut derivation, 2, &all[2..]);
    assert_eq!(places(&after.items), (vec![(3, 0)], vec![(3, 2)]));
}

#[test]
fn a_payload_of_other_blocks_is_named_by_the_field_that_differs() {
    let mut derivation = derivation();
    let (mut header, payload) = settled(&blocks(&[(vec![0], 0)]));
    header.blocks_root = B256::repeat_byte(1);
    let batch = derivation.settle(BatchNumber::new(1), &header, &payload, &|_, _| true).unwrap();
    assert_eq!(batch.flaw, Some(HeaderError::Mismatch { field: "blocksRoot" }));
    assert!(batch.items.is_empty());
}

#[test]
fn what_cannot_be_next_is_refused_and_changes_nothing() {
    let mut derivation = derivation();
    let all = blocks(&[(vec![0], 0), (vec![1], 0)]);
    let (header, payload) = settled(&all[..1]);
    let mut refusal = |number: u64, change: &dyn Fn(&mut BatchHeader)| {
        let mut header = header.clone();
        change(&mut header);
        derivation.settle(BatchNumber::new(number), &header, &payload, &|_, _| true).unwrap_err()
    };
    let number = BatchNumber::new(1);
    assert_eq!(
        refusal(2, &|_| ()),
        DeriveError::NumberNotNext { expected: number, actual: number.next() }
    );
    let (expected, actual) = (Height::new(1), Height::new(2));
    assert_eq!(
        refusal(1, &|h| h.first_height = actual),
        DeriveError::HeightNotNext { number, expected, actual }
    );
    assert_eq!(
        refusal(1, &|h| h.last_height = Height::new(0)),
        DeriveError::Empty { number, last: Height::new(0) }
    );
    assert_eq!(
        refusal(1, &|h| h.parent_block_hash = B256::ZERO),
        DeriveError::ParentMismatch { number, expected: genesis().hash(), actual: B256::ZERO }
    );
    assert_eq!(places(&settle(&mut derivation, 1, &all[..1]).items).0, [(1, 0)]);

    let (mut back, payload) = settled(&all[1..]);
    derivation.generation = Generation::new(1);
    back.generation = Generation::new(0);
    assert_eq!(
        derivation.settle(BatchNumber::new(2), &back, &payload, &|_, _| true),
        Err(DeriveError::GenerationBack {
            number: BatchNumber::new(2),
            before: Generation::new(1),
            actual: Generation::new(0)
        })
    );
}

proptest! {
    /// Blocks that repeat themselves and each other, a queue that repeats them, escapes between batches: whatever comes
    /// first within a window is derived, once, and every entry is consumed in order.
    #[test]
    fn however_blocks_are_cut_each_transaction_is_derived_once_a_window(
        bodies in prop::collection::vec((prop::collection::vec(0_usize..10, 0..4), 0_u64..2), 1..12),
        queue in prop::collection::vec(0_usize..10, 24),
        cuts in prop::collection::vec((any::<bool>(), 0_u64..3), 12), window in 1_u64..6,
    ) {
        let all = blocks(&bodies);
        let mut derivation = Derivation { window_heights: window, ..derivation_with(&queue) };

        // What is told, and a plain model of it: (height at which it stands, pick) in order.
        let mut derived = Vec::new();
        let mut told: Vec<(u64, usize)> = Vec::new();
        let (mut start, mut number, mut through, mut consumed) = (0, 0, 0, 0_u64);
        for end in (1..=all.len()).filter(|end| cuts[end - 1].0 || *end == all.len()) {
            number += 1;
            let batch = settle(&mut derivation, number, &all[start..end]);
            derived.extend(batch.items);
            for (height, (picks, forced)) in (1_u64..).zip(&bodies).take(end).skip(start) {
                through += forced;
                while consumed < through {
                    told.push((height, queue[consumed as usize]));
                    consumed += 1;
                }
                told.extend(picks.iter().map(|pick| (height, *pick)));
            }
            let escaped = derivation.escape((consumed + cuts[end - 1].1).min(24)).unwrap();
            prop_assert_eq!(escaped.first, consumed);
            for entry in escaped.first..escaped.through {
                told.push((end as u64, queue[entry as usize]));
            }
            consumed = escaped.through;
            derived.extend(escaped.items);
            start = end;
        }

        let mut kept: BTreeMap<usize, u64> = BTreeMap::new();
        let mut expected = Vec::new();
        for (height, pick) in told {
            if kept.get(&pick).is_none_or(|at| height - at >= window) {
                kept.insert(pick, height);
                expected.push((height, TRANSACTIONS[pick].hash()));
            }
        }
        let derived: Vec<(u64, B256)> = derived
            .iter()
            .map(|item| (item.place.height().get(), item.transaction.hash))
            .collect();
        prop_assert_eq!(derived, expected);
    }
}

/// `cargo test --release --lib derive -- --ignored --nocapture speed`: what docs/BENCHMARKS.md says of derivation.
#[test]
#[ignore = "a measurement, of release builds"]
fn speed_of_derivation_from_memory() {
    const TRANSACTIONS: u64 = 40_000;
    const OF_A_BLOCK: u64 = 500;
    let key = SecretKey::from_bytes([9; 32]).unwrap();
    let rollup = RollupId::new(7);
    let mut parent = genesis();
    let mut batches = Vec::new();
    for number in 0..TRANSACTIONS / OF_A_BLOCK {
        let nonces = number * OF_A_BLOCK..(number + 1) * OF_A_BLOCK;
        let transactions = nonces
            .map(|nonce| RollupTransaction {
                rollup,
                raw: crate::testing::raw_priced(&key, nonce, rollup, 1),
            })
            .collect();
        let next = block(&parent, transactions, 0);
        parent = next.header.clone();
        batches.push(settled(&[next]));
    }
    let mut derivation = derivation();
    let begun = std::time::Instant::now();
    let mut derived = 0_u64;
    for (number, (header, payload)) in (1..).zip(&batches) {
        let number = BatchNumber::new(number);
        let batch = derivation.settle(number, header, payload, &|_, _| true).unwrap();
        derived += batch.items.len() as u64;
    }
    let taken = begun.elapsed();
    assert_eq!(derived, TRANSACTIONS);
    println!(
        "{derived} transactions in {taken:?}: {} a second",
        derived * 1_000 / taken.as_millis().max(1) as u64
    );
}

#[test]
fn decoding_on_several_cores_gives_what_one_gives() {
    let bodies: Vec<(Vec<usize>, u64)> =
        (0..40).map(|i| ((0..10).map(|j| (i + j) % 10).collect(), 0)).collect();
    let mut blocks = blocks(&bodies);
    blocks[3].transactions[2].raw = (&[1, 2, 3][..]).into();
    let alone: Vec<_> = blocks
        .iter()
        .flat_map(|block| &block.transactions)
        .map(|transaction| transaction.decode(1_000))
        .collect();
    assert!(alone.iter().any(Result::is_err) && alone.len() == 400);
    assert_eq!(super::decode_all(&blocks, 1_000), alone);
}

#[test]
fn the_chain_goes_on_behind_a_batch_that_nobody_can_read() {
    let all = blocks(&[(vec![0], 0), (vec![1], 1), (vec![2], 0), (vec![3], 1)]);
    let mut derivation = derivation_with(&[4, 5]);
    settle(&mut derivation, 1, &all[..1]);
    let end = BatchHeader {
        first_height: Height::new(2),
        last_height: Height::new(2),
        last_block_hash: all[1].header.hash(),
        forced_through: 1,
        ..settled(&all[..1]).0
    };
    // With its end, and where nobody tells it.
    let unknown = BatchHeader { last_height: Height::new(1), forced_through: 0, ..end.clone() };
    for (told, forced) in [(end, 1), (unknown, 0)] {
        let mut derivation = derivation.clone();
        let passed = derivation.pass(BatchNumber::new(2), &told).unwrap();
        assert_eq!(passed.flaw, Some(HeaderError::Unread));
        assert_eq!((passed.items.len(), passed.blocks.len()), (forced, 0));
        let (header, payload) = settled(&all[2..]);
        // What is read may begin behind what is known, and never below it.
        let back = BatchHeader { first_height: Height::new(1), ..header.clone() };
        let number = BatchNumber::new(3);
        let refused = derivation.settle(number, &back, &payload, &|_, _| true).unwrap_err();
        assert!(matches!(refused, DeriveError::HeightNotNext { .. }), "{refused}");
        let next = derivation.settle(number, &header, &payload, &|_, _| true).unwrap();
        assert_eq!(next.flaw, None);
        // Two of its own, and the forced ones that nobody had before.
        assert_eq!(next.items.len(), 4 - forced);
        assert_eq!(derivation.height(), Height::new(4));
        // From there on all has to follow again.
        let refused = derivation.settle(number.next(), &header, &payload, &|_, _| true);
        assert!(matches!(refused, Err(DeriveError::HeightNotNext { .. })));
    }
    let again = derivation.pass(BatchNumber::new(9), &settled(&all[..1]).0).unwrap_err();
    assert!(matches!(again, DeriveError::NumberNotNext { .. }));
}
