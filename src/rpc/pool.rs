//! `txpool_*`: what waits here, of one rollup.

use crate::domain::SignedTransaction;
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::{RpcError, view};
use alloy::consensus::Transaction as _;
use alloy::primitives::{Address, U64};
use alloy::rpc::types::Transaction;
use serde::Serialize;
use std::collections::BTreeMap;

/// Transactions that are listed at a time.
const LISTED: usize = 4_096;

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "txpool_status", params: &[], run: Run::Dear(status) },
    Method { name: "txpool_content", params: &[], run: Run::Dear(content) },
    Method { name: "txpool_contentFrom", params: &["address"], run: Run::Dear(content_from) },
    Method { name: "txpool_inspect", params: &[], run: Run::Dear(inspect) },
];

/// What a block could take now, and what waits for lower nonces.
#[derive(Serialize)]
struct Parts<T> {
    pending: T,
    queued: T,
}

/// By nonce, in decimal.
type ByNonce<T> = BTreeMap<String, T>;

fn status(call: &Call<'_>) -> Answer {
    let (ready, parked) = call.context().pool.count_of(call.rollup()?);
    call.touch(ready.saturating_add(parked) / 64);
    let count = |number: usize| U64::from(number);
    call.answer(Parts { pending: count(ready), queued: count(parked) })
}

/// Lists what waits, by sender: all of it, or an error.
fn by_sender<T>(
    call: &Call<'_>,
    sender: Option<Address>,
    show: impl Fn(Transaction) -> T,
) -> Result<Parts<BTreeMap<Address, ByNonce<T>>>, RpcError> {
    let lanes = call.context().pool.content(call.rollup()?, sender, LISTED.saturating_add(1));
    let listed: usize = lanes
        .iter()
        .map(|lane| lane.ready.len().saturating_add(lane.parked.len()))
        .fold(0, usize::saturating_add);
    call.touch(listed);
    if listed > LISTED {
        return Err(RpcError::TooMany { what: "transactions to list at once", limit: LISTED });
    }
    let shown = |part: Vec<SignedTransaction>| -> Result<ByNonce<T>, RpcError> {
        let each =
            part.iter().map(|signed| Ok((signed.nonce.to_string(), show(view::pending(signed)?))));
        each.collect()
    };
    let (mut pending, mut queued) = (BTreeMap::new(), BTreeMap::new());
    for lane in lanes {
        if !lane.ready.is_empty() {
            pending.insert(lane.sender, shown(lane.ready)?);
        }
        if !lane.parked.is_empty() {
            queued.insert(lane.sender, shown(lane.parked)?);
        }
    }
    Ok(Parts { pending, queued })
}

fn content(call: &Call<'_>) -> Answer {
    call.answer(by_sender(call, None, |transaction| transaction)?)
}

fn content_from(call: &Call<'_>) -> Answer {
    let sender = call.arguments.address(0, "address")?;
    let Parts { mut pending, mut queued } = by_sender(call, Some(sender), |one| one)?;
    call.answer(Parts {
        pending: pending.remove(&sender).unwrap_or_default(),
        queued: queued.remove(&sender).unwrap_or_default(),
    })
}

fn inspect(call: &Call<'_>) -> Answer {
    let in_words = |transaction: Transaction| {
        let inner = transaction.inner.inner();
        let to = inner.to().map_or("contract creation".to_owned(), |to| to.to_string());
        let (value, gas, fee) = (inner.value(), inner.gas_limit(), inner.max_fee_per_gas());
        format!("{to}: {value} wei + {gas} gas × {fee} wei")
    };
    call.answer(by_sender(call, None, in_words)?)
}
