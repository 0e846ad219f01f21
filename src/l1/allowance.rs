//! A rollup's prepaid allowance through the L1 blocks that blocks of ours name as their origin (R43). Pure.

use alloy::primitives::U256;
use std::collections::BTreeMap;

/// What one rollup had left after which L1 block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The L1 block in which it was registered.
    registered_at: u64,
    /// Balance in wei after the L1 blocks that changed it.
    balances: BTreeMap<u64, U256>,
}

impl Allowance {
    /// Of a rollup that was registered in L1 block `block`.
    pub fn new(block: u64, balance_wei: U256) -> Self {
        Self { registered_at: block, balances: BTreeMap::from([(block, balance_wei)]) }
    }

    /// Takes what is left after L1 block `block`; of several changes in one block the last counts.
    pub(crate) fn change(&mut self, block: u64, balance_wei: U256) {
        self.balances.insert(block, balance_wei);
    }

    /// Whether the rollup was registered at the L1 block with number `origin`.
    pub const fn is_registered(&self, origin: u64) -> bool {
        self.registered_at <= origin
    }

    /// What was left after the L1 block with number `origin`; nothing before the first block that is kept.
    pub fn balance_at(&self, origin: u64) -> U256 {
        self.balances.range(..=origin).next_back().map_or(U256::ZERO, |(_, balance)| *balance)
    }

    /// The most that was left after any L1 block from `origin` on.
    pub fn most_since(&self, origin: u64) -> U256 {
        let later = self.balances.range(origin..).map(|(_, balance)| *balance).max();
        self.balance_at(origin).max(later.unwrap_or_default())
    }

    /// Forgets balances that no block from `oldest` on had any more.
    pub(super) fn forget_before(&mut self, oldest: u64) {
        if let Some((first, _)) = self.balances.range(..=oldest).next_back() {
            self.balances = self.balances.split_off(&first.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Allowance;
    use alloy::primitives::U256;

    fn allowance() -> Allowance {
        let mut allowance = Allowance::new(10, U256::from(5));
        allowance.change(20, U256::from(9));
        allowance.change(20, U256::from(3));
        allowance.change(30, U256::from(7));
        allowance
    }

    fn balances(allowance: &Allowance) -> Vec<u64> {
        [9, 10, 19, 20, 29, 30, 99].map(|origin| allowance.balance_at(origin).to()).to_vec()
    }

    #[test]
    fn a_balance_counts_from_the_block_that_made_it_until_the_next_change() {
        assert_eq!(balances(&allowance()), [0, 5, 5, 3, 3, 7, 7]);
    }

    #[test]
    fn the_most_since_a_block_counts_what_it_began_with_and_all_that_came_after() {
        let most = |from| allowance().most_since(from).to::<u64>();
        assert_eq!([9, 10, 20, 30, 99].map(most), [7, 7, 7, 7, 7]);
        let mut spent = allowance();
        spent.change(40, U256::from(1));
        let most = |from| spent.most_since(from).to::<u64>();
        assert_eq!([9, 29, 30, 39, 40, 99, u64::MAX].map(most), [7, 7, 7, 7, 1, 1, 1]);
    }

    #[test]
    fn a_rollup_is_registered_from_its_block_on_whatever_it_has() {
        let allowance = Allowance::new(10, U256::ZERO);
        assert!(!allowance.is_registered(9));
        assert!(allowance.is_registered(10));
    }

    #[test]
    fn what_old_blocks_had_is_forgotten_but_not_what_still_holds() {
        let mut allowance = allowance();
        allowance.forget_before(25);
        assert_eq!(balances(&allowance), [0, 0, 0, 3, 3, 7, 7]);
        assert!(allowance.is_registered(10));
        allowance.forget_before(9);
        assert_eq!(balances(&allowance), [0, 0, 0, 3, 3, 7, 7]);
        allowance.forget_before(500);
        assert_eq!(balances(&allowance), [0, 0, 0, 0, 0, 7, 7]);
    }
}
