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
    BatchHeader, BatchNumber, Block, BlockHeader, Epoch, Generation, Height, Millis, Params,
    RollupId, RollupTransaction, TransactionError, tx_root,
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

fn settle(derivation: &mut Derivation, number: u64, blocks: &[Block]) -> DerivedBatch {
    let (header, payload) = settled(blocks);
    derivation.settle(BatchNumber::new(number), &header, &payload, &|_, _| true).unwrap()
}

/// (height, index) of the transactions, and (height that consumed it, number) of the entries.
type Places = (Vec<(u64, u32)>, Vec<(u64, u64)>);

fn places(batch: &DerivedBatch) -> Places {
    let mut transactions = Vec::new();
    let mut forced = Vec::new();
    for item in &batch.items {
        match item {
            Item::Forced { height, entry } => forced.push((height.get(), *entry)),
            Item::Transaction { height, index, .. } => transactions.push((height.get(), *index)),
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
    let mut derivation = derivation();
    let all = blocks(&[(vec![0], 2), (vec![1], 3), (vec![], 1)]);
    let first = settle(&mut derivation, 1, &all[..1]);
    assert_eq!(first.items[0], Item::Forced { height: Height::new(1), entry: 0 });
    assert_eq!(places(&first), (vec![(1, 0)], vec![(1, 0), (1, 1)]));
    assert_eq!(derivation.escape(4), 2..4);
    assert_eq!(derivation.escape(3), 4..4, "nothing is consumed twice");
    assert_eq!(places(&settle(&mut derivation, 2, &all[1..])).1, [(2, 4), (3, 5)]);
}

#[test]
fn a_duplicate_is_dropped_at_its_later_place() {
    let mut derivation = derivation();
    let all = blocks(&[(vec![0, 0], 0), (vec![2, 0], 0)]);
    let first = settle(&mut derivation, 1, &all[..1]);
    let second = settle(&mut derivation, 2, &all[1..]);
    assert_eq!((places(&first).0, places(&second).0), (vec![(1, 0)], vec![(2, 0)]));
    let duplicate = NoopReason::Duplicate { first: Height::new(1) };
    assert_eq!((first.noops[0].index, &first.noops[0].reason), (1, &duplicate));
    assert_eq!((second.noops[0].index, &second.noops[0].reason), (1, &duplicate));
}

#[test]
fn after_the_window_only_the_nonce_tells() {
    let mut derivation = Derivation { window_heights: 3, ..derivation() };
    let all = blocks(&[(vec![0], 0), (vec![0], 0), (vec![0], 0), (vec![0], 0), (vec![0], 0)]);
    let batch = settle(&mut derivation, 1, &all);
    assert_eq!(places(&batch).0, [(1, 0), (4, 0)], "three heights: 2 and 3 still know it");
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
    assert_eq!(places(&batch).0, [(1, 3)]);
    let reasons: Vec<&NoopReason> = batch.noops.iter().map(|noop| &noop.reason).collect();
    assert!(matches!(reasons[0], NoopReason::Invalid(TransactionError::Malformed { .. })));
    assert!(matches!(reasons[1], NoopReason::Invalid(TransactionError::WrongRollup { .. })));
    assert_eq!(reasons[2], &NoopReason::Unregistered);
}

#[test]
fn a_payload_that_does_not_decode_leaves_the_entries_and_the_heights() {
    let mut derivation = derivation();
    let all = blocks(&[(vec![0], 1), (vec![1], 1), (vec![2], 1)]);
    let (mut header, _) = settled(&all[..2]);
    let rubbish = [9, 9, 9];
    header.payload_hash = keccak256(rubbish);
    let batch = derivation.settle(BatchNumber::new(1), &header, &rubbish, &|_, _| true).unwrap();
    assert_eq!(
        batch.flaw,
        Some(HeaderError::Payload(PayloadError::UnknownVersion { version: Some(9) }))
    );
    assert_eq!(places(&batch), (vec![], vec![(2, 0), (2, 1)]));
    let after = settle(&mut derivation, 2, &all[2..]);
    assert_eq!(places(&after), (vec![(3, 0)], vec![(3, 2)]));
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
    assert_eq!(places(&settle(&mut derivation, 1, &all[..1])).0, [(1, 0)]);

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
    #[test]
    fn however_blocks_are_cut_each_transaction_is_derived_once_a_window(
        bodies in prop::collection::vec((prop::collection::vec(0_usize..10, 0..4), 0_u64..2), 1..12),
        cuts in prop::collection::vec(any::<bool>(), 12), window in 1_u64..6,
    ) {
        let all = blocks(&bodies);

        let mut expected = Vec::new();
        let mut kept: BTreeMap<usize, u64> = BTreeMap::new();
        for (height, (picks, _)) in (1_u64..).zip(&bodies) {
            for (index, pick) in (0_u32..).zip(picks) {
                if kept.get(pick).is_none_or(|at| height - at >= window) {
                    kept.insert(*pick, height);
                    expected.push((height, index));
                }
            }
        }

        let mut derivation = Derivation { window_heights: window, ..derivation() };
        let (mut transactions, mut entries, mut noops) = (Vec::new(), Vec::new(), 0);
        let mut start = 0;
        let mut number = 0;
        for end in (1..=all.len()).filter(|end| cuts[end - 1] || *end == all.len()) {
            number += 1;
            let batch = settle(&mut derivation, number, &all[start..end]);
            let (more, forced) = places(&batch);
            transactions.extend(more);
            entries.extend(forced.into_iter().map(|(_, entry)| entry));
            noops += batch.noops.len();
            start = end;
        }
        let total: usize = bodies.iter().map(|(picks, _)| picks.len()).sum();
        prop_assert_eq!(transactions.len() + noops, total);
        prop_assert_eq!(transactions, expected);
        prop_assert!(entries.into_iter().eq(0..bodies.iter().map(|(_, forced)| forced).sum()));
    }
}
