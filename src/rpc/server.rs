//! Accepting connections and ending them, on a runtime of their own.

use crate::domain::{Deployment, Height, RollupId};
use crate::l1::MirrorHandle;
use crate::mempool::{Intake, Pool};
use crate::rpc::http::Connection;
use crate::rpc::limits::RpcLimits;
use crate::rpc::service::{DEAR_AT_A_TIME, Shared};
use crate::rpc::stream::Stream;
use crate::storage::Store;
use alloy::primitives::Address;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
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

/// Time for the head of a request, from the first byte or from when the connection was made.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Bytes of the head of a request.
const HEAD_BYTES: usize = 64 << 10;

/// Threads that serve connections.
const THREADS: usize = 2;

/// Blocking threads: for the dear calls, and one for heads.
const BLOCKING_THREADS: usize = DEAR_AT_A_TIME + 1;

/// How much the threads yield to the agent's others, in the system's steps: it schedules them last when there is little
/// time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Says how many peers are connected.
pub type PeerCount = Arc<dyn Fn() -> usize + Send + Sync>;

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
    /// How many peers are connected.
    pub peers: PeerCount,
    /// The rollup of the root path.
    pub default_rollup: RollupId,
    /// The contracts.
    pub deployment: Deployment,
    /// Who this agent signs as.
    pub signer: Address,
    /// Bounds.
    pub limits: RpcLimits,
}

/// Serves until `shutdown` on threads of its own, few and of low priority: whatever clients ask for, the agent's other tasks
/// have theirs. `beats` runs there meanwhile, for whoever watches that anything does. What is returned waits for the end.
///
/// # Errors
///
/// The system's, when it has no thread left or does not hand the listener over.
pub fn serve_apart(
    listener: TcpListener,
    context: RpcContext,
    beats: impl Future<Output = ()> + Send + 'static,
    shutdown: CancellationToken,
) -> std::io::Result<impl Future<Output = ()>> {
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("rpc")
        .on_thread_start(yield_to_others)
        .enable_all()
        .build()?;
    let (ended, end) = oneshot::channel::<()>();
    std::thread::Builder::new().name("rpc-service".into()).spawn(move || {
        let serving = async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, context, shutdown).await,
                Err(error) => warn!(%error, "the RPC port cannot be served"),
            }
        };
        // In a task, so that it runs on the runtime's own threads.
        let _ = runtime.block_on(async {
            tokio::spawn(beats);
            tokio::spawn(serving).await
        });
        runtime.shutdown_background();
        drop(ended);
    })?;
    Ok(async move {
        let _ = end.await;
    })
}

fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS)
    {
        debug!(%error, "a thread of RPC keeps its priority");
    }
}

/// Serves until `shutdown`, then lets open requests finish for a few seconds.
pub async fn serve(listener: TcpListener, context: RpcContext, shutdown: CancellationToken) {
    let shared = Shared::new(context);
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No file descriptor left, or a client that is gone already.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            },
        };
        let stop = shutdown.child_token();
        let Some(guest) = shared.visitors.enter(peer.ip(), stop.clone(), Instant::now()) else {
            // Whoever does not take the answer at once does without.
            let _ = stream.try_write(NO_PLACE);
            continue;
        };
        let connection = Connection::new(Arc::clone(&shared), guest, stop);
        connections.spawn(one(stream, connection, shutdown.clone()));
    }
    drop(listener);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ORDERS, all_gone).await.is_err() {
        info!(connections = connections.len(), "open connections are cut");
    }
}

/// Serves one connection. A WebSocket session goes on in a task of its own.
async fn one(stream: TcpStream, connection: Connection, shutdown: CancellationToken) {
    // A connection without it is a slower one, no more.
    let _ = stream.set_nodelay(true);
    let stream = Stream::new(stream, connection.shared.limits.request_timeout);
    let connection = Arc::new(connection);
    let answering = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(connection.handle(request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended early");
                }
                return;
            }
            () = connection.idle() => {
                debug!("an idle connection is closed");
                return;
            }
            () = connection.stop.cancelled(), if !is_stopping => {
                if !shutdown.is_cancelled() {
                    debug!("a connection gives way to another address");
                    return;
                }
                serving.as_mut().graceful_shutdown();
                is_stopping = true;
            }
        }
    }
}
