//! The duty to let the churn queues move.

use super::duty::{Agent, Due, Duty, DutyError};
use crate::domain::Epoch;
use crate::l1::{L1Error, duties, rewards};
use tracing::{debug, info};

/// Places of each churn queue that one transaction moves, each for 30,000 gas, or 1,000,000 where it evicts somebody.
const FLUSH_AT_ONCE: u64 = 16;

/// Lets the churn queues move, once an epoch, in its turn. Whoever waits there can do it without us.
#[derive(Debug, Default)]
pub(super) struct Flush {
    due: Due<Epoch>,
    /// The epoch in which nothing more waits in the churn queues, or can move.
    flushed: Option<Epoch>,
}

impl Duty for Flush {
    const NAME: &'static str = "flush";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, epoch) = {
            let mirror = agent.mirror.read();
            let Some(head) = mirror.head else { return Ok(()) };
            (mirror.params.clone(), mirror.params.epoch_at(head.timestamp))
        };
        if self.flushed == Some(epoch) || !self.due.is_turn(agent, epoch, epoch.get(), &params) {
            return Ok(());
        }
        if duties::waiting_churn(agent.account.client(), &agent.deployment).await? == 0 {
            self.flushed = Some(epoch);
            return Ok(());
        }
        match duties::flush(&agent.account, &agent.deployment, FLUSH_AT_ONCE).await {
            Ok(()) => info!(%epoch, "churn queues flushed"),
            // Somebody was faster, or the epoch's limit is used up; or deposits wait until what is over is credited.
            Err(L1Error::Reverted { reason, .. }) => {
                debug!(%epoch, %reason, "churn queues not flushed");
                if rewards::is_up_to_date(agent.account.client(), &agent.deployment).await? {
                    self.flushed = Some(epoch);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
