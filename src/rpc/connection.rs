//! One connection: its rate, its place among the connections, and what happens to each HTTP request before JSON-RPC.

use crate::rpc::RpcError;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::limits::{Rate, RpcLimits};
use http::{HeaderValue, Method, Request, StatusCode, header};
use jsonrpsee::server::{HttpBody, HttpResponse};
use jsonrpsee::types::ErrorObjectOwned;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

/// One connection. Lives as long as its last request or WebSocket session.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) rate: Rate,
    /// Its place among the connections; given back when the connection is gone.
    _place: OwnedSemaphorePermit,
    since: Instant,
    /// Milliseconds from `since` to the last request.
    last_request: AtomicU64,
}

impl Connection {
    pub(super) fn new(limits: &RpcLimits, place: OwnedSemaphorePermit) -> Self {
        let since = Instant::now();
        let rate = Rate::new(limits.units_per_second, since);
        Self { rate, _place: place, since, last_request: AtomicU64::new(0) }
    }

    fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn touch(&self) {
        let age = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.last_request.store(age, Ordering::Relaxed);
    }

    /// Waits until no request came for `timeout`.
    pub(super) async fn idle(&self, timeout: Duration) {
        loop {
            let last = Duration::from_millis(self.last_request.load(Ordering::Relaxed));
            let quiet = self.age().saturating_sub(last);
            if quiet >= timeout {
                return;
            }
            tokio::time::sleep(timeout.saturating_sub(quiet)).await;
        }
    }
}

/// How a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// In a request of its own.
    Http,
    /// On a connection that stays.
    WebSocket,
}

/// Looks at each HTTP request of a connection: what is no JSON-RPC is answered here, the rest goes on with its endpoint
/// and its connection attached.
#[derive(Clone, Debug)]
pub(super) struct Door<S> {
    pub(super) inner: S,
    pub(super) connection: Arc<Connection>,
    pub(super) request_timeout: Duration,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<HttpResponse, E>> + Send>>;

impl<S, B> Service<Request<B>> for Door<S>
where
    S: Service<Request<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.connection.touch();
        if let Some(answer) = at_the_door(&request) {
            return Box::pin(async move { Ok(for_browsers(answer)) });
        }
        let endpoint = Endpoint::of_path(request.uri().path());
        let upgrades = request.method() == Method::GET;
        let transport = if upgrades { Transport::WebSocket } else { Transport::Http };
        request.extensions_mut().insert(endpoint);
        request.extensions_mut().insert(transport);
        request.extensions_mut().insert(Arc::clone(&self.connection));
        let timeout = self.request_timeout;
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(timeout, answer).await {
                Ok(answer) => answer.map(for_browsers),
                Err(_) => Ok(for_browsers(refused(
                    StatusCode::REQUEST_TIMEOUT,
                    RpcError::InvalidRequest {
                        field: "time",
                        expected: "a request that is complete in time",
                        actual: format!("more than {} s", timeout.as_secs()),
                    },
                ))),
            }
        })
    }
}

/// The answer to a request that needs no method: a browser's question before it posts, or something that is no JSON-RPC.
fn at_the_door<B>(request: &Request<B>) -> Option<HttpResponse> {
    let headers = request.headers();
    if request.method() == Method::OPTIONS {
        let mut answer = HttpResponse::new(HttpBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return Some(answer);
    }
    if request.method() == Method::GET && headers.contains_key(header::UPGRADE) {
        return None;
    }
    if request.method() != Method::POST {
        let refusal = RpcError::InvalidRequest {
            field: "method",
            expected: "POST, or GET with an upgrade to WebSocket",
            actual: request.method().to_string(),
        };
        return Some(refused(StatusCode::METHOD_NOT_ALLOWED, refusal));
    }
    let kind = headers.get(header::CONTENT_TYPE);
    if !jsonrpsee::server::http::is_json(kind) {
        let actual = kind.map_or("nothing".into(), |kind| String::from_utf8_lossy(kind.as_bytes()));
        let refusal = RpcError::InvalidRequest {
            field: "content-type",
            expected: "application/json",
            actual: actual.chars().take(80).collect(),
        };
        return Some(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
    }
    None
}

/// An error with the id that JSON-RPC gives to requests that were not understood.
fn refused(status: StatusCode, error: RpcError) -> HttpResponse {
    let error = ErrorObjectOwned::from(error);
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": error });
    let mut answer = HttpResponse::new(HttpBody::from(body.to_string()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// Lets pages of any origin call: the service holds no key and knows no session.
fn for_browsers(mut answer: HttpResponse) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    answer
}
