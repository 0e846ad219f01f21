//! Which of what is ready a block takes first.
//!
//! Rollups share a block by bytes: the next place goes to the one that has the least in it so far, since fees in the coins
//! of different rollups do not compare. Within a rollup, who pays the higher tip comes first, of equals who came first;
//! every fourth place, beginning with the first, goes to who has waited longest, as nobody has to have what it offers and
//! nobody is to wait for ever. A sender's nonces keep their order: its next transaction stands for it.

use crate::domain::{RollupId, SignedTransaction};
use crate::mempool::lane::{Entry, Lane, LaneKey};
use alloy::primitives::Address;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, btree_map, btree_set};
use std::iter::Peekable;

/// The base fee that agents quote. What a rollup's is, only the rollup knows.
pub const BASE_FEE_WEI: u128 = 1_000_000_000;

/// One place of so many goes to who has waited longest.
const PLACES: usize = 4;

/// What a transaction pays a proposer for a unit of gas at [`BASE_FEE_WEI`].
pub(super) fn tip_wei(transaction: &SignedTransaction) -> u128 {
    transaction.priority_fee_wei.min(transaction.max_fee_wei.saturating_sub(BASE_FEE_WEI))
}

/// Where a lane stands among those that are ready: by the first transaction of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank {
    tip_wei: u128,
    arrival: u64,
}

/// The lanes of one rollup whose run is not empty.
#[derive(Debug, Default)]
struct ReadyOf {
    ranks: HashMap<Address, Rank>,
    oldest: BTreeMap<u64, Address>,
    best: BTreeSet<(Reverse<u128>, u64, Address)>,
}

/// The lanes whose run is not empty, by rollup.
#[derive(Debug, Default)]
pub(super) struct Ready {
    rollups: BTreeMap<RollupId, ReadyOf>,
}

impl Ready {
    /// Puts a lane where the first entry of its run belongs; none takes it out.
    pub(super) fn place(&mut self, (rollup, sender): LaneKey, head: Option<&Entry>) {
        let rank =
            head.map(|entry| Rank { tip_wei: tip_wei(&entry.transaction), arrival: entry.arrival });
        let ready = self.rollups.entry(rollup).or_default();
        let before = match rank {
            Some(rank) => ready.ranks.insert(sender, rank),
            None => ready.ranks.remove(&sender),
        };
        if before != rank {
            if let Some(Rank { tip_wei, arrival }) = before {
                ready.oldest.remove(&arrival);
                ready.best.remove(&(Reverse(tip_wei), arrival, sender));
            }
            if let Some(Rank { tip_wei, arrival }) = rank {
                ready.oldest.insert(arrival, sender);
                ready.best.insert((Reverse(tip_wei), arrival, sender));
            }
        }
        if ready.ranks.is_empty() {
            self.rollups.remove(&rollup);
        }
    }

    /// The rollups of which something is ready.
    pub(super) fn rollups(&self) -> impl Iterator<Item = RollupId> {
        self.rollups.keys().copied()
    }

    /// Number of lanes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rollups.values().map(|ready| ready.ranks.len()).sum()
    }

    /// Goes through what is ready of the rollups for which `is_open` holds.
    pub(super) fn picks<'a>(
        &'a self,
        lanes: &'a HashMap<LaneKey, Lane>,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Picks<'a> {
        let open = self.rollups.iter().filter(|(rollup, _)| is_open(**rollup));
        let pickers = open.filter_map(|(rollup, ready)| {
            let (first, _) = ready.oldest.first_key_value()?;
            Some(((0, *first, *rollup), Picker::new(*rollup, ready, lanes)))
        });
        Picks { pickers: pickers.collect() }
    }
}

/// What is ready, place by place.
pub(super) struct Picks<'a> {
    /// By bytes that a rollup has in the block, then by its oldest transaction.
    pickers: BTreeMap<(usize, u64, RollupId), Picker<'a>>,
}

impl<'a> Picks<'a> {
    /// Offers each place to a transaction, with whether it is its rollup's first. `take` says how many bytes it takes; `None`
    /// passes over it, and over what follows it in its lane; an error ends all.
    pub(super) fn offer(
        mut self,
        mut take: impl FnMut(&'a Entry, bool) -> Result<Option<usize>, ()>,
    ) {
        while let Some(((bytes, first, rollup), mut picker)) = self.pickers.pop_first() {
            let Some(entry) = picker.pick() else { continue };
            let taken = match take(entry, bytes == 0) {
                Ok(Some(taken)) => {
                    picker.go_on_behind(entry);
                    taken
                }
                Ok(None) => 0,
                Err(()) => return,
            };
            self.pickers.insert((bytes.saturating_add(taken), first, rollup), picker);
        }
    }
}

/// What is ready of one rollup, place by place.
struct Picker<'a> {
    rollup: RollupId,
    lanes: &'a HashMap<LaneKey, Lane>,
    oldest: Peekable<btree_map::Iter<'a, u64, Address>>,
    best: Peekable<btree_set::Iter<'a, (Reverse<u128>, u64, Address)>>,
    /// What follows in lanes of which something was taken, in both orders.
    next_oldest: BinaryHeap<Reverse<(u64, Address, u64)>>,
    next_best: BinaryHeap<Reverse<(Reverse<u128>, u64, Address, u64)>>,
    /// The nonce that comes next in a lane; none in one that was passed over or is through.
    at: HashMap<Address, Option<u64>>,
    places: usize,
}

impl<'a> Picker<'a> {
    fn new(rollup: RollupId, ready: &'a ReadyOf, lanes: &'a HashMap<LaneKey, Lane>) -> Self {
        Self {
            rollup,
            lanes,
            oldest: ready.oldest.iter().peekable(),
            best: ready.best.iter().peekable(),
            next_oldest: BinaryHeap::new(),
            next_best: BinaryHeap::new(),
            at: HashMap::new(),
            places: 0,
        }
    }

    /// The transaction for the next place. It is not offered again.
    fn pick(&mut self) -> Option<&'a Entry> {
        let to_the_oldest = self.places.is_multiple_of(PLACES);
        self.places = self.places.saturating_add(1);
        loop {
            let (sender, nonce) = if to_the_oldest { self.pop_oldest()? } else { self.pop_best()? };
            let Some(lane) = self.lanes.get(&(self.rollup, sender)) else { continue };
            let nonce = nonce.unwrap_or_else(|| lane.next());
            // Each transaction stands in both orders; what went by the other one is over.
            if self.at.get(&sender).copied().unwrap_or(Some(lane.next())) != Some(nonce) {
                continue;
            }
            if let Some(entry) = lane.in_run(nonce) {
                self.at.insert(sender, None);
                return Some(entry);
            }
        }
    }

    /// A sender, and the nonce if it is not the first of its run.
    fn pop_oldest(&mut self) -> Option<(Address, Option<u64>)> {
        let first = self.oldest.peek().map(|(arrival, _)| **arrival);
        let next = self.next_oldest.peek().map(|Reverse((arrival, ..))| *arrival);
        if next.is_some() && first.is_none_or(|first| next < Some(first)) {
            let Reverse((_, sender, nonce)) = self.next_oldest.pop()?;
            return Some((sender, Some(nonce)));
        }
        self.oldest.next().map(|(_, sender)| (*sender, None))
    }

    fn pop_best(&mut self) -> Option<(Address, Option<u64>)> {
        let first = self.best.peek().map(|(tip, arrival, _)| (*tip, *arrival));
        let next = self.next_best.peek().map(|Reverse((tip, arrival, ..))| (*tip, *arrival));
        if let Some(next) = next
            && first.is_none_or(|first| next < first)
        {
            let Reverse((.., sender, nonce)) = self.next_best.pop()?;
            return Some((sender, Some(nonce)));
        }
        self.best.next().map(|(.., sender)| (*sender, None))
    }

    /// Lets the transaction after `taken` in its lane stand for the sender.
    fn go_on_behind(&mut self, taken: &Entry) {
        let sender = taken.transaction.sender;
        let nonce = taken.transaction.nonce_after();
        let lane = self.lanes.get(&(self.rollup, sender));
        let Some(entry) = lane.and_then(|lane| lane.in_run(nonce)) else { return };
        self.at.insert(sender, Some(nonce));
        self.next_oldest.push(Reverse((entry.arrival, sender, nonce)));
        let tip = Reverse(tip_wei(&entry.transaction));
        self.next_best.push(Reverse((tip, entry.arrival, sender, nonce)));
    }
}
