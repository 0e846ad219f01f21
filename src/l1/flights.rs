//! What of one account is on its way to L1, by nonce, and what to do about it. Holds no client, no key and no clock.
//!
//! A flight is a nonce: whatever waits there, only one transaction can be included. All that an agent sends passes through
//! here, so that no nonce has two owners and none is left behind: a nonce whose order is not wanted any more is filled with
//! a transaction that does nothing. Nonces that the node counts and this process did not give out hold something that was
//! sent before it started, or elsewhere ([`Carries::Unknown`]).
//!
//! Flights are remembered for a while after they were included: a reorg makes them live again.

use super::account::{Order, Sent};
use super::fees::Fees;
use super::refusal::Refusal;
use crate::domain::Height;
use alloy::primitives::B256;
use std::collections::BTreeMap;
use std::time::Duration;

/// Flights that are remembered below the account's nonce, for reorgs.
const MAX_REMEMBERED: u64 = 64;
/// Nonces of unknown content that are taken over at most, beyond what this process knows: more than a pool keeps.
const MAX_ADOPTED: u64 = 128;
/// Attempts whose hashes are kept of a flight: any of them may be the one that is included.
const MAX_ATTEMPTS: usize = 32;
/// L1 blocks that a transaction may wait before its fee is raised; doubles each time, up to the bound.
const PATIENCE_BLOCKS: u32 = 3;
const MAX_DOUBLINGS: u32 = 5;
/// How long a tip that a node asked for is remembered after the last node that did.
const REMEMBER_TIP: Duration = Duration::from_secs(3_600);
/// How long an owner doubts a nonce that is far beyond all that it knows, while nodes tell nothing else.
const DOUBT: Duration = Duration::from_secs(120);
/// How long flights are remembered that a hole separates from what L1 has included.
const REMEMBER_CUT_OFF: Duration = Duration::from_secs(3_600);
/// The smallest tip that is tried once a node wants more and does not say how much, in wei.
const FIRST_GUESS_WEI: u128 = 100_000_000;

/// Consecutive heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Height,
    /// The last.
    pub last: Height,
}

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Batches of these heights.
    Settlement(Span),
    /// An order that somebody waits for, or did before a restart.
    Duty,
    /// Something that this process did not send.
    Unknown,
    /// Nothing that anybody wants. Its nonce is free for other orders, and is filled if there are none.
    Nothing,
}

/// One nonce that is taken.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The nonce.
    pub nonce: u64,
    /// What it is for.
    pub carries: Carries,
    /// What was sent, to send it again; `None` if an earlier process sent it, or if nothing was sent yet to fill the nonce.
    pub order: Option<Order>,
    /// What was sent at this nonce, the newest last.
    pub attempts: Vec<Sent>,
    /// The highest fees that are known to wait there: a replacement has to exceed them.
    floor: Option<Fees>,
    /// The highest fees that were refused there as too low to replace what waits, whose fees are not known.
    guess: Option<Fees>,
    since: Duration,
    shown: Duration,
    raised: u32,
    shows: u32,
    rest_until: Duration,
    wanted_until: Option<Duration>,
}

/// Something to do about a flight that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tend {
    /// See whether the node still has it, and send the same bytes again if not.
    Show {
        /// The nonce.
        nonce: u64,
    },
    /// Send the same again for more.
    Raise {
        /// The nonce.
        nonce: u64,
        /// Nothing of this account is before it.
        is_first: bool,
    },
    /// Put a transaction that does nothing in its place.
    Fill {
        /// The nonce.
        nonce: u64,
    },
}

/// The flights of one account.
#[derive(Debug, Default)]
pub struct Flights {
    flights: BTreeMap<u64, Flight>,
    /// Next nonce by what is included, as the node told it last.
    included: u64,
    /// What the node said of nonces that others use who send from the same account.
    pending: u64,
    /// The highest that `included` ever was; `None` before the node told anything.
    highest: Option<u64>,
    /// Since when nodes tell nothing but nonces far beyond what is known.
    doubted_since: Option<Duration>,
    /// The tip below which nodes take nothing, and when that was learned.
    least_tip: Option<(u128, Duration)>,
}

impl Flight {
    fn new(nonce: u64, carries: Carries, now: Duration) -> Self {
        Self {
            nonce,
            carries,
            order: None,
            attempts: Vec::new(),
            floor: None,
            guess: None,
            since: now,
            shown: now,
            raised: 0,
            shows: 0,
            rest_until: Duration::ZERO,
            wanted_until: None,
        }
    }

    /// A flight as an earlier process left it.
    pub(crate) fn restored(nonce: u64, carries: Carries, attempts: Vec<Sent>) -> Self {
        let floor = attempts.iter().map(|sent| sent.fees).reduce(Fees::max);
        Self { floor, attempts, ..Self::new(nonce, carries, Duration::ZERO) }
    }

    /// What was sent last at this nonce.
    pub fn newest(&self) -> Option<&Sent> {
        self.attempts.last()
    }

    /// What waits there pays at least this much, as far as is known.
    pub const fn fees(&self) -> Option<Fees> {
        self.floor
    }

    /// When it was sent, or replaced last.
    pub const fn since(&self) -> Duration {
        self.since
    }

    pub(super) const fn wanted_until(&self) -> Option<Duration> {
        self.wanted_until
    }

    /// Whether nothing should be tried with it now: the last try was of no use.
    pub fn rests(&self, now: Duration) -> bool {
        now < self.rest_until
    }

    /// Whether it has waited for longer than a transaction should.
    pub fn is_overdue(&self, now: Duration, block: Duration) -> bool {
        now.saturating_sub(self.since) >= self.patience(block)
    }

    fn patience(&self, block: Duration) -> Duration {
        doubled(block.saturating_mul(PATIENCE_BLOCKS), self.raised)
    }

    const fn unknown_patience(&self) -> u32 {
        match self.carries {
            Carries::Settlement(_) => 8,
            _ => 2,
        }
    }

    fn tend(&self, now: Duration, block: Duration, is_first: bool) -> Option<Tend> {
        let nonce = self.nonce;
        if self.rests(now) {
            return None;
        }
        let has_order = self.order.is_some();
        let unwanted = match self.carries {
            Carries::Nothing => !has_order,
            Carries::Duty => self.wanted_until.is_some_and(|until| until <= now),
            Carries::Settlement(_) | Carries::Unknown => false,
        };
        if unwanted {
            return Some(Tend::Fill { nonce });
        }
        let waited = now.saturating_sub(self.since);
        match has_order {
            true if waited >= self.patience(block) => Some(Tend::Raise { nonce, is_first }),
            // What is not known cannot be raised. The poster puts a wanted batch there first; of one that an earlier process
            // sent it knows best, and others may be on their way behind it.
            false if waited >= self.patience(block).saturating_mul(self.unknown_patience()) => {
                Some(Tend::Fill { nonce })
            }
            _ => {
                let due = now.saturating_sub(self.shown) >= doubled(block, self.shows);
                (due && has_order).then_some(Tend::Show { nonce })
            }
        }
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time.saturating_mul(1 << times.min(MAX_DOUBLINGS))
}

impl Flights {
    /// With what an earlier process left.
    pub(crate) fn restored(flights: impl IntoIterator<Item = Flight>) -> Self {
        let flights: BTreeMap<u64, Flight> =
            flights.into_iter().map(|flight| (flight.nonce, flight)).collect();
        Self { flights, ..Self::default() }
    }

    /// Flights that L1 has not included by `nonce`, in the order of their nonces, up to the first hole that is wider than
    /// what is ever taken over. What is behind such a hole was sent at a nonce that a node made up: it cannot be included,
    /// and to fill up to it would take for ever.
    pub fn live(&self, nonce: u64) -> impl Iterator<Item = &Flight> {
        let mut end = nonce.max(self.pending);
        self.flights.range(nonce..).map(|(_, flight)| flight).take_while(move |flight| {
            let is_near = flight.nonce <= end.saturating_add(MAX_ADOPTED);
            end = end.max(flight.nonce.saturating_add(1));
            is_near
        })
    }

    /// Whether nothing is beyond what L1 has included, also behind a hole: a node that told a nonce too low makes one.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.range(self.included..).next().is_none()
    }

    /// The flights that L1 has not included, as far as was seen.
    pub fn waiting(&self) -> impl Iterator<Item = &Flight> {
        self.live(self.included)
    }

    /// Flights that are remembered below a nonce: L1 has included something there.
    pub fn before(&self, nonce: u64) -> impl Iterator<Item = &Flight> {
        self.flights.range(..nonce).map(|(_, flight)| flight)
    }

    /// The flight at a nonce.
    pub fn at(&self, nonce: u64) -> Option<&Flight> {
        self.flights.get(&nonce)
    }

    /// All that are remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = &Flight> {
        self.flights.values()
    }

    /// Next nonce by what is included, as far as was seen.
    pub const fn included(&self) -> u64 {
        self.included
    }

    /// The nonce for something new.
    pub fn next_free(&self) -> u64 {
        let behind = self.waiting().last().map_or(0, |flight| flight.nonce.saturating_add(1));
        self.included.max(self.pending).max(behind)
    }

    /// Takes what the node says of the account: its nonce by what is included, and with what waits in the pool. A node may
    /// lag, and need not show what waits: neither takes a nonce back. If the account is this process's alone (`is_owner`),
    /// it takes over nonces that it knows nothing of, and must see that they do not block what comes after.
    ///
    /// Whether the node is believed. An owner does not believe that others have used more nonces than a pool keeps, unless
    /// it is told nothing else for [`DOUBT`]: nothing changes then. What it knew nothing of when it started it has to
    /// believe; what it sends there is forgotten once a node tells better.
    #[must_use]
    pub fn see(&mut self, included: u64, pending: u64, now: Duration, is_owner: bool) -> bool {
        if let Some(highest) = self.highest
            && is_owner
            && included > highest.max(self.next_free()).saturating_add(MAX_ADOPTED)
        {
            let since = *self.doubted_since.get_or_insert(now);
            if now.saturating_sub(since) < DOUBT {
                return false;
            }
        }
        self.doubted_since = None;
        self.highest = self.highest.max(Some(included));
        self.included = included;
        let remembered = included.saturating_sub(MAX_REMEMBERED);
        self.flights = self.flights.split_off(&remembered);
        self.pending = if is_owner { 0 } else { pending };
        let own = self.next_free();
        self.flights.retain(|nonce, flight| {
            *nonce < own || now.saturating_sub(flight.since) < REMEMBER_CUT_OFF
        });
        // As far as a pool reaches from what is included: else each look would take over a little more.
        let end = own.max(pending.min(included.saturating_add(MAX_ADOPTED)));
        if is_owner {
            // What a node says that knows nothing of the account is no reason to take over all that it ever sent.
            let oldest = end.saturating_sub(MAX_REMEMBERED.saturating_add(MAX_ADOPTED));
            for nonce in included.max(oldest)..end {
                self.flights
                    .entry(nonce)
                    .or_insert_with(|| Flight::new(nonce, Carries::Unknown, now));
            }
        }
        true
    }

    /// Forgets a flight that is done: nobody looks after it if a reorg takes it back.
    pub fn forget(&mut self, nonce: u64) {
        self.flights.remove(&nonce);
    }

    /// What to offer at a nonce, given what nodes ask for now, and whether more would be needed than `cap`: to replace what
    /// waits, if it does. At the limit the limit itself is offered, since what was thought to wait may never have arrived, or
    /// was forgotten. Flights rest after a try that was of no use, so that this is not often.
    ///
    /// Of what nodes ask for as a tip no more is believed than `limit` has: it is paid as offered, whatever others pay.
    pub fn quote(&self, nonce: u64, asked: Fees, limit: Fees, now: Duration) -> (Fees, bool) {
        let cap = limit.max_fee_wei;
        let least_tip = self.least_tip(now).map(|tip| tip.min(limit.priority_fee_wei));
        let asked = asked.with_tip_at_most(limit.priority_fee_wei);
        let asked = match least_tip {
            Some(tip) => asked.with_tip(tip),
            None => asked,
        };
        let flight = self.at(nonce);
        let guess = flight.and_then(|flight| flight.guess);
        let (before, least) = match (guess, flight.and_then(|flight| flight.floor)) {
            (Some(refused), _) => (refused, refused.doubled()),
            (None, Some(floor)) => (floor, floor.bumped()),
            (None, None) => return (asked.capped(cap), false),
        };
        if least.max_fee_wei <= cap && least.priority_fee_wei <= cap {
            return (least.max(asked).capped(cap), false);
        }
        // The same again where it was at the limit before: the same bytes, unless nodes take nothing below a higher tip. What
        // was sent for less may never have arrived, as its answer, a refusal, can be lost.
        let tip = match before.max_fee_wei < cap {
            true => least.priority_fee_wei,
            false => before.priority_fee_wei,
        };
        let tip = tip.max(least_tip.unwrap_or_default());
        (Fees { max_fee_wei: cap, priority_fee_wei: tip.min(cap) }, true)
    }

    /// Takes note of what is about to be sent: from now on it may be in a pool.
    pub fn sending(
        &mut self,
        carries: Carries,
        order: &Order,
        sent: Sent,
        wanted_until: Option<Duration>,
        now: Duration,
    ) {
        let nonce = sent.nonce;
        let flight = self.flights.entry(nonce).or_insert_with(|| Flight::new(nonce, carries, now));
        let is_same = !flight.attempts.is_empty() && flight.carries == carries;
        flight.raised = if is_same { flight.raised.saturating_add(1) } else { 0 };
        flight.carries = carries;
        flight.order = Some(order.clone());
        flight.attempts.push(sent);
        let surplus = flight.attempts.len().saturating_sub(MAX_ATTEMPTS);
        flight.attempts.drain(..surplus);
        (flight.since, flight.shown, flight.shows) = (now, now, 0);
        flight.wanted_until = wanted_until;
        flight.rest_until = Duration::ZERO;
    }

    /// Takes note that the node took it: whoever replaces it must pay more than this.
    pub fn taken(&mut self, sent: Sent) {
        if let Some(flight) = self.flights.get_mut(&sent.nonce) {
            flight.floor = Some(flight.floor.map_or(sent.fees, |floor| floor.max(sent.fees)));
            flight.guess = None;
        }
    }

    /// Takes back what the node refused, and learns from it. `before` is the flight as it was before it was sent.
    pub fn refused(&mut self, sent: Sent, why: Refusal, before: Option<Flight>, now: Duration) {
        let nonce = sent.nonce;
        match before {
            Some(flight) => {
                self.flights.insert(nonce, flight);
            }
            None => {
                self.flights.remove(&nonce);
            }
        }
        match why {
            Refusal::ReplacementUnderpriced => {
                // Something waits there that nobody here knows, or that pays more than was thought.
                let flight = self
                    .flights
                    .entry(nonce)
                    .or_insert_with(|| Flight::new(nonce, Carries::Unknown, now));
                flight.guess = Some(flight.guess.map_or(sent.fees, |guess| guess.max(sent.fees)));
            }
            Refusal::TipTooLow { minimum_wei: Some(minimum) }
                if minimum > sent.fees.priority_fee_wei =>
            {
                self.least_tip = Some((minimum, now));
            }
            Refusal::TipTooLow { .. } | Refusal::Underpriced => {
                let guess = sent.fees.priority_fee_wei.saturating_mul(2).max(FIRST_GUESS_WEI);
                self.least_tip = Some((guess, now));
            }
            _ => {}
        }
    }

    /// The tip below which nodes take nothing, as far as they said so lately.
    pub fn least_tip(&self, now: Duration) -> Option<u128> {
        let (tip, learned) = self.least_tip?;
        (now.saturating_sub(learned) < REMEMBER_TIP).then_some(tip)
    }

    /// Takes note of what was found out about a nonce of unknown content.
    pub(super) fn found(&mut self, nonce: u64, carries: Carries, hash: B256, fees: Fees, gas: u64) {
        if let Some(flight) = self.flights.get_mut(&nonce).filter(|one| one.attempts.is_empty()) {
            flight.carries = carries;
            flight.floor = Some(fees);
            flight.attempts.push(Sent { hash, nonce, fees, gas });
        }
    }

    /// Takes note that a try with a flight was of no use: the next one comes after its patience.
    pub fn rest(&mut self, nonce: u64, now: Duration, block: Duration) {
        if let Some(flight) = self.flights.get_mut(&nonce) {
            flight.raised = flight.raised.saturating_add(1);
            flight.rest_until = now.saturating_add(flight.patience(block));
        }
    }

    /// Takes note that it was looked after a flight, and whether the node had it.
    pub fn shown(&mut self, nonce: u64, known: bool, now: Duration) {
        if let Some(flight) = self.flights.get_mut(&nonce) {
            flight.shown = now;
            flight.shows = if known { 0 } else { flight.shows.saturating_add(1) };
        }
    }

    /// Takes note that nobody wants what is at this nonce any more.
    pub fn give_up(&mut self, nonce: u64) {
        if let Some(flight) = self.flights.get_mut(&nonce)
            && flight.carries != Carries::Nothing
        {
            (flight.carries, flight.order, flight.raised) = (Carries::Nothing, None, 0);
        }
    }

    /// Takes note that no settlement on its way can settle any more: their nonces are free for others.
    pub fn void_settlements(&mut self) {
        let settlements: Vec<u64> = self
            .all()
            .filter(|flight| matches!(flight.carries, Carries::Settlement(_)))
            .map(|flight| flight.nonce)
            .collect();
        for nonce in settlements {
            self.give_up(nonce);
        }
    }

    /// What to do about flights that wait, the oldest first.
    pub fn tend(&self, now: Duration, block: Duration) -> Vec<Tend> {
        self.waiting()
            .enumerate()
            .filter_map(|(place, flight)| flight.tend(now, block, place == 0))
            .collect()
    }
}

#[cfg(test)]
mod tests;
