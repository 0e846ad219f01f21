//! Flights, look by look.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{Carries, Fees, Flights, MAX_ADOPTED, MAX_REMEMBERED, Order, Refusal, Sent, Tend};
use alloy::primitives::{B256, Bytes, U256};
use std::time::Duration;

const BLOCK: Duration = Duration::from_secs(1);
const GWEI: u128 = 1_000_000_000;
const CAP: u128 = 100 * GWEI;
const LIMIT: Fees = Fees { max_fee_wei: CAP, priority_fee_wei: CAP };

fn fees(max_fee_wei: u128, priority_fee_wei: u128) -> Fees {
    Fees { max_fee_wei, priority_fee_wei }
}

fn at(blocks: u32) -> Duration {
    BLOCK * blocks
}

fn sent(nonce: u64, fees: Fees) -> Sent {
    Sent { hash: B256::ZERO, nonce, fees, gas: 1 }
}

/// Of an account that is this process's alone, at nonce 7.
fn owned(pending: u64) -> Flights {
    let mut flights = Flights::default();
    assert!(flights.see(7, pending, Duration::ZERO, true));
    flights
}

fn send(flights: &mut Flights, nonce: u64, offer: Fees, now: Duration) {
    let order = Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
    flights.sending(Carries::Duty, &order, sent(nonce, offer), None, now);
    flights.taken(sent(nonce, offer));
}

/// Sends and is refused.
fn refuse(flights: &mut Flights, nonce: u64, offer: Fees, why: Refusal) {
    let order = Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
    let before = flights.at(nonce).cloned();
    flights.sending(Carries::Duty, &order, sent(nonce, offer), None, Duration::ZERO);
    flights.refused(sent(nonce, offer), why, before, Duration::ZERO);
}

#[test]
fn a_node_that_shows_nothing_of_what_waits_frees_no_nonce() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(10, 1), at(0));
    assert!(flights.see(7, 7, at(1), true));
    assert_eq!(flights.next_free(), 8);
    assert!(flights.see(6, 6, at(2), true));
    assert_eq!(flights.next_free(), 8, "nor does one that lags");
}

#[test]
fn nonces_that_nobody_here_gave_out_are_taken_over_by_the_owner_alone() {
    let flights = owned(9);
    let unknown: Vec<u64> = flights.waiting().map(|flight| flight.nonce).collect();
    assert_eq!((unknown, flights.next_free()), (vec![7, 8], 9));
    let mut shared = Flights::default();
    assert!(shared.see(7, 9, at(0), false));
    assert_eq!((shared.waiting().count(), shared.next_free()), (0, 9));
}

#[test]
fn what_a_node_says_without_sense_takes_over_a_bounded_number_of_nonces() {
    let mut flights = owned(u64::MAX);
    assert_eq!(flights.waiting().count(), usize::try_from(MAX_ADOPTED).unwrap());
    assert!(!flights.see(u64::MAX, u64::MAX, at(1), true));
    assert_eq!(flights.next_free(), 7 + MAX_ADOPTED);
    let mut flights = Flights::default();
    assert!(flights.see(u64::MAX, u64::MAX, at(1), true));
    assert_eq!(flights.next_free(), u64::MAX);
    let mut flights = Flights::default();
    assert!(flights.see(1 << 40, 1 << 40, at(0), true));
    send(&mut flights, 1 << 40, fees(10, 1), at(0));
    assert!(flights.see(0, 0, at(1), true));
    let bound = usize::try_from(MAX_ADOPTED + MAX_REMEMBERED).unwrap();
    assert!(flights.waiting().count() <= bound + 1);
}

#[test]
fn a_nonce_that_a_node_makes_up_does_not_move_the_account_for_good() {
    let far = 1_000_000;
    let mut flights = owned(7);
    assert!(!flights.see(far, far, at(1), true), "more than a pool keeps");
    assert_eq!(flights.next_free(), 7);
    // Who has just started believes it, and sends there.
    let mut flights = Flights::default();
    assert!(flights.see(far, far, at(0), true));
    send(&mut flights, far, fees(10, 1), at(0));
    assert!(flights.see(7, 7, at(1), true));
    assert_eq!((flights.next_free(), flights.waiting().count()), (7, 0));
    send(&mut flights, 7, fees(10, 1), at(1));
    assert_eq!(flights.tend(at(1_000), BLOCK), [Tend::Raise { nonce: 7, is_first: true }]);
    assert!(flights.see(7, 7, at(3_700), true));
    assert!(flights.at(far).is_none() && flights.at(7).is_some());
}

#[test]
fn a_nonce_that_a_node_tells_too_low_forgets_nothing_that_waits() {
    let mut flights = Flights::default();
    assert!(flights.see(1_000, 1_000, at(0), true));
    send(&mut flights, 1_000, fees(10, 1), at(0));
    assert!(flights.see(0, 0, at(1), true));
    assert!(!flights.is_idle(), "it is looked for again");
    assert!(flights.see(1_000, 1_000, at(2), true));
    assert_eq!((flights.waiting().count(), flights.next_free()), (1, 1_001));
    assert_eq!(flights.at(1_000).unwrap().carries, Carries::Duty);
}

#[test]
fn a_nonce_far_beyond_is_believed_when_nodes_tell_nothing_else_for_long() {
    let mut flights = owned(7);
    assert!(!flights.see(1_000, 1_000, at(1), true));
    assert!(!flights.see(1_000, 1_000, at(120), true));
    assert!(flights.see(1_000, 1_000, at(121), true));
    assert_eq!(flights.next_free(), 1_000);
    let mut flights = owned(7);
    assert!(!flights.see(1_000, 1_000, at(1), true));
    assert!(flights.see(7, 7, at(100), true), "one of them lies");
    assert!(!flights.see(1_000, 1_000, at(121), true));
}

#[test]
fn told_ever_more_pending_an_account_takes_over_no_more_than_a_pool_keeps() {
    let mut flights = owned(7);
    for look in 1..10 {
        assert!(flights.see(7, u64::MAX, at(look), true));
    }
    assert_eq!(flights.next_free(), 7 + MAX_ADOPTED);
}

#[test]
fn a_replacement_pays_a_tenth_more_of_both_fees_or_what_is_asked_now() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(10 * GWEI, GWEI), at(0));
    let (quoted, at_limit) = flights.quote(7, fees(2 * GWEI, 1), LIMIT, at(0));
    assert!(quoted.max_fee_wei * 10 >= 11 * 10 * GWEI && quoted.max_fee_wei < 12 * GWEI);
    assert!(quoted.priority_fee_wei * 10 >= 11 * GWEI && !at_limit);
    let asked = fees(40 * GWEI, GWEI);
    assert_eq!(flights.quote(7, asked, LIMIT, at(0)).0.max_fee_wei, 40 * GWEI);
}

#[test]
fn the_limit_is_never_passed_and_at_it_the_same_is_offered_again() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(95 * GWEI, GWEI), at(0));
    let (first, at_limit) = flights.quote(7, fees(GWEI, 1), LIMIT, at(0));
    assert!(at_limit && first.max_fee_wei == CAP && first.priority_fee_wei > GWEI);
    send(&mut flights, 7, first, at(0));
    assert_eq!(flights.quote(7, fees(GWEI, 1), LIMIT, at(0)), (first, true), "the same bytes");
    send(&mut flights, 8, fees(95 * GWEI, 95 * GWEI), at(0));
    let (tip, at_limit) = flights.quote(8, fees(GWEI, 1), LIMIT, at(0));
    assert!(at_limit && tip == fees(CAP, CAP), "the tip counts too");
    let asked = fees(1_000 * GWEI, GWEI);
    assert_eq!(flights.quote(9, asked, LIMIT, at(0)), (fees(CAP, GWEI), false), "it may wait");
}

#[test]
fn at_the_limit_the_tip_that_nodes_insist_on_is_still_paid() {
    let mut flights = owned(7);
    // Counts as sent, as the refusal of its tip was lost on the way.
    send(&mut flights, 7, fees(CAP, GWEI), at(0));
    let (offer, at_limit) = flights.quote(7, fees(GWEI, 1), LIMIT, at(0));
    assert_eq!((offer, at_limit), (fees(CAP, GWEI), true));
    refuse(&mut flights, 7, offer, Refusal::Underpriced);
    assert_eq!(flights.quote(7, fees(GWEI, 1), LIMIT, at(0)), (fees(CAP, 2 * GWEI), true));
}

#[test]
fn what_nobody_knows_the_fees_of_is_outbid_by_doubling_up_to_the_limit() {
    let mut flights = owned(8);
    let asked = fees(3 * GWEI, GWEI);
    let mut offers = Vec::new();
    for _ in 0..8 {
        let (offer, at_limit) = flights.quote(7, asked, LIMIT, at(0));
        offers.push((offer.max_fee_wei / GWEI, at_limit));
        refuse(&mut flights, 7, offer, Refusal::ReplacementUnderpriced);
        assert_eq!(flights.at(7).unwrap().carries, Carries::Unknown);
    }
    let below = [3, 6, 12, 24, 48, 96].map(|offer| (offer, false));
    assert_eq!(offers[..6], below);
    assert_eq!(offers[6..], [(100, true), (100, true)]);
}

#[test]
fn a_nonce_that_a_node_says_is_taken_is_of_unknown_content() {
    let mut flights = owned(7);
    refuse(&mut flights, 7, fees(10, 1), Refusal::ReplacementUnderpriced);
    assert_eq!(flights.at(7).unwrap().carries, Carries::Unknown);
    assert_eq!(flights.next_free(), 8);
}

#[test]
fn what_was_refused_leaves_its_nonce_free_or_as_it_was() {
    let mut flights = owned(7);
    refuse(&mut flights, 7, fees(10, 1), Refusal::NoFunds);
    assert_eq!(flights.next_free(), 7);
    send(&mut flights, 7, fees(10, 1), at(0));
    refuse(&mut flights, 7, fees(20, 2), Refusal::PoolFull);
    assert_eq!(flights.at(7).unwrap().newest().unwrap().fees, fees(10, 1));
}

#[test]
fn a_tip_that_nodes_want_is_learned_and_forgotten_an_hour_later() {
    let mut flights = owned(7);
    let minimum_wei = Some(2 * GWEI);
    refuse(&mut flights, 7, fees(GWEI, 1), Refusal::TipTooLow { minimum_wei });
    let (quoted, _) = flights.quote(7, fees(GWEI, 1), LIMIT, at(0));
    assert_eq!(quoted, fees(3 * GWEI - 1, 2 * GWEI));
    assert_eq!(flights.quote(7, fees(GWEI, 1), LIMIT, at(3_600)).0, fees(GWEI, 1));
}

#[test]
fn a_tip_that_nodes_do_not_name_is_found_by_doubling() {
    let mut flights = owned(7);
    let mut tips = Vec::new();
    for _ in 0..4 {
        let (offer, _) = flights.quote(7, fees(GWEI, 1), LIMIT, at(0));
        tips.push(offer.priority_fee_wei);
        refuse(&mut flights, 7, offer, Refusal::Underpriced);
    }
    assert_eq!(tips, [1, 100_000_000, 200_000_000, 400_000_000]);
}

#[test]
fn the_fee_of_what_waits_is_raised_ever_more_patiently() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(10, 1), at(0));
    let mut raised_at = Vec::new();
    for block in 1..=40 {
        let due = flights.tend(at(block), BLOCK);
        if due.contains(&Tend::Raise { nonce: 7, is_first: true }) {
            raised_at.push(block);
            send(&mut flights, 7, fees(10 + u128::from(block), 1), at(block));
        } else if due.contains(&Tend::Show { nonce: 7 }) {
            flights.shown(7, true, at(block));
        }
    }
    assert_eq!(raised_at, [3, 9, 21]);
}

#[test]
fn what_a_node_does_not_show_is_sent_again_unchanged_ever_less_often() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(10, 1), at(0));
    // So that it is not raised meanwhile.
    for _ in 0..5 {
        send(&mut flights, 7, fees(10, 1), at(0));
    }
    let mut shown_at = Vec::new();
    for block in 1..=70 {
        if flights.tend(at(block), BLOCK) == [Tend::Show { nonce: 7 }] {
            shown_at.push(block);
            flights.shown(7, false, at(block));
        }
    }
    assert_eq!(shown_at, [1, 3, 7, 15, 31, 63]);
}

#[test]
fn what_is_at_the_limit_rests_ever_longer() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(95 * GWEI, GWEI), at(0));
    let mut tried_at = Vec::new();
    for block in 1..=100 {
        let due = flights.tend(at(block), BLOCK);
        if due.iter().any(|what| matches!(what, Tend::Raise { .. })) {
            tried_at.push(block);
            flights.rest(7, at(block), BLOCK);
        }
    }
    assert!(tried_at.len() <= 6, "{tried_at:?}");
}

#[test]
fn what_nobody_wants_any_more_is_filled_and_leaves_no_hole() {
    let mut flights = owned(7);
    let order = Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
    let until = Some(at(2));
    flights.sending(Carries::Duty, &order, sent(7, fees(10, 1)), until, at(0));
    flights.taken(sent(7, fees(10, 1)));
    send(&mut flights, 8, fees(10, 1), at(0));
    assert_eq!(flights.tend(at(2), BLOCK).first(), Some(&Tend::Fill { nonce: 7 }));
    flights.give_up(8);
    assert_eq!(flights.tend(at(0), BLOCK), [Tend::Fill { nonce: 8 }]);
    assert_eq!(flights.next_free(), 9);
}

#[test]
fn what_is_included_is_remembered_for_reorgs_and_then_forgotten() {
    let mut flights = owned(7);
    send(&mut flights, 7, fees(10, 1), at(0));
    assert!(flights.see(8, 8, at(1), true));
    assert_eq!(flights.waiting().count(), 0);
    assert!(flights.see(7, 7, at(2), true));
    assert_eq!(flights.waiting().count(), 1, "L1 took it back");
    assert!(flights.see(8 + MAX_REMEMBERED, 8 + MAX_REMEMBERED, at(3), true));
    assert!(flights.at(7).is_none());
}

#[test]
fn a_tip_that_nobody_else_pays_is_not_paid() {
    let limit = Fees { max_fee_wei: CAP, priority_fee_wei: 3 * GWEI };
    let mut flights = owned(7);
    // Told by `eth_maxPriorityFeePerGas`, or by late blocks as the node shows them.
    let asked = fees(2 * GWEI, GWEI).with_tip(90 * GWEI);
    let (offer, at_limit) = flights.quote(7, asked, limit, at(0));
    assert_eq!((offer, at_limit), (fees(4 * GWEI, 3 * GWEI), false));
    // Told in a refusal.
    let why = Refusal::TipTooLow { minimum_wei: Some(u128::MAX) };
    refuse(&mut flights, 7, offer, why);
    assert_eq!(flights.quote(7, asked, limit, at(0)).0, offer, "not more the second time");
    refuse(&mut flights, 7, offer, Refusal::TipTooLow { minimum_wei: None });
    assert_eq!(flights.quote(7, fees(GWEI, 1), limit, at(0)).0.priority_fee_wei, 3 * GWEI);
}
