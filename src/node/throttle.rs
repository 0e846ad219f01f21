//! Back-pressure: while settlement is too far behind, this agent offers nothing to order.

use crate::agreement::BlockSource;
use crate::attest::LedgerHandle;
use crate::domain::{RollupId, RollupTransaction};
use crate::storage::IncludedTransaction;
use alloy::primitives::B256;
use tokio::sync::Notify;

/// A source that is dry while the ledger is congested. Transactions stay in the mempool, which refuses more once it is
/// full; empty blocks go on at the idle pace.
pub(super) struct Throttled<S> {
    source: S,
    ledger: LedgerHandle,
}

impl<S> Throttled<S> {
    pub(super) const fn new(source: S, ledger: LedgerHandle) -> Self {
        Self { source, ledger }
    }
}

impl<S: std::ops::Deref<Target: BlockSource> + Send + Sync> BlockSource for Throttled<S> {
    fn collect(
        &self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Vec<RollupTransaction> {
        if self.ledger.is_congested() {
            return Vec::new();
        }
        self.source.collect(max_bytes, is_open)
    }

    fn has_work(&self) -> bool {
        !self.ledger.is_congested() && self.source.has_work()
    }

    fn work(&self) -> &Notify {
        self.source.work()
    }

    fn known(&self, rollup: RollupId, hash: B256) -> Option<IncludedTransaction> {
        self.source.known(rollup, hash)
    }
}
