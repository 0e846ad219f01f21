//! Proof that a member broke the protocol: two signatures that L1 can verify (§7 of the protocol).

use crate::crypto::Signature;
use crate::domain::{BatchHeader, Height, Proposal, Round, Vote, VoteType};
use alloy::primitives::Address;

/// Two conflicting signatures of one key, within one generation. Whoever makes one has recovered both to `offender`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes of one type, height and round for different blocks.
    DoubleVote {
        /// Who signed both.
        offender: Address,
        /// The kind of both votes.
        vote_type: VoteType,
        /// One of them.
        a: (Vote, Signature),
        /// The other.
        b: (Vote, Signature),
    },
    /// Two proposals of one height and round for different blocks.
    DoubleProposal {
        /// Who signed both.
        offender: Address,
        /// One of them.
        a: (Proposal, Signature),
        /// The other.
        b: (Proposal, Signature),
    },
    /// Two batch headers that hold different blocks at one height.
    DoubleAttestation {
        /// Who signed both.
        offender: Address,
        /// One of them.
        a: (Box<BatchHeader>, Signature),
        /// The other.
        b: (Box<BatchHeader>, Signature),
    },
}

/// What L1 keys an offence by: a second proof of the same position pays nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Height of the two messages; of attestations the lower first height.
    pub height: Height,
    /// The round of votes and proposals.
    pub round: Option<Round>,
    /// The type of votes.
    pub vote_type: Option<VoteType>,
}

impl Evidence {
    /// Who is accused.
    pub const fn offender(&self) -> Address {
        match self {
            Self::DoubleVote { offender, .. }
            | Self::DoubleProposal { offender, .. }
            | Self::DoubleAttestation { offender, .. } => *offender,
        }
    }

    /// What it is about.
    pub fn position(&self) -> Position {
        match self {
            Self::DoubleVote { vote_type, a: (vote, _), .. } => Position {
                height: vote.height,
                round: Some(vote.round),
                vote_type: Some(*vote_type),
            },
            Self::DoubleProposal { a: (proposal, _), .. } => {
                Position { height: proposal.height, round: Some(proposal.round), vote_type: None }
            }
            Self::DoubleAttestation { a: (a, _), b: (b, _), .. } => Position {
                height: a.first_height.min(b.first_height),
                round: None,
                vote_type: None,
            },
        }
    }
}
