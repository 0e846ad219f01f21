//! The pool itself: pure, and deterministic in the order of its calls.

mod content;

pub use content::LaneContent;

use crate::batch::body::{max_transaction_bytes, transaction_bytes};
use crate::domain::{Millis, RollupId, RollupTransaction, SequencerId, SignedTransaction};
use crate::mempool::lane::{Entry, Lane, LaneKey};
use crate::mempool::{Limits, Refusal};
use alloy::primitives::{Address, B256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

/// Who brought a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this agent, which promised to keep it.
    Local,
    /// This sequencer, whose agent keeps it too.
    Peer(SequencerId),
}

/// What became of a transaction that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is in the pool.
    Added,
    /// It is in the pool in place of another.
    Replaced(B256),
    /// A peer had forwarded it already; now this agent keeps it for a client too.
    Adopted,
    /// It was there already.
    Known,
}

/// The next nonce of a sender as decided blocks say it.
pub type NextNonce<'a> = &'a dyn Fn(RollupId, Address) -> Option<u64>;

/// A collection stops looking once this many ready transactions did not fit.
const MISFITS: usize = 64;

/// How many of the youngest forwarded transactions are looked at to make room.
const EVICTION_TRIES: usize = 8;

/// What waits to be ordered, by sender in nonce order, across senders by arrival.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    lanes: HashMap<LaneKey, Lane>,
    by_hash: HashMap<B256, (LaneKey, u64)>,
    /// Lanes whose run is not empty, by the arrival of its first transaction.
    ready: BTreeMap<u64, LaneKey>,
    /// Lanes with something behind a gap.
    parked: BTreeSet<LaneKey>,
    /// Lanes that are held, by the time at which they are let go.
    held: BTreeSet<(Millis, LaneKey)>,
    /// Forwarded transactions by arrival.
    forwarded: BTreeMap<u64, B256>,
    /// Number of forwarded transactions by peer.
    by_peer: HashMap<SequencerId, usize>,
    /// Transactions of this agent's clients by arrival.
    local: BTreeMap<u64, B256>,
    bytes: usize,
    arrivals: u64,
    decided_blocks: u64,
}

impl Mempool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            by_hash: HashMap::new(),
            ready: BTreeMap::new(),
            parked: BTreeSet::new(),
            held: BTreeSet::new(),
            forwarded: BTreeMap::new(),
            by_peer: HashMap::new(),
            local: BTreeMap::new(),
            bytes: 0,
            arrivals: 0,
            decided_blocks: 0,
        }
    }

    /// Admits a transaction, or says why not. `next` is the sender's next nonce as decided blocks say it.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the pool is unchanged then, except that it may have learnt `next`.
    pub fn admit(
        &mut self,
        transaction: SignedTransaction,
        origin: Origin,
        next: Option<u64>,
        now: Millis,
    ) -> Result<Admission, Refusal> {
        let key = (transaction.transaction.rollup, transaction.sender);
        if let Some((key, nonce)) = self.by_hash.get(&transaction.hash).copied() {
            return Ok(self.admit_again(key, nonce, origin));
        }
        if let Some(next) = next {
            self.advance(key, next);
        }
        let replaced = self.check(&transaction, key, next)?;
        self.make_room(&transaction, key, origin, next, replaced.is_some())?;

        self.arrivals = self.arrivals.saturating_add(1);
        let (hash, nonce) = (transaction.hash, transaction.nonce);
        let held_until = Millis::new(now.get().saturating_add(
            u64::try_from(self.limits.settle_time.as_millis()).unwrap_or(u64::MAX),
        ));
        self.bytes = self.bytes.saturating_add(transaction.transaction.raw.len());
        self.by_hash.insert(hash, (key, nonce));
        self.list(self.arrivals, hash, origin);
        let decided_blocks = self.decided_blocks;
        let lane = self.lanes.entry(key).or_insert_with(|| Lane::new(next, decided_blocks));
        if lane.next.is_none() && lane.entries.is_empty() && nonce > 0 {
            lane.held_until = Some(held_until);
            self.held.insert((held_until, key));
        } else if lane.next.is_none() && nonce == 0 {
            lane.held_until = None;
        }
        let before = lane.insert(Entry { transaction, arrival: self.arrivals, origin });
        if let Some(before) = &before {
            self.unlist(before);
        }
        self.place(key);
        Ok(before.map_or(Admission::Added, |before| Admission::Replaced(before.transaction.hash)))
    }

    /// Takes out what a decided block holds, and what can no longer be ordered after it. Returns how many left. A nonce that
    /// was decided ahead of its turn moves nothing: it is a no-op to its rollup (R17).
    pub fn decided(&mut self, transactions: &[RollupTransaction]) -> usize {
        let before = self.by_hash.len();
        self.decided_blocks = self.decided_blocks.saturating_add(1);
        for transaction in transactions {
            let hash = transaction.hash();
            let Some((key, nonce)) = self.by_hash.get(&hash).copied() else { continue };
            match self.lanes.get(&key).and_then(|lane| lane.next) {
                Some(next) if next != nonce => self.retract(hash),
                _ => self.advance(key, nonce.saturating_add(1)),
            }
        }
        before.saturating_sub(self.by_hash.len())
    }

    /// A restart undid decided blocks: next nonces are what `next` says now, also where that is lower. What waits keeps its
    /// place.
    pub fn go_back(&mut self, next: NextNonce<'_>) {
        self.decided_blocks = self.decided_blocks.saturating_add(1);
        let keys: Vec<LaneKey> = self.lanes.keys().copied().collect();
        for key in keys {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.compared_at = self.decided_blocks;
            for entry in lane.go_back(next(key.0, key.1)) {
                self.unlist(&entry);
            }
            self.place(key);
        }
    }

    /// Takes out one transaction.
    pub fn retract(&mut self, hash: B256) {
        let Some((key, nonce)) = self.by_hash.get(&hash).copied() else { return };
        if let Some(entry) = self.lanes.get_mut(&key).and_then(|lane| lane.remove(nonce)) {
            self.unlist(&entry);
        }
        self.place(key);
    }

    /// What a block takes: by arrival of what is ready, each sender's nonces in order, as many as fit `max_bytes`. Nothing
    /// leaves the pool. `next` is asked about senders of whom blocks may have been decided since the last time.
    pub fn collect(
        &mut self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
        next: NextNonce<'_>,
        now: Millis,
    ) -> Vec<RollupTransaction> {
        self.release(now);
        let mut taken = Vec::new();
        let mut left = max_bytes;
        let mut misfits: usize = 0;
        let mut visited = Vec::new();
        let mut following: BinaryHeap<Reverse<(u64, LaneKey, u64)>> = BinaryHeap::new();
        loop {
            let first_ready = self.ready.first_key_value().map(|(arrival, key)| (*arrival, *key));
            let first_following = following.peek().map(|Reverse((arrival, ..))| *arrival);
            let candidate = match (first_ready, first_following) {
                (Some((arrival, key)), other) if other.is_none_or(|other| arrival < other) => {
                    self.ready.remove(&arrival);
                    visited.push(key);
                    if is_open(key.0) {
                        self.compare(key, next);
                        self.take_from_ready(key);
                        if let Some(head) = self.lanes.get(&key).and_then(Lane::head) {
                            following.push(Reverse((head.arrival, key, head.transaction.nonce)));
                        }
                    }
                    continue;
                }
                _ => following.pop(),
            };
            let Some(Reverse((_, key, nonce))) = candidate else { break };
            let Some(lane) = self.lanes.get(&key) else { continue };
            let Some(entry) = lane.in_run(nonce) else { continue };
            let transaction = &entry.transaction.transaction;
            let size = if taken
                .last()
                .is_some_and(|before: &RollupTransaction| before.rollup == transaction.rollup)
            {
                transaction_bytes(transaction)
            } else {
                max_transaction_bytes(transaction)
            };
            let Some(rest) = left.checked_sub(size) else {
                misfits = misfits.saturating_add(1);
                if misfits >= MISFITS {
                    break;
                }
                continue;
            };
            left = rest;
            taken.push(transaction.clone());
            let following_nonce = nonce.saturating_add(1);
            if let Some(entry) = lane.in_run(following_nonce) {
                following.push(Reverse((entry.arrival, key, following_nonce)));
            }
        }
        for key in visited {
            self.take_from_ready(key);
            self.place(key);
        }
        taken
    }

    /// Whether a block could take something now. Asks `next` as [`Mempool::collect`] does, so that what was outrun does not
    /// look like work.
    pub fn has_ready(&mut self, next: NextNonce<'_>, now: Millis) -> bool {
        self.release(now);
        while let Some((arrival, key)) = self.ready.first_key_value().map(|(at, key)| (*at, *key)) {
            self.compare(key, next);
            if self.ready.contains_key(&arrival) {
                return true;
            }
        }
        false
    }

    /// The last place in the order of arrival that was given.
    pub const fn last_arrival(&self) -> u64 {
        self.arrivals
    }

    /// Hashes of the transactions that this agent promised to keep.
    pub fn local_hashes(&self) -> HashSet<B256> {
        self.local.values().copied().collect()
    }

    /// A transaction that waits, by its hash.
    pub fn get(&self, hash: B256) -> Option<&SignedTransaction> {
        let (key, nonce) = self.by_hash.get(&hash)?;
        self.lanes.get(key)?.entries.get(nonce).map(|entry| &entry.transaction)
    }

    /// The nonce that a sender should sign next, if something of it waits.
    pub fn next_nonce(&self, rollup: RollupId, sender: Address) -> Option<u64> {
        self.lanes.get(&(rollup, sender)).map(Lane::run_end)
    }

    /// Transactions of this agent's clients that arrived after `arrival`, in order of arrival, at most `count`. Those of
    /// whose sender and nonce another one was decided meanwhile are taken out first.
    pub fn local_after(
        &mut self,
        arrival: u64,
        count: usize,
        next: NextNonce<'_>,
    ) -> Vec<(u64, SignedTransaction)> {
        let from = arrival.saturating_add(1);
        let keys: HashSet<LaneKey> = self
            .local
            .range(from..)
            .take(count)
            .filter_map(|(_, hash)| self.by_hash.get(hash).map(|(key, _)| *key))
            .collect();
        for key in keys {
            self.compare(key, next);
        }
        self.local
            .range(from..)
            .take(count)
            .filter_map(|(arrival, hash)| self.get(*hash).map(|found| (*arrival, found.clone())))
            .collect()
    }

    /// Whether a transaction waits that this agent promised to keep.
    pub fn is_local(&self, hash: B256) -> bool {
        self.by_hash
            .get(&hash)
            .and_then(|(key, nonce)| self.lanes.get(key)?.entries.get(nonce))
            .is_some_and(|entry| entry.origin == Origin::Local)
    }

    /// Number of transactions that wait.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Bytes of the transactions that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn admit_again(&mut self, key: LaneKey, nonce: u64, origin: Origin) -> Admission {
        let entry = self.lanes.get_mut(&key).and_then(|lane| lane.entries.get_mut(&nonce));
        let Some(entry) = entry else { return Admission::Known };
        let Origin::Peer(peer) = entry.origin else { return Admission::Known };
        if origin != Origin::Local {
            return Admission::Known;
        }
        entry.origin = Origin::Local;
        self.local.insert(entry.arrival, entry.transaction.hash);
        self.forwarded.remove(&entry.arrival);
        self.uncount(peer);
        Admission::Adopted
    }

    /// The rules of one sender; the entry that would be replaced, if any.
    fn check(
        &self,
        transaction: &SignedTransaction,
        key: LaneKey,
        next: Option<u64>,
    ) -> Result<Option<B256>, Refusal> {
        let size = transaction.transaction.raw.len();
        if size > self.limits.transaction_bytes {
            return Err(Refusal::Invalid(crate::domain::TransactionError::TooLarge {
                limit: self.limits.transaction_bytes,
                actual: size,
            }));
        }
        let lane = self.lanes.get(&key);
        let nonce = transaction.nonce;
        if let Some(next) = lane.map_or(next, |lane| lane.next) {
            if nonce < next {
                return Err(Refusal::NonceTooLow { expected: next, actual: nonce });
            }
            let ahead = u64::try_from(self.limits.per_sender).unwrap_or(u64::MAX);
            let limit = next.saturating_add(ahead).saturating_sub(1);
            if nonce > limit {
                return Err(Refusal::NonceTooHigh { limit, actual: nonce });
            }
        }
        let Some(lane) = lane else { return Ok(None) };
        let Some(waiting) = lane.entries.get(&nonce) else {
            if lane.entries.len() >= self.limits.per_sender {
                return Err(Refusal::SenderFull { limit: self.limits.per_sender });
            }
            return Ok(None);
        };
        let needed_max_fee_wei = a_tenth_more(waiting.transaction.max_fee_wei).max(1);
        let needed_priority_fee_wei = a_tenth_more(waiting.transaction.priority_fee_wei);
        if transaction.max_fee_wei < needed_max_fee_wei
            || transaction.priority_fee_wei < needed_priority_fee_wei
        {
            return Err(Refusal::Underpriced { needed_max_fee_wei, needed_priority_fee_wei });
        }
        Ok(Some(waiting.transaction.hash))
    }

    fn make_room(
        &mut self,
        transaction: &SignedTransaction,
        key: LaneKey,
        origin: Origin,
        next: Option<u64>,
        replaces: bool,
    ) -> Result<(), Refusal> {
        if let Origin::Peer(peer) = origin
            && self.by_peer.get(&peer).copied().unwrap_or(0) >= self.limits.per_peer
        {
            return Err(Refusal::PeerFull { limit: self.limits.per_peer });
        }
        let size = transaction.transaction.raw.len();
        let extends_run = match self.lanes.get(&key) {
            Some(lane) => transaction.nonce <= lane.run_end(),
            None => next.is_none_or(|next| transaction.nonce == next),
        };
        loop {
            let one_more = usize::from(!replaces);
            let fits = self.by_hash.len().saturating_add(one_more) <= self.limits.transactions
                && self.bytes.saturating_add(size) <= self.limits.bytes;
            if fits {
                return Ok(());
            }
            if !(extends_run && self.evict(key, origin)) {
                return Err(Refusal::PoolFull {
                    transactions: self.by_hash.len(),
                    bytes: self.bytes,
                });
            }
        }
    }

    /// Drops one transaction that nobody here was promised; never one of the lane that asks.
    fn evict(&mut self, asking: LaneKey, origin: Origin) -> bool {
        if let Some(key) = self.parked.iter().find(|key| **key != asking).copied() {
            return self.drop_last(key);
        }
        if origin != Origin::Local {
            return false;
        }
        let victim = self.forwarded.values().rev().take(EVICTION_TRIES).find_map(|hash| {
            let (key, nonce) = self.by_hash.get(hash)?;
            let (last, _) = self.lanes.get(key)?.entries.last_key_value()?;
            (last == nonce && *key != asking).then_some(*key)
        });
        victim.is_some_and(|key| self.drop_last(key))
    }

    fn drop_last(&mut self, key: LaneKey) -> bool {
        let Some(entry) = self.lanes.get_mut(&key).and_then(Lane::pop_last) else { return false };
        self.unlist(&entry);
        self.place(key);
        true
    }

    /// Asks about the next nonce of a lane, if a block was decided since it was last asked.
    fn compare(&mut self, key: LaneKey, next: NextNonce<'_>) {
        let decided_blocks = self.decided_blocks;
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        if lane.compared_at == decided_blocks {
            return;
        }
        lane.compared_at = decided_blocks;
        if let Some(next) = next(key.0, key.1) {
            self.advance(key, next);
        }
    }

    fn advance(&mut self, key: LaneKey, next: u64) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        for entry in lane.advance(next) {
            self.unlist(&entry);
        }
        self.place(key);
    }

    fn release(&mut self, now: Millis) {
        while let Some((until, key)) = self.held.first().copied()
            && until <= now
        {
            self.held.pop_first();
            if let Some(lane) = self.lanes.get_mut(&key)
                && lane.held_until == Some(until)
            {
                lane.held_until = None;
                lane.measure();
            }
            self.place(key);
        }
    }

    /// Makes a lane unready until it is placed again.
    fn take_from_ready(&mut self, key: LaneKey) {
        if let Some(arrival) = self.lanes.get_mut(&key).and_then(|lane| lane.ready_at.take()) {
            self.ready.remove(&arrival);
        }
    }

    /// Puts a lane where its state belongs in `ready` and `parked`; forgets it when it is empty.
    fn place(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let head = lane.head().map(|entry| entry.arrival);
        if lane.ready_at != head {
            if let Some(arrival) = lane.ready_at {
                self.ready.remove(&arrival);
            }
            if let Some(arrival) = head {
                self.ready.insert(arrival, key);
            }
            lane.ready_at = head;
        }
        if lane.has_parked() {
            self.parked.insert(key);
        } else {
            self.parked.remove(&key);
        }
        if lane.entries.is_empty() {
            self.lanes.remove(&key);
        }
    }

    fn list(&mut self, arrival: u64, hash: B256, origin: Origin) {
        match origin {
            Origin::Local => {
                self.local.insert(arrival, hash);
            }
            Origin::Peer(peer) => {
                self.forwarded.insert(arrival, hash);
                let count = self.by_peer.entry(peer).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    fn unlist(&mut self, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.transaction.transaction.raw.len());
        self.by_hash.remove(&entry.transaction.hash);
        self.local.remove(&entry.arrival);
        self.forwarded.remove(&entry.arrival);
        if let Origin::Peer(peer) = entry.origin {
            self.uncount(peer);
        }
    }

    fn uncount(&mut self, peer: SequencerId) {
        if let Some(count) = self.by_peer.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// The smallest fee that is at least a tenth higher.
fn a_tenth_more(fee_wei: u128) -> u128 {
    fee_wei.saturating_add(fee_wei.div_ceil(10))
}

#[cfg(test)]
mod tests;
