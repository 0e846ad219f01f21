use super::Pool;
use crate::agreement::BlockSource as _;
use crate::domain::{
    Block, BlockHeader, Certificate, DecidedBlock, Epoch, Generation, GenerationStart, Height,
    L1Block, Params, Seconds, SignedTransaction,
};
use crate::l1::Allowance;
use crate::mempool::{DropReason, Limits, Origin};
use crate::storage::IncludedTransaction;
use crate::testing::{ROLLUP, Surroundings, header, key, params, transaction};
use alloy::primitives::{B256, U256};

fn pool(around: &Surroundings, limits: Limits) -> Pool {
    Pool::new(limits, around.store.clone(), around.mirror.clone()).unwrap()
}

/// A restart leaves the blocks up to `last`.
fn restart(around: &Surroundings, last: u64) {
    let last_height = Height::new(last);
    let (last_block_hash, _) = around.store.header(last_height).unwrap().unwrap();
    let (generation, epoch) = (Generation::new(1), Epoch::new(0));
    let finished_in = L1Block { number: 9, hash: B256::ZERO, timestamp: Seconds::new(0) };
    let start = GenerationStart { generation, epoch, last_height, last_block_hash, finished_in };
    around.store.begin_generation(&start).unwrap();
}

/// Decides the next block of the new generation.
fn decide(around: &Surroundings, transactions: &[SignedTransaction]) {
    let (tip, parent) = around.store.decided_tip().unwrap().unwrap();
    let header = BlockHeader {
        generation: Generation::new(1),
        tx_count: transactions.len().try_into().unwrap(),
        ..header(tip.next().get(), parent)
    };
    let included: Vec<_> = transactions.iter().map(IncludedTransaction::from).collect();
    let transactions = transactions.iter().map(|one| one.transaction.clone()).collect();
    let block = Block { header, transactions };
    let decided = DecidedBlock { block, certificate: Certificate::default() };
    around.store.append_decided(&decided, &included).unwrap();
}

fn nonces(pool: &Pool) -> Vec<u64> {
    pool.tend();
    let taken = pool.collect(1 << 20, &|_| true);
    taken.iter().map(|one| one.decode(1 << 16).unwrap().nonce).collect()
}

#[test]
fn what_a_restart_undid_waits_again_before_what_follows_it() {
    let around = Surroundings::new(params());
    let all: Vec<_> = (0..6).map(|nonce| transaction(&key(1), nonce)).collect();
    let pool = pool(&around, Limits::default());
    around.decide(&all[..2]);
    around.decide(&all[2..4]);
    for later in &all[4..] {
        pool.admit(later.clone(), Origin::Local).unwrap();
    }
    assert_eq!(nonces(&pool), [4, 5]);

    restart(&around, 1);
    assert_eq!(nonces(&pool), [2, 3, 4, 5]);
    assert!(pool.is_local(all[2].hash) && pool.get(all[2].hash).is_some());
    decide(&around, &all[2..5]);
    assert_eq!(nonces(&pool), [5]);
}

#[test]
fn a_restarted_process_brings_back_what_is_not_decided_again() {
    let around = Surroundings::new(params());
    let all: Vec<_> = (0..4).map(|nonce| transaction(&key(1), nonce)).collect();
    around.decide(&all);
    restart(&around, 0);
    decide(&around, &all[..2]);
    assert_eq!(nonces(&pool(&around, Limits::default())), [2, 3]);
}

#[test]
fn what_finds_no_room_comes_once_there_is_some() {
    let around = Surroundings::new(params());
    let all: Vec<_> = (0..6).map(|nonce| transaction(&key(1), nonce)).collect();
    around.decide(&all[..3]);
    around.decide(&all[3..]);
    let pool = pool(&around, Limits { per_sender: 2, ..Limits::default() });
    restart(&around, 0);
    let mut decided = Vec::new();
    while decided.len() < all.len() {
        let waiting = nonces(&pool);
        let first = usize::try_from(*waiting.first().expect("there is more to come")).unwrap();
        decide(&around, &all[first..=first]);
        decided.push(first);
    }
    assert_eq!(decided, [0, 1, 2, 3, 4, 5]);
    assert!(nonces(&pool).is_empty());
}

#[test]
fn what_was_promised_leaves_for_a_closed_rollup_only_once_l1_is_read() {
    let params = Params { rollup_reserve_wei: U256::from(9), ..params() };
    let around = Surroundings::new(params);
    let pool = pool(&around, Limits::default());
    let show = |balance_wei: u64, read_through| {
        around.mirror.update(|mirror| {
            let hash = B256::repeat_byte(1);
            mirror.at_depth = Some(L1Block { number: 9, hash, timestamp: Seconds::new(0) });
            mirror.rollups.insert(ROLLUP, Allowance::new(1, U256::from(balance_wei)));
            mirror.read_through = read_through;
        });
    };
    let one = transaction(&key(1), 0);
    show(8, None);
    pool.admit_again(one.clone(), Origin::Local).unwrap();
    // As kept from before a start, then on the way to the head: it may have been funded since.
    for read_through in [None, Some((9, 20))] {
        show(8, read_through);
        assert_eq!(nonces(&pool), [0]);
    }
    show(9, Some((20, 20)));
    assert_eq!(nonces(&pool), [0]);
    show(8, Some((20, 20)));
    assert!(nonces(&pool).is_empty());
    assert_eq!(pool.dropped(ROLLUP, one.hash), Some(DropReason::RollupClosed));
}

#[test]
fn what_waits_for_a_rollup_stays_as_long_as_it_was_open_at_an_l1_block_that_can_still_be_an_origin()
{
    let params = Params { rollup_reserve_wei: U256::from(9), ..params() };
    let around = Surroundings::new(params);
    let pool = pool(&around, Limits::default());
    let show = |changes: &[(u64, u64)], at_depth| {
        around.mirror.update(|mirror| {
            let (hash, timestamp) = (B256::repeat_byte(1), Seconds::new(0));
            mirror.at_depth = Some(L1Block { number: at_depth, hash, timestamp });
            let mut allowance = Allowance::new(1, U256::from(8));
            for (block, balance_wei) in changes {
                allowance.change(*block, U256::from(*balance_wei));
            }
            mirror.rollups.insert(ROLLUP, allowance);
            mirror.read_through = Some((20, 20));
        });
    };
    show(&[(12, 9)], 9);
    pool.admit_again(transaction(&key(1), 0), Origin::Local).unwrap();
    // It was funded above the depth, and spent again before the depth got there.
    for at_depth in 9..15 {
        show(&[(12, 9), (15, 3)], at_depth);
        assert_eq!(nonces(&pool), [0], "{at_depth}");
    }
    show(&[(12, 9), (15, 3)], 15);
    assert!(nonces(&pool).is_empty());
}

#[test]
fn a_pool_that_reads_decided_blocks_for_long_is_free() {
    let around = Surroundings::new(params());
    let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap();
    let following = pool.following();
    assert!(pool.is_free(), "the disk is slow, and nobody holds the mempool");
    drop(following);
    let mempool = pool.lock();
    assert!(!pool.is_free());
    drop(mempool);
    assert!(pool.is_free());
}
