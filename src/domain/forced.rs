//! The forced queue on L1 (R31): transactions that no sequencer can leave out.

use crate::domain::encoding::{read_address, read_hash, write_address, write_hash};
use crate::domain::{L1Block, RollupTransaction};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};

/// Entries that a block consumes at most (R17).
pub const FORCED_A_BLOCK: u64 = 16;

/// An entry of the forced queue, as its event says. Its bytes may be anything.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ForcedEntry {
    /// Its number in the queue, from 0.
    pub index: u64,
    /// Who called the contract; the transaction's own sender is the rollup's business.
    #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
    pub sender: Address,
    /// What that caller burned, in wei.
    pub fee_wei: u128,
    /// The L1 block that holds it.
    pub block: L1Block,
    /// The rollup that it was enqueued for, and its bytes.
    pub transaction: RollupTransaction,
}

impl ForcedEntry {
    /// The first L1 origin at which it may not be left behind.
    pub const fn due_at(&self, deadline_blocks: u64) -> u64 {
        self.block.number.saturating_add(deadline_blocks)
    }
}

/// Entries that L1 saw consumed without a batch (R32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ForcedEscape {
    /// The first.
    pub first: u64,
    /// The one after the last.
    pub through: u64,
    /// The L1 block that it happened in.
    pub block: L1Block,
    /// The L1 transaction that did it.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub tx_hash: B256,
}
