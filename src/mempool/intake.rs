//! The way into the pool for clients: decode, recover, admit, store, answer.
//!
//! All of it happens on one thread of its own, many at a time, so that recovery (about 30 µs each) does not hold up the
//! tasks and one flush of the disk serves everything that came in meanwhile. When more comes in than it can take,
//! submissions are refused as [`Refusal::Busy`].

use crate::domain::{RollupId, RollupTransaction, SignedTransaction};
use crate::mempool::{Admission, Origin, Pool, Refusal};
use crate::storage::{Journal, JournalError};
use alloy::primitives::{B256, Bytes};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// Submissions that wait to be looked at.
const QUEUE: usize = 8_192;

/// Submissions that share one flush at most.
const GROUP: usize = 1_024;

/// Hands submissions to the intake's thread. The thread ends, everything in its queue answered, once all clones are gone.
#[derive(Clone)]
pub struct Intake {
    submissions: mpsc::Sender<Submission>,
}

struct Submission {
    rollup: RollupId,
    raw: Bytes,
    answer: oneshot::Sender<Result<B256, Refusal>>,
}

impl Intake {
    /// Fills the pool with what `journal` held, and starts the thread.
    ///
    /// # Errors
    ///
    /// The system's, when it has no thread left.
    pub fn start(
        pool: Arc<Pool>,
        journal: Journal,
        held: Vec<RollupTransaction>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (submissions, incoming) = mpsc::channel(QUEUE);
        let desk = Desk { pool, journal };
        let thread = std::thread::Builder::new().name("intake".into()).spawn(move || {
            desk.restore(held);
            desk.run(incoming);
        })?;
        Ok((Self { submissions }, thread))
    }

    /// Submits a transaction to `rollup`. `Ok` is a promise: it is on disk, and stays in the pool until it is decided.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn submit(&self, rollup: RollupId, raw: Bytes) -> Result<B256, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.submissions.try_send(Submission { rollup, raw, answer }).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => Refusal::Busy,
                mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
            },
        )?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }
}

/// What the thread works with.
struct Desk {
    pool: Arc<Pool>,
    journal: Journal,
}

impl Desk {
    /// Admits again what was accepted before the process ended; what was decided since is known to the pool.
    fn restore(&self, held: Vec<RollupTransaction>) {
        let count = held.len();
        let mut back: usize = 0;
        for transaction in held {
            let admitted = decode(&self.pool, transaction.rollup, transaction.raw)
                .and_then(|signed| self.pool.admit_again(signed, Origin::Local));
            match admitted {
                Ok(Admission::Known) | Err(Refusal::NonceTooLow { .. }) => {}
                Ok(_) => back = back.saturating_add(1),
                Err(refusal) => warn!(%refusal, "an accepted transaction does not come back"),
            }
        }
        if count > 0 {
            info!(journal = count, back, "accepted transactions are back in the pool");
            self.pool.announce();
        }
    }

    fn run(mut self, mut incoming: mpsc::Receiver<Submission>) {
        let mut group = Vec::with_capacity(GROUP);
        while incoming.blocking_recv_many(&mut group, GROUP) > 0 {
            self.serve(&mut group);
            if self.journal.wants_pruning() {
                let needed = self.pool.local_hashes();
                if let Err(error) = self.journal.prune(&|hash| needed.contains(&hash)) {
                    warn!(%error, "the journal could not be pruned");
                }
            }
        }
    }

    fn serve(&mut self, group: &mut Vec<Submission>) {
        let mut answers = Vec::with_capacity(group.len());
        let mut fresh: Vec<(B256, RollupTransaction)> = Vec::new();
        for Submission { rollup, raw, answer } in group.drain(..) {
            let result = decode(&self.pool, rollup, raw).and_then(|signed| {
                let (hash, transaction) = (signed.hash, signed.transaction.clone());
                if self.pool.admit(signed, Origin::Local)? != Admission::Known {
                    fresh.push((hash, transaction));
                }
                Ok(hash)
            });
            answers.push((answer, result));
        }
        let stored = self.store(&fresh);
        for (answer, result) in answers {
            let result = match (&stored, result) {
                (Err(error), Ok(_)) => Err(Refusal::NotStored { reason: error.to_string() }),
                (_, result) => result,
            };
            // A client that has gone away needs no answer; what it submitted stays.
            let _ = answer.send(result);
        }
    }

    /// Puts on disk what the pool took, or takes it out of the pool again.
    fn store(&mut self, fresh: &[(B256, RollupTransaction)]) -> Result<(), JournalError> {
        let records: Vec<_> = fresh.iter().map(|(hash, one)| (*hash, one)).collect();
        let stored = self.journal.append(&records);
        match &stored {
            Ok(()) => self.pool.announce(),
            Err(error) => {
                warn!(%error, transactions = fresh.len(), "accepted transactions cannot be stored");
                let hashes: Vec<B256> = fresh.iter().map(|(hash, _)| *hash).collect();
                self.pool.retract(&hashes);
            }
        }
        stored
    }
}

/// Decodes a transaction and checks that it is for `rollup`.
fn decode(pool: &Pool, rollup: RollupId, raw: Bytes) -> Result<SignedTransaction, Refusal> {
    let signed = SignedTransaction::decode(raw, pool.limits().transaction_bytes)?;
    if signed.transaction.rollup != rollup {
        return Err(Refusal::WrongRollup { expected: rollup, actual: signed.transaction.rollup });
    }
    Ok(signed)
}

#[cfg(test)]
mod tests;
