//! The agent: all tasks of a sequencer, started, supervised and stopped in order.
//!
//! | task | ends by itself when |
//! |---|---|
//! | follower: L1 into the mirror and the store | never; it waits for L1 |
//! | agreement: decides blocks | the engine or the store fails: the agent ends |
//! | link: messages of peers | never |
//! | forwarder, receiver: transactions to and from the leaders | never |
//! | attester: cuts, signs and gathers batches | the store fails: the agent ends |
//! | poster: settles | never; it tries again |
//! | progress: counts blocks and offences | never |
//! | watcher: seals, reports, books | never; it tries again |
//! | intake: the thread that takes transactions in | it panics: the agent ends |
//! | seal: tells the store from its copies | never; it tries again |
//! | pruning: drops what nobody needs any more | never; it tries again |
//! | rpc: serves users | the port is lost: the agent ends |
//! | telemetry: serves operators | the port is lost: the agent ends |
//!
//! Tasks share the mirror, the store and the pool; what is decided travels through the store and one watch signal, so that
//! nothing is missed by a task that was slow or away. One token stops them all. Users are turned away first, agreement
//! stops last of those that write, so that nothing is accepted that could not be stored any more.

mod health;
mod history;
mod link;
mod listening;
mod progress;
mod pruning;
mod standing;
mod throttle;
pub(crate) mod watchdog;

use self::history::L1History;
use self::listening::Listening;
use self::progress::Progress;
pub use self::standing::Takeover;
use self::throttle::Throttled;
use self::watchdog::Watchdog;
use crate::agreement::{
    self, AgreementConfig, AgreementError, Faults, Quiet, SETTLED_PATIENCE, Timeouts,
};
use crate::attest::{self, AttestError, Attester, LedgerHandle};
use crate::blocking::blocking;
use crate::cli::exit_code;
use crate::config::Config;
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{Deployment, Height, Params};
use crate::guard::Guard;
use crate::l1::{self, Account, Client, L1Error, Mirror, MirrorHandle};
use crate::mempool::{self, Forwarder, Intake, Limits, Pool};
use crate::network::{Network, NetworkConfig, NetworkError};
use crate::poster::{self, Poster};
use crate::rpc::{self, RpcContext};
use crate::storage::{Journal, JournalError, RENEWAL, Store, StoreError};
use crate::telemetry::{self, Metrics};
use crate::watch::{self, Watcher};
use alloy::primitives::Address;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Evidence that waits to be looked at.
const EVIDENCE: usize = 256;
/// Messages about batches that wait for the attester.
const ATTESTATIONS: usize = 256;
/// The pauses between attempts to reach L1.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How long an agent may take to end in order.
#[derive(Clone, Copy, Debug)]
struct Budgets {
    /// All tasks together, to stop.
    stop: Duration,
    /// After that, whoever still uses the store.
    close: Duration,
}

/// An agent has ended ten seconds after it was told to.
const BUDGETS: Budgets = Budgets { stop: Duration::from_secs(8), close: Duration::from_secs(2) };

/// Why an agent ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// L1 is not what the settings say, or was not reached at the start.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// The data folder cannot be written.
    #[error("data-dir: cannot write {path}: {source}")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no store, and the key has been in a leader set: a new one does not know what it signed.
    #[error(
        "data-dir: no store at {path}, and {signer} has been in a leader set: what it has signed is not known here. \
         Is the right disk mounted? Else take its records in with `rota guard import`, or begin without them with --new-store"
    )]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
        /// The key.
        signer: Address,
    },
    /// A port is taken, or an address is not this machine's.
    #[error("{setting}: cannot listen on {address}: {source}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer link did not come up.
    #[error(transparent)]
    Link(#[from] NetworkError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal of accepted transactions failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A thread could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// Agreement cannot go on.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Attesting cannot go on.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// A server lost its port.
    #[error("{server} stopped serving: {source}")]
    Server {
        /// Which.
        server: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A task ended that should not have.
    #[error("task {task} ended")]
    TaskEnded {
        /// Which.
        task: &'static str,
    },
}

/// Runs an agent until `shutdown`, or until a task without which it is of no use has failed. `said` is what its operator
/// says about its store, `faults` are what it does wrong on purpose, where the build knows how to.
///
/// # Errors
///
/// [`NodeError`]: before anything was signed for what the start checks, later for what cannot go on.
pub async fn run(
    config: Config,
    said: Takeover,
    faults: Faults,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    run_within(BUDGETS, config, said, faults, shutdown).await
}

async fn run_within(
    budgets: Budgets,
    config: Config,
    said: Takeover,
    faults: Faults,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    info!(?config, "starting");
    // Held until the end: the engine and the link listen late, and would say late that they cannot.
    let ports = Listening::hold(&config)?;
    let failed = |source| NodeError::DataDir { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(failed)?;
    ports.tell(&config)?;
    let existing = standing::existing(&config)?;
    let Some((client, params)) = meet_l1(&config, existing.as_ref(), &shutdown).await? else {
        return Ok(());
    };
    let taking = standing::take_over(&config, existing, &params, &client, said);
    let Some(taken) = shutdown.run_until_cancelled(taking).await else { return Ok(()) };
    let (store, doubt) = taken?;
    let (mut journal, mut held) = Journal::open(config.data_dir.join("journal"))?;
    if said.retry_set_aside {
        held.extend(journal.offer_again()?);
    }
    let mirror = MirrorHandle::new(Mirror::new(params.clone()));
    let l1 = client.clone();
    let checked = l1.clone();
    let key = config.signer.to_bytes();
    let signer = config.signer.address();
    let account = Account::new(client.clone(), &key.0)?.with_limit(config.max_l1_fee).owned(
        config.data_dir.join("l1-flights.json"),
        config.deployment.settlement,
        Duration::from_secs(params.l1_block_seconds),
    );
    let secret = SecretKey::from_bytes(key.0).expect("a keystore holds a valid key");
    let domain = SigningDomain::new(config.deployment.chain_id, config.deployment.settlement);
    let guard = Arc::new(Guard::new(secret, domain, store.clone()));
    guard.set_silent(doubt.is_some());
    let account = account.silent_while(guard.silence());
    let quiet = signal::Sender::new(Quiet { silence: doubt, ..Quiet::default() });
    let limits = Limits::of(config.mempool_transactions);
    let pool = Arc::new(Pool::new(limits, store.clone(), mirror.clone())?);
    let (network, link, incoming) = Network::bind(
        {
            let identity = config.identity.keypair();
            let signature = guard.sign_link(&identity.public().to_peer_id().to_bytes());
            NetworkConfig { identity, listen: ports.link(), domain, signature }
        },
        mirror.clone(),
    )
    .await?;

    let (decided, decided_rx) = signal::channel(Height::new(0));
    let (evidence, evidence_rx) = mpsc::channel(EVIDENCE);
    let ledger = LedgerHandle::default();
    let metrics = Metrics::new();
    let clock = agreement::Clock::default();
    let progress = Progress::new();
    let probe = health::probe(
        metrics.clone(),
        progress.clone(),
        &mirror,
        &store,
        &pool,
        &clock,
        account.clone(),
        quiet.subscribe(),
    );
    let peers = Arc::new(link::LinkPeers::new(link.clone()));

    let listener = listen("rpc-listen", ports.rpc()).await?;
    let telemetry = match ports.telemetry() {
        Some(address) => Some(listen("telemetry-listen", address).await?),
        None => None,
    };
    // From here on whatever ends the agent lets the intake end in order, which tells its ends from those that an entry causes.
    let watchdog = Watchdog::default();
    let beat = watchdog.thread("the intake");
    let step = Box::new(move || beat.step());
    let (intake, intake_ended) = Intake::start(Arc::clone(&pool), journal, held, step)
        .map_err(|source| NodeError::Thread { source })?;
    // The watchdog outlasts what it watches, and must not keep the store open.
    let watched = Arc::downgrade(&pool);
    watchdog.lock("the mempool", move || watched.upgrade().is_none_or(|pool| pool.is_free()));
    let watched = mirror.clone();
    watchdog.lock("the picture of l1", move || watched.is_free());
    let watched = ledger.clone();
    watchdog.lock("the attester's ledger", move || watched.is_free());
    tokio::spawn(watchdog.runtime("the runtime"));
    watchdog.start(hung).map_err(|source| NodeError::Thread { source })?;
    #[cfg(feature = "byzantine")]
    faults.hang_when_told(&pool);
    let mut tasks = Tasks::new(shutdown, watchdog.clone());
    tasks.spawn("intake", async move {
        intake_ended.await;
        Ok(())
    });
    tasks.spawn("seal", seal_again(store.clone(), tasks.stop.clone()));
    if let Some(keep_blocks) = config.keep_blocks {
        let pruning = pruning::run(store.clone(), mirror.clone(), keep_blocks, tasks.stop.clone());
        tasks.spawn("pruning", async move {
            pruning.await;
            Ok(())
        });
    }
    let (watched, watched_rx) = mpsc::channel(EVIDENCE);
    tasks.spawn("progress", {
        let (metrics, stop) = (metrics.clone(), tasks.stop.clone());
        let counting = progress::count(
            decided_rx.clone(),
            store.clone(),
            metrics.clone(),
            progress,
            stop.clone(),
        );
        let relaying = progress::relay(evidence_rx, watched, metrics, stop);
        async move {
            tokio::join!(counting, relaying);
            Ok(())
        }
    });
    tasks.spawn("rpc", {
        let context = RpcContext {
            store: store.clone(),
            mirror: mirror.clone(),
            pool: Arc::clone(&pool),
            intake,
            decided: decided_rx.clone(),
            peers: {
                let link = link.clone();
                Arc::new(move || link.peers().iter().filter(|peer| peer.connected).count())
            },
            default_rollup: config.default_rollup,
            deployment: config.deployment.clone(),
            signer,
            limits: config.rpc_limits.clone(),
        };
        let beats = watchdog.runtime("the runtime of rpc");
        let serving = rpc::serve_apart(listener, context, beats, tasks.stop.clone())
            .map_err(|source| NodeError::Thread { source })?;
        async move {
            serving.await;
            Ok(())
        }
    });
    if let Some(listener) = telemetry {
        let serving = telemetry::serve(listener, metrics, probe, tasks.stop.clone());
        tasks.spawn("telemetry", async move {
            serving.await.map_err(|source| NodeError::Server { server: "telemetry", source })
        });
    } else {
        // It holds the store, which is to be closed in the end.
        drop(probe);
    }
    tasks.spawn("follower", {
        let checking = check_deployment(checked, config.deployment.clone(), tasks.stop.clone());
        let following = l1::follower::run(
            client,
            config.deployment.clone(),
            mirror.clone(),
            store.clone(),
            config.l1_poll,
            tasks.stop.clone(),
        );
        async move {
            let following = async {
                following.await;
                Ok(())
            };
            tokio::try_join!(checking, following).map(|_| ())
        }
    });
    tasks.spawn("link", {
        let running = network.run(tasks.stop.clone());
        async move {
            running.await;
            Ok(())
        }
    });
    let forwarder = Forwarder {
        pool: Arc::clone(&pool),
        link: link.clone(),
        store: store.clone(),
        mirror: mirror.clone(),
        own: signer,
    };
    tasks.spawn("forwarder", {
        let forwarding = forwarder.run(decided_rx.clone(), tasks.stop.clone());
        async move {
            forwarding.await;
            Ok(())
        }
    });
    tasks.spawn("receiver", {
        let pool = Arc::clone(&pool);
        let receiving = mempool::receive(pool, link, incoming.transactions, tasks.stop.clone());
        async move {
            receiving.await;
            Ok(())
        }
    });
    let (attestations, attestations_rx) = mpsc::channel(ATTESTATIONS);
    tasks.spawn("attestations", {
        let handing = link::hand_over(incoming.attestations, attestations, tasks.stop.clone());
        async move {
            handing.await;
            Ok(())
        }
    });
    let attester = Attester::new(
        mirror.clone(),
        store.clone(),
        Arc::clone(&guard),
        Arc::clone(&peers) as Arc<dyn attest::Peers>,
        ledger.clone(),
        evidence.clone(),
    );
    tasks.spawn("attester", {
        let attesting = attest::run(
            attester,
            decided_rx.clone(),
            mirror.subscribe(),
            attestations_rx,
            tasks.stop.clone(),
        );
        async move { Ok(attesting.await?) }
    });
    #[cfg(feature = "byzantine")]
    if faults.ask_for_splits {
        tasks.spawn("splits", {
            let peers = Arc::clone(&peers) as Arc<dyn attest::Peers>;
            let (store, mirror, stop) = (store.clone(), mirror.clone(), tasks.stop.clone());
            let asking =
                attest::ask_for_splits(store, mirror, peers, signer, decided_rx.clone(), stop);
            async move { Ok(asking.await?) }
        });
    }
    tasks.spawn("account", {
        let keeping = l1::keep(account.clone(), tasks.stop.clone());
        async move {
            keeping.await;
            Ok(())
        }
    });
    let deployment = config.deployment.clone();
    let poster = Poster::new(
        account.clone(),
        signer,
        deployment.clone(),
        mirror.clone(),
        store.clone(),
        ledger.clone(),
    );
    tasks.spawn("poster", {
        let posting = poster::run(poster, tasks.stop.clone());
        async move {
            posting.await;
            Ok(())
        }
    });
    let watcher = Watcher::new(
        account,
        signer,
        deployment,
        mirror.clone(),
        store.clone(),
        config.restart_duty,
    );
    tasks.spawn("watcher", {
        let watching = watch::run(watcher, watched_rx, tasks.stop.clone());
        async move {
            watching.await;
            Ok(())
        }
    });
    let max_payload = usize::try_from(params.max_batch_bytes).unwrap_or(usize::MAX);
    let history = L1History::new(l1, config.deployment.clone(), max_payload);
    let closing = store.clone();
    let agreement = AgreementConfig {
        listen: multiaddr(ports.agreement()),
        identity: config.identity.keypair(),
        timeouts: Timeouts::for_interval(params.interval()),
        settled_patience: SETTLED_PATIENCE,
        reach: peers,
        clock,
        doubt,
        quiet,
        faults,
    };
    tasks.spawn("agreement", {
        let agreeing = agreement::run(
            agreement,
            mirror,
            store,
            guard,
            Arc::new(Throttled::new(pool, ledger)),
            Arc::new(history),
            decided,
            evidence,
            tasks.stop.clone(),
        );
        async move { Ok(agreeing.await?) }
    });
    info!(%signer, "agent runs");
    let result = tasks.supervise(budgets.stop).await;
    close(closing, budgets.close).await;
    // Until here somebody must see to it that it ends.
    drop(watchdog);
    result
}

/// Seals the store anew every now and then, so that a backup of it is told from it.
async fn seal_again(store: Store, stop: CancellationToken) -> Result<(), NodeError> {
    while stop.run_until_cancelled(tokio::time::sleep(RENEWAL)).await.is_some() {
        let store = store.clone();
        if let Err(error) = blocking(move || store.renew_seal()).await {
            // The seal that lies there stays good. A disk that fails ends the agent elsewhere.
            warn!(%error, "the store could not be sealed anew");
        }
    }
    Ok(())
}

/// Closes the store in order once nobody uses it any more, so that the next start need not repair it.
async fn close(store: Store, budget: Duration) {
    let sealed = store.clone();
    if let Err(error) = blocking(move || sealed.renew_seal()).await {
        warn!(%error, "the store could not be sealed at its end");
    }
    let alone = async {
        while !store.is_last() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(budget, alone).await.is_err() {
        warn!("the store is still in use: the next start will repair it");
    }
    blocking(move || drop(store)).await;
}

/// A client of L1, and the deployment's parameters: those that an earlier start has read, whether or not a node answers
/// now. Without such, waits for L1; `None` when told to stop meanwhile.
async fn meet_l1(
    config: &Config,
    store: Option<&Store>,
    shutdown: &CancellationToken,
) -> Result<Option<(Client, Params)>, NodeError> {
    let kept = match store {
        Some(store) => l1::kept_params(store, &config.deployment)?,
        None => None,
    };
    if let Some(params) = kept {
        let client = Client::expecting(&config.l1_rpc, config.deployment.chain_id).await?;
        return Ok(Some((client, params)));
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let meeting = async {
            let client = Client::connect(&config.l1_rpc).await?;
            let params = client.verify(&config.deployment).await?;
            Ok::<_, L1Error>((client, params))
        };
        let met = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            met = meeting => met,
        };
        match met {
            Ok(met) => return Ok(Some(met)),
            Err(error) if error.is_transient() => {
                warn!(%error, retry_in = ?pause, "l1 does not answer, and nothing of it is kept: waiting for it");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = pause.saturating_mul(2).min(MAX_PAUSE);
    }
}

/// Checks that L1 holds the deployment as soon as it answers: a start that goes on from what was kept did not ask.
async fn check_deployment(
    client: Client,
    deployment: Deployment,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let checked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            checked = client.verify(&deployment) => checked,
        };
        match checked {
            Ok(_) => return Ok(()),
            // A node without the contracts may be one that is not in sync yet: it was another one that showed them.
            Err(error) if error.is_transient() || matches!(error, L1Error::NoContract { .. }) => {
                warn!(%error, retry_in = ?pause, "the deployment is not checked yet");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = pause.saturating_mul(2).min(MAX_PAUSE);
    }
}

/// Ends the process: who hangs ends by no other way.
fn hung(what: &str) {
    let what = what.to_owned();
    exit_code::last_words(move || {
        // First to whoever reads standard error: the logs may be what hangs.
        eprintln!("rota: {what}");
        error!(what, "the agent hangs, ending it");
    });
    exit_code::end_now(exit_code::HUNG, "the agent hung and was ended");
}

/// The tasks of an agent, with their names.
struct Tasks {
    stop: CancellationToken,
    watchdog: Watchdog,
    set: JoinSet<(&'static str, Result<(), NodeError>)>,
}

impl Tasks {
    fn new(stop: CancellationToken, watchdog: Watchdog) -> Self {
        Self { stop, watchdog, set: JoinSet::new() }
    }

    fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), NodeError>> + Send + 'static,
    ) {
        let task = self.watchdog.task(name, task);
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for the token or for the first task to end, then stops all of them within the budget. What ends before it
    /// was told to is an error.
    async fn supervise(mut self, budget: Duration) -> Result<(), NodeError> {
        let first = tokio::select! {
            () = self.stop.cancelled() => None,
            ended = self.set.join_next() => ended,
        };
        let told = self.stop.is_cancelled();
        let result = match first {
            None => Ok(()),
            Some(Ok((_, Err(error)))) => Err(error),
            Some(Ok((_, Ok(())))) if told => Ok(()),
            Some(Ok((task, Ok(())))) => Err(NodeError::TaskEnded { task }),
            Some(Err(panic)) => {
                error!(%panic, "a task panicked");
                Err(NodeError::TaskEnded { task: "(panicked)" })
            }
        };
        if let Err(error) = &result {
            error!(%error, "stopping");
        }
        self.stop.cancel();
        let stopping = async {
            while let Some(ended) = self.set.join_next().await {
                if let Ok((task, Err(error))) = ended {
                    warn!(task, %error, "ended with an error");
                }
            }
        };
        if timeout(budget, stopping).await.is_err() {
            warn!(remaining = self.set.len(), "tasks did not stop in time");
        }
        info!("stopped");
        result
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|source| NodeError::Listen {
        setting,
        address,
        source,
    })
}

/// An address as libp2p writes it.
fn multiaddr(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    format!("/{family}/{}/tcp/{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests;
