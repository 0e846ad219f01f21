//! Proof that a member broke the protocol: two signatures that L1 can verify (§7 of the protocol).

use crate::crypto::Signature;
use crate::domain::encoding::{
    read_address, read_hash, read_hashes, write_address, write_hash, write_hashes,
};
use crate::domain::{BatchHeader, Height, Proposal, Round, Vote, VoteType};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The block that a batch holds at a height, and the Merkle siblings that show it (R25). No siblings at the batch's last
/// height, which the header names itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockProof {
    /// The block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub block_hash: B256,
    /// From the bottom up.
    #[borsh(serialize_with = "write_hashes", deserialize_with = "read_hashes")]
    pub siblings: Vec<B256>,
}

impl BlockProof {
    /// The last block of a batch, which its header names.
    pub const fn of_last(header: &BatchHeader) -> Self {
        Self { block_hash: header.last_block_hash, siblings: Vec::new() }
    }
}

/// Two conflicting signatures of one key, within one generation. Whoever makes one has recovered both to `offender`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Evidence {
    /// Two votes of one type, height and round for different blocks.
    DoubleVote {
        /// Who signed both.
        #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
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
        #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
        offender: Address,
        /// One of them.
        a: (Proposal, Signature),
        /// The other.
        b: (Proposal, Signature),
    },
    /// Two batch headers that hold different blocks at one height, or of which the one begins at `height` on another block
    /// than the one before it ends with.
    DoubleAttestation {
        /// Who signed both.
        #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
        offender: Address,
        /// One of them.
        a: (Box<BatchHeader>, Signature),
        /// The other.
        b: (Box<BatchHeader>, Signature),
        /// The height as L1 asks for it.
        height: Height,
        /// What `a` holds there; without meaning where one batch begins after the other.
        proof_a: BlockProof,
        /// What `b` holds there, likewise.
        proof_b: BlockProof,
    },
}

/// What L1 keys an offence by: a second proof of the same position pays nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Position {
    /// Height of the two messages; of attestations the one at which they differ.
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
            Self::DoubleAttestation { height, .. } => {
                Position { height: *height, round: None, vote_type: None }
            }
        }
    }
}
