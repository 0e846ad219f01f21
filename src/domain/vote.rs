//! What members sign while they agree. Consensus-critical: EIP-712 digests, field by field in this order.

use crate::domain::encoding::{read_hash, write_hash};
use crate::domain::{Generation, Height, Round};
use alloy::primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The two kinds of vote. The numbers are part of an offence's position key on L1.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum VoteType {
    /// First step of a round.
    Prevote = 0,
    /// Second step; more than 2/3 of the weight decides.
    Precommit = 1,
}

/// A vote: EIP-712 `Prevote` or `Precommit`. The type stands beside it, not in it.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// The running generation.
    pub generation: Generation,
    /// The height voted on.
    pub height: Height,
    /// The round voted in.
    pub round: Round,
    /// The block voted for; zero for nil.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub block_hash: B256,
}

/// A proposal: EIP-712 `Proposal`.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The running generation.
    pub generation: Generation,
    /// The height proposed for.
    pub height: Height,
    /// The round proposed in.
    pub round: Round,
    /// The round in which the block had gathered 2/3 of the prevotes; -1 for none.
    pub pol_round: i32,
    /// The block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub block_hash: B256,
}
