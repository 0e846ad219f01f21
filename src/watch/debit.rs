//! The duty to debit rollups for what settled of them (R43).

use super::duty::{Agent, Due, Duty, DutyError};
use crate::batch::{Usage, usage, usage_hash};
use crate::domain::{BatchNumber, Height, SettledBatch};
use crate::l1::{L1Error, duties};
use crate::storage::{Store, StoreError};
use tracing::info;

/// Batches whose rollups are debited in one transaction: those from a multiple of it on. L1 marks 256 batches in a word.
const DEBIT_AT_ONCE: u64 = 16;
/// How many settled batches an agent that starts looks back on for debits that nobody made.
const DEBIT_BACK: u64 = 256;

/// Debits rollups for a group of batches once all of it is settled for good, in its turn.
#[derive(Debug, Default)]
pub(super) struct Debit {
    /// Groups of [`DEBIT_AT_ONCE`] batches.
    due: Due<u64>,
    /// The first group that may not be debited yet; none before the settled chain was seen.
    next_debit: Option<u64>,
}

impl Duty for Debit {
    const NAME: &'static str = "debit";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, depth, tip) = {
            let mirror = agent.mirror.read();
            (mirror.params.clone(), mirror.at_depth, mirror.tip.as_ref().map(|tip| tip.number))
        };
        let Some(tip) = tip else { return Ok(()) };
        let oldest = tip.get().saturating_sub(DEBIT_BACK) / DEBIT_AT_ONCE;
        let group = *self.next_debit.get_or_insert(oldest);
        let first = group.saturating_mul(DEBIT_AT_ONCE);
        let last = first.saturating_add(DEBIT_AT_ONCE).saturating_sub(1);
        let newest = agent.store.settled(BatchNumber::new(last))?;
        let settled_deep =
            |batch: &SettledBatch| depth.is_some_and(|depth| batch.block.number <= depth.number);
        if newest.as_ref().is_none_or(|batch| !settled_deep(batch)) {
            return Ok(());
        }
        let word = duties::debited(agent.account.client(), &agent.deployment, first / 256).await?;
        let mut due = Vec::new();
        for number in first.max(1)..=last {
            let bit = usize::try_from(number % 256).expect("a remainder of 256 fits");
            if !word.bit(bit)
                && let Some(one) = usage_of(&agent.store, BatchNumber::new(number))?
            {
                due.push(one);
            }
        }
        if due.is_empty() {
            self.next_debit = Some(group.saturating_add(1));
            self.due.done(group);
            return Ok(());
        }
        if !self.due.is_turn(agent, group, group, &params) {
            return Ok(());
        }
        match duties::debit(&agent.account, &agent.deployment, &due).await {
            Ok(()) => info!(first, last, batches = due.len(), "rollups debited"),
            Err(L1Error::Reverted { reason, .. }) => {
                info!(first, last, %reason, "rollups not debited");
                self.next_debit = Some(group.saturating_add(1));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// A settled batch and what its rollups take of it, if they take anything and its blocks are known here.
fn usage_of(
    store: &Store,
    number: BatchNumber,
) -> Result<Option<(SettledBatch, Vec<Usage>)>, StoreError> {
    let Some(batch) = store.settled(number)? else { return Ok(None) };
    let mut blocks = Vec::new();
    for height in batch.header.first_height.get()..=batch.header.last_height.get() {
        let Some(decided) = store.block(Height::new(height))? else { return Ok(None) };
        blocks.push(decided.block);
    }
    let usage = usage(&blocks);
    // What a quorum committed to may be another list than its blocks have: L1 takes no other.
    let as_settled = !usage.is_empty() && usage_hash(&usage) == batch.header.usage_hash;
    Ok(as_settled.then_some((batch, usage)))
}
