//! Letting in what waited in the forced queue for too long (R32), when no batch comes that brings it along.

use super::duty::{Agent, Due, Duty, DutyError};
use crate::l1::{L1Error, force};
use tracing::{debug, info};

/// Escapes once the first entry that waits is open, each member in its turn.
#[derive(Debug, Default)]
pub(super) struct Escape {
    due: Due<u64>,
}

impl Duty for Escape {
    const NAME: &'static str = "escape";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, head) = {
            let mirror = agent.mirror.read();
            let Some(head) = mirror.head.filter(|_| mirror.forced.waiting() > 0) else {
                return Ok(());
            };
            (mirror.params.clone(), head)
        };
        let (client, deployment) = (agent.account.client(), &agent.deployment);
        let state = force::state(client, deployment, &params).await?;
        let is_open = state.escape_open_from.is_some_and(|from| from <= head.timestamp);
        if !is_open || !self.due.is_turn(agent, state.consumed, state.consumed, &params) {
            return Ok(());
        }
        match force::escape(&agent.account, deployment).await {
            Ok((first, through)) => info!(first, through, "let in what waited in the forced queue"),
            // Somebody was faster.
            Err(L1Error::Reverted { reason, .. }) => debug!(%reason, "nothing was let in"),
            Err(error) => return Err(error.into()),
        }
        self.due.done(state.consumed);
        Ok(())
    }
}
