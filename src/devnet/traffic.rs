//! Traffic: made-up users who send real transactions through the agents' JSON-RPC, as any wallet would.

use crate::devnet::ledger::Ledger;
use crate::devnet::wallet::Wallet;
use crate::domain::RollupId;
use crate::rpc_client::RpcClient;
use alloy::primitives::{Address, B256, Bytes};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often a lane submits what has come due.
const TICK: Duration = Duration::from_millis(20);
/// Users per lane; each sends through one agent while that answers, so that its nonces arrive in order.
const USERS_PER_LANE: usize = 16;
/// Transactions in one HTTP request at most.
const PER_REQUEST: usize = 100;
/// A user sends a transaction again when it was not decided for so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Traffic pauses while so many transactions are undecided: it measures the network, not the length of a queue.
const MAX_UNDECIDED: u64 = 40_000;
/// How often agents are asked for new blocks.
const WATCH_EVERY: Duration = Duration::from_millis(25);

/// A ledger that all tasks write to.
#[derive(Clone, Default)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// The ledger. Never hold it across an `.await`.
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends `tps` transactions a second in all until `stop`, spread over the agents.
pub(super) async fn run(
    agents: Vec<RpcClient>,
    rollup: RollupId,
    tps: f64,
    ledger: SharedLedger,
    stop: CancellationToken,
) {
    let lanes = agents.len().max(1);
    #[expect(clippy::cast_precision_loss, reason = "a handful of agents")]
    let tps_per_lane = tps / lanes as f64;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..lanes {
        let (agents, ledger, stop) = (agents.clone(), ledger.clone(), stop.clone());
        tasks.spawn(async move {
            let sending = send(&agents, lane, rollup, tps_per_lane, &ledger);
            stop.run_until_cancelled(sending).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// One lane: its users sign in turn, and submit to the lane's agent or, while that is silent, to the next.
async fn send(
    agents: &[RpcClient],
    lane: usize,
    rollup: RollupId,
    tps: f64,
    ledger: &SharedLedger,
) {
    let first = lane.saturating_mul(USERS_PER_LANE);
    let mut users: Vec<Wallet> = (first..first.saturating_add(USERS_PER_LANE))
        .map(|index| Wallet::new(rollup, index))
        .collect();
    let mut next_user = 0_usize;
    let mut due = 0.0;
    let mut before = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        // A stall is not made up for with a burst of more than a second's worth.
        due = f64::min(due + tps * now.duration_since(before).as_secs_f64(), tps.max(1.0));
        before = now;
        if ledger.lock().undecided() > MAX_UNDECIDED {
            continue;
        }
        let mut batch = Vec::new();
        while due >= 1.0 && batch.len() < PER_REQUEST {
            let Some(user) = users.get_mut(next_user) else { break };
            next_user = next_user.saturating_add(1).checked_rem(USERS_PER_LANE).unwrap_or_default();
            batch.push(user.sign(Address::with_last_byte(1)));
            due -= 1.0;
        }
        if batch.is_empty() {
            continue;
        }
        let raws: Vec<Bytes> = {
            let mut ledger = ledger.lock();
            let now = Instant::now();
            batch
                .into_iter()
                .map(|signed| {
                    ledger.sent(signed.hash, signed.raw.clone(), now);
                    signed.raw
                })
                .collect()
        };
        submit_somewhere(agents, lane, &raws).await;
    }
}

/// Tries the agents in turn, from `preferred` on, until one answers.
async fn submit_somewhere(agents: &[RpcClient], preferred: usize, transactions: &[Bytes]) -> bool {
    for agent in agents.iter().cycle().skip(preferred).take(agents.len()) {
        let params = transactions.iter().map(|raw| json!([raw])).collect();
        // What the agent refuses is sent again later; what matters here is that it is alive.
        if agent.batch("eth_sendRawTransaction", params).await.is_ok() {
            return true;
        }
    }
    false
}

/// Sends again what no block has held for a while, until cancelled: an agent may have died with it.
pub(super) async fn resend(agents: &[RpcClient], ledger: &SharedLedger) {
    let mut ticks = interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut preferred = 0_usize;
    loop {
        ticks.tick().await;
        let overdue = ledger.lock().overdue(Instant::now(), PATIENCE, 2_000);
        for chunk in overdue.chunks(PER_REQUEST) {
            submit_somewhere(agents, preferred, chunk).await;
        }
        preferred = preferred.saturating_add(1).checked_rem(agents.len()).unwrap_or_default();
    }
}

/// Notes the time at which each block becomes visible to a client, until cancelled.
pub(super) async fn watch_decided(agents: &[RpcClient], ledger: &SharedLedger) {
    let mut next: u64 = 1;
    let mut ticks = interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for agent in agents {
            // An agent that is gone or behind tells nothing new; the next one is asked in the same round.
            while let Some(hashes) = block(agent, next).await {
                let now = Instant::now();
                let mut ledger = ledger.lock();
                hashes.into_iter().for_each(|hash| ledger.decided(hash, now));
                next = next.saturating_add(1);
            }
            ticks.tick().await;
        }
    }
}

/// Transaction hashes of a decided block; `None` while the agent does not have it.
async fn block(agent: &RpcClient, height: u64) -> Option<Vec<B256>> {
    let answer =
        agent.call("eth_getBlockByNumber", json!([format!("0x{height:x}"), false])).await.ok()?;
    serde_json::from_value(answer.get("transactions")?.clone()).ok()
}
