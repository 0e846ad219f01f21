//! One sender's transactions in one rollup, in nonce order.

use crate::domain::{Millis, RollupId, SignedTransaction};
use crate::mempool::Origin;
use alloy::primitives::Address;
use std::collections::BTreeMap;

/// Names a lane.
pub(super) type LaneKey = (RollupId, Address);

/// A transaction in the pool.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) transaction: SignedTransaction,
    /// Place in the order of arrival; unique.
    pub(super) arrival: u64,
    pub(super) origin: Origin,
}

/// What waits of one sender. The *run* is what a block may take now: consecutive nonces from the next one on.
#[derive(Debug)]
pub(super) struct Lane {
    /// The next nonce as decided blocks say it; `None` while they do not know the sender.
    pub(super) next: Option<u64>,
    pub(super) entries: BTreeMap<u64, Entry>,
    /// First nonce behind the run. Equal to the first nonce of the run when that is empty.
    run_end: u64,
    /// While set, an unknown sender's run is kept empty: see [`super::Limits::settle_time`].
    pub(super) held_until: Option<Millis>,
    /// Key of this lane in the pool's order of ready lanes.
    pub(super) ready_at: Option<u64>,
    /// The pool's count of decided blocks when `next` was last compared with them.
    pub(super) compared_at: u64,
}

impl Lane {
    pub(super) const fn new(next: Option<u64>, compared_at: u64) -> Self {
        Self {
            next,
            entries: BTreeMap::new(),
            run_end: 0,
            held_until: None,
            ready_at: None,
            compared_at,
        }
    }

    /// Recomputes where the run ends.
    pub(super) fn measure(&mut self) {
        self.run_end = self.run_start();
        self.lengthen();
    }

    /// Moves the end of the run over what follows it: as many steps as there are entries, whatever their nonces.
    fn lengthen(&mut self) {
        if self.held_until.is_some() {
            return;
        }
        for nonce in self.entries.range(self.run_end..).map(|(nonce, _)| *nonce) {
            let (true, Some(next)) = (nonce == self.run_end, nonce.checked_add(1)) else { break };
            self.run_end = next;
        }
    }

    /// Puts an entry in place of what had its nonce.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let nonce = entry.transaction.nonce;
        let lowest = self.entries.keys().next().is_none_or(|first| nonce < *first);
        let before = self.entries.insert(nonce, entry);
        if lowest {
            self.measure();
        } else if nonce == self.run_end {
            self.lengthen();
        }
        before
    }

    /// Takes out every entry below the new next nonce.
    pub(super) fn advance(&mut self, next: u64) -> Vec<Entry> {
        if self.next.is_some_and(|known| known >= next) {
            return Vec::new();
        }
        self.next = Some(next);
        self.held_until = None;
        let kept = self.entries.split_off(&next);
        let gone = std::mem::replace(&mut self.entries, kept);
        self.measure();
        gone.into_values().collect()
    }

    /// Takes the next nonce as it is after a restart undid blocks; takes out every entry below it.
    pub(super) fn go_back(&mut self, next: Option<u64>) -> Vec<Entry> {
        self.next = next;
        let kept = self.entries.split_off(&next.unwrap_or(0));
        let gone = std::mem::replace(&mut self.entries, kept);
        self.measure();
        gone.into_values().collect()
    }

    /// Takes out one entry; what is above it stays, behind a gap.
    pub(super) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.measure();
        Some(entry)
    }

    /// Takes out the highest nonce.
    pub(super) fn pop_last(&mut self) -> Option<Entry> {
        let (_, entry) = self.entries.pop_last()?;
        self.run_end = self.run_end.min(entry.transaction.nonce.max(self.run_start()));
        Some(entry)
    }

    /// The first entry of the run.
    pub(super) fn head(&self) -> Option<&Entry> {
        self.in_run(self.run_start())
    }

    /// The entry with this nonce, if the run holds it.
    pub(super) fn in_run(&self, nonce: u64) -> Option<&Entry> {
        if nonce < self.run_end { self.entries.get(&nonce) } else { None }
    }

    /// First nonce behind the run: what the sender should sign next.
    pub(super) const fn run_end(&self) -> u64 {
        self.run_end
    }

    /// Whether something waits behind a gap (or is held).
    pub(super) fn has_parked(&self) -> bool {
        self.entries.last_key_value().is_some_and(|(nonce, _)| *nonce >= self.run_end)
    }

    fn run_start(&self) -> u64 {
        self.next.or_else(|| self.entries.keys().next().copied()).unwrap_or(0)
    }
}
