//! Who is away: the duty to have absent members jailed (R35). Local policy: L1 would jail sooner.

use super::{Duty, DutyError, Watcher};
use crate::domain::{BatchNumber, Epoch, SettledBatch};
use crate::l1::{L1Error, Mirror, actions, reports};
use crate::rota::draw;
use alloy::primitives::Address;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// How often to look who is away.
const LOOK_FOR_ABSENT: Duration = Duration::from_secs(5);
/// Ended epochs whose turns are looked at: with the running one those that L1 looks at (R35).
const ENDED_EPOCHS: u64 = 7;
/// Settled batches that are looked back on at most, to see who is back.
const LOOK_BACK: usize = 1_024;

impl Watcher {
    /// Reports members that were absent over the epochs that have ended and still are: agents spare whoever is back by the
    /// next epoch, which is what a restart takes.
    pub(super) async fn report_absent(&mut self) -> Result<(), DutyError> {
        if self.looked_for_absent.is_some_and(|at| at.elapsed() < LOOK_FOR_ABSENT) {
            return Ok(());
        }
        self.looked_for_absent = Some(Instant::now());
        let (params, running, others) = {
            let mirror = self.mirror.read();
            let Some(head) = mirror.head else { return Ok(()) };
            let running = mirror.params.epoch_at(head.timestamp);
            let set = mirror.set_for(mirror.generation(), running);
            let others: Vec<(Address, u32)> = set
                .iter()
                .flat_map(|set| set.members())
                .filter(|member| member.signer != self.signer)
                .filter_map(|member| mirror.peers.get(&member.signer))
                .map(|peer| (peer.signer, peer.id.get()))
                .collect();
            (mirror.params.clone(), running, others)
        };
        let Some(ended) = running.get().checked_sub(1).map(Epoch::new) else { return Ok(()) };
        let first = Epoch::new(running.get().saturating_sub(ENDED_EPOCHS));
        for (signer, id) in others {
            let (client, deployment) = (self.account.client(), &self.deployment);
            let booked = reports::turns_between(client, deployment, id, first, ended).await?;
            if !booked.are_absence() {
                continue;
            }
            let poster = actions::sequencer(client, deployment, id).await?.poster;
            if !self.is_away(signer, poster, running)?
                || !self.is_turn(Duty::ReportAbsent(id), u64::from(id), &params)
            {
                continue;
            }
            match reports::report_missed_turns(&self.account, &self.deployment, id).await {
                Ok(case) => info!(sequencer = id, %case, "absent sequencer reported"),
                // Jailed already, or many are away.
                Err(L1Error::Reverted { reason, .. }) => {
                    debug!(sequencer = id, %reason, "absent sequencer not jailed");
                }
                Err(error) => return Err(error.into()),
            }
            self.due.remove(&Duty::ReportAbsent(id));
        }
        Ok(())
    }

    /// Whether batches of turns of `signer` settled in the running epoch, and it posted none of them. What was tallied does
    /// not say so yet.
    fn is_away(&self, signer: Address, poster: Address, running: Epoch) -> Result<bool, DutyError> {
        let tip = self.mirror.read().tip.as_ref().map(|tip| tip.number.get());
        let mut turns = Vec::new();
        for number in (1..=tip.unwrap_or(0)).rev().take(LOOK_BACK) {
            let Some(batch) = self.store.settled(BatchNumber::new(number))? else {
                break;
            };
            let mirror = self.mirror.read();
            if mirror.params.epoch_at(batch.block.timestamp) < running {
                break;
            }
            if leader(&mirror, &batch) == Some(signer) {
                turns.push(batch.poster == signer || batch.poster == poster);
            }
        }
        Ok(!turns.is_empty() && turns.iter().all(|posted| !posted))
    }
}

/// Who was to post a batch (R28).
fn leader(mirror: &Mirror, batch: &SettledBatch) -> Option<Address> {
    let set = mirror.set_for(batch.header.generation, batch.header.epoch)?;
    let turn = mirror.params.turn_of(batch.header.last_height);
    let index = draw(&set, turn, 0)?;
    set.members().get(index).map(|member| member.signer)
}
