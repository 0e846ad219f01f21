//! The duty to seal the next epoch's set.

use super::duty::{Agent, Duty, DutyError};
use super::turns::{SealPlan, seal_plan};
use crate::domain::Epoch;
use crate::l1::L1Error;
use crate::l1::actions::{self, SealStep};
use tracing::{debug, info};

/// Freezes the next epoch's set and pins its seed, and seals it once that is there, when it is this agent's tenth of the window, or late.
#[derive(Debug, Default)]
pub(super) struct Seal {
    /// The seal that L1 refused last, and in which tenth of the window.
    refused: Option<(Epoch, u64)>,
}

impl Duty for Seal {
    const NAME: &'static str = "seal";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let plan = seal_plan(&agent.mirror.read(), agent.signer);
        let Some(SealPlan { epoch, tenth, pins, patience }) = plan else { return Ok(()) };
        if self.refused == Some((epoch, tenth)) {
            return Ok(());
        }
        match actions::seal(&agent.account, &agent.deployment, epoch, pins, patience).await {
            Ok(SealStep::Pinned) => {
                info!(%epoch, "set frozen, seed pinned");
                Ok(())
            }
            // Asked again with the next L1 block; by whoever's turn it is then.
            Ok(SealStep::Unpinned | SealStep::Waiting { .. }) => Ok(()),
            Ok(SealStep::Sealed) => {
                info!(%epoch, "set sealed");
                Ok(())
            }
            // Somebody was faster, too few are eligible, or too little of the epoch is left: the set before carries. Asked
            // again in the next tenth.
            Err(L1Error::Reverted { reason, .. }) => {
                debug!(%epoch, %reason, "set not sealed");
                self.refused = Some((epoch, tenth));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
