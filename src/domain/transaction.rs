//! Transactions of rollups, as signed by users.

use crate::domain::RollupId;
use crate::domain::encoding::{read_bytes, write_bytes};
use alloy::primitives::{Address, B256, Bytes, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};

/// A transaction as a block holds it: the rollup and the raw EIP-2718 bytes. Consensus-critical.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct RollupTransaction {
    /// The rollup whose chain id the transaction carries.
    pub rollup: RollupId,
    /// EIP-2718 bytes; a legacy transaction is its RLP list.
    #[borsh(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub raw: Bytes,
}

impl RollupTransaction {
    /// keccak256 of the raw bytes: the hash by which wallets know it.
    pub fn hash(&self) -> B256 {
        keccak256(&self.raw)
    }
}

/// A transaction that was decoded and whose sender was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// As a block would hold it.
    pub transaction: RollupTransaction,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// The sender's nonce.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// The most that it pays for a unit of gas, in wei.
    pub max_fee_wei: u128,
    /// The part of it that goes to the proposer, in wei.
    pub priority_fee_wei: u128,
}

/// Why bytes are no transaction that this network orders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Larger than a transaction may be.
    #[error("transaction is {actual} bytes, at most {limit}")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
        /// Its size in bytes.
        actual: usize,
    },
    /// Not an EIP-2718 envelope.
    #[error("transaction does not decode: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: String,
    },
    /// Blobs belong to L1.
    #[error("blob transactions (type 3) are not ordered")]
    Blob,
    /// Without a chain id nobody knows which rollup it is for.
    #[error("transaction carries no chain id")]
    NoChainId,
    /// High s, zero, or not recoverable.
    #[error("transaction signature is invalid")]
    BadSignature,
}
