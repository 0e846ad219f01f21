//! End to end: Anvil and agents as processes of their own, real clients, real keys, nothing mocked.
//!
//! A few networks run at a time ([`SEATS`]). Each test waits for what it expects with a deadline, never for a time to pass.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails where it stands"
)]

mod bad_input;
mod edges;
mod ending;
mod faults;
mod forced;
mod hostile;
mod hostile_client;
mod journey;
#[path = "../../src/l1/testing/hostile.rs"]
#[expect(dead_code, reason = "the library's tests count requests, too")]
mod l1_proxy;
mod mixed;
mod operator;
mod restart;
mod rotation;
mod simulate;
mod stakers;
mod starting;
mod stores;

use alloy::primitives::{Address, U256, keccak256};
use rota::devnet::{Network, Plan, Session};
use rota::domain::SequencerRecord;
use rota::l1::actions;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

/// How long anything may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(240);

/// What each sequencer of the development network stakes, in wei of the stake token.
const STAKE_WEI: u128 = 1_000_000_000_000_000_000_000;

/// How many networks run at a time. A test waits for turns and settlements most of its time: one alone keeps a tenth of two
/// cores busy.
const SEATS: usize = 3;

static FREE: Mutex<usize> = Mutex::new(SEATS);
static FREED: Condvar = Condvar::new();

/// Seats that a test holds while it lives.
struct Seats(usize);

impl Seats {
    fn take(number: usize) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            FREED.wait_while(free, |free| *free < number).unwrap_or_else(PoisonError::into_inner);
        *free -= number;
        Self(number)
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREED.notify_all();
    }
}

/// Holds back the other tests while it lives: for who measures what a network does.
fn alone() -> Seats {
    Seats::take(SEATS)
}

/// Lets one other network run beside this one.
fn beside() -> Seats {
    Seats::take(1)
}

fn plan(agents: usize) -> Plan {
    let mut plan = Plan::of_this_binary(agents).unwrap();
    plan.program = PathBuf::from(env!("CARGO_BIN_EXE_rota"));
    plan
}

/// A network with traffic on it.
async fn session(plan: Plan, tps: f64) -> Session {
    let network = Network::start(plan, |_| {}).await.unwrap();
    Session::begin(network, tps).await.unwrap()
}

/// A client of an agent, or of Anvil, that a busy machine does not put off.
fn client(url: Url) -> RpcClient {
    RpcClient::patient(url, Duration::from_secs(60))
}

/// Waits until everything that was sent is settled.
async fn settle(session: &mut Session) {
    let settled = tokio::time::timeout(DEADLINE, session.show_until_settled()).await;
    assert!(settled.is_ok(), "not settled within {DEADLINE:?}: {:?}", session.report());
}

/// Runs a command as the owner of `key` against the session's L1; it must end with `code`. Its answer.
fn rota(session: &Session, key: &str, code: i32, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_rota"))
        .args(arguments)
        .arg("--json")
        .env("ROTA_L1_RPC", session.network.l1_url().as_str())
        .env("ROTA_DEPLOYMENT", session.network.folder().join("deployment.json"))
        .env("ROTA_OWNER_KEY", key)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| {
        panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {answer}");
    answer
}

/// Key of an `owner` or a `signer` of the development network, in hexadecimal: derived from words that everybody knows.
fn key(role: &str, agent: usize) -> String {
    alloy::hex::encode(keccak256(format!("rota devnet {role} {agent}")))
}

/// What the registry holds of the sequencer that signs with `signer`.
async fn record(session: &Session, signer: Address) -> SequencerRecord {
    let (client, deployment) = (session.network.l1(), session.network.deployment());
    let known = actions::sequencers(client, deployment).await.unwrap();
    known.into_iter().find(|sequencer| sequencer.signer == signer).unwrap()
}

/// Stake tokens of an account, in wei.
async fn tokens_of(session: &Session, account: Address) -> u128 {
    let l1 = client(session.network.l1_url().clone());
    let balance_of = format!("0x70a08231{}", alloy::hex::encode(account.into_word()));
    let call = json!({ "to": session.network.deployment().stake_token, "data": balance_of });
    let balance = l1.call("eth_call", json!([call, "latest"])).await.unwrap();
    serde_json::from_value::<U256>(balance).unwrap().to()
}

/// A metric of an agent as Prometheus reads it.
async fn metric(session: &Session, agent: usize, name: &str) -> i64 {
    let url = session.network.health_urls()[agent].join("/metrics").unwrap();
    // An agent that was just started answers when it gets to it.
    let deadline = Instant::now() + DEADLINE;
    let text = loop {
        let answer = reqwest::get(url.clone()).await.and_then(reqwest::Response::error_for_status);
        if let Ok(answer) = answer
            && let Ok(text) = answer.text().await
        {
            break text;
        }
        assert!(Instant::now() < deadline, "agent {agent} does not tell its metrics");
        sleep(Duration::from_millis(200)).await;
    };
    let plain = format!("rota_{name} ");
    let counter = format!("rota_{name}_total ");
    let line = text.lines().find_map(|line| {
        line.strip_prefix(&plain).or_else(|| line.strip_prefix(&counter)).map(str::to_owned)
    });
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

/// A number of wei in an answer.
fn wei(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}

/// Polls until `condition` holds.
async fn until<F>(what: &str, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A runtime like the agents'.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}
