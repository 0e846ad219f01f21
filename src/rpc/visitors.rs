//! Who is connected, by address: what one address may use of the service, so that it leaves something for the others.
//!
//! A bound per address alone does not do that: a few addresses would take all there is. So a newcomer displaces a connection
//! of the address that has the most, a quarter of all subscriptions and of every budget is for addresses that have few, and
//! who asks for little is served when others have used everybody's rate.

use crate::rpc::RpcError;
use crate::rpc::limits::{Rate, RpcLimits};
use crate::rpc::rooms::{Budget, Own, Room, Share};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Addresses that are remembered at most. One more is turned away until another has been quiet.
const ADDRESSES: usize = 65_536;

/// Dear calls of one address that run or wait for their turn at a time; more of them wait outside the queue of all.
const DEAR_CALLS: usize = 2;

/// Bytes of all long requests together.
const REQUESTS: usize = 64 << 20;

/// Bytes of all notifications together that are beyond what each connection has for itself.
const NOTICES: usize = 64 << 20;

/// Subscriptions and filters that an address may have of the last quarter of all.
const FEW: usize = 16;

/// An address that has used less than this part of its own rate in the last second asks for little.
const MODEST: u32 = 16;

/// All addresses, and what they use together.
#[derive(Debug)]
pub(super) struct Visitors {
    limits: RpcLimits,
    known: Mutex<Known>,
    rate: Rate,
    /// For those who ask for little, beside the rate of all.
    modest: Rate,
    subscriptions: Arc<Semaphore>,
    answers: Budget,
    requests: Budget,
    notices: Budget,
}

/// Addresses and their connections.
#[derive(Debug, Default)]
struct Known {
    visitors: HashMap<IpAddr, Arc<Visitor>>,
    /// What ends each connection, by address and in the order in which they came.
    places: BTreeMap<(IpAddr, u64), CancellationToken>,
    /// Addresses by how many connections they have.
    weights: BTreeSet<(usize, IpAddr)>,
    counts: HashMap<IpAddr, usize>,
    next: u64,
}

impl Known {
    fn count(&self, address: IpAddr) -> usize {
        self.counts.get(&address).copied().unwrap_or_default()
    }

    fn set_count(&mut self, address: IpAddr, count: usize) {
        self.weights.remove(&(self.count(address), address));
        if count == 0 {
            self.counts.remove(&address);
        } else {
            self.counts.insert(address, count);
            self.weights.insert((count, address));
        }
    }

    fn add(&mut self, address: IpAddr, stop: CancellationToken) -> u64 {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        self.places.insert((address, id), stop);
        self.set_count(address, self.count(address).saturating_add(1));
        id
    }

    fn remove(&mut self, address: IpAddr, id: u64) -> Option<CancellationToken> {
        let stop = self.places.remove(&(address, id))?;
        self.set_count(address, self.count(address).saturating_sub(1));
        Some(stop)
    }

    /// Ends the newest connection of the address that has the most, if that is two more than `count`: what it loses the
    /// newcomer does not have in excess.
    fn displace(&mut self, count: usize) -> bool {
        let Some((most, heaviest)) = self.weights.last().copied() else { return false };
        if most <= count.saturating_add(1) {
            return false;
        }
        let newest = self.places.range((heaviest, 0)..=(heaviest, u64::MAX)).next_back();
        let Some((address, id)) = newest.map(|(place, _)| *place) else { return false };
        if let Some(stop) = self.remove(address, id) {
            stop.cancel();
        }
        true
    }
}

/// One address.
#[derive(Debug)]
pub(super) struct Visitor {
    rate: Rate,
    subscriptions: Arc<Semaphore>,
    most_subscriptions: usize,
    pub(super) dear: Arc<Semaphore>,
    answers: Share,
    requests: Share,
    notices: Share,
}

/// One connection's place. Given back when it is dropped, or when another address displaces it.
#[derive(Debug)]
pub(super) struct Guest {
    all: Arc<Visitors>,
    pub(super) visitor: Arc<Visitor>,
    address: IpAddr,
    id: u64,
}

/// Something that counts as long as it lives: a subscription, a filter.
pub(super) type Held = [OwnedSemaphorePermit; 2];

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
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
        let longest = count(limits.request_bytes);
        let modest = limits.units_per_second_in_all / 4;
        Arc::new(Self {
            known: Mutex::default(),
            rate: Rate::new(limits.units_per_second_in_all, now),
            modest: Rate::new(modest.max(1), now),
            subscriptions: semaphore(count(limits.subscriptions_in_all)),
            answers: Budget::new(limits.answer_bytes_in_all, count(limits.response_bytes)),
            requests: Budget::new(REQUESTS.max(longest), longest),
            notices: Budget::new(NOTICES, NOTICES / 16),
            limits,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`, which `stop` ends; `None` when all of this address are taken, or all, and
    /// no other address has two more than this one.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        stop: CancellationToken,
        now: Instant,
    ) -> Option<Guest> {
        let key = key(address);
        let mut known = self.lock();
        if !known.visitors.contains_key(&key) {
            if known.visitors.len() >= ADDRESSES {
                known.visitors.retain(|_, visitor| visitor.is_in_use(now));
            }
            if known.visitors.len() >= ADDRESSES {
                return None;
            }
            known.visitors.insert(key, Arc::new(self.visitor(now)));
        }
        let visitor = Arc::clone(known.visitors.get(&key)?);
        let own = known.count(key);
        if own >= self.limits.connections_per_address
            || (known.places.len() >= self.limits.connections && !known.displace(own))
        {
            return None;
        }
        let id = known.add(key, stop);
        Some(Guest { all: Arc::clone(self), visitor, address: key, id })
    }

    fn visitor(&self, now: Instant) -> Visitor {
        let subscriptions = semaphore(count(self.limits.subscriptions_per_address));
        Visitor {
            rate: Rate::new(self.limits.units_per_second, now),
            most_subscriptions: subscriptions.available_permits(),
            subscriptions,
            dear: semaphore(DEAR_CALLS),
            answers: self.answers.share(),
            requests: self.requests.share(),
            notices: self.notices.share(),
        }
    }
}

impl Visitor {
    fn held(&self) -> usize {
        self.most_subscriptions.saturating_sub(self.subscriptions.available_permits())
    }

    /// Whether a connection of it is open, or it holds or has used something.
    fn is_in_use(self: &Arc<Self>, now: Instant) -> bool {
        Arc::strong_count(self) > 1 || self.held() > 0 || !self.rate.is_full(now)
    }
}

impl Guest {
    /// Takes units of the address's rate and of everybody's, or says when they are there. Where others have used
    /// everybody's, who asks for little has a rate beside it.
    pub(super) fn take(&self, units: u32, now: Instant) -> Result<(), RpcError> {
        let too_fast = |retry_after: Duration| RpcError::TooFast { retry_after };
        self.visitor.rate.take(units, now).map_err(too_fast)?;
        match self.all.rate.take(units, now) {
            Ok(()) => Ok(()),
            Err(_) if self.visitor.rate.has_used_less_than(MODEST, now) => {
                self.all.modest.take(units, now).map_err(too_fast)
            }
            Err(wait) => Err(too_fast(wait)),
        }
    }

    /// Charges what a call turned out to cost beyond what was taken: the address all of it, and everybody's rate no more
    /// than the address had. Else one that has nothing left would take from the others without end.
    pub(super) fn charge(&self, units: u32, now: Instant) {
        let had = self.visitor.rate.charge(units, now);
        self.all.rate.charge_within_a_burst(had, now);
    }

    /// Counts a subscription or a filter.
    pub(super) fn hold(&self) -> Result<Held, RpcError> {
        let limits = &self.all.limits;
        let refusal = |what, limit: u32| RpcError::TooMany { what, limit: count(limit) };
        let own = Arc::clone(&self.visitor.subscriptions).try_acquire_owned().map_err(|_| {
            refusal("subscriptions and filters of this address", limits.subscriptions_per_address)
        })?;
        let in_all = || refusal("subscriptions and filters in all", limits.subscriptions_in_all);
        let quarter = count(limits.subscriptions_in_all) / 4;
        if self.visitor.held() > FEW && self.all.subscriptions.available_permits() <= quarter {
            return Err(in_all());
        }
        let shared = Arc::clone(&self.all.subscriptions).try_acquire_owned();
        Ok([own, shared.map_err(|_| in_all())?])
    }

    /// Waits for room for an answer of the largest size.
    pub(super) async fn room(&self) -> Result<Room, RpcError> {
        self.all.answers.take_largest(&self.visitor.answers).await
    }

    /// Waits for room for a request of so many bytes. Whoever has it may wait for that of an answer, never the other way
    /// round.
    pub(super) async fn request_room(&self, bytes: usize) -> Result<Room, RpcError> {
        self.all.requests.take(&self.visitor.requests, bytes).await
    }

    /// Waits for room for a notification of so many bytes: in what the connection has for itself, else in what all share.
    pub(super) async fn notice_room(&self, own: &Own, bytes: usize) -> Result<Room, RpcError> {
        match own.try_take(bytes) {
            Some(room) => Ok(room),
            None => self.all.notices.take(&self.visitor.notices, bytes).await,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.all.lock().remove(self.address, self.id);
    }
}

#[cfg(test)]
mod tests;
