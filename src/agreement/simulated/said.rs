//! What members of agreement say to each other, and what of it binds who says it.

use crate::agreement::context::{Part, RotaContext, Vote};
use crate::domain::{Generation, Height, VoteType};
use alloy::primitives::{Address, B256};
use malachitebft_app_channel::app::types::streaming::StreamMessage;
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_core_types::{Proposal as _, Vote as _};
use std::ops::RangeInclusive;

/// What one member says to others.
#[derive(Clone, Debug)]
pub(crate) struct Said(pub(super) Word);

#[derive(Clone, Debug)]
pub(super) enum Word {
    Consensus(SignedConsensusMsg<RotaContext>),
    Liveness(LivenessMsg<RotaContext>),
    Part(StreamMessage<Part>),
    Status { tip: Height, from: Height },
    Ask(RangeInclusive<Height>),
    Give(Vec<RawDecidedValue<RotaContext>>),
}

/// To whom: one, or everybody.
pub(crate) type To = Option<libp2p::PeerId>;

/// What somebody signed: at which place, and which block.
pub(crate) type Promise = ((Address, &'static str, Height, u32), B256);

impl Said {
    /// What is signed in this, if anything; the signature is that of whom it names.
    pub(crate) fn promise(&self) -> Option<Promise> {
        let generation = Generation::new(0);
        let of_vote = |vote: &Vote| {
            let (kind, signed) = vote.to_domain(generation)?;
            let kind = match kind {
                VoteType::Prevote => "prevote",
                VoteType::Precommit => "precommit",
            };
            let by = Address::new(vote.validator_address().0);
            Some(((by, kind, signed.height, signed.round.get()), signed.block_hash))
        };
        match &self.0 {
            Word::Consensus(SignedConsensusMsg::Vote(vote))
            | Word::Liveness(LivenessMsg::Vote(vote)) => of_vote(&vote.message),
            Word::Consensus(SignedConsensusMsg::Proposal(proposal)) => {
                let signed = proposal.message.to_domain(generation)?;
                let by = Address::new(proposal.message.validator_address().0);
                Some(((by, "proposal", signed.height, signed.round.get()), signed.block_hash))
            }
            _ => None,
        }
    }
}
