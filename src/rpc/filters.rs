//! Filters, which clients ask again and again for what is new, and logs, of which an order has none.

use crate::domain::{Generation, Height, RollupId};
use crate::mempool::Pending;
use crate::rpc::arguments::{Arguments, BlockReference, block_reference, prefixed};
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::visitors::Held;
use crate::rpc::{RpcContext, RpcError, view};
use alloy::primitives::{Address, B256};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

/// A filter that nobody asked for this long is gone.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one question is answered with at most; the rest waits for the next one.
const AT_ONCE: usize = 256;

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "eth_getLogs", params: &["filter"], run: Run::Now(logs) },
    Method {
        name: "eth_newFilter",
        params: &["filter"],
        run: Run::Filter(|call| check_criteria(call, 0).map(|()| Kind::Logs)),
    },
    Method { name: "eth_newBlockFilter", params: &[], run: Run::Filter(new_blocks) },
    Method {
        name: "eth_newPendingTransactionFilter",
        params: &["full"],
        run: Run::Filter(new_pending),
    },
    Method { name: "eth_getFilterChanges", params: &["filter"], run: Run::Now(changes) },
    Method { name: "eth_getFilterLogs", params: &["filter"], run: Run::Now(filter_logs) },
    Method { name: "eth_uninstallFilter", params: &["filter"], run: Run::Now(uninstall) },
    Method { name: "eth_subscribe", params: &["kind", "options"], run: Run::Subscribe },
    Method { name: "eth_unsubscribe", params: &["subscription"], run: Run::Unsubscribe },
];

/// What a filter looks for, and how far it has told.
#[derive(Debug)]
pub(super) enum Kind {
    /// Hashes of decided blocks.
    Blocks { generation: Generation, told: Height },
    /// Hashes of transactions that this agent's clients submit to a rollup.
    Pending { rollup: RollupId, feed: broadcast::Receiver<Arc<Pending>> },
    /// Nothing: there are no logs.
    Logs,
}

#[derive(Debug)]
struct Filter {
    kind: Kind,
    asked: Instant,
    _held: Held,
}

/// All filters, by their id.
#[derive(Debug, Default)]
pub(super) struct Filters {
    known: Mutex<HashMap<u128, Filter>>,
}

/// A text that nobody guesses.
pub(super) fn new_id() -> u128 {
    rand::random()
}

/// Ids are hexadecimal texts, as those of all Ethereum nodes.
pub(super) fn shown(id: u128) -> String {
    format!("{id:#x}")
}

/// Reads an id.
pub(super) fn id(arguments: &Arguments, field: &'static str) -> Result<u128, RpcError> {
    arguments.required(0, field, "the hexadecimal text that was given", |value| {
        let digits = prefixed(value)?.strip_prefix("0x")?;
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u128::from_str_radix(plain.then_some(digits)?, 16).ok()
    })
}

impl Filters {
    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Filter>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops filters that nobody asks any more.
    pub(super) fn expire(&self, now: Instant) {
        self.lock().retain(|_, filter| now.saturating_duration_since(filter.asked) < PATIENCE);
    }

    /// Keeps a filter.
    pub(super) fn add(&self, kind: Kind, held: Held, now: Instant) -> String {
        let id = new_id();
        self.lock().insert(id, Filter { kind, asked: now, _held: held });
        shown(id)
    }

    /// Looks at a filter that a client asks.
    fn ask<T>(
        &self,
        id: u128,
        now: Instant,
        look: impl FnOnce(&mut Kind) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.expire(now);
        let mut known = self.lock();
        let filter = known.get_mut(&id).ok_or(RpcError::NoFilter)?;
        filter.asked = now;
        look(&mut filter.kind)
    }
}

fn new_blocks(call: &Call<'_>) -> Result<Kind, RpcError> {
    call.rollup()?;
    let (generation, told) = call.context().store.standing()?;
    Ok(Kind::Blocks { generation, told })
}

fn new_pending(call: &Call<'_>) -> Result<Kind, RpcError> {
    if call.arguments.flag(0, "full")? {
        return Err(call.arguments.invalid(0, "full", "false: a filter tells hashes"));
    }
    Ok(Kind::Pending { rollup: call.rollup()?, feed: call.context().pool.feed().listen() })
}

fn changes(call: &Call<'_>) -> Answer {
    let id = id(&call.arguments, "filter")?;
    let new = call.shared.filters.ask(id, Instant::now(), |kind| match kind {
        Kind::Logs => Ok(Vec::new()),
        Kind::Blocks { generation, told } => blocks_after(call.context(), generation, told),
        Kind::Pending { rollup, feed } => Ok(submitted(*rollup, feed)),
    })?;
    call.touch(new.len() / 8);
    call.answer(new)
}

/// Hashes of what was submitted since the last question. Of more than the feed holds the oldest are not told.
fn submitted(rollup: RollupId, feed: &mut broadcast::Receiver<Arc<Pending>>) -> Vec<B256> {
    let mut hashes = Vec::new();
    while hashes.len() < AT_ONCE {
        match feed.try_recv() {
            Ok(one) if one.rollup == rollup => hashes.push(one.hash),
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    hashes
}

/// Hashes of the blocks after the last one told. After a restart of the network those that replace undone ones follow.
fn blocks_after(
    context: &RpcContext,
    generation: &mut Generation,
    told: &mut Height,
) -> Result<Vec<B256>, RpcError> {
    let (running, tip) = context.store.standing()?;
    if running != *generation {
        let start = context.store.generation_start()?;
        *told = (*told).min(start.map_or(tip, |start| start.last_height));
        *generation = running;
    }
    let mut hashes = Vec::new();
    while *told < tip && hashes.len() < AT_ONCE {
        let Some((hash, _)) = context.store.header(told.next())? else { break };
        hashes.push(hash);
        *told = told.next();
    }
    Ok(hashes)
}

fn filter_logs(call: &Call<'_>) -> Answer {
    let id = id(&call.arguments, "filter")?;
    call.shared.filters.ask(id, Instant::now(), |kind| match kind {
        Kind::Logs => Ok(()),
        Kind::Blocks { .. } | Kind::Pending { .. } => Err(RpcError::NoFilter),
    })?;
    call.answer([(); 0])
}

fn uninstall(call: &Call<'_>) -> Answer {
    let id = id(&call.arguments, "filter")?;
    let removed = call.shared.filters.lock().remove(&id);
    call.answer(removed.is_some())
}

/// Logs come from execution: the question is checked, and there are none.
fn logs(call: &Call<'_>) -> Answer {
    check_criteria(call, 0)?;
    call.answer([(); 0])
}

/// Checks what a client wants to know of logs as strictly as if there were any.
fn check_criteria(call: &Call<'_>, position: usize) -> Result<(), RpcError> {
    call.rollup()?;
    let arguments = &call.arguments;
    let criteria =
        arguments.required(position, "filter", "an object", |value| value.as_object().cloned())?;
    let part = |name: &str| criteria.get(name).filter(|value| !value.is_null());
    let invalid = |field, expected: &str| Err(arguments.invalid(position, field, expected));
    let end = |name: &'static str| match part(name).map(block_reference) {
        None => Ok(None),
        Some(Some(BlockReference::Hash(_)) | None) => {
            Err(arguments.invalid(position, name, "a block's number or tag"))
        }
        Some(found) => Ok(found),
    };
    let (from, to) = (end("fromBlock")?, end("toBlock")?);
    if let Some(hash) = part("blockHash") {
        if from.is_some() || to.is_some() {
            return invalid("blockHash", "blockHash, or fromBlock and toBlock");
        }
        let Some(hash) = prefixed(hash).and_then(|hash| hash.parse().ok()) else {
            return invalid("blockHash", "32 bytes, 0x and 64 hexadecimal digits");
        };
        view::resolve(call.context(), BlockReference::Hash(hash))?
            .ok_or_else(|| RpcError::NoBlock { block: hash.to_string() })?;
    }
    if let (Some(BlockReference::Height(from)), Some(BlockReference::Height(to))) = (from, to)
        && from > to
    {
        return invalid("fromBlock", "a block that is not after toBlock");
    }
    let is_one_or_some = |value: &Value, is_one: fn(&Value) -> bool| match value {
        Value::Array(some) => some.iter().all(is_one),
        one => is_one(one),
    };
    let is_address =
        |value: &Value| prefixed(value).is_some_and(|one| one.parse::<Address>().is_ok());
    let is_topic = |value: &Value| prefixed(value).is_some_and(|one| one.parse::<B256>().is_ok());
    if part("address").is_some_and(|value| !is_one_or_some(value, is_address)) {
        return invalid("address", "an address or an array of them");
    }
    let topics_fit = part("topics").is_none_or(|value| {
        value.as_array().is_some_and(|topics| {
            topics.len() <= 4
                && topics.iter().all(|topic| topic.is_null() || is_one_or_some(topic, is_topic))
        })
    });
    if !topics_fit {
        return invalid("topics", "at most four, each null, 32 bytes or an array of them");
    }
    Ok(())
}

/// Checks the criteria of a subscription to logs, which may be left out.
pub(super) fn check_subscription(call: &Call<'_>) -> Result<(), RpcError> {
    let none = call
        .arguments
        .optional(1, "options", "an object", |value| value.is_object().then_some(()))?;
    if none.is_none() { Ok(()) } else { check_criteria(call, 1) }
}

#[cfg(test)]
mod tests {
    use super::{Filters, Kind, PATIENCE};
    use crate::rpc::RpcLimits;
    use crate::rpc::visitors::Visitors;
    use std::time::{Duration, Instant};
    use tokio_util::sync::CancellationToken;

    #[test]
    fn a_filter_that_nobody_asks_is_gone_and_makes_room() {
        let start = Instant::now();
        let limits = RpcLimits { subscriptions_per_address: 1, ..RpcLimits::default() };
        let visitors = Visitors::new(limits, start);
        let guest =
            visitors.enter("10.0.0.1".parse().unwrap(), CancellationToken::new(), start).unwrap();
        let filters = Filters::default();
        let later = |seconds| start.checked_add(Duration::from_secs(seconds)).unwrap();
        let id = filters.add(Kind::Logs, guest.hold().unwrap(), start);
        let id = u128::from_str_radix(id.strip_prefix("0x").unwrap(), 16).unwrap();
        let ask = |now| filters.ask(id, now, |_| Ok(())).map_err(|error| error.code());
        assert!(guest.hold().is_err());

        // Each question gives it as long again.
        let almost = PATIENCE.as_secs().saturating_sub(1);
        assert_eq!(ask(later(almost)), Ok(()));
        assert_eq!(ask(later(almost.saturating_mul(2))), Ok(()));
        filters.expire(later(almost.saturating_mul(2).saturating_add(PATIENCE.as_secs())));
        assert_eq!(ask(later(almost)), Err(-32000));
        assert!(guest.hold().is_ok());
    }
}
