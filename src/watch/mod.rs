//! What agents do for the network on L1 besides posting: seal sets, take the steps of a restart, flush the churn queues, book
//! what settled, debit rollups for it, credit what signers earned, report offences and execute their penalties. Anyone may do
//! each of these; who does it when is a matter of turns, so that agents do not pay for each other's reverts, and of patience,
//! so that it is done when somebody is away.

mod absence;
mod restart;
#[cfg(test)]
mod tests;
mod turns;

pub use restart::{RestartPlan, restart_plan};
pub use turns::{SealPlan, patience, seal_plan};

use crate::batch::{Usage, usage, usage_hash};
use crate::config::RestartDuty;
use crate::domain::{
    BatchNumber, Deployment, Epoch, Evidence, Generation, Height, Params, SettledBatch, Turn,
};
use crate::l1::duties::{self, KeyReference};
use crate::l1::rewards::{self, WaitingEpoch};
use crate::l1::{Account, L1Error, Mirror, MirrorHandle, actions, restart as l1_restart};
use crate::rota::draw_order;
use crate::storage::{Store, StoreError};
use alloy::primitives::{Address, B256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// After so long something that was due is taken for done by somebody else.
const FORGET: Duration = Duration::from_secs(120);
/// Batches that are booked in one transaction, and how many must wait for it to be worth while within an epoch.
const TALLY_AT_ONCE: usize = 20;
/// L1 blocks after which a step of a restart that L1 still does not show is tried again.
const RETRY_BLOCKS: u64 = 10;
/// Batches whose rollups are debited in one transaction: those from a multiple of it on. L1 marks 256 batches in a word.
const DEBIT_AT_ONCE: u64 = 16;
/// How many settled batches an agent that starts looks back on for debits that nobody made.
const DEBIT_BACK: u64 = 256;
/// How often to ask whether an epoch's rewards are due: epochs are long.
const LOOK_AT_CREDITS: Duration = Duration::from_secs(5);
/// Places of each churn queue that one transaction moves, each for 30,000 gas, or 1,000,000 where it evicts somebody.
const FLUSH_AT_ONCE: u64 = 16;

/// Why a duty was not done now.
#[derive(Debug, thiserror::Error)]
enum DutyError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The watching task of one agent.
pub struct Watcher {
    account: Account,
    /// The agent's own signer: its place in the sets says when its turn is.
    signer: Address,
    deployment: Deployment,
    mirror: MirrorHandle,
    store: Store,
    /// Offences that are not on L1 for good; all of them are in the store too, which bounds them.
    offences: Vec<Offence>,
    /// Since when something is due that is not done: what patience counts from.
    due: BTreeMap<Duty, Instant>,
    /// The first group of [`DEBIT_AT_ONCE`] batches that may not be debited yet; none before the settled chain was seen.
    next_debit: Option<u64>,
    /// When it was asked last whether rewards are due.
    credit_looked: Option<Instant>,
    /// The seal that L1 refused last, and in which tenth of the window.
    refused_seal: Option<(Epoch, u64)>,
    restart_duty: RestartDuty,
    /// The last step of a restart that L1 answered, and when: the mirror shows it a little later.
    tried_restart: Option<(RestartPlan, Instant)>,
    /// When it was last looked who is away.
    looked_for_absent: Option<Instant>,
    /// The epoch in which nothing more waits in the churn queues, or can move.
    flushed: Option<Epoch>,
}

/// An offence on its way to L1.
struct Offence {
    evidence: Evidence,
    seen: Instant,
    /// The newest L1 block when L1 took or refused it. Once that block is at depth it is tried again, in case a reorg undid
    /// the report, this agent's or another's; a second refusal is the end of it.
    answered: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Tally(BatchNumber),
    /// Of a group of [`DEBIT_AT_ONCE`] batches.
    Debit(u64),
    Credit(Generation, Epoch),
    Flush(Epoch),
    Execute(B256),
    Restart(RestartPlan),
    ReportAbsent(u32),
}

impl Watcher {
    /// Pays from `account`, and takes the turns of the member with this signer.
    pub fn new(
        account: Account,
        signer: Address,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
        restart_duty: RestartDuty,
    ) -> Self {
        Self {
            account,
            signer,
            deployment,
            mirror,
            store,
            offences: Vec::new(),
            due: BTreeMap::new(),
            next_debit: None,
            credit_looked: None,
            refused_seal: None,
            restart_duty,
            tried_restart: None,
            looked_for_absent: None,
            flushed: None,
        }
    }

    /// Takes in what was found, also in an earlier run of the agent: whoever finds an offence puts it into the store, which
    /// bounds what is kept.
    fn accept(&mut self) -> Result<(), StoreError> {
        for evidence in self.store.evidence()? {
            let known = |offence: &Offence| {
                let other = &offence.evidence;
                other.offender() == evidence.offender() && other.position() == evidence.position()
            };
            if !self.offences.iter().any(known) {
                let (offender, position) = (evidence.offender(), evidence.position());
                info!(%offender, ?position, "offence to be reported");
                self.offences.push(Offence { evidence, seen: Instant::now(), answered: None });
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), DutyError> {
        // A duty that is done already may look due in what was kept since before the start.
        if !self.mirror.read().is_ready() {
            return Ok(());
        }
        self.restart().await?;
        self.seal().await?;
        self.flush().await?;
        self.report().await?;
        self.execute().await?;
        self.report_absent().await?;
        self.tally().await?;
        self.debit().await?;
        self.credit().await
    }

    /// Seals the next epoch's set when it is this agent's tenth of the window, or late.
    async fn seal(&mut self) -> Result<(), DutyError> {
        let plan = seal_plan(&self.mirror.read(), self.signer);
        let Some(SealPlan { epoch, tenth }) = plan else { return Ok(()) };
        if self.refused_seal == Some((epoch, tenth)) {
            return Ok(());
        }
        match actions::seal(&self.account, &self.deployment, epoch).await {
            Ok(()) => {
                info!(%epoch, "set sealed");
                Ok(())
            }
            // Somebody was faster, or too few are eligible: the set before carries. Asked again in the next tenth.
            Err(L1Error::Reverted { reason, .. }) => {
                debug!(%epoch, %reason, "set not sealed");
                self.refused_seal = Some((epoch, tenth));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next step of a restart, as far as it is this agent's to take (R33).
    async fn restart(&mut self) -> Result<(), DutyError> {
        let plan = restart_plan(&self.mirror.read(), self.signer, self.restart_duty);
        let params = self.mirror.read().params.clone();
        let pause = Duration::from_secs(params.l1_block_seconds.saturating_mul(RETRY_BLOCKS));
        let tried = |plan: &RestartPlan| {
            self.tried_restart.is_some_and(|(last, at)| last == *plan && at.elapsed() < pause)
        };
        let Some(plan) = plan.filter(|plan| !tried(plan)) else { return Ok(()) };
        let anybody = match plan {
            RestartPlan::Open { since } => Some(since),
            RestartPlan::Finish { until } => Some(until),
            RestartPlan::CheckIn { .. } | RestartPlan::Return { .. } => None,
        };
        if let Some(seed) = anybody
            && !self.is_turn(Duty::Restart(plan), seed.get(), &params)
        {
            return Ok(());
        }
        let (account, deployment) = (&self.account, &self.deployment);
        let done = match plan {
            RestartPlan::Open { .. } => l1_restart::open(account, deployment).await.map(drop),
            RestartPlan::CheckIn { id, .. } | RestartPlan::Return { id, .. } => {
                l1_restart::check_in(account, deployment, id).await
            }
            RestartPlan::Finish { .. } => l1_restart::finish(account, deployment).await.map(drop),
        };
        match done {
            Ok(()) => info!(?plan, "step of a restart taken"),
            Err(L1Error::Reverted { reason, .. }) => {
                info!(?plan, %reason, "step of a restart not taken");
            }
            Err(error) => return Err(error.into()),
        }
        self.tried_restart = Some((plan, Instant::now()));
        Ok(())
    }

    /// Lets the churn queues move, once an epoch, in its turn. Whoever waits there can do it without us.
    async fn flush(&mut self) -> Result<(), DutyError> {
        let (params, epoch) = {
            let mirror = self.mirror.read();
            let Some(head) = mirror.head else { return Ok(()) };
            (mirror.params.clone(), mirror.params.epoch_at(head.timestamp))
        };
        if self.flushed == Some(epoch) || !self.is_turn(Duty::Flush(epoch), epoch.get(), &params) {
            return Ok(());
        }
        if duties::waiting_churn(self.account.client(), &self.deployment).await? == 0 {
            self.flushed = Some(epoch);
            return Ok(());
        }
        match duties::flush(&self.account, &self.deployment, FLUSH_AT_ONCE).await {
            Ok(()) => info!(%epoch, "churn queues flushed"),
            // Somebody was faster, or the epoch's limit is used up.
            Err(L1Error::Reverted { reason, .. }) => {
                debug!(%epoch, %reason, "churn queues not flushed");
                self.flushed = Some(epoch);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Books what settled, in its turn: a full run of batches, or a shorter one once an epoch has ended since its first
    /// batch settled, so that nobody's pay waits for traffic.
    async fn tally(&mut self) -> Result<(), DutyError> {
        let (params, head, depth) = {
            let mirror = self.mirror.read();
            (mirror.params.clone(), mirror.head, mirror.at_depth)
        };
        let (Some(head), Some(depth)) = (head, depth) else { return Ok(()) };
        let next = duties::next_tally(self.account.client(), &self.deployment).await?;
        let batches = self.settled_from(next, depth.number)?;
        let Some(first) = batches.first() else { return Ok(()) };
        let ended = params.epoch_at(first.block.timestamp) < params.epoch_at(head.timestamp);
        let full = batches.len() == TALLY_AT_ONCE;
        if !(full || ended) || !self.is_turn(Duty::Tally(next), next.get(), &params) {
            return Ok(());
        }
        let count = batches.len();
        match duties::tally(&self.account, &self.deployment, &batches).await {
            Ok(()) => info!(first = %next, count, "batches tallied"),
            Err(L1Error::Reverted { reason, .. }) => debug!(first = %next, %reason, "not tallied"),
            Err(error) => return Err(error.into()),
        }
        self.due.remove(&Duty::Tally(next));
        Ok(())
    }

    /// Batches from `first` on that no reorg moves, as many as are tallied at once: a transaction that fails is paid for.
    fn settled_from(
        &self,
        first: BatchNumber,
        depth: u64,
    ) -> Result<Vec<SettledBatch>, StoreError> {
        let mut batches = Vec::new();
        for number in (first.get()..).take(TALLY_AT_ONCE) {
            match self.store.settled(BatchNumber::new(number))? {
                // Nobody can show L1 the header of a batch that cannot be read.
                Some(batch) if batch.block.number <= depth && !batch.is_unread() => {
                    batches.push(batch);
                }
                _ => break,
            }
        }
        Ok(batches)
    }

    /// Debits rollups for a group of batches once all of it is settled for good, in its turn.
    async fn debit(&mut self) -> Result<(), DutyError> {
        let (params, depth, tip) = {
            let mirror = self.mirror.read();
            (mirror.params.clone(), mirror.at_depth, mirror.tip.as_ref().map(|tip| tip.number))
        };
        let Some(tip) = tip else { return Ok(()) };
        let oldest = tip.get().saturating_sub(DEBIT_BACK) / DEBIT_AT_ONCE;
        let group = *self.next_debit.get_or_insert(oldest);
        let first = group.saturating_mul(DEBIT_AT_ONCE);
        let last = first.saturating_add(DEBIT_AT_ONCE).saturating_sub(1);
        let newest = self.store.settled(BatchNumber::new(last))?;
        let settled_deep =
            |batch: &SettledBatch| depth.is_some_and(|depth| batch.block.number <= depth.number);
        if newest.as_ref().is_none_or(|batch| !settled_deep(batch)) {
            return Ok(());
        }
        let word = duties::debited(self.account.client(), &self.deployment, first / 256).await?;
        let mut due = Vec::new();
        for number in first.max(1)..=last {
            let bit = usize::try_from(number % 256).expect("a remainder of 256 fits");
            if !word.bit(bit)
                && let Some(one) = self.usage_of(BatchNumber::new(number))?
            {
                due.push(one);
            }
        }
        if due.is_empty() {
            self.next_debit = Some(group.saturating_add(1));
            self.due.remove(&Duty::Debit(group));
            return Ok(());
        }
        if !self.is_turn(Duty::Debit(group), group, &params) {
            return Ok(());
        }
        match duties::debit(&self.account, &self.deployment, &due).await {
            Ok(()) => info!(first, last, batches = due.len(), "rollups debited"),
            Err(L1Error::Reverted { reason, .. }) => {
                info!(first, last, %reason, "rollups not debited");
                self.next_debit = Some(group.saturating_add(1));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Credits the first epoch whose rewards are due, in its turn: until then nobody can add stake (R42).
    async fn credit(&mut self) -> Result<(), DutyError> {
        if self.credit_looked.is_some_and(|at| at.elapsed() < LOOK_AT_CREDITS) {
            return Ok(());
        }
        self.credit_looked = Some(Instant::now());
        let next = rewards::next_credit(self.account.client(), &self.deployment).await?;
        let Some(WaitingEpoch { generation, epoch, due: true }) = next else { return Ok(()) };
        let params = self.mirror.read().params.clone();
        let duty = Duty::Credit(generation, epoch);
        if !self.is_turn(duty, epoch.get(), &params) {
            return Ok(());
        }
        match rewards::credit_epoch(&self.account, &self.deployment).await {
            Ok(wei) => info!(%epoch, %wei, "rewards credited"),
            Err(L1Error::Reverted { reason, .. }) => info!(%epoch, %reason, "rewards not credited"),
            Err(error) => return Err(error.into()),
        }
        self.due.remove(&duty);
        Ok(())
    }

    /// A settled batch and what its rollups take of it, if they take anything and its blocks are known here.
    fn usage_of(
        &self,
        number: BatchNumber,
    ) -> Result<Option<(SettledBatch, Vec<Usage>)>, StoreError> {
        let Some(batch) = self.store.settled(number)? else { return Ok(None) };
        let mut blocks = Vec::new();
        for height in batch.header.first_height.get()..=batch.header.last_height.get() {
            let Some(decided) = self.store.block(Height::new(height))? else { return Ok(None) };
            blocks.push(decided.block);
        }
        let usage = usage(&blocks);
        // What a quorum committed to may be another list than its blocks have: L1 takes no other.
        let as_settled = !usage.is_empty() && usage_hash(&usage) == batch.header.usage_hash;
        Ok(as_settled.then_some((batch, usage)))
    }

    /// Reports offences, each in its turn.
    async fn report(&mut self) -> Result<(), DutyError> {
        let (params, head, depth) = {
            let mirror = self.mirror.read();
            (mirror.params.clone(), mirror.head, mirror.at_depth)
        };
        let (Some(head), Some(depth)) = (head, depth) else { return Ok(()) };
        let mut index = 0_usize;
        while let Some(offence) = self.offences.get(index) {
            let offender = offence.evidence.offender();
            let rank = self.rank(offence.evidence.position().height.get());
            let waits = offence.seen.elapsed() < patience(&params, rank)
                || offence.answered.is_some_and(|block| block > depth.number);
            let place = key_place(&self.mirror.read(), offender);
            let (Some(place), false) = (place, waits) else {
                index = index.saturating_add(1);
                continue;
            };
            let again = offence.answered.is_some();
            let is_final = match self.report_under(place, &offence.evidence).await {
                Ok(case) => {
                    info!(%offender, %case, "offence reported");
                    false
                }
                // Somebody was faster, or it is too old.
                Err(L1Error::Reverted { reason, .. }) => {
                    info!(%offender, %reason, again, "offence not taken by L1");
                    again
                }
                Err(error) => return Err(error.into()),
            };
            if is_final {
                let offence = self.offences.remove(index);
                self.store.drop_evidence(&offence.evidence)?;
            } else if let Some(offence) = self.offences.get_mut(index) {
                offence.answered = Some(head.number);
                index = index.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Reports under the offender's current key, which costs least; under its place in a set if L1 does not take that.
    async fn report_under(
        &self,
        place: KeyReference,
        evidence: &Evidence,
    ) -> Result<B256, L1Error> {
        let (account, deployment) = (&self.account, &self.deployment);
        let offender = evidence.offender();
        if let Some(key) = duties::current_key(account.client(), deployment, offender).await? {
            match duties::report(account, deployment, key, evidence).await {
                Err(L1Error::Reverted { reason, .. }) => {
                    debug!(%offender, %reason, "not taken under the current key");
                }
                result => return result,
            }
        }
        duties::report(account, deployment, place, evidence).await
    }

    /// Executes cases that are due, each in its turn.
    async fn execute(&mut self) -> Result<(), DutyError> {
        let (params, cases, head) = {
            let mirror = self.mirror.read();
            (mirror.params.clone(), mirror.open_cases.clone(), mirror.head)
        };
        let Some(head) = head else { return Ok(()) };
        for case in cases {
            let at = duties::executable_at(self.account.client(), &self.deployment, case).await?;
            let seed = u64::from(case.first().copied().unwrap_or_default());
            if head.timestamp < at || !self.is_turn(Duty::Execute(case), seed, &params) {
                continue;
            }
            match duties::execute_case(&self.account, &self.deployment, case).await {
                Ok(()) => info!(%case, "penalty executed"),
                Err(L1Error::Reverted { reason, .. }) => debug!(%case, %reason, "not executed"),
                Err(error) => return Err(error.into()),
            }
            self.due.remove(&Duty::Execute(case));
        }
        Ok(())
    }

    /// Whether something that is due has waited as long as those before this agent in the order may take for it.
    fn is_turn(&mut self, duty: Duty, seed: u64, params: &Params) -> bool {
        // What is not asked about any more was done by somebody.
        self.due.retain(|other, since| *other == duty || since.elapsed() < FORGET);
        let since = *self.due.entry(duty).or_insert_with(Instant::now);
        since.elapsed() >= patience(params, self.rank(seed))
    }

    /// This agent's place in the order of the running set; behind all members if it is none.
    fn rank(&self, seed: u64) -> usize {
        let mirror = self.mirror.read();
        let set = mirror.head.and_then(|head| {
            mirror.set_for(mirror.generation(), mirror.params.epoch_at(head.timestamp))
        });
        let Some(set) = set else { return 0 };
        let own = set.index_of(self.signer);
        own.and_then(|own| {
            draw_order(&set, Turn::new(seed)).into_iter().position(|place| place == own)
        })
        .unwrap_or(set.members().len())
    }
}

/// A set in force now or earlier that holds a key.
fn key_place(mirror: &Mirror, offender: Address) -> Option<KeyReference> {
    let now = mirror.params.epoch_at(mirror.head?.timestamp);
    mirror.sets.iter().rev().find_map(|(&(generation, epoch), set)| {
        let index = u8::try_from(set.index_of(offender)?).ok()?;
        (epoch <= now).then_some(KeyReference::InSet { generation, epoch, index })
    })
}

/// Watches until `shutdown`. `found` tells of evidence that the agreement and the attester put into the store.
pub async fn run(
    mut watcher: Watcher,
    mut found: mpsc::Receiver<Evidence>,
    shutdown: CancellationToken,
) {
    let mut source_gone = false;
    let mut is_news = true;
    loop {
        if is_news {
            match watcher.accept() {
                Ok(()) => is_news = false,
                Err(error) => warn!(%error, "evidence not read, it is tried again"),
            }
        }
        if let Err(error) = watcher.step().await {
            warn!(%error, "duty not done, it is tried again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            offence = found.recv(), if !source_gone => match offence {
                Some(_) => is_news = true,
                None => source_gone = true,
            },
            () = tokio::time::sleep(LOOK) => {}
        }
        while found.try_recv().is_ok() {
            is_news = true;
        }
    }
}
