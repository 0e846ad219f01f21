//! The application that the engine drives: builds and judges blocks, commits what is decided, and says when the next
//! height starts. One task, one message at a time.

mod propose;
mod serve;

use super::candidates::Candidates;
use super::clock::Clock;
use super::codec::decode_block;
use super::context::{Part, Proposal, RotaContext};
use super::evidence::{Heard, Witness};
use super::heights::{Heights, Term, Unknown};
use super::origin::Origins;
use super::pace::{Begun, Pace, Start};
use super::source::{BlockSource, Reach};
use super::streams::{Piece, Streams};
use super::verify::{RecoveringVerifier, Signed};
use super::voice::Voice;
use super::{AgreementError, Faults, Timeouts};
use crate::batch::payload;
use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{
    self, BlockHeader, Certificate, DecidedBlock, GenerationStart, Height, Millis, Params, Signer,
};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
use crate::storage::Store;
use alloy::primitives::{Address, B256};
use malachitebft_app_channel::app::types::streaming::StreamMessage;
use malachitebft_app_channel::app::types::{PeerId, ProposedValue};
use malachitebft_app_channel::{AppMsg, NetworkMsg, Reply};
use malachitebft_core_consensus::MAX_FUTURE_ROUND_LOOKAHEAD;
use malachitebft_core_types::{
    CommitCertificate, HeightParams, LinearTimeouts, Proposal as _, Round, Validator as _,
};
use malachitebft_engine::host::{Next, SyncedValueOutcome};
use malachitebft_engine::util::streaming::StreamContent;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long this waits at a time for a block that is ahead of the clock, in milliseconds: the clock may be set meanwhile.
const JUDGE_WITHIN: u64 = 1_000;

/// How often catching up is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A reply that starts a height, held back until it is time.
enum Waiting {
    /// The engine has just come up.
    First(Reply<(Height, HeightParams<RotaContext>)>),
    /// A height is over.
    Next(Reply<Next<RotaContext>>),
}

/// What the engine is told of a block, if anything.
type Told = Option<ProposedValue<RotaContext>>;

/// Has the engine ask for a block that could not be judged when it arrived: it takes values in only as answers to parts, so
/// this hands it a part of nothing.
pub(super) type Nudge = Box<dyn Fn() + Send + Sync>;

/// This agent's clock.
pub(super) type Time = Box<dyn Fn() -> Millis + Send + Sync>;

/// What the application works with.
pub(super) struct Tools {
    pub(super) address: Address,
    pub(super) params: Params,
    /// How the running generation began; `None` for the first one.
    pub(super) start: Option<GenerationStart>,
    pub(super) timeouts: Timeouts,
    pub(super) reach: Arc<dyn Reach>,
    pub(super) mirror: MirrorHandle,
    pub(super) store: Store,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) heights: Heights,
    pub(super) decided: watch::Sender<Height>,
    pub(super) network: mpsc::Sender<NetworkMsg<RotaContext>>,
    pub(super) guard: Arc<Guard>,
    pub(super) voice: Voice,
    pub(super) verifier: RecoveringVerifier,
    pub(super) witness: Witness,
    pub(super) clock: Clock,
    pub(super) nudge: Nudge,
    pub(super) time: Time,
    pub(super) faults: Faults,
}

/// The application's state.
pub(super) struct App {
    tools: Tools,
    /// The last decided block and its hash.
    tip: (BlockHeader, B256),
    /// Terms of the running height.
    term: Option<Term>,
    /// The round that started last.
    round: u32,
    candidates: Candidates,
    streams: Streams,
    origins: Origins,
    pace: Pace,
    begun: Begun,
    waiting: Option<Waiting>,
    /// What the waiting height lacks, so that it is said once.
    lacking: Option<Unknown>,
    streams_sent: u64,
    /// When something that is ahead of the clock can be judged.
    judge_at: Option<Millis>,
    /// Where catching up was, when it was last told.
    told: Option<(Instant, Height)>,
}

impl App {
    /// Takes up the chain at `tip`.
    pub(super) fn new(tools: Tools, tip: (BlockHeader, B256)) -> Self {
        let candidates =
            Candidates::new(tools.store.clone(), tools.mirror.clone(), Arc::clone(&tools.source));
        let streams = Streams::new(payload::max_body_bytes(&tools.params));
        let pace = Pace { started: Instant::now(), behind: true };
        let mut app = Self {
            tools,
            tip,
            term: None,
            round: 0,
            candidates,
            streams,
            origins: Origins::default(),
            pace,
            begun: Begun::default(),
            waiting: None,
            lacking: None,
            streams_sent: 0,
            judge_at: None,
            told: None,
        };
        app.look_at_l1();
        app
    }

    /// The height after the last decided one.
    pub(super) const fn running(&self) -> Height {
        self.tip.0.height.next()
    }

    /// Whether a height waits to be started.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether the engine has come up.
    pub(super) const fn is_up(&self) -> bool {
        self.term.is_some() || self.waiting.is_some()
    }

    /// Notes what L1 shows at depth by now.
    pub(super) fn look_at_l1(&mut self) {
        let at = Instant::now();
        let (at_depth, head) = {
            let mirror = self.tools.mirror.read();
            (mirror.at_depth, mirror.head)
        };
        self.origins.observe(at_depth, at);
        if let Some(head) = head {
            self.tools.clock.l1(head.timestamp.to_millis(), self.now(), at);
        }
        if self.term.as_ref().is_some_and(|term| self.candidates.wait(term.height)) {
            (self.tools.nudge)();
        }
    }

    /// Does what is due, and says when to ask again, if time alone will do.
    pub(super) async fn start_when_due(&mut self) -> Result<Option<Instant>, AgreementError> {
        let height = self.start_height_when_due().await?;
        let judge = self.judge_when_due();
        self.tools.clock.tell(self.tools.params.drift(), Instant::now());
        Ok(height.into_iter().chain(judge).min())
    }

    /// Has what was ahead of the clock judged when it no longer is; says when that will be.
    fn judge_when_due(&mut self) -> Option<Instant> {
        let now = self.now();
        if self.judge_at.is_some_and(|at| at <= now) {
            (self.tools.nudge)();
        }
        self.judge_at =
            self.term.as_ref().and_then(|term| self.candidates.valid_from(term.height, now));
        let left = self.judge_at?.get().saturating_sub(now.get());
        Instant::now().checked_add(Duration::from_millis(left.min(JUDGE_WITHIN)))
    }

    /// Starts the waiting height if it is time.
    async fn start_height_when_due(&mut self) -> Result<Option<Instant>, AgreementError> {
        let Some(waiting) = &self.waiting else { return Ok(None) };
        let next = self.tip.0.height.next();
        if matches!(waiting, Waiting::Next(_)) {
            let has_work = self.has_forced() || self.tools.source.has_work();
            let idle = self.tools.params.idle_interval();
            let has_begun = self.begun.by_first(next, || {
                let term = self.term_of_next().ok()?;
                Some(*term.set.proposer(0).address())
            });
            if let Start::At(then) = self.pace.start_of_next(has_work, has_begun, idle)
                && Instant::now() < then
            {
                return Ok(Some(then));
            }
        }
        let term = match self.term_of_next() {
            Ok(term) => term,
            Err(reason) => {
                if self.lacking.replace(reason) != Some(reason) {
                    tracing::warn!(height = %next, %reason, "height waits for L1");
                }
                return Ok(None);
            }
        };
        self.start(term).await.map(|()| None)
    }

    /// The terms of the height after the last decided one.
    fn term_of_next(&self) -> Result<Term, Unknown> {
        let mirror = self.tools.mirror.read();
        Term::after(&mirror, self.tools.start.as_ref(), &self.tip.0, self.tip.1)
    }

    async fn start(&mut self, term: Term) -> Result<(), AgreementError> {
        let height = term.height;
        self.lacking = None;
        {
            let mirror = self.tools.mirror.read();
            let next = mirror.set_for(term.generation, term.epoch.next());
            self.tools.heights.note(&term, next.as_deref());
        }
        self.candidates.begin(&term).await?;
        self.streams.begin(height);
        self.round = 0;
        self.pace = Pace { started: Instant::now(), behind: false };
        self.begun.start(height);

        let interval = self.tools.params.interval();
        let first = Address::new(term.set.proposer(0).address().0);
        let timeouts = if first == self.tools.address || self.tools.reach.is_reachable(first) {
            LinearTimeouts::from(self.tools.timeouts)
        } else {
            self.tools.timeouts.without_first_proposer()
        };
        let params = HeightParams::new(term.set.clone(), timeouts, Some(interval));
        self.term = Some(term);
        let told = match self.waiting.take() {
            Some(Waiting::First(reply)) => reply.send((height, params)).is_ok(),
            Some(Waiting::Next(reply)) => reply.send(Next::Start(height, params)).is_ok(),
            None => true,
        };
        if told { Ok(()) } else { Err(AgreementError::EngineEnded) }
    }

    /// Does what the engine asks for. A reply that nobody waits for any more is no error: the engine is ending, and its
    /// channel will say so.
    pub(super) async fn on(&mut self, message: AppMsg<RotaContext>) -> Result<(), AgreementError> {
        match message {
            AppMsg::ConsensusReady { reply } => self.waiting = Some(Waiting::First(reply)),
            AppMsg::StartedRound { height, round, proposer, reply_value, .. } => {
                tracing::debug!(%height, %round, %proposer, "round started");
                self.round = round.as_u32().unwrap_or_default();
                let _ = reply_value.send(self.round_started(height).await?);
            }
            AppMsg::GetValue { height, round, reply, .. } => {
                if let Some(value) = self.propose(height, round).await? {
                    let _ = reply.send(value);
                }
            }
            AppMsg::ReceivedProposalPart { from, published_by, part, reply } => {
                let _ = reply.send(self.part(published_by.unwrap_or(from), part).await?);
            }
            AppMsg::RestreamProposal { height, round, valid_round, address, value_id } => {
                self.restream(height, value_id.hash(), round, valid_round, address).await?;
            }
            AppMsg::Decided { certificate, reply, .. } => {
                self.commit(certificate).await?;
                let _ = reply.send(());
            }
            AppMsg::Finalized { evidence, reply, .. } => {
                let witness = self.tools.witness.clone();
                blocking(move || witness.found(&evidence)).await;
                self.waiting = Some(Waiting::Next(reply));
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let _ = reply.send(self.synced(height, round, proposer, &value_bytes).await?);
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let _ = reply.send(self.decided_values(range).await?);
            }
            // Block 0 is read from L1 by everybody and has no certificate; so is what settled before a restart. What is not
            // kept any more is offered to nobody.
            AppMsg::GetHistoryMinHeight { reply } => {
                let before = self.tools.start.as_ref().map(|start| start.last_height);
                let certified_from = self.tools.store.certified_from()?;
                let _ = reply.send(before.unwrap_or_default().next().max(certified_from));
            }
            // Extensions are off at every height; the engine asks for neither.
            AppMsg::ExtendVote { reply, .. } => {
                let _ = reply.send(None);
            }
            AppMsg::VerifyVoteExtensions { extensions, reply, .. } => {
                let _ = reply.send(extensions.into_iter().map(|(by, ())| (by, Ok(()))).collect());
            }
        }
        Ok(())
    }

    async fn round_started(
        &mut self,
        height: Height,
    ) -> Result<Vec<ProposedValue<RotaContext>>, AgreementError> {
        match &self.term {
            Some(term) if term.height == height => {
                self.candidates.round_started(term, self.now()).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Compares the clock with the time of a block that was built just now: not of one that is proposed again or was heard
    /// before.
    fn compare_clock(&self, signed: &Signed<Proposal>) {
        let proposal = signed.message();
        let (by, round) = (*proposal.validator_address(), proposal.round_number());
        let known = self.candidates.signed(proposal.height(), by, round).is_some();
        if !known && round == 0 {
            let timestamp = proposal.header().timestamp;
            self.tools.clock.proposal(by, timestamp, self.now(), Instant::now());
        }
    }

    fn now(&self) -> Millis {
        (self.tools.time)()
    }

    /// Takes a part. One that begins a stream is believed once its signature was checked, and nothing is kept before.
    pub(super) async fn part(
        &mut self,
        publisher: PeerId,
        message: StreamMessage<Part>,
    ) -> Result<Told, AgreementError> {
        let StreamMessage { stream_id, sequence, content } = message;
        if stream_id.to_bytes().is_empty() {
            return self.judge_anew().await;
        }
        let piece = match content {
            StreamContent::Fin => Piece::End,
            StreamContent::Data(Part::Body(piece)) => Piece::Body(piece),
            StreamContent::Data(Part::Init { proposal, signature }) => {
                match self.believe(*proposal, signature).await {
                    Some(signed) => Piece::Header(Box::new(signed)),
                    None => return Ok(None),
                }
            }
        };
        let arrived = match self.streams.insert(publisher, &stream_id, sequence, piece) {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(peer = %publisher, %error, "stream dropped");
                return Ok(None);
            }
        };
        let now = self.now();
        match &self.term {
            Some(term) => self.candidates.arrived(term, arrived, now).await,
            None => Ok(None),
        }
    }

    /// Answers a nudge, whoever it is from: looking again is cheap, and bounded by how much a peer may send.
    async fn judge_anew(&mut self) -> Result<Told, AgreementError> {
        let now = self.now();
        let Some(term) = &self.term else { return Ok(None) };
        let told = self.candidates.judged_anew(term, now).await?;
        if told.is_some() {
            (self.tools.nudge)();
        }
        Ok(told)
    }

    /// The proposal of a stream, if it is of a height and round that matter and signed by who may propose there.
    async fn believe(
        &mut self,
        proposal: Proposal,
        signature: Signature,
    ) -> Option<Signed<Proposal>> {
        let (running, height) = (self.tip.0.height.next(), proposal.height());
        let ahead = height.get().checked_sub(running.get())?;
        let round = if ahead == 0 { self.round } else { 0 };
        let latest = round.saturating_add(MAX_FUTURE_ROUND_LOOKAHEAD);
        if ahead > Heights::AHEAD || proposal.round_number() > latest {
            return None;
        }
        let (verifier, witness) = (self.tools.verifier.clone(), self.tools.witness.clone());
        let believed = blocking(move || {
            let signed = verifier.proposal(proposal, signature)?;
            let heard = witness.came_with_block(signed.message(), signature);
            Ok::<_, super::verify::Disbelieved>((heard != Heard::Unsigned).then_some(signed))
        });
        match believed.await {
            Ok(signed) => {
                let by = signed.as_ref().map(|signed| *signed.message().validator_address());
                if let Some(by) = by.filter(|_| self.tools.heights.set_of(height).is_none()) {
                    self.begun.note(height, by);
                }
                signed.as_ref().inspect(|signed| self.compare_clock(signed));
                signed
            }
            Err(error) => {
                tracing::debug!(%height, %error, "a proposed block is not believed");
                None
            }
        }
    }

    async fn synced(
        &mut self,
        height: Height,
        round: Round,
        proposer: Signer,
        bytes: &[u8],
    ) -> Result<SyncedValueOutcome<RotaContext>, AgreementError> {
        let Some(term) = self.term.as_ref().filter(|term| term.height == height) else {
            return Ok(SyncedValueOutcome::LocalTransientError);
        };
        let Some(block) = decode_block(bytes) else { return Ok(SyncedValueOutcome::PeerFault) };
        let proposed = self.candidates.synced(term, block, round, proposer).await?;
        self.pace.behind = true;
        Ok(proposed.map_or(SyncedValueOutcome::PeerFault, SyncedValueOutcome::Verdict))
    }

    /// Writes a decided block, then tells everybody.
    async fn commit(
        &mut self,
        certificate: CommitCertificate<RotaContext>,
    ) -> Result<(), AgreementError> {
        let (height, hash) = (certificate.height, certificate.value_id.hash());
        if height <= self.tip.0.height {
            return Ok(());
        }
        let (block, included) = self
            .candidates
            .included(height, hash)
            .ok_or(AgreementError::BlockMissing { height, hash })?;
        let header = block.header.clone();
        let signatures: Vec<(Signer, Signature)> = certificate
            .commit_signatures
            .iter()
            .map(|commit| (commit.address, commit.signature))
            .collect();
        let round = domain::Round::new(certificate.round.as_u32().unwrap_or_default());
        let certificate = Certificate { round, signatures };
        let store = self.tools.store.clone();
        blocking(move || {
            let block = Arc::unwrap_or_clone(block);
            store.append_decided(&DecidedBlock { block, certificate }, &included)
        })
        .await?;

        tracing::debug!(%height, %round, %hash, transactions = header.tx_count, "decided");
        self.tell_progress(height);
        self.tip = (header, hash);
        self.tools.decided.send_replace(height);
        Ok(())
    }

    /// Says now and then how catching up goes, and when it is over.
    fn tell_progress(&mut self, height: Height) {
        let now = Instant::now();
        match self.told {
            None if self.pace.behind => {
                tracing::info!(%height, "catching up with decided blocks");
                self.told = Some((now, height));
            }
            Some((then, from)) if self.pace.behind => {
                let passed = now.saturating_duration_since(then);
                if passed >= PROGRESS_EVERY {
                    let blocks = height.get().saturating_sub(from.get());
                    let seconds = passed.as_secs().max(1);
                    let blocks_per_second = blocks.checked_div(seconds).unwrap_or_default();
                    tracing::info!(%height, blocks_per_second, "catching up with decided blocks");
                    self.told = Some((now, height));
                }
            }
            Some(_) => {
                tracing::info!(%height, "caught up with decided blocks");
                self.told = None;
            }
            None => {}
        }
    }
}
