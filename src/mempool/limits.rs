//! Bounds of the pool.

use std::time::Duration;

/// How much the pool holds (local policy, never validity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in all.
    pub transactions: usize,
    /// Bytes of raw transactions in all.
    pub bytes: usize,
    /// Transactions of one sender in one rollup; also how far a nonce may be ahead of the next one.
    pub per_sender: usize,
    /// Transactions that one peer may have forwarded.
    pub per_peer: usize,
    /// Bytes of one transaction.
    pub transaction_bytes: usize,
    /// How long the first transaction of a sender that no decided block knows is kept back when its nonce is not 0, so
    /// that lower nonces under way can still come first.
    pub settle_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions: 65_536,
            bytes: 64 << 20,
            per_sender: 1_024,
            per_peer: 16_384,
            transaction_bytes: 65_536,
            settle_time: Duration::from_millis(500),
        }
    }
}
