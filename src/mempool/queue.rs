//! The pool itself: pure, and deterministic in the order of its calls.

mod content;

pub use content::LaneContent;

use crate::batch::body::{max_transaction_bytes, transaction_bytes};
use crate::domain::{Millis, RollupId, RollupTransaction, SequencerId, SignedTransaction};
use crate::mempool::dropped::{DropReason, Dropped};
use crate::mempool::lane::{Entry, Lane, LaneKey};
use crate::mempool::order::{Ready, tip_wei};
use crate::mempool::{Limits, Refusal};
use crate::storage::NextNonceOf;
use alloy::primitives::{Address, B256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Who brought a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this agent, which promised to keep it.
    Local,
    /// This sequencer, whose agent keeps it too.
    Peer(SequencerId),
}

/// What became of a transaction that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is in the pool.
    Added,
    /// It is in the pool in place of another.
    Replaced {
        /// What it replaced.
        transaction: Box<SignedTransaction>,
        /// Who had brought that.
        origin: Origin,
    },
    /// A peer had forwarded it already; now this agent keeps it for a client too.
    Adopted,
    /// It was there already.
    Known,
}

/// A block takes nothing more once this many ready transactions did not fit.
const MISFITS: usize = 64;

/// How many of the cheapest forwarded transactions are looked at to make room.
const EVICTION_TRIES: usize = 64;

/// What waits to be ordered, by sender in nonce order; across senders as [`super::order`] has it.
///
/// What a client of this agent was promised leaves only when it was ordered, replaced, or cannot be ordered any more; room
/// is made from what peers forwarded alone.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    lanes: HashMap<LaneKey, Lane>,
    by_hash: HashMap<B256, (LaneKey, u64)>,
    ready: Ready,
    /// Lanes whose last entry waits behind a gap and was forwarded: the first to make room.
    loose: BTreeSet<LaneKey>,
    /// Entries by lane that are in no run, for lanes that have such.
    parked: HashMap<LaneKey, usize>,
    /// Their sum.
    parked_in_all: usize,
    /// Forwarded transactions by rollup, the cheapest and of equals the youngest first.
    forwarded: BTreeMap<RollupId, BTreeSet<(u128, Reverse<u64>, B256)>>,
    /// Number of forwarded transactions by peer.
    by_peer: HashMap<SequencerId, usize>,
    /// Transactions of this agent's clients by arrival.
    local: BTreeMap<u64, B256>,
    dropped: Dropped,
    bytes: usize,
    arrivals: u64,
    steps: u64,
}

impl Mempool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            by_hash: HashMap::new(),
            ready: Ready::default(),
            loose: BTreeSet::new(),
            parked: HashMap::new(),
            parked_in_all: 0,
            forwarded: BTreeMap::new(),
            by_peer: HashMap::new(),
            local: BTreeMap::new(),
            dropped: Dropped::default(),
            bytes: 0,
            arrivals: 0,
            steps: 0,
        }
    }

    /// Admits a transaction, or says why not. `next` is the sender's next nonce as decided blocks say it, no older than what
    /// the pool was told of them last.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the pool is unchanged then, except that it may have learnt `next`.
    pub fn admit(
        &mut self,
        transaction: SignedTransaction,
        origin: Origin,
        next: u64,
        now: Millis,
    ) -> Result<Admission, Refusal> {
        let key = (transaction.transaction.rollup, transaction.sender);
        if let Some((key, nonce)) = self.by_hash.get(&transaction.hash).copied() {
            return Ok(self.admit_again(key, nonce, origin));
        }
        self.advance(key, next);
        let replaced = self.check(&transaction, key, next)?;
        self.make_room(&transaction, key, origin, next, replaced)?;

        self.arrivals = self.arrivals.saturating_add(1);
        let (hash, nonce) = (transaction.hash, transaction.nonce);
        self.bytes = self.bytes.saturating_add(transaction.transaction.raw.len());
        self.by_hash.insert(hash, (key, nonce));
        let entry = Entry { transaction, arrival: self.arrivals, origin, since: now };
        self.list(&entry);
        let lane = self.lanes.entry(key).or_insert_with(|| Lane::new(next));
        let before = lane.insert(entry);
        if let Some(before) = &before {
            self.drop_for(before, DropReason::Replaced { by: hash });
        }
        self.place(key);
        Ok(before.map_or(Admission::Added, |before| Admission::Replaced {
            transaction: Box::new(before.transaction),
            origin: before.origin,
        }))
    }

    /// Takes out what decided blocks hold, and what can no longer be ordered after them. `moved` says the next nonces of all
    /// accounts of which these blocks moved it. A nonce that was decided ahead of its turn moves nothing: it is a no-op to
    /// its rollup (R17). Returns how many left.
    pub fn decided(
        &mut self,
        transactions: &[RollupTransaction],
        moved: impl IntoIterator<Item = NextNonceOf>,
    ) -> usize {
        let before = self.by_hash.len();
        self.steps = self.steps.saturating_add(1);
        for transaction in transactions {
            self.retract(transaction.hash());
        }
        for (rollup, account, next) in moved {
            self.advance((rollup, account), next);
        }
        before.saturating_sub(self.by_hash.len())
    }

    /// How often the pool was told of decided blocks. A next nonce that was read before it counted on may be too old for
    /// [`Mempool::admit`].
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The accounts of which something waits, for [`Mempool::set_next`]. It counts as a step: what is read of the decided
    /// chain from now on is new enough.
    pub fn accounts(&mut self) -> Vec<(RollupId, Address)> {
        self.steps = self.steps.saturating_add(1);
        self.lanes.keys().copied().collect()
    }

    /// Takes next nonces as they are now, also where a restart undid blocks and they are lower. What waits keeps its place.
    pub fn set_next(&mut self, all: impl IntoIterator<Item = NextNonceOf>) {
        self.steps = self.steps.saturating_add(1);
        for (rollup, account, next) in all {
            self.set((rollup, account), next);
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

    /// Drops all that waits of a rollup. Returns how many of them were promised to clients.
    pub fn drop_rollup(&mut self, rollup: RollupId) -> usize {
        let keys = self.lanes.keys().filter(|key| key.0 == rollup).copied().collect::<Vec<_>>();
        let mut promised: usize = 0;
        for key in keys {
            let Some(lane) = self.lanes.remove(&key) else { continue };
            for entry in lane.iter() {
                promised = promised.saturating_add(usize::from(entry.is_local()));
                self.drop_for(entry, DropReason::RollupClosed);
            }
            self.place(key);
        }
        promised
    }

    /// Drops what has waited behind a nonce gap for longer than [`Limits::parked_time`]. Returns how many of them were
    /// promised to clients.
    pub fn drop_parked(&mut self, now: Millis) -> usize {
        let patience = u64::try_from(self.limits.parked_time.as_millis()).unwrap_or(u64::MAX);
        let mut promised: usize = 0;
        for key in self.parked.keys().copied().collect::<Vec<_>>() {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let over = |entry: &&Entry| now.get().saturating_sub(entry.since.get()) >= patience;
            let nonces: Vec<u64> =
                lane.behind_a_gap().filter(over).map(|entry| entry.transaction.nonce).collect();
            for entry in
                nonces.into_iter().filter_map(|nonce| lane.remove(nonce)).collect::<Vec<_>>()
            {
                promised = promised.saturating_add(usize::from(entry.is_local()));
                self.drop_for(&entry, DropReason::GapNotClosed);
            }
            self.place(key);
        }
        promised
    }

    /// Rollups of which something waits.
    pub fn rollups(&self) -> BTreeSet<RollupId> {
        self.lanes.keys().map(|(rollup, _)| *rollup).collect()
    }

    /// Why a transaction that this agent had promised to keep was dropped, if it is remembered.
    pub fn dropped(&self, rollup: RollupId, hash: B256) -> Option<DropReason> {
        self.dropped.get((rollup, hash))
    }

    /// What a block takes of the rollups for which `is_open` holds, in the order of [`super::order`], as many as fit
    /// `max_bytes`; each rollup's stand together. Nothing leaves the pool.
    pub fn collect(
        &self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Vec<RollupTransaction> {
        let mut taken: BTreeMap<RollupId, Vec<RollupTransaction>> = BTreeMap::new();
        let mut left = max_bytes;
        let mut misfits: usize = 0;
        self.ready.picks(&self.lanes, is_open).offer(|entry, is_first| {
            let transaction = &entry.transaction.transaction;
            let size = if is_first {
                max_transaction_bytes(transaction)
            } else {
                transaction_bytes(transaction)
            };
            let Some(rest) = left.checked_sub(size) else {
                misfits = misfits.saturating_add(1);
                return if misfits < MISFITS { Ok(None) } else { Err(()) };
            };
            left = rest;
            taken.entry(transaction.rollup).or_default().push(transaction.clone());
            Ok(Some(size))
        });
        taken.into_values().flatten().collect()
    }

    /// The rollups of which a block could take something.
    pub fn ready_rollups(&self) -> Vec<RollupId> {
        self.ready.rollups().collect()
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
        self.entry(hash).map(|entry| &entry.transaction)
    }

    /// The nonce that a sender should sign next, if something of it waits.
    pub fn next_nonce(&self, rollup: RollupId, sender: Address) -> Option<u64> {
        self.lanes.get(&(rollup, sender)).map(Lane::run_end)
    }

    /// Transactions of this agent's clients that arrived after `arrival`, in order of arrival, at most `count`.
    pub fn local_after(&self, arrival: u64, count: usize) -> Vec<(u64, SignedTransaction)> {
        self.local
            .range(arrival.saturating_add(1)..)
            .take(count)
            .filter_map(|(arrival, hash)| self.get(*hash).map(|found| (*arrival, found.clone())))
            .collect()
    }

    /// Whether a transaction waits that this agent promised to keep.
    pub fn is_local(&self, hash: B256) -> bool {
        self.entry(hash).is_some_and(Entry::is_local)
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

    fn entry(&self, hash: B256) -> Option<&Entry> {
        let (key, nonce) = self.by_hash.get(&hash)?;
        self.lanes.get(key)?.get(*nonce)
    }

    fn admit_again(&mut self, key: LaneKey, nonce: u64, origin: Origin) -> Admission {
        let entry = self.lanes.get_mut(&key).and_then(|lane| lane.get_mut(nonce));
        let Some(entry) = entry else { return Admission::Known };
        let Origin::Peer(peer) = entry.origin else { return Admission::Known };
        if origin != Origin::Local {
            return Admission::Known;
        }
        entry.origin = Origin::Local;
        self.local.insert(entry.arrival, entry.transaction.hash);
        let listed = cheapness(entry);
        self.unforward(key.0, listed, peer);
        self.place(key);
        Admission::Adopted
    }

    /// The rules of one sender; the bytes of the entry that would be replaced, if any.
    fn check(
        &self,
        transaction: &SignedTransaction,
        key: LaneKey,
        next: u64,
    ) -> Result<Option<usize>, Refusal> {
        let size = transaction.transaction.raw.len();
        if size > self.limits.transaction_bytes {
            return Err(Refusal::Invalid(crate::domain::TransactionError::TooLarge {
                limit: self.limits.transaction_bytes,
                actual: size,
            }));
        }
        let lane = self.lanes.get(&key);
        let nonce = transaction.nonce;
        let next = lane.map_or(next, Lane::next);
        if nonce < next {
            return Err(Refusal::NonceTooLow { expected: next, actual: nonce });
        }
        let ahead = u64::try_from(self.limits.per_sender).unwrap_or(u64::MAX);
        let limit = next.saturating_add(ahead).saturating_sub(1);
        if nonce > limit {
            return Err(Refusal::NonceTooHigh { limit, actual: nonce });
        }
        let replaced = lane.and_then(|lane| lane.get(nonce)).map(|entry| &entry.transaction);
        if let Some(waiting) = replaced {
            check_price(waiting, transaction)?;
        } else if lane.is_some_and(|lane| lane.len() >= self.limits.per_sender) {
            return Err(Refusal::SenderFull { limit: self.limits.per_sender });
        }
        let replaced = replaced.map(|waiting| waiting.transaction.raw.len());
        let bytes = lane.map_or(0, Lane::bytes).saturating_sub(replaced.unwrap_or(0));
        // A sender with nothing else may always have one.
        if bytes > 0 && bytes.saturating_add(size) > self.limits.bytes_per_sender {
            return Err(Refusal::SenderBytesFull { limit: self.limits.bytes_per_sender });
        }
        Ok(replaced)
    }

    /// Makes room for a transaction that replaces one of `replaced` bytes, or none.
    fn make_room(
        &mut self,
        transaction: &SignedTransaction,
        key: LaneKey,
        origin: Origin,
        next: u64,
        replaced: Option<usize>,
    ) -> Result<(), Refusal> {
        if let Origin::Peer(peer) = origin
            && self.by_peer.get(&peer).copied().unwrap_or(0) >= self.limits.per_peer
        {
            return Err(Refusal::PeerFull { limit: self.limits.per_peer });
        }
        let run_end = self.lanes.get(&key).map_or(next, Lane::run_end);
        let extends_run = transaction.nonce <= run_end;
        while !extends_run && replaced.is_none() && self.parked_in_all >= self.limits.parked {
            if !(origin == Origin::Local && self.evict_loose(key)) {
                return Err(Refusal::NonceTooHigh { limit: run_end, actual: transaction.nonce });
            }
        }
        let size = transaction.transaction.raw.len();
        loop {
            let one_more = usize::from(replaced.is_none());
            let bytes = self.bytes.saturating_sub(replaced.unwrap_or(0)).saturating_add(size);
            let fits = self.by_hash.len().saturating_add(one_more) <= self.limits.transactions
                && bytes <= self.limits.bytes;
            if fits {
                return Ok(());
            }
            if !(extends_run && self.evict(key, transaction, origin)) {
                return Err(Refusal::PoolFull {
                    transactions: self.by_hash.len(),
                    bytes: self.bytes,
                });
            }
        }
    }

    /// Drops one transaction that nobody here was promised; never one of the lane that asks.
    fn evict(&mut self, asking: LaneKey, transaction: &SignedTransaction, origin: Origin) -> bool {
        if self.evict_loose(asking) {
            return true;
        }
        let Some((rollup, cheapest)) = self.forwarded.iter().max_by_key(|(_, all)| all.len())
        else {
            return false;
        };
        let own = self.forwarded.get(&asking.0).map_or(0, BTreeSet::len);
        // A peer's copy makes room for a peer's copy only of a rollup with fewer, or if it pays more in the same rollup.
        let (tip, takes_any) = match origin {
            Origin::Local => (0, true),
            Origin::Peer(_) if *rollup == asking.0 => (tip_wei(transaction), false),
            Origin::Peer(_) if cheapest.len() > own.saturating_add(1) => (0, true),
            Origin::Peer(_) => return false,
        };
        let victims = cheapest.iter().take_while(|(victim, ..)| takes_any || *victim < tip);
        let victim = victims.take(EVICTION_TRIES).find_map(|(.., hash)| {
            let (key, _) = self.by_hash.get(hash)?;
            let last = self.lanes.get(key)?.last()?;
            (!last.is_local() && *key != asking).then_some(*key)
        });
        victim.is_some_and(|key| self.drop_last(key))
    }

    /// Drops a forwarded transaction that waits behind a gap.
    fn evict_loose(&mut self, asking: LaneKey) -> bool {
        let loose = self.loose.iter().find(|key| **key != asking).copied();
        loose.is_some_and(|key| self.drop_last(key))
    }

    fn drop_last(&mut self, key: LaneKey) -> bool {
        let hash = self.lanes.get(&key).and_then(Lane::last).map(|last| last.transaction.hash);
        let before = self.by_hash.len();
        if let Some(hash) = hash {
            self.retract(hash);
        }
        self.by_hash.len() < before
    }

    /// Moves an account's next nonce, if that is higher than what is known of it.
    fn advance(&mut self, key: LaneKey, next: u64) {
        if self.lanes.get(&key).is_some_and(|lane| lane.next() < next) {
            self.set(key, next);
        }
    }

    fn set(&mut self, key: LaneKey, next: u64) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        for entry in lane.set_next(next) {
            self.drop_for(&entry, DropReason::NonceSpent);
        }
        self.place(key);
    }

    /// Puts a lane where its state belongs; forgets it when it is empty.
    fn place(&mut self, key: LaneKey) {
        let lane = self.lanes.get(&key);
        self.ready.place(key, lane.and_then(Lane::head));
        let parked = lane.map_or(0, Lane::parked);
        let before = match parked {
            0 => self.parked.remove(&key),
            _ => self.parked.insert(key, parked),
        };
        self.parked_in_all =
            self.parked_in_all.saturating_sub(before.unwrap_or(0)).saturating_add(parked);
        let is_loose = lane.is_some_and(|lane| {
            lane.last()
                .is_some_and(|last| !last.is_local() && last.transaction.nonce >= lane.run_end())
        });
        if is_loose {
            self.loose.insert(key);
        } else {
            self.loose.remove(&key);
        }
        if lane.is_some_and(|lane| lane.len() == 0) {
            self.lanes.remove(&key);
        }
    }

    fn list(&mut self, entry: &Entry) {
        match entry.origin {
            Origin::Local => {
                self.local.insert(entry.arrival, entry.transaction.hash);
            }
            Origin::Peer(peer) => {
                let rollup = entry.transaction.transaction.rollup;
                self.forwarded.entry(rollup).or_default().insert(cheapness(entry));
                let count = self.by_peer.entry(peer).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// Forgets an entry that left its lane, and remembers why if it was promised.
    fn drop_for(&mut self, entry: &Entry, reason: DropReason) {
        if entry.is_local() {
            let transaction = &entry.transaction;
            self.dropped.note((transaction.transaction.rollup, transaction.hash), reason);
        }
        self.unlist(entry);
    }

    fn unlist(&mut self, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.transaction.transaction.raw.len());
        self.by_hash.remove(&entry.transaction.hash);
        self.local.remove(&entry.arrival);
        if let Origin::Peer(peer) = entry.origin {
            self.unforward(entry.transaction.transaction.rollup, cheapness(entry), peer);
        }
    }

    fn unforward(
        &mut self,
        rollup: RollupId,
        listed: (u128, Reverse<u64>, B256),
        peer: SequencerId,
    ) {
        if let Some(all) = self.forwarded.get_mut(&rollup) {
            all.remove(&listed);
            if all.is_empty() {
                self.forwarded.remove(&rollup);
            }
        }
        if let Some(count) = self.by_peer.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// Where a forwarded transaction stands among those that make room.
fn cheapness(entry: &Entry) -> (u128, Reverse<u64>, B256) {
    (tip_wei(&entry.transaction), Reverse(entry.arrival), entry.transaction.hash)
}

/// Whether a transaction pays enough more than the one that it would replace: as geth has it, a tenth in both fees, rounded
/// down, and at least a wei.
fn check_price(waiting: &SignedTransaction, with: &SignedTransaction) -> Result<(), Refusal> {
    let needed_max_fee_wei = a_tenth_more(waiting.max_fee_wei);
    let needed_priority_fee_wei = a_tenth_more(waiting.priority_fee_wei);
    let enough = |needed: u128, before: u128, offered: u128| offered >= needed && offered > before;
    if enough(needed_max_fee_wei, waiting.max_fee_wei, with.max_fee_wei)
        && enough(needed_priority_fee_wei, waiting.priority_fee_wei, with.priority_fee_wei)
    {
        return Ok(());
    }
    Err(Refusal::Underpriced { needed_max_fee_wei, needed_priority_fee_wei })
}

/// The smallest fee that replaces this one; at the end of the type none does.
fn a_tenth_more(fee_wei: u128) -> u128 {
    fee_wei.saturating_add((fee_wei / 10).max(1))
}

#[cfg(test)]
mod tests;
