//! Blocks: what one height of agreement orders (R13).

use crate::crypto::Signature;
use crate::domain::encoding::{read_address, read_hash, write_address, write_hash};
use crate::domain::{Epoch, Generation, Height, Millis, RollupTransaction, Round};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A block header. Consensus-critical: the block hash is keccak256 of its ABI encoding, field by field in this order.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct BlockHeader {
    /// The generation that ordered it.
    pub generation: Generation,
    /// Its position.
    pub height: Height,
    /// The epoch whose set agreed on it (R15).
    pub epoch: Epoch,
    /// Signer of the member whose block this is; zero in block 0 alone.
    #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
    pub proposer: Address,
    /// When it was built, by the proposer's clock; never before the parent's.
    pub timestamp: Millis,
    /// Hash of the block before.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub parent_hash: B256,
    /// The L1 block that it was built on (R16).
    pub l1_origin_number: u64,
    /// Hash of that L1 block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub l1_origin_hash: B256,
    /// Forced entries consumed up to here, exclusive (R17).
    pub forced_through: u64,
    /// Number of its own transactions.
    pub tx_count: u32,
    /// Root of the tree of its own transactions (R25).
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub tx_root: B256,
}

/// A block: the header and the transactions that it commits to, in order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What the members vote on.
    pub header: BlockHeader,
    /// Its own transactions; forced entries are not part of the body.
    pub transactions: Vec<RollupTransaction>,
}

/// More than 2/3 of the weight of a height's set precommitted to one block.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The round of the precommits.
    pub round: Round,
    /// Signatures over the same precommit digest, by signer. Not sorted.
    pub signatures: Vec<(Signer, Signature)>,
}

/// A signer's address in a form that borsh encodes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Signer(pub [u8; 20]);

/// A block with the certificate that decided it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DecidedBlock {
    /// The block.
    pub block: Block,
    /// Why it is decided.
    pub certificate: Certificate,
}
