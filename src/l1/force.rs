//! What users do with the forced queue: they need L1 alone, no agent (R31, R32).

use super::account::{Account, Order};
use super::actions::event;
use super::bindings::IForcedInbox;
use super::client::{Client, Finality};
use super::error::L1Error;
use super::ranges::{self, Span};
use crate::domain::{Deployment, L1Block, Params, RollupTransaction, Seconds};
use alloy::primitives::{B256, U256};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent as _;

/// Consumed entries among which a transaction is looked for too: as many as one escape consumes.
const LOOK_BACK: u64 = 1_024;
/// Of them only those that were enqueued within so many L1 blocks: a week where a block takes twelve seconds.
const LOOK_BACK_BLOCKS: u64 = 50_000;

/// An entry that was just enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its number in the queue.
    pub index: u64,
    /// What was burned for it.
    pub fee_wei: U256,
    /// Number of the L1 block that holds it.
    pub block: u64,
    /// The L1 transaction that enqueued it.
    pub tx_hash: B256,
}

/// Where the queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Entries ever enqueued.
    pub length: u64,
    /// Of them, consumed by batches or by escape.
    pub consumed: u64,
    /// When the first one that waits is open to escape; `None` if none waits.
    pub escape_open_from: Option<Seconds>,
}

/// Enqueues a transaction for its rollup, and burns what the queue asks for at this moment.
///
/// # Errors
///
/// [`L1Error::Reverted`] when the rollup is not registered, the bytes are too many, or the fee rose meanwhile; else what is
/// in the way to L1.
pub async fn enqueue(
    account: &Account,
    deployment: &Deployment,
    transaction: RollupTransaction,
) -> Result<Enqueued, L1Error> {
    let client = account.client();
    let fee_wei = client.call(deployment.settlement, &IForcedInbox::forcedFeeCall {}).await?;
    let RollupTransaction { rollup, raw } = transaction;
    let call = IForcedInbox::forceCall { rollup: rollup.get(), transaction: raw };
    let order = Order::call(deployment.settlement, &call).with_value(fee_wei);
    let receipt = account.execute(&order).await?;
    let enqueued = event::<IForcedInbox::ForcedEnqueued>(&receipt)?;
    Ok(Enqueued {
        index: enqueued.index,
        fee_wei: enqueued.feeWei,
        block: receipt.block_number.ok_or(L1Error::BadAnswer { what: "receipt" })?,
        tx_hash: receipt.transaction_hash,
    })
}

/// Lets in what is open to escape, up to 1,024 entries. Returns the first of them and the one after the last.
///
/// # Errors
///
/// [`L1Error::Reverted`] when nothing is open; else what is in the way to L1.
pub async fn escape(account: &Account, deployment: &Deployment) -> Result<(u64, u64), L1Error> {
    let order = Order::call(deployment.settlement, &IForcedInbox::escapeCall {});
    let receipt = account.execute(&order).await?;
    let escaped = event::<IForcedInbox::ForcedEscaped>(&receipt)?;
    Ok((escaped.first, escaped.through))
}

/// Looks for a transaction in the queue: among the entries that wait, and the last [`LOOK_BACK`] that were consumed, if they are
/// not older than [`LOOK_BACK_BLOCKS`]. Returns the number of the newest entry that holds it.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn find(
    client: &Client,
    deployment: &Deployment,
    transaction: &RollupTransaction,
) -> Result<Option<u64>, L1Error> {
    let settlement = deployment.settlement;
    let consumed = client.call(settlement, &IForcedInbox::forcedConsumedCall {}).await?;
    let length = client.call(settlement, &IForcedInbox::forcedLengthCall {}).await?;
    let oldest = consumed.saturating_sub(LOOK_BACK);
    if oldest >= length {
        return Ok(None);
    }
    let block_of = async |index| {
        let entry = client.call(settlement, &IForcedInbox::forcedEntryCall { index }).await?;
        Ok::<u64, L1Error>(entry.enqueuedAtBlock)
    };
    let head = client.head().await?.number;
    let mut next = block_of(oldest).await?.max(head.saturating_sub(LOOK_BACK_BLOCKS));
    if consumed < length {
        next = next.min(block_of(consumed).await?);
    }
    let filter = Filter::new()
        .address(settlement)
        .event_signature(IForcedInbox::ForcedEnqueued::SIGNATURE_HASH)
        .topic2(B256::from(U256::from(transaction.rollup.get())));
    let mut span = Span::default();
    let mut found = None;
    while next <= head {
        let (logs, end) = ranges::next(client, &filter, next, head, &mut span).await?;
        for log in logs {
            let entry = IForcedInbox::ForcedEnqueued::decode_log(&log.inner)
                .map_err(|_| L1Error::BadAnswer { what: "forced entry" })?;
            if entry.transaction == transaction.raw {
                found = Some(entry.index);
            }
        }
        // There is nothing behind the last block that a number can name, whatever head a node tells.
        let Some(after) = end.checked_add(1) else { break };
        next = after;
    }
    Ok(found)
}

/// Where the queue stands.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn state(
    client: &Client,
    deployment: &Deployment,
    params: &Params,
) -> Result<QueueState, L1Error> {
    let settlement = deployment.settlement;
    let consumed = client.call(settlement, &IForcedInbox::forcedConsumedCall {}).await?;
    let length = client.call(settlement, &IForcedInbox::forcedLengthCall {}).await?;
    let escape_open_from = match consumed < length {
        true => {
            let call = IForcedInbox::forcedEntryCall { index: consumed };
            let first = client.call(settlement, &call).await?;
            Some(escape_open_from(params, Seconds::new(first.enqueuedAt)))
        }
        false => None,
    };
    Ok(QueueState { length, consumed, escape_open_from })
}

/// When an entry was enqueued, and the time of the newest L1 block.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn times(
    client: &Client,
    deployment: &Deployment,
    index: u64,
) -> Result<(Seconds, Seconds), L1Error> {
    let call = IForcedInbox::forcedEntryCall { index };
    let entry = client.call(deployment.settlement, &call).await?;
    Ok((Seconds::new(entry.enqueuedAt), client.head().await?.timestamp))
}

/// L1 time from which an entry that was enqueued at `enqueued` can escape, once it is the first that waits.
pub const fn escape_open_from(params: &Params, enqueued: Seconds) -> Seconds {
    let deadline = params.forced_deadline_blocks.saturating_mul(params.l1_block_seconds);
    let delay = deadline.saturating_add(params.escape_delay_seconds);
    Seconds::new(enqueued.get().saturating_add(delay))
}

/// The newest L1 block, and the number of the newest one that L1 does not take back: by finality where L1 has it, else by
/// the deployment's depth.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn head_and_final(client: &Client, params: &Params) -> Result<(L1Block, u64), L1Error> {
    let head = client.head().await?;
    let number = match client.finality().await? {
        Finality::At(block) => block.number.min(head.number),
        Finality::None | Finality::Untold => head.number.saturating_sub(params.origin_depth_blocks),
    };
    Ok((head, number))
}
