//! Why a call is not answered. Codes are stable and listed in docs/RPC.md.

use crate::domain::{MAX_NONCE, RollupId, TransactionError};
use crate::mempool::Refusal;
use crate::storage::StoreError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The HTTP request is none that carries JSON-RPC.
    #[error("invalid request: {field} is {actual}, expected {expected}")]
    InvalidRequest {
        /// What is wrong: `method` or `content-type`.
        field: &'static str,
        /// What would do.
        expected: &'static str,
        /// What there was.
        actual: String,
    },
    /// No such method.
    #[error("the method {method} does not exist/is not available")]
    UnknownMethod {
        /// Its name.
        method: String,
    },
    /// Subscriptions need a connection that stays.
    #[error("{method} is served on WebSocket only")]
    WebSocketOnly {
        /// The method.
        method: &'static str,
    },
    /// An argument is missing or has another form.
    #[error("invalid argument {position}: {field}: expected {expected}, found {actual}")]
    InvalidArgument {
        /// Its place, from 0 on.
        position: usize,
        /// Its name, or that of the part that is wrong.
        field: &'static str,
        /// What would do.
        expected: String,
        /// What there was, cut short.
        actual: String,
    },
    /// The parameters are no array, or too long a one.
    #[error("invalid params: expected an array of at most {most} arguments, found {actual}")]
    InvalidParams {
        /// Arguments that the method takes.
        most: usize,
        /// What there was.
        actual: String,
    },
    /// The agent failed, not the caller.
    #[error("internal error: {reason}")]
    Internal {
        /// What failed.
        reason: String,
    },
    /// The connection asks for more than one may.
    #[error("request limit exceeded: try again in {} ms", retry_after.as_millis())]
    TooFast {
        /// When there is room again for the same call.
        retry_after: Duration,
    },
    /// The transaction is not admitted.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// More calls in one batch than one may hold.
    #[error("batch request holds {actual} calls, at most {limit}")]
    BatchTooLong {
        /// The bound.
        limit: usize,
        /// The calls in it.
        actual: usize,
    },
    /// The answers of a batch are larger together than a response may be.
    #[error("batch response is larger than {limit} bytes")]
    BatchAnswerTooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The path of the URL names no rollup.
    #[error("invalid path {path}: expected / or /rollup/<chain id>")]
    InvalidPath {
        /// The path.
        path: String,
    },
}

impl RpcError {
    /// A rollup that is not registered on L1.
    pub(super) const fn unknown_rollup(rollup: RollupId) -> Self {
        Self::Refused(Refusal::UnknownRollup { rollup })
    }

    /// Something that cannot be by the agent's own rules.
    pub(super) fn internal(reason: impl std::fmt::Display) -> Self {
        Self::Internal { reason: reason.to_string() }
    }

    /// The JSON-RPC error code. Stable.
    pub const fn code(&self) -> i32 {
        match self {
            Self::InvalidRequest { .. } => -32600,
            Self::UnknownMethod { .. } | Self::WebSocketOnly { .. } => -32601,
            Self::InvalidArgument { .. } | Self::InvalidParams { .. } => -32602,
            Self::Internal { .. } => -32603,
            Self::TooFast { .. } => -32005,
            Self::Refused(refusal) => refusal.code(),
            Self::BatchAnswerTooLarge { .. } => -32008,
            Self::BatchTooLong { .. } => -32030,
            Self::InvalidPath { .. } => -32031,
        }
    }

    /// The `data` of the error object: which field, what was expected, what was found.
    fn data(&self) -> Option<Value> {
        match self {
            Self::InvalidRequest { field, expected, actual } => {
                Some(json!({ "field": field, "expected": expected, "actual": actual }))
            }
            Self::UnknownMethod { method } => Some(json!({ "field": "method", "actual": method })),
            Self::WebSocketOnly { method } => Some(
                json!({ "field": "method", "expected": "a WebSocket connection", "actual": method }),
            ),
            Self::InvalidArgument { position, field, expected, actual } => Some(json!({
                "field": field, "position": position, "expected": expected, "actual": actual,
            })),
            Self::InvalidParams { most, actual } => {
                Some(json!({ "field": "params", "most": most, "actual": actual }))
            }
            Self::Internal { .. } => None,
            Self::TooFast { retry_after } => Some(json!({
                "retryAfterMillis": u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            })),
            Self::Refused(refusal) => refusal_data(refusal),
            Self::BatchTooLong { limit, actual } => {
                Some(json!({ "field": "batch", "limit": limit, "actual": actual }))
            }
            Self::BatchAnswerTooLarge { limit } => {
                Some(json!({ "field": "response", "limit": limit }))
            }
            Self::InvalidPath { path } => Some(json!({
                "field": "path", "expected": "/ or /rollup/<chain id>", "actual": path,
            })),
        }
    }
}

/// Which part of a transaction is refused, and what would have done.
fn refusal_data(refusal: &Refusal) -> Option<Value> {
    let wrong_chain = |expected: &RollupId, actual: &RollupId| json!({ "field": "chainId", "expected": expected, "actual": actual });
    Some(match refusal {
        Refusal::Invalid(error) => match error {
            TransactionError::TooLarge { limit, actual } => {
                json!({ "field": "transaction", "limit": limit, "actual": actual })
            }
            TransactionError::Malformed { .. } => {
                json!({ "field": "transaction", "expected": "a signed EIP-2718 envelope or legacy RLP" })
            }
            TransactionError::Blob => {
                json!({ "field": "type", "expected": [0, 1, 2, 4], "actual": 3 })
            }
            TransactionError::NoChainId => {
                json!({ "field": "chainId", "expected": "a chain id (EIP-155)" })
            }
            TransactionError::NoSuchNonce => {
                json!({ "field": "nonce", "limit": MAX_NONCE, "actual": u64::MAX })
            }
            TransactionError::BadSignature(_) => {
                json!({ "field": "signature", "expected": "a recoverable signature with low s" })
            }
            TransactionError::WrongRollup { expected, actual } => wrong_chain(expected, actual),
        },
        Refusal::WrongRollup { expected, actual } => wrong_chain(expected, actual),
        Refusal::ClosedRollup { rollup, reserve_wei, balance_wei } => json!({
            "field": "rollup", "rollup": rollup, "reserveWei": reserve_wei, "balanceWei": balance_wei,
        }),
        Refusal::UnknownRollup { rollup } => {
            json!({ "field": "rollup", "expected": "a chain id registered on L1", "actual": rollup })
        }
        Refusal::NonceTooLow { expected, actual } => {
            json!({ "field": "nonce", "expected": expected, "actual": actual })
        }
        Refusal::NonceTooHigh { limit, actual } => {
            json!({ "field": "nonce", "limit": limit, "actual": actual })
        }
        Refusal::Underpriced { needed_max_fee_wei, needed_priority_fee_wei } => json!({
            "field": "maxFeePerGas",
            "neededMaxFeePerGas": format!("{needed_max_fee_wei:#x}"),
            "neededMaxPriorityFeePerGas": format!("{needed_priority_fee_wei:#x}"),
        }),
        Refusal::SenderFull { limit } => json!({ "field": "sender", "limit": limit }),
        Refusal::PeerFull { limit } => json!({ "field": "peer", "limit": limit }),
        Refusal::PoolFull { transactions, bytes } => {
            json!({ "transactions": transactions, "bytes": bytes })
        }
        Refusal::Busy | Refusal::NotStored { .. } | Refusal::Stopping => return None,
    })
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a call cannot be answered from the store");
        Self::internal(error)
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        Self::owned(error.code(), error.to_string(), error.data())
    }
}
