//! The engine's network, with the gate before it: what the engine's own actor does, except that a frame is decoded only
//! when its sender may send, and handed on only when what it says is signed by whom it names.
//!
//! What the engine's actor lacks: it takes frames of peers that never identified themselves (`persistent_peers_only` is
//! asked when they do), decodes before anybody could object, says each failure in a line at `ERROR`, and drops messages
//! when whoever reads them is slow. Its transport has no list of who may connect: it gets a door, through the crate that it
//! broadcasts with (`vendor/README.md`), at which handshakes are counted and strangers are refused once theirs is over.

use super::codec::BorshCodec;
use super::context::{Part, RotaContext, Vote};
use super::evidence::{Heard, Witness};
use super::gate::{FrontDoor, Gate, Passage, Registered};
use super::verify::RecoveringVerifier;
use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{Height, Signer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use malachitebft_app_channel::app::metrics::SharedRegistry;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_app_channel::app::types::codec::Codec;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_core_types::{
    Context as _, NilOrVal, RoundCertificateType, SigningScheme, Validator as _, ValidatorProof,
    ValidatorSet as _, VoteType,
};
use malachitebft_engine::network::{
    Msg, NetworkEvent, NetworkIdentity, NetworkRef, PersistentPeerError, PersistentPeersOp, Status,
    Subscriber,
};
use malachitebft_engine::util::streaming::{StreamContent, StreamId, StreamMessage};
use malachitebft_network::handle::CtrlHandle;
use malachitebft_network::validator_proof::ProofVerificationResult;
use malachitebft_network::{Channel, Config, Event};
use malachitebft_sync::{InboundRequestId, OutboundRequestId, RawMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::task::JoinHandle;

/// Takes the place of the engine's own network actor.
pub(super) struct GatedNetwork {
    gate: Arc<Mutex<Gate>>,
    witness: Witness,
    verifier: RecoveringVerifier,
}

/// What it is started with.
pub(super) struct Start {
    door: FrontDoor,
    identity: NetworkIdentity,
    config: Config,
}

type Subscribers = Vec<Box<dyn Subscriber<NetworkEvent<RotaContext>>>>;

/// While it runs; `None` of the handle once it was stopped.
pub(super) struct State {
    ctrl: Option<CtrlHandle>,
    receiving: JoinHandle<()>,
    listening: Vec<malachitebft_engine::network::Multiaddr>,
    peers: BTreeSet<PeerId>,
    subscriptions: HashSet<(PeerId, Channel)>,
    subscribers: Subscribers,
    inbound: HashMap<InboundRequestId, libp2p::request_response::InboundRequestId>,
}

impl State {
    fn tell(&self, event: &NetworkEvent<RotaContext>) {
        for subscriber in &self.subscribers {
            subscriber.send(event.clone());
        }
    }

    fn ctrl(&self) -> Result<&CtrlHandle, ActorProcessingErr> {
        self.ctrl.as_ref().ok_or_else(|| "the network was stopped".into())
    }
}

/// Who sent an event and how large it is; `None` for what no peer sends.
const fn origin(event: &Event) -> Option<(PeerId, usize)> {
    Some(match event {
        Event::ConsensusMessage(_, from, _, bytes) | Event::LivenessMessage(_, from, bytes) => {
            (*from, bytes.len())
        }
        Event::PeerConnected(peer) | Event::PeerSubscribed(peer, _) => (*peer, 0),
        Event::Sync(RawMessage::Request { peer, body, .. }) => (*peer, body.len()),
        Event::ValidatorProofReceived { peer_id, proof_bytes } => (*peer_id, proof_bytes.len()),
        // Answers are to what was asked, and bounded by that.
        Event::Sync(RawMessage::Response { .. })
        | Event::Listening(_)
        | Event::PeerDisconnected(_)
        | Event::PeerUnsubscribed(..)
        | Event::SyncRequestFailed { .. }
        | Event::SyncInboundRequestFailed { .. } => return None,
    })
}

impl GatedNetwork {
    /// Starts the network.
    ///
    /// # Errors
    ///
    /// The actor system's, or the network's, which says why.
    pub(super) async fn spawn(
        registered: Registered,
        witness: Witness,
        verifier: RecoveringVerifier,
        identity: NetworkIdentity,
        config: Config,
    ) -> Result<NetworkRef<RotaContext>, SpawnErr> {
        let door = FrontDoor::new(registered.clone());
        let gate = Arc::new(Mutex::new(Gate::new(registered)));
        let network = Self { gate, witness, verifier };
        Actor::spawn(None, network, Start { door, identity, config })
            .await
            .map(|(network, _)| network)
    }

    /// Lets through what may be heard. It waits for nothing: the network waits for it.
    async fn receive(
        gate: Arc<Mutex<Gate>>,
        mut events: malachitebft_network::handle::RecvHandle,
        myself: ActorRef<Msg<RotaContext>>,
    ) {
        while let Some(event) = events.recv().await {
            let passage = origin(&event).map_or(Passage::Open, |(peer, bytes)| {
                let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
                match &event {
                    Event::PeerConnected(_) | Event::PeerSubscribed(..) => {
                        gate.enter(&peer, Instant::now())
                    }
                    _ => gate.judge(&peer, bytes, Instant::now()),
                }
            });
            // A request that is dropped has its place until it is overdue or its connection is closed.
            let message = match (passage, origin(&event)) {
                (Passage::Open, _) => Msg::NewEvent(event),
                (Passage::Thrown, Some((peer_id, _))) => Msg::ValidatorProofVerified {
                    peer_id,
                    result: ProofVerificationResult::Invalid,
                    public_key: None,
                },
                _ => continue,
            };
            if myself.cast(message).is_err() {
                return;
            }
        }
        // Nobody is heard any more: better no engine than a deaf one.
        myself.stop(Some("the network ended".to_owned()));
    }

    /// What a message says, or a mark against its sender.
    fn decoded<T>(&self, from: &PeerId, bytes: Bytes) -> Option<T>
    where
        BorshCodec: Codec<T>,
    {
        let decoded = Codec::<T>::decode(&BorshCodec, bytes).ok();
        if decoded.is_none() {
            self.gate().unreadable(from, Instant::now());
        }
        decoded
    }

    fn mark(&self, peer: &PeerId) {
        self.gate().unsigned(peer, Instant::now());
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a vote or proposal is handed to the engine.
    async fn is_heard(&self, from: &PeerId, message: &SignedConsensusMsg<RotaContext>) -> bool {
        let (witness, message) = (self.witness.clone(), message.clone());
        let heard = blocking(move || match &message {
            SignedConsensusMsg::Vote(vote) => witness.vote(&vote.message, vote.signature),
            SignedConsensusMsg::Proposal(proposal) => {
                witness.proposal(&proposal.message, proposal.signature)
            }
        });
        let heard = heard.await;
        if heard == Heard::Unsigned {
            self.mark(from);
        }
        heard == Heard::Signed
    }

    /// Marks who sends a block under a signature that does not hold. The part goes on in any case: the application looks
    /// itself, and knows which heights matter.
    async fn look_at_part(&self, from: &PeerId, message: &StreamMessage<Part>) {
        if let StreamContent::Data(Part::Init { proposal, signature }) = &message.content {
            let (verifier, proposal) = (self.verifier.clone(), proposal.clone());
            let signature: Signature = *signature;
            let forged = blocking(move || verifier.is_forged(&proposal, &signature)).await;
            if forged {
                self.mark(from);
            }
        }
    }

    async fn event(&self, event: Event, state: &mut State) -> Result<(), ActorProcessingErr> {
        let told = match event {
            Event::Listening(address) => {
                state.listening.push(address.clone());
                Some(NetworkEvent::Listening(address))
            }
            Event::PeerConnected(peer) => {
                state.peers.insert(peer);
                tracing::info!(%peer, "connected to an agent");
                Some(NetworkEvent::PeerConnected(peer))
            }
            Event::PeerDisconnected(peer) => {
                if state.peers.remove(&peer) {
                    tracing::info!(%peer, "an agent is disconnected");
                }
                state.subscriptions.retain(|(other, _)| *other != peer);
                Some(NetworkEvent::PeerDisconnected(peer))
            }
            Event::PeerSubscribed(peer, channel) => state
                .subscriptions
                .insert((peer, channel))
                .then_some(NetworkEvent::PeerSubscribed(peer, channel)),
            Event::PeerUnsubscribed(peer, channel) => {
                state.subscriptions.remove(&(peer, channel));
                None
            }
            Event::LivenessMessage(Channel::Liveness, from, bytes) => {
                self.liveness(from, bytes).await
            }
            Event::ConsensusMessage(Channel::Consensus, from, _, bytes) => {
                self.consensus(from, bytes).await
            }
            Event::ConsensusMessage(Channel::ProposalParts, from, publisher, bytes) => {
                let part = self.decoded::<StreamMessage<Part>>(&from, bytes);
                if let Some(part) = &part {
                    self.look_at_part(&from, part).await;
                }
                part.map(|part| NetworkEvent::ProposalPart(from, publisher, part))
            }
            Event::ConsensusMessage(Channel::Sync, from, _, bytes) => self
                .decoded::<malachitebft_sync::Status<RotaContext>>(&from, bytes)
                .filter(|status| status.peer_id == from)
                .map(|status| {
                    let status = Status::new(status.tip_height, status.history_min_height);
                    NetworkEvent::Status(from, status)
                }),
            Event::LivenessMessage(_, from, _) | Event::ConsensusMessage(_, from, _, _) => {
                self.mark(&from);
                None
            }
            Event::ValidatorProofReceived { peer_id, proof_bytes } => {
                let proof = self.decoded::<ValidatorProof<RotaContext>>(&peer_id, proof_bytes);
                match proof {
                    Some(proof) if proof.peer_id == peer_id.to_bytes() => {
                        Some(NetworkEvent::ValidatorProofReceived { peer_id, proof })
                    }
                    Some(_) => {
                        let invalid = ProofVerificationResult::Invalid;
                        state.ctrl()?.validator_proof_verified(peer_id, invalid, None).await?;
                        None
                    }
                    None => None,
                }
            }
            Event::Sync(RawMessage::Request { request_id, peer, body }) => {
                match self.decoded(&peer, body) {
                    Some(request) => {
                        let id = InboundRequestId::new(request_id);
                        state.inbound.insert(id.clone(), request_id);
                        Some(NetworkEvent::SyncRequest(id, peer, request))
                    }
                    None => {
                        state.ctrl()?.sync_cancel_reply(request_id).await?;
                        None
                    }
                }
            }
            Event::Sync(RawMessage::Response { request_id, peer, body }) => {
                let response = self.decoded(&peer, body);
                Some(NetworkEvent::SyncResponse(OutboundRequestId::new(request_id), peer, response))
            }
            Event::SyncRequestFailed { request_id, peer, reason } => Some(
                NetworkEvent::SyncRequestFailed(OutboundRequestId::new(request_id), peer, reason),
            ),
            Event::SyncInboundRequestFailed { request_id, peer } => {
                let id = InboundRequestId::new(request_id);
                state.inbound.remove(&id);
                Some(NetworkEvent::SyncInboundRequestFailed(id, peer))
            }
        };
        if let Some(event) = told {
            state.tell(&event);
        }
        Ok(())
    }

    async fn consensus(&self, from: PeerId, bytes: Bytes) -> Option<NetworkEvent<RotaContext>> {
        let message = self.decoded::<SignedConsensusMsg<RotaContext>>(&from, bytes)?;
        self.is_heard(&from, &message).await.then(|| match message {
            SignedConsensusMsg::Vote(vote) => NetworkEvent::Vote(from, vote),
            SignedConsensusMsg::Proposal(proposal) => NetworkEvent::Proposal(from, proposal),
        })
    }

    async fn liveness(&self, from: PeerId, bytes: Bytes) -> Option<NetworkEvent<RotaContext>> {
        match self.decoded::<LivenessMsg<RotaContext>>(&from, bytes)? {
            LivenessMsg::Vote(vote) => {
                let heard = self.is_heard(&from, &SignedConsensusMsg::Vote(vote.clone())).await;
                heard.then_some(NetworkEvent::Vote(from, vote))
            }
            LivenessMsg::PolkaCertificate(polka) => {
                let value = NilOrVal::Val(polka.value_id);
                let votes = polka.polka_signatures.iter().map(|signed| {
                    let (height, round) = (polka.height, polka.round);
                    let vote = RotaContext.new_prevote(height, round, value, signed.address);
                    (vote, signed.signature)
                });
                let holds = self.holds(&from, polka.height, votes.collect(), 2).await;
                holds.then_some(NetworkEvent::PolkaCertificate(from, polka))
            }
            LivenessMsg::SkipRoundCertificate(skip) => {
                let thirds = match skip.cert_type {
                    RoundCertificateType::Skip => 1,
                    RoundCertificateType::Precommit => 2,
                };
                let votes = skip.round_signatures.iter().map(|signed| {
                    let (height, round, by) = (skip.height, skip.round, signed.address);
                    let vote = match signed.vote_type {
                        VoteType::Prevote => {
                            RotaContext.new_prevote(height, round, signed.value_id, by)
                        }
                        VoteType::Precommit => {
                            RotaContext.new_precommit(height, round, signed.value_id, by)
                        }
                    };
                    (vote, signed.signature)
                });
                let holds = self.holds(&from, skip.height, votes.collect(), thirds).await;
                holds.then_some(NetworkEvent::RoundCertificate(from, skip))
            }
        }
    }

    /// Whether a certificate is handed to the engine. No honest agent sends one that does not hold.
    async fn holds(
        &self,
        from: &PeerId,
        height: Height,
        votes: Vec<(Vote, Signature)>,
        thirds: u128,
    ) -> bool {
        let witness = self.witness.clone();
        let heard = blocking(move || witness.certificate(height, &votes, thirds)).await;
        if heard == Heard::Unsigned {
            self.mark(from);
        }
        heard == Heard::Signed
    }

    async fn message(
        &self,
        message: Msg<RotaContext>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Subscribe(subscriber) => {
                for address in &state.listening {
                    subscriber.send(NetworkEvent::Listening(address.clone()));
                }
                for peer in &state.peers {
                    subscriber.send(NetworkEvent::PeerConnected(*peer));
                }
                for (peer, channel) in &state.subscriptions {
                    subscriber.send(NetworkEvent::PeerSubscribed(*peer, *channel));
                }
                state.subscribers.push(subscriber);
            }
            Msg::PublishConsensusMsg(message) => {
                let bytes = Codec::<SignedConsensusMsg<_>>::encode(&BorshCodec, &message)?;
                state.ctrl()?.publish(Channel::Consensus, bytes).await?;
            }
            Msg::PublishLivenessMsg(message) => {
                let bytes = Codec::<LivenessMsg<_>>::encode(&BorshCodec, &message)?;
                state.ctrl()?.publish(Channel::Liveness, bytes).await?;
            }
            Msg::PublishProposalPart(message) => {
                let bytes = Codec::<StreamMessage<Part>>::encode(&BorshCodec, &message)?;
                state.ctrl()?.publish(Channel::ProposalParts, bytes).await?;
            }
            Msg::BroadcastStatus(status) => {
                let ctrl = state.ctrl()?;
                let status = malachitebft_sync::Status::<RotaContext> {
                    peer_id: ctrl.peer_id(),
                    tip_height: status.tip_height,
                    history_min_height: status.history_min_height,
                };
                ctrl.broadcast(Channel::Sync, BorshCodec.encode(&status)?).await?;
            }
            Msg::OutgoingRequest(peer, request, reply) => {
                let bytes = BorshCodec.encode(&request)?;
                let id = state.ctrl()?.sync_request(peer, bytes).await?;
                // Whoever asked may have given up.
                let _ = reply.send(OutboundRequestId::new(id));
            }
            // The transport cannot take a request back; late answers are dropped by who asked.
            Msg::CancelRequest(_) => {}
            Msg::OutgoingResponse(id, response) => {
                if let Some(id) = state.inbound.remove(&id) {
                    let bytes = BorshCodec.encode(&response)?;
                    state.ctrl()?.sync_reply(id, bytes).await?;
                }
            }
            Msg::CancelInboundRequest(id) => {
                if let Some(id) = state.inbound.remove(&id) {
                    state.ctrl()?.sync_cancel_reply(id).await?;
                }
            }
            Msg::UpdateValidatorSet(set) => {
                let members = set
                    .iter()
                    .map(|member| malachitebft_network::ValidatorInfo {
                        address: member.address().to_string(),
                        public_key: encode_key(member.public_key()),
                        voting_power: member.voting_power(),
                    })
                    .collect();
                state.ctrl()?.update_validator_set(members).await?;
            }
            Msg::ValidatorProofVerified { peer_id, result, public_key } => {
                state.ctrl()?.validator_proof_verified(peer_id, result, public_key).await?;
            }
            Msg::NewEvent(event) => self.event(event, state).await?,
            Msg::DumpState(reply) => {
                let dump = match &state.ctrl {
                    Some(ctrl) => ctrl.dump_state().await.ok(),
                    None => None,
                };
                let _ = reply.send(dump);
            }
            Msg::UpdatePersistentPeers(change, reply) => {
                let _ = reply.send(changed(state.ctrl.as_ref(), change).await);
            }
        }
        Ok(())
    }
}

/// Hands the engine a part of nothing, as if it had arrived from this agent. It takes values in only as answers to parts.
pub(super) fn nudge(network: &NetworkRef<RotaContext>, me: PeerId) {
    let nothing = StreamMessage::<Part>::new(StreamId::new(Bytes::new()), 0, StreamContent::Fin);
    let Ok(bytes) = BorshCodec.encode(&nothing) else { return };
    let event = Event::ConsensusMessage(Channel::ProposalParts, me, None, bytes);
    // An engine that is ending asks for nothing more.
    let _ = network.cast(Msg::NewEvent(event));
}

fn encode_key(key: &Signer) -> Vec<u8> {
    super::context::Secp256k1::encode_public_key(key)
}

async fn changed(
    ctrl: Option<&CtrlHandle>,
    change: PersistentPeersOp,
) -> Result<(), PersistentPeerError> {
    let Some(ctrl) = ctrl else { return Err(PersistentPeerError::NetworkStopped) };
    let changed = match change {
        PersistentPeersOp::Add(address) => ctrl.add_persistent_peer(address).await,
        PersistentPeersOp::Remove(address) => ctrl.remove_persistent_peer(address).await,
    };
    changed.unwrap_or_else(|error| Err(PersistentPeerError::InternalError(error.to_string())))
}

#[async_trait]
impl Actor for GatedNetwork {
    type Msg = Msg<RotaContext>;
    type State = State;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        Start { door, identity, config }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let registry = SharedRegistry::global().with_moniker(&identity.moniker);
        // It makes all of itself at once, and has no other place for a door.
        let (made, has_door) = libp2p_scatter::with_door(Box::new(door), || {
            malachitebft_network::spawn(identity, config, registry).now_or_never()
        });
        let handle = made.ok_or("the network does not start at once any more")??;
        if !has_door {
            handle.shutdown().await?;
            return Err("the network has no door".into());
        }
        let (events, ctrl) = handle.split();
        let receiving = tokio::spawn(Self::receive(Arc::clone(&self.gate), events, myself));
        Ok(State {
            ctrl: Some(ctrl),
            receiving,
            listening: Vec::new(),
            peers: BTreeSet::new(),
            subscriptions: HashSet::new(),
            subscribers: Vec::new(),
            inbound: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.message(message, state).await
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(ctrl) = state.ctrl.take() {
            ctrl.wait_shutdown().await?;
            (&mut state.receiving).await?;
        }
        Ok(())
    }
}
