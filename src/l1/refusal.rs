//! What a node has against a request, in one word: made once from code, message and status, for all callers.
//!
//! JSON-RPC gives these answers no common codes, and every client words them in its own way: geth, Erigon, Nethermind, Besu,
//! Reth and Anvil are known here, and the providers before them. The table in the tests holds what each of them says. What
//! nobody has met yet is [`Refusal::Other`], which callers treat as a refusal that may last.

use serde::Deserialize;

/// Why a node refused. What to do about it follows from the variant alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account's nonce is past this one: something else was included there.
    NonceTooLow,
    /// The nonce is too far beyond what the node has of the account.
    NonceTooHigh,
    /// The node has this very transaction.
    AlreadyKnown,
    /// Something waits at this nonce, and the offer does not exceed its fees by what the node asks for.
    ReplacementUnderpriced,
    /// The part for the block's builder is below what the node takes at all.
    TipTooLow {
        /// What it takes, in wei, if it said so.
        minimum_wei: Option<u128>,
    },
    /// The fee for a unit of gas is below the base fee, or below the least the chain can have.
    FeeBelowBase,
    /// Too cheap for the pool as it is now; by how much is not said.
    Underpriced,
    /// The whole fee is above what the node's operator lets anybody spend on one transaction.
    FeeAboveNodesCap,
    /// The pool, or this account's share of it, is full.
    PoolFull,
    /// The account does not have what the transaction may cost.
    NoFunds,
    /// The gas limit is above a block's or too small for the bytes alone.
    GasLimit,
    /// The transaction, or the request, has too many bytes.
    TooManyBytes,
    /// Too many requests in a time. The same request may be taken later.
    RateLimited,
    /// Too many blocks or results for one request. A smaller one is taken at once.
    RangeTooLarge,
    /// Some limit, and the node does not say whether time or a smaller request helps.
    OverLimit,
    /// The node has no such block: nothing is finalized yet, or the hash is not (or no more) one that it knows.
    BlockUnknown,
    /// The call reverts, and the node gives no data with it.
    Reverted,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Whether the same request may be taken a little later though nothing of it changes.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::OverLimit | Self::BlockUnknown | Self::PoolFull | Self::Other
        )
    }

    /// Whether a higher offer is what the node asks for.
    pub const fn is_about_fees(self) -> bool {
        matches!(
            self,
            Self::ReplacementUnderpriced
                | Self::TipTooLow { .. }
                | Self::FeeBelowBase
                | Self::Underpriced
        )
    }

    /// Sorts the error of a JSON-RPC answer.
    pub(super) fn of(code: i64, message: &str) -> Self {
        let text = message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if let Some(refusal) = of_transaction(&text) {
            return refusal;
        }
        if has(&RANGE) {
            return Self::RangeTooLarge;
        }
        if has(&RATE) || matches!(code, 429 | -32_007 | -32_029) {
            return Self::RateLimited;
        }
        if code == -39_001
            || has(&["unknown block", "header not found", "block not found", "header for hash"])
            || (has(&["finalized", "safe block"])
                && has(&["not found", "unknown", "not available", "not supported", "no "]))
        {
            return Self::BlockUnknown;
        }
        if code == 3 || code == -32_015 || has(&["revert"]) {
            return Self::Reverted;
        }
        if code == -32_005 || has(&["limit exceeded", "limit reached", "over limit"]) {
            return Self::OverLimit;
        }
        Self::Other
    }

    /// Sorts an HTTP status without a JSON-RPC answer; `None` for what says nothing about the request.
    pub(super) const fn of_status(status: u16) -> Option<Self> {
        match status {
            413 => Some(Self::RangeTooLarge),
            429 => Some(Self::RateLimited),
            _ => None,
        }
    }
}

/// Words for "ask for fewer blocks". Providers first, then clients.
const RANGE: [&str; 23] = [
    "query returned more than",
    "response size exceeded",
    "response size should not",
    "response is too big",
    "block range",
    "blocks range",
    "range limit",
    "range is too",
    "range too",
    "range exceeds",
    "ranges over",
    "is limited to a",
    "limited to 0 -",
    "too many logs",
    "too many results",
    "too many blocks",
    "max results",
    "max logs",
    "logs matched by query exceeds",
    "number of blocks",
    "exceed maximum block",
    "exceeds max block",
    "query timeout",
];

/// Words for "not so fast".
const RATE: [&str; 12] = [
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "too many connections",
    "request count exceeded",
    "request limit",
    "requests per",
    "per second",
    "compute units",
    "quota",
    "throughput",
];

/// What pools say about a transaction; the more special wording first. `text` is in lower case.
fn of_transaction(text: &str) -> Option<Refusal> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let refusal = if has(&["nonce too low", "oldnonce", "nonce already used", "noncealreadyused"]) {
        Refusal::NonceTooLow
    } else if has(&[
        "nonce too high",
        "noncegap",
        "nonce gap",
        "gapped-nonce",
        "future nonce",
        "noncetoofarinfuture",
        "nonce too distant",
        "nonce is too distant",
        "nonce too far",
        "incorrect nonce",
        "invalid transaction with a lower nonce",
    ]) {
        Refusal::NonceTooHigh
    } else if has(&[
        "already known",
        "alreadyknown",
        "already imported",
        "known transaction",
        "existing tx with same hash",
        "already exists in pool",
    ]) {
        Refusal::AlreadyKnown
    } else if has(&[
        "replacement transaction underpriced",
        "replacement underpriced",
        "replacementnotallowed",
        "replacement not allowed",
        "could not replace",
        "not replaced",
        "future transaction tries to replace",
    ]) {
        Refusal::ReplacementUnderpriced
    } else if has(&[
        "higher than max fee per gas",
        "exceeds the configured cap",
        "fee cap exceeded",
        "txfeecap",
    ]) {
        Refusal::FeeAboveNodesCap
    } else if has(&[
        "less than block base fee",
        "below current base fee",
        "below chain minimum",
        "maxfeepergas too low",
        "lower than base fee",
        "base fee exceeds",
    ]) {
        Refusal::FeeBelowBase
    } else if has(&["tip needed", "gas tip cap", "priority fee", "configured minimum gas price"])
        && has(&["underpriced", "below", "too low", "minimum"])
    {
        Refusal::TipTooLow { minimum_wei: minimum(text) }
    } else if has(&["underpriced", "feetoolow", "fee too low", "gas price below"]) {
        Refusal::Underpriced
    } else if has(&[
        "txpool is full",
        "pool overflow",
        "pool is full",
        "account limit exceeded",
        "in-flight transaction limit",
        "transaction limit reached",
    ]) {
        Refusal::PoolFull
    } else if has(&[
        "insufficient funds",
        "insufficientfunds",
        "insufficient balance",
        "exceeds account balance",
        "exceeds balance",
    ]) {
        Refusal::NoFunds
    } else if has(&[
        "exceeds block gas limit",
        "block gas limit",
        "gaslimitexceeded",
        "gas limit too high",
        "gas limit exceed",
        "exceeds transaction gas limit",
        "intrinsic gas",
        "floor data gas",
        "gas required exceeds",
        "gas too low",
        "gas too high",
        "gas floor",
    ]) {
        Refusal::GasLimit
    } else if has(&["oversized data", "maxtxsizeexceeded", "request entity too large"])
        || (has(&["rlp", "transaction size"]) && has(&["too long", "exceed"]))
    {
        Refusal::TooManyBytes
    } else {
        return None;
    };
    Some(refusal)
}

/// The smallest tip that a refusal names, in wei: the number that follows the word for it.
fn minimum(text: &str) -> Option<u128> {
    ["minimum needed", "tip needed", "required priority fee", "minimum gas price"].iter().find_map(
        |word| {
            let (_, after) = text.split_once(word)?;
            let digits: String = after
                .trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '='))
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().ok()
        },
    )
}

/// JSON-RPC's code for a method that there is not.
pub(super) const NO_METHOD: i64 = -32_601;

/// Whether a node says that it does not have the method that it was asked for, now or later: by the code, or in the words of
/// providers that have another code for it.
pub(super) fn is_no_method(code: i64, message: &str) -> bool {
    let text = message.to_lowercase();
    let is_said = |words: &str| text.contains(words);
    matches!(code, NO_METHOD | -32_004)
        || (is_said("method") && NOT_THERE.into_iter().any(is_said))
        || is_said("unsupported rpc")
}

/// What providers say of methods that they do not have.
const NOT_THERE: [&str; 9] = [
    "not found",
    "does not exist",
    "not exist",
    "not available",
    "not supported",
    "unsupported",
    "not allowed",
    "not enabled",
    "not whitelisted",
];

/// A JSON-RPC error that came with an HTTP status of failure, as some providers send theirs.
pub(super) fn error_in_body(body: &str) -> Option<(i64, String)> {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    let answer: Answer = serde_json::from_str(body).ok()?;
    Some((answer.error.code, answer.error.message))
}

#[cfg(test)]
mod tests {
    use super::{Refusal, error_in_body, is_no_method};

    /// What each client's pool says, word for word.
    const TRANSACTIONS: &[(&str, i64, &str, Refusal)] = &[
        ("geth", -32_000, "nonce too low: next nonce 5, tx nonce 3", Refusal::NonceTooLow),
        ("geth", -32_000, "nonce too high: tx nonce 9, state nonce 3", Refusal::NonceTooHigh),
        ("geth", -32_000, "already known", Refusal::AlreadyKnown),
        ("geth", -32_000, "replacement transaction underpriced", Refusal::ReplacementUnderpriced),
        (
            "geth",
            -32_000,
            "replacement transaction underpriced: new tx gas fee cap 11 < 10 queued + 10% replacement penalty",
            Refusal::ReplacementUnderpriced,
        ),
        (
            "geth",
            -32_000,
            "future transaction tries to replace pending",
            Refusal::ReplacementUnderpriced,
        ),
        (
            "geth",
            -32_000,
            "transaction underpriced: tip needed 1000000000, tip permitted 1",
            Refusal::TipTooLow { minimum_wei: Some(1_000_000_000) },
        ),
        (
            "geth",
            -32_000,
            "transaction gas price below minimum: gas tip cap 1, minimum needed 1000000",
            Refusal::TipTooLow { minimum_wei: Some(1_000_000) },
        ),
        ("geth", -32_000, "transaction underpriced", Refusal::Underpriced),
        (
            "geth",
            -32_000,
            "max fee per gas less than block base fee: address 0xab, maxFeePerGas: 1, baseFee: 7",
            Refusal::FeeBelowBase,
        ),
        (
            "geth",
            -32_000,
            "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)",
            Refusal::FeeAboveNodesCap,
        ),
        ("geth", -32_000, "txpool is full", Refusal::PoolFull),
        ("geth", -32_000, "account limit exceeded: pooled 16 txs", Refusal::PoolFull),
        (
            "geth",
            -32_000,
            "in-flight transaction limit reached for delegated accounts",
            Refusal::PoolFull,
        ),
        (
            "geth",
            -32_000,
            "insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1",
            Refusal::NoFunds,
        ),
        ("geth", -32_000, "exceeds block gas limit", Refusal::GasLimit),
        (
            "geth",
            -32_000,
            "transaction gas limit too high (cap: 16777216, tx: 30000000)",
            Refusal::GasLimit,
        ),
        (
            "geth",
            -32_000,
            "intrinsic gas too low: gas 20000, minimum needed 21000",
            Refusal::GasLimit,
        ),
        ("geth", -32_000, "gas required exceeds allowance (0)", Refusal::GasLimit),
        (
            "geth",
            -32_000,
            "oversized data: transaction size 131073, limit 131072",
            Refusal::TooManyBytes,
        ),
        ("erigon", -32_000, "underpriced", Refusal::Underpriced),
        ("erigon", -32_000, "fee too low", Refusal::Underpriced),
        ("erigon", -32_000, "existing tx with same hash", Refusal::AlreadyKnown),
        ("erigon", -32_000, "could not replace existing tx", Refusal::ReplacementUnderpriced),
        ("erigon", -32_000, "nonce too distant", Refusal::NonceTooHigh),
        ("erigon", -32_000, "INTERNAL_ERROR: nonce too low", Refusal::NonceTooLow),
        ("erigon", -32_000, "pending sub-pool overflow: pool is full", Refusal::PoolFull),
        (
            "nethermind",
            -32_010,
            "OldNonce, Current nonce: 5, nonce of rejected tx: 3",
            Refusal::NonceTooLow,
        ),
        ("nethermind", -32_010, "OwnNonceAlreadyUsed", Refusal::NonceTooLow),
        ("nethermind", -32_010, "NonceGap, Future nonce. Expected nonce: 5", Refusal::NonceTooHigh),
        ("nethermind", -32_010, "NonceTooFarInFuture", Refusal::NonceTooHigh),
        ("nethermind", -32_010, "AlreadyKnown", Refusal::AlreadyKnown),
        ("nethermind", -32_010, "ReplacementNotAllowed", Refusal::ReplacementUnderpriced),
        (
            "nethermind",
            -32_010,
            "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7, MaxPriorityFeePerGas: 1",
            Refusal::FeeBelowBase,
        ),
        ("nethermind", -32_010, "FeeTooLowToCompete", Refusal::Underpriced),
        (
            "nethermind",
            -32_010,
            "InsufficientFunds, Account balance: 0, cumulative cost: 21000",
            Refusal::NoFunds,
        ),
        (
            "nethermind",
            -32_010,
            "GasLimitExceeded, Gas limit: 30000000, gas limit of rejected tx: 40000000",
            Refusal::GasLimit,
        ),
        ("nethermind", -32_010, "MaxTxSizeExceeded", Refusal::TooManyBytes),
        ("besu", -32_001, "Nonce too low", Refusal::NonceTooLow),
        ("besu", -32_006, "Incorrect nonce", Refusal::NonceTooHigh),
        (
            "besu",
            -32_000,
            "Transaction nonce is too distant from current sender nonce",
            Refusal::NonceTooHigh,
        ),
        ("besu", -32_000, "Known transaction", Refusal::AlreadyKnown),
        ("besu", -32_000, "Replacement transaction underpriced", Refusal::ReplacementUnderpriced),
        (
            "besu",
            -32_009,
            "Gas price below configured minimum gas price",
            Refusal::TipTooLow { minimum_wei: None },
        ),
        ("besu", -32_009, "Gas price below current base fee", Refusal::FeeBelowBase),
        ("besu", -32_000, "Transaction fee cap exceeded", Refusal::FeeAboveNodesCap),
        ("besu", -32_004, "Upfront cost exceeds account balance", Refusal::NoFunds),
        ("besu", -32_005, "Transaction gas limit exceeds block gas limit", Refusal::GasLimit),
        ("besu", -32_003, "Intrinsic gas exceeds gas limit", Refusal::GasLimit),
        ("reth", -32_003, "nonce too low: next nonce 5, tx nonce 3", Refusal::NonceTooLow),
        ("reth", -32_000, "replacement transaction underpriced", Refusal::ReplacementUnderpriced),
        (
            "reth",
            -32_003,
            "transaction priority fee below minimum required priority fee 1000000",
            Refusal::TipTooLow { minimum_wei: Some(1_000_000) },
        ),
        ("reth", -32_000, "transaction feeCap 6 below chain minimum", Refusal::FeeBelowBase),
        ("reth", -32_003, "exceeds block gas limit", Refusal::GasLimit),
        (
            "reth",
            -32_003,
            "insufficient funds for gas * price + value: have 1 want 2",
            Refusal::NoFunds,
        ),
        ("anvil", -32_003, "nonce too low", Refusal::NonceTooLow),
        ("anvil", -32_003, "transaction already imported", Refusal::AlreadyKnown),
        ("anvil", -32_003, "replacement transaction underpriced", Refusal::ReplacementUnderpriced),
        ("anvil", -32_003, "max fee per gas less than block base fee", Refusal::FeeBelowBase),
        ("anvil", -32_003, "Insufficient funds for gas * price + value", Refusal::NoFunds),
        (
            "anvil",
            -32_003,
            "intrinsic gas too high -- CallGasCostMoreThanGasLimit",
            Refusal::GasLimit,
        ),
    ];

    /// What nodes and the providers before them say about reads.
    const READS: &[(&str, i64, &str, Refusal)] = &[
        (
            "infura",
            -32_005,
            "query returned more than 10000 results. Try with this block range [0x1, 0x2].",
            Refusal::RangeTooLarge,
        ),
        (
            "alchemy",
            -32_602,
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            Refusal::RangeTooLarge,
        ),
        ("quicknode", -32_614, "eth_getLogs is limited to a 10,000 range", Refusal::RangeTooLarge),
        (
            "besu",
            -32_005,
            "Requested range exceeds maximum RPC range limit",
            Refusal::RangeTooLarge,
        ),
        (
            "nethermind",
            -32_005,
            "Too many logs requested. Max logs per response is 20000.",
            Refusal::RangeTooLarge,
        ),
        ("reth", -32_602, "query exceeds max block range 100000", Refusal::RangeTooLarge),
        (
            "reth",
            -32_602,
            "query exceeds max results 20000, retry with the range 1-2",
            Refusal::RangeTooLarge,
        ),
        ("erigon", -32_000, "block range limit exceeded", Refusal::RangeTooLarge),
        (
            "drpc",
            35,
            "ranges over 10000 blocks are not supported on freetier",
            Refusal::RangeTooLarge,
        ),
        ("publicnode", -32_701, "exceed maximum block range: 50000", Refusal::RangeTooLarge),
        (
            "infura",
            -32_005,
            "daily request count exceeded, request rate limited",
            Refusal::RateLimited,
        ),
        (
            "alchemy",
            429,
            "Your app has exceeded its compute units per second capacity.",
            Refusal::RateLimited,
        ),
        ("quicknode", -32_007, "50/second request limit reached", Refusal::RateLimited),
        ("anybody", -32_005, "limit exceeded", Refusal::OverLimit),
        ("geth", -32_000, "finalized block not found", Refusal::BlockUnknown),
        ("geth", -32_000, "safe block not found", Refusal::BlockUnknown),
        ("geth", -32_000, "header not found", Refusal::BlockUnknown),
        ("erigon", -32_000, "unknown block", Refusal::BlockUnknown),
        ("besu", -39_001, "Unknown block", Refusal::BlockUnknown),
        ("geth", 3, "execution reverted", Refusal::Reverted),
        ("nethermind", -32_015, "VM execution error.", Refusal::Reverted),
        ("besu", -32_000, "Execution reverted", Refusal::Reverted),
        (
            "geth",
            -32_601,
            "the method txpool_content does not exist/is not available",
            Refusal::Other,
        ),
        ("anybody", -32_603, "", Refusal::Other),
    ];

    #[test]
    fn sorts_what_pools_say() {
        for (node, code, message, expected) in TRANSACTIONS {
            assert_eq!(Refusal::of(*code, message), *expected, "{node}: {message}");
        }
    }

    #[test]
    fn sorts_what_nodes_and_providers_say_about_reads() {
        for (node, code, message, expected) in READS {
            assert_eq!(Refusal::of(*code, message), *expected, "{node}: {message}");
        }
    }

    #[test]
    fn the_case_of_letters_does_not_matter() {
        for (node, code, message, expected) in TRANSACTIONS.iter().chain(READS) {
            assert_eq!(Refusal::of(*code, &message.to_uppercase()), *expected, "{node}: {message}");
        }
    }

    #[test]
    fn a_minimum_that_is_no_number_or_too_large_is_none() {
        for text in [
            "transaction underpriced: tip needed much",
            "transaction underpriced: tip needed 999999999999999999999999999999999999999999",
            "transaction underpriced: tip needed",
        ] {
            let refusal = Refusal::of(-32_000, text);
            assert_eq!(refusal, Refusal::TipTooLow { minimum_wei: None }, "{text}");
        }
    }

    #[test]
    fn finds_the_answer_in_the_body_of_a_failed_request() {
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"slow down"}}"#;
        assert_eq!(error_in_body(body), Some((-32_005, "slow down".to_owned())));
        assert_eq!(error_in_body("<html>413</html>"), None);
        assert_eq!(Refusal::of_status(413), Some(Refusal::RangeTooLarge));
        assert_eq!(Refusal::of_status(429), Some(Refusal::RateLimited));
        assert_eq!(Refusal::of_status(502), None);
    }

    #[test]
    fn a_method_that_a_node_does_not_have_is_told_from_what_it_does_not_give_now() {
        for (code, message) in [
            (-32_601, "the method eth_getBlockReceipts does not exist/is not available"),
            (-32_601, "Method not found"),
            (-32_004, "this request method is not supported"),
            (-32_600, "Unsupported method: eth_getBlockReceipts. See available methods at"),
            (-32_000, "method eth_getBlockReceipts is not whitelisted"),
            (403, "rpc method is not allowed"),
        ] {
            assert!(is_no_method(code, message), "{message}");
        }
        for (code, message) in [
            (-32_000, "come back when the moon is full"),
            (-32_000, "header not found"),
            (-32_005, "method eth_getBlockReceipts: too many requests"),
            (-32_603, "internal error"),
            (-32_602, "invalid argument 0"),
        ] {
            assert!(!is_no_method(code, message), "{message}");
        }
    }
}
