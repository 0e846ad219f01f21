//! What agents do for the network on L1 besides posting: seal sets, book what settled, report offences and execute their
//! penalties. Anyone may do each of these; who does it when is a matter of turns, so that agents do not pay for each
//! other's reverts, and of patience, so that it is done when somebody is away.

#[cfg(test)]
mod tests;
mod turns;

pub use turns::{SealPlan, patience, seal_plan};

use crate::domain::{BatchNumber, Deployment, Epoch, Evidence, Params, Turn};
use crate::l1::duties::{self, KeyPlace};
use crate::l1::{Account, L1Error, Mirror, MirrorHandle, actions};
use crate::rota::draw_order;
use crate::storage::{Store, StoreError};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// After so long something that was due is taken for done by somebody else.
const FORGET: Duration = Duration::from_secs(120);
/// Batches that are booked in one transaction, and how many must wait for it to be worth while.
const TALLY_AT_ONCE: u64 = 20;
/// Evidence that waits to be reported; one offence per offender is enough to punish it.
const MAX_EVIDENCE: usize = 256;

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
    evidence: VecDeque<(Evidence, Instant)>,
    /// Since when something is due that is not done: what patience counts from.
    due: BTreeMap<Duty, Instant>,
    /// The seal that L1 refused last, and in which tenth of the window.
    refused_seal: Option<(Epoch, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Tally(BatchNumber),
    Execute(B256),
}

impl Watcher {
    /// Pays from `account`, and takes the turns of the member with this signer.
    pub fn new(
        account: Account,
        signer: Address,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
    ) -> Self {
        Self {
            account,
            signer,
            deployment,
            mirror,
            store,
            evidence: VecDeque::new(),
            due: BTreeMap::new(),
            refused_seal: None,
        }
    }

    /// Takes in evidence; the oldest gives way when too much waits.
    fn accept(&mut self, evidence: Evidence) {
        let known = |other: &Evidence| {
            other.offender() == evidence.offender() && other.position() == evidence.position()
        };
        if self.evidence.iter().any(|(other, _)| known(other)) {
            return;
        }
        warn!(offender = %evidence.offender(), position = ?evidence.position(), "offence seen");
        if self.evidence.len() >= MAX_EVIDENCE {
            self.evidence.pop_front();
        }
        self.evidence.push_back((evidence, Instant::now()));
    }

    async fn step(&mut self) -> Result<(), DutyError> {
        self.seal().await?;
        self.report().await?;
        self.execute().await?;
        self.tally().await
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

    /// Books what settled, in its turn.
    async fn tally(&mut self) -> Result<(), DutyError> {
        let (params, settled, depth) = {
            let mirror = self.mirror.read();
            let settled = mirror.tip.as_ref().map_or(0, |tip| tip.number.get());
            (mirror.params.clone(), settled, mirror.at_depth)
        };
        let next = duties::next_tally(self.account.client(), &self.deployment).await?;
        let last = next.get().saturating_add(TALLY_AT_ONCE).saturating_sub(1);
        if settled < last || !self.is_turn(Duty::Tally(next), next.get(), &params) {
            return Ok(());
        }
        let mut batches = Vec::new();
        for number in next.get()..=last {
            match self.store.settled(BatchNumber::new(number))? {
                // Only what no reorg moves: a transaction that fails is paid for.
                Some(batch) if depth.is_some_and(|depth| batch.block.number <= depth.number) => {
                    batches.push(batch);
                }
                _ => return Ok(()),
            }
        }
        match duties::tally(&self.account, &self.deployment, &batches).await {
            Ok(()) => info!(first = %next, last, "batches tallied"),
            Err(L1Error::Reverted { reason, .. }) => debug!(first = %next, %reason, "not tallied"),
            Err(error) => return Err(error.into()),
        }
        self.due.remove(&Duty::Tally(next));
        Ok(())
    }

    /// Reports offences, each in its turn.
    async fn report(&mut self) -> Result<(), DutyError> {
        let params = self.mirror.read().params.clone();
        for _ in 0..self.evidence.len() {
            let Some((evidence, since)) = self.evidence.pop_front() else { break };
            let offender = evidence.offender();
            let place = key_place(&self.mirror.read(), offender);
            let rank = self.rank(evidence.position().height.get());
            if since.elapsed() < patience(&params, rank) || place.is_none() {
                self.evidence.push_back((evidence, since));
                continue;
            }
            let Some(place) = place else { continue };
            match duties::report(&self.account, &self.deployment, place, &evidence).await {
                Ok(case) => info!(%offender, %case, "offence reported"),
                // Somebody was faster, or it is too old: nothing more to do about it.
                Err(L1Error::Reverted { reason, .. }) => {
                    info!(%offender, %reason, "offence not taken by L1");
                }
                Err(error) => {
                    self.evidence.push_back((evidence, since));
                    return Err(error.into());
                }
            }
        }
        Ok(())
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
        let set = mirror.genesis.as_ref().zip(mirror.head).and_then(|(genesis, head)| {
            mirror.set_for(genesis.generation, mirror.params.epoch_at(head.timestamp))
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
fn key_place(mirror: &Mirror, offender: Address) -> Option<KeyPlace> {
    let now = mirror.params.epoch_at(mirror.head?.timestamp);
    mirror.sets.iter().rev().find_map(|(&(generation, epoch), set)| {
        let index = set.index_of(offender)?;
        (epoch <= now).then_some(KeyPlace { generation, epoch, index })
    })
}

/// Watches until `shutdown`. `evidence` is what the agreement and the attester found.
pub async fn run(
    mut watcher: Watcher,
    mut evidence: mpsc::Receiver<Evidence>,
    shutdown: CancellationToken,
) {
    let mut source_gone = false;
    loop {
        if let Err(error) = watcher.step().await {
            warn!(%error, "duty not done, it is tried again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            found = evidence.recv(), if !source_gone => match found {
                Some(found) => watcher.accept(found),
                None => source_gone = true,
            },
            () = tokio::time::sleep(LOOK) => {}
        }
        while let Ok(found) = evidence.try_recv() {
            watcher.accept(found);
        }
    }
}
