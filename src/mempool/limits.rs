//! Bounds of the pool.

use std::time::Duration;

/// How much the pool holds, and for how long (local policy, never validity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in all.
    pub transactions: usize,
    /// Bytes of raw transactions in all.
    pub bytes: usize,
    /// Transactions of one sender in one rollup; also how far a nonce may be ahead of the next one.
    pub per_sender: usize,
    /// Bytes of them.
    pub bytes_per_sender: usize,
    /// Transactions that one peer may have forwarded.
    pub per_peer: usize,
    /// Transactions in all that wait behind a nonce gap: nobody knows whether the gap ever closes.
    pub parked: usize,
    /// How long a transaction waits behind a nonce gap at least before it is dropped. One that could be ordered waits without
    /// end.
    pub parked_time: Duration,
    /// Bytes of one transaction.
    pub transaction_bytes: usize,
}

impl Limits {
    /// The defaults for a pool of so many transactions.
    pub fn of(transactions: usize) -> Self {
        Self {
            transactions,
            bytes: 64 << 20,
            per_sender: 1_024,
            bytes_per_sender: 4 << 20,
            per_peer: 16_384,
            parked: transactions.div_ceil(4),
            parked_time: Duration::from_secs(3 * 60 * 60),
            transaction_bytes: 65_536,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(65_536)
    }
}
