//! The duty to take the steps of a restart (R33).

use super::duty::{Agent, Due, Duty, DutyError};
use super::restart::{FinishingTurn, RestartPlan, finishing_turn, restart_plan};
use crate::config::RestartDuty;
use crate::l1::L1Error;
use crate::l1::restart::{self as l1_restart, Finishing};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// L1 blocks after which a step of a restart that L1 still does not show is tried again.
const RETRY_BLOCKS: u64 = 10;

/// Takes the next step of a restart, as far as it is this agent's to take.
#[derive(Debug)]
pub(super) struct Revive {
    due: Due<RestartPlan>,
    allowed: RestartDuty,
    /// The last step that L1 answered, and when: the mirror shows it a little later.
    tried: Option<(RestartPlan, Instant)>,
}

impl Revive {
    pub(super) fn new(allowed: RestartDuty) -> Self {
        Self { due: Due::default(), allowed, tried: None }
    }
}

impl Duty for Revive {
    const NAME: &'static str = "restart";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let plan = restart_plan(&agent.mirror.read(), agent.signer, self.allowed);
        let params = agent.mirror.read().params.clone();
        let pause = Duration::from_secs(params.l1_block_seconds.saturating_mul(RETRY_BLOCKS));
        let tried = |plan: &RestartPlan| {
            self.tried.is_some_and(|(last, at)| last == *plan && at.elapsed() < pause)
        };
        let Some(plan) = plan.filter(|plan| !tried(plan)) else { return Ok(()) };
        // Whose turn the end is says [`finishing_turn`]; to check in is nobody else's.
        if let RestartPlan::Open { since } = plan
            && !self.due.is_turn(agent, plan, since.get(), &params)
        {
            return Ok(());
        }
        let (account, deployment) = (&agent.account, &agent.deployment);
        let done = match plan {
            RestartPlan::Open { .. } => l1_restart::open(account, deployment).await.map(drop),
            RestartPlan::CheckIn { id, .. } | RestartPlan::Return { id, .. } => {
                l1_restart::check_in(account, deployment, id).await
            }
            RestartPlan::Finish { .. } => {
                let turn = finishing_turn(&agent.mirror.read(), agent.signer);
                let FinishingTurn { closes, patience } = turn;
                match l1_restart::finish(account, deployment, closes, patience).await {
                    // The next step is due as soon as L1 has the block.
                    Ok(Finishing::Open | Finishing::Closed | Finishing::Waiting { .. }) => {
                        return Ok(());
                    }
                    done => done.map(drop),
                }
            }
        };
        match done {
            Ok(()) => info!(?plan, "step of a restart taken"),
            Err(L1Error::Reverted { reason, .. }) => {
                info!(?plan, %reason, "step of a restart not taken");
            }
            Err(error) => return Err(error.into()),
        }
        self.tried = Some((plan, Instant::now()));
        Ok(())
    }
}
