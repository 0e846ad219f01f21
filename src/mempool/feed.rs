//! What this agent's clients submit, for subscribers and filters: bounded in number and in bytes.
//!
//! Told as it is accepted, and not read from the pool afterwards: a block may have taken it by then.

use crate::domain::{RollupId, SignedTransaction};
use alloy::primitives::B256;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::broadcast;

/// Transactions that subscribers may be behind.
const KEPT: usize = 4_096;

/// Bytes of transactions that those who want them whole may be behind.
const KEPT_BYTES: usize = 16 << 20;

/// A transaction of a client, as subscribers hear of it.
#[derive(Debug)]
pub struct Pending {
    /// Its rollup.
    pub rollup: RollupId,
    /// Its hash.
    pub hash: B256,
    bytes: usize,
    whole: Mutex<Option<SignedTransaction>>,
}

impl Pending {
    /// The transaction; `None` once newer ones have taken its room.
    pub fn whole(&self) -> Option<SignedTransaction> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<SignedTransaction>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody who listens. Whoever is slow misses some, and is told that.
#[derive(Debug)]
pub struct Feed {
    sender: broadcast::Sender<Arc<Pending>>,
    recent: Mutex<Recent>,
}

/// The newest transactions that are kept whole, as long as somebody has not heard of them.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<(usize, Weak<Pending>)>,
    bytes: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(KEPT), recent: Mutex::default() }
    }
}

impl Feed {
    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Pending>> {
        self.sender.subscribe()
    }

    /// Whether anybody listens.
    fn is_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Tells of a transaction, if anybody listens. Never waits.
    pub fn tell(&self, signed: SignedTransaction) {
        if !self.is_heard() {
            return;
        }
        let bytes = signed.transaction.raw.len();
        let pending = Arc::new(Pending {
            rollup: signed.transaction.rollup,
            hash: signed.hash,
            bytes,
            whole: Mutex::new(Some(signed)),
        });
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.order.push_back((bytes, Arc::downgrade(&pending)));
        recent.bytes = recent.bytes.saturating_add(bytes);
        while recent.bytes > KEPT_BYTES || recent.order.len() > KEPT {
            let Some((bytes, oldest)) = recent.order.pop_front() else { break };
            recent.bytes = recent.bytes.saturating_sub(bytes);
            if let Some(oldest) = oldest.upgrade() {
                *oldest.lock() = None;
            }
        }
        drop(recent);
        let _ = self.sender.send(pending);
    }
}

impl Pending {
    /// Bytes of the transaction as it was signed.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Feed, KEPT_BYTES};
    use crate::testing::{key, raw_transaction_with};
    use tokio::sync::broadcast::error::TryRecvError;

    #[test]
    fn what_waits_for_slow_subscribers_is_bounded_in_bytes() {
        let input = 120_000_usize;
        let signed = |nonce: u64| {
            let raw = raw_transaction_with(&key(7), nonce, input);
            crate::domain::SignedTransaction::decode(raw, usize::MAX).unwrap()
        };
        let feed = Feed::default();
        feed.tell(signed(0));
        let mut slow = feed.listen();
        let count = KEPT_BYTES.checked_div(input).unwrap().saturating_mul(2);
        for nonce in 0..count {
            feed.tell(signed(u64::try_from(nonce).unwrap()));
        }
        let (mut whole, mut bytes, mut told) = (0_usize, 0_usize, 0_usize);
        loop {
            match slow.try_recv() {
                Ok(one) => {
                    told = told.saturating_add(1);
                    if let Some(one) = one.whole() {
                        bytes = bytes.saturating_add(one.transaction.raw.len());
                        whole = whole.saturating_add(1);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(told, count, "all hashes are told");
        assert!(whole > 0 && bytes <= KEPT_BYTES, "{whole} of {bytes} bytes");
        drop(slow);
        assert!(!feed.is_heard());
    }
}
