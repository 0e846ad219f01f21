//! Between the engine and its network. What this agent keeps to itself, the engine treats as said: it has no way to be told
//! that one message is not to be signed, and ends when its signer fails. So a message that is not signed is *blank*: the
//! engine's own check of its signature leaves it out of every count, and here it stops on its way out.
//!
//! The network is no part of what the engine's supervisor ends in a hurry, so that its socket is given back in order.

use super::context::RotaContext;
use crate::crypto::Signature;
use async_trait::async_trait;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_engine::network::{NetworkMsg, NetworkRef};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};

/// In the place of a signature that was not given. It recovers to nobody.
pub(super) const BLANK: Signature = Signature::from_compact([0; 64]);

/// Lets through what is signed.
pub(super) struct Between;

impl Between {
    /// Starts between an engine and its network.
    ///
    /// # Errors
    ///
    /// The actor system's.
    pub(super) async fn spawn(
        network: NetworkRef<RotaContext>,
    ) -> Result<NetworkRef<RotaContext>, SpawnErr> {
        Actor::spawn(None, Self, network).await.map(|(between, _)| between)
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
    type State = NetworkRef<RotaContext>;
    type Arguments = NetworkRef<RotaContext>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        network: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(network)
    }

    /// A network that is gone makes this fail, and with it the engine.
    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        network: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if is_signed(&message) {
            network.cast(message)?;
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
