//! Why a call is not answered. Codes are stable and listed in docs/RPC.md.

use crate::domain::{Height, MAX_NONCE, RollupId, TransactionError};
use crate::mempool::Refusal;
use crate::storage::StoreError;
use alloy::primitives::B256;
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
    /// The body is no JSON.
    #[error("parse error: {reason}")]
    NoJson {
        /// What the reader met.
        reason: String,
    },
    /// JSON, but no request of JSON-RPC 2.0.
    #[error("invalid request: {member}: expected {expected}")]
    NoRequest {
        /// What is wrong with it.
        member: &'static str,
        /// What would do.
        expected: &'static str,
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
    /// The parameters are too many, or named otherwise.
    #[error("invalid params: expected at most these: {}; found {actual}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })]
    InvalidParams {
        /// Arguments that the method takes.
        names: &'static [&'static str],
        /// What there was.
        actual: String,
    },
    /// There is no such block, or none yet.
    #[error("block not found: {block}")]
    NoBlock {
        /// As the client named it.
        block: String,
    },
    /// What an account was at that block is not kept any more.
    #[error("nonces at block {block} are not kept: they are from block {first} on")]
    NotKept {
        /// The block.
        block: Height,
        /// The first one of which they are kept.
        first: Height,
    },
    /// The block was dropped here long after it had settled.
    #[error("block {block} is not kept any more: blocks are from {first} on")]
    BlockNotKept {
        /// The block.
        block: Height,
        /// The first one that is kept.
        first: Height,
    },
    /// It takes execution, and nobody executes here.
    #[error(
        "{method} needs execution: this is an ordering service; ask a follower of the rollup, which executes the order"
    )]
    NotExecuted {
        /// The method.
        method: &'static str,
    },
    /// The filter was removed, was not asked for too long, or never was.
    #[error("filter not found")]
    NoFilter,
    /// The subscription or the address has as many as one may.
    #[error("too many {what}: at most {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The request is longer than one may be.
    #[error("request is larger than {limit} bytes")]
    RequestTooLarge {
        /// The bound in bytes.
        limit: u32,
    },
    /// The answer would be longer than one may be.
    #[error("response is larger than {limit} bytes: ask for less at a time")]
    AnswerTooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// Accepted, and not decided within the time that the client gave (EIP-7966).
    #[error("the transaction was accepted and is not decided after {} ms", waited.as_millis())]
    NotDecidedYet {
        /// Its hash.
        hash: B256,
        /// The time.
        waited: Duration,
    },
    /// Accepted, and waits for transactions with lower nonces (EIP-7966).
    #[error("the transaction was accepted and waits for nonce {expected}")]
    NonceGap {
        /// Its hash.
        hash: B256,
        /// The nonce that is missing.
        expected: u64,
    },
    /// The agent failed, not the caller.
    #[error("internal error: {reason}")]
    Internal {
        /// What failed.
        reason: String,
    },
    /// The address, or everybody together, asks for more than is served.
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
    /// The path of the URL names no rollup.
    #[error("invalid path {path}: expected / or /rollup/<chain id>")]
    InvalidPath {
        /// The path.
        path: String,
    },
}

impl RpcError {
    /// A rollup that is not registered on L1, or not known to be while that is read.
    pub(super) const fn unknown_rollup(rollup: RollupId, l1_is_read: bool) -> Self {
        Self::Refused(Refusal::unknown_rollup(rollup, l1_is_read))
    }

    /// Something that cannot be by the agent's own rules.
    pub(super) fn internal(reason: impl std::fmt::Display) -> Self {
        Self::Internal { reason: reason.to_string() }
    }

    /// The JSON-RPC error code. Stable.
    pub const fn code(&self) -> i32 {
        match self {
            Self::NotDecidedYet { .. } => 4,
            Self::NonceGap { .. } => 6,
            Self::NoFilter => -32000,
            Self::NoBlock { .. } => -32001,
            Self::NotKept { .. } | Self::BlockNotKept { .. } => -32002,
            Self::NotExecuted { .. } => -32004,
            Self::TooMany { .. } => -32006,
            Self::RequestTooLarge { .. } => -32007,
            Self::NoJson { .. } => -32700,
            Self::InvalidRequest { .. } | Self::NoRequest { .. } => -32600,
            Self::UnknownMethod { .. } | Self::WebSocketOnly { .. } => -32601,
            Self::InvalidArgument { .. } | Self::InvalidParams { .. } => -32602,
            Self::Internal { .. } => -32603,
            Self::TooFast { .. } => -32005,
            Self::Refused(refusal) => refusal.code(),
            Self::AnswerTooLarge { .. } => -32008,
            Self::BatchTooLong { .. } => -32030,
            Self::InvalidPath { .. } => -32031,
        }
    }

    /// The error object.
    pub(super) fn to_json(&self) -> Value {
        let mut object = json!({ "code": self.code(), "message": self.to_string() });
        if let (Some(data), Some(object)) = (self.data(), object.as_object_mut()) {
            object.insert("data".to_owned(), data);
        }
        object
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
            Self::InvalidParams { names, actual } => {
                Some(json!({ "field": "params", "expected": names, "actual": actual }))
            }
            Self::NoJson { .. } => Some(json!({ "field": "body", "expected": "JSON" })),
            Self::NoRequest { member, expected } => {
                Some(json!({ "field": member, "expected": expected }))
            }
            Self::NoBlock { block } => {
                Some(json!({ "field": "block", "expected": "a decided block", "actual": block }))
            }
            Self::NotKept { block, first } | Self::BlockNotKept { block, first } => {
                Some(json!({ "field": "block", "first": first, "actual": block }))
            }
            Self::TooMany { what, limit } => Some(json!({ "field": what, "limit": limit })),
            Self::RequestTooLarge { limit } => Some(json!({ "field": "request", "limit": limit })),
            Self::AnswerTooLarge { limit } => Some(json!({ "field": "response", "limit": limit })),
            // EIP-7966 says what `data` is.
            Self::NotDecidedYet { hash, .. } => Some(json!(hash)),
            Self::NonceGap { expected, .. } => Some(json!(format!("{expected:#x}"))),
            // Libraries take the data of a failed `eth_call` for what a contract reverted with.
            Self::NotExecuted { .. } | Self::NoFilter | Self::Internal { .. } => None,
            Self::TooFast { retry_after } => Some(json!({
                "retryAfterMillis": u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            })),
            Self::Refused(refusal) => refusal_data(refusal),
            Self::BatchTooLong { limit, actual } => {
                Some(json!({ "field": "batch", "limit": limit, "actual": actual }))
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
        Refusal::TooManyAuthorizations { limit, actual } => {
            json!({ "field": "authorizationList", "limit": limit, "actual": actual })
        }
        Refusal::WrongRollup { expected, actual } => wrong_chain(expected, actual),
        Refusal::ClosedRollup { rollup, reserve_wei, balance_wei } => json!({
            "field": "rollup", "rollup": rollup, "reserveWei": reserve_wei, "balanceWei": balance_wei,
        }),
        Refusal::UnknownRollup { rollup } => {
            json!({ "field": "rollup", "expected": "a chain id registered on L1", "actual": rollup })
        }
        Refusal::L1NotRead { rollup } => json!({ "field": "rollup", "actual": rollup }),
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
        Refusal::SenderBytesFull { limit } => {
            json!({ "field": "sender", "limitBytes": limit })
        }
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
