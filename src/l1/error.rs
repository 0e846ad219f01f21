//! What can go wrong with L1, grouped by what the caller can do about it.

use super::bindings;
use super::refusal::{self, Refusal, error_in_body};
use crate::config::causes;
use alloy::dyn_abi::{DynSolValue, ErrorExt};
use alloy::json_abi;
use alloy::primitives::{Address, B256, hex};
use alloy::sol_types::{Panic, Revert, SolError as _};
use alloy::transports::{RpcError, TransportError, TransportErrorKind};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Why L1 did not do or tell what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum L1Error {
    /// No URL was given, or one is not http(s).
    #[error("l1 rpc url {url}: expected http:// or https://")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// No node answered. Try again later.
    #[error("l1 unreachable: {reason}")]
    Unreachable {
        /// What the last transport said.
        reason: String,
    },
    /// A contract refused. Trying the same again is of no use while L1 stays as it is.
    #[error("contract {contract} reverts: {reason}")]
    Reverted {
        /// The contract that was called.
        contract: Address,
        /// The custom error with its arguments.
        reason: String,
    },
    /// The node answered, with an error of its own.
    #[error("l1 node refuses: {reason} (code {code})")]
    Refused {
        /// What that means, and what to go by.
        why: Refusal,
        /// JSON-RPC code, or the HTTP status where there was no more.
        code: i64,
        /// The node's words.
        reason: String,
    },
    /// The node answered something that makes no sense.
    #[error("l1 answered no valid {what}")]
    BadAnswer {
        /// What was expected.
        what: &'static str,
    },
    /// A header that cannot be shown to a contract: what it is made of is not known, or the node is wrong about it.
    #[error(
        "the header of l1 block {number} has fields that this release does not know, and the node does not give its bytes \
         (debug_getRawHeader): {reason}; ask a node that does"
    )]
    UnknownHeader {
        /// The block.
        number: u64,
        /// What the node said when it was asked for the bytes.
        reason: String,
    },
    /// The node is on another chain than the deployment.
    #[error("l1 chain id is {actual}, the deployment is on {expected}")]
    WrongChain {
        /// From the deployment.
        expected: u64,
        /// From the node.
        actual: u64,
    },
    /// Two of the nodes that were given are on different chains.
    #[error(
        "l1 node {second} is on chain {actual}, but {first} on {expected}: give nodes of one chain"
    )]
    ChainsDiffer {
        /// A node that answered.
        first: String,
        /// Its chain id.
        expected: u64,
        /// Another node.
        second: String,
        /// Its chain id.
        actual: u64,
    },
    /// There is no code where the deployment says that a contract is.
    #[error("no contract at {address} ({name})")]
    NoContract {
        /// Which contract.
        name: &'static str,
        /// Where it should be.
        address: Address,
    },
    /// A contract was deployed with other addresses or parameters than the deployment says.
    #[error(
        "{name} at {address} belongs to another deployment: hash {actual}, expected {expected}"
    )]
    OtherDeployment {
        /// Which contract.
        name: &'static str,
        /// Where it is.
        address: Address,
        /// From the deployment's addresses and the parameters that settlement tells.
        expected: B256,
        /// From the contract.
        actual: B256,
    },
    /// A transaction was not included in time.
    #[error("transaction {tx} was not included within {seconds} s")]
    NotIncluded {
        /// Its hash.
        tx: B256,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The same was included and failed before, at cost: it is not tried again yet.
    #[error(
        "{what} failed on l1 {failures} times and was paid for each time: it is tried again in {seconds} s"
    )]
    Resting {
        /// What it calls.
        what: &'static str,
        /// How often it, or its kind, failed.
        failures: u32,
        /// After how long it is tried again.
        seconds: u64,
    },
    /// L1 asks for more than is to be paid. Nothing was sent.
    #[error(
        "l1 asks for {asked_wei} wei for a unit of gas, more than the limit of {limit_wei}: wait, or raise --max-fee-gwei"
    )]
    TooDear {
        /// Base fee and tip, in wei.
        asked_wei: u128,
        /// The most that is to be paid, in wei.
        limit_wei: u128,
    },
    /// The agent keeps silent: another one may use its key, and the account with it. It passes by itself.
    #[error("nothing is sent from this account while its agent keeps silent")]
    Silent,
    /// Everybody would know this chain's seeds in advance, or nobody could show them to the contracts.
    #[error("this L1 gives no seeds (R4): {reason}")]
    NoSeeds {
        /// What it lacks.
        reason: String,
    },
    /// A deployment's configuration does not fit.
    #[error("configuration field {field}: {reason}")]
    BadConfig {
        /// The key.
        field: String,
        /// What was expected.
        reason: String,
    },
}

impl L1Error {
    /// Whether it may go away by itself: the node was not reached or not in its senses.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::BadAnswer { .. }
            | Self::NotIncluded { .. }
            | Self::Silent => true,
            Self::Refused { why, .. } => why.may_pass(),
            _ => false,
        }
    }

    /// Whether the node does not have the method, now or later.
    pub(super) fn is_no_method(&self) -> bool {
        match self {
            Self::Refused { code, reason, .. } => refusal::is_no_method(*code, reason),
            _ => false,
        }
    }

    /// Why a node refused, if it did.
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { why, .. } => Some(*why),
            _ => None,
        }
    }

    fn refused(code: i64, reason: &str, contract: Address) -> Self {
        match Refusal::of(code, reason) {
            // A revert is a revert, whether or not the node tells its data.
            Refusal::Reverted => Self::Reverted { contract, reason: reason.to_owned() },
            why => Self::Refused { why, code, reason: reason.to_owned() },
        }
    }

    /// Sorts a transport's error; `contract` is what was called.
    pub(super) fn of(error: &TransportError, contract: Address) -> Self {
        match error {
            RpcError::ErrorResp(payload) => match payload.as_revert_data() {
                Some(data) => Self::Reverted { contract, reason: describe_revert(&data) },
                None => Self::refused(payload.code, &payload.message, contract),
            },
            RpcError::Transport(
                TransportErrorKind::HttpError(http)
                | TransportErrorKind::HttpErrorWithRetryAfter { error: http, .. },
            ) => match (error_in_body(&http.body), Refusal::of_status(http.status)) {
                (Some((code, reason)), _) => Self::refused(code, &reason, contract),
                (None, Some(why)) => {
                    let reason = format!("http status {}", http.status);
                    Self::Refused { why, code: i64::from(http.status), reason }
                }
                (None, None) => Self::Unreachable { reason: causes(error) },
            },
            RpcError::NullResp => Self::BadAnswer { what: "answer (null)" },
            RpcError::DeserError { .. } => Self::BadAnswer { what: "json" },
            other => Self::Unreachable { reason: causes(other) },
        }
    }
}

static ERRORS: LazyLock<Vec<json_abi::Error>> = LazyLock::new(|| {
    serde_json::from_str(bindings::ERRORS).expect("build.rs wrote the errors as an ABI")
});

/// Name and arguments of a custom error, or what else a revert says.
pub(super) fn describe_revert(data: &[u8]) -> String {
    if let Ok(revert) = Revert::abi_decode(data) {
        return revert.reason;
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return panic.to_string();
    }
    let selector = data.get(..4).unwrap_or_default();
    for error in ERRORS.iter().filter(|error| error.selector().as_slice() == selector) {
        if let Ok(decoded) = error.decode_error(data) {
            let mut text = format!("{}(", error.name);
            for (index, (input, value)) in error.inputs.iter().zip(&decoded.body).enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}{}: {}", input.name, plain(value));
            }
            text.push(')');
            return text;
        }
    }
    format!("unknown error 0x{}", hex::encode(data))
}

fn plain(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::FixedBytes(word, size) => {
            format!("0x{}", hex::encode(word.get(..*size).unwrap_or_default()))
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{L1Error, describe_revert};
    use crate::l1::Refusal;
    use alloy::primitives::{Address, U256, keccak256};
    use alloy::transports::{RpcError, TransportErrorKind};

    #[test]
    fn names_a_custom_error_and_its_arguments() {
        let mut data = keccak256("FeeTooSmall(uint256,uint256)")[..4].to_vec();
        data.extend(U256::from(7).to_be_bytes::<32>());
        data.extend(U256::from(5).to_be_bytes::<32>());
        assert_eq!(describe_revert(&data), "FeeTooSmall(minimumWei: 7, actualWei: 5)");
    }

    #[test]
    fn shows_the_bytes_of_an_error_that_nobody_declared() {
        assert_eq!(describe_revert(&[1, 2, 3, 4]), "unknown error 0x01020304");
    }

    fn sorted(code: i64, message: &str) -> L1Error {
        let error = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let payload = serde_json::from_str(&error).unwrap();
        L1Error::of(&RpcError::ErrorResp(payload), Address::ZERO)
    }

    #[test]
    fn a_revert_without_data_is_a_revert() {
        let reason = "execution reverted".to_owned();
        let expected = L1Error::Reverted { contract: Address::ZERO, reason };
        assert_eq!(sorted(3, "execution reverted"), expected);
    }

    #[test]
    fn a_limit_that_comes_as_an_http_status_is_a_refusal() {
        let of = |status, body: &str| {
            L1Error::of(&TransportErrorKind::http_error(status, body.to_owned()), Address::ZERO)
        };
        assert_eq!(of(413, "<html>").refusal(), Some(Refusal::RangeTooLarge));
        assert_eq!(of(429, "").refusal(), Some(Refusal::RateLimited));
        let body =
            r#"{"error":{"code":-32005,"message":"query returned more than 10000 results"}}"#;
        assert_eq!(of(400, body).refusal(), Some(Refusal::RangeTooLarge));
        assert_eq!(of(502, "bad gateway").refusal(), None);
        assert!(of(429, "").is_transient() && of(502, "").is_transient());
        assert!(!sorted(-32_000, "insufficient funds for transfer").is_transient());
    }
}
