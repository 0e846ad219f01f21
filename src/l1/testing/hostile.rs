//! An L1 node that behaves as nodes do: a JSON-RPC server between the code under test and Anvil, which delays, refuses,
//! forgets and lies as the test tells it to.
//!
//! A [`Rule`] looks at each request and says what becomes of it; rules are asked in order, and the first that has
//! something to say wins. What no rule cares for goes through. Transactions pass [`Hostile::on`] like everything else, so a
//! pool that drops (`Fate::Answer` with the hash) or holds them is a rule too.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// Anvil answers it.
    Through,
    /// Anvil answers another request in its place.
    Instead(Value),
    /// This is the result.
    Answer(Value),
    /// This is the error.
    Error(i64, &'static str),
    /// An HTTP status with a body that is no JSON.
    Http(u16, &'static str),
}

/// One request: method and parameters.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: &'a Value,
    /// How many requests came before it.
    pub(crate) number: u64,
}

impl Request<'_> {
    /// Blocks that a request for logs spans, if it is one by numbers.
    pub(crate) fn span(&self) -> Option<u64> {
        let number = |name| {
            let text = self.params.get(0)?.get(name)?.as_str()?;
            u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        (self.method == "eth_getLogs").then_some(())?;
        Some(number("toBlock")?.saturating_sub(number("fromBlock")?).saturating_add(1))
    }

    /// Whether it asks for the block with this tag.
    pub(crate) fn asks_block(&self, tag: &str) -> bool {
        self.method == "eth_getBlockByNumber" && self.params.get(0).is_some_and(|it| it == tag)
    }
}

/// Says what becomes of a request; `None` if it does not care.
pub(crate) type Rule = Box<dyn FnMut(&Request<'_>) -> Option<Fate> + Send>;

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    delay: Duration,
    asked: BTreeMap<String, u64>,
    total: u64,
}

/// The server. It ends with this.
pub(crate) struct Hostile {
    url: Url,
    inner: Arc<Mutex<Inner>>,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Server {
    inner: Arc<Mutex<Inner>>,
    to: Url,
    http: reqwest::Client,
}

impl Hostile {
    /// Before the node at `to`, and as honest as that.
    pub(crate) async fn before(to: Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (inner, stop) = (Arc::<Mutex<Inner>>::default(), CancellationToken::new());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let server = Server { inner: Arc::clone(&inner), to, http };
        let router = Router::new().route("/", post(serve)).with_state(server);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
        });
        Self { url, inner, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Adds a rule, which is asked after those that are there.
    pub(crate) fn on(
        &self,
        rule: impl FnMut(&Request<'_>) -> Option<Fate> + Send + 'static,
    ) -> &Self {
        self.inner.lock().unwrap().rules.push(Box::new(rule));
        self
    }

    /// Honest again.
    pub(crate) fn behave(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.rules.clear();
        inner.delay = Duration::ZERO;
    }

    /// Every answer takes so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.inner.lock().unwrap().delay = delay;
    }

    /// How many requests there were.
    pub(crate) fn total(&self) -> u64 {
        self.inner.lock().unwrap().total
    }

    /// How many of a method.
    pub(crate) fn asked(&self, method: &str) -> u64 {
        self.inner.lock().unwrap().asked.get(method).copied().unwrap_or(0)
    }
}

async fn serve(State(server): State<Server>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let (method, params) = (asked["method"].as_str().unwrap_or_default(), &asked["params"]);
    let (fate, delay) = {
        let mut inner = server.inner.lock().unwrap();
        let request = Request { method, params, number: inner.total };
        inner.total += 1;
        *inner.asked.entry(method.to_owned()).or_default() += 1;
        let fate = inner.rules.iter_mut().find_map(|rule| rule(&request));
        (fate.unwrap_or(Fate::Through), inner.delay)
    };
    tokio::time::sleep(delay).await;
    let answer = |part: Value| {
        let mut whole = json!({ "jsonrpc": "2.0", "id": asked["id"] });
        let fields = part.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(fields);
        whole.to_string().into_response()
    };
    let through = match fate {
        Fate::Answer(result) => return answer(json!({ "result": result })),
        Fate::Error(code, message) => {
            return answer(json!({ "error": { "code": code, "message": message } }));
        }
        Fate::Http(status, body) => {
            return (StatusCode::from_u16(status).unwrap(), body).into_response();
        }
        Fate::Through => asked.clone(),
        Fate::Instead(mut other) => {
            other["id"] = asked["id"].clone();
            other["jsonrpc"] = json!("2.0");
            other
        }
    };
    let sent = server.http.post(server.to.clone()).json(&through).send().await;
    match sent {
        Ok(told) => told.bytes().await.unwrap_or_default().into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
