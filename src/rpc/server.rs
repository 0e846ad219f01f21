//! Accepting connections and ending them.

use crate::domain::{Deployment, Height, RollupId};
use crate::l1::MirrorHandle;
use crate::mempool::{Intake, Pool};
use crate::rpc::connection::{Connection, Door};
use crate::rpc::gate::{Gate, Rules};
use crate::rpc::limits::RpcLimits;
use crate::rpc::methods;
use crate::rpc::stream::Stream;
use crate::storage::Store;
use alloy::primitives::Address;
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, PingConfig, Server, ServerConfig, serve_with_graceful_shutdown,
    stop_channel,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long open connections may take to finish once the service stops.
const LAST_ORDERS: Duration = Duration::from_secs(3);

/// Pause after a failure to accept, so that it does not become a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a refused connection is told, if it listens.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What calls are answered from.
#[derive(Clone)]
pub struct RpcContext {
    /// The decided chain and the settled batches.
    pub store: Store,
    /// What is known of L1.
    pub mirror: MirrorHandle,
    /// What waits.
    pub pool: Arc<Pool>,
    /// The way into the pool.
    pub intake: Intake,
    /// The last decided height, for subscribers.
    pub decided: watch::Receiver<Height>,
    /// The rollup of the root path.
    pub default_rollup: RollupId,
    /// The contracts.
    pub deployment: Deployment,
    /// Who this agent signs as.
    pub signer: Address,
    /// Bounds.
    pub limits: RpcLimits,
}

/// Serves until `shutdown`, then lets open requests finish for a few seconds.
pub async fn serve(listener: TcpListener, context: RpcContext, shutdown: CancellationToken) {
    let limits = context.limits.clone();
    let (methods, costs) = methods::all(context.clone());
    let rules = Arc::new(Rules {
        costs,
        mirror: context.mirror,
        batch_calls: limits.batch_calls,
        response_bytes: usize::try_from(limits.response_bytes).unwrap_or(usize::MAX),
    });
    let config = ServerConfig::builder()
        .max_request_body_size(limits.request_bytes)
        .max_response_body_size(limits.response_bytes)
        .max_connections(u32::MAX)
        .max_subscriptions_per_connection(limits.subscriptions)
        .set_batch_request_config(BatchRequestConfig::Unlimited)
        .enable_ws_ping(PingConfig::new())
        .build();
    let gate = RpcServiceBuilder::new()
        .layer_fn(move |service| Gate { service, rules: Arc::clone(&rules) });
    let service =
        Server::builder().set_config(config).set_rpc_middleware(gate).to_service_builder();
    let (stopped, stop) = stop_channel();

    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No file descriptor left, or a client that is gone already.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Whoever does not take the answer at once does without.
            let _ = stream.try_write(NO_PLACE);
            continue;
        };
        // A connection without it is a slower one, no more.
        let _ = stream.set_nodelay(true);
        let connection = Arc::new(Connection::new(&limits, place));
        let door = Door {
            inner: service.clone().build(methods.clone(), stopped.clone()),
            connection: Arc::clone(&connection),
            request_timeout: limits.request_timeout,
        };
        let stream = Stream::new(stream, limits.request_timeout);
        let (idle_timeout, stopped) = (limits.idle_timeout, stopped.clone());
        connections.spawn(async move {
            tokio::select! {
                // A WebSocket session goes on in a task of its own.
                ended = serve_with_graceful_shutdown(stream, door, stopped.shutdown()) => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended early");
                    }
                }
                () = connection.idle(idle_timeout) => debug!("an idle connection is closed"),
            }
        });
    }
    drop(listener);
    let _ = stop.stop();
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ORDERS, all_gone).await.is_err() {
        info!(connections = connections.len(), "open connections are cut");
    }
}
