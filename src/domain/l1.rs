//! What the agent knows of L1, in its own words.

use crate::domain::encoding::{read_address, read_hash, write_address, write_hash};
use crate::domain::{BatchHeader, BatchNumber, Epoch, Generation, Height, Seconds, SequencerId};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// An L1 block.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct L1Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub hash: B256,
    /// Its timestamp.
    pub timestamp: Seconds,
}

/// Where the settled chain stands on L1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledTip {
    /// Batches settled so far.
    pub number: BatchNumber,
    /// Last settled height.
    pub last_height: Height,
    /// Hash of the block at that height.
    pub last_block_hash: B256,
    /// Attesting epoch of the last batch.
    pub epoch: Epoch,
    /// Timestamp in the last header.
    pub timestamp: Seconds,
    /// L1 time of the last settlement.
    pub settled_at: Seconds,
}

/// A batch as L1 shows that it settled.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SettledBatch {
    /// The number L1 gave it.
    pub number: BatchNumber,
    /// The header, from the transaction's input.
    pub header: BatchHeader,
    /// Who posted it.
    #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
    pub poster: Address,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// L1 block that holds it.
    pub block: L1Block,
    /// L1 transaction that carried it.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub tx_hash: B256,
    /// L1 time of the settlement before.
    pub parent_settled_at: Seconds,
    /// Bytes of its payload in calldata.
    pub payload_bytes: u64,
    /// What L1 found that settling it cost, as far as that is refunded (R42).
    pub refund_wei: u128,
    /// Whether it served a forced entry too late.
    pub late: bool,
    /// Whether the leader of its turn posted it: under the key in the set, or from the poster address that it had then.
    pub led: bool,
}

impl SettledBatch {
    /// Whether L1 took it in a form that this agent could not read. Then its header is what L1 tells besides: where the
    /// batch ends is right as soon as L1 or the next batch says it, and hashes that only the input had are zero. It
    /// derives as one whose payload does not decode (R44).
    pub fn is_unread(&self) -> bool {
        self.header.payload_hash.is_zero() && self.header.blocks_root.is_zero()
    }
}

/// How a generation began: what a restart, once finished, left of the chain (R33).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStart {
    /// The generation; the first one to be started has number 1.
    pub generation: Generation,
    /// Epoch of its first block and of its first set.
    pub epoch: Epoch,
    /// The last settled height: its first block is the one after.
    pub last_height: Height,
    /// Hash of the block at that height, the parent of its first block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub last_block_hash: B256,
    /// The L1 block of the finish: no block of the generation names an earlier origin.
    pub finished_in: L1Block,
}

/// Where a sequencer is reached, from the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEndpoint {
    /// The sequencer's id in the registry.
    pub id: SequencerId,
    /// One of its keys.
    pub signer: Address,
    /// Multiaddr of its agreement engine, ending in /p2p/<PeerId>.
    pub agreement: String,
    /// Multiaddr of its peer link, ending in the same /p2p/<PeerId>.
    pub link: String,
}
