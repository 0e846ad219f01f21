//! End to end: Anvil and agents as processes of their own, real clients, real keys, nothing mocked.
//!
//! The tests run one after another: a network keeps this machine busy. Each waits for what it expects with a deadline,
//! never for a time to pass.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails where it stands"
)]

mod bad_input;
mod faults;
mod forced;
mod journey;
mod operator;
mod restart;

use rota::devnet::{Network, Plan, Session};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long anything may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(240);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Holds back the other tests while it lives.
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
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
