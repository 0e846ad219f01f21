//! Several L1 nodes as one transport: sticky, one after the other, as [`Standing`] says.
//!
//! A request goes to the node that is preferred. What tells nothing about the request but something about the node (no
//! connection, time-out, HTTP 5xx, too many requests, no JSON) sends the same request to the next one; what the node
//! does not have (a block, a transaction) is asked of the others too, without blame. Everything else is the answer: racing
//! nodes, or asking another one until somebody agrees, would mix views of L1 and hide refusals.
//!
//! Whether an answer can be is for whoever asked to say. Who told it is noted for them ([`Nodes::hear`]), so that the node
//! that is left is the one that lied, also where many are asked at once.

use super::client::DEVELOPMENT_CHAIN;
use super::error::L1Error;
use super::refusal::{self, NO_METHOD, Refusal};
use super::standing::{HeadVerdict, Standing};
use super::transport::Bounded;
use crate::config::redact;
use alloy::network::Ethereum;
use alloy::primitives::{Address, U64};
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, ResponsePacket};
use alloy::transports::http::reqwest;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use serde::Deserialize;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout};
use tower::Service;
use tracing::{error, info, warn};
use url::Url;

/// How far a block's time may be ahead of the clock.
const MAX_AHEAD_SECONDS: u64 = 60;
/// How long one node may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The nodes of one L1. Clones share how they stand.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    nodes: Arc<[Node]>,
    standing: Arc<Mutex<Standing>>,
    chain_id: u64,
}

#[derive(Clone, Debug)]
struct Node {
    /// Its URL without what may be secret.
    name: String,
    transport: Bounded,
}

tokio::task_local! {
    /// Whose answers the running task has got since it began to listen.
    static HEARD: RefCell<Vec<Witness>>;
}

/// A node that has answered, and how often it had been left before it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Witness {
    index: usize,
    left: u32,
}

/// Whose answers somebody has got, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Vec<Witness>);

impl Heard {
    /// Whether any node has told anything.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whoever listens around the one who has heard this.
    pub(super) fn pass_on(&self) {
        let _ = HEARD.try_with(|heard| {
            let mut heard = heard.borrow_mut();
            for witness in &self.0 {
                if heard.last() != Some(witness) {
                    heard.push(*witness);
                }
            }
        });
    }
}

/// What a node said to one request.
enum Said {
    /// The answer.
    This(ResponsePacket),
    /// It does not have what was asked for; another one may.
    Nothing(Result<ResponsePacket, TransportError>),
    /// It is in no state to answer.
    Trouble(Result<ResponsePacket, TransportError>),
    /// Something that another node would say as well.
    Refusal(TransportError),
}

impl Nodes {
    /// Nodes that are asked for the chain with this id. None is contacted.
    pub(super) fn new(http: &reqwest::Client, urls: &[Url], chain_id: u64) -> Self {
        let large = Bounded::turns();
        let node = |url: &Url| Node {
            name: redact(url),
            transport: Bounded::new(http.clone(), url.clone(), Arc::clone(&large)),
        };
        Self {
            nodes: urls.iter().map(node).collect(),
            standing: Arc::new(Mutex::new(Standing::new(urls.len()))),
            chain_id,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node is on the right chain. Asked once it answers, before anything else.
    async fn is_ours(&self, index: usize, node: &Node) -> bool {
        if self.standing().is_known(index) {
            return true;
        }
        let provider = RootProvider::<Ethereum>::new(RpcClient::new(node.transport.clone(), false));
        match timeout(REQUEST_TIMEOUT, provider.get_chain_id()).await {
            Ok(Ok(actual)) => {
                let expected = self.chain_id;
                self.standing().told_chain(index, actual == expected);
                if actual != expected {
                    error!(
                        node = node.name,
                        expected, actual, "an l1 node is on another chain, it is left out"
                    );
                }
                actual == expected
            }
            _ => {
                self.rest(index, node, "does not answer");
                false
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Does something, and says whose answers it got.
    pub(super) async fn hear<F: Future>(work: F) -> (F::Output, Heard) {
        HEARD
            .scope(RefCell::default(), async {
                let done = work.await;
                (done, Heard(HEARD.with(RefCell::take)))
            })
            .await
    }

    /// Leaves who told what cannot be. Where several told parts of it nobody knows which of them is wrong: the first one
    /// rests, so that others are asked, and nothing is held against it.
    pub(super) fn leave(&self, heard: &Heard, why: &str) {
        let Some(first) = heard.0.first() else { return };
        let Some(node) = self.nodes.get(first.index) else { return };
        let is_alone = heard.0.iter().all(|other| other.index == first.index);
        let now = Instant::now();
        let rest = match is_alone {
            true => self.standing().lied(first.index, first.left, now),
            false => self.standing().failed(first.index, now),
        };
        match rest {
            Some(_) if self.nodes.len() == 1 => {
                warn!(
                    node = node.name,
                    why, "the l1 node told what cannot be, and there is no other"
                );
            }
            rest => self.say_rest(node, why, rest),
        }
    }

    /// Leaves the node that is asked first: what it told does not add up.
    pub(super) fn distrust(&self, why: &str) {
        let first = self.standing().order(Instant::now(), false).first().copied();
        if let Some((index, node)) = first.and_then(|index| Some((index, self.nodes.get(index)?))) {
            self.rest(index, node, why);
        }
    }

    fn rest(&self, index: usize, node: &Node, why: &str) {
        let rest = self.standing().failed(index, Instant::now());
        self.say_rest(node, why, rest);
    }

    fn say_rest(&self, node: &Node, why: &str, rest: Option<Duration>) {
        if let Some(rest) = rest
            && self.nodes.len() > 1
        {
            warn!(node = node.name, why, ?rest, "an l1 node is left for another");
        }
    }

    async fn say(node: &Node, request: RequestPacket) -> Said {
        let alone = request.as_single().map(|request| request.method_clone());
        let mut transport = node.transport.clone();
        let answer = match timeout(REQUEST_TIMEOUT, transport.call(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return match L1Error::of(&error, Address::ZERO) {
                    refusal if refusal.is_no_method() && is_optional(alone.as_deref()) => {
                        Said::Nothing(Err(error))
                    }
                    L1Error::Refused {
                        why: Refusal::RangeTooLarge | Refusal::TooManyBytes,
                        ..
                    }
                    | L1Error::Reverted { .. } => Said::Refusal(error),
                    _ => Said::Trouble(Err(error)),
                };
            }
            Err(_) => {
                let seconds = REQUEST_TIMEOUT.as_secs();
                let error = TransportErrorKind::custom_str(&format!("no answer in {seconds} s"));
                return Said::Trouble(Err(error));
            }
        };
        if let Some(error) = answer.as_error() {
            if error.as_revert_data().is_some() {
                return Said::This(answer);
            }
            return match Refusal::of(error.code, &error.message) {
                Refusal::RateLimited => Said::Trouble(Ok(answer)),
                Refusal::BlockUnknown => Said::Nothing(Ok(answer)),
                _ if error.code == -32_603
                    && alone.as_deref() != Some("eth_sendRawTransaction") =>
                {
                    Said::Nothing(Ok(answer))
                }
                Refusal::Other if is_optional(alone.as_deref()) => Said::Nothing(Ok(answer)),
                _ => Said::This(answer),
            };
        }
        let is_null = answer
            .single_payload()
            .and_then(|payload| payload.as_success())
            .is_some_and(|told| told.get() == "null");
        // A receipt may well be nowhere yet.
        if is_null && alone.is_some_and(|method| method != "eth_getTransactionReceipt") {
            return Said::Nothing(Ok(answer));
        }
        Said::This(answer)
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let method = request.as_single().map(|request| request.method().to_owned());
        let optional = method.filter(|method| is_optional(Some(method)));
        let (asks_head, asked_block) = (asks_head(&request), asked_block(&request));
        let mut doubted: Option<(u64, Witness, ResponsePacket)> = None;
        let mut nothing = None;
        let mut trouble = None;
        let mut best: Option<(u64, Witness, ResponsePacket)> = None;
        let mut compared = 0_usize;
        let order = self.standing().order(Instant::now(), asks_head);
        for index in &order {
            let Some(node) = self.nodes.get(*index) else { continue };
            if let Some(method) = &optional
                && self.standing().is_without(*index, method, Instant::now())
            {
                nothing.get_or_insert_with(|| no_method(method));
                continue;
            }
            // Who rests is asked when nobody else has said anything.
            let is_answered = nothing.is_some() || best.is_some();
            if is_answered && self.standing().rests(*index, Instant::now()) {
                break;
            }
            if !self.is_ours(*index, node).await {
                continue;
            }
            let witness = Witness { index: *index, left: self.standing().times_left(*index) };
            match Self::say(node, request.clone()).await {
                Said::This(answer) => {
                    let now = Instant::now();
                    let head = asks_head.then(|| head_of(&answer)).flatten();
                    let Some(Head { number, timestamp }) = head else {
                        self.standing().answered(*index, now);
                        return heard(witness, answer);
                    };
                    let number = number.to::<u64>();
                    let verdict = match self.is_of_the_future(timestamp.to()) {
                        true => HeadVerdict::Doubtful,
                        false => self.standing().told_head(*index, number, now),
                    };
                    if verdict == HeadVerdict::Doubtful && self.nodes.len() > 1 {
                        self.rest(*index, node, "its head cannot be");
                        if doubted.as_ref().is_none_or(|(known, ..)| number < *known) {
                            doubted = Some((number, witness, answer));
                        }
                        continue;
                    }
                    compared = compared.saturating_add(1);
                    if verdict == HeadVerdict::Fine && best.is_none() {
                        self.standing().answered(*index, now);
                        return heard(witness, answer);
                    }
                    if best.as_ref().is_none_or(|(known, ..)| number > *known) {
                        best = Some((number, witness, answer));
                    }
                }
                Said::Nothing(answer)
                    if asked_block.is_some_and(|number| {
                        self.standing().denied(*index, number, Instant::now())
                    }) =>
                {
                    warn!(node = node.name, "an l1 node does not have the blocks below its head");
                    trouble.get_or_insert(answer);
                }
                Said::Nothing(answer) => {
                    if let Some(method) = &optional
                        && says_no_method(&answer)
                        && self.standing().lacks_method(*index, method, Instant::now())
                    {
                        warn!(node = node.name, method, "an l1 node does not have a method");
                    }
                    nothing.get_or_insert(answer);
                }
                Said::Refusal(error) => return Err(error),
                Said::Trouble(answer) => {
                    let why = match &answer {
                        Ok(_) => "too many requests".to_owned(),
                        Err(error) => L1Error::of(error, Address::ZERO).to_string(),
                    };
                    self.rest(*index, node, &why);
                    trouble.get_or_insert(answer);
                }
            }
        }
        if let Some((number, witness, answer)) = best {
            self.prefer(number, witness.index, &order, compared);
            return heard(witness, answer);
        }
        // There is no other: after a long while without any node, this may be how far L1 is.
        if let Some((number, witness, answer)) = doubted {
            self.standing().settle_for(number, Instant::now());
            return heard(witness, answer);
        }
        let none = || Err(TransportErrorKind::custom_str("no l1 node is on the right chain"));
        nothing.or(trouble).unwrap_or_else(none)
    }

    /// Whether a block's time is ahead of the clock by more than clocks differ. Time on a development chain is what its
    /// developer makes it.
    fn is_of_the_future(&self, timestamp: u64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.chain_id != DEVELOPMENT_CHAIN && timestamp > now.saturating_add(MAX_AHEAD_SECONDS)
    }

    /// All heads were compared and that of `index` is the highest: those that are behind it rest.
    fn prefer(&self, number: u64, index: usize, order: &[usize], compared: usize) {
        for other in order.iter().take_while(|other| **other != index) {
            if let Some(node) = self.nodes.get(*other) {
                let rest = self.standing().fell_behind(*other, Instant::now());
                self.say_rest(node, "its head is behind another node's", rest);
            }
        }
        if compared > 1
            && let Some(node) = self.nodes.get(index)
        {
            info!(node = node.name, head = number, "l1 nodes compared, this one is asked");
        }
        self.standing().settle_for(number, Instant::now());
    }
}

/// Whether not all nodes have a method: what one of them refuses without a known reason another one may give.
fn is_optional(method: Option<&str>) -> bool {
    matches!(method, Some("eth_getBlockReceipts" | "debug_getRawHeader"))
}

/// Gives an answer on and notes whose it is, if anybody wants to know.
fn heard(witness: Witness, answer: ResponsePacket) -> Result<ResponsePacket, TransportError> {
    Heard(vec![witness]).pass_on();
    Ok(answer)
}

/// Whether a node says that it does not have the method that it was asked for.
fn says_no_method(answer: &Result<ResponsePacket, TransportError>) -> bool {
    match answer {
        Ok(answer) => {
            answer.as_error().is_some_and(|error| refusal::is_no_method(error.code, &error.message))
        }
        Err(error) => L1Error::of(error, Address::ZERO).is_no_method(),
    }
}

/// What a node said before that does not have the method, without asking it.
fn no_method(method: &str) -> Result<ResponsePacket, TransportError> {
    let message = format!("the method {method} is not available").into();
    Err(TransportError::err_resp(ErrorPayload { code: NO_METHOD, message, data: None }))
}

/// Whether a request asks for the newest block.
fn asks_head(request: &RequestPacket) -> bool {
    request.as_single().is_some_and(|request| {
        request.method() == "eth_getBlockByNumber"
            && request.params().is_some_and(|params| params.get().contains("\"latest\""))
    })
}

/// The block that a request asks for by its number.
fn asked_block(request: &RequestPacket) -> Option<u64> {
    let request = request.as_single().filter(|one| one.method() == "eth_getBlockByNumber")?;
    let (number, _): (U64, bool) = serde_json::from_str(request.params()?.get()).ok()?;
    Some(number.to())
}

/// What a node says of the newest block.
#[derive(Deserialize)]
struct Head {
    number: U64,
    timestamp: U64,
}

fn head_of(answer: &ResponsePacket) -> Option<Head> {
    serde_json::from_str(answer.single_payload()?.as_success()?.get()).ok()
}

impl Service<RequestPacket> for Nodes {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}
