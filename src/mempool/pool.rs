//! The pool as the tasks share it.

use crate::agreement::BlockSource;
use crate::batch::payload::max_body_bytes;
use crate::domain::{Generation, Height, Millis, RollupId, RollupTransaction, SignedTransaction};
use crate::l1::MirrorHandle;
use crate::mempool::{
    Admission, AdmissionPolicy, DropReason, Feed, LaneContent, Limits, Mempool, OpenRollups,
    Origin, Refusal,
};
use crate::storage::{IncludedTransaction, Store, StoreError};
use alloy::primitives::{Address, B256};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info};

/// More than a body holds of a transaction beside its raw bytes: a switch of rollups and two numbers of ten bytes at most.
const OVERHEAD_BYTES: usize = 32;

/// Undone blocks without room for all of their transactions, after which [`Pool::tend`] looks at no more.
const BROUGHT_BACK: usize = 4;

/// Decided blocks that are read one by one; who is further behind compares next nonces instead.
const READ_BLOCKS: u64 = 64;

/// How often a next nonce is read anew because a block was decided meanwhile.
const STEPS_MISSED: usize = 8;

/// A [`Mempool`] behind a lock, kept in step with the decided chain. While the lock is held nothing is read from disk, decoded
/// or waited for: what a caller needs of the store it reads before.
///
/// What a restart undid (R33) comes back: every agent keeps these transactions as if its own clients had sent them, as the
/// agent that accepted one may be gone for good. They are on disk with their blocks, and come as there is room, by
/// [`Pool::tend`].
pub struct Pool {
    mempool: Mutex<Mempool>,
    /// Locked before `mempool`, never after it.
    following: Mutex<Following>,
    limits: Limits,
    store: Store,
    mirror: MirrorHandle,
    policy: Box<dyn AdmissionPolicy>,
    started: Instant,
    work: Notify,
    accepted: watch::Sender<u64>,
    feed: Feed,
}

struct Following {
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
        // What was forced and is larger counts for nothing.
        store.bound_transactions(max_body_bytes(&mirror.read().params));
        let (generation, through) = store.standing()?;
        let returning = store.undone()?.into();
        Ok(Self {
            mempool: Mutex::new(Mempool::new(limits.clone())),
            following: Mutex::new(Following { generation, through, returning }),
            limits,
            store,
            mirror,
            policy: Box::new(OpenRollups),
            started: Instant::now(),
            work: Notify::new(),
            accepted: watch::Sender::new(0),
            feed: Feed::default(),
        })
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

    /// Whether a transaction could be admitted, as far as its sender and nonce tell: before its authorizations are looked at.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub(super) fn screen(&self, transaction: &SignedTransaction) -> Result<(), Refusal> {
        self.policy.admit(&self.mirror.read(), transaction)?;
        let (rollup, actual) = (transaction.transaction.rollup, transaction.nonce);
        let expected = self.decided_nonce(rollup, transaction.sender);
        if actual < expected && !self.is_decided(rollup, transaction.hash) {
            return Err(Refusal::NonceTooLow { expected, actual });
        }
        Ok(())
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
        let (mut mempool, next) = self.locked_for(rollup, sender);
        let admission = mempool.admit(transaction, origin, next, self.now());
        drop(mempool);
        match admission {
            Err(Refusal::NonceTooLow { .. }) if self.is_decided(rollup, hash) => {
                Ok(Admission::Known)
            }
            Ok(Admission::Added | Admission::Replaced { .. }) => {
                self.work.notify_one();
                admission
            }
            other => other,
        }
    }

    /// Whether a transaction waits or was decided: there is nothing to learn from seeing it again.
    pub fn has_seen(&self, rollup: RollupId, hash: B256) -> bool {
        self.lock().get(hash).is_some_and(|one| one.transaction.rollup == rollup)
            || self.is_decided(rollup, hash)
    }

    /// Takes out transactions that could not be stored.
    pub fn retract(&self, hashes: &[B256]) {
        let mut mempool = self.lock();
        for hash in hashes {
            mempool.retract(*hash);
        }
    }

    /// Tells those who forward that all clients' transactions admitted so far are on disk. For the one thread that admits
    /// and stores them.
    pub fn announce(&self) {
        let last = self.lock().last_arrival();
        self.accepted.send_if_modified(|before| std::mem::replace(before, last) != last);
    }

    /// The last arrival up to which clients' transactions are on disk: nothing later leaves this agent.
    pub fn accepted(&self) -> watch::Receiver<u64> {
        self.accepted.subscribe()
    }

    /// What this agent's clients submit from now on, once it is on disk.
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Hashes of the transactions that this agent promised to keep.
    pub fn local_hashes(&self) -> HashSet<B256> {
        self.in_step().local_hashes()
    }

    /// Clients' transactions that wait; see [`Mempool::local_after`].
    pub fn local_after(&self, arrival: u64, count: usize) -> Vec<(u64, SignedTransaction)> {
        self.in_step().local_after(arrival, count)
    }

    /// A transaction that waits, by its hash.
    pub fn get(&self, hash: B256) -> Option<SignedTransaction> {
        self.in_step().get(hash).cloned()
    }

    /// Whether a transaction waits that this agent promised to keep.
    pub fn is_local(&self, hash: B256) -> bool {
        self.in_step().is_local(hash)
    }

    /// Why a transaction that this agent had promised to keep was dropped, as far as it is remembered.
    pub fn dropped(&self, rollup: RollupId, hash: B256) -> Option<DropReason> {
        self.lock().dropped(rollup, hash)
    }

    /// The nonce that a sender should sign next, counting what waits.
    pub fn pending_nonce(&self, rollup: RollupId, sender: Address) -> u64 {
        let (mempool, decided) = self.locked_for(rollup, sender);
        mempool.next_nonce(rollup, sender).unwrap_or(0).max(decided)
    }

    /// How much waits.
    pub fn waiting(&self) -> Waiting {
        let mempool = self.in_step();
        Waiting { transactions: mempool.len(), bytes: mempool.bytes() }
    }

    /// Does what takes its time or is nobody's errand: what a restart undid comes back as far as there is room, and what
    /// cannot be ordered any more leaves. For a thread of its own, now and then.
    pub fn tend(&self) {
        drop(self.in_step());
        if let Err(error) = self.bring_back() {
            error!(%error, "the pool cannot read what a restart undid");
        }
        let rollups = self.in_step().rollups();
        let closed: Vec<RollupId> =
            rollups.into_iter().filter(|rollup| self.is_closed(*rollup)).collect();
        let mut mempool = self.lock();
        for rollup in closed {
            let promised = mempool.drop_rollup(rollup);
            info!(%rollup, promised, "the transactions of a closed rollup are dropped");
        }
        let promised = mempool.drop_parked(self.now());
        if promised > 0 {
            info!(promised, "transactions are dropped that waited behind a nonce gap for too long");
        }
    }

    /// Whether a rollup has less than its reserve at each L1 block from the newest at depth to the newest seen: no block can
    /// take anything of it, whichever of them is its origin. One that L1 does not show (yet) is not closed; its transactions wait. So do those of one that was
    /// closed in a picture of L1 which is kept from before a start, or still being read: it may have been funded since.
    fn is_closed(&self, rollup: RollupId) -> bool {
        let mirror = self.mirror.read();
        let Some(at_depth) = mirror.at_depth.filter(|_| mirror.is_ready()) else { return false };
        mirror.is_registered(rollup, at_depth.number)
            && !mirror.was_open_since(rollup, at_depth.number)
    }

    fn lock(&self) -> MutexGuard<'_, Mempool> {
        self.mempool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits in a rollup; see [`Mempool::content`].
    pub fn content(
        &self,
        rollup: RollupId,
        sender: Option<Address>,
        most: usize,
    ) -> Vec<LaneContent> {
        self.in_step().content(rollup, sender, most)
    }

    /// How much of a rollup waits; see [`Mempool::count_of`].
    pub fn count_of(&self, rollup: RollupId) -> (usize, usize) {
        self.in_step().count_of(rollup)
    }

    /// Whether nobody works on the mempool at this moment, for whoever watches that it is given back. Who reads decided blocks
    /// meanwhile does so without it, and on a slow disk may take long.
    pub fn is_free(&self) -> bool {
        !matches!(self.mempool.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Never gives it back, for a test of that.
    #[cfg(feature = "byzantine")]
    pub(crate) fn hold_for_ever(&self) {
        let _held = self.lock();
        loop {
            std::thread::park();
        }
    }

    /// The pool, in step with the decided chain.
    fn in_step(&self) -> MutexGuard<'_, Mempool> {
        if let Err(error) = self.catch_up(&mut self.following()) {
            error!(%error, "the pool cannot read the decided chain");
        }
        self.lock()
    }

    /// The pool, in step with the decided chain, and a next nonce that is no older than it.
    fn locked_for(&self, rollup: RollupId, sender: Address) -> (MutexGuard<'_, Mempool>, u64) {
        for _ in 0..STEPS_MISSED {
            let steps = self.in_step().steps();
            let next = self.decided_nonce(rollup, sender);
            let mempool = self.lock();
            if mempool.steps() == steps {
                return (mempool, next);
            }
        }
        // Blocks come faster than they can be waited for: one read with the lock held.
        let mempool = self.lock();
        let next = self.decided_nonce(rollup, sender);
        (mempool, next)
    }

    fn catch_up(&self, following: &mut Following) -> Result<(), StoreError> {
        let (generation, tip) = self.store.standing()?;
        if generation != following.generation {
            self.compare_all();
            following.returning = self.store.undone()?.into();
            (following.generation, following.through) = (generation, tip);
            return Ok(());
        }
        while following.through < tip {
            let height = following.through.next();
            if tip.get().saturating_sub(height.get()) >= READ_BLOCKS {
                // Far behind. Whoever was decided shows in the next nonces.
                self.compare_all();
                following.through = tip;
                break;
            }
            self.take_out(height)?;
            following.through = height;
        }
        Ok(())
    }

    /// Takes out what a decided block holds.
    fn take_out(&self, height: Height) -> Result<(), StoreError> {
        let Some(decided) = self.store.block(height)? else { return Ok(()) };
        // What was forced under another rollup than it was signed for has no effect, and takes nothing out.
        let mut all: Vec<_> = self
            .store
            .forced_in(&decided.block.header)?
            .into_iter()
            .map(|entry| entry.transaction)
            .filter(|transaction| self.store.meaning_of(transaction).is_ok())
            .collect();
        all.extend(decided.block.transactions);
        let moved = self.store.moved_in(height)?;
        let is_unknown = moved.is_none() && !all.is_empty();
        self.lock().decided(&all, moved.unwrap_or_default());
        if is_unknown {
            self.compare_all();
        }
        Ok(())
    }

    /// Takes the next nonces of all accounts of which something waits from the decided chain.
    fn compare_all(&self) {
        let accounts = self.lock().accounts();
        let now: Vec<_> = accounts
            .into_iter()
            .map(|(rollup, account)| (rollup, account, self.decided_nonce(rollup, account)))
            .collect();
        self.lock().set_next(now);
    }

    /// Admits again what restarts undid, block by block, as far as there is room.
    fn bring_back(&self) -> Result<(), StoreError> {
        let blocks = self.following().returning.len();
        let mut refused_blocks: usize = 0;
        for _ in 0..blocks {
            let Some((generation, height)) = self.following().returning.pop_front() else { break };
            let Some(undone) = self.store.undone_block(generation, height)? else { continue };
            let mut refused = None;
            for transaction in undone.block.transactions {
                if let Err(refusal) = self.admit_undone(&transaction) {
                    refused = Some(refusal);
                }
            }
            if refused.is_some() {
                self.following().returning.push_back((generation, height));
                refused_blocks = refused_blocks.saturating_add(1);
            }
            if matches!(refused, Some(Refusal::PoolFull { .. })) || refused_blocks >= BROUGHT_BACK {
                break;
            }
        }
        Ok(())
    }

    /// Admits a transaction of an undone block. An error asks to try again when there is room; what can never be ordered
    /// again is none.
    fn admit_undone(&self, transaction: &RollupTransaction) -> Result<(), Refusal> {
        let (rollup, hash) = (transaction.rollup, transaction.hash());
        if self.lock().is_local(hash) || self.is_decided(rollup, hash) {
            return Ok(());
        }
        let Ok(signed) = transaction.decode(self.limits.transaction_bytes) else { return Ok(()) };
        match self.admit_again(signed, Origin::Local) {
            Err(refusal) if refusal.may_pass() => Err(refusal),
            Err(refusal) => {
                debug!(%hash, %refusal, "an undone transaction does not come back");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn decided_nonce(&self, rollup: RollupId, sender: Address) -> u64 {
        let next = self.store.next_nonce(rollup, sender).unwrap_or_else(|error| {
            error!(%error, "the pool cannot read a nonce");
            None
        });
        next.unwrap_or(0)
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
        let ready = self.in_step().ready_rollups();
        let open: HashSet<RollupId> = ready.into_iter().filter(|rollup| is_open(*rollup)).collect();
        self.lock().collect(max_bytes, &|rollup| open.contains(&rollup))
    }

    fn has_work(&self) -> bool {
        let ready = self.in_step().ready_rollups();
        let mirror = self.mirror.read();
        // As of the newest origin that a block could have; before L1 was read nobody knows better.
        let origin = mirror.at_depth.map_or(u64::MAX, |at_depth| at_depth.number);
        ready.into_iter().any(|rollup| mirror.is_open(rollup, origin))
    }

    fn work(&self) -> &Notify {
        &self.work
    }

    fn known(&self, rollup: RollupId, hash: B256) -> Option<IncludedTransaction> {
        let mempool = self.lock();
        let known = mempool.get(hash).filter(|one| one.transaction.rollup == rollup)?;
        Some(IncludedTransaction::from(known))
    }
}

#[cfg(test)]
mod tests;
