//! `eth_subscribe`, on WebSocket. A client that does not keep up loses its connection: it would not notice what it misses.

use crate::domain::{Generation, Height, RollupId};
use crate::mempool::Pending;
use crate::rpc::filters::{self, new_id, shown};
use crate::rpc::message::notification;
use crate::rpc::methods::Call;
use crate::rpc::service::Shared;
use crate::rpc::socket::{Cut, Socket};
use crate::rpc::{RpcError, view};
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};

/// The JSON of a transaction is at most so many times as long as its bytes, and this much longer.
const JSON_PER_BYTE: usize = 4;
const JSON_BESIDE: usize = 2_048;

/// What a notification is besides what it tells.
const ENVELOPE: usize = 192;

/// What a client subscribes to.
pub(super) enum Kind {
    /// The header of each block that is decided from now on.
    Heads { rollup: RollupId, generation: Generation, told: Height },
    /// Transactions that this agent's clients submit from now on, as hashes or in full.
    Pending { rollup: RollupId, full: bool, feed: broadcast::Receiver<Arc<Pending>> },
    /// Nothing: there are no logs.
    Logs,
}

/// Reads what a client wants to hear of.
pub(super) fn wanted(call: &Call<'_>) -> Result<Kind, RpcError> {
    const EXPECTED: &str = "newHeads, newPendingTransactions or logs";
    let rollup = call.rollup()?;
    let kind = call.arguments.required(0, "kind", EXPECTED, |value| {
        value
            .as_str()
            .filter(|kind| EXPECTED.split([',', ' ']).any(|one| one == *kind))
            .map(str::to_owned)
    })?;
    match kind.as_str() {
        "newHeads" => {
            let (generation, told) = call.context().store.standing()?;
            Ok(Kind::Heads { rollup, generation, told })
        }
        "newPendingTransactions" => {
            let full = call.arguments.flag(1, "options")?;
            Ok(Kind::Pending { rollup, full, feed: call.context().pool.feed().listen() })
        }
        "logs" => filters::check_subscription(call).map(|()| Kind::Logs),
        _ => Err(call.arguments.invalid(0, "kind", EXPECTED)),
    }
}

/// Begins to tell a client, once `start` says that it knows the id. Returns the id.
pub(super) fn begin(
    shared: &Arc<Shared>,
    socket: &Arc<Socket>,
    kind: Kind,
    held: crate::rpc::visitors::Held,
    start: oneshot::Receiver<()>,
) -> Result<String, RpcError> {
    let id = shown(new_id());
    let ended = socket.keep(&id)?;
    let (shared, socket, name) = (Arc::clone(shared), Arc::clone(socket), id.clone());
    tokio::spawn(async move {
        let telling = async {
            if start.await.is_err() {
                return Ok(());
            }
            match kind {
                Kind::Heads { rollup, generation, told } => {
                    tell_heads(&shared, &socket, &name, rollup, generation, told).await
                }
                Kind::Pending { rollup, full, feed } => {
                    tell_pending(&socket, &name, rollup, full, feed).await
                }
                Kind::Logs => std::future::pending().await,
            }
        };
        if let Some(Err(reason)) = ended.run_until_cancelled(telling).await {
            tracing::debug!(%reason, "a subscriber is cut");
            socket.cut(reason);
        }
        socket.forget(&name);
        drop(held);
    });
    Ok(id)
}

async fn tell(socket: &Socket, id: &str, result: &str) -> Result<(), Cut> {
    let room = socket.notice_room(result.len().saturating_add(ENVELOPE)).await?;
    socket.tell(notification(id, result), room).await
}

/// Tells each head decided from now on, in order and without gaps. After a restart (R33) the heads that replace undone ones
/// follow, as after a reorg.
async fn tell_heads(
    shared: &Shared,
    socket: &Socket,
    id: &str,
    rollup: RollupId,
    mut running: Generation,
    mut told: Height,
) -> Result<(), Cut> {
    let store = &shared.context.store;
    let mut decided = shared.context.decided.clone();
    decided.mark_unchanged();
    loop {
        let (generation, tip) = store.standing().map_err(RpcError::from)?;
        if generation != running {
            running = generation;
            let start = store.generation_start().map_err(RpcError::from)?;
            told = told.min(start.map_or(tip, |start| start.last_height));
        }
        while told < tip {
            told = told.next();
            if let Some(head) = shared.heads.at(store, rollup, told).await? {
                tell(socket, id, &head.json).await?;
            }
        }
        if decided.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn tell_pending(
    socket: &Socket,
    id: &str,
    rollup: RollupId,
    full: bool,
    mut feed: broadcast::Receiver<Arc<Pending>>,
) -> Result<(), Cut> {
    loop {
        match feed.recv().await {
            Ok(one) if one.rollup == rollup && full => {
                let most = one.bytes().saturating_mul(JSON_PER_BYTE).saturating_add(JSON_BESIDE);
                let room = socket.notice_room(most).await?;
                // Those who want transactions whole may be behind by fewer than those who want hashes.
                let whole = one.whole().ok_or(Cut::Behind(1))?;
                let shown = view::pending(&whole)?;
                let told = serde_json::to_string(&shown).map_err(RpcError::internal)?;
                socket.tell(notification(id, &told), room).await?;
            }
            Ok(one) if one.rollup == rollup => {
                tell(socket, id, &format!("\"{}\"", one.hash)).await?
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => return Err(Cut::Behind(missed)),
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}
