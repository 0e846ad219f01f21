//! The application that the engine drives: builds and judges blocks, commits what is decided, and says when the next
//! height starts. One task, one message at a time.

use super::candidates::{Candidates, blocking};
use super::codec::{decode_block, encode_block};
use super::context::{HeaderValue, Part, RotaContext};
use super::heights::{Heights, Term, Unknown};
use super::origin::Origins;
use super::pace::{Pace, Start};
use super::source::{BlockSource, Reach};
use super::streams::{Streams, cut, stream_id};
use super::{AgreementError, Faults, Timeouts};
use crate::batch::{body, payload};
use crate::crypto::Signature;
use crate::domain::{
    self, Block, BlockHeader, Certificate, DecidedBlock, GenerationStart, Height, L1Block, Millis,
    Params, Signer, tx_root,
};
use crate::l1::{Mirror, MirrorHandle};
use crate::storage::Store;
use alloy::primitives::{Address, B256};
use malachitebft_app_channel::app::types::streaming::StreamMessage;
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_app_channel::app::types::{LocallyProposedValue, PeerId, ProposedValue};
use malachitebft_app_channel::{AppMsg, NetworkMsg, Reply};
use malachitebft_core_consensus::MisbehaviorEvidence;
use malachitebft_core_types::{
    CommitCertificate, CommitSignature, ExtendedCommitCertificate, HeightParams, LinearTimeouts,
    Round, Validator as _, Value as _, VoteExtensions,
};
use malachitebft_engine::host::{Next, SyncedValueOutcome};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Heights ahead of the running one of which parts are taken: honest agents are at most one ahead of those they need.
const AHEAD: u64 = 2;

/// How often catching up is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A reply that starts a height, held back until it is time.
enum Waiting {
    /// The engine has just come up.
    First(Reply<(Height, HeightParams<RotaContext>)>),
    /// A height is over.
    Next(Reply<Next<RotaContext>>),
}

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
    pub(super) found: mpsc::Sender<MisbehaviorEvidence<RotaContext>>,
    pub(super) faults: Faults,
}

/// The application's state.
pub(super) struct App {
    tools: Tools,
    /// The last decided block and its hash.
    tip: (BlockHeader, B256),
    /// Terms of the running height.
    term: Option<Term>,
    candidates: Candidates,
    streams: Streams,
    origins: Origins,
    pace: Pace,
    waiting: Option<Waiting>,
    /// What the waiting height lacks, so that it is said once.
    lacking: Option<Unknown>,
    streams_sent: u64,
    /// Where catching up was, when it was last told.
    told: Option<(Instant, Height)>,
}

impl App {
    /// Takes up the chain at `tip`.
    pub(super) fn new(tools: Tools, tip: (BlockHeader, B256)) -> Self {
        let candidates =
            Candidates::new(tools.store.clone(), tools.mirror.clone(), Arc::clone(&tools.source));
        let streams = Streams::new(payload::max_body_bytes(&tools.params));
        let pace = Pace { started: Instant::now(), behind: true, seen: tip.0.height };
        let mut app = Self {
            tools,
            tip,
            term: None,
            candidates,
            streams,
            origins: Origins::default(),
            pace,
            waiting: None,
            lacking: None,
            streams_sent: 0,
            told: None,
        };
        app.look_at_l1();
        app
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
        let at_depth = self.tools.mirror.read().at_depth;
        self.origins.observe(at_depth, Instant::now());
    }

    /// Starts the waiting height if it is time; else says when to ask again, if time alone will do.
    pub(super) async fn start_when_due(&mut self) -> Result<Option<Instant>, AgreementError> {
        let Some(waiting) = &self.waiting else { return Ok(None) };
        let next = self.tip.0.height.next();
        if matches!(waiting, Waiting::Next(_)) {
            let has_work = self.has_forced() || self.tools.source.has_work();
            let idle = self.tools.params.idle_interval();
            if let Start::At(then) = self.pace.start_of(next, has_work, idle)
                && Instant::now() < then
            {
                return Ok(Some(then));
            }
        }
        let term = {
            let mirror = self.tools.mirror.read();
            Term::after(&mirror, self.tools.start.as_ref(), &self.tip.0, self.tip.1)
        };
        let term = match term {
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

    async fn start(&mut self, term: Term) -> Result<(), AgreementError> {
        let height = term.height;
        self.lacking = None;
        self.tools.heights.note(&term);
        self.candidates.begin(height).await?;
        self.streams.forget_below(height);
        self.pace = Pace { started: Instant::now(), behind: false, seen: self.pace.seen };

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
                self.stream(height, value_id.hash(), round, valid_round, address).await;
            }
            AppMsg::Decided { certificate, reply, .. } => {
                self.commit(certificate).await?;
                let _ = reply.send(());
            }
            AppMsg::Finalized { evidence, reply, .. } => {
                if !evidence.is_empty() && self.tools.found.try_send(evidence).is_err() {
                    tracing::warn!("evidence found by the engine was dropped: too much waits");
                }
                self.waiting = Some(Waiting::Next(reply));
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let _ = reply.send(self.synced(height, round, proposer, &value_bytes).await?);
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let _ = reply.send(self.decided_values(range).await?);
            }
            // Block 0 is read from L1 by everybody and has no certificate; so is what settled before a restart.
            AppMsg::GetHistoryMinHeight { reply } => {
                let before = self.tools.start.as_ref().map(|start| start.last_height);
                let _ = reply.send(before.unwrap_or_default().next());
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
            Some(term) if term.height == height => self.candidates.round_started(term, now()).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The block to propose: the one of an earlier round or run if there is one (R18), else a new one, on disk before
    /// anybody hears of it.
    async fn propose(
        &mut self,
        height: Height,
        round: Round,
    ) -> Result<Option<LocallyProposedValue<RotaContext>>, AgreementError> {
        let (Some(term), Some(at)) = (&self.term, round.as_u32()) else { return Ok(None) };
        if term.height != height {
            return Ok(None);
        }
        let generation = term.generation;
        let store = self.tools.store.clone();
        let own = blocking(move || store.own_proposals(generation, height)).await?;
        let earlier = own.first().and_then(|(_, hash)| {
            self.candidates
                .included(height, *hash)
                .map(|(block, included)| (block, included, *hash))
        });
        let (block, included, hash) = match earlier {
            Some((block, included, hash)) => (block, included.as_ref().clone(), hash),
            None => {
                let block = self.build(term, own.is_empty()).await;
                let included = super::validity::judge_body(
                    &self.tools.params,
                    &block,
                    self.tools.source.as_ref(),
                )
                .await;
                match included {
                    Ok(included) => (Arc::clone(&block), included, block.header.hash()),
                    Err(error) => {
                        tracing::error!(%height, %error, "the mempool gave what no block may hold");
                        let empty = self.build(term, false).await;
                        (Arc::clone(&empty), Vec::new(), empty.header.hash())
                    }
                }
            }
        };
        let (store, kept) = (self.tools.store.clone(), Arc::clone(&block));
        let at = domain::Round::new(at);
        blocking(move || store.keep_own_proposal(at, &kept)).await?;

        let value = HeaderValue::new(block.header.clone());
        let transactions = block.transactions.len();
        self.candidates.hold_own(round, hash, block, included);
        tracing::debug!(%height, %round, %hash, transactions, "proposing");
        let own = Signer(self.tools.address.0.0);
        self.stream(height, hash, round, Round::Nil, own).await;
        Ok(Some(LocallyProposedValue::new(height, round, value)))
    }

    /// Builds a block on the tip.
    async fn build(&self, term: &Term, with_transactions: bool) -> Arc<Block> {
        let parent = term.parent.clone();
        let (origin, forced_through) = {
            let mirror = self.tools.mirror.read();
            let newer = self.newer_origin(&mirror, term.earliest_origin.number);
            let origin = newer.unwrap_or(term.earliest_origin);
            (origin, self.forced_through(&mirror, &parent, origin.number))
        };
        let (generation, epoch) = (term.generation, term.epoch);
        let (parent_hash, height) = (term.parent_hash, term.height);
        let proposer = self.tools.address;
        let (source, mirror) = (Arc::clone(&self.tools.source), self.tools.mirror.clone());
        let limit = payload::max_body_bytes(&self.tools.params);
        let faults = self.tools.faults.clone();
        blocking(move || {
            let transactions = if with_transactions {
                source.collect(limit, &|rollup| {
                    mirror.read().is_open(rollup, origin.number) && !faults.censors(rollup)
                })
            } else {
                Vec::new()
            };
            let header = BlockHeader {
                generation,
                height,
                epoch,
                proposer,
                timestamp: now().max(parent.timestamp).max(origin.timestamp.to_millis()),
                parent_hash,
                l1_origin_number: origin.number,
                l1_origin_hash: origin.hash,
                forced_through,
                tx_count: u32::try_from(transactions.len()).unwrap_or(u32::MAX),
                tx_root: tx_root(&transactions),
            };
            Arc::new(Block { header, transactions })
        })
        .await
    }

    /// The L1 block that a child of `parent` should name, if it is a newer one (R16).
    fn newer_origin(&self, mirror: &Mirror, than: u64) -> Option<L1Block> {
        let half_an_l1_block = self.tools.params.l1_block_seconds.saturating_mul(500);
        let settling = Duration::from_millis(half_an_l1_block);
        self.origins.pick(Instant::now(), settling).filter(|block| {
            block.number > than
                && mirror.blocks.get(&block.number).is_some_and(|seen| seen.hash == block.hash)
        })
    }

    /// How far a child of `parent` consumes the forced queue: as far as it may (R17).
    fn forced_through(&self, mirror: &Mirror, parent: &BlockHeader, origin: u64) -> u64 {
        let range = mirror.forced.range(&self.tools.params, parent.forced_through, origin);
        range.map_or(parent.forced_through, |range| {
            match self.tools.faults.leaves_forced_behind() {
                true => *range.start(),
                false => (*range.end()).max(*range.start()),
            }
        })
    }

    /// Whether the next block could consume an entry of the forced queue.
    fn has_forced(&self) -> bool {
        let mirror = self.tools.mirror.read();
        let parent = &self.tip.0;
        let origin = self.newer_origin(&mirror, parent.l1_origin_number);
        let origin = origin.map_or(parent.l1_origin_number, |block| block.number);
        self.forced_through(&mirror, parent, origin) > parent.forced_through
    }

    /// Sends a block in parts to everybody.
    async fn stream(
        &mut self,
        height: Height,
        hash: B256,
        round: Round,
        pol_round: Round,
        proposer: Signer,
    ) {
        let Some(candidate) = self.candidates.get(height, hash) else {
            tracing::warn!(%height, %hash, "asked to send a block that is not held");
            return;
        };
        let block = Arc::clone(&candidate.block);
        self.streams_sent = self.streams_sent.wrapping_add(1);
        let id = stream_id(hash, round, self.streams_sent);
        let body = body::encode(&block.transactions);
        for message in cut(id, round, pol_round, proposer, &block.header, &body) {
            if self.tools.network.send(NetworkMsg::PublishProposalPart(message)).await.is_err() {
                return;
            }
        }
    }

    async fn part(
        &mut self,
        publisher: PeerId,
        message: StreamMessage<Part>,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let running = self.tip.0.height.next();
        if let Some(Part::Init { height, .. }) = message.content.as_data() {
            let ahead = height.get().saturating_sub(running.get());
            if *height < running || ahead > AHEAD {
                return Ok(None);
            }
            self.pace.seen = self.pace.seen.max(*height);
        }
        let arrived = match self.streams.insert(publisher, message) {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(peer = %publisher, %error, "stream dropped");
                return Ok(None);
            }
        };
        match &self.term {
            Some(term) => self.candidates.arrived(term, arrived, now()).await,
            None => Ok(None),
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

    async fn decided_values(
        &self,
        range: RangeInclusive<Height>,
    ) -> Result<Vec<RawDecidedValue<RotaContext>>, AgreementError> {
        let store = self.tools.store.clone();
        blocking(move || {
            let mut values = Vec::new();
            let end = range.end().get().min(range.start().get().saturating_add(super::SYNC_BATCH));
            for height in range.start().get()..=end {
                let Some(decided) = store.block(Height::new(height))? else { break };
                values.push(raw(decided));
            }
            Ok(values)
        })
        .await
    }
}

/// A decided block as peers ask for it.
fn raw(decided: DecidedBlock) -> RawDecidedValue<RotaContext> {
    let DecidedBlock { block, certificate } = decided;
    let commit = CommitCertificate {
        height: block.header.height,
        round: Round::new(certificate.round.get()),
        value_id: HeaderValue::new(block.header.clone()).id(),
        commit_signatures: certificate
            .signatures
            .into_iter()
            .map(|(signer, signature)| CommitSignature::new(signer, signature))
            .collect(),
    };
    let none = VoteExtensions::new(Vec::new());
    let certificate =
        ExtendedCommitCertificate::from_commit_certificate_and_extensions(commit, none);
    RawDecidedValue::new(encode_block(&block), certificate)
}

/// This agent's clock.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
