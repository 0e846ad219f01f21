use super::{IncludedTransaction, Store, StoreError};
use crate::crypto::Signature;
use crate::domain::{
    Authorization, Block, BlockHeader, Certificate, DecidedBlock, Epoch, Generation, Height,
    Millis, RollupId, RollupTransaction, Round, Signer,
};
use alloy::primitives::{Address, B256, Bytes};

const ROLLUP: RollupId = RollupId::new(77);
const SENDER: Address = Address::repeat_byte(0xaa);

fn hash_of(height: u64) -> B256 {
    header(height).hash()
}

fn header(height: u64) -> BlockHeader {
    BlockHeader {
        generation: Generation::new(0),
        height: Height::new(height),
        epoch: Epoch::new(3),
        proposer: Address::repeat_byte(1),
        timestamp: Millis::new(1_000),
        parent_hash: height.checked_sub(1).map_or(B256::ZERO, hash_of),
        l1_origin_number: 9,
        l1_origin_hash: B256::repeat_byte(9),
        forced_through: 0,
        tx_count: 0,
        tx_root: B256::ZERO,
    }
}

fn decided(height: u64, nonces: &[u64]) -> (DecidedBlock, Vec<IncludedTransaction>) {
    let transactions: Vec<_> = nonces
        .iter()
        .map(|nonce| RollupTransaction {
            rollup: ROLLUP,
            raw: Bytes::from(nonce.to_be_bytes().to_vec()),
        })
        .collect();
    let included = transactions
        .iter()
        .zip(nonces)
        .map(|(entry, nonce)| IncludedTransaction {
            hash: entry.hash(),
            sender: SENDER,
            nonce: *nonce,
            authorizations: Vec::new(),
        })
        .collect();
    let certificate = Certificate {
        round: Round::new(1),
        signatures: vec![(Signer([5; 20]), Signature::from_compact([6; 64]))],
    };
    let block = Block { header: header(height), transactions };
    (DecidedBlock { block, certificate }, included)
}

fn append(store: &Store, height: u64, nonces: &[u64]) -> Result<(), StoreError> {
    let (block, included) = decided(height, nonces);
    store.append_decided(&block, &included)
}

fn with_genesis() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("rota.redb")).unwrap();
    store.write_genesis(&header(0)).unwrap();
    (folder, store)
}

#[test]
fn an_empty_store_has_no_tip() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("rota.redb")).unwrap();
    assert_eq!(store.decided_tip().unwrap(), None);
    assert_eq!(store.block(Height::new(0)).unwrap(), None);
}

#[test]
fn block_0_is_written_once() {
    let (_folder, store) = with_genesis();
    let other = BlockHeader { epoch: Epoch::new(4), ..header(0) };
    store.write_genesis(&other).unwrap();
    assert_eq!(store.decided_tip().unwrap(), Some((Height::new(0), hash_of(0))));
    assert_eq!(store.block(Height::new(0)).unwrap().unwrap().certificate, Certificate::default());
}

#[test]
fn a_decided_block_is_found_by_height_hash_and_transaction_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rota.redb");
    {
        let store = Store::open(&path).unwrap();
        store.write_genesis(&header(0)).unwrap();
        append(&store, 1, &[0, 1]).unwrap();
    }
    let store = Store::open(&path).unwrap();
    let (block, included) = decided(1, &[0, 1]);

    assert_eq!(store.decided_tip().unwrap(), Some((Height::new(1), hash_of(1))));
    assert_eq!(store.block(Height::new(1)).unwrap(), Some(block));
    assert_eq!(store.height_of(hash_of(1)).unwrap(), Some(Height::new(1)));
    let second = included.last().unwrap().hash;
    assert_eq!(store.locate(ROLLUP, second).unwrap(), Some((Height::new(1), 1)));
    assert_eq!(store.locate(RollupId::new(1), second).unwrap(), None);
    assert_eq!(store.next_nonce(ROLLUP, SENDER).unwrap(), Some(2));
}

#[test]
fn a_block_that_skips_a_height_is_refused() {
    let (_folder, store) = with_genesis();
    let error = append(&store, 2, &[]).unwrap_err();
    assert!(matches!(error, StoreError::NotNext { expected: 1, actual: 2 }), "{error}");
    assert_eq!(store.decided_tip().unwrap(), Some((Height::new(0), hash_of(0))));
}

#[test]
fn a_block_with_another_parent_is_refused() {
    let (_folder, store) = with_genesis();
    let (mut block, included) = decided(1, &[]);
    block.block.header.parent_hash = B256::repeat_byte(0xee);
    let error = store.append_decided(&block, &included).unwrap_err();
    assert!(matches!(error, StoreError::NotChild { height: 1 }), "{error}");
}

#[test]
fn a_duplicate_stays_at_its_first_place_and_a_gap_moves_no_nonce() {
    let (_folder, store) = with_genesis();
    append(&store, 1, &[0]).unwrap();
    append(&store, 2, &[0, 5]).unwrap();
    let (_, included) = decided(1, &[0]);
    assert_eq!(
        store.locate(ROLLUP, included.first().unwrap().hash).unwrap(),
        Some((Height::new(1), 0))
    );
    assert_eq!(store.next_nonce(ROLLUP, SENDER).unwrap(), Some(1));
}

#[test]
fn the_first_nonce_seen_moves_nothing_unless_it_is_zero() {
    let (_folder, store) = with_genesis();
    append(&store, 1, &[1, u64::MAX - 1]).unwrap();
    assert_eq!(store.next_nonce(ROLLUP, SENDER).unwrap(), None);
    assert_eq!(store.moved_in(Height::new(1)).unwrap(), None);
    append(&store, 2, &[0]).unwrap();
    assert_eq!(store.next_nonce(ROLLUP, SENDER).unwrap(), Some(1));
    let moved = Some(vec![(ROLLUP, SENDER, 1)]);
    assert_eq!(store.moved_in(Height::new(2)).unwrap(), moved);
}

#[test]
fn authorizations_spend_nonces_in_their_order_if_their_transaction_has_its_turn() {
    let (_folder, store) = with_genesis();
    let other = Address::repeat_byte(0x0a);
    let listed = [(SENDER, 1), (other, 0), (SENDER, 3), (other, 1), (SENDER, 2), (other, 1)];
    let listed = listed.map(|(authority, nonce)| Authorization { authority, nonce }).to_vec();
    let (early, mut included) = decided(1, &[7]);
    included[0].authorizations = listed.clone();
    store.append_decided(&early, &included).unwrap();
    assert_eq!(store.next_nonce(ROLLUP, other).unwrap(), None, "the transaction has no effect");
    let (block, mut included) = decided(2, &[0, 3]);
    included[0].authorizations = listed;
    store.append_decided(&block, &included).unwrap();
    assert_eq!(store.next_nonce(ROLLUP, SENDER).unwrap(), Some(4), "0, 1, 2 and then 3");
    assert_eq!(store.next_nonce(ROLLUP, other).unwrap(), Some(2));
}

#[test]
fn candidates_up_to_the_decided_height_are_forgotten() {
    let (_folder, store) = with_genesis();
    let block = |height| Block { header: header(height), transactions: Vec::new() };
    store.keep_own_proposal(Round::new(0), &block(1)).unwrap();
    store.keep_undecided(&block(2)).unwrap();
    append(&store, 1, &[]).unwrap();

    assert_eq!(store.undecided(Height::new(1), hash_of(1)).unwrap(), None);
    assert_eq!(store.undecided_at(Height::new(2)).unwrap(), vec![(hash_of(2), block(2))]);
    assert_eq!(
        store.own_proposals(Generation::new(0), Height::new(1)).unwrap(),
        vec![(Round::new(0), hash_of(1))]
    );
    append(&store, 2, &[]).unwrap();
    assert_eq!(store.own_proposals(Generation::new(0), Height::new(1)).unwrap(), vec![]);
}
