//! The duty to execute the penalties of cases that are due.

use super::duty::{Agent, Due, Duty, DutyError};
use crate::domain::Seconds;
use crate::l1::{L1Error, duties};
use alloy::primitives::B256;
use futures::{StreamExt as _, stream};
use std::collections::BTreeMap;
use tracing::{debug, info};

/// Cases that are executed at the same time, and cases whose time L1 is asked for at one look.
const AT_ONCE: usize = 4;
const ASKED_AT_ONCE: usize = 8;

/// Executes cases that are due, each in its turn.
#[derive(Debug, Default)]
pub(super) struct Penalty {
    due: Due<B256>,
    /// From when cases can be executed. It does not change while a case is open.
    times: BTreeMap<B256, Seconds>,
}

impl Duty for Penalty {
    const NAME: &'static str = "penalty";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, cases, head) = {
            let mirror = agent.mirror.read();
            (mirror.params.clone(), mirror.open_cases.clone(), mirror.head)
        };
        let Some(head) = head else { return Ok(()) };
        self.times.retain(|case, _| cases.contains(case));
        let unknown: Vec<B256> =
            cases.iter().filter(|case| !self.times.contains_key(*case)).copied().collect();
        for case in unknown.into_iter().take(ASKED_AT_ONCE) {
            let client = agent.account.client();
            let at = duties::executable_at(client, &agent.deployment, case).await?;
            self.times.insert(case, at);
        }
        let mut due = Vec::new();
        for (case, at) in &self.times {
            let seed = u64::from(case.first().copied().unwrap_or_default());
            if head.timestamp >= *at && self.due.is_turn(agent, *case, seed, &params) {
                due.push(*case);
            }
        }
        let executed: Vec<(B256, Result<(), L1Error>)> = stream::iter(due)
            .map(|case| async move {
                (case, duties::execute_case(&agent.account, &agent.deployment, case).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut result = Ok(());
        for (case, executed) in executed {
            match executed {
                Ok(()) => info!(%case, "penalty executed"),
                Err(L1Error::Reverted { reason, .. }) => debug!(%case, %reason, "not executed"),
                // The others were tried nevertheless.
                Err(error) => {
                    result = Err(error.into());
                    continue;
                }
            }
            self.due.done(case);
            self.times.remove(&case);
        }
        result
    }
}
