#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use super::{Admission, Mempool, Origin};
use crate::domain::{Millis, RollupId, RollupTransaction, SequencerId, SignedTransaction};
use crate::mempool::lane::{Entry, Lane};
use crate::mempool::{Limits, Refusal};
use alloy::primitives::{Address, B256};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::collections::HashMap;
use std::time::Duration;

const ROLLUP: RollupId = RollupId::new(4242);
const NOW: Millis = Millis::new(1_000_000);
const LATER: Millis = Millis::new(1_001_000);

fn small() -> Limits {
    Limits {
        transactions: 8,
        bytes: 1 << 20,
        per_sender: 6,
        per_peer: 3,
        transaction_bytes: 1_000,
        settle_time: Duration::from_millis(500),
    }
}

fn sender(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn priced(from: u8, nonce: u64, fee: u128, size: usize) -> SignedTransaction {
    let mut raw = vec![0xee; size.max(40)];
    raw[0] = from;
    raw[1..9].copy_from_slice(&nonce.to_be_bytes());
    raw[9..25].copy_from_slice(&fee.to_be_bytes());
    let transaction = RollupTransaction { rollup: ROLLUP, raw: raw.into() };
    SignedTransaction {
        hash: transaction.hash(),
        transaction,
        sender: sender(from),
        nonce,
        gas_limit: 21_000,
        max_fee_wei: fee,
        priority_fee_wei: fee,
    }
}

fn plain(from: u8, nonce: u64) -> SignedTransaction {
    priced(from, nonce, 100, 40)
}

fn unknown(_: RollupId, _: Address) -> Option<u64> {
    None
}

fn taken(pool: &mut Mempool, now: Millis) -> Vec<B256> {
    pool.collect(1 << 20, &|_| true, &unknown, now).iter().map(RollupTransaction::hash).collect()
}

#[test]
fn takes_by_arrival_across_senders_and_by_nonce_within_one() {
    let mut pool = Mempool::new(small());
    let order = [plain(1, 0), plain(2, 1), plain(2, 0), plain(1, 1), plain(3, 0)];
    for transaction in &order {
        pool.admit(transaction.clone(), Origin::Local, Some(0), NOW).unwrap();
    }
    // Sender 2's nonce 1 came first but waits for its nonce 0; it follows at once, as it is the older one then.
    let expected = [&order[0], &order[2], &order[1], &order[3], &order[4]].map(|t| t.hash);
    assert_eq!(taken(&mut pool, NOW), expected);
    assert_eq!(taken(&mut pool, NOW), expected, "collecting takes nothing out");
}

#[test]
fn waits_for_the_nonces_that_a_restart_undid() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 7), Origin::Local, Some(7), NOW).unwrap();
    pool.admit(plain(2, 0), Origin::Local, Some(0), NOW).unwrap();
    pool.go_back(&|_, by| (by == sender(1)).then_some(5));
    assert_eq!(taken(&mut pool, NOW), [plain(2, 0).hash]);
    for nonce in [6, 5] {
        pool.admit(plain(1, nonce), Origin::Local, Some(5), NOW).unwrap();
    }
    let mut expected = vec![plain(2, 0).hash];
    expected.extend((5..8).map(|nonce| plain(1, nonce).hash));
    let mut all = taken(&mut pool, NOW);
    all.sort_by_key(|hash| expected.iter().position(|other| other == hash));
    assert_eq!(all, expected);
    // What the new generation has decided meanwhile is out.
    pool.go_back(&|_, by| (by == sender(1)).then_some(7));
    assert_eq!(pool.len(), 2);
}

#[test]
fn keeps_what_is_behind_a_gap_until_the_gap_closes() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 5), Origin::Local, Some(4), NOW).unwrap();
    assert!(!pool.has_ready(&unknown, NOW));
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(4));
    pool.admit(plain(1, 4), Origin::Local, Some(4), NOW).unwrap();
    assert_eq!(taken(&mut pool, NOW), [plain(1, 4).hash, plain(1, 5).hash]);
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(6));
}

#[test]
fn lets_lower_nonces_of_an_unknown_sender_come_first() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 9), Origin::Local, None, NOW).unwrap();
    assert!(!pool.has_ready(&unknown, NOW), "held: nonce 8 may be under way");
    pool.admit(plain(1, 8), Origin::Local, None, NOW).unwrap();
    assert!(!pool.has_ready(&unknown, NOW));
    assert_eq!(taken(&mut pool, LATER), [plain(1, 8).hash, plain(1, 9).hash]);
}

#[test]
fn does_not_hold_a_nonce_that_nothing_can_precede() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 1), Origin::Local, None, NOW).unwrap();
    pool.admit(plain(1, 0), Origin::Local, None, NOW).unwrap();
    assert_eq!(taken(&mut pool, NOW), [plain(1, 0).hash, plain(1, 1).hash]);
}

#[test]
fn forgets_what_is_decided_and_what_that_outdates() {
    let mut pool = Mempool::new(small());
    for nonce in 0..4 {
        pool.admit(plain(1, nonce), Origin::Local, None, NOW).unwrap();
    }
    assert_eq!(pool.decided(&[plain(1, 1).transaction]), 2, "nonce 0 can no longer be ordered");
    assert_eq!(taken(&mut pool, NOW), [plain(1, 2).hash, plain(1, 3).hash]);
    assert!(pool.get(plain(1, 0).hash).is_none());
    assert_eq!(pool.bytes(), 80);
}

#[test]
fn a_nonce_decided_ahead_of_its_turn_moves_nothing() {
    let mut pool = Mempool::new(small());
    for nonce in 0..3 {
        pool.admit(plain(1, nonce), Origin::Local, Some(0), NOW).unwrap();
    }
    assert_eq!(pool.decided(&[plain(1, 1).transaction]), 1);
    assert_eq!(taken(&mut pool, NOW), [plain(1, 0).hash]);
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(1));
}

#[test]
fn drops_a_head_that_another_transaction_of_its_nonce_outran() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 0), Origin::Local, Some(0), NOW).unwrap();
    pool.admit(plain(1, 1), Origin::Local, Some(0), NOW).unwrap();
    // A block with somebody else's copy of nonce 0: the pool does not know its hash, the decided chain the nonce.
    pool.decided(&[priced(1, 0, 999, 40).transaction]);
    let next = |_, _| Some(1);
    assert!(pool.has_ready(&next, NOW), "nonce 1");
    assert!(pool.get(plain(1, 0).hash).is_none(), "nonce 0 is no work any more");
    let block = pool.collect(1 << 20, &|_| true, &next, NOW);
    assert_eq!(block.iter().map(RollupTransaction::hash).collect::<Vec<_>>(), [plain(1, 1).hash]);
    assert_eq!(pool.len(), 1);
    assert_eq!(pool.collect(1 << 20, &|_| true, &next, NOW).len(), 1, "and is ready once");
}

#[test]
fn replaces_only_for_a_tenth_more_in_both_fees() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 0), Origin::Local, Some(0), NOW).unwrap();
    let needed = Refusal::Underpriced { needed_max_fee_wei: 110, needed_priority_fee_wei: 110 };
    let low = priced(1, 0, 109, 40);
    assert_eq!(pool.admit(low, Origin::Local, Some(0), NOW), Err(needed.clone()));
    let mut half = priced(1, 0, 200, 40);
    half.priority_fee_wei = 109;
    assert_eq!(pool.admit(half, Origin::Local, Some(0), NOW), Err(needed));
    let enough = priced(1, 0, 110, 40);
    assert_eq!(
        pool.admit(enough.clone(), Origin::Local, Some(0), NOW),
        Ok(Admission::Replaced(plain(1, 0).hash))
    );
    assert_eq!(taken(&mut pool, NOW), [enough.hash]);
    assert_eq!((pool.len(), pool.bytes()), (1, 40));
}

#[test]
fn says_the_same_of_the_same_transaction() {
    let mut pool = Mempool::new(small());
    let peer = Origin::Peer(SequencerId::new(9));
    assert_eq!(pool.admit(plain(1, 0), peer, Some(0), NOW), Ok(Admission::Added));
    assert_eq!(pool.admit(plain(1, 0), peer, Some(0), NOW), Ok(Admission::Known));
    assert!(!pool.is_local(plain(1, 0).hash));
    assert_eq!(pool.admit(plain(1, 0), Origin::Local, Some(0), NOW), Ok(Admission::Adopted));
    assert!(pool.is_local(plain(1, 0).hash));
    assert_eq!(pool.admit(plain(1, 0), Origin::Local, Some(0), NOW), Ok(Admission::Known));
}

#[test]
fn refuses_nonces_outside_the_window_of_a_known_sender() {
    let mut pool = Mempool::new(small());
    let low = pool.admit(plain(1, 3), Origin::Local, Some(4), NOW);
    assert_eq!(low, Err(Refusal::NonceTooLow { expected: 4, actual: 3 }));
    let high = pool.admit(plain(1, 10), Origin::Local, Some(4), NOW);
    assert_eq!(high, Err(Refusal::NonceTooHigh { limit: 9, actual: 10 }));
    pool.admit(plain(1, 9), Origin::Local, Some(4), NOW).unwrap();
}

#[test]
fn bounds_one_sender_and_one_peer() {
    let mut pool = Mempool::new(small());
    for nonce in 0..6 {
        pool.admit(plain(1, nonce), Origin::Local, None, NOW).unwrap();
    }
    let full = pool.admit(plain(1, 6), Origin::Local, None, NOW);
    assert_eq!(full, Err(Refusal::SenderFull { limit: 6 }));

    let mut pool = Mempool::new(small());
    for from in 1..4 {
        pool.admit(plain(from, 0), Origin::Peer(SequencerId::new(9)), None, NOW).unwrap();
    }
    let full = pool.admit(plain(4, 0), Origin::Peer(SequencerId::new(9)), None, NOW);
    assert_eq!(full, Err(Refusal::PeerFull { limit: 3 }));
    pool.admit(plain(4, 0), Origin::Peer(SequencerId::new(8)), None, NOW).unwrap();
}

#[test]
fn makes_room_from_gaps_then_from_forwarded_ones_then_not_at_all() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 3), Origin::Local, Some(0), NOW).unwrap();
    pool.admit(plain(2, 0), Origin::Peer(SequencerId::new(9)), Some(0), NOW).unwrap();
    for from in 3..9 {
        pool.admit(plain(from, 0), Origin::Local, Some(0), NOW).unwrap();
    }
    let full = Refusal::PoolFull { transactions: 8, bytes: 320 };
    let parked = pool.admit(plain(10, 1), Origin::Local, Some(0), NOW);
    assert_eq!(parked, Err(full.clone()), "a gap is not worth another gap");

    pool.admit(plain(10, 0), Origin::Local, Some(0), NOW).unwrap();
    assert!(pool.get(plain(1, 3).hash).is_none(), "the one behind a gap left");
    let forwarded = pool.admit(plain(11, 0), Origin::Peer(SequencerId::new(8)), Some(0), NOW);
    assert_eq!(forwarded, Err(full.clone()), "a peer's is not worth a peer's");
    pool.admit(plain(11, 0), Origin::Local, Some(0), NOW).unwrap();
    assert!(pool.get(plain(2, 0).hash).is_none(), "the forwarded one left");
    assert_eq!(pool.admit(plain(12, 0), Origin::Local, Some(0), NOW), Err(full));
}

#[test]
fn bounds_a_block_by_bytes_and_by_open_rollups() {
    let mut pool = Mempool::new(small());
    pool.admit(priced(1, 0, 100, 500), Origin::Local, Some(0), NOW).unwrap();
    pool.admit(priced(1, 1, 100, 40), Origin::Local, Some(0), NOW).unwrap();
    pool.admit(priced(2, 0, 100, 100), Origin::Local, Some(0), NOW).unwrap();
    let block = pool.collect(200, &|_| true, &unknown, NOW);
    assert_eq!(block, [priced(2, 0, 100, 100).transaction], "nothing jumps its own sender's queue");
    assert!(pool.collect(1 << 20, &|_| false, &unknown, NOW).is_empty());
    assert_eq!(pool.collect(1 << 20, &|_| true, &unknown, NOW).len(), 3);
}

#[test]
fn lists_own_clients_transactions_without_the_outrun() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 0), Origin::Local, Some(0), NOW).unwrap();
    pool.admit(plain(2, 0), Origin::Peer(SequencerId::new(9)), Some(0), NOW).unwrap();
    pool.admit(plain(1, 1), Origin::Local, Some(0), NOW).unwrap();
    let all = pool.local_after(0, 10, &unknown);
    assert_eq!(
        all.iter().map(|(_, t)| t.hash).collect::<Vec<_>>(),
        [plain(1, 0).hash, plain(1, 1).hash]
    );
    assert_eq!(pool.local_after(all[0].0, 10, &unknown).len(), 1);
    pool.decided(&[]);
    let left = pool.local_after(0, 10, &|_, _| Some(1));
    assert_eq!(left.iter().map(|(_, t)| t.hash).collect::<Vec<_>>(), [plain(1, 1).hash]);
}

#[test]
fn the_last_nonces_of_all_are_ordered_and_nothing_comes_after_them() {
    let end = u64::MAX;
    let mut pool = Mempool::new(small());
    for nonce in [end - 1, end - 2] {
        pool.admit(plain(1, nonce), Origin::Local, Some(end - 2), NOW).unwrap();
    }
    let beyond = pool.admit(plain(1, end), Origin::Local, Some(end - 2), NOW);
    assert_eq!(beyond, Err(Refusal::NonceTooHigh { limit: end - 1, actual: end }));
    let ordered = [plain(1, end - 2), plain(1, end - 1)];
    assert_eq!(taken(&mut pool, NOW), ordered.clone().map(|one| one.hash));
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(end));
    pool.decided(&ordered.map(|one| one.transaction));
    assert!(!pool.has_ready(&|_, _| Some(end), LATER));
}

#[test]
fn a_run_takes_as_many_steps_as_it_has_entries_also_at_the_end_of_the_type() {
    // No transaction with this nonce decodes; a lane does not count on that.
    for first in [u64::MAX, u64::MAX - 1] {
        let mut lane = Lane::new(Some(first), 0);
        for nonce in first..=u64::MAX {
            let transaction = plain(1, nonce);
            lane.insert(Entry { transaction, arrival: nonce, origin: Origin::Local });
        }
        lane.measure();
        assert_eq!(lane.run_end(), u64::MAX);
        assert_eq!(lane.advance(u64::MAX).len(), usize::from(first < u64::MAX));
        assert!(lane.head().is_none());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit { from: u8, nonce: u64, fee: u128, peer: Option<u8> },
    Decide { count: usize },
    Outrun { from: u8 },
    Retract { from: u8, nonce: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u8..6, 0u64..8, prop_oneof![Just(100u128), Just(110), Just(130)], any::<Option<bool>>())
            .prop_map(|(from, nonce, fee, peer)| Step::Admit { from, nonce, fee, peer: peer.map(u8::from) }),
        2 => (0usize..4).prop_map(|count| Step::Decide { count }),
        1 => (1u8..6).prop_map(|from| Step::Outrun { from }),
        1 => (1u8..6, 0u64..8).prop_map(|(from, nonce)| Step::Retract { from, nonce }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens: the bounds hold, the indexes agree, and a block holds each sender's next nonces without a gap.
    #[test]
    fn stays_in_bounds_and_in_order(steps in proptest::collection::vec(step(), 1..80)) {
        let mut pool = Mempool::new(small());
        let mut chain: HashMap<Address, u64> = HashMap::new();
        for step in steps {
            match step {
                Step::Admit { from, nonce, fee, peer } => {
                    let origin = peer.map_or(Origin::Local, |peer| Origin::Peer(SequencerId::new(100 + u32::from(peer))));
                    let next = chain.get(&sender(from)).copied();
                    let _ = pool.admit(priced(from, nonce, fee, 40), origin, next, NOW);
                }
                Step::Decide { count } => {
                    let next = |_, who: Address| chain.get(&who).copied();
                    let block = pool.collect(1 << 20, &|_| true, &next, LATER);
                    let mut expected = chain.clone();
                    for transaction in &block {
                        let from = sender(transaction.raw[0]);
                        let nonce = u64::from_be_bytes(transaction.raw[1..9].try_into().unwrap());
                        if let Some(next) = expected.get(&from) {
                            assert_eq!(nonce, *next, "block breaks the nonce order");
                        }
                        expected.insert(from, nonce + 1);
                    }
                    let part = &block[..count.min(block.len())];
                    for transaction in part {
                        let nonce = u64::from_be_bytes(transaction.raw[1..9].try_into().unwrap());
                        chain.insert(sender(transaction.raw[0]), nonce + 1);
                    }
                    pool.decided(part);
                    for transaction in part {
                        assert!(pool.get(transaction.hash()).is_none());
                    }
                }
                Step::Outrun { from } => {
                    *chain.entry(sender(from)).or_default() += 1;
                    pool.decided(&[]);
                }
                Step::Retract { from, nonce } => pool.retract(plain(from, nonce).hash),
            }
            assert!(pool.len() <= 8 && pool.bytes() == pool.len() * 40);
            assert_eq!(pool.by_hash.len(), pool.local.len() + pool.forwarded.len());
            assert_eq!(pool.lanes.values().map(|lane| lane.entries.len()).sum::<usize>(), pool.len());
            assert_eq!(pool.by_peer.values().sum::<usize>(), pool.forwarded.len());
            let ready = pool.lanes.values().filter(|lane| lane.head().is_some()).count();
            assert_eq!(pool.ready.len(), ready);
            let parked = pool.lanes.values().filter(|lane| lane.has_parked()).count();
            assert_eq!(pool.parked.len(), parked);
        }
    }
}
