//! Agreement on one order of blocks (§3 of the protocol): the adapter of the BFT engine, Malachite. No type of the engine
//! leaves this module.
//!
//! ```text
//!  engine (votes, log, sync, network)  <->  app: one task, one message at a time
//!        |        |                              | builds     from the mempool (source), on the chain's tip
//!        |        | signs through the guard      | judges     blocks that arrive in parts (streams, candidates, validity)
//!        |        ' verifies by recovery         | commits    to the store, then bumps `decided`
//!        '-> events -> evidence -> sink          ' starts     the next height: whose (heights), when (pace)
//! ```
//!
//! The value agreed on is the whole block header (R13), its id the block hash; bodies travel beside it, in parts
//! of which the first carries the proposer's signature: nothing unsigned is believed (verify).
//! The leader set of a height follows from the block before and from L1 (R15), so a height starts only once this agent has
//! seen that much of L1. An agent that is in no set follows along, and votes from the first height whose set holds it.
//!
//! What an agent does after it was killed: the store says where the chain ends, the engine's log what was signed at the
//! running height, the store which blocks it spoke for, and peers send what was decided meanwhile.
//!
//! A restart (R33) is acted on once its finish is at depth: the engine stops, the store undoes what did not settle, and an
//! engine with a log of its own begins the next generation on the last settled block. An agent that was away while blocks
//! settled, and can no longer get them from peers of its generation, or from any that keeps them, reads them from L1 first
//! (history).
//!
//! Three things end [`run`]: the shutdown token, an engine that ended or no longer answers, and a store that fails. The
//! agent then exits, and a supervisor starts it again. A refusal of the guard is none of them: the engine goes on, and what was
//! refused is not said (between, R46).

mod app;
mod behind;
mod between;
mod candidates;
mod clock;
mod codec;
mod context;
mod engine;
mod evidence;
mod gate;
mod heights;
mod history;
mod log;
mod network;
mod origin;
mod pace;
mod peers;
mod rumour;
mod signing;
mod silence;
mod source;
mod streams;
mod validity;
mod verify;
mod voice;

pub use clock::{Against, Clock, ClockOff};
pub use history::{History, HistoryError};
pub use silence::Silence;
pub use source::{BlockSource, Reach};
pub use voice::{Quiet, doubt_of};

use crate::blocking::blocking;
use crate::domain::{BlockHeader, Evidence, Generation, GenerationStart, Height, RollupId};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
#[cfg(feature = "byzantine")]
use crate::mempool::Pool;
use crate::storage::{Store, StoreError};
use alloy::primitives::B256;
use app::{App, Tools};
use behind::{Behind, Why};
use context::RotaContext;
use engine::{Ears, Engine};
use heights::Heights;
use libp2p::identity::Keypair;
use malachitebft_app_channel::AppMsg;
use malachitebft_core_types::LinearTimeouts;
use silence::Verdict;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use verify::RecoveringVerifier;
use voice::{AGAIN, Ear, Voice};

/// Blocks that are asked for in one request while catching up, less one.
const SYNC_BATCH: u64 = 9;

/// How often the engine is asked for a sign of life, and how long it may take.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

/// How often an agent that keeps silent looks whether it still has to.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// How long peers may take to give a batch that has settled for good, before it is read from L1: longer than the largest takes
/// over a slow line.
pub const SETTLED_PATIENCE: Duration = Duration::from_secs(60);

/// How long the engine may take to ask for its first height.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How this agent takes part in agreement.
#[derive(Clone, Debug)]
pub struct AgreementConfig {
    /// Multiaddr to listen on, `/ip4/0.0.0.0/tcp/27000`.
    pub listen: String,
    /// The libp2p identity that the endpoint in the registry names.
    pub identity: Keypair,
    /// How long a round waits. Local policy; see [`Timeouts::for_interval`].
    pub timeouts: Timeouts,
    /// How long peers may take to give a batch that has settled for good, before it is read from L1. [`SETTLED_PATIENCE`].
    pub settled_patience: Duration,
    /// Who can be reached.
    pub reach: Arc<dyn Reach>,
    /// Where is noted how its clock stands to the others'.
    pub clock: Clock,
    /// Why its store may not know all that its key has signed, if so (R46).
    pub doubt: Option<Silence>,
    /// Where it says whether it keeps silent.
    pub quiet: watch::Sender<Quiet>,
    /// What it does wrong on purpose.
    pub faults: Faults,
}

/// What an agent does wrong on purpose, to be caught or to be borne. Nothing in a release.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Heights at which it votes and proposes twice.
    #[cfg(feature = "byzantine")]
    pub equivocate: Option<std::ops::RangeInclusive<u64>>,
    /// A rollup of which it proposes no transaction; it takes as little of the forced queue as blocks may.
    #[cfg(feature = "byzantine")]
    pub censor: Option<RollupId>,
    /// How many milliseconds its clock is ahead.
    #[cfg(feature = "byzantine")]
    pub clock_off_millis: i64,
    /// Takes the mempool's lock after its start and never gives it back.
    #[cfg(feature = "byzantine")]
    pub hang: bool,
    /// Asks the others to sign every split of what is not settled, in every epoch.
    #[cfg(feature = "byzantine")]
    pub ask_for_splits: bool,
}

#[cfg(feature = "byzantine")]
impl Faults {
    /// Hangs whatever needs the mempool from now on, if it was told to.
    pub(crate) fn hang_when_told(&self, pool: &Arc<Pool>) {
        if self.hang {
            let pool = Arc::clone(pool);
            std::thread::spawn(move || pool.hold_for_ever());
        }
    }

    /// Whether it keeps a rollup's transactions out of its blocks.
    fn censors(&self, rollup: RollupId) -> bool {
        self.censor == Some(rollup)
    }

    /// Whether it takes as little of the forced queue as it may.
    const fn leaves_forced_behind(&self) -> bool {
        self.censor.is_some()
    }

    /// How far its clock is off.
    const fn clock_off_millis(&self) -> i64 {
        self.clock_off_millis
    }

    /// Whether it signs what it has signed otherwise.
    const fn is_careless(&self) -> bool {
        self.equivocate.is_some()
    }
}

#[cfg(not(feature = "byzantine"))]
impl Faults {
    const fn censors(&self, _: RollupId) -> bool {
        false
    }

    const fn leaves_forced_behind(&self) -> bool {
        false
    }

    const fn clock_off_millis(&self) -> i64 {
        0
    }

    const fn is_careless(&self) -> bool {
        false
    }
}

/// How long a round of agreement waits in its steps; each later round waits half as long again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a proposal and its block.
    pub propose: Duration,
    /// For more prevotes, once two thirds of the weight disagree.
    pub prevote: Duration,
    /// For more precommits, once two thirds of the weight disagree.
    pub precommit: Duration,
}

impl Timeouts {
    /// Suits a block interval: the propose step has at least 500 ms, the others 250 ms, or their share of the interval.
    pub fn for_interval(interval: Duration) -> Self {
        let vote = interval.clamp(Duration::from_millis(250), Duration::from_secs(2));
        Self { propose: vote.saturating_mul(2), prevote: vote, precommit: vote }
    }

    /// For a height whose first proposer cannot be reached: it still has an interval, should only the way to this agent
    /// be closed. Later rounds wait as long as ever.
    fn without_first_proposer(self) -> LinearTimeouts {
        let usual = LinearTimeouts::from(self);
        let second = usual.propose.saturating_add(usual.propose_delta);
        LinearTimeouts {
            propose: self.prevote,
            propose_delta: second.saturating_sub(self.prevote),
            ..usual
        }
    }
}

impl From<Timeouts> for LinearTimeouts {
    fn from(Timeouts { propose, prevote, precommit }: Timeouts) -> Self {
        let half = |whole: Duration| whole.checked_div(2).unwrap_or_default();
        Self {
            propose,
            propose_delta: half(propose),
            prevote,
            prevote_delta: half(prevote),
            precommit,
            precommit_delta: half(precommit),
            rebroadcast: propose.saturating_add(prevote).saturating_add(precommit),
            max_timeout: Duration::from_secs(60),
        }
    }
}

/// Why agreement ended.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds another chain than the one that L1 began.
    #[error(
        "the store's block 0 is {stored}, L1's is {expected}: it belongs to another deployment"
    )]
    OtherChain {
        /// Hash of the block 0 that L1 fixed.
        expected: B256,
        /// Hash of the stored one.
        stored: B256,
    },
    /// A setting that the engine cannot use.
    #[error("agreement setting {field} is `{value}`: {reason}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine did not come up.
    #[error("the agreement engine did not start: {reason}")]
    EngineStart {
        /// What it said.
        reason: String,
    },
    /// The engine ended by itself.
    #[error("the agreement engine ended")]
    EngineEnded,
    /// The engine no longer answers.
    #[error("the agreement engine has not answered for {seconds} s")]
    EngineStalled {
        /// How long.
        seconds: u64,
    },
    /// A block was decided that this agent voted for and does not have: its disk lost what it had confirmed.
    #[error("block {hash} was decided at height {height} and is not in the store")]
    BlockMissing {
        /// The height.
        height: Height,
        /// The block.
        hash: B256,
    },
    /// A block that settled before a restart is on L1 in no form that this agent could take up.
    #[error(
        "block {height} settled before a restart and cannot be had from L1: {reason}; \
         start from the store of an agent that has it"
    )]
    NoHistory {
        /// Its height.
        height: Height,
        /// What is wrong.
        reason: String,
    },
}

/// How one life of the engine ended, if not by an error.
enum End {
    Shutdown,
    /// A later generation began.
    NewGeneration,
    /// It may speak at a height at which it kept something back: an engine that is started again says it.
    MaySpeak,
    /// L1 has the next block, and no peer offers it or gives it.
    LeftBehind(Why),
}

/// Takes part in agreement until `shutdown`. Waits for L1 to show block 0 at depth if it must. After each decided block,
/// and only once it is on disk, `decided` is set to its height.
///
/// # Errors
///
/// [`AgreementError`]: the agent should exit and be started again. `OtherChain` and `Setting` need a person.
#[expect(clippy::too_many_arguments, reason = "everything that agreement works with, named once")]
pub async fn run(
    config: AgreementConfig,
    mirror: MirrorHandle,
    store: Store,
    guard: Arc<Guard>,
    source: Arc<dyn BlockSource>,
    history: Arc<dyn History>,
    decided: watch::Sender<Height>,
    evidence: mpsc::Sender<Evidence>,
    shutdown: CancellationToken,
) -> Result<(), AgreementError> {
    let Some(genesis) = genesis(&mirror, &shutdown).await else { return Ok(()) };
    let expected = genesis.hash();
    let (at, chain) = (genesis.height, store.clone());
    blocking(move || chain.write_genesis(&genesis)).await?;
    if let Some((stored, _)) = store.header(at)?
        && stored != expected
    {
        return Err(AgreementError::OtherChain { expected, stored });
    }

    let voice = Voice::new(
        config.doubt,
        mirror.clone(),
        Arc::clone(&guard),
        store.clone(),
        config.quiet.clone(),
        config.faults.is_careless(),
    );
    let member = Member {
        config,
        mirror,
        store,
        guard,
        source,
        history,
        decided,
        evidence,
        shutdown,
        voice,
    };
    let mut behind = Behind::new(member.config.settled_patience);
    loop {
        while let Some(start) = member.due_generation()? {
            if !member.begin(&start).await? {
                return Ok(());
            }
        }
        behind.begin();
        match member.live(&mut behind).await? {
            End::Shutdown => return Ok(()),
            End::NewGeneration | End::MaySpeak => {}
            End::LeftBehind(why) => {
                let batches = behind.read();
                match history::catch_up(&member, why, batches).await? {
                    Some(0) => behind.nothing_read(),
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
        }
    }
}

/// Block 0, once L1 shows at depth that it was fixed (R2). `None` on shutdown.
async fn genesis(mirror: &MirrorHandle, shutdown: &CancellationToken) -> Option<BlockHeader> {
    let mut changes = mirror.subscribe();
    loop {
        {
            let mirror = mirror.read();
            let depth = mirror.at_depth.map(|block| block.number);
            let fixed = |header: &&BlockHeader| depth > Some(header.l1_origin_number);
            if let Some(header) = mirror.genesis.as_ref().filter(fixed) {
                return Some(header.clone());
            }
        }
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            () = shutdown.cancelled() => return None,
        }
    }
}

/// What outlives an engine.
struct Member {
    config: AgreementConfig,
    mirror: MirrorHandle,
    store: Store,
    guard: Arc<Guard>,
    source: Arc<dyn BlockSource>,
    history: Arc<dyn History>,
    decided: watch::Sender<Height>,
    evidence: mpsc::Sender<Evidence>,
    shutdown: CancellationToken,
    voice: Voice,
}

impl Member {
    /// The generation to go over to, if L1 shows at depth that a later one than the running one began.
    fn due_generation(&self) -> Result<Option<GenerationStart>, AgreementError> {
        let running = self.store.generation_start()?.map(|start| start.generation);
        Ok(self.mirror.read().next_generation(running.unwrap_or_default()).cloned())
    }

    /// Goes over to a generation (R33). False on shutdown. A crash on the way is no harm: the next run begins here again.
    async fn begin(&self, start: &GenerationStart) -> Result<bool, AgreementError> {
        if !history::fill(self, start.last_height).await? {
            return Ok(false);
        }
        let before = self.tip()?.0.height;
        let (store, beginning) = (self.store.clone(), start.clone());
        blocking(move || store.begin_generation(&beginning)).await?;
        tracing::warn!(
            generation = %start.generation,
            epoch = %start.epoch,
            settled = %start.last_height,
            undone = before.get().saturating_sub(start.last_height.get()),
            "a restart was finished, going on from the settled chain"
        );
        self.decided.send_replace(start.last_height);
        Ok(true)
    }

    /// One life of the engine.
    async fn live(&self, behind: &mut Behind) -> Result<End, AgreementError> {
        let tip = self.tip()?;
        self.decided.send_replace(tip.0.height);
        let start = self.store.generation_start()?;
        let generation = start.as_ref().map_or(tip.0.generation, |start| start.generation);
        let params = self.mirror.read().params.clone();
        let clock_off = self.config.faults.clock_off_millis();
        let heights = Heights::default();
        {
            let mirror = self.mirror.read();
            let signers = mirror.peers.keys().map(|signer| crate::domain::Signer(signer.0.0));
            heights.begin_after(tip.0.height, signers);
        }
        let domain = *self.guard.domain();
        let verifier = RecoveringVerifier::new(generation, domain, heights.clone());
        let own = self.config.identity.public().to_peer_id();
        let claims = peers::claims(&self.mirror, own);
        let peers: BTreeSet<_> = claims.values().cloned().collect();
        let registered = gate::Registered::default();
        registered.replace(peers::names(&claims), claims.values());
        let pool = evidence::EvidencePool::new(generation, verifier.clone(), heights.clone());
        let (witness, found) = evidence::Witness::new(pool);

        self.voice.begin(Ear { generation, heights: heights.clone(), verifier: verifier.clone() });
        let mut engine = Engine::start(
            &self.config,
            generation,
            &self.guard,
            &self.store,
            self.voice.clone(),
            Ears {
                verifier: verifier.clone(),
                witness: witness.clone(),
                registered: registered.clone(),
            },
            peers.iter().cloned().collect(),
        )
        .await?;

        let mut tasks = JoinSet::new();
        tasks.spawn(evidence::report(found, self.store.clone(), self.evidence.clone()));
        tasks.spawn(peers::follow(
            self.mirror.clone(),
            own,
            claims,
            registered,
            Arc::clone(&self.config.reach),
            engine.network_requests(),
        ));
        let mut app = App::new(
            Tools {
                address: self.guard.address(),
                params,
                start,
                timeouts: self.config.timeouts,
                reach: Arc::clone(&self.config.reach),
                mirror: self.mirror.clone(),
                store: self.store.clone(),
                source: Arc::clone(&self.source),
                heights,
                decided: self.decided.clone(),
                network: engine.network(),
                faults: self.config.faults.clone(),
                guard: Arc::clone(&self.guard),
                voice: self.voice.clone(),
                verifier,
                witness,
                clock: self.config.clock.clone(),
                nudge: engine.nudge(),
                time: Box::new(move || clock::machine(clock_off)),
            },
            tip,
        );
        let end = self.drive(&mut app, &mut engine, behind, generation).await;
        tasks.shutdown().await;
        engine.stop().await;
        end
    }

    async fn drive(
        &self,
        app: &mut App,
        engine: &mut Engine,
        behind: &mut Behind,
        generation: Generation,
    ) -> Result<End, AgreementError> {
        let mut changes = self.mirror.subscribe();
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let start_by = tokio::time::sleep(START_PATIENCE);
        tokio::pin!(start_by);
        let (asleep_tx, mut asleep) = mpsc::channel(1);
        let mut listening = tokio::time::interval(LISTEN_EVERY);
        // What is not answered before it is known whether to speak.
        let mut held = None;
        loop {
            if let Some(message) = held.take() {
                held = self.attend(app, message).await?;
            }
            let wake_at = app.start_when_due().await?;
            let woken = async {
                match wake_at {
                    Some(then) => tokio::time::sleep_until(then).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = engine.next() => match message {
                    Some(message) => held = self.attend(app, message).await?.or(held),
                    None => return Err(AgreementError::EngineEnded),
                },
                () = woken => {}
                () = tokio::time::sleep(AGAIN), if held.is_some() => {}
                _ = listening.tick() => {
                    if self.voice.listen(app.running()) {
                        return Ok(End::MaySpeak);
                    }
                    let next = app.running();
                    let settled = history::final_with(self, next)?.map(|batch| batch.number);
                    let unoffered = self.voice.is_left_behind(next);
                    if let Some(why) = behind.look(settled, unoffered, std::time::Instant::now()) {
                        return Ok(End::LeftBehind(why));
                    }
                }
                () = &mut start_by, if !app.is_up() => {
                    let reason = "it has not asked for a height".to_owned();
                    return Err(AgreementError::EngineStart { reason });
                }
                () = self.source.work().notified(), if app.is_waiting() => {}
                changed = changes.changed() => match changed {
                    Ok(()) if self.mirror.read().next_generation(generation).is_some() => {
                        return Ok(End::NewGeneration);
                    }
                    Ok(()) => app.look_at_l1(),
                    Err(_) => return Ok(End::Shutdown),
                },
                _ = probe.tick() => engine.probe(PROBE_PATIENCE, asleep_tx.clone()),
                Some(()) = asleep.recv() => {
                    return Err(AgreementError::EngineStalled { seconds: PROBE_PATIENCE.as_secs() });
                }
                () = self.shutdown.cancelled() => return Ok(End::Shutdown),
            }
        }
    }

    /// Lets the application see to what the engine asks for. Gives back what is not to be answered yet. Who keeps silent is
    /// not asked for a block.
    async fn attend(
        &self,
        app: &mut App,
        message: AppMsg<RotaContext>,
    ) -> Result<Option<AppMsg<RotaContext>>, AgreementError> {
        let verdict = match &message {
            AppMsg::GetValue { height, .. } | AppMsg::RestreamProposal { height, .. } => {
                self.voice.verdict(*height)
            }
            AppMsg::Decided { certificate, .. } => {
                self.voice.hear_decided(certificate).await;
                Verdict::Speak
            }
            _ => Verdict::Speak,
        };
        match verdict {
            Verdict::Speak => app.on(message).await.map(|()| None),
            Verdict::Mute => Ok(None),
            Verdict::Wait => Ok(Some(message)),
        }
    }

    fn tip(&self) -> Result<(BlockHeader, B256), AgreementError> {
        let (height, hash) = self.store.decided_tip()?.unwrap_or_default();
        let (_, header) =
            self.store.header(height)?.ok_or(AgreementError::BlockMissing { height, hash })?;
        Ok((header, hash))
    }
}

/// Judges a body as agreement does, for tests of the whole core. None if it is not valid.
#[cfg(test)]
pub(crate) async fn judge_body(
    params: &crate::domain::Params,
    block: &Arc<crate::domain::Block>,
    source: &dyn BlockSource,
) -> Option<Vec<crate::storage::IncludedTransaction>> {
    validity::judge_body(params, block, source).await.ok()
}

#[cfg(test)]
pub(crate) mod simulated;

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
