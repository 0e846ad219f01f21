//! Who is connected, by address: what one address may use of the service, so that it leaves something for the others.

use crate::rpc::RpcError;
use crate::rpc::limits::{Rate, RpcLimits};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are remembered at most. One more is turned away until another has been quiet.
const ADDRESSES: usize = 65_536;

/// Dear calls of one address that run or wait for their turn at a time; more of them wait outside the queue of all.
const DEAR_CALLS: usize = 2;

/// Bytes that one permit of the room for answers stands for.
const GRAIN: usize = 1_024;

/// One address may take this part of the room for answers.
const SHARE: usize = 8;

/// All addresses, and what they use together.
#[derive(Debug)]
pub(super) struct Visitors {
    limits: RpcLimits,
    known: Mutex<HashMap<IpAddr, Arc<Visitor>>>,
    connections: Arc<Semaphore>,
    rate: Rate,
    subscriptions: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// One address.
#[derive(Debug)]
pub(super) struct Visitor {
    connections: AtomicUsize,
    rate: Rate,
    subscriptions: Arc<Semaphore>,
    most_subscriptions: usize,
    pub(super) dear: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// One connection's place. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    all: Arc<Visitors>,
    pub(super) visitor: Arc<Visitor>,
    _place: OwnedSemaphorePermit,
}

/// Something that counts as long as it lives: a subscription, a filter.
pub(super) type Held = [OwnedSemaphorePermit; 2];

/// Room for an answer. Given back when the client has taken it.
#[derive(Debug)]
pub(super) struct Room([OwnedSemaphorePermit; 2]);

impl Room {
    /// Gives back what an answer of so many bytes does not take.
    pub(super) fn shrink(&mut self, bytes: usize) {
        for permit in &mut self.0 {
            let excess = permit.num_permits().saturating_sub(grains(bytes));
            drop(permit.split(excess));
        }
    }
}

/// Permits of all long requests together.
const REQUESTS: usize = (64 << 20) / GRAIN;

/// Permits of the longest request.
fn longest(limits: &RpcLimits) -> usize {
    grains(usize::try_from(limits.request_bytes).unwrap_or(usize::MAX))
}

fn grains(bytes: usize) -> usize {
    bytes.div_ceil(GRAIN)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// IPv6 addresses of one /64 are one visitor: whoever has one of them has them all.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let network = six.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        four => four,
    }
}

impl Visitors {
    pub(super) fn new(limits: RpcLimits, now: Instant) -> Arc<Self> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Arc::new(Self {
            known: Mutex::default(),
            connections: semaphore(limits.connections),
            rate: Rate::new(limits.units_per_second_in_all, now),
            subscriptions: semaphore(count(limits.subscriptions_in_all)),
            answers: semaphore(grains(limits.answer_bytes_in_all)),
            requests: semaphore(REQUESTS.max(longest(&limits))),
            limits,
        })
    }

    /// A place for a connection from `address`; `None` when all, or all of this address, are taken.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Guest> {
        let place = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        let key = key(address);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(&key) {
            if known.len() >= ADDRESSES {
                known.retain(|_, visitor| visitor.is_in_use(now));
            }
            if known.len() >= ADDRESSES {
                return None;
            }
            known.insert(key, Arc::new(self.visitor(now)));
        }
        let visitor = Arc::clone(known.get(&key)?);
        if visitor.connections.load(Ordering::Relaxed) >= self.limits.connections_per_address {
            return None;
        }
        visitor.connections.fetch_add(1, Ordering::Relaxed);
        Some(Guest { all: Arc::clone(self), visitor, _place: place })
    }

    fn visitor(&self, now: Instant) -> Visitor {
        let subscriptions = usize::try_from(self.limits.subscriptions_per_address);
        let subscriptions = semaphore(subscriptions.unwrap_or(usize::MAX));
        // One answer of the largest size always has room.
        let share = self.limits.answer_bytes_in_all.checked_div(SHARE).unwrap_or_default();
        let share = grains(share).max(self.largest());
        Visitor {
            connections: AtomicUsize::new(0),
            rate: Rate::new(self.limits.units_per_second, now),
            most_subscriptions: subscriptions.available_permits(),
            subscriptions,
            dear: semaphore(DEAR_CALLS),
            answers: semaphore(share),
            requests: semaphore((REQUESTS / SHARE).max(longest(&self.limits))),
        }
    }

    /// Permits of the largest answer.
    fn largest(&self) -> usize {
        let bytes = usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX);
        grains(bytes).min(grains(self.limits.answer_bytes_in_all))
    }
}

impl Visitor {
    fn is_in_use(&self, now: Instant) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
            || self.subscriptions.available_permits() < self.most_subscriptions
            || !self.rate.is_full(now)
    }
}

impl Guest {
    /// Takes units of the address's rate and of everybody's, or says when they are there.
    pub(super) fn take(&self, units: u32, now: Instant) -> Result<(), RpcError> {
        let too_fast = |retry_after: Duration| RpcError::TooFast { retry_after };
        self.visitor.rate.take(units, now).map_err(too_fast)?;
        self.all.rate.take(units, now).map_err(too_fast)
    }

    /// Charges what a call turned out to cost beyond what was taken: the address all of it, and everybody's rate no more
    /// than the address had. Else one that has nothing left would take from the others without end.
    pub(super) fn charge(&self, units: u32, now: Instant) {
        let had = self.visitor.rate.charge(units, now);
        self.all.rate.charge_within_a_burst(had, now);
    }

    /// Counts a subscription or a filter.
    pub(super) fn hold(&self) -> Result<Held, RpcError> {
        let all = &self.all;
        let take = |places: &Arc<Semaphore>, what, limit: u32| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let place = Arc::clone(places).try_acquire_owned();
            place.map_err(|_| RpcError::TooMany { what, limit })
        };
        let own = take(
            &self.visitor.subscriptions,
            "subscriptions and filters of this address",
            all.limits.subscriptions_per_address,
        )?;
        let shared = take(
            &all.subscriptions,
            "subscriptions and filters in all",
            all.limits.subscriptions_in_all,
        )?;
        Ok([own, shared])
    }

    /// Waits for room for an answer of the largest size.
    pub(super) async fn room(&self) -> Result<Room, RpcError> {
        wait(&self.visitor.answers, &self.all.answers, self.all.largest()).await
    }

    /// Waits for room for a request of so many bytes. Whoever has it may wait for that of an answer, never the other way
    /// round.
    pub(super) async fn request_room(&self, bytes: usize) -> Result<Room, RpcError> {
        let permits = grains(bytes).min(longest(&self.all.limits));
        wait(&self.visitor.requests, &self.all.requests, permits).await
    }
}

async fn wait(
    own: &Arc<Semaphore>,
    all: &Arc<Semaphore>,
    permits: usize,
) -> Result<Room, RpcError> {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let closed = |_| RpcError::internal("the service stops");
    let own = Arc::clone(own).acquire_many_owned(permits).await.map_err(closed)?;
    Ok(Room([own, Arc::clone(all).acquire_many_owned(permits).await.map_err(closed)?]))
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.visitor.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Visitors, key};
    use crate::rpc::RpcLimits;
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

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
        let enter = |text: &str| visitors.enter(address(text), now);
        let (first, _second) = (enter("10.0.0.1").unwrap(), enter("10.0.0.1").unwrap());
        assert!(enter("10.0.0.1").is_none());
        assert!(enter("::ffff:10.0.0.1").is_none(), "the same address, written otherwise");
        let other = enter("10.0.0.2").unwrap();

        assert!(first.take(10, now).is_ok());
        assert_eq!(first.take(1, now).unwrap_err().code(), -32005);
        assert!(other.take(5, now).is_ok());
        assert_eq!(other.take(1, now).unwrap_err().code(), -32005, "all together have used 15");

        let _last = enter("10.0.0.3").unwrap();
        assert!(enter("10.0.0.4").is_none());
        drop(first);
        assert!(enter("10.0.0.4").is_some());
    }

    #[test]
    fn what_one_address_cannot_pay_is_not_charged_to_the_others() {
        let now = Instant::now();
        let limits =
            RpcLimits { units_per_second: 10, units_per_second_in_all: 20, ..RpcLimits::default() };
        let visitors = Visitors::new(limits, now);
        let enter = |text: &str| visitors.enter(address(text), now).unwrap();
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
        let guest = visitors.enter(address("10.0.0.1"), now).unwrap();
        guest.charge(50, now);
        drop(guest);
        let guest = visitors.enter(address("10.0.0.1"), now).unwrap();
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
        let limits = RpcLimits {
            subscriptions_per_address: 1,
            subscriptions_in_all: 2,
            ..RpcLimits::default()
        };
        let visitors = Visitors::new(limits, now);
        let enter = |text: &str| visitors.enter(address(text), now).unwrap();
        let (one, two, three) = (enter("10.0.0.1"), enter("10.0.0.2"), enter("10.0.0.3"));
        let held = one.hold().unwrap();
        assert_eq!(one.hold().unwrap_err().code(), -32006);
        let _other = two.hold().unwrap();
        assert_eq!(three.hold().unwrap_err().code(), -32006);
        drop(held);
        assert!(three.hold().is_ok());
    }

    #[tokio::test]
    async fn room_for_answers_is_given_back_as_they_shrink_and_go() {
        let limits = RpcLimits {
            response_bytes: 1 << 20,
            answer_bytes_in_all: 8 << 20,
            ..RpcLimits::default()
        };
        let visitors = Visitors::new(limits, Instant::now());
        let guest = visitors.enter(address("10.0.0.1"), Instant::now()).unwrap();
        let mut first = guest.room().await.unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(20), guest.room());
        assert!(waits.await.is_err(), "an eighth of all room is one answer here");
        first.shrink(100);
        drop(first);
        guest.room().await.unwrap();
    }
}
