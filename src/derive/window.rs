//! What was derived lately: the memory that drops a transaction at its later place.

use crate::domain::{Height, RollupId};
use alloy::primitives::B256;
use std::collections::{HashMap, VecDeque};

/// Transactions by (rollup, hash) with the height at which each was kept. In memory here; a node with a long window of
/// full blocks keeps it on disk.
pub trait Window {
    /// Height at which the transaction was kept last, if it was not forgotten.
    fn kept_at(&self, rollup: RollupId, tx_hash: B256) -> Option<Height>;

    /// Remembers a transaction. Heights never go back from one call to the next.
    fn keep(&mut self, height: Height, rollup: RollupId, tx_hash: B256);

    /// Forgets what was kept below `height`.
    fn forget_below(&mut self, height: Height);
}

/// A [`Window`] in memory: about 200 bytes a transaction.
#[derive(Clone, Debug, Default)]
pub struct RecentTransactions {
    kept: HashMap<(RollupId, B256), Height>,
    by_height: VecDeque<(Height, (RollupId, B256))>,
}

impl Window for RecentTransactions {
    fn kept_at(&self, rollup: RollupId, tx_hash: B256) -> Option<Height> {
        self.kept.get(&(rollup, tx_hash)).copied()
    }

    fn keep(&mut self, height: Height, rollup: RollupId, tx_hash: B256) {
        let key = (rollup, tx_hash);
        self.kept.insert(key, height);
        self.by_height.push_back((height, key));
    }

    fn forget_below(&mut self, height: Height) {
        while let Some((kept, key)) = self.by_height.pop_front_if(|(kept, _)| *kept < height) {
            // It may have been kept again since.
            if self.kept.get(&key) == Some(&kept) {
                self.kept.remove(&key);
            }
        }
    }
}
