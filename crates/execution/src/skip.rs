//! Why a transaction that was ordered is not in a block (rule X3).

use alloy_consensus::TxEnvelope;
use alloy_evm::block::{BlockExecutionError, BlockValidationError};
use alloy_primitives::{Address, U256};
use revm::context::result::InvalidTransaction;

/// Why an Ethereum block could not hold a transaction where it was ordered. Nothing of it remains in the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The bytes are not the canonical encoding of any transaction.
    #[error("not the canonical encoding of a transaction")]
    Undecodable,
    /// Type 3: its blobs would have to be on L1.
    #[error("a transaction with blobs (type 3), which a rollup has no place for")]
    Blob,
    /// Signed for another chain, or for none in particular.
    #[error("signed for chain {found:?}")]
    WrongChain {
        /// The chain id that it was signed for, if for one.
        found: Option<u64>,
    },
    /// Nobody can have signed it, or s is in the upper half.
    #[error("no sender can be recovered from its signature")]
    BadSignature,
    /// Its type begins with a fork that has not begun.
    #[error("transactions of type {kind} begin with a later fork")]
    NotYet {
        /// The type byte.
        kind: u8,
    },
    /// It was ordered before the rollup's chain begins.
    #[error("ordered in second {second}, and the chain begins after {genesis}")]
    BeforeGenesis {
        /// The second of its height.
        second: u64,
        /// The timestamp of the genesis file.
        genesis: u64,
    },
    /// The account has used this nonce already.
    #[error("nonce {found} is below the account's, {account}")]
    NonceTooLow {
        /// The transaction's.
        found: u64,
        /// The account's.
        account: u64,
    },
    /// A transaction before it is missing.
    #[error("nonce {found} is above the account's, {account}")]
    NonceTooHigh {
        /// The transaction's.
        found: u64,
        /// The account's.
        account: u64,
    },
    /// No transaction can have the highest nonce of 64 bits (EIP-2681).
    #[error("the nonce is at the end of its type")]
    NonceAtEnd,
    /// The balance does not cover value + gas limit × fee cap.
    #[error("the balance {balance} does not cover {needed}, value and gas at the fee cap")]
    Funds {
        /// What the account has.
        balance: U256,
        /// What it would need.
        needed: U256,
    },
    /// Gas limit × fee cap has more than 128 bits, or with the value more than 256.
    #[error("value and gas at the fee cap are more than any account can pay")]
    Unaffordable,
    /// The fee cap is below the block's base fee.
    #[error("the fee cap {fee_cap} is below the base fee, {base_fee}")]
    FeeCap {
        /// The transaction's.
        fee_cap: u128,
        /// The block's.
        base_fee: u64,
    },
    /// The priority fee is above the fee cap.
    #[error("the priority fee is above the fee cap")]
    PriorityFee,
    /// The parent's base fee is so high that no block can state the next one.
    #[error("the base fee is at the end of its type")]
    BaseFeeAtEnd,
    /// The gas limit is above what is left of the block.
    #[error("the gas limit {gas_limit} is above what is left of the block, {left}")]
    BlockGas {
        /// The transaction's.
        gas_limit: u64,
        /// The block's.
        left: u64,
    },
    /// The gas limit is above what one transaction may have (EIP-7825, from Osaka on).
    #[error("the gas limit {gas_limit} is above a transaction's cap, {cap}")]
    GasCap {
        /// The transaction's.
        gas_limit: u64,
        /// The protocol's.
        cap: u64,
    },
    /// The block would be larger than clients take (EIP-7934, from Osaka on).
    #[error("{size} bytes are above what is left of the block, {left}")]
    BlockSize {
        /// The transaction's, in the block.
        size: usize,
        /// The block's.
        left: usize,
    },
    /// The gas limit does not cover what the transaction costs before it does anything.
    #[error("the gas limit {gas_limit} is below the intrinsic gas, {needed}")]
    IntrinsicGas {
        /// The transaction's.
        gas_limit: u64,
        /// What its data, lists and kind cost; the floor of EIP-7623 from Prague on.
        needed: u64,
    },
    /// The sender has code that is no delegation (EIP-3607).
    #[error("the sender is a contract")]
    SenderHasCode,
    /// Code that creates a contract is larger than allowed (EIP-3860).
    #[error("the init code is too large")]
    InitCode,
    /// A transaction of type 4 authorizes nobody.
    #[error("the list of authorizations is empty")]
    NoAuthorization,
    /// It would log as the deposit contract (EIP-6110). A rollup has no validators, and clients do not agree on which such
    /// logs are well-formed, nor on where that contract is if the genesis file does not say.
    #[error("it logs as the deposit contract at {address}")]
    Deposit {
        /// Where that contract would stand.
        address: Address,
    },
}

impl SkipReason {
    /// One word for logs, metrics and answers; it does not change.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Blob => "blob",
            Self::WrongChain { .. } => "wrong-chain",
            Self::BadSignature => "bad-signature",
            Self::NotYet { .. } => "not-yet",
            Self::BeforeGenesis { .. } => "before-genesis",
            Self::NonceTooLow { .. } => "nonce-too-low",
            Self::NonceTooHigh { .. } => "nonce-too-high",
            Self::NonceAtEnd => "nonce-at-end",
            Self::Funds { .. } => "funds",
            Self::Unaffordable => "unaffordable",
            Self::FeeCap { .. } => "fee-cap",
            Self::PriorityFee => "priority-fee",
            Self::BaseFeeAtEnd => "base-fee-at-end",
            Self::BlockGas { .. } => "block-gas",
            Self::GasCap { .. } => "gas-cap",
            Self::BlockSize { .. } => "block-size",
            Self::IntrinsicGas { .. } => "intrinsic-gas",
            Self::SenderHasCode => "sender-has-code",
            Self::InitCode => "init-code",
            Self::NoAuthorization => "no-authorization",
            Self::Deposit { .. } => "deposit",
        }
    }

    /// What the executor's refusal means; `None` if it is no refusal of the transaction, but a failure of the machine.
    pub(crate) fn of(
        error: &BlockExecutionError,
        transaction: &TxEnvelope,
        base_fee: u64,
    ) -> Option<Self> {
        use alloy_consensus::Transaction as _;
        use alloy_eips::Typed2718 as _;

        let error = match error.as_validation()? {
            BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas {
                transaction_gas_limit,
                block_available_gas,
            } => {
                let (gas_limit, left) = (*transaction_gas_limit, *block_available_gas);
                return Some(Self::BlockGas { gas_limit, left });
            }
            BlockValidationError::InvalidTx { error, .. } => error.as_invalid_tx_err()?,
            _ => return None,
        };
        let gas_limit = transaction.gas_limit();
        Some(match error {
            InvalidTransaction::NonceTooLow { tx, state } => {
                Self::NonceTooLow { found: *tx, account: *state }
            }
            InvalidTransaction::NonceTooHigh { tx, state } => {
                Self::NonceTooHigh { found: *tx, account: *state }
            }
            InvalidTransaction::NonceOverflowInTransaction => Self::NonceAtEnd,
            InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
                Self::Funds { balance: **balance, needed: **fee }
            }
            InvalidTransaction::OverflowPaymentInTransaction => Self::Unaffordable,
            InvalidTransaction::GasPriceLessThanBasefee => {
                Self::FeeCap { fee_cap: transaction.max_fee_per_gas(), base_fee }
            }
            InvalidTransaction::PriorityFeeGreaterThanMaxFee => Self::PriorityFee,
            InvalidTransaction::TxGasLimitGreaterThanCap { gas_limit, cap } => {
                Self::GasCap { gas_limit: *gas_limit, cap: *cap }
            }
            InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, .. } => {
                Self::IntrinsicGas { gas_limit, needed: *initial_gas }
            }
            InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, .. } => {
                Self::IntrinsicGas { gas_limit, needed: *gas_floor }
            }
            InvalidTransaction::RejectCallerWithCode => Self::SenderHasCode,
            InvalidTransaction::CreateInitCodeSizeLimit => Self::InitCode,
            InvalidTransaction::EmptyAuthorizationList => Self::NoAuthorization,
            InvalidTransaction::AuthorizationListNotSupported
            | InvalidTransaction::Eip7702NotSupported => Self::NotYet { kind: transaction.ty() },
            InvalidTransaction::InvalidChainId | InvalidTransaction::MissingChainId => {
                Self::WrongChain { found: transaction.chain_id() }
            }
            // What cannot come of a transaction that was prepared, in the forks that a genesis file can name. If it does,
            // it is an error of this crate, which must not look like a reason.
            _ => return None,
        })
    }
}
