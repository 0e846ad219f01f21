//! Batches: runs of consecutive blocks that settle together (R20-R24).

use crate::crypto::Signature;
use crate::domain::encoding::{read_address, read_hash, write_address, write_hash};
use crate::domain::{Epoch, Generation, Height, Seconds};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A batch header. Consensus-critical: members sign its EIP-712 digest, field by field in this order (R21).
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct BatchHeader {
    /// The generation that ordered its blocks.
    pub generation: Generation,
    /// The epoch whose set attests, E in R22.
    pub epoch: Epoch,
    /// Height of its first block.
    pub first_height: Height,
    /// Height of its last block.
    pub last_height: Height,
    /// Hash of the block before the first.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub parent_block_hash: B256,
    /// Root of the tree of its block hashes (R25).
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub blocks_root: B256,
    /// Hash of the last block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub last_block_hash: B256,
    /// `forced_through` of the last block.
    pub forced_through: u64,
    /// L1 origin of the last block.
    pub l1_origin_number: u64,
    /// Hash of that L1 block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub l1_origin_hash: B256,
    /// Timestamp of the last block, rounded down to seconds.
    pub timestamp: Seconds,
    /// keccak256 of the payload's bytes.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub payload_hash: B256,
    /// keccak256 of the packed versioned hashes of the same bytes as blobs; zero where a deployment has none.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub blobs_hash: B256,
    /// keccak256 of the packed ascending (rollup, uncompressed bytes) list (R43).
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub usage_hash: B256,
    /// Zero until an executor exists.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub state_root: B256,
    /// Zero unless the batch is regular (R23): then the seconds, rounded down, of the block that showed where it ends.
    pub regular_since: Seconds,
}

impl BatchHeader {
    /// Whether members signed it as the one batch that is next (R23).
    pub const fn is_regular(&self) -> bool {
        self.regular_since.get() != 0
    }
}

/// One member's signature over a batch header.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    /// What was signed.
    pub header: BatchHeader,
    /// Who signed, as recovered from the signature.
    #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
    pub signer: Address,
    /// The signature over the header's EIP-712 digest.
    pub signature: Signature,
}
