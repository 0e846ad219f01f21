//! The way into the pool for clients: decode, recover, admit, store, answer.
//!
//! All of it happens on one thread of its own, many at a time, so that recovery (about 30 µs each) does not hold up the
//! tasks and one flush of the disk serves everything that came in meanwhile. When more comes in than it can take,
//! submissions are refused as [`Refusal::Busy`].
//!
//! The thread also tends the pool ([`Pool::tend`]), and keeps what the journal holds and the pool has no room for until it has.

use crate::agreement::BlockSource as _;
use crate::domain::{RollupId, RollupTransaction, SignedTransaction, TransactionError};
use crate::mempool::arrival::take_in;
use crate::mempool::{Admission, Origin, Pool, Refusal};
use crate::storage::{Journal, JournalError};
use alloy::primitives::{B256, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// Submissions that wait to be looked at.
const QUEUE: usize = 8_192;

/// Submissions that share one flush at most.
const GROUP: usize = 1_024;

/// How often the pool is tended.
const TEND: Duration = Duration::from_secs(1);

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
    /// Fills the pool with what `journal` held, and starts the thread. `step` is called between any two of its works, and at
    /// least every few seconds. What is returned ends with the thread, whichever way that ends, when it has let go of the pool.
    ///
    /// # Errors
    ///
    /// The system's, when it has no thread left.
    pub fn start(
        pool: Arc<Pool>,
        journal: Journal,
        held: Vec<RollupTransaction>,
        step: Box<dyn Fn() + Send>,
    ) -> std::io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let (submissions, incoming) = mpsc::channel(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (ended, end) = oneshot::channel::<()>();
        let desk = Desk { pool, journal, returning: VecDeque::new(), step };
        std::thread::Builder::new().name("intake".into()).spawn(move || {
            // Dropped last, also by a panic: nobody else would see that nothing is taken in any more.
            let _ended = ended;
            let mut desk = desk;
            desk.restore(held, &incoming);
            desk.run(&runtime, incoming);
        })?;
        let end = async move {
            let _ = end.await;
        };
        Ok((Self { submissions }, end))
    }

    /// Submits a transaction to `rollup`. `Ok` is a promise: it is on disk, and stays until it is decided
    /// or cannot be ordered any more.
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
    /// Accepted before the process ended, and not back in the pool for want of room. They stay in the journal.
    returning: VecDeque<(B256, RollupTransaction)>,
    /// Tells that it works.
    step: Box<dyn Fn() + Send>,
}

impl Desk {
    /// Admits again what was accepted before the process ended; what was decided since is known to the pool.
    fn restore(&mut self, held: Vec<RollupTransaction>, incoming: &mpsc::Receiver<Submission>) {
        let count = held.len();
        if let Err(error) = self.try_restore(held, &|| incoming.is_closed()) {
            // Nothing that was accepted may get lost unsaid, and nobody can be told any other way.
            error!(%error, "the journal's transactions cannot be taken in");
        }
        self.pool.tend();
        if count > 0 {
            let (back, waiting) = (self.pool.local_hashes().len(), self.returning.len());
            info!(journal = count, back, waiting, "accepted transactions are back in the pool");
        }
        self.pool.announce();
    }

    fn try_restore(
        &mut self,
        held: Vec<RollupTransaction>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), JournalError> {
        if held.is_empty() {
            return Ok(());
        }
        let begun = self.journal.trial().and_then(|mut trial| {
            let ordered = trial.order(held.clone())?;
            Ok((trial, VecDeque::from(ordered)))
        });
        let (mut trial, mut ordered) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // They stay in the journal, and come with the others that wait.
                self.returning.extend(held.into_iter().map(|one| (one.hash(), one)));
                return Err(error);
            }
        };
        while let Some((hash, transaction)) = ordered.pop_front() {
            if is_over() {
                // The agent stops, in order or with an error: that says nothing against the entry that would be next.
                return trial.end();
            }
            if let Err(error) = trial.mark(hash) {
                self.returning.push_back((hash, transaction));
                self.returning.extend(ordered);
                return Err(error);
            }
            self.take_back(hash, transaction);
            (self.step)();
        }
        // What a block would do with them belongs to the trial.
        let _ = self.pool.has_work();
        let _ = self.pool.collect(0, &|_| true);
        trial.end()
    }

    /// Admits a transaction that was accepted before, now or later. False if there is no room in the pool.
    fn take_back(&mut self, hash: B256, transaction: RollupTransaction) -> bool {
        let admitted = transaction
            .decode(self.pool.limits().transaction_bytes)
            .map_err(|error| of_the_endpoint(error.into()))
            .and_then(|signed| self.pool.admit_again(signed, Origin::Local));
        match admitted {
            Ok(_) | Err(Refusal::NonceTooLow { .. }) => true,
            Err(refusal) if refusal.may_pass() => {
                self.returning.push_back((hash, transaction));
                !matches!(refusal, Refusal::PoolFull { .. })
            }
            Err(refusal) => {
                warn!(%hash, %refusal, "an accepted transaction does not come back");
                true
            }
        }
    }

    fn run(mut self, runtime: &Runtime, mut incoming: mpsc::Receiver<Submission>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut tended = Instant::now();
        loop {
            (self.step)();
            let received = runtime.block_on(async {
                tokio::time::timeout(TEND, incoming.recv_many(&mut group, GROUP)).await
            });
            if received == Ok(0) {
                return;
            }
            self.serve(&mut group);
            if self.journal.wants_pruning() {
                self.prune();
            }
            if tended.elapsed() >= TEND {
                self.tend();
                tended = Instant::now();
            }
        }
    }

    fn tend(&mut self) {
        self.pool.tend();
        for _ in 0..self.returning.len() {
            let Some((hash, transaction)) = self.returning.pop_front() else { break };
            (self.step)();
            if !self.take_back(hash, transaction) {
                break;
            }
        }
        // What came back on its own, and not with a client, is on disk.
        self.pool.announce();
    }

    fn prune(&mut self) {
        let mut needed = self.pool.local_hashes();
        needed.extend(self.returning.iter().map(|(hash, _)| *hash));
        if let Err(error) = self.journal.prune(&|hash| needed.contains(&hash)) {
            warn!(%error, "the journal could not be pruned");
        }
    }

    fn serve(&mut self, group: &mut Vec<Submission>) {
        if group.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(group.len());
        let mut fresh: Vec<SignedTransaction> = Vec::new();
        let mut replaced: Vec<SignedTransaction> = Vec::new();
        for Submission { rollup, raw, answer } in group.drain(..) {
            (self.step)();
            let taken = take_in(&self.pool, rollup, raw, Origin::Local);
            let result = taken.map_err(of_the_endpoint).map(|(signed, admission)| {
                let hash = signed.hash;
                match admission {
                    Admission::Known => return hash,
                    Admission::Replaced { transaction, origin: Origin::Local } => {
                        replaced.push(*transaction);
                    }
                    Admission::Added | Admission::Adopted | Admission::Replaced { .. } => {}
                }
                fresh.push(signed);
                hash
            });
            answers.push((answer, result));
        }
        let stored = self.store(fresh, replaced);
        for (answer, result) in answers {
            let result = match (&stored, result) {
                (Err(error), Ok(_)) => Err(Refusal::NotStored { reason: error.to_string() }),
                (_, result) => result,
            };
            // A client that has gone away needs no answer; what it submitted stays.
            let _ = answer.send(result);
        }
    }

    /// Puts on disk what the pool took; or takes it out of the pool again, and back in what it had replaced.
    fn store(
        &mut self,
        fresh: Vec<SignedTransaction>,
        replaced: Vec<SignedTransaction>,
    ) -> Result<(), JournalError> {
        let records: Vec<_> = fresh.iter().map(|one| (one.hash, &one.transaction)).collect();
        let stored = self.journal.append(&records);
        match &stored {
            Ok(()) => {
                self.pool.announce();
                fresh.into_iter().for_each(|one| self.pool.feed().tell(one));
            }
            Err(error) => {
                warn!(%error, transactions = fresh.len(), "accepted transactions cannot be stored");
                let hashes: Vec<B256> = fresh.iter().map(|one| one.hash).collect();
                self.pool.retract(&hashes);
                for promised in replaced.into_iter().filter(|one| !hashes.contains(&one.hash)) {
                    self.take_back(promised.hash, promised.transaction);
                }
            }
        }
        stored
    }
}

/// A client has named no rollup but that of the endpoint it speaks to.
fn of_the_endpoint(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid(TransactionError::WrongRollup { expected, actual }) => {
            Refusal::WrongRollup { expected, actual }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
