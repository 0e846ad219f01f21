//! Entries of the forced queue that are larger than a block's body may be: L1 takes them, and derivation gives them no effect.

use super::rlp::{Draft, Kind, bytes};
use crate::batch::build_header;
use crate::batch::payload::{Version, encode, max_body_bytes};
use crate::derive::Derivation;
use crate::domain::{
    BatchNumber, Block, Certificate, DecidedBlock, Epoch, Params, RollupTransaction,
    SignedTransaction, tx_root,
};
use crate::mempool::{Limits, Origin, Pool};
use crate::storage::IncludedTransaction;
use crate::testing::{ROLLUP, Surroundings, forced, header, key, transaction};
use alloy::primitives::B256;

/// A transaction of `length` bytes, or a few more.
fn large(by: u8, nonce: u64, length: usize) -> RollupTransaction {
    let draft = Draft::plain(Kind::Type2, &key(by), ROLLUP.get(), nonce);
    let raw = draft.with("data", bytes(&vec![1; length])).sign(&key(by), |_| {});
    RollupTransaction { rollup: ROLLUP, raw }
}

#[test]
fn an_entry_that_is_larger_than_a_body_counts_for_agents_as_it_does_where_it_is_derived() {
    let params =
        Params { max_batch_bytes: 50_000, forced_max_bytes: 100_000, ..Params::for_tests() };
    let around = Surroundings::new(params.clone());
    let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap();
    // One account whose first transaction is too large, one whose is not, and one where that is a matter of a few bytes.
    let limit = max_body_bytes(&params);
    let edge = large(3, 0, limit - 200);
    let fits = large(3, 0, limit - 200 + (limit - edge.raw.len()));
    assert_eq!(fits.raw.len(), limit);
    let beyond = large(4, 0, limit - 199 + (limit - edge.raw.len()));
    assert_eq!(beyond.raw.len(), limit + 1);
    let entries: Vec<_> = [large(1, 0, 60_000), large(2, 0, 40_000), fits, beyond]
        .into_iter()
        .zip(0..)
        .map(|(transaction, index)| forced(index, transaction))
        .collect();
    // What waits here: of the first account what the entry does not take along.
    let waits = transaction(&key(1), 0);
    pool.admit(waits.clone(), Origin::Local).unwrap();
    pool.admit(transaction(&key(2), 1), Origin::Local).unwrap();
    around.store.force_from(0, &entries, &[]).unwrap();

    let genesis = header(0, B256::ZERO);
    let body = vec![waits.transaction.clone()];
    let block = Block {
        header: crate::domain::BlockHeader {
            forced_through: 4,
            tx_count: 1,
            tx_root: tx_root(&body),
            ..header(1, genesis.hash())
        },
        transactions: body,
    };
    let decided = DecidedBlock { block: block.clone(), certificate: Certificate::default() };
    around.store.append_decided(&decided, &[IncludedTransaction::from(&waits)]).unwrap();

    let blocks = [block];
    let payload = encode(&blocks, Version::Raw).unwrap();
    let batch = build_header(&blocks, Epoch::new(1), &payload).unwrap();
    let mut derivation = Derivation::new(&params, &genesis);
    for entry in &entries {
        derivation.enqueue(entry.clone(), true).unwrap();
    }
    let derived = derivation.settle(BatchNumber::new(1), &batch, &payload, &|_, _| true).unwrap();
    let executed: Vec<&SignedTransaction> =
        derived.items.iter().map(|item| &item.transaction).collect();
    assert_eq!(executed.len(), 3, "{:?}", derived.noops.len());

    for by in 1..=4 {
        let sender = key(by).address();
        let next = executed.iter().filter(|one| one.sender == sender).count();
        let counted = around.store.next_nonce(ROLLUP, sender).unwrap().unwrap_or(0);
        assert_eq!(counted, u64::try_from(next).unwrap(), "the account of key {by}");
    }
    for entry in &entries {
        let hash = entry.transaction.hash();
        let is_executed = executed.iter().any(|one| one.hash == hash);
        assert_eq!(around.store.forced_as(ROLLUP, hash).unwrap().is_some(), is_executed);
        assert_eq!(around.store.place_of(ROLLUP, hash).unwrap().is_some(), is_executed);
    }
    let view = around.store.rollup_view(ROLLUP, crate::domain::Height::new(1)).unwrap().unwrap();
    let listed: Vec<B256> = view.transactions.iter().map(|one| one.hash).collect();
    assert_eq!(listed, executed.iter().map(|one| one.hash).collect::<Vec<_>>());
    assert_eq!(pool.local_hashes(), [transaction(&key(2), 1).hash].into());
}
