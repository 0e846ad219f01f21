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
    /// When it arrived.
    pub(super) since: Millis,
}

impl Entry {
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.origin, Origin::Local)
    }
}

/// What waits of one sender. The *run* is what a block may take now: from the next nonce on, each transaction with the nonce
/// that follows the one before. Beside it there may be entries that wait behind a gap, and entries that the run passes over
/// because a transaction in it spends their nonce (EIP-7702).
#[derive(Debug)]
pub(super) struct Lane {
    /// The next nonce as decided blocks say it.
    next: u64,
    entries: BTreeMap<u64, Entry>,
    /// The nonce behind the run; `next` while that is empty.
    run_end: u64,
    /// Entries in the run.
    run: usize,
    /// Raw bytes of all entries.
    bytes: usize,
}

impl Lane {
    pub(super) const fn new(next: u64) -> Self {
        Self { next, entries: BTreeMap::new(), run_end: next, run: 0, bytes: 0 }
    }

    /// Recomputes the run.
    fn measure(&mut self) {
        (self.run_end, self.run) = (self.next, 0);
        self.lengthen();
    }

    /// Moves the end of the run over what follows it. Each step takes another entry with a higher nonce: there are no more
    /// steps than entries, whatever the nonces are.
    fn lengthen(&mut self) {
        while let Some(entry) = self.entries.get(&self.run_end) {
            let after = entry.transaction.nonce_after();
            if after <= self.run_end {
                break;
            }
            self.run_end = after;
            self.run = self.run.saturating_add(1);
        }
    }

    /// Puts an entry in place of what had its nonce.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let nonce = entry.transaction.nonce;
        self.bytes = self.bytes.saturating_add(size(&entry));
        let before = self.entries.insert(nonce, entry);
        if let Some(before) = &before {
            self.bytes = self.bytes.saturating_sub(size(before));
            self.measure();
        } else if nonce == self.run_end {
            self.lengthen();
        }
        before
    }

    /// Takes the next nonce as decided blocks say it now, and takes out every entry below it.
    pub(super) fn set_next(&mut self, next: u64) -> Vec<Entry> {
        self.next = next;
        let kept = self.entries.split_off(&next);
        let gone = std::mem::replace(&mut self.entries, kept);
        for entry in gone.values() {
            self.bytes = self.bytes.saturating_sub(size(entry));
        }
        self.measure();
        gone.into_values().collect()
    }

    /// Takes out one entry; what is above it stays, behind a gap.
    pub(super) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.bytes = self.bytes.saturating_sub(size(&entry));
        self.measure();
        Some(entry)
    }

    /// The next nonce as decided blocks say it.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The first entry of the run.
    pub(super) fn head(&self) -> Option<&Entry> {
        self.in_run(self.next)
    }

    /// The entry with this nonce, if the run comes to it.
    pub(super) fn in_run(&self, nonce: u64) -> Option<&Entry> {
        if nonce < self.run_end { self.entries.get(&nonce) } else { None }
    }

    /// The nonce behind the run: what the sender should sign next.
    pub(super) const fn run_end(&self) -> u64 {
        self.run_end
    }

    /// Number of entries that are not in the run.
    pub(super) fn parked(&self) -> usize {
        self.entries.len().saturating_sub(self.run)
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&Entry> {
        self.entries.get(&nonce)
    }

    pub(super) fn get_mut(&mut self, nonce: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&nonce)
    }

    /// The entry with the highest nonce.
    pub(super) fn last(&self) -> Option<&Entry> {
        self.entries.values().next_back()
    }

    /// Entries behind a gap.
    pub(super) fn behind_a_gap(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.run_end..).map(|(_, entry)| entry)
    }

    /// All entries, by nonce.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Raw bytes of all entries.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(entry: &Entry) -> usize {
    entry.transaction.transaction.raw.len()
}
