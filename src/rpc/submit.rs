//! `eth_sendRawTransaction`, and its form that waits (EIP-7966).

use crate::blocking::blocking;
use crate::domain::{RollupId, authorizations_listed};
use crate::rpc::methods::{Method, Run, encode, registered_rollup};
use crate::rpc::service::{Caller, Shared};
use crate::rpc::view::RollupBlock;
use crate::rpc::{RpcError, arguments::Arguments};
use alloy::primitives::B256;
use alloy::rpc::types::TransactionReceipt;
use std::time::{Duration, Instant};

/// How long a client waits for a decision if it does not say.
const SYNC_DEFAULT: Duration = Duration::from_secs(2);

/// How long it may wait at most; a longer time is taken as this. Shorter than a request may take by default.
const SYNC_MOST: Duration = Duration::from_secs(20);

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "eth_sendRawTransaction", params: &["transaction"], run: Run::Submit },
    Method {
        name: "eth_sendRawTransactionSync",
        params: &["transaction", "timeout"],
        run: Run::SubmitAndWait,
    },
];

/// Answers with the hash once the transaction is on disk.
pub(super) async fn submit(
    shared: &Shared,
    caller: &Caller,
    arguments: &Arguments,
) -> Result<(RollupId, B256), RpcError> {
    let raw = arguments.bytes(0, "transaction")?;
    let rollup = registered_rollup(&shared.context, &caller.endpoint)?;
    // Each asks for a recovery, as the sender does.
    let listed = u32::try_from(authorizations_listed(&raw)).unwrap_or(u32::MAX);
    caller.guest.charge(listed, Instant::now());
    Ok((rollup, shared.context.intake.submit(rollup, raw).await?))
}

/// Answers with the receipt once the transaction is decided. What is not within the time is an error that names the hash;
/// the transaction stays accepted all the same.
pub(super) async fn submit_and_wait(
    shared: &Shared,
    caller: &Caller,
    arguments: &Arguments,
    room: usize,
) -> Result<String, RpcError> {
    let given = arguments.number(1, "timeout")?.map(Duration::from_millis);
    let waited = given.unwrap_or(SYNC_DEFAULT).min(SYNC_MOST);
    let mut decided = shared.context.decided.clone();
    decided.mark_unchanged();
    let (rollup, hash) = submit(shared, caller, arguments).await?;
    let waiting = async {
        loop {
            if let Some(receipt) = receipt(shared, rollup, hash).await? {
                return encode(&receipt, room);
            }
            if let Some(signed) = shared.context.pool.get(hash) {
                let expected = shared.context.pool.pending_nonce(rollup, signed.sender);
                if expected < signed.nonce {
                    return Err(RpcError::NonceGap { hash, expected });
                }
            }
            if decided.changed().await.is_err() {
                return Err(RpcError::internal("the agent stops"));
            }
        }
    };
    tokio::time::timeout(waited, waiting)
        .await
        .unwrap_or(Err(RpcError::NotDecidedYet { hash, waited }))
}

async fn receipt(
    shared: &Shared,
    rollup: RollupId,
    hash: B256,
) -> Result<Option<TransactionReceipt>, RpcError> {
    let store = shared.context.store.clone();
    let Some(place) = store.place_of(rollup, hash)? else { return Ok(None) };
    blocking(move || {
        let Some(block) = RollupBlock::read(&store, rollup, place.height())? else {
            return Ok(None);
        };
        block.index_of(hash).map(|index| block.receipt(index)).transpose()
    })
    .await
}
