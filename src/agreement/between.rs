//! Between the engine and its network. What this agent keeps to itself, the engine treats as said: it has no way to be told
//! that one message is not to be signed, and ends when its signer fails. So a message that is not signed is *blank*: the
//! engine's own check of its signature leaves it out of every count, and here it stops on its way out.
//!
//! On the way in, what peers say passes the agent's own ear ([`super::voice`]) first, and what they say that they have decided
//! is told to the engine only as long as there is something behind it ([`super::rumour`]). An agent that keeps silent takes no part in
//! votes: they go no further.
//!
//! The network is no part of what the engine's supervisor ends in a hurry, so that its socket is given back in order.

use super::context::RotaContext;
use super::rumour::Rumours;
use super::voice::Voice;
use crate::blocking::blocking;
use crate::crypto::Signature;
use async_trait::async_trait;
use malachitebft_app_channel::app::types::sync::Response;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_engine::network::{NetworkEvent, NetworkMsg, NetworkRef, Subscriber};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// In the place of a signature that was not given. It recovers to nobody.
pub(super) const BLANK: Signature = Signature::from_compact([0; 64]);

/// Lets through what is signed.
pub(super) struct Between;

/// What it works with.
pub(super) struct Ways {
    network: NetworkRef<RotaContext>,
    voice: Voice,
    /// Whether somebody listens already who tells the voice.
    heard: bool,
    rumours: Arc<Mutex<Rumours>>,
}

impl Between {
    /// Starts between an engine and its network.
    ///
    /// # Errors
    ///
    /// The actor system's.
    pub(super) async fn spawn(
        network: NetworkRef<RotaContext>,
        voice: Voice,
    ) -> Result<NetworkRef<RotaContext>, SpawnErr> {
        let rumours = voice.rumours();
        let ways = Ways { network, voice, heard: false, rumours };
        Actor::spawn(None, Self, ways).await.map(|(between, _)| between)
    }
}

/// Whether a message is signed by whoever it names. Others' signatures were checked before the engine counted them.
fn is_signed(message: &NetworkMsg<RotaContext>) -> bool {
    let signature = match message {
        NetworkMsg::PublishConsensusMsg(SignedConsensusMsg::Vote(vote))
        | NetworkMsg::PublishLivenessMsg(LivenessMsg::Vote(vote)) => vote.signature,
        NetworkMsg::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal)) => {
            proposal.signature
        }
        _ => return true,
    };
    signature != BLANK
}

#[async_trait]
impl Actor for Between {
    type Msg = NetworkMsg<RotaContext>;
    type State = Ways;
    type Arguments = Ways;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        ways: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(ways)
    }

    /// A network that is gone makes this fail, and with it the engine.
    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        ways: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            NetworkMsg::Subscribe(subscriber) => {
                let ear = (!ways.heard).then(|| ways.voice.clone());
                ways.heard = true;
                let rumours = Arc::clone(&ways.rumours);
                let relay = Relay { subscriber, voice: ways.voice.clone(), ear, rumours };
                let (relay, _) =
                    Actor::spawn_linked(None, Relaying, relay, myself.get_cell()).await?;
                ways.network.cast(NetworkMsg::Subscribe(Box::new(relay)))?;
            }
            NetworkMsg::OutgoingRequest(peer, request, reply) => {
                lock(&ways.rumours).asked(peer, Instant::now());
                ways.network.cast(NetworkMsg::OutgoingRequest(peer, request, reply))?;
            }
            message if is_signed(&message) => ways.network.cast(message)?,
            _ => {}
        }
        Ok(())
    }
}

/// Hands on to one part of the engine what the network has for it.
struct Relaying;

struct Relay {
    subscriber: Box<dyn Subscriber<NetworkEvent<RotaContext>>>,
    voice: Voice,
    /// The first of them tells the voice, so that it hears everything once.
    ear: Option<Voice>,
    rumours: Arc<Mutex<Rumours>>,
}

fn lock(rumours: &Mutex<Rumours>) -> MutexGuard<'_, Rumours> {
    rumours.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what came of requests.
fn note(rumours: &Mutex<Rumours>, event: &NetworkEvent<RotaContext>) {
    match event {
        NetworkEvent::SyncResponse(_, peer, Some(Response::ValueResponse(response))) => {
            match response.values.is_empty() {
                true => lock(rumours).lacks(*peer, response.start_height, Instant::now()),
                false => lock(rumours).gave(peer),
            }
        }
        NetworkEvent::Status(peer, status) => {
            lock(rumours).offers(*peer, status.history_min_height, status.tip_height);
        }
        NetworkEvent::PeerDisconnected(peer) => lock(rumours).disconnected(peer, Instant::now()),
        _ => {}
    }
}

/// Whether an event is part of agreeing on a block.
const fn is_agreement(event: &NetworkEvent<RotaContext>) -> bool {
    matches!(
        event,
        NetworkEvent::Vote(..)
            | NetworkEvent::Proposal(..)
            | NetworkEvent::ProposalPart(..)
            | NetworkEvent::PolkaCertificate(..)
            | NetworkEvent::RoundCertificate(..)
    )
}

#[async_trait]
impl Actor for Relaying {
    type Msg = NetworkEvent<RotaContext>;
    type State = Relay;
    type Arguments = Relay;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        relay: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(relay)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        event: Self::Msg,
        relay: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(ear) = &relay.ear {
            ear.hear(&event).await;
            note(&relay.rumours, &event);
        }
        let event = match event {
            NetworkEvent::Status(peer, mut status) => {
                let voice = relay.voice.clone();
                let decided = blocking(move || voice.decided()).await;
                status.tip_height = lock(&relay.rumours).believed(
                    &peer,
                    status.tip_height,
                    decided,
                    Instant::now(),
                );
                NetworkEvent::Status(peer, status)
            }
            event => event,
        };
        if relay.voice.takes_part() || !is_agreement(&event) {
            relay.subscriber.send(event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BLANK, is_signed};
    use crate::agreement::context::{BlockId, HeaderValue, RotaContext};
    use crate::crypto::Signature;
    use crate::domain::{Height, Signer};
    use crate::testing::header;
    use alloy::primitives::B256;
    use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
    use malachitebft_core_types::{Context, NilOrVal, Round, SignedMessage};
    use malachitebft_engine::network::NetworkMsg;

    #[test]
    fn a_blank_message_goes_no_further_in_whatever_form_it_comes() {
        let (height, round, by) = (Height::new(1), Round::ZERO, Signer([1; 20]));
        let some = Signature::from_compact([1; 64]);
        for (signature, passes) in [(BLANK, false), (some, true)] {
            for value in [NilOrVal::Nil, NilOrVal::Val(BlockId([1; 32]))] {
                let vote = RotaContext.new_prevote(height, round, value, by);
                let vote = SignedMessage::new(vote, signature);
                let first = NetworkMsg::PublishConsensusMsg(SignedConsensusMsg::Vote(vote.clone()));
                assert_eq!(is_signed(&first), passes);
                let again = NetworkMsg::PublishLivenessMsg(LivenessMsg::Vote(vote));
                assert_eq!(is_signed(&again), passes);
            }
            let value = HeaderValue::new(header(1, B256::ZERO));
            let proposal = RotaContext.new_proposal(height, round, value, Round::Nil, by);
            let proposal = SignedMessage::new(proposal, signature);
            let message = NetworkMsg::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal));
            assert_eq!(is_signed(&message), passes);
        }
    }
}
