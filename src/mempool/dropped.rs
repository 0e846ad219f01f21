//! What became of transactions that were accepted and will not be ordered.

use crate::domain::RollupId;
use alloy::primitives::B256;
use std::collections::{HashMap, VecDeque};

/// As many are remembered; beyond that the oldest are forgotten.
const REMEMBERED: usize = 16_384;

/// Why a transaction that was accepted left the pool without being ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// Its sender put another one in its place.
    #[error("replaced by {by}")]
    Replaced {
        /// The hash of that one.
        by: B256,
    },
    /// Another transaction of its sender, or an authorization, has spent its nonce in a decided block.
    #[error("its nonce was spent by another transaction")]
    NonceSpent,
    /// What its rollup has left on L1 is below the reserve.
    #[error("its rollup is closed")]
    RollupClosed,
    /// It waited too long for a nonce before it.
    #[error("it waited behind a nonce gap for too long")]
    GapNotClosed,
}

/// The transactions that were dropped last, and why. Bounded.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    reasons: HashMap<(RollupId, B256), DropReason>,
    order: VecDeque<(RollupId, B256)>,
}

impl Dropped {
    pub(super) fn note(&mut self, transaction: (RollupId, B256), reason: DropReason) {
        if self.reasons.insert(transaction, reason).is_some() {
            return;
        }
        self.order.push_back(transaction);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    pub(super) fn get(&self, transaction: (RollupId, B256)) -> Option<DropReason> {
        self.reasons.get(&transaction).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{DropReason, Dropped, REMEMBERED};
    use crate::domain::RollupId;
    use alloy::primitives::{B256, U256};

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let mut dropped = Dropped::default();
        let hash = |n: usize| (RollupId::new(1), B256::from(U256::from(n)));
        for n in 0..=REMEMBERED {
            dropped.note(hash(n), DropReason::NonceSpent);
            dropped.note(hash(n), DropReason::RollupClosed);
        }
        assert_eq!(dropped.get(hash(0)), None);
        assert_eq!(dropped.get(hash(1)), Some(DropReason::RollupClosed));
        assert_eq!((dropped.reasons.len(), dropped.order.len()), (REMEMBERED, REMEMBERED));
    }
}
