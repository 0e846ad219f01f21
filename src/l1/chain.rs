//! What is known of L1's canonical chain: blocks to tell reorganisations by, and what events said. Pure.

use super::facts::Fact;
use super::unread;
use crate::domain::{L1Block, RollupId};
use std::collections::BTreeMap;

/// Newest blocks that are kept to go back to. What lies deeper is taken for final.
pub(super) const WINDOW_BLOCKS: u64 = 128;

/// Blocks and facts of the canonical chain, as far as it was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The newest blocks; the first one is taken for final.
    pub(super) blocks: BTreeMap<u64, L1Block>,
    /// Everything that events said, with the block that they are in. Of those blocks that are taken for final, only the
    /// last settled batch is kept, the last escape, the first and last balances, each sequencer's last endpoint, and the
    /// forced entries after that batch; of forced entries the bytes are in the store alone.
    pub(super) facts: Vec<(L1Block, Fact)>,
}

impl Chain {
    pub(super) fn tip(&self) -> Option<L1Block> {
        self.blocks.last_key_value().map(|(_, block)| *block)
    }

    /// Makes batches among the next `facts` that could not be read follow what was settled before.
    pub(super) fn complete(&self, facts: &mut [Fact]) {
        if unread::any(facts) {
            let mut end = unread::End::default();
            self.facts.iter().for_each(|(_, fact)| end.note(fact));
            end.complete(facts);
        }
    }

    /// Drops all above block `number`, and what they said.
    pub(super) fn go_back_to(&mut self, number: u64) {
        self.blocks.split_off(&number.saturating_add(1));
        self.facts.retain(|(block, _)| block.number <= number);
    }

    /// Takes what a block says that is not followed by itself.
    pub(super) fn note(&mut self, block: L1Block, facts: Vec<Fact>) {
        self.facts.extend(facts.into_iter().map(|fact| (block, fact)));
    }

    /// Takes a block. `needed` is the oldest that a block of ours may name as its origin.
    pub(super) fn push(&mut self, block: L1Block, facts: Vec<Fact>, needed: u64) {
        self.note(block, facts);
        self.blocks.insert(block.number, block);
        self.prune(needed);
    }

    /// The last settled batch's L1 origin, or else that of block 0.
    pub(super) fn settled_origin(&self) -> Option<u64> {
        self.facts.iter().rev().find_map(|(_, fact)| match fact {
            Fact::Settled(batch) => Some(batch.header.l1_origin_number),
            Fact::Genesis(header) => Some(header.l1_origin_number),
            _ => None,
        })
    }

    /// The L1 origin of block 0.
    pub(super) fn genesis_origin(&self) -> Option<u64> {
        self.facts.iter().find_map(|(_, fact)| match fact {
            Fact::Genesis(header) => Some(header.l1_origin_number),
            _ => None,
        })
    }

    /// Forgets what no reorg and no rebuild needs any more: of old blocks only the last word on each thing is of use, and
    /// the first on a rollup, which says since when it is registered.
    pub(super) fn prune(&mut self, needed: u64) {
        let Some(tip) = self.tip() else { return };
        let oldest = tip.number.saturating_sub(WINDOW_BLOCKS);
        // At least the tip stays: it is what the next block is tied to.
        self.blocks = self.blocks.split_off(&oldest.min(tip.number));
        let needed = needed.min(oldest);
        let last_old = |is_kind: fn(&Fact) -> bool| {
            self.facts.iter().rposition(|(block, fact)| block.number < oldest && is_kind(fact))
        };
        let settled = last_old(|fact| matches!(fact, Fact::Settled(_)));
        let escaped = last_old(|fact| matches!(fact, Fact::Escaped(_)));
        let passed = match settled.and_then(|index| self.facts.get(index)) {
            Some((_, Fact::Settled(batch))) => batch.header.forced_through,
            _ => 0,
        };
        // The first balance of a rollup says since when it is registered.
        let mut balances: BTreeMap<RollupId, (usize, usize)> = BTreeMap::new();
        for (index, (block, fact)) in self.facts.iter().enumerate() {
            if let Fact::RollupBalance { rollup, .. } = fact
                && block.number < needed
            {
                balances.entry(*rollup).or_insert((index, index)).1 = index;
            }
        }
        let mut endpoints: BTreeMap<u32, usize> = BTreeMap::new();
        for (index, (block, fact)) in self.facts.iter().enumerate() {
            if let Fact::Endpoint { id, .. } = fact
                && block.number < oldest
            {
                endpoints.insert(*id, index);
            }
        }
        let mut index = 0_usize;
        self.facts.retain(|(block, fact)| {
            let keep = match fact {
                Fact::RollupBalance { rollup, .. } => balances
                    .get(rollup)
                    .is_none_or(|(first, last)| index == *first || index >= *last),
                _ if block.number >= oldest => true,
                Fact::Settled(_) => Some(index) == settled,
                Fact::Escaped(_) => Some(index) == escaped,
                Fact::Endpoint { id, .. } => endpoints.get(id) == Some(&index),
                Fact::Forced(entry) => entry.index >= passed,
                _ => true,
            };
            index = index.saturating_add(1);
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, Fact, WINDOW_BLOCKS};
    use crate::domain::{L1Block, RollupId, Seconds};
    use alloy::primitives::{B256, U256};

    /// Blocks 1 to 300, each with a balance of rollup 7 that is its number; one in ten has one of rollup 8.
    fn chain(needed: u64) -> Chain {
        let mut chain = Chain::default();
        for number in 1..=300 {
            let block = L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) };
            let balance = |rollup| Fact::RollupBalance {
                rollup: RollupId::new(rollup),
                balance_wei: U256::from(number),
            };
            let facts =
                if number % 10 == 0 { vec![balance(7), balance(8)] } else { vec![balance(7)] };
            chain.push(block, facts, needed.min(number));
        }
        chain
    }

    fn blocks_of(chain: &Chain, asked: u64) -> Vec<u64> {
        let of = |fact: &Fact| matches!(fact, Fact::RollupBalance { rollup, .. } if rollup.get() == asked);
        chain.facts.iter().filter(|(_, fact)| of(fact)).map(|(block, _)| block.number).collect()
    }

    #[test]
    fn balances_are_kept_from_the_window_on_with_the_last_before_and_the_first() {
        let chain = chain(u64::MAX);
        let oldest = 300_u64.saturating_sub(WINDOW_BLOCKS);
        let expected: Vec<u64> = [1].into_iter().chain(oldest.saturating_sub(1)..=300).collect();
        assert_eq!(blocks_of(&chain, 7), expected);
        let expected: Vec<u64> = [10].into_iter().chain((170..=300).step_by(10)).collect();
        assert_eq!(blocks_of(&chain, 8), expected);
    }

    #[test]
    fn balances_that_an_old_origin_may_ask_for_are_kept() {
        let expected: Vec<u64> = [1].into_iter().chain(49..=300).collect();
        assert_eq!(blocks_of(&chain(50), 7), expected);
    }

    #[test]
    fn of_old_endpoints_the_last_one_is_kept() {
        let mut chain = Chain::default();
        for number in 1..=300 {
            let block = L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) };
            let (agreement, link) = (number.to_string(), String::new());
            chain.push(block, vec![Fact::Endpoint { id: 7, agreement, link }], number);
        }
        assert_eq!(chain.facts.len(), 130, "those of the window, its first block, and one before");
        chain.go_back_to(172);
        let last = chain.facts.last().map(|(block, _)| block.number);
        assert_eq!(last, Some(172));
    }

    #[test]
    fn going_back_drops_blocks_and_what_they_said() {
        let mut chain = chain(u64::MAX);
        chain.go_back_to(290);
        assert_eq!(chain.tip().map(|block| block.number), Some(290));
        assert_eq!(blocks_of(&chain, 8).last(), Some(&290));
    }
}
