//! Who is away: the duty to have absent members jailed (R35). Local policy: L1 would jail sooner.

use super::duty::{Agent, Due, Duty, DutyError};
use crate::domain::{BatchNumber, Epoch, SettledBatch};
use crate::l1::{L1Error, Mirror, reports};
use crate::rota::draw;
use alloy::primitives::Address;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info};

/// How often to look who is away.
const LOOK_FOR_ABSENT: Duration = Duration::from_secs(5);
/// Members about whom L1 is asked at one look; others come at the next ones. Only those are asked about of whom the settled
/// batches say that they may be away.
const ASKED_AT_ONCE: usize = 4;
/// Ended epochs whose turns are looked at: with the running one those that L1 looks at (R35).
const ENDED_EPOCHS: u64 = 7;
/// Settled batches that are looked back on at most, to see who is back.
const LOOK_BACK: usize = 1_024;

/// Reports members that were absent over the epochs that have ended and still are: agents spare whoever is back by the next
/// epoch, which is what a restart takes.
#[derive(Debug, Default)]
pub(super) struct Absence {
    due: Due<u32>,
    /// When it was last looked who is away.
    looked: Option<Instant>,
    /// The member asked about last, so that the next look goes on behind it.
    last: u32,
}

/// Members in whose turns batches settled in the running epoch; whether they posted one of them.
type RunningTurns = BTreeMap<Address, bool>;

impl Duty for Absence {
    const NAME: &'static str = "absence";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_FOR_ABSENT) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let (params, running, others) = {
            let mirror = agent.mirror.read();
            let Some(head) = mirror.head else { return Ok(()) };
            let running = mirror.params.epoch_at(head.timestamp);
            let set = mirror.set_for(mirror.generation(), running);
            let others: Vec<(Address, u32)> = set
                .iter()
                .flat_map(|set| set.members())
                .filter(|member| member.signer != agent.signer)
                .filter_map(|member| mirror.peers.get(&member.signer))
                .map(|peer| (peer.signer, peer.id.get()))
                .collect();
            (mirror.params.clone(), running, others)
        };
        let Some(ended) = running.get().checked_sub(1).map(Epoch::new) else { return Ok(()) };
        let first = Epoch::new(running.get().saturating_sub(ENDED_EPOCHS));
        let turns = running_turns(agent, running)?;
        // Whoever posted a batch of its own turn is here: that is known without asking.
        let mut suspects: Vec<u32> = others
            .into_iter()
            .filter(|(signer, _)| turns.get(signer) == Some(&false))
            .map(|(_, id)| id)
            .collect();
        suspects.sort_by_key(|id| (*id <= self.last, *id));
        for id in suspects.into_iter().take(ASKED_AT_ONCE) {
            self.last = id;
            let (client, deployment) = (agent.account.client(), &agent.deployment);
            let booked = reports::turns_between(client, deployment, id, first, ended).await?;
            if !booked.are_absence() || !self.due.is_turn(agent, id, u64::from(id), &params) {
                continue;
            }
            match reports::report_missed_turns(&agent.account, deployment, id).await {
                Ok(case) => info!(sequencer = id, %case, "absent sequencer reported"),
                // Jailed already, or many are away.
                Err(L1Error::Reverted { reason, .. }) => {
                    debug!(sequencer = id, %reason, "absent sequencer not jailed");
                }
                Err(error) => return Err(error.into()),
            }
            self.due.done(id);
        }
        Ok(())
    }
}

/// Whose turns the batches were that settled in the running epoch, and whether they posted any. What was tallied does not say
/// so yet.
fn running_turns(agent: &Agent, running: Epoch) -> Result<RunningTurns, DutyError> {
    let tip = agent.mirror.read().tip.as_ref().map(|tip| tip.number.get());
    let mut turns = RunningTurns::new();
    for number in (1..=tip.unwrap_or(0)).rev().take(LOOK_BACK) {
        let Some(batch) = agent.store.settled(BatchNumber::new(number))? else {
            break;
        };
        let mirror = agent.mirror.read();
        if mirror.params.epoch_at(batch.block.timestamp) < running {
            break;
        }
        if let Some(leader) = leader(&mirror, &batch) {
            *turns.entry(leader).or_default() |= batch.led;
        }
    }
    Ok(turns)
}

/// Who was to post a batch (R28).
fn leader(mirror: &Mirror, batch: &SettledBatch) -> Option<Address> {
    let set = mirror.set_for(batch.header.generation, batch.header.epoch)?;
    let turn = mirror.params.turn_of(batch.header.last_height);
    let index = draw(&set, turn, 0)?;
    set.members().get(index).map(|member| member.signer)
}
