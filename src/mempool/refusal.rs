//! Why a transaction is not admitted.

use crate::domain::{RollupId, TransactionError};
use alloy::primitives::U256;

/// Why a transaction is not admitted. The wording of the nonce, price and size cases is the one that wallets look for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no transaction that this network orders.
    #[error("{0}")]
    Invalid(#[from] TransactionError),
    /// It asks for more recoveries than this agent makes for one transaction.
    #[error("transaction lists {actual} authorizations, at most {limit} are taken")]
    TooManyAuthorizations {
        /// The bound.
        limit: usize,
        /// How many it lists.
        actual: usize,
    },
    /// Submitted under one rollup, signed for another.
    #[error(
        "invalid chain id: this endpoint orders rollup {expected}, the transaction is for {actual}"
    )]
    WrongRollup {
        /// The rollup of the endpoint.
        expected: RollupId,
        /// The chain id that the transaction carries.
        actual: RollupId,
    },
    /// No rollup with this chain id is registered on L1.
    #[error("rollup {rollup} is not registered on L1")]
    UnknownRollup {
        /// The chain id.
        rollup: RollupId,
    },
    /// No rollup with this chain id has been seen, but L1 is not read to its end yet. Another agent knows, and this one will.
    #[error("rollup {rollup} is not known yet: this agent is still reading L1, try again soon")]
    L1NotRead {
        /// The chain id.
        rollup: RollupId,
    },
    /// Its rollup has less than the reserve left on L1, so no block may hold its transactions (R43).
    #[error("rollup {rollup} is closed: {balance_wei} wei left on L1, needs {reserve_wei}")]
    ClosedRollup {
        /// The chain id.
        rollup: RollupId,
        /// What opens it.
        reserve_wei: U256,
        /// What it has.
        balance_wei: U256,
    },
    /// A decided block holds this or a later nonce of the sender.
    #[error("nonce too low: next nonce {expected}, transaction nonce {actual}")]
    NonceTooLow {
        /// The next nonce of the sender.
        expected: u64,
        /// The transaction's nonce.
        actual: u64,
    },
    /// Too far ahead to be kept.
    #[error("nonce too high: at most {limit}, transaction nonce {actual}")]
    NonceTooHigh {
        /// The highest nonce that would be kept.
        limit: u64,
        /// The transaction's nonce.
        actual: u64,
    },
    /// The same sender and nonce wait already, and this one does not pay at least 10 % more in both fees.
    #[error(
        "replacement transaction underpriced: needs max fee {needed_max_fee_wei} wei and priority fee \
         {needed_priority_fee_wei} wei"
    )]
    Underpriced {
        /// The smallest max fee that replaces.
        needed_max_fee_wei: u128,
        /// The smallest priority fee that replaces.
        needed_priority_fee_wei: u128,
    },
    /// The sender has as many waiting as one may.
    #[error("sender has {limit} transactions waiting, which is the most")]
    SenderFull {
        /// The bound.
        limit: usize,
    },
    /// The sender's waiting transactions would be larger together than one's may be.
    #[error("sender has as many bytes waiting as one may: {limit}")]
    SenderBytesFull {
        /// The bound.
        limit: usize,
    },
    /// The peer that forwards it has as many waiting as one may.
    #[error("peer has {limit} transactions waiting, which is the most")]
    PeerFull {
        /// The bound.
        limit: usize,
    },
    /// No room, and nothing in the pool that may be dropped.
    #[error("txpool is full: {transactions} transactions, {bytes} bytes")]
    PoolFull {
        /// Transactions held.
        transactions: usize,
        /// Bytes held.
        bytes: usize,
    },
    /// The way into the pool is full: more arrives than can be checked.
    #[error("too many transactions are being checked; try again")]
    Busy,
    /// It could not be written to disk, so nothing is promised.
    #[error("transaction could not be stored: {reason}")]
    NotStored {
        /// What the disk said.
        reason: String,
    },
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

impl Refusal {
    /// Of a rollup that is not there, in a picture of L1 that is complete or not.
    pub const fn unknown_rollup(rollup: RollupId, l1_is_read: bool) -> Self {
        if l1_is_read { Self::UnknownRollup { rollup } } else { Self::L1NotRead { rollup } }
    }

    /// The JSON-RPC error code of this refusal. Stable; see docs/RPC.md.
    pub const fn code(&self) -> i32 {
        match self {
            Self::Invalid(TransactionError::TooLarge { .. }) => -32010,
            Self::Invalid(TransactionError::Malformed { .. }) => -32011,
            Self::Invalid(TransactionError::Blob) => -32012,
            Self::Invalid(TransactionError::NoChainId) => -32013,
            Self::Invalid(TransactionError::BadSignature(_)) => -32014,
            Self::Invalid(TransactionError::WrongRollup { .. }) | Self::WrongRollup { .. } => {
                -32015
            }
            Self::UnknownRollup { .. } => -32016,
            Self::L1NotRead { .. } => -32028,
            Self::Invalid(TransactionError::NoSuchNonce) => -32027,
            Self::NonceTooLow { .. } => -32017,
            Self::NonceTooHigh { .. } => -32018,
            Self::Underpriced { .. } => -32019,
            Self::SenderFull { .. } => -32020,
            Self::PeerFull { .. } => -32021,
            Self::PoolFull { .. } => -32022,
            Self::Busy => -32023,
            Self::NotStored { .. } => -32024,
            Self::Stopping => -32025,
            Self::ClosedRollup { .. } => -32026,
            Self::SenderBytesFull { .. } => -32029,
            Self::TooManyAuthorizations { .. } => -32032,
        }
    }

    /// Whether the same transaction may be admitted later, when there is room.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::PoolFull { .. }
                | Self::SenderFull { .. }
                | Self::SenderBytesFull { .. }
                | Self::NonceTooHigh { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use crate::crypto::SignatureError;
    use crate::domain::{RollupId, TransactionError};
    use alloy::primitives::U256;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_a_code_of_its_own() {
        let rollup = RollupId::new(1);
        let wrong = RollupId::new(2);
        let wei = U256::ZERO;
        let all = [
            Refusal::WrongRollup { expected: rollup, actual: wrong },
            Refusal::UnknownRollup { rollup },
            Refusal::L1NotRead { rollup },
            Refusal::ClosedRollup { rollup, reserve_wei: wei, balance_wei: wei },
            Refusal::NonceTooLow { expected: 0, actual: 0 },
            Refusal::NonceTooHigh { limit: 0, actual: 0 },
            Refusal::Underpriced { needed_max_fee_wei: 0, needed_priority_fee_wei: 0 },
            Refusal::SenderFull { limit: 0 },
            Refusal::SenderBytesFull { limit: 0 },
            Refusal::PeerFull { limit: 0 },
            Refusal::TooManyAuthorizations { limit: 0, actual: 0 },
            Refusal::PoolFull { transactions: 0, bytes: 0 },
            Refusal::Busy,
            Refusal::NotStored { reason: String::new() },
            Refusal::Stopping,
            Refusal::Invalid(TransactionError::Blob),
            Refusal::Invalid(TransactionError::NoChainId),
            Refusal::Invalid(TransactionError::NoSuchNonce),
            Refusal::Invalid(TransactionError::BadSignature(SignatureError::HighS)),
        ];
        let codes: HashSet<i32> = all.iter().map(Refusal::code).collect();
        assert_eq!(codes.len(), all.len());
    }
}
