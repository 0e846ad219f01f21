//! The duty to credit what signers earned (R42).

use super::duty::{Agent, Due, Duty, DutyError};
use crate::domain::{Epoch, Generation};
use crate::l1::L1Error;
use crate::l1::rewards::{self, WaitingEpoch};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How often to ask whether an epoch's rewards are due: epochs are long.
const LOOK_AT_CREDITS: Duration = Duration::from_secs(5);

/// Credits the first epoch whose rewards are due, in its turn: until then no added stake goes to work (R42).
#[derive(Debug, Default)]
pub(super) struct Credit {
    due: Due<(Generation, Epoch)>,
    /// When it was asked last whether rewards are due.
    looked: Option<Instant>,
}

impl Duty for Credit {
    const NAME: &'static str = "credit";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_AT_CREDITS) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let next = rewards::next_credit(agent.account.client(), &agent.deployment).await?;
        let Some(WaitingEpoch { generation, epoch, due: true }) = next else { return Ok(()) };
        let params = agent.mirror.read().params.clone();
        let duty = (generation, epoch);
        if !self.due.is_turn(agent, duty, epoch.get(), &params) {
            return Ok(());
        }
        match rewards::credit_epoch(&agent.account, &agent.deployment).await {
            Ok(wei) => info!(%epoch, %wei, "rewards credited"),
            Err(L1Error::Reverted { reason, .. }) => info!(%epoch, %reason, "rewards not credited"),
            Err(error) => return Err(error.into()),
        }
        self.due.done(duty);
        Ok(())
    }
}
