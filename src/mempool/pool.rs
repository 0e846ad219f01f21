//! The pool as the tasks share it.

use crate::agreement::BlockSource;
use crate::batch::payload::max_body_bytes;
use crate::domain::{Generation, Height, Millis, RollupId, RollupTransaction, SignedTransaction};
use crate::l1::MirrorHandle;
use crate::mempool::{
    Admission, AdmissionPolicy, LaneContent, Limits, Mempool, OpenRollups, Origin, Refusal,
};
use crate::storage::{IncludedTransaction, Store, StoreError};
use alloy::primitives::{Address, B256};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tracing::{debug, error};

/// More than a body holds of a transaction beside its raw bytes: a switch of rollups and two numbers of ten bytes at most.
const OVERHEAD_BYTES: usize = 32;

/// Undone blocks whose transactions are looked at again after each decided block.
const BROUGHT_BACK: usize = 4;

/// A [`Mempool`] behind a lock, kept in step with the decided chain. Calls are short, but read the store: a few
/// microseconds each, plus the bodies of blocks decided since the last call.
///
/// What a restart undid (R33) comes back: every agent keeps these transactions as if its own clients had sent them, as the
/// agent that accepted one may be gone for good. They are on disk with their blocks, and come as there is room.
pub struct Pool {
    inner: Mutex<Inner>,
    limits: Limits,
    store: Store,
    mirror: MirrorHandle,
    policy: Box<dyn AdmissionPolicy>,
    started: Instant,
    work: Notify,
    accepted: watch::Sender<u64>,
}

struct Inner {
    mempool: Mempool,
    /// The generation and the last decided height that the pool has taken into account.
    generation: Generation,
    through: Height,
    /// Undone blocks of which a transaction may still have to come back.
    returning: VecDeque<(Generation, Height)>,
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Transactions.
    pub transactions: usize,
    /// Bytes of them.
    pub bytes: usize,
}

impl Pool {
    /// An empty pool on top of the decided chain. It takes no transaction that a block of this deployment cannot hold,
    /// whatever `limits` say.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the chain cannot be read.
    pub fn new(mut limits: Limits, store: Store, mirror: MirrorHandle) -> Result<Self, StoreError> {
        let largest = max_body_bytes(&mirror.read().params).saturating_sub(OVERHEAD_BYTES);
        limits.transaction_bytes = limits.transaction_bytes.min(largest);
        let (generation, through) = store.standing()?;
        let returning: VecDeque<_> = store.undone()?.into();
        let mempool = Mempool::new(limits.clone());
        let pool = Self {
            inner: Mutex::new(Inner { mempool, generation, through, returning }),
            limits,
            store,
            mirror,
            policy: Box::new(OpenRollups),
            started: Instant::now(),
            work: Notify::new(),
            accepted: watch::Sender::new(0),
        };
        {
            let mut inner = pool.inner.lock().unwrap_or_else(PoisonError::into_inner);
            pool.bring_back(&mut inner, usize::MAX)?;
        }
        Ok(pool)
    }

    /// Admits by another policy than that of open rollups.
    #[must_use]
    pub fn with_policy(self, policy: impl AdmissionPolicy + 'static) -> Self {
        Self { policy: Box::new(policy), ..self }
    }

    /// The bounds it keeps.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Admits a transaction, or says why not. One that a decided block holds already is known, not refused, so that a
    /// client can safely submit again.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn admit(
        &self,
        transaction: SignedTransaction,
        origin: Origin,
    ) -> Result<Admission, Refusal> {
        self.policy.admit(&self.mirror.read(), &transaction)?;
        self.admit_again(transaction, origin)
    }

    /// Admits a transaction that was accepted before: the policy took it then, also if L1 has not been read yet.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn admit_again(
        &self,
        transaction: SignedTransaction,
        origin: Origin,
    ) -> Result<Admission, Refusal> {
        let (rollup, sender, hash) =
            (transaction.transaction.rollup, transaction.sender, transaction.hash);
        let next = self.decided_nonce(rollup, sender);
        let admission = self.lock().mempool.admit(transaction, origin, next, self.now());
        match admission {
            Err(Refusal::NonceTooLow { .. }) if self.is_decided(rollup, hash) => {
                Ok(Admission::Known)
            }
            Ok(Admission::Added | Admission::Replaced(_)) => {
                self.work.notify_one();
                admission
            }
            other => other,
        }
    }

    /// Whether a transaction waits or was decided: there is nothing to learn from seeing it again.
    pub fn has_seen(&self, rollup: RollupId, hash: B256) -> bool {
        self.lock().mempool.get(hash).is_some() || self.is_decided(rollup, hash)
    }

    /// Takes out transactions that could not be stored.
    pub fn retract(&self, hashes: &[B256]) {
        let mut inner = self.lock();
        for hash in hashes {
            inner.mempool.retract(*hash);
        }
    }

    /// Tells those who forward that all clients' transactions admitted so far are on disk. For the one thread that admits
    /// and stores them.
    pub fn announce(&self) {
        let last = self.lock().mempool.last_arrival();
        self.accepted.send_replace(last);
    }

    /// The last arrival up to which clients' transactions are on disk: nothing later leaves this agent.
    pub fn accepted(&self) -> watch::Receiver<u64> {
        self.accepted.subscribe()
    }

    /// Hashes of the transactions that this agent promised to keep.
    pub fn local_hashes(&self) -> HashSet<B256> {
        self.lock().mempool.local_hashes()
    }

    /// Clients' transactions that wait; see [`Mempool::local_after`].
    pub fn local_after(&self, arrival: u64, count: usize) -> Vec<(u64, SignedTransaction)> {
        let next = |rollup, sender| self.decided_nonce(rollup, sender);
        self.lock().mempool.local_after(arrival, count, &next)
    }

    /// A transaction that waits, by its hash.
    pub fn get(&self, hash: B256) -> Option<SignedTransaction> {
        self.lock().mempool.get(hash).cloned()
    }

    /// Whether a transaction waits that this agent promised to keep.
    pub fn is_local(&self, hash: B256) -> bool {
        self.lock().mempool.is_local(hash)
    }

    /// The nonce that a sender should sign next, counting what waits.
    pub fn pending_nonce(&self, rollup: RollupId, sender: Address) -> u64 {
        let decided = self.decided_nonce(rollup, sender).unwrap_or(0);
        self.lock().mempool.next_nonce(rollup, sender).unwrap_or(0).max(decided)
    }

    /// How much waits.
    pub fn waiting(&self) -> Waiting {
        let inner = self.lock();
        Waiting { transactions: inner.mempool.len(), bytes: inner.mempool.bytes() }
    }

    /// What waits in a rollup; see [`Mempool::content`].
    pub fn content(
        &self,
        rollup: RollupId,
        sender: Option<Address>,
        most: usize,
    ) -> Vec<LaneContent> {
        self.lock().mempool.content(rollup, sender, most)
    }

    /// How much of a rollup waits; see [`Mempool::count_of`].
    pub fn count_of(&self, rollup: RollupId) -> (usize, usize) {
        self.lock().mempool.count_of(rollup)
    }

    /// The pool, in step with the decided chain.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.catch_up(&mut inner) {
            error!(%error, "the pool cannot read the decided chain");
        }
        inner
    }

    fn catch_up(&self, inner: &mut Inner) -> Result<(), StoreError> {
        let (generation, tip) = self.store.standing()?;
        if generation != inner.generation {
            let next = |rollup, sender| self.decided_nonce(rollup, sender);
            inner.mempool.go_back(&next);
            inner.returning = self.store.undone()?.into();
            (inner.generation, inner.through) = (generation, tip);
            return self.bring_back(inner, usize::MAX);
        }
        if inner.through >= tip {
            return Ok(());
        }
        while inner.through < tip {
            let height = inner.through.next();
            if let Some(decided) = self.store.block(height)? {
                // What was forced under another rollup than it was signed for has no effect, and takes nothing out.
                let forced = self.store.forced_in(&decided.block.header)?;
                let mut all: Vec<_> = forced
                    .into_iter()
                    .map(|entry| entry.transaction)
                    .filter(|transaction| transaction.decode(usize::MAX).is_ok())
                    .collect();
                all.extend(decided.block.transactions);
                inner.mempool.decided(&all);
            }
            inner.through = height;
        }
        self.bring_back(inner, BROUGHT_BACK)
    }

    /// Admits again what restarts undid, block by block, as far as there is room: of at most `blocks` blocks.
    fn bring_back(&self, inner: &mut Inner, blocks: usize) -> Result<(), StoreError> {
        for _ in 0..inner.returning.len().min(blocks) {
            let Some((generation, height)) = inner.returning.pop_front() else { break };
            let Some(undone) = self.store.undone_block(generation, height)? else { continue };
            let mut refused = None;
            for transaction in undone.block.transactions {
                if let Err(refusal) = self.admit_undone(&mut inner.mempool, transaction) {
                    refused = Some(refusal);
                }
            }
            if refused.is_some() {
                inner.returning.push_back((generation, height));
            }
            if matches!(refused, Some(Refusal::PoolFull { .. })) {
                break;
            }
        }
        Ok(())
    }

    /// Admits a transaction of an undone block. An error asks to try again when there is room; what can never be ordered
    /// again is none.
    fn admit_undone(
        &self,
        mempool: &mut Mempool,
        transaction: RollupTransaction,
    ) -> Result<(), Refusal> {
        let (rollup, hash) = (transaction.rollup, transaction.hash());
        if mempool.is_local(hash) || self.is_decided(rollup, hash) {
            return Ok(());
        }
        let Ok(signed) = transaction.decode(self.limits.transaction_bytes) else { return Ok(()) };
        let next = self.decided_nonce(rollup, signed.sender);
        match mempool.admit(signed, Origin::Local, next, self.now()) {
            Err(
                full @ (Refusal::PoolFull { .. }
                | Refusal::SenderFull { .. }
                | Refusal::NonceTooHigh { .. }),
            ) => Err(full),
            Err(refusal) => {
                debug!(%hash, %refusal, "an undone transaction does not come back");
                Ok(())
            }
            Ok(_) => {
                self.work.notify_one();
                Ok(())
            }
        }
    }

    fn decided_nonce(&self, rollup: RollupId, sender: Address) -> Option<u64> {
        self.store.next_nonce(rollup, sender).unwrap_or_else(|error| {
            error!(%error, "the pool cannot read a nonce");
            None
        })
    }

    fn is_decided(&self, rollup: RollupId, hash: B256) -> bool {
        self.store.place_of(rollup, hash).is_ok_and(|place| place.is_some())
    }

    /// Time since the start: the pool only compares times with each other.
    fn now(&self) -> Millis {
        Millis::new(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl BlockSource for Pool {
    /// See [`Mempool::collect`]. Whatever is decided by now is out of the pool before.
    fn collect(
        &self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Vec<RollupTransaction> {
        let next = |rollup, sender| self.decided_nonce(rollup, sender);
        self.lock().mempool.collect(max_bytes, is_open, &next, self.now())
    }

    fn has_work(&self) -> bool {
        let next = |rollup, sender| self.decided_nonce(rollup, sender);
        self.lock().mempool.has_ready(&next, self.now())
    }

    fn work(&self) -> &Notify {
        &self.work
    }

    fn known(&self, rollup: RollupId, hash: B256) -> Option<IncludedTransaction> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.mempool.get(hash).filter(|one| one.transaction.rollup == rollup)?;
        Some(IncludedTransaction { hash, sender: known.sender, nonce: known.nonce })
    }
}

#[cfg(test)]
mod tests;
