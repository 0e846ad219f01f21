//! `rota bench`: throughput, latencies, cost and failover of agents on this machine, counted on L1.

use crate::crypto::SecretKey;
use crate::devnet::ledger::Percentiles;
use crate::devnet::network::{Network, Plan};
use crate::devnet::run::Session;
use crate::devnet::wallet::known_key;
use crate::rpc_client::RpcClient;
use alloy::primitives::{Address, B256, keccak256};
use clap::Args;
use eyre::{OptionExt as _, WrapErr as _};
use serde::Serialize;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long what was sent may take to settle after the last transaction.
const DRAIN: Duration = Duration::from_secs(120);
/// Ticks of a second in /proc (`getconf CLK_TCK` on Linux).
const TICKS_PER_SECOND: u64 = 100;
/// Leaders killed one after the other, and the light traffic meanwhile.
const KILLS: usize = 3;
const FAILOVER_TPS: f64 = 50.0;
/// How long the network runs undisturbed before a kill.
const CALM: Duration = Duration::from_secs(6);
/// How often agents are asked for blocks while one of them is missed.
const FAILOVER_POLL: Duration = Duration::from_millis(10);
/// Signatures recovered to find this machine's limit, per thread.
const RECOVERIES: u32 = 5_000;

/// Measure throughput, latencies and failover of agents on this machine
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Agents
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    agents: u8,
    /// Transactions a second that are offered
    #[arg(long, value_name = "RATE", default_value_t = 2_500.0)]
    tps: f64,
    /// Seconds of traffic
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,
    /// Where the figures go
    #[arg(long, value_name = "FILE", default_value = "bench/out/agents.json")]
    out: PathBuf,
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    /// Settled transactions a second, from the first submission to the last settlement.
    settled_tps: f64,
    /// Transactions offered a second.
    offered_tps: f64,
    sent: u64,
    lost: u64,
    doubled: u64,
    decided_ms: Percentiles,
    settled_ms: Percentiles,
    /// Processor time of each agent by settled transaction, in microseconds.
    cpu_us_per_tx: Vec<u64>,
    /// From SIGKILL of the leader, under light traffic, to the next block that another has proposed: the median kill.
    failover_ms: u64,
    /// The same, of each kill.
    failovers_ms: Vec<u64>,
    /// Signatures that all cores together recover in a second.
    recover_limit_tps: u64,
    /// `settled_tps` with a single agent.
    single_tps: f64,
    /// Cores of this machine.
    cores: usize,
}

/// Measures, writes the figures down and prints them.
///
/// # Errors
///
/// When a network does not start or the figures cannot be written.
pub async fn run(options: Options, _json: bool) -> eyre::Result<()> {
    let recover_limit_tps = tokio::task::spawn_blocking(recover_limit).await?;
    let single = load(1, options.tps, options.seconds).await?;
    let full = load(options.agents.into(), options.tps, options.seconds).await?;
    let mut failovers_ms = failovers(options.agents.into()).await?;
    failovers_ms.sort_unstable();
    let figures = Figures {
        recover_limit_tps,
        failover_ms: failovers_ms.get(failovers_ms.len() / 2).copied().unwrap_or_default(),
        failovers_ms,
        single_tps: single.settled_tps,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        ..full
    };
    let text = serde_json::to_string_pretty(&figures)?;
    if let Some(folder) = options.out.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&options.out, format!("{text}\n"))
        .wrap_err_with(|| format!("out: cannot write {}", options.out.display()))?;
    println!("{text}");
    Ok(())
}

/// One network under load.
async fn load(agents: usize, tps: f64, seconds: u64) -> eyre::Result<Figures> {
    let mut plan = Plan::of_this_binary(agents)?;
    plan.log = "warn".to_owned();
    let network = Network::start(plan, |step| eprintln!("{agents} agents: {step}")).await?;
    let before = cpu_ticks(&network);
    let mut session = Session::begin(network, tps).await?;
    eprintln!("{agents} agents: {tps} transactions a second for {seconds} s");
    sleep(Duration::from_secs(seconds)).await;
    session.stop_sending();
    // What is not settled by then counts as lost.
    let _ = timeout(DRAIN, session.show_until_settled()).await;
    let after = cpu_ticks(&session.network);
    let settled = session.report().settled.max(1);
    let cpu_us_per_tx = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            let micros = after.saturating_sub(*before).saturating_mul(1_000_000 / TICKS_PER_SECOND);
            micros.checked_div(settled).unwrap_or_default()
        })
        .collect();
    let report = session.end().await;
    Ok(Figures {
        settled_tps: report.tps,
        offered_tps: tps,
        sent: report.sent,
        lost: report.lost,
        doubled: report.doubled,
        decided_ms: report.decided_ms,
        settled_ms: report.settled_ms,
        cpu_us_per_tx,
        failover_ms: 0,
        failovers_ms: Vec::new(),
        recover_limit_tps: 0,
        single_tps: 0.0,
        cores: 0,
    })
}

/// Kills the leader a few times, each time in a network that is whole again. None with fewer agents than it takes to go
/// on without one.
async fn failovers(agents: usize) -> eyre::Result<Vec<u64>> {
    if agents < 4 {
        return Ok(Vec::new());
    }
    let mut plan = Plan::of_this_binary(agents)?;
    plan.log = "warn".to_owned();
    let network = Network::start(plan, |step| eprintln!("{agents} agents: {step}")).await?;
    let mut session = Session::begin(network, FAILOVER_TPS).await?;
    let mut times = Vec::with_capacity(KILLS);
    for _ in 0..KILLS {
        sleep(CALM).await;
        times.push(measure_failover(&mut session).await?);
    }
    session.end().await;
    Ok(times)
}

/// Kills the agent whose turn it is, and times the next block that another one has proposed. Then starts it again.
async fn measure_failover(session: &mut Session) -> eyre::Result<u64> {
    let agents: Vec<RpcClient> =
        session.network.rpc_urls().into_iter().map(RpcClient::new).collect();
    let status = agents.first().ok_or_eyre("no agent")?.call("rota_status", json!([])).await?;
    let leader: Address = serde_json::from_value(status.get("leader").cloned().unwrap_or_default())
        .wrap_err("leader in rota_status")?;
    let signers = session.network.signers();
    let index = signers.iter().position(|signer| *signer == leader).ok_or_eyre("leader unknown")?;
    let others: Vec<RpcClient> = agents
        .into_iter()
        .enumerate()
        .filter_map(|(at, agent)| (at != index).then_some(agent))
        .collect();
    let before = newest(&others).await.map_or(0, |(height, _)| height);
    session.network.kill(index).await;
    let killed = Instant::now();
    let by_another = |(height, proposer)| height > before && proposer != leader;
    while !newest(&others).await.is_some_and(by_another) {
        eyre::ensure!(killed.elapsed() < DRAIN, "no block was decided without the leader");
        sleep(FAILOVER_POLL).await;
    }
    let took = u64::try_from(killed.elapsed().as_millis()).unwrap_or(u64::MAX);
    session.network.restart(index)?;
    session.network.answering(DRAIN).await?;
    Ok(took)
}

/// Height and proposer of the newest block that an agent tells.
async fn newest(agents: &[RpcClient]) -> Option<(u64, Address)> {
    let params = json!(["latest", false]);
    let asked = agents.iter().map(|agent| agent.call("eth_getBlockByNumber", params.clone()));
    let told = futures::future::join_all(asked).await;
    let blocks = told.into_iter().filter_map(|answer| {
        let block = answer.ok()?;
        let digits = block.get("number")?.as_str()?.strip_prefix("0x")?.to_owned();
        let height = u64::from_str_radix(&digits, 16).ok()?;
        Some((height, serde_json::from_value(block.get("miner")?.clone()).ok()?))
    });
    blocks.max()
}

/// Processor time of each agent so far, user and system, in ticks.
fn cpu_ticks(network: &Network) -> Vec<u64> {
    let ids = network.process_ids();
    ids.into_iter()
        .map(|id| {
            let text = id.and_then(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok());
            // The name of the program may hold spaces, but it ends with the last parenthesis.
            let fields = text.as_deref().and_then(|text| text.rsplit_once(')'));
            fields.map_or(0, |(_, fields)| {
                fields
                    .split_whitespace()
                    .skip(11)
                    .take(2)
                    .filter_map(|n| n.parse::<u64>().ok())
                    .sum()
            })
        })
        .collect()
}

/// How many signatures all cores together recover in a second: no network can order more real transactions.
fn recover_limit() -> u64 {
    let key = SecretKey::from_bytes(known_key("user", 0)).expect("a keccak256 hash is a key");
    let signed: Vec<(B256, _)> = (0..64_u8)
        .map(|number| keccak256([number]))
        .map(|digest| (digest, key.sign(digest)))
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let turns = signed.iter().cycle().zip(0..RECOVERIES);
                let valid =
                    turns.filter(|((digest, signature), _)| signature.recover(*digest).is_ok());
                std::hint::black_box(valid.count());
            });
        }
    });
    let micros = start.elapsed().as_micros().max(1);
    let done = u128::from(RECOVERIES).saturating_mul(u128::try_from(cores).unwrap_or(1));
    let a_second = done.saturating_mul(1_000_000).checked_div(micros).unwrap_or_default();
    u64::try_from(a_second).unwrap_or(u64::MAX)
}
