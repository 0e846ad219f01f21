//! One member of agreement over a fake engine, for whoever has a clock and a network of their own: the application, the guard,
//! the log, the voice and the witness as they are, and the engine's own consensus. What is fake is what lies between: no
//! actors, no sockets, no timers. The member does what is due when it is asked to, and hands over what it has to say.
//!
//! It follows `Member` and the engine's actor effect by effect: what is signed is on disk before it leaves, what was on disk
//! is replayed at the start, and decided blocks are asked for from whoever says that it has them.

mod engine;
mod said;

use super::app::{App, Tools};
use super::codec::BorshCodec;
use super::context::RotaContext;
use super::evidence::{EvidencePool, Heard, Witness};
use super::heights::Heights;
use super::log::Page;
use super::signing::GuardedSigner;
use super::silence::Verdict;
use super::verify::RecoveringVerifier;
use super::voice::{Ear, Voice};
use super::{AgreementError, BlockSource, Clock, Faults, Quiet, Reach, Silence, Timeouts};
use crate::domain::{BlockHeader, Evidence, Height, Millis, SequencerId, Signer};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
use crate::storage::Store;
use alloy::primitives::Address;
use bytes::Bytes;
use engine::{Ask, Engine, ended};
use malachitebft_app_channel::app::metrics::Metrics;
use malachitebft_app_channel::app::types::streaming::{StreamId, StreamMessage};
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_app_channel::app::types::{LocallyProposedValue, PeerId};
use malachitebft_app_channel::{AppMsg, NetworkMsg};
use malachitebft_core_consensus::{Input, LivenessMsg, Params, SignedConsensusMsg, State};
use malachitebft_core_types::{
    HeightParams, LinearTimeouts, ValidatorSet as _, ValueOrigin, ValuePayload, ValueResponse,
};
use malachitebft_engine::host::SyncedValueOutcome;
use malachitebft_engine::network::{NetworkEvent, Status};
use malachitebft_engine::util::streaming::StreamContent;
use malachitebft_engine::wal::decode_entry;
use said::Word;
pub(crate) use said::{Promise, Said, To};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often a member says what it has decided, and asks for what it lacks.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Messages that wait for their height.
const QUEUE: usize = 1_024;
/// Parts that one proposal is cut into at most, in a network that decides little.
const PARTS: usize = 4_096;

/// Everybody can be reached, as far as anybody knows.
#[derive(Debug)]
struct Everybody;

impl Reach for Everybody {
    fn is_reachable(&self, _: Address) -> bool {
        true
    }

    fn sequencer_of(&self, _: &libp2p::PeerId) -> Option<SequencerId> {
        None
    }
}

/// What a member works with.
pub(crate) struct Place {
    pub(crate) name: libp2p::PeerId,
    pub(crate) mirror: MirrorHandle,
    pub(crate) store: Store,
    pub(crate) guard: Arc<Guard>,
    pub(crate) source: Arc<dyn BlockSource>,
    pub(crate) time: Arc<dyn Fn() -> Millis + Send + Sync>,
    pub(crate) doubt: Option<Silence>,
    /// Whether it says everything, whatever its store knows.
    pub(crate) careless: bool,
}

/// A process of a member.
pub(crate) struct Simulated {
    place: Place,
    voice: Voice,
    quiet: watch::Receiver<Quiet>,
    decided: watch::Sender<Height>,
    peers: Vec<PeerId>,
    life: Option<Life>,
}

/// One life of the engine.
struct Life {
    app: App,
    consensus: Option<State<RotaContext>>,
    engine: Engine,
    voice: Voice,
    found: mpsc::Receiver<Evidence>,
    parts: mpsc::Receiver<NetworkMsg<RotaContext>>,
}

fn of(name: &libp2p::PeerId) -> PeerId {
    PeerId::from_bytes(&name.to_bytes()).unwrap()
}

fn back(name: &PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&name.to_bytes()).unwrap()
}

impl Simulated {
    /// A process that begins.
    pub(crate) fn new(place: Place) -> Self {
        let (told, quiet) = watch::channel(Quiet::default());
        let (mirror, store) = (place.mirror.clone(), place.store.clone());
        let voice =
            Voice::new(place.doubt, mirror, Arc::clone(&place.guard), store, told, place.careless);
        let (decided, _) = watch::channel(Height::default());
        Self { place, voice, quiet, decided, peers: Vec::new(), life: None }
    }

    /// Why it signs nothing, if so.
    pub(crate) fn silence(&self) -> Option<Silence> {
        self.quiet.borrow().silence
    }

    /// Where it is, for whoever reads of a failure.
    pub(crate) fn describe(&self) -> String {
        let Some(life) = &self.life else { return "not begun".to_owned() };
        let consensus = life.consensus.as_ref().map(|state| (state.height(), state.round()));
        let engine = &life.engine;
        format!(
            "{consensus:?}, {} inputs, {} asks, timers {:?}, tips {:?}, verdict {:?}",
            engine.inputs.len(),
            engine.asks.len(),
            engine.timers.iter().map(|(_, timeout)| timeout).collect::<Vec<_>>(),
            engine.tips.values().collect::<Vec<_>>(),
            life.consensus.as_ref().map(|state| life.voice.verdict(state.height())),
        )
    }

    /// A peer is there, or is gone.
    pub(crate) async fn connected(&mut self, peer: &libp2p::PeerId, connected: bool) {
        let peer = of(peer);
        self.peers.retain(|known| *known != peer);
        let event = match connected {
            true => {
                self.peers.push(peer);
                NetworkEvent::PeerConnected(peer)
            }
            false => NetworkEvent::PeerDisconnected(peer),
        };
        if let Some(life) = &mut self.life {
            life.engine.tips.remove(&peer);
            self.voice.hear(&event).await;
        }
    }

    /// Who contradicted itself, as far as this member has seen.
    pub(crate) fn offences(&mut self) -> Vec<Evidence> {
        let life = self.life.as_mut();
        life.map(|life| std::iter::from_fn(|| life.found.try_recv().ok()).collect())
            .unwrap_or_default()
    }

    /// Does what is due, and says what it has to say.
    ///
    /// # Errors
    ///
    /// What ends an agent: here, a store that has died.
    pub(crate) async fn turn(&mut self) -> Result<Vec<(To, Said)>, AgreementError> {
        if self.life.is_none() {
            self.begin().await?;
        }
        let Some(life) = &mut self.life else { return Ok(Vec::new()) };
        life.step().await?;
        if self.voice.listen(life.app.running()) {
            // What was kept back is said by an engine that is started again.
            life.engine.page.close();
            self.life = None;
            return Ok(Vec::new());
        }
        let said = std::mem::take(&mut life.engine.said);
        Ok(said.into_iter().map(|(to, word)| (to.as_ref().map(back), Said(word))).collect())
    }

    /// Takes in what a peer said.
    pub(crate) async fn hear(
        &mut self,
        from: &libp2p::PeerId,
        said: Said,
    ) -> Result<(), AgreementError> {
        match &mut self.life {
            Some(life) => life.hear(of(from), said.0).await,
            None => Ok(()),
        }
    }

    /// Begins a life of the engine, once L1 shows block 0 at depth.
    async fn begin(&mut self) -> Result<(), AgreementError> {
        let place = &self.place;
        let genesis = {
            let mirror = place.mirror.read();
            let depth = mirror.at_depth.map(|block| block.number);
            let fixed = |header: &&BlockHeader| depth > Some(header.l1_origin_number);
            mirror.genesis.as_ref().filter(fixed).cloned()
        };
        let Some(genesis) = genesis else { return Ok(()) };
        place.store.write_genesis(&genesis)?;
        let (height, hash) = place.store.decided_tip()?.unwrap_or_default();
        let (_, header) =
            place.store.header(height)?.ok_or(AgreementError::BlockMissing { height, hash })?;
        let generation = header.generation;
        let (params, domain) = (place.mirror.read().params.clone(), *place.guard.domain());
        let heights = Heights::default();
        {
            let mirror = place.mirror.read();
            let signers = mirror.peers.keys().map(|signer| Signer(signer.0.0));
            heights.begin_after(height, signers);
        }
        let verifier = RecoveringVerifier::new(generation, domain, heights.clone());
        let pool = EvidencePool::new(generation, verifier.clone(), heights.clone());
        let (witness, found) = Witness::new(pool);
        self.voice.begin(Ear { generation, heights: heights.clone(), verifier: verifier.clone() });
        for peer in &self.peers {
            self.voice.hear(&NetworkEvent::PeerConnected(*peer)).await;
        }
        let page = Page::new(place.store.clone(), Arc::clone(&place.guard), generation);
        let signer = GuardedSigner::new(
            generation,
            Arc::clone(&place.guard),
            page.clone(),
            self.voice.clone(),
        );
        let (network, parts) = mpsc::channel(PARTS);
        let nudged = Arc::new(AtomicBool::new(false));
        let (time, nudge) = (Arc::clone(&place.time), Arc::clone(&nudged));
        let mut app = App::new(
            Tools {
                address: place.guard.address(),
                timeouts: Timeouts::for_interval(params.interval()),
                params,
                start: None,
                reach: Arc::new(Everybody),
                mirror: place.mirror.clone(),
                store: place.store.clone(),
                source: Arc::clone(&place.source),
                heights,
                decided: self.decided.clone(),
                network,
                faults: Faults::default(),
                guard: Arc::clone(&place.guard),
                voice: self.voice.clone(),
                verifier: verifier.clone(),
                witness: witness.clone(),
                clock: Clock::default(),
                nudge: Box::new(move || nudge.store(true, Ordering::Relaxed)),
                time: Box::new(move || time()),
            },
            (header, hash),
        );
        let (reply, first) = oneshot::channel();
        app.on(AppMsg::ConsensusReady { reply }).await?;
        let engine = Engine {
            name: of(&place.name),
            address: Signer(place.guard.address().0.0),
            signer,
            verifier,
            witness,
            page,
            metrics: Metrics::new(),
            timers: Vec::new(),
            timeouts: LinearTimeouts::default(),
            over_at: None,
            recovering: false,
            is_member: false,
            inputs: VecDeque::new(),
            asks: VecDeque::new(),
            first: Some(first),
            next: None,
            said: Vec::new(),
            nudged,
            tips: BTreeMap::new(),
            given: BTreeMap::new(),
            status_at: None,
            asked: 0,
            failed: None,
        };
        let voice = self.voice.clone();
        self.life = Some(Life { app, consensus: None, engine, voice, found, parts });
        Ok(())
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.engine.page.close();
        }
    }
}

impl Life {
    /// Does all that can be done now.
    async fn step(&mut self) -> Result<(), AgreementError> {
        self.app.look_at_l1();
        loop {
            self.app.start_when_due().await?;
            if self.engine.nudged.swap(false, Ordering::Relaxed) {
                let nothing =
                    StreamMessage::new(StreamId::new(Bytes::new()), 0, StreamContent::Fin);
                self.engine.asks.push_back(Ask::Part(self.engine.name, nothing));
            }
            if let Some((height, params)) = self.engine.due_height() {
                self.start(height, params).await?;
                continue;
            }
            if let Some(ask) = self.engine.asks.pop_front() {
                match self.attend(ask).await? {
                    None => continue,
                    Some(ask) => {
                        self.engine.asks.push_front(ask);
                        break;
                    }
                }
            }
            let Some(height) = self.consensus.as_ref().map(State::height) else { break };
            self.engine.take_given(height);
            self.engine.take_timers();
            if self.engine.inputs.is_empty() || self.voice.verdict(height) == Verdict::Wait {
                break;
            }
            if let Some(input) = self.engine.inputs.pop_front() {
                self.process(input).await?;
            }
        }
        while let Ok(message) = self.parts.try_recv() {
            let NetworkMsg::PublishProposalPart(part) = message;
            self.engine.said.push((None, Word::Part(part)));
        }
        self.tell_status().await
    }

    /// Says how far it is, and asks for what it lacks.
    async fn tell_status(&mut self) -> Result<(), AgreementError> {
        let now = Instant::now();
        if self.engine.status_at.is_some_and(|at| now.saturating_duration_since(at) < STATUS_EVERY)
        {
            return Ok(());
        }
        self.engine.status_at = Some(now);
        let running = self.app.running();
        let tip = running.previous().unwrap_or_default();
        let (reply, mut from) = oneshot::channel();
        self.app.on(AppMsg::GetHistoryMinHeight { reply }).await?;
        let from = from.try_recv().unwrap_or_default();
        self.engine.said.push((None, Word::Status { tip, from }));
        let ahead: Vec<PeerId> = self
            .engine
            .tips
            .iter()
            .filter(|(_, theirs)| **theirs >= running)
            .map(|(peer, _)| *peer)
            .collect();
        if let Some(peer) = ahead.get(self.engine.asked.checked_rem(ahead.len()).unwrap_or(0)) {
            self.engine.asked = self.engine.asked.wrapping_add(1);
            let end = Height::new(running.get().saturating_add(super::SYNC_BATCH));
            self.engine.said.push((Some(*peer), Word::Ask(running..=end)));
        }
        Ok(())
    }

    async fn hear(&mut self, from: PeerId, word: Word) -> Result<(), AgreementError> {
        let event = match word {
            Word::Consensus(SignedConsensusMsg::Vote(vote))
            | Word::Liveness(LivenessMsg::Vote(vote)) => {
                if self.engine.witness.vote(&vote.message, vote.signature) != Heard::Signed {
                    return Ok(());
                }
                NetworkEvent::Vote(from, vote)
            }
            Word::Consensus(SignedConsensusMsg::Proposal(proposal)) => {
                let heard = self.engine.witness.proposal(&proposal.message, proposal.signature);
                if heard != Heard::Signed {
                    return Ok(());
                }
                NetworkEvent::Proposal(from, proposal)
            }
            Word::Liveness(LivenessMsg::PolkaCertificate(certificate)) => {
                NetworkEvent::PolkaCertificate(from, certificate)
            }
            Word::Liveness(LivenessMsg::SkipRoundCertificate(certificate)) => {
                NetworkEvent::RoundCertificate(from, certificate)
            }
            Word::Part(part) => NetworkEvent::ProposalPart(from, None, part),
            Word::Status { tip, from: oldest } => {
                self.engine.tips.insert(from, tip);
                self.voice.hear(&NetworkEvent::Status(from, Status::new(tip, oldest))).await;
                return Ok(());
            }
            Word::Ask(range) => {
                let (reply, mut values) = oneshot::channel();
                self.app.on(AppMsg::GetDecidedValues { range, reply }).await?;
                let values = values.try_recv().unwrap_or_default();
                self.engine.said.push((Some(from), Word::Give(values)));
                return Ok(());
            }
            Word::Give(values) => {
                for RawDecidedValue { value_bytes, certificate } in values {
                    let height = certificate.height;
                    let response = ValueResponse::new(from, value_bytes, certificate);
                    self.engine.given.insert(height, response);
                }
                return Ok(());
            }
        };
        self.voice.hear(&event).await;
        if !self.voice.takes_part() {
            return Ok(());
        }
        let input = match event {
            NetworkEvent::Vote(_, vote) => Input::Vote(vote),
            NetworkEvent::Proposal(_, proposal) => Input::Proposal(proposal),
            NetworkEvent::PolkaCertificate(_, certificate) => Input::PolkaCertificate(certificate),
            NetworkEvent::RoundCertificate(_, certificate) => Input::RoundCertificate(certificate),
            NetworkEvent::ProposalPart(_, _, part) => {
                self.engine.asks.push_back(Ask::Part(from, part));
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.engine.inputs.push_back(input);
        Ok(())
    }

    /// Starts a height, with what was on disk of it.
    async fn start(
        &mut self,
        height: Height,
        params: HeightParams<RotaContext>,
    ) -> Result<(), AgreementError> {
        let set = params.validator_set;
        let address = self.engine.address;
        if self.consensus.is_none() {
            let params = Params {
                address,
                threshold_params: Default::default(),
                value_payload: ValuePayload::ProposalAndParts,
                enabled: true,
            };
            let state = State::new(RotaContext, height, set.clone(), params, QUEUE, QUEUE);
            self.consensus = Some(state);
        }
        self.engine.is_member = set.get_by_address(&address).is_some();
        self.engine.timeouts = params.timeouts;
        let entries = match self.engine.is_member {
            true => self.engine.page.begin(height),
            false => self.engine.page.reset(height).map(|()| Vec::new()),
        };
        let entries: Vec<Input<RotaContext>> = entries
            .map_err(ended)?
            .iter()
            .map(|entry| decode_entry(&BorshCodec, entry.as_slice()).unwrap())
            .collect();
        let policy = params.vote_extension_policy;
        // The engine measures what is left of the interval by the machine's clock, so it is waited for here.
        self.engine.over_at = Instant::now().checked_add(params.target_time.unwrap_or_default());
        self.process(Input::StartHeight(height, set, false, None, policy)).await?;
        if entries.is_empty() {
            return Ok(());
        }
        self.engine.recovering = true;
        if let Some(state) = &mut self.consensus {
            state.record_recovered_own_precommit_extensions(&entries);
            state.index_wal_entries(&entries);
        }
        for entry in entries {
            self.process(entry).await?;
        }
        if let Some(state) = &mut self.consensus {
            state.reset_entries_index();
        }
        self.engine.recovering = false;
        Ok(())
    }

    async fn process(&mut self, input: Input<RotaContext>) -> Result<(), AgreementError> {
        let Self { app, consensus, engine, .. } = self;
        let Some(state) = consensus.as_mut() else { return Ok(()) };
        let metrics = engine.metrics.clone();
        let result: Result<(), malachitebft_core_consensus::Error<RotaContext>> = malachitebft_core_consensus::process!(
            input: input,
            state: state,
            metrics: &metrics,
            with: effect => engine.act(app, effect).await
        );
        if let Some(failed) = engine.failed.take() {
            return Err(failed);
        }
        result.map_err(|error| AgreementError::EngineStart { reason: error.to_string() })
    }

    /// Has the application do one thing; gives it back if it is not known yet whether to speak.
    async fn attend(&mut self, ask: Ask) -> Result<Option<Ask>, AgreementError> {
        let is_over = self.engine.over_at.is_none_or(|at| at <= Instant::now());
        if matches!(ask, Ask::Finalized(..)) && !is_over {
            return Ok(Some(ask));
        }
        if let Ask::Value(height, _) | Ask::Restream { height, .. } = &ask {
            match self.voice.verdict(*height) {
                Verdict::Speak => {}
                Verdict::Mute => return Ok(None),
                Verdict::Wait => return Ok(Some(ask)),
            }
        }
        match ask {
            Ask::Value(height, round) => {
                let (reply, mut value) = oneshot::channel::<LocallyProposedValue<RotaContext>>();
                let timeout = Duration::ZERO;
                self.app.on(AppMsg::GetValue { height, round, timeout, reply }).await?;
                if let Ok(value) = value.try_recv() {
                    self.engine.inputs.push_back(Input::Propose(value));
                }
            }
            Ask::Restream { height, round, valid_round, by, hash } => {
                let (address, value_id) = (by, super::context::BlockId(hash.0));
                let ask =
                    AppMsg::RestreamProposal { height, round, valid_round, address, value_id };
                self.app.on(ask).await?;
            }
            Ask::Decided(certificate, extensions) => {
                self.voice.hear_decided(&certificate).await;
                let (reply, _) = oneshot::channel();
                self.app.on(AppMsg::Decided { certificate, extensions, reply }).await?;
            }
            Ask::Finalized(certificate, extensions, evidence) => {
                let (reply, next) = oneshot::channel();
                self.engine.next = Some(next);
                let ask = AppMsg::Finalized { certificate, extensions, evidence, reply };
                self.app.on(ask).await?;
            }
            Ask::Synced(response, proposer) => {
                let (reply, mut outcome) = oneshot::channel();
                let ask = AppMsg::ProcessSyncedValue {
                    height: response.certificate.height,
                    round: response.certificate.round,
                    proposer,
                    value_bytes: response.value_bytes,
                    reply,
                };
                self.app.on(ask).await?;
                if let Ok(SyncedValueOutcome::Verdict(value)) = outcome.try_recv() {
                    self.engine.inputs.push_back(Input::ProposedValue(value, ValueOrigin::Sync));
                }
            }
            Ask::Part(from, part) => {
                if let Some(value) = self.app.part(from, part).await? {
                    let origin = ValueOrigin::Consensus;
                    self.engine.inputs.push_back(Input::ProposedValue(value, origin));
                }
            }
        }
        Ok(None)
    }
}
