#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use super::{Admission, Mempool, Origin};
use crate::batch::body::body_bytes;
use crate::domain::{
    Authorization, Millis, RollupId, RollupTransaction, SequencerId, SignedTransaction,
};
use crate::mempool::lane::{Entry, Lane};
use crate::mempool::{BASE_FEE_WEI, DropReason, Limits, Refusal};
use crate::storage::NextNonceOf;
use alloy::primitives::{Address, B256};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

const ROLLUP: RollupId = RollupId::new(4242);
const NOW: Millis = Millis::new(1_000_000);
const LATER: Millis = Millis::new(1_001_000);

fn small() -> Limits {
    Limits {
        transactions: 8,
        bytes: 1 << 20,
        per_sender: 6,
        bytes_per_sender: 1_600,
        per_peer: 3,
        parked: 4,
        parked_time: Duration::from_millis(1_000),
        transaction_bytes: 1_000,
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
        // So that the tip is `fee`, whatever the base fee.
        max_fee_wei: fee.saturating_mul(10_000_000_000),
        priority_fee_wei: fee,
        authorizations: Vec::new(),
    }
}

fn plain(from: u8, nonce: u64) -> SignedTransaction {
    priced(from, nonce, 100, 40)
}

/// A block of them was decided, each in its turn.
fn decide(pool: &mut Mempool, transactions: &[SignedTransaction]) -> usize {
    let raw: Vec<_> = transactions.iter().map(|one| one.transaction.clone()).collect();
    let moved = transactions.iter().map(|one| (ROLLUP, one.sender, one.nonce + 1));
    pool.decided(&raw, moved.collect::<Vec<_>>())
}

fn is_ready(pool: &Mempool) -> bool {
    !pool.ready_rollups().is_empty()
}

fn taken(pool: &Mempool) -> Vec<B256> {
    pool.collect(1 << 20, &|_| true).iter().map(RollupTransaction::hash).collect()
}

#[test]
fn takes_by_arrival_across_senders_and_by_nonce_within_one() {
    let mut pool = Mempool::new(small());
    let order = [plain(1, 0), plain(2, 1), plain(2, 0), plain(1, 1), plain(3, 0)];
    for transaction in &order {
        pool.admit(transaction.clone(), Origin::Local, 0, NOW).unwrap();
    }
    // Sender 2's nonce 1 came first but waits for its nonce 0; it follows at once, as it is the older one then.
    let expected = [&order[0], &order[2], &order[1], &order[3], &order[4]].map(|t| t.hash);
    assert_eq!(taken(&pool), expected);
    assert_eq!(taken(&pool), expected, "collecting takes nothing out");
}

#[test]
fn who_pays_more_comes_first_and_every_fourth_place_is_for_who_waits_longest() {
    let mut pool = Mempool::new(Limits::default());
    let cheap = |from| priced(from, 0, 1, 40);
    let dear = |from| priced(from, 0, 9, 40);
    for from in 1..=3 {
        pool.admit(cheap(from), Origin::Local, 0, NOW).unwrap();
    }
    for from in 11..=16 {
        pool.admit(dear(from), Origin::Local, 0, NOW).unwrap();
    }
    let expected =
        [cheap(1), dear(11), dear(12), dear(13), cheap(2), dear(14), dear(15), dear(16), cheap(3)];
    assert_eq!(taken(&pool), expected.map(|one| one.hash));
}

#[test]
fn a_cheap_transaction_is_ordered_however_many_pay_more() {
    let mut pool = Mempool::new(Limits::default());
    let cheap = priced(1, 0, 0, 40);
    pool.admit(cheap.clone(), Origin::Local, 0, NOW).unwrap();
    for from in 2..=100 {
        pool.admit(priced(from, 0, u128::MAX, 40), Origin::Local, 0, NOW).unwrap();
    }
    let block = pool.collect(200, &|_| true);
    assert_eq!(block.len(), 4);
    assert!(block.contains(&cheap.transaction));
}

#[test]
fn a_tip_is_what_is_left_above_the_base_fee_and_nonces_keep_their_order() {
    let mut pool = Mempool::new(Limits::default());
    let fees = |from, nonce, max_fee_wei, priority_fee_wei| SignedTransaction {
        max_fee_wei,
        priority_fee_wei,
        ..plain(from, nonce)
    };
    let oldest = fees(9, 0, 0, 0);
    let claims = fees(1, 0, BASE_FEE_WEI + 1, u128::MAX);
    let pays = fees(2, 0, u128::MAX, 2);
    let held_back = fees(1, 1, u128::MAX, u128::MAX);
    for one in [&oldest, &claims, &held_back, &pays] {
        pool.admit(one.clone(), Origin::Local, 0, NOW).unwrap();
    }
    assert_eq!(taken(&pool), [oldest, pays, claims, held_back].map(|one| one.hash));
}

#[test]
fn rollups_share_a_block_whatever_their_transactions_pay() {
    let mut pool = Mempool::new(Limits::default());
    let other = |from, nonce| {
        let mut one = priced(from, nonce, u128::MAX, 41);
        one.transaction.rollup = RollupId::new(7);
        one
    };
    for nonce in 0..50 {
        pool.admit(other(1, nonce), Origin::Local, 0, NOW).unwrap();
    }
    for nonce in 0..3 {
        pool.admit(plain(2, nonce), Origin::Local, 0, NOW).unwrap();
    }
    let block = pool.collect(42 * 8, &|_| true);
    let rollups: Vec<u64> = block.iter().map(|one| one.rollup.get()).collect();
    assert_eq!(rollups, [7, 7, 7, 7, 4242, 4242, 4242], "each together, by halves");
    assert!(body_bytes(&block) <= 42 * 8);
}

#[test]
fn waits_for_the_nonces_that_a_restart_undid() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 7), Origin::Local, 7, NOW).unwrap();
    pool.admit(plain(2, 0), Origin::Local, 0, NOW).unwrap();
    assert_eq!(pool.accounts().len(), 2);
    pool.set_next([(ROLLUP, sender(1), 5), (ROLLUP, sender(2), 0)]);
    assert_eq!(taken(&pool), [plain(2, 0).hash]);
    for nonce in [6, 5] {
        pool.admit(plain(1, nonce), Origin::Local, 5, NOW).unwrap();
    }
    let mut expected = vec![plain(2, 0).hash];
    expected.extend((5..8).map(|nonce| plain(1, nonce).hash));
    let mut all = taken(&pool);
    all.sort_by_key(|hash| expected.iter().position(|other| other == hash));
    assert_eq!(all, expected);
    // What the new generation has decided meanwhile is out.
    pool.set_next([(ROLLUP, sender(1), 7)]);
    assert_eq!(pool.len(), 2);
}

#[test]
fn keeps_what_is_behind_a_gap_until_the_gap_closes() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 5), Origin::Local, 4, NOW).unwrap();
    assert!(!is_ready(&pool));
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(4));
    pool.admit(plain(1, 4), Origin::Local, 4, NOW).unwrap();
    assert_eq!(taken(&pool), [plain(1, 4).hash, plain(1, 5).hash]);
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(6));
}

#[test]
fn an_account_begins_at_nonce_zero_whatever_is_seen_of_it_first() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 1), Origin::Local, 0, NOW).unwrap();
    assert!(!is_ready(&pool));
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(0));
    pool.admit(plain(1, 0), Origin::Local, 0, NOW).unwrap();
    assert_eq!(taken(&pool), [plain(1, 0).hash, plain(1, 1).hash]);
}

#[test]
fn forgets_what_is_decided_and_what_that_outdates() {
    let mut pool = Mempool::new(small());
    for nonce in 0..4 {
        pool.admit(plain(1, nonce), Origin::Local, 0, NOW).unwrap();
    }
    // Nonce 0 was decided as another transaction.
    let other = priced(1, 0, 999, 40);
    assert_eq!(decide(&mut pool, &[other, plain(1, 1)]), 2);
    assert_eq!(taken(&pool), [plain(1, 2).hash, plain(1, 3).hash]);
    assert_eq!(pool.dropped(ROLLUP, plain(1, 0).hash), Some(DropReason::NonceSpent));
    assert_eq!(pool.dropped(ROLLUP, plain(1, 1).hash), None, "it was ordered");
    assert_eq!(pool.bytes(), 80);
}

#[test]
fn a_nonce_decided_ahead_of_its_turn_moves_nothing() {
    let mut pool = Mempool::new(small());
    for nonce in 0..3 {
        pool.admit(plain(1, nonce), Origin::Local, 0, NOW).unwrap();
    }
    assert_eq!(pool.decided(&[plain(1, 1).transaction], []), 1);
    assert_eq!(taken(&pool), [plain(1, 0).hash]);
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(1));
}

#[test]
fn what_waits_behind_another_ones_transaction_goes_on_when_that_is_decided() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 1), Origin::Peer(SequencerId::new(9)), 0, NOW).unwrap();
    assert!(!is_ready(&pool));
    // The pool never saw nonce 0.
    decide(&mut pool, &[plain(1, 0)]);
    assert_eq!(taken(&pool), [plain(1, 1).hash]);
}

/// A type 4 transaction with these authorizations.
fn authorizing(from: u8, nonce: u64, authorizations: &[(u8, u64)]) -> SignedTransaction {
    let authorizations = authorizations
        .iter()
        .map(|(by, nonce)| Authorization { authority: sender(*by), nonce: *nonce })
        .collect();
    SignedTransaction { authorizations, ..plain(from, nonce) }
}

#[test]
fn who_delegates_itself_goes_on_two_nonces_later() {
    let mut pool = Mempool::new(small());
    let delegating = authorizing(1, 0, &[(1, 1)]);
    pool.admit(delegating.clone(), Origin::Local, 0, NOW).unwrap();
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(2));
    pool.admit(plain(1, 1), Origin::Local, 0, NOW).unwrap();
    pool.admit(plain(1, 2), Origin::Local, 0, NOW).unwrap();
    assert_eq!(taken(&pool), [delegating.hash, plain(1, 2).hash], "1 is spent by then");
    pool.decided(&[delegating.transaction], [(ROLLUP, sender(1), 2)]);
    assert_eq!(taken(&pool), [plain(1, 2).hash]);
    assert_eq!(pool.dropped(ROLLUP, plain(1, 1).hash), Some(DropReason::NonceSpent));
}

#[test]
fn an_authorization_that_is_not_next_counts_for_nothing() {
    for (authorizations, after) in [
        (&[(1, 0)][..], 1),
        (&[(1, 2)], 1),
        (&[(1, u64::MAX - 1)], 1),
        (&[(2, 1)], 1),
        (&[(1, 1), (1, 2), (1, 2), (1, 4)], 3),
        (&[(1, 2), (1, 1)], 2),
    ] {
        assert_eq!(authorizing(1, 0, authorizations).nonce_after(), after, "{authorizations:?}");
    }
}

#[test]
fn an_account_that_somebody_else_took_along_goes_on_behind_that() {
    let mut pool = Mempool::new(small());
    let sponsor = authorizing(1, 0, &[(2, 0)]);
    pool.admit(plain(2, 1), Origin::Peer(SequencerId::new(9)), 0, NOW).unwrap();
    pool.admit(sponsor.clone(), Origin::Local, 0, NOW).unwrap();
    assert_eq!(taken(&pool), [sponsor.hash]);
    pool.decided(&[sponsor.transaction], [(ROLLUP, sender(1), 1), (ROLLUP, sender(2), 1)]);
    assert_eq!(taken(&pool), [plain(2, 1).hash]);
}

#[test]
fn replaces_for_a_tenth_more_in_both_fees_rounded_down_as_geth_does() {
    let fees = |max_fee_wei, priority_fee_wei, n| SignedTransaction {
        max_fee_wei,
        priority_fee_wei,
        ..priced(1, 0, n, 40)
    };
    // Before, offered, and whether that is enough.
    let cases: [((u128, u128), (u128, u128), bool); 12] = [
        ((2_001_000_001, 2_001_000_001), (2_201_100_001, 2_201_100_001), true),
        ((2_001_000_001, 2_001_000_001), (2_201_100_000, 2_201_100_001), false),
        ((2_001_000_001, 2_001_000_001), (2_201_100_001, 2_201_100_000), false),
        ((100, 100), (110, 110), true),
        ((100, 100), (109, 110), false),
        ((109, 109), (119, 119), true),
        ((9, 9), (9, 10), false),
        ((9, 9), (10, 10), true),
        ((0, 0), (0, 0), false),
        ((0, 0), (1, 1), true),
        ((u128::MAX, 1), (u128::MAX, u128::MAX), false),
        ((u128::MAX - 1, u128::MAX - 1), (u128::MAX, u128::MAX), true),
    ];
    for (before, offered, enough) in cases {
        let mut pool = Mempool::new(small());
        let waiting = fees(before.0, before.1, 1);
        pool.admit(waiting.clone(), Origin::Local, 0, NOW).unwrap();
        let by = fees(offered.0, offered.1, 2);
        let admitted = pool.admit(by.clone(), Origin::Local, 0, NOW);
        if enough {
            let replaced = Admission::Replaced {
                transaction: Box::new(waiting.clone()),
                origin: Origin::Local,
            };
            assert_eq!(admitted, Ok(replaced), "{before:?} by {offered:?}");
            assert_eq!(taken(&pool), [by.hash]);
            assert_eq!(
                pool.dropped(ROLLUP, waiting.hash),
                Some(DropReason::Replaced { by: by.hash })
            );
        } else {
            assert!(
                matches!(admitted, Err(Refusal::Underpriced { .. })),
                "{before:?} by {offered:?}"
            );
            assert_eq!(taken(&pool), [waiting.hash]);
        }
        assert_eq!((pool.len(), pool.bytes()), (1, 40));
    }
}

#[test]
fn says_the_same_of_the_same_transaction() {
    let mut pool = Mempool::new(small());
    let peer = Origin::Peer(SequencerId::new(9));
    assert_eq!(pool.admit(plain(1, 0), peer, 0, NOW), Ok(Admission::Added));
    assert_eq!(pool.admit(plain(1, 0), peer, 0, NOW), Ok(Admission::Known));
    assert!(!pool.is_local(plain(1, 0).hash));
    assert_eq!(pool.admit(plain(1, 0), Origin::Local, 0, NOW), Ok(Admission::Adopted));
    assert!(pool.is_local(plain(1, 0).hash));
    assert_eq!(pool.admit(plain(1, 0), Origin::Local, 0, NOW), Ok(Admission::Known));
}

#[test]
fn refuses_nonces_outside_the_window_of_a_known_sender() {
    let mut pool = Mempool::new(small());
    let low = pool.admit(plain(1, 3), Origin::Local, 4, NOW);
    assert_eq!(low, Err(Refusal::NonceTooLow { expected: 4, actual: 3 }));
    let high = pool.admit(plain(1, 10), Origin::Local, 4, NOW);
    assert_eq!(high, Err(Refusal::NonceTooHigh { limit: 9, actual: 10 }));
    pool.admit(plain(1, 9), Origin::Local, 4, NOW).unwrap();
}

#[test]
fn bounds_one_sender_and_one_peer() {
    let mut pool = Mempool::new(small());
    for nonce in 0..6 {
        pool.admit(plain(1, nonce), Origin::Local, 0, NOW).unwrap();
    }
    let full = pool.admit(plain(1, 6), Origin::Local, 0, NOW);
    assert_eq!(full, Err(Refusal::NonceTooHigh { limit: 5, actual: 6 }));
    // After a restart that undid its nonces, a sender may have as many waiting and no higher ones.
    pool.set_next([(ROLLUP, sender(1), 0)]);
    pool.retract(plain(1, 0).hash);
    pool.admit(plain(1, 0), Origin::Local, 0, NOW).unwrap();

    let mut pool = Mempool::new(small());
    for from in 1..4 {
        pool.admit(plain(from, 0), Origin::Peer(SequencerId::new(9)), 0, NOW).unwrap();
    }
    let full = pool.admit(plain(4, 0), Origin::Peer(SequencerId::new(9)), 0, NOW);
    assert_eq!(full, Err(Refusal::PeerFull { limit: 3 }));
    pool.admit(plain(4, 0), Origin::Peer(SequencerId::new(8)), 0, NOW).unwrap();
}

#[test]
fn bounds_the_bytes_of_one_sender() {
    let mut pool = Mempool::new(small());
    pool.admit(priced(1, 0, 100, 1_000), Origin::Local, 0, NOW).unwrap();
    let full = pool.admit(priced(1, 1, 100, 601), Origin::Local, 0, NOW);
    assert_eq!(full, Err(Refusal::SenderBytesFull { limit: 1_600 }));
    pool.admit(priced(1, 1, 100, 600), Origin::Local, 0, NOW).unwrap();
    pool.admit(priced(2, 0, 100, 601), Origin::Local, 0, NOW).unwrap();
    // What is replaced makes room.
    pool.admit(priced(1, 0, 110, 1_000), Origin::Local, 0, NOW).unwrap();
}

#[test]
fn what_a_client_was_promised_never_makes_room() {
    let mut pool = Mempool::new(small());
    let peer = Origin::Peer(SequencerId::new(9));
    pool.admit(plain(1, 3), Origin::Local, 0, NOW).unwrap();
    pool.admit(plain(2, 2), peer, 0, NOW).unwrap();
    pool.admit(plain(3, 0), peer, 0, NOW).unwrap();
    for from in 4..9 {
        pool.admit(plain(from, 0), Origin::Local, 0, NOW).unwrap();
    }
    let full = Refusal::PoolFull { transactions: 8, bytes: 320 };
    let parked = pool.admit(plain(10, 1), Origin::Local, 0, NOW);
    assert_eq!(parked, Err(full.clone()), "a gap is worth nobody's place");

    pool.admit(plain(10, 0), Origin::Local, 0, NOW).unwrap();
    assert!(pool.get(plain(2, 2).hash).is_none(), "the forwarded one behind a gap left");
    pool.admit(plain(11, 0), Origin::Local, 0, NOW).unwrap();
    assert!(pool.get(plain(3, 0).hash).is_none(), "the forwarded one left");
    for origin in [Origin::Local, Origin::Peer(SequencerId::new(8))] {
        let dear = priced(12, 0, u128::MAX, 40);
        assert_eq!(pool.admit(dear, origin, 0, NOW), Err(full.clone()));
    }
    assert!(pool.is_local(plain(1, 3).hash), "also behind a gap");
}

#[test]
fn a_forwarded_transaction_makes_room_for_one_that_pays_more_in_its_rollup() {
    let mut pool = Mempool::new(Limits { transactions: 3, per_peer: 9, ..small() });
    let peer = Origin::Peer(SequencerId::new(9));
    for (from, fee) in [(1, 5), (2, 3), (3, 4)] {
        pool.admit(priced(from, 0, fee, 40), peer, 0, NOW).unwrap();
    }
    let same = pool.admit(priced(4, 0, 3, 40), peer, 0, NOW);
    assert!(matches!(same, Err(Refusal::PoolFull { .. })));
    pool.admit(priced(4, 0, 6, 40), peer, 0, NOW).unwrap();
    assert!(pool.get(priced(2, 0, 3, 40).hash).is_none(), "the cheapest left");

    let mut elsewhere = priced(5, 0, 0, 40);
    elsewhere.transaction.rollup = RollupId::new(7);
    pool.admit(elsewhere.clone(), peer, 0, NOW).unwrap();
    assert!(pool.get(elsewhere.hash).is_some(), "fees of different rollups do not compare");
    assert!(pool.get(priced(3, 0, 4, 40).hash).is_none());
}

#[test]
fn a_gap_is_kept_for_few_and_not_for_ever() {
    let mut pool = Mempool::new(small());
    let peer = Origin::Peer(SequencerId::new(9));
    pool.admit(plain(9, 3), peer, 0, NOW).unwrap();
    for from in 1..4 {
        pool.admit(plain(from, 3), Origin::Local, 0, NOW).unwrap();
    }
    let too_many = pool.admit(plain(8, 2), peer, 0, NOW);
    assert_eq!(too_many, Err(Refusal::NonceTooHigh { limit: 0, actual: 2 }));
    pool.admit(plain(4, 3), Origin::Local, 0, NOW).unwrap();
    assert!(pool.get(plain(9, 3).hash).is_none(), "a peer's gap makes room for a client's");
    let too_many = pool.admit(plain(5, 3), Origin::Local, 0, NOW);
    assert_eq!(too_many, Err(Refusal::NonceTooHigh { limit: 0, actual: 3 }));

    let soon = Millis::new(LATER.get() - 1);
    assert_eq!(pool.drop_parked(soon), 0);
    pool.admit(plain(1, 0), Origin::Local, 0, soon).unwrap();
    assert_eq!(pool.drop_parked(LATER), 4);
    assert_eq!(pool.dropped(ROLLUP, plain(1, 3).hash), Some(DropReason::GapNotClosed));
    assert_eq!(taken(&pool), [plain(1, 0).hash], "what can be ordered has no age");
    assert_eq!(pool.drop_parked(Millis::new(u64::MAX)), 0);
}

#[test]
fn a_closed_rollups_transactions_leave_and_nobody_elses() {
    let mut pool = Mempool::new(small());
    let mut elsewhere = plain(2, 0);
    elsewhere.transaction.rollup = RollupId::new(7);
    pool.admit(plain(1, 0), Origin::Local, 0, NOW).unwrap();
    pool.admit(plain(1, 2), Origin::Peer(SequencerId::new(9)), 0, NOW).unwrap();
    pool.admit(elsewhere.clone(), Origin::Local, 0, NOW).unwrap();
    assert_eq!(pool.drop_rollup(ROLLUP), 1);
    assert_eq!(pool.dropped(ROLLUP, plain(1, 0).hash), Some(DropReason::RollupClosed));
    assert_eq!(pool.dropped(ROLLUP, plain(1, 2).hash), None, "nobody here had promised it");
    assert_eq!(taken(&pool), [elsewhere.hash]);
    assert_eq!((pool.len(), pool.bytes()), (1, 40));
    assert_eq!(pool.rollups(), [RollupId::new(7)].into());
}

#[test]
fn bounds_a_block_by_bytes_and_by_open_rollups() {
    let mut pool = Mempool::new(small());
    pool.admit(priced(1, 0, 100, 500), Origin::Local, 0, NOW).unwrap();
    pool.admit(priced(1, 1, 100, 40), Origin::Local, 0, NOW).unwrap();
    pool.admit(priced(2, 0, 100, 100), Origin::Local, 0, NOW).unwrap();
    let block = pool.collect(200, &|_| true);
    assert_eq!(block, [priced(2, 0, 100, 100).transaction], "nothing jumps its own sender's queue");
    assert!(pool.collect(1 << 20, &|_| false).is_empty());
    assert_eq!(pool.collect(1 << 20, &|_| true).len(), 3);
}

#[test]
fn lists_own_clients_transactions() {
    let mut pool = Mempool::new(small());
    pool.admit(plain(1, 0), Origin::Local, 0, NOW).unwrap();
    pool.admit(plain(2, 0), Origin::Peer(SequencerId::new(9)), 0, NOW).unwrap();
    pool.admit(plain(1, 1), Origin::Local, 0, NOW).unwrap();
    let all = pool.local_after(0, 10);
    assert_eq!(
        all.iter().map(|(_, t)| t.hash).collect::<Vec<_>>(),
        [plain(1, 0).hash, plain(1, 1).hash]
    );
    assert_eq!(pool.local_after(all[0].0, 10).len(), 1);
    assert!(pool.local_after(u64::MAX, 10).is_empty());
}

#[test]
fn the_last_nonces_of_all_are_ordered_and_nothing_comes_after_them() {
    let end = u64::MAX;
    let mut pool = Mempool::new(small());
    for nonce in [end - 1, end - 2] {
        pool.admit(plain(1, nonce), Origin::Local, end - 2, NOW).unwrap();
    }
    let beyond = pool.admit(plain(1, end), Origin::Local, end - 2, NOW);
    assert_eq!(beyond, Err(Refusal::NonceTooHigh { limit: end - 1, actual: end }));
    let ordered = [plain(1, end - 2), plain(1, end - 1)];
    assert_eq!(taken(&pool), ordered.clone().map(|one| one.hash));
    assert_eq!(pool.next_nonce(ROLLUP, sender(1)), Some(end));
    decide(&mut pool, &ordered);
    assert!(!is_ready(&pool));
    let beyond = pool.admit(plain(1, end), Origin::Local, end, NOW);
    assert_eq!(beyond, Err(Refusal::NonceTooHigh { limit: end - 1, actual: end }));
}

#[test]
fn a_run_takes_as_many_steps_as_it_has_entries_also_at_the_end_of_the_type() {
    // No transaction with this nonce decodes; a lane does not count on that.
    for first in [u64::MAX, u64::MAX - 1] {
        let mut lane = Lane::new(first);
        for nonce in first..=u64::MAX {
            let transaction = plain(1, nonce);
            lane.insert(Entry { transaction, arrival: nonce, origin: Origin::Local, since: NOW });
        }
        assert_eq!(lane.run_end(), u64::MAX);
        assert_eq!(lane.set_next(u64::MAX).len(), usize::from(first < u64::MAX));
        assert!(lane.head().is_none());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit { from: u8, nonce: u64, fee: u128, peer: Option<u8>, takes_along: Option<(u8, u64)> },
    Decide { count: usize },
    Outrun { from: u8 },
    Retract { from: u8, nonce: u64 },
    DropParked,
}

fn step() -> impl Strategy<Value = Step> {
    let fees = prop_oneof![Just(100u128), Just(110), Just(130)];
    let taken_along = proptest::option::weighted(0.3, (1u8..6, 0u64..8));
    prop_oneof![
        8 => (1u8..6, 0u64..8, fees, any::<Option<bool>>(), taken_along).prop_map(
            |(from, nonce, fee, peer, takes_along)| Step::Admit {
                from, nonce, fee, peer: peer.map(u8::from), takes_along,
            }
        ),
        2 => (0usize..4).prop_map(|count| Step::Decide { count }),
        1 => (1u8..6).prop_map(|from| Step::Outrun { from }),
        1 => (1u8..6, 0u64..8).prop_map(|(from, nonce)| Step::Retract { from, nonce }),
        1 => Just(Step::DropParked),
    ]
}

/// Nonces as an EVM counts them.
#[derive(Debug, Default)]
struct Chain(HashMap<Address, u64>);

impl Chain {
    fn next(&self, account: Address) -> u64 {
        self.0.get(&account).copied().unwrap_or(0)
    }

    /// Executes a transaction. False if it has no effect.
    fn execute(&mut self, one: &SignedTransaction) -> bool {
        if self.next(one.sender) != one.nonce {
            return false;
        }
        self.0.insert(one.sender, one.nonce + 1);
        for Authorization { authority, nonce } in &one.authorizations {
            if self.next(*authority) == *nonce {
                self.0.insert(*authority, nonce + 1);
            }
        }
        true
    }

    fn all(&self) -> Vec<NextNonceOf> {
        self.0.iter().map(|(account, next)| (ROLLUP, *account, *next)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens: the bounds hold, the indexes agree, what was promised stays or is told, and in a block each sender's
    /// transactions have the nonces that an EVM asks for, unless another sender's authorization in the same block spends one.
    #[test]
    fn stays_in_bounds_and_in_order(steps in proptest::collection::vec(step(), 1..80)) {
        let mut pool = Mempool::new(small());
        let mut chain = Chain::default();
        let mut promised: HashMap<B256, SignedTransaction> = HashMap::new();
        for step in steps {
            match step {
                Step::Admit { from, nonce, fee, peer, takes_along } => {
                    let origin = peer.map_or(Origin::Local, |peer| Origin::Peer(SequencerId::new(100 + u32::from(peer))));
                    let taken: Vec<_> = takes_along.into_iter().collect();
                    let mut one = priced(from, nonce, fee, 40);
                    one.authorizations = authorizing(from, nonce, &taken).authorizations;
                    // What it takes along makes it another transaction.
                    let (by, at) = takes_along.unwrap_or_default();
                    let mark = [by, u8::try_from(at).unwrap()];
                    one.transaction.raw = [&one.transaction.raw[..38], &mark].concat().into();
                    one.hash = one.transaction.hash();
                    let next = chain.next(one.sender);
                    if pool.admit(one.clone(), origin, next, NOW).is_ok() && origin == Origin::Local {
                        promised.insert(one.hash, one);
                    }
                }
                Step::Decide { count } => {
                    let block = pool.collect(1 << 20, &|_| true);
                    let found: Vec<_> =
                        block.iter().map(|one| pool.get(one.hash()).unwrap().clone()).collect();
                    let mut trial = Chain(chain.0.clone());
                    let mut spent_by_others = HashSet::new();
                    for one in &found {
                        let executed = trial.execute(one);
                        assert!(executed || spent_by_others.contains(&one.sender), "out of order");
                        let authorities = one.authorizations.iter().map(|one| one.authority);
                        spent_by_others.extend(authorities.filter(|by| *by != one.sender));
                    }
                    let part = &found[..count.min(found.len())];
                    for one in part {
                        chain.execute(one);
                        promised.remove(&one.hash);
                    }
                    let raw: Vec<_> = part.iter().map(|one| one.transaction.clone()).collect();
                    pool.decided(&raw, chain.all());
                    for one in part {
                        assert!(pool.get(one.hash).is_none());
                    }
                }
                Step::Outrun { from } => {
                    *chain.0.entry(sender(from)).or_default() += 1;
                    pool.decided(&[], chain.all());
                }
                Step::Retract { from, nonce } => {
                    pool.retract(plain(from, nonce).hash);
                    promised.remove(&plain(from, nonce).hash);
                }
                Step::DropParked => {
                    pool.drop_parked(LATER);
                }
            }
            for hash in promised.keys() {
                assert!(pool.get(*hash).is_some() || pool.dropped(ROLLUP, *hash).is_some(), "lost");
            }
            assert!(pool.len() <= 8 && pool.bytes() == pool.len() * 40);
            let forwarded: usize = pool.forwarded.values().map(BTreeSet::len).sum();
            assert_eq!(pool.by_hash.len(), pool.local.len() + forwarded);
            assert_eq!(pool.lanes.values().map(Lane::len).sum::<usize>(), pool.len());
            assert_eq!(pool.by_peer.values().sum::<usize>(), forwarded);
            let ready = pool.lanes.values().filter(|lane| lane.head().is_some()).count();
            assert_eq!(pool.ready.len(), ready);
            let parked: usize = pool.lanes.values().map(Lane::parked).sum();
            assert_eq!(pool.parked_in_all, parked);
            assert_eq!(pool.parked.values().sum::<usize>(), parked);
        }
    }
}
