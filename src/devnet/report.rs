//! The last line of a run.

use crate::devnet::ledger::Percentiles;
use serde::Serialize;

/// What a run of the development network showed. Settled, doubled and lost are counted by deriving from L1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Transactions submitted.
    pub sent: u64,
    /// Of these, derived from L1 at least once.
    pub settled: u64,
    /// Of these, not derived from L1 when the run ended.
    pub lost: u64,
    /// Of these, derived more than once.
    pub doubled: u64,
    /// Sequencers that posted a batch which settled.
    pub leaders: usize,
    /// Batches settled.
    pub batches: u64,
    /// Offences reported on L1.
    pub slashes: u64,
    /// Settled transactions a second.
    pub tps: f64,
    /// Submit to decided, as a client sees it.
    pub decided_ms: Percentiles,
    /// Submit to settled, as a reader of L1 sees it.
    pub settled_ms: Percentiles,
    /// L1 gas of a settlement, averaged over its batches.
    pub gas_per_batch: u64,
    /// L1 gas of the settlements by settled transaction.
    pub gas_per_tx: u64,
}
