//! What happens to each HTTP request of a connection: what is no JSON-RPC is answered here, the rest goes on.

use crate::rpc::RpcError;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::message::{self, Id};
use crate::rpc::service::{Caller, Shared, Text};
use crate::rpc::socket;
use crate::rpc::visitors::Guest;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_util::sync::CancellationToken;

/// A longer body waits for room.
const LONG: usize = 64 << 10;

/// One connection. Lives as long as its last request or WebSocket session.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) guest: Arc<Guest>,
    pub(super) stop: CancellationToken,
    since: Instant,
    /// Milliseconds from `since` to the last request's end.
    last_request: AtomicU64,
    is_busy: AtomicBool,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, guest: Guest, stop: CancellationToken) -> Self {
        let (guest, since) = (Arc::new(guest), Instant::now());
        let (last_request, is_busy) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { shared, guest, stop, since, last_request, is_busy }
    }

    fn touch(&self, is_busy: bool) {
        let age = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_request.store(age, Ordering::Relaxed);
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Waits until no request came for as long as a connection may be idle.
    pub(super) async fn idle(&self) {
        let timeout = self.shared.limits.idle_timeout;
        loop {
            let last = Duration::from_millis(self.last_request.load(Ordering::Relaxed));
            let quiet = self.since.elapsed().saturating_sub(last);
            if quiet >= timeout && !self.is_busy.load(Ordering::Relaxed) {
                return;
            }
            let left = timeout.saturating_sub(quiet).max(Duration::from_millis(10));
            tokio::time::sleep(left).await;
        }
    }

    /// Answers one request.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response {
        self.touch(true);
        let answer = self.answer(request).await;
        self.touch(false);
        for_browsers(answer)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        if let Some(answer) = at_the_door(&parts) {
            return answer;
        }
        let endpoint = Endpoint::of_path(parts.uri.path());
        if parts.method == Method::GET {
            return self.upgrade(parts, endpoint);
        }
        let timeout = self.shared.limits.request_timeout;
        tokio::time::timeout(timeout, self.call(endpoint, body)).await.unwrap_or_else(|_| {
            let error = RpcError::InvalidRequest {
                field: "time",
                expected: "a request that is complete in time",
                actual: format!("more than {} s", timeout.as_secs()),
            };
            refused(StatusCode::REQUEST_TIMEOUT, error)
        })
    }

    async fn call(&self, endpoint: Endpoint, body: Incoming) -> Response {
        let limit = self.shared.limits.request_bytes;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        // A long body waits until there is room for it; one that does not say its length may be as long as any.
        let size = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        let size = size.unwrap_or(most);
        if size > most {
            let error = RpcError::RequestTooLarge { limit };
            return refused(StatusCode::PAYLOAD_TOO_LARGE, error);
        }
        let _room = if size > LONG { self.guest.request_room(size).await.ok() } else { None };
        let bytes = match Limited::new(body, most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let error = RpcError::RequestTooLarge { limit };
                return refused(StatusCode::PAYLOAD_TOO_LARGE, error);
            }
            Err(_) => {
                let error = RpcError::InvalidRequest {
                    field: "body",
                    expected: "a complete body",
                    actual: "the beginning of one".to_owned(),
                };
                return refused(StatusCode::BAD_REQUEST, error);
            }
        };
        let caller = Caller {
            guest: Arc::clone(&self.guest),
            endpoint: Arc::new(endpoint),
            socket: None,
            beginning: Mutex::default(),
        };
        match self.shared.answer(&caller, &bytes).await {
            Some(text) => respond(StatusCode::OK, text),
            // A notification, or a batch of them.
            None => status(StatusCode::NO_CONTENT),
        }
    }

    fn upgrade(&self, mut parts: Parts, endpoint: Endpoint) -> Response {
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let answer = create_response(&Request::from_parts(parts, ()));
        let (upgrade, answer) = match (upgrade, answer) {
            (Some(upgrade), Ok(answer)) => (upgrade, answer),
            (upgrade, answer) => {
                let reason = answer.err().map(|error| error.to_string());
                let error = RpcError::InvalidRequest {
                    field: "upgrade",
                    expected: "the handshake of WebSocket 13",
                    actual: reason.unwrap_or_else(|| format!("upgradable: {}", upgrade.is_some())),
                };
                return refused(StatusCode::BAD_REQUEST, error);
            }
        };
        let (shared, guest) = (Arc::clone(&self.shared), Arc::clone(&self.guest));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            match upgrade.await {
                Ok(io) => socket::serve(TokioIo::new(io), shared, guest, endpoint, stop).await,
                Err(error) => tracing::debug!(%error, "a connection ends before its upgrade"),
            }
        });
        answer.map(|()| Body::empty())
    }
}

/// The answer to a request that needs no method: a browser's question before it posts, or something that is no JSON-RPC.
fn at_the_door(request: &Parts) -> Option<Response> {
    if request.method == Method::OPTIONS {
        return Some(status(StatusCode::NO_CONTENT));
    }
    if request.method == Method::GET && request.headers.contains_key(header::UPGRADE) {
        return None;
    }
    if request.method != Method::POST {
        let refusal = RpcError::InvalidRequest {
            field: "method",
            expected: "POST, or GET with an upgrade to WebSocket",
            actual: request.method.to_string().chars().take(80).collect(),
        };
        return Some(refused(StatusCode::METHOD_NOT_ALLOWED, refusal));
    }
    if !is_json(&request.headers) {
        let kind = request.headers.get(header::CONTENT_TYPE);
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

/// Whether a body is said to be JSON. What parameters say does not matter: JSON is UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    const KINDS: [&str; 3] =
        ["application/json", "application/json-rpc", "application/jsonrequest"];
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| KINDS.iter().any(|kind| essence.eq_ignore_ascii_case(kind)))
}

fn status(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

fn respond(status: StatusCode, text: Text) -> Response {
    let mut answer = Response::new(Body::from(text.into_bytes()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// An error with the id that JSON-RPC gives to requests that were not understood.
fn refused(status: StatusCode, error: RpcError) -> Response {
    respond(status, Text::small(message::answer(&Id::NULL, Err(error))))
}

/// Lets pages of any origin call: the service holds no key and knows no session.
fn for_browsers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    answer
}
