//! Attesting: every member cuts the decided chain into the same batches (R20), signs their headers once, and tells those
//! who will post them.
//!
//! All state is in the [`Ledger`]; it is a function of the decided blocks, the settled tip and the attestations on disk,
//! so that a restart or a reorg only means to fill it again. The task in [`run`] feeds it: newly decided blocks, changes
//! on L1, messages of peers. Nothing waits for the network here, and nothing is lost when a message is: the poster asks
//! the members again whose attestation it misses ([`Message::Want`]), and everybody answers that again.

mod attester;
mod budget;
mod decided;
mod inner;
mod ledger;
#[cfg(test)]
mod simulation;
#[cfg(feature = "byzantine")]
mod splits;
#[cfg(test)]
mod tests;

pub use attester::{AttestError, Attester};
pub(crate) use decided::payload_for;
pub use ledger::{Added, Certificate, Cut, Ledger, MAX_UNKNOWN, MAX_VARIANTS, Refusal, Signed};
#[cfg(feature = "byzantine")]
pub use splits::ask_for_splits;

use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{BatchHeader, Height, SequencerId};
use alloy::primitives::Address;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// From so many unsettled batches on the network must not order more: what waits then could outlive the epochs in which
/// it can be attested.
pub const CONGESTED_BATCHES: usize = 2_000;
/// How often to look for something to do when nothing happens.
const LOOK: Duration = Duration::from_millis(500);
/// Messages that are taken in before the ledger is looked at again.
const MESSAGES_AT_ONCE: usize = 256;

/// What members say to each other about batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I sign this."
    Attestation {
        /// The batch.
        header: Box<BatchHeader>,
        /// Signature over the header's EIP-712 digest; who made it is recovered from it.
        signature: Signature,
    },
    /// "Sign this": a legal header over decided blocks (R23).
    Want {
        /// The batch.
        header: Box<BatchHeader>,
    },
}

/// The way to the other members. Never blocks; may drop what does not fit its queue.
pub trait Peers: Send + Sync {
    /// Sends to the member with this signer.
    fn send(&self, to: Address, message: Message);

    /// Answers a sequencer, by whichever key it asked.
    fn answer(&self, to: SequencerId, message: Message);
}

/// The ledger as the attester fills it and the poster reads it.
#[derive(Clone, Debug)]
pub struct LedgerHandle {
    ledger: Arc<Mutex<Option<Ledger>>>,
    changed: watch::Sender<u64>,
    open: Arc<AtomicUsize>,
    congested: Arc<AtomicBool>,
}

impl Default for LedgerHandle {
    fn default() -> Self {
        Self {
            ledger: Arc::default(),
            changed: watch::Sender::new(0),
            open: Arc::default(),
            congested: Arc::default(),
        }
    }
}

impl LedgerHandle {
    /// Whether so much waits for settlement that nothing more may be ordered.
    pub fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed)
    }

    /// Batches that were cut and have not settled.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A receiver that is marked changed whenever the ledger may have changed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether nobody works on it at this moment, for whoever watches that it is given back.
    pub fn is_free(&self) -> bool {
        !matches!(self.ledger.try_lock(), Err(std::sync::TryLockError::WouldBlock))
    }

    /// Looks at the ledger; `None` before L1 fixed block 0. Never hold the guard across an `.await`.
    pub fn lock(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that something changed.
    fn announce(&self) {
        let open = self.lock().as_ref().map_or(0, |ledger| ledger.open().len());
        self.open.store(open, Ordering::Relaxed);
        self.congested.store(open >= CONGESTED_BATCHES, Ordering::Relaxed);
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

/// Attests until `shutdown`. `decided` says how far agreement is, `changes` that L1 changed; `incoming` is what peers
/// sent, with the sequencer behind each peer.
///
/// # Errors
///
/// [`AttestError`] when the store fails; a peer cannot cause it.
pub async fn run(
    mut attester: Attester,
    mut decided: watch::Receiver<Height>,
    mut changes: watch::Receiver<u64>,
    mut incoming: mpsc::Receiver<(SequencerId, Message)>,
    shutdown: CancellationToken,
) -> Result<(), AttestError> {
    let mut messages = Vec::new();
    let mut peers_gone = false;
    loop {
        let batch = std::mem::take(&mut messages);
        // Signing and the store block: the attester goes to a thread where it may, and comes back.
        let (back, result) = blocking(move || {
            let result = attester.advance(batch);
            (attester, result)
        })
        .await;
        attester = back;
        if let Err(error) = result {
            error!(%error, "attesting stops");
            return Err(error);
        }

        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = decided.changed() => {}
            _ = changes.changed() => {}
            count = incoming.recv_many(&mut messages, MESSAGES_AT_ONCE), if !peers_gone => {
                if count == 0 {
                    warn!("the peer link is gone");
                    peers_gone = true;
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
