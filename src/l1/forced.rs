//! The forced queue as consensus looks at it: how many entries there were at an L1 block, and how many of them were due.
//! Pure.
//!
//! Eight bytes an entry, from the first one that no settled batch has passed; the entries themselves are in the store. How
//! many can wait is bounded by what they cost: the fee doubles with the queue up to its bound, and burns.

use crate::domain::{FORCED_A_BLOCK, Params};
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// L1 blocks of the entries that still matter, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForcedQueue {
    /// Entries before this one are behind the settled tip.
    first: u64,
    blocks: VecDeque<u64>,
    /// Entries consumed on L1, by batches or by escape.
    consumed: u64,
}

impl ForcedQueue {
    /// Entries ever enqueued, as far as L1 was followed.
    pub fn len(&self) -> u64 {
        self.first.saturating_add(count(self.blocks.len()))
    }

    /// Whether none ever was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that L1 has seen consumed, by a settled batch or by escape.
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Entries that are there and not consumed on L1.
    pub fn waiting(&self) -> u64 {
        self.len().saturating_sub(self.consumed)
    }

    /// Entries there at L1 block `origin`, which is not before the settled batches' own.
    pub fn len_at(&self, origin: u64) -> u64 {
        self.first.saturating_add(count(self.blocks.partition_point(|block| *block <= origin)))
    }

    /// L1 block of the first entry that is not consumed on L1.
    pub fn oldest_waiting(&self) -> Option<u64> {
        let skipped = usize::try_from(self.consumed.saturating_sub(self.first)).ok()?;
        self.blocks.get(skipped).copied()
    }

    /// What `forced_through` of a block may be (R17), given its parent's and its own L1 origin. Consensus-critical. `None`
    /// when settlement has passed the parent: the agent is behind, and the entries are no longer held here. The range is
    /// empty only when L1 has taken back an entry that was consumed at depth.
    pub fn range(&self, params: &Params, parent: u64, origin: u64) -> Option<RangeInclusive<u64>> {
        if parent < self.first {
            return None;
        }
        let cap = parent.saturating_add(FORCED_A_BLOCK);
        let due = origin
            .checked_sub(params.forced_deadline_blocks)
            .map_or(0, |enqueued| self.len_at(enqueued));
        Some(parent.max(due.min(cap))..=cap.min(self.len_at(origin)))
    }

    /// Notes an entry of L1 block `block`. Entries come in order; those that are settled already are passed over.
    pub(crate) fn push(&mut self, index: u64, block: u64) {
        if index == self.len() {
            self.blocks.push_back(block);
        }
    }

    /// Notes a settled batch.
    pub(crate) fn settle(&mut self, forced_through: u64) {
        let passed = forced_through.saturating_sub(self.first);
        let held = usize::try_from(passed).unwrap_or(usize::MAX).min(self.blocks.len());
        self.blocks.drain(..held);
        self.first = self.first.max(forced_through);
        self.consumed = self.consumed.max(forced_through);
    }

    /// Notes an escape.
    pub(crate) fn escape(&mut self, through: u64) {
        self.consumed = self.consumed.max(through);
    }
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own making")]

    use super::ForcedQueue;
    use crate::domain::Params;
    use proptest::prelude::*;

    fn queue(blocks: &[u64]) -> ForcedQueue {
        let mut queue = ForcedQueue::default();
        for (index, block) in (0..).zip(blocks) {
            queue.push(index, *block);
        }
        queue
    }

    fn params(deadline: u64) -> Params {
        Params { forced_deadline_blocks: deadline, ..Params::for_tests() }
    }

    #[test]
    fn what_is_due_must_be_taken_and_what_is_there_may_be() {
        let (queue, params) = (queue(&[100, 101, 101, 110]), params(40));
        let range = |parent, origin| queue.range(&params, parent, origin).unwrap();
        assert_eq!(range(0, 99), 0..=0);
        assert_eq!(range(0, 101), 0..=3);
        assert_eq!(range(0, 139), 0..=4);
        assert_eq!(range(0, 140), 1..=4);
        assert_eq!(range(2, 140), 2..=4);
        assert_eq!(range(2, 141), 3..=4);
        assert_eq!(range(0, 200), 4..=4);
    }

    #[test]
    fn a_block_takes_sixteen_at_most_and_need_not_take_more() {
        let (queue, params) = (queue(&[100; 40]), params(40));
        assert_eq!(queue.range(&params, 0, 100), Some(0..=16));
        assert_eq!(queue.range(&params, 0, 140), Some(16..=16));
        assert_eq!(queue.range(&params, 30, 140), Some(40..=40));
    }

    #[test]
    fn an_escape_moves_what_is_consumed_and_not_what_blocks_must_take() {
        let (mut queue, params) = (queue(&[100, 101, 102]), params(40));
        queue.escape(2);
        assert_eq!((queue.waiting(), queue.oldest_waiting()), (1, Some(102)));
        assert_eq!(queue.range(&params, 0, 140), Some(1..=3));
        queue.settle(3);
        assert_eq!((queue.waiting(), queue.oldest_waiting(), queue.len()), (0, None, 3));
    }

    #[test]
    fn who_is_behind_the_settled_chain_cannot_tell() {
        let (mut queue, params) = (queue(&[100, 101, 102]), params(40));
        queue.settle(2);
        assert_eq!(queue.range(&params, 1, 140), None);
        assert_eq!(queue.range(&params, 2, 140), Some(2..=3));
    }

    #[test]
    fn what_is_read_again_after_it_settled_is_passed_over() {
        let mut fresh = ForcedQueue::default();
        fresh.settle(2);
        for (index, block) in [(1, 101), (2, 102), (3, 103)] {
            fresh.push(index, block);
        }
        let mut grown = queue(&[100, 101, 102, 103]);
        grown.settle(2);
        assert_eq!(fresh, grown);
    }

    proptest! {
        /// Against R17 as it is written, with the whole queue in sight; settling in between changes no answer.
        #[test]
        fn the_range_is_that_of_the_rule(
            gaps in prop::collection::vec(0_u64..4, 0..60), deadline in 1_u64..12, origin in 0_u64..120,
            parent_share in 0_u64..=100, settled_share in 0_u64..=100,
        ) {
            let mut blocks = Vec::new();
            let mut at = 1;
            for gap in gaps {
                at += gap;
                blocks.push(at);
            }
            let length = blocks.iter().filter(|block| **block <= origin).count() as u64;
            let due = blocks.iter().filter(|block| **block + deadline <= origin).count() as u64;
            // Blocks and batches before named earlier origins: they consumed what was there at this one, or less.
            let parent = length * parent_share / 100;
            let settled = parent * settled_share / 100;

            let mut queue = queue(&blocks);
            queue.settle(settled);
            let range = queue.range(&params(deadline), parent, origin).unwrap();
            prop_assert_eq!(*range.start(), parent.max(due.min(parent + 16)));
            prop_assert_eq!(*range.end(), (parent + 16).min(length));
            prop_assert!(!range.is_empty());
        }

        /// However little every leader takes, an entry is consumed by the block whose origin makes it due, or as soon as
        /// sixteen a block allow.
        #[test]
        fn who_takes_the_least_cannot_leave_an_entry_behind(
            count in 0_u64..100, deadline in 1_u64..12, blocks in 1_u64..20,
        ) {
            let queue = queue(&vec![100; usize::try_from(count).unwrap()]);
            let mut through = 0;
            for _ in 0..blocks {
                through = *queue.range(&params(deadline), through, 100 + deadline).unwrap().start();
            }
            prop_assert_eq!(through, count.min(16 * blocks));
        }
    }
}
