//! Addresses among each other.

use super::{Visitors, key};
use crate::rpc::RpcLimits;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_address_leaves_places_and_rate_for_others() {
    let now = Instant::now();
    let limits = RpcLimits {
        connections: 4,
        connections_per_address: 2,
        units_per_second: 10,
        units_per_second_in_all: 15,
        ..RpcLimits::default()
    };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| visitors.enter(address(text), CancellationToken::new(), now);
    let (first, _second) = (enter("10.0.0.1").unwrap(), enter("10.0.0.1").unwrap());
    assert!(enter("10.0.0.1").is_none());
    assert!(enter("::ffff:10.0.0.1").is_none(), "the same address, written otherwise");
    let other = enter("10.0.0.2").unwrap();

    assert!(first.take(10, now).is_ok());
    assert_eq!(first.take(1, now).unwrap_err().code(), -32005);
    assert!(other.take(5, now).is_ok());
    assert_eq!(other.take(1, now).unwrap_err().code(), -32005, "all together have used 15");

    let _last = enter("10.0.0.3").unwrap();
    drop(first);
    let _newcomer = enter("10.0.0.4").unwrap();
    assert!(enter("10.0.0.5").is_none(), "nobody has more than one");
}

#[test]
fn what_one_address_cannot_pay_is_not_charged_to_the_others() {
    let now = Instant::now();
    let limits =
        RpcLimits { units_per_second: 10, units_per_second_in_all: 20, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| visitors.enter(address(text), CancellationToken::new(), now).unwrap();
    let (greedy, other) = (enter("10.0.0.1"), enter("10.0.0.2"));
    for _ in 0..100 {
        greedy.charge(1_000, now);
    }
    assert_eq!(greedy.take(1, now).unwrap_err().code(), -32005);
    assert!(other.take(10, now).is_ok(), "half of the rate of all is left");
    for number in 3..200 {
        enter(&format!("10.0.0.{number}")).charge(1_000, now);
    }
    let later = now.checked_add(Duration::from_millis(50)).unwrap();
    assert!(enter("10.0.1.1").take(1, later).is_ok(), "what all owe is one burst at most");
}

#[test]
fn coming_back_does_not_refill_a_rate() {
    let now = Instant::now();
    let limits = RpcLimits { units_per_second: 10, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, now);
    let guest = visitors.enter(address("10.0.0.1"), CancellationToken::new(), now).unwrap();
    guest.charge(50, now);
    drop(guest);
    let guest = visitors.enter(address("10.0.0.1"), CancellationToken::new(), now).unwrap();
    assert_eq!(guest.take(1, now).unwrap_err().code(), -32005);
    assert!(guest.take(1, now.checked_add(Duration::from_secs(5)).unwrap()).is_ok());
}

#[test]
fn a_network_of_ipv6_is_one_visitor() {
    assert_eq!(key(address("2001:db8::1")), key(address("2001:db8::ffff:1")));
    assert_ne!(key(address("2001:db8::1")), key(address("2001:db8:0:1::1")));
}

#[test]
fn subscriptions_and_filters_are_counted_together_and_given_back() {
    let now = Instant::now();
    let limits =
        RpcLimits { subscriptions_per_address: 1, subscriptions_in_all: 2, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| visitors.enter(address(text), CancellationToken::new(), now).unwrap();
    let (one, two, three) = (enter("10.0.0.1"), enter("10.0.0.2"), enter("10.0.0.3"));
    let held = one.hold().unwrap();
    assert_eq!(one.hold().unwrap_err().code(), -32006);
    let _other = two.hold().unwrap();
    assert_eq!(three.hold().unwrap_err().code(), -32006);
    drop(held);
    assert!(three.hold().is_ok());
}

#[test]
fn a_newcomer_displaces_the_newest_connection_of_whoever_has_the_most() {
    let now = Instant::now();
    let limits = RpcLimits { connections: 8, connections_per_address: 4, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| {
        let stop = CancellationToken::new();
        visitors.enter(address(text), stop.clone(), now).map(|guest| (guest, stop))
    };
    let greedy: Vec<_> = (0..8).map(|n| enter(&format!("10.0.{}.1", n / 4)).unwrap()).collect();
    let (_first, one) = enter("10.0.9.1").unwrap();
    let cut = |all: &[(super::Guest, CancellationToken)]| -> Vec<bool> {
        all.iter().map(|(_, stop)| stop.is_cancelled()).collect()
    };
    // Four and four: the last one of the larger address goes, and nobody else.
    assert_eq!(cut(&greedy).iter().filter(|cut| **cut).count(), 1);
    assert!(cut(&greedy)[3] || cut(&greedy)[7]);
    let (_second, _) = enter("10.0.9.1").unwrap();
    assert!(enter("10.0.9.1").is_none(), "the others have no two more than this one");
    assert_eq!(cut(&greedy).iter().filter(|cut| **cut).count(), 2);
    assert!(!one.is_cancelled());
    // What was displaced gives its place back once: its end changes nothing.
    drop(greedy);
    let _rest: Vec<_> = (0..6).map(|n| enter(&format!("10.1.{n}.1")).unwrap()).collect();
    let _seventh = enter("10.2.0.1").expect("one address has two more");
    assert!(enter("10.2.0.2").is_none(), "all have one");
}

#[test]
fn two_addresses_cannot_use_up_everybodys_rate() {
    let now = Instant::now();
    let limits = RpcLimits {
        units_per_second: 1_000,
        units_per_second_in_all: 2_000,
        ..RpcLimits::default()
    };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| visitors.enter(address(text), CancellationToken::new(), now).unwrap();
    let (one, two, modest) = (enter("10.0.0.1"), enter("10.0.0.2"), enter("10.0.0.3"));
    assert!(one.take(1_000, now).is_ok() && two.take(1_000, now).is_ok());
    for _ in 0..50 {
        assert!(modest.take(1, now).is_ok());
    }
    assert_eq!(modest.take(100, now).unwrap_err().code(), -32005, "not for who asks for much");
    assert_eq!(one.take(1, now).unwrap_err().code(), -32005);
}

#[test]
fn the_last_quarter_of_subscriptions_is_for_who_has_few() {
    let now = Instant::now();
    let limits = RpcLimits {
        subscriptions_per_address: 60,
        subscriptions_in_all: 80,
        ..RpcLimits::default()
    };
    let visitors = Visitors::new(limits, now);
    let enter = |text: &str| visitors.enter(address(text), CancellationToken::new(), now).unwrap();
    let (greedy, other) = (enter("10.0.0.1"), enter("10.0.0.2"));
    let mut held = Vec::new();
    let refusal = loop {
        match greedy.hold() {
            Ok(one) => held.push(one),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((held.len(), refusal.code()), (60, -32006));
    held.extend((0..16).map(|_| other.hold().unwrap()));
    assert_eq!(other.hold().unwrap_err().code(), -32006);
    assert!(enter("10.0.0.3").hold().is_ok());
}
