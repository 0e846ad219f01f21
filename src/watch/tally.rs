//! The duty to book what settled.

use super::duty::{Agent, Due, Duty, DutyError};
use crate::domain::{BatchNumber, SettledBatch};
use crate::l1::{L1Error, duties};
use crate::storage::{Store, StoreError};
use tracing::{debug, info};

/// Batches that are booked in one transaction, and how many must wait for it to be worth while within an epoch.
pub(super) const TALLY_AT_ONCE: usize = 20;

/// Books what settled, in its turn: a full run of batches, or a shorter one once an epoch has ended since its first batch
/// settled, so that nobody's pay waits for traffic.
#[derive(Debug, Default)]
pub(super) struct Tally {
    due: Due<BatchNumber>,
}

impl Duty for Tally {
    const NAME: &'static str = "tally";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, head, depth) = {
            let mirror = agent.mirror.read();
            (mirror.params.clone(), mirror.head, mirror.at_depth)
        };
        let (Some(head), Some(depth)) = (head, depth) else { return Ok(()) };
        let next = duties::next_tally(agent.account.client(), &agent.deployment).await?;
        let batches = settled_from(&agent.store, next, depth.number)?;
        let Some(first) = batches.first() else { return Ok(()) };
        let ended = params.epoch_at(first.block.timestamp) < params.epoch_at(head.timestamp);
        let full = batches.len() == TALLY_AT_ONCE;
        if !(full || ended) || !self.due.is_turn(agent, next, next.get(), &params) {
            return Ok(());
        }
        let count = batches.len();
        match duties::tally(&agent.account, &agent.deployment, &batches).await {
            Ok(()) => info!(first = %next, count, "batches tallied"),
            Err(L1Error::Reverted { reason, .. }) => debug!(first = %next, %reason, "not tallied"),
            Err(error) => return Err(error.into()),
        }
        self.due.done(next);
        Ok(())
    }
}

/// Batches from `first` on that no reorg moves, as many as are tallied at once: a transaction that fails is paid for.
fn settled_from(
    store: &Store,
    first: BatchNumber,
    depth: u64,
) -> Result<Vec<SettledBatch>, StoreError> {
    let mut batches = Vec::new();
    for number in (first.get()..).take(TALLY_AT_ONCE) {
        match store.settled(BatchNumber::new(number))? {
            // Nobody can show L1 the header of a batch that cannot be read.
            Some(batch) if batch.block.number <= depth && !batch.is_unread() => batches.push(batch),
            _ => break,
        }
    }
    Ok(batches)
}
