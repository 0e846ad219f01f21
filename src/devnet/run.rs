//! A run: the network, its traffic, the view, and the report at the end.

use crate::devnet::announce::announcement;
use crate::devnet::ledger::Totals;
use crate::devnet::network::{DevnetError, Network, Plan, ROLLUP};
use crate::devnet::observer::{self, SharedSeen};
use crate::devnet::options::Options;
use crate::devnet::report::Report;
use crate::devnet::traffic::{self, SharedLedger};
use crate::devnet::view::{Picture, View};
use crate::domain::{Height, Params};
use crate::l1::actions;
use crate::rpc_client::RpcClient;
use alloy::primitives::utils::format_ether;
use alloy::primitives::{Address, B256};
use indicatif::ProgressBar;
use serde_json::json;
use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How often the view changes.
const REDRAW: Duration = Duration::from_millis(500);
/// How long traffic that was sent may take to settle after the last transaction.
const DRAIN: Duration = Duration::from_secs(60);
/// How often stakes are read from L1.
const STAKES_EVERY: Duration = Duration::from_secs(5);
/// The span over which the rate in the view is counted.
const RATE_OVER: Duration = Duration::from_secs(10);

/// Runs until the time is over or Ctrl-C.
///
/// # Errors
///
/// [`DevnetError`] when something does not start.
pub async fn run(options: Options, json: bool) -> eyre::Result<()> {
    let mut plan = Plan::of_this_binary(options.agents.into())?;
    plan.keep = options.keep;
    plan.usual_ports = true;
    let starting = crate::cli::output::progress("starting");
    let started = tokio::select! {
        started = Network::start(plan, |step| tell(&starting, step)) => started,
        () = interrupted() => {
            starting.finish_and_clear();
            // What was started ends with its handles, Anvil a moment later: its watcher needs the time to kill it.
            sleep(Duration::from_millis(500)).await;
            return Ok(());
        }
    };
    starting.finish_and_clear();
    let network = started?;
    if !json {
        println!("{}", announcement(&network));
    }
    let mut session = Session::begin(network, options.tps).await?;
    let end = async {
        match options.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = session.show() => {}
        () = end => {}
        () = interrupted() => {}
    }
    session.stop_sending();
    let drained = tokio::select! {
        drained = timeout(DRAIN, session.show_until_settled()) => drained.is_ok(),
        () = interrupted() => false,
    };
    let folder = session.network.folder().to_owned();
    let report = session.end().await;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&report)?);
        if options.keep {
            println!("kept {}", folder.display());
        }
    }
    if !drained {
        tracing::debug!("ended before everything settled");
    }
    Ok(())
}

/// A network under traffic, watched from L1. The end-to-end tests and the bench drive the same.
pub struct Session {
    /// What runs.
    pub network: Network,
    pub(super) ledger: SharedLedger,
    pub(super) seen: SharedSeen,
    agents: Vec<RpcClient>,
    params: Params,
    sending: CancellationToken,
    tasks: JoinSet<()>,
    view: View,
    recent: VecDeque<(Instant, u64)>,
    stakes: Option<(Instant, Vec<String>)>,
}

impl Session {
    /// Starts to watch L1 and, unless `tps` is zero, to send.
    ///
    /// # Errors
    ///
    /// [`DevnetError::L1`] when Anvil does not tell the parameters.
    pub async fn begin(network: Network, tps: f64) -> Result<Self, DevnetError> {
        let params = network.l1().verify(network.deployment()).await?;
        let (ledger, seen) = (SharedLedger::default(), SharedSeen::default());
        let agents: Vec<RpcClient> = network.rpc_urls().into_iter().map(RpcClient::new).collect();
        let sending = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(observer::watch(
            network.l1().clone(),
            network.deployment().clone(),
            params.clone(),
            ledger.clone(),
            seen.clone(),
        ));
        if tps > 0.0 {
            tasks.spawn(traffic::run(agents.clone(), ROLLUP, tps, ledger.clone(), sending.clone()));
            let (clients, book) = (agents.clone(), ledger.clone());
            tasks.spawn(async move { traffic::resend(&clients, &book).await });
            let (clients, book) = (agents.clone(), ledger.clone());
            tasks.spawn(async move { traffic::watch_decided(&clients, &book).await });
        }
        let (view, recent) = (View::new(), VecDeque::new());
        let stakes = None;
        Ok(Self { network, ledger, seen, agents, params, sending, tasks, view, recent, stakes })
    }

    /// Sends nothing new from now on.
    pub fn stop_sending(&self) {
        self.sending.cancel();
    }

    /// Redraws for ever.
    pub(super) async fn show(&mut self) {
        let mut ticks = interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.redraw().await;
        }
    }

    /// Redraws until everything that was sent is settled.
    pub async fn show_until_settled(&mut self) {
        while self.ledger.lock().unsettled() > 0 {
            self.redraw().await;
            sleep(REDRAW).await;
        }
    }

    /// Stops everything and counts.
    pub async fn end(mut self) -> Report {
        self.view.finish();
        self.tasks.shutdown().await;
        let report = self.report();
        self.network.stop().await;
        report
    }

    /// Hashes of the transactions that settled, in the order that L1 derives.
    pub fn settled_order(&self) -> Vec<B256> {
        self.seen.lock().order.clone()
    }

    /// Signers of the agents whose batches settled.
    pub fn posters(&self) -> Vec<Address> {
        self.seen.lock().posters.iter().copied().collect()
    }

    /// The last settled height.
    pub fn settled_height(&self) -> Height {
        let seen = self.seen.lock();
        seen.last.as_ref().map_or(Height::new(0), |(batch, _)| batch.header.last_height)
    }

    /// Whether L1 does not answer; the counts are then those from before.
    pub fn l1_is_away(&self) -> bool {
        self.seen.lock().away.is_some()
    }

    /// What the run showed so far.
    pub fn report(&self) -> Report {
        let (ledger, seen) = (self.ledger.lock(), self.seen.lock());
        let totals = ledger.totals();
        Report {
            sent: totals.sent,
            settled: totals.settled,
            lost: totals.sent.saturating_sub(totals.settled),
            doubled: totals.doubled,
            leaders: seen.posters.len(),
            batches: seen.batches,
            slashes: seen.reported,
            tps: (totals.settled_tps * 10.0).round() / 10.0,
            decided_ms: ledger.decided_ms(),
            settled_ms: ledger.settled_ms(),
            gas_per_batch: seen.gas.checked_div(seen.batches).unwrap_or_default(),
            gas_per_tx: seen.gas.checked_div(totals.settled).unwrap_or_default(),
        }
    }

    async fn redraw(&mut self) {
        let down: Vec<usize> = self.network.ended().into_iter().map(|(index, _)| index).collect();
        let decided = decided_height(&self.agents).await;
        let stakes = self.stakes().await;
        let (totals, decided_ms, settled_ms) = {
            let ledger = self.ledger.lock();
            (ledger.totals(), ledger.decided_ms(), ledger.settled_ms())
        };
        let tps = self.rate(&totals);
        let signers = self.network.signers();
        let picture =
            Picture { signers, down, decided, stakes, totals, tps, decided_ms, settled_ms };
        self.view.show(&picture, &self.seen.lock(), &self.params);
    }

    /// Stake of each agent in whole tokens, read from L1 now and then.
    async fn stakes(&mut self) -> Vec<String> {
        // A node that does not answer would hold up the view.
        let away = self.seen.lock().away.is_some();
        let stale = !away && self.stakes.as_ref().is_none_or(|(at, _)| at.elapsed() > STAKES_EVERY);
        if stale
            && let Ok(all) = actions::sequencers(self.network.l1(), self.network.deployment()).await
        {
            let shown = all.iter().map(|one| {
                let stake = format_ether(one.stake_wei);
                stake.trim_end_matches('0').trim_end_matches('.').to_owned()
            });
            self.stakes = Some((Instant::now(), shown.collect()));
        }
        self.stakes.as_ref().map(|(_, shown)| shown.clone()).unwrap_or_default()
    }

    /// Settled transactions a second over the last few seconds.
    fn rate(&mut self, totals: &Totals) -> f64 {
        let now = Instant::now();
        self.recent.push_back((now, totals.settled));
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_OVER) {
            self.recent.pop_front();
        }
        let Some((at, before)) = self.recent.front() else { return 0.0 };
        let span = now.duration_since(*at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate, shown to people")]
        let count = totals.settled.saturating_sub(*before) as f64;
        if span > 0.0 { count / span } else { 0.0 }
    }
}

/// The highest decided height that an agent tells.
async fn decided_height(agents: &[RpcClient]) -> Height {
    let asked = agents.iter().map(|agent| agent.call("eth_blockNumber", json!([])));
    let told = futures::future::join_all(asked).await;
    let heights = told.into_iter().filter_map(|answer| {
        let text = answer.ok()?;
        let digits = text.as_str()?.strip_prefix("0x")?.to_owned();
        u64::from_str_radix(&digits, 16).ok()
    });
    Height::new(heights.max().unwrap_or_default())
}

/// Says how far the start is, wherever somebody reads it.
fn tell(starting: &ProgressBar, step: &str) {
    starting.set_message(step.to_owned());
    if !std::io::stderr().is_terminal() {
        eprintln!("{step}");
    }
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
