//! `eth_subscribe` to new heads, on WebSocket.

use crate::rpc::arguments::Arguments;
use crate::rpc::methods::{endpoint, registered_rollup};
use crate::rpc::{RpcContext, RpcError, view};
use jsonrpsee::server::{RegisterMethodError, RpcModule, SubscriptionMessage, SubscriptionSink};
use std::time::Duration;

/// How long a client may take to make room for a head before its subscription ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// What only a connection that stays can serve.
pub(super) const METHODS: [&str; 2] = ["eth_subscribe", "eth_unsubscribe"];

/// Adds the subscription.
pub(super) fn register(module: &mut RpcModule<RpcContext>) -> Result<(), RegisterMethodError> {
    let [subscribe, unsubscribe] = METHODS;
    module.register_subscription(
        subscribe,
        "eth_subscription",
        unsubscribe,
        |params, pending, context, extensions| async move {
            let wanted = Arguments::read(&params, 2).and_then(|arguments| {
                arguments.new_heads(0)?;
                registered_rollup(&context, &endpoint(&extensions))
            });
            if let Err(error) = wanted {
                pending.reject(error).await;
                return;
            }
            if let Ok(sink) = pending.accept().await
                && let Err(error) = send_heads(&sink, &context).await
            {
                tracing::warn!(%error, "a subscription ends");
            }
        },
    )?;
    Ok(())
}

/// Sends each head decided from now on, in order and without gaps, as long as the client takes them. After a restart (R33)
/// the heads that replace undone ones follow, as after a reorg.
async fn send_heads(sink: &SubscriptionSink, context: &RpcContext) -> Result<(), RpcError> {
    let mut decided = context.decided.clone();
    decided.mark_unchanged();
    let (mut running, mut sent) = context.store.standing()?;
    loop {
        let (generation, tip) = context.store.standing()?;
        if generation != running {
            running = generation;
            let start = context.store.generation_start()?;
            sent = sent.min(start.map_or(tip, |start| start.last_height));
        }
        while sent < tip {
            sent = sent.next();
            let Some(head) = view::head(&context.store, sent)? else { continue };
            let message =
                SubscriptionMessage::new(sink.method_name(), sink.subscription_id(), &head)
                    .map_err(RpcError::internal)?;
            if sink.send_timeout(message, PATIENCE).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = sink.closed() => return Ok(()),
            changed = decided.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}
