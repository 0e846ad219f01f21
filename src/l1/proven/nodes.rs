//! Asking nodes: one after the other, patiently, and as many requests at once as they bear.

use super::check::{Lie, Wrong};
use super::kept::KeptAnswers;
use crate::config::redact;
use crate::l1::error::L1Error;
use crate::l1::refusal::Refusal;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// Requests under way at once: at the start, and at the most.
pub(super) const PARALLEL: usize = 16;
const MOST_PARALLEL: usize = 64;
/// Answers in a row after which one more request is tried at once.
const ANSWERS_FOR_ONE_MORE: u64 = 64;
/// Rounds through all nodes before a request is given up.
const ROUNDS: u32 = 8;
/// The pause after the first round; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that is read of an answer: a full block's receipts are a tenth of it.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Why a node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, without the node's URL.
    pub reason: String,
    /// Whether the node asked for fewer requests.
    pub is_busy: bool,
    /// Whether it will never answer this.
    pub is_final: bool,
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_busy: false, is_final: false }
    }
}

/// Where requests go.
pub trait Wire: Send + Sync {
    /// How many nodes there are; they are asked in order.
    fn count(&self) -> usize;

    /// What a node is called, without secrets.
    fn name(&self, node: usize) -> String;

    /// One request to one node; `null` is an answer.
    fn post<'a>(
        &'a self,
        node: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>>;
}

/// Nodes over HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    urls: Vec<Url>,
}

impl Http {
    /// Of nodes at `urls`.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadUrl`] for none, and for anything but http(s).
    pub fn new(urls: &[Url]) -> Result<Self, L1Error> {
        let bad = |url: &str| L1Error::BadUrl { url: url.to_owned() };
        if urls.is_empty() {
            return Err(bad("(none)"));
        }
        for url in urls {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(bad(&redact(url)));
            }
        }
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build();
        Ok(Self { client: client.unwrap_or_default(), urls: urls.to_vec() })
    }
}

impl Wire for Http {
    fn count(&self) -> usize {
        self.urls.len()
    }

    fn name(&self, node: usize) -> String {
        self.urls.get(node).map(redact).unwrap_or_default()
    }

    fn post<'a>(
        &'a self,
        node: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            let Some(url) = self.urls.get(node) else {
                return Err(Failure::passing("there is no such node"));
            };
            let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
            let body = request.to_string();
            let sent = self
                .client
                .post(url.clone())
                .header("content-type", "application/json")
                .body(body)
                .send()
                .await;
            let failed =
                |error: reqwest::Error| Failure::passing(with_causes(&error.without_url()));
            let mut answer = sent.map_err(failed)?;
            let status = answer.status().as_u16();
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                    let reason = format!("its answer has more than {MAX_ANSWER_BYTES} bytes");
                    return Err(Failure::passing(reason));
                }
                bytes.extend_from_slice(&chunk);
            }
            of_answer(status, &bytes)
        })
    }
}

/// An error and what led to it: the library's first words leave out what an operator needs, such as "connection refused".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What an HTTP answer says.
fn of_answer(status: u16, bytes: &[u8]) -> Result<Value, Failure> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(bytes) else {
        return Err(Failure {
            reason: format!("HTTP {status}, no JSON"),
            is_busy: status == 429,
            is_final: false,
        });
    };
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        let message = error.get("message").and_then(Value::as_str).unwrap_or("(no message)");
        let refusal = Refusal::of(code, message);
        let is_busy = status == 429 || matches!(refusal, Refusal::RateLimited | Refusal::OverLimit);
        // No such method, or wrong arguments: asking again is of no use.
        let is_final = matches!(code, -32_601 | -32_602);
        return Err(Failure { reason: format!("{message} (code {code})"), is_busy, is_final });
    }
    match answer.get_mut("result").map(Value::take) {
        Some(result) => Ok(result),
        None => Err(Failure {
            reason: format!("HTTP {status} without a result"),
            is_busy: status == 429,
            is_final: false,
        }),
    }
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no L1 node answers {method}: {reasons}")]
pub struct Silence {
    /// What was asked.
    pub method: &'static str,
    /// Each node with what it said last.
    pub reasons: String,
    /// Whether all said that they never will.
    pub is_final: bool,
}

/// What keeps a checked answer away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Silence(Silence),
    Lie(Lie),
}

/// Asks nodes, and checks what they say before it counts.
pub struct Nodes<W> {
    wire: W,
    permits: Semaphore,
    /// Requests that may be under way at once.
    parallel: Mutex<usize>,
    answers: AtomicU64,
    requests: AtomicU64,
    first_pause: Duration,
    /// Lies of nodes in whose place another one told the truth.
    lies: Mutex<Vec<Lie>>,
    kept: Mutex<Option<KeptAnswers>>,
}

impl<W: Wire> Nodes<W> {
    /// Asks over `wire`.
    pub fn new(wire: W) -> Self {
        Self {
            wire,
            permits: Semaphore::new(PARALLEL),
            parallel: Mutex::new(PARALLEL),
            answers: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            first_pause: FIRST_PAUSE,
            lies: Mutex::new(Vec::new()),
            kept: Mutex::new(None),
        }
    }

    /// Keeps answers in a file, and asks for what is in it no more.
    #[must_use]
    pub fn keeping(self, answers: KeptAnswers) -> Self {
        *self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(answers);
        self
    }

    /// As [`Self::ask`], for what never changes: an answer that was kept is taken if it passes `check`.
    pub(super) async fn ask_once<T>(
        &self,
        block: u64,
        method: &'static str,
        params: Value,
        check: impl Fn(Value) -> Result<T, Wrong>,
    ) -> Result<T, NoAnswer> {
        let kept = self.kept(|kept| kept.get(method, &params)).flatten();
        if let Some(checked) = kept.and_then(|kept| check(kept).ok()) {
            return Ok(checked);
        }
        let keeps = self.kept(|_| ()).is_some();
        let told = Mutex::new(None);
        let checked = self
            .ask(block, method, params.clone(), |answer| {
                let copy = keeps.then(|| answer.clone());
                let checked = check(answer)?;
                *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = copy;
                Ok(checked)
            })
            .await?;
        let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(told) = told {
            let put = self.kept(|kept| kept.put(method, &params, told));
            if let Some(Err(error)) = put {
                tracing::warn!(%error, "what was read cannot be kept");
            }
        }
        Ok(checked)
    }

    fn kept<T>(&self, with: impl FnOnce(&mut KeptAnswers) -> T) -> Option<T> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().map(with)
    }

    /// Without pauses between rounds, for tests.
    #[cfg(test)]
    pub(super) fn impatient(mut self) -> Self {
        self.first_pause = Duration::ZERO;
        self
    }

    /// Requests that were sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Where requests go.
    pub const fn wire(&self) -> &W {
        &self.wire
    }

    /// How many requests may be under way at once just now.
    pub fn parallel(&self) -> usize {
        *self.parallel.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lies that did no harm, because another node told the truth.
    pub fn lies(&self) -> Vec<Lie> {
        self.lies.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Forgets a lie that was none.
    pub(super) fn take_back(&self, lie: &Lie) {
        let mut lies = self.lies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lies.retain(|known| (known.block, known.what) != (lie.block, lie.what));
    }

    /// Asks all nodes in order until an answer passes `check`. A node that says `null`, fails or lies is passed over. If none
    /// of them helps, a lie is told at once; else all are asked again after a pause, a few times.
    pub(super) async fn ask<T>(
        &self,
        block: u64,
        method: &'static str,
        params: Value,
        check: impl Fn(Value) -> Result<T, Wrong>,
    ) -> Result<T, NoAnswer> {
        let mut pause = self.first_pause;
        for round in 1..=ROUNDS {
            let mut reasons = Vec::new();
            let mut lie = None;
            let mut is_final = true;
            for node in 0..self.wire.count() {
                let name = self.wire.name(node);
                match self.post(node, method, &params).await {
                    Ok(Value::Null) => {
                        is_final = false;
                        reasons.push(format!("{name}: null for block {block}"));
                    }
                    Ok(told) => match check(told) {
                        Ok(checked) => {
                            self.note(lie);
                            return Ok(checked);
                        }
                        Err(wrong) => {
                            lie.get_or_insert(wrong.at(name, block));
                        }
                    },
                    Err(failure) => {
                        is_final &= failure.is_final;
                        reasons.push(format!("{name}: {}", failure.reason));
                    }
                }
            }
            if let Some(lie) = lie {
                return Err(NoAnswer::Lie(lie));
            }
            if is_final || round == ROUNDS {
                let reasons = reasons.join("; ");
                return Err(NoAnswer::Silence(Silence { method, reasons, is_final }));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        Err(NoAnswer::Silence(Silence { method, reasons: String::new(), is_final: false }))
    }

    fn note(&self, lie: Option<Lie>) {
        let mut lies = self.lies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One of each kind and node is enough to know.
        if let Some(lie) = lie
            && !lies.iter().any(|known| known.node == lie.node && known.what == lie.what)
        {
            lies.push(lie);
        }
    }

    async fn post(
        &self,
        node: usize,
        method: &'static str,
        params: &Value,
    ) -> Result<Value, Failure> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(Failure::passing("closed"));
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.wire.post(node, method, params).await;
        let mut parallel = self.parallel.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &answer {
            Err(failure) if failure.is_busy => {
                self.answers.store(0, Ordering::Relaxed);
                if *parallel > 1 {
                    *parallel = parallel.saturating_sub(1);
                    permit.forget();
                }
            }
            Err(_) => {}
            Ok(_) => {
                let answers = self.answers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if answers >= ANSWERS_FOR_ONE_MORE && *parallel < MOST_PARALLEL {
                    self.answers.store(0, Ordering::Relaxed);
                    *parallel = parallel.saturating_add(1);
                    self.permits.add_permits(1);
                }
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, NoAnswer, Nodes, PARALLEL, Silence, Wire, of_answer};
    use futures::future::BoxFuture;
    use futures::stream::{self, StreamExt as _};
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// A node that refuses so many requests first, and takes so many at once.
    struct Node {
        refuses: AtomicUsize,
        with: fn() -> Result<Value, Failure>,
        bears: usize,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Node {
        fn new(refuses: usize, bears: usize, with: fn() -> Result<Value, Failure>) -> Self {
            let refuses = AtomicUsize::new(refuses);
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Self { refuses, with, bears, now, most }
        }
    }

    fn too_many() -> Result<Value, Failure> {
        of_answer(429, b"<html>slow down</html>")
    }

    impl Wire for Node {
        fn count(&self) -> usize {
            1
        }

        fn name(&self, _: usize) -> String {
            "http://node".to_owned()
        }

        fn post<'a>(
            &'a self,
            _: usize,
            _: &'static str,
            params: &'a Value,
        ) -> BoxFuture<'a, Result<Value, Failure>> {
            Box::pin(async move {
                let now = self.now.fetch_add(1, Ordering::SeqCst).saturating_add(1);
                self.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.now.fetch_sub(1, Ordering::SeqCst);
                let refuse = |left: usize| left.checked_sub(1);
                if self.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
                    return (self.with)();
                }
                if now > self.bears { too_many() } else { Ok(params.clone()) }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_at_the_first_request_ends_nothing() {
        let failures: [fn() -> Result<Value, Failure>; 6] = [
            too_many,
            || of_answer(500, b"oops"),
            || of_answer(502, b"{}"),
            || of_answer(200, br#"{"error":{"code":-32005,"message":"limit exceeded"}}"#),
            || of_answer(413, b"<html>"),
            || Ok(Value::Null),
        ];
        for with in failures {
            let nodes = Nodes::new(Node::new(3, 99, with));
            let told = nodes.ask(7, "m", json!([5]), Ok).await;
            assert_eq!(told, Ok(json!([5])));
            assert_eq!(nodes.requests(), 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_answers_is_given_up_and_what_it_said_is_told() {
        let nodes = Nodes::new(Node::new(usize::MAX, 99, || of_answer(500, b"oops")));
        let silence = nodes.ask(7, "m", json!([]), Ok).await;
        let reasons = "http://node: HTTP 500, no JSON".to_owned();
        let told = Silence { method: "m", reasons, is_final: false };
        assert_eq!(silence, Err(NoAnswer::Silence(told)));

        let unknown = || of_answer(200, br#"{"error":{"code":-32601,"message":"no such method"}}"#);
        let nodes = Nodes::new(Node::new(usize::MAX, 99, unknown));
        assert!(nodes.ask(7, "m", json!([]), Ok).await.is_err());
        assert_eq!(nodes.requests(), 1, "asking again is of no use");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_gets_as_many_requests_at_once_as_it_bears() {
        let nodes = Nodes::new(Node::new(0, 4, too_many));
        let begun = tokio::time::Instant::now();
        let told = stream::iter(0..400).map(|_| nodes.ask(7, "m", json!([]), Ok)).buffered(64);
        let told: Vec<_> = told.collect().await;
        assert!(told.iter().all(Result::is_ok));
        assert!(nodes.parallel() < PARALLEL, "{}", nodes.parallel());
        assert!(begun.elapsed() < Duration::from_secs(400));
    }

    /// A day of L1 blocks at 100 ms a request, on a clock that does not wait.
    #[tokio::test(start_paused = true)]
    async fn a_day_of_headers_takes_a_request_each_and_less_than_twenty_minutes() {
        let nodes = Nodes::new(Node::new(0, usize::MAX, too_many));
        let begun = tokio::time::Instant::now();
        let told = stream::iter(0..7_200).map(|_| nodes.ask(7, "m", json!([]), Ok)).buffered(64);
        assert_eq!(told.count().await, 7_200);
        assert_eq!(nodes.requests(), 7_200);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert!(nodes.wire().most.load(Ordering::SeqCst) <= 64);
    }
}
