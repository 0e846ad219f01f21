//! What senders of forced transactions are owed whose entries came late (R30), from L1's events alone. Used by the CLI.

use super::account::{Account, Order};
use super::actions::event;
use super::bindings::{IForcedInbox, IRewardPool, ITally, LateEntries};
use super::client::Client;
use super::error::L1Error;
use crate::domain::{BatchNumber, Deployment, RollupId};
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use std::collections::BTreeSet;

/// Blocks of one request for logs.
const RANGE_BLOCKS: u64 = 2_000;

/// An entry that came late with a batch, and is not compensated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its number in the forced queue.
    pub index: u64,
    /// The batch that consumed it.
    pub batch: BatchNumber,
    /// The rollup that it was enqueued for.
    pub rollup: RollupId,
    /// Who enqueued it.
    pub sender: Address,
    /// Keccak of its bytes.
    pub transaction_hash: B256,
    /// What its sender gets, in wei.
    pub amount_wei: U256,
}

/// Entries of `sender` that came late with a tallied batch and are not compensated yet, in the order of the queue. A batch
/// that nobody has tallied, or for which the pool had nothing, owes nothing.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn owed(
    client: &Client,
    deployment: &Deployment,
    sender: Address,
) -> Result<Vec<Owed>, L1Error> {
    let late = late_batches(client, deployment).await?;
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let topic = sender.into_word();
    let paid = Filter::new()
        .address(deployment.reward_pool)
        .event_signature(IRewardPool::SenderCredited::SIGNATURE_HASH)
        .topic1(topic);
    let paid: BTreeSet<u64> = events::<IRewardPool::SenderCredited>(client, deployment, paid)
        .await?
        .into_iter()
        .map(|event| event.entry)
        .collect();
    let enqueued = Filter::new()
        .address(deployment.settlement)
        .event_signature(IForcedInbox::ForcedEnqueued::SIGNATURE_HASH)
        .topic3(topic);
    let enqueued = events::<IForcedInbox::ForcedEnqueued>(client, deployment, enqueued).await?;

    let mut owed = Vec::new();
    for entry in enqueued {
        let with = late.iter().find(|late| late.holds(entry.index));
        let Some(late) = with.filter(|_| !paid.contains(&entry.index)) else { continue };
        owed.push(Owed {
            index: entry.index,
            batch: late.batch,
            rollup: RollupId::new(entry.rollup),
            sender: entry.sender,
            transaction_hash: keccak256(&entry.transaction),
            amount_wei: late.part_of(entry.feeWei),
        });
    }
    Ok(owed)
}

/// Puts what is owed for an entry in its sender's name; the sender claims it as a poster does. Anyone may call. Returns how
/// much it was, in wei.
///
/// # Errors
///
/// [`L1Error::Reverted`] when somebody else was faster, or what is in the way to L1.
pub async fn compensate(
    account: &Account,
    deployment: &Deployment,
    owed: &Owed,
) -> Result<U256, L1Error> {
    let call = ITally::compensateCall {
        batch: owed.batch.get(),
        index: owed.index,
        rollup: owed.rollup.get(),
        sender: owed.sender,
        transactionHash: owed.transaction_hash,
    };
    let receipt = account.execute(&Order::call(deployment.tally, &call)).await?;
    Ok(event::<IRewardPool::SenderCredited>(&receipt)?.amountWei)
}

/// A batch for whose late entries something is set aside.
struct LateBatch {
    batch: BatchNumber,
    entries: LateEntries,
    whole_wei: U256,
}

impl LateBatch {
    fn holds(&self, index: u64) -> bool {
        (self.entries.first..self.entries.through).contains(&index)
    }

    /// As [`ITally::compensateCall`] rounds it: down.
    fn part_of(&self, fee_wei: U256) -> U256 {
        let fees = U256::from(self.entries.feesWei);
        let product = self.whole_wei.saturating_mul(fee_wei);
        product.checked_div(fees).unwrap_or_default()
    }
}

async fn late_batches(client: &Client, deployment: &Deployment) -> Result<Vec<LateBatch>, L1Error> {
    let filter = Filter::new()
        .address(deployment.reward_pool)
        .event_signature(IRewardPool::SendersReserved::SIGNATURE_HASH);
    let mut late = Vec::new();
    for event in events::<IRewardPool::SendersReserved>(client, deployment, filter).await? {
        let call = IForcedInbox::lateEntriesCall { batch: event.batch };
        let entries = client.call(deployment.settlement, &call).await?;
        let batch = BatchNumber::new(event.batch);
        late.push(LateBatch { batch, entries, whole_wei: event.amountWei });
    }
    Ok(late)
}

/// All events of a kind since the deployment, in order.
async fn events<E: SolEvent>(
    client: &Client,
    deployment: &Deployment,
    filter: Filter,
) -> Result<Vec<E>, L1Error> {
    let head = client.head().await?.number;
    let mut found = Vec::new();
    let mut next = deployment.block;
    while next <= head {
        let end = next.saturating_add(RANGE_BLOCKS).saturating_sub(1).min(head);
        let logs = client.logs(&filter.clone().from_block(next).to_block(end)).await?;
        for log in logs {
            found.push(decode(&log)?);
        }
        next = end.saturating_add(1);
    }
    Ok(found)
}

fn decode<E: SolEvent>(log: &Log) -> Result<E, L1Error> {
    let event = E::decode_log(&log.inner);
    event.map(|event| event.data).map_err(|_| L1Error::BadAnswer { what: E::SIGNATURE })
}
