//! Where the transactions of this agent's own blocks come from.

use crate::domain::{RollupId, RollupTransaction, SequencerId};
use crate::storage::IncludedTransaction;
use alloy::primitives::B256;
use libp2p::PeerId;
use tokio::sync::Notify;

/// The mempool as agreement sees it. Methods are called on agreement's tasks: they must be quick and must not block.
pub trait BlockSource: Send + Sync {
    /// Transactions for the next block, in order, of rollups for which `is_open` holds, not more than `max_bytes` in the
    /// canonical encoding of a body. They stay in the mempool until a decided block holds them.
    fn collect(
        &self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Vec<RollupTransaction>;

    /// Whether a transaction waits. Consulted for the pace of heights (R19).
    fn has_work(&self) -> bool;

    /// Notified (`notify_one` or `notify_waiters`) when a transaction begins to wait.
    fn work(&self) -> &Notify;

    /// What is known of a transaction whose signature was checked already; saves recovering its sender again when it
    /// comes back in a block. The hash covers the signature.
    fn known(&self, rollup: RollupId, hash: B256) -> Option<IncludedTransaction>;
}

/// Whether others can be reached. Only time-outs depend on it (local policy): who seems gone gets less time to propose.
pub trait Reach: std::fmt::Debug + Send + Sync {
    /// Whether a connection to this sequencer is up. True where nothing is known of it.
    fn is_reachable(&self, signer: alloy::primitives::Address) -> bool;

    /// The sequencer that has proven to be the peer with this name; `None` while nobody has.
    fn sequencer_of(&self, peer: &PeerId) -> Option<SequencerId>;
}
