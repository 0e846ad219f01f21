//! Whether what a node told follows from a hash. Pure.

use crate::domain::{L1Block, Seconds};
use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::{Header, ReceiptEnvelope, TxReceipt};
use alloy::eips::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, U64, keccak256};
use alloy::rlp::Encodable as _;
use alloy::rpc::types::{
    EIP1186AccountProofResponse, Header as ToldHeader, Log, Transaction, TransactionReceipt,
};
use alloy::trie::proof::verify_proof;
use alloy::trie::{Nibbles, TrieAccount};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A node told what cannot be: it does not follow from the hash that it should follow from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("L1 node {node} lies or is broken: {what} of block {block} {problem}")]
pub struct Lie {
    /// The node, without what its URL may hold of secrets.
    pub node: String,
    /// The L1 block that was asked about.
    pub block: u64,
    /// What it told of that block.
    pub what: &'static str,
    /// What is wrong with it, and what it should have been.
    pub problem: String,
}

/// A [`Lie`] before it is known whose and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    what: &'static str,
    problem: String,
}

impl Wrong {
    pub(super) fn at(self, node: String, block: u64) -> Lie {
        Lie { node, block, what: self.what, problem: self.problem }
    }

    pub(super) const fn because(what: &'static str, problem: String) -> Self {
        Self { what, problem }
    }

    fn differs(what: &'static str, part: &str, actual: B256, expected: B256) -> Self {
        Self { what, problem: format!("{part} {actual}, expected {expected}") }
    }
}

/// What is kept of a header that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) block: L1Block,
    pub(super) parent_hash: B256,
    pub(super) prev_randao: B256,
    pub(super) state_root: B256,
    pub(super) receipts_root: B256,
    pub(super) transactions_root: B256,
    /// Whether our contracts may have said something in it.
    pub(super) may_hold: bool,
}

impl Kept {
    pub(super) fn of(header: &Header, may_hold: bool) -> Self {
        let timestamp = Seconds::new(header.timestamp);
        Self {
            block: L1Block { number: header.number, hash: header.hash_slow(), timestamp },
            parent_hash: header.parent_hash,
            prev_randao: header.mix_hash,
            state_root: header.state_root,
            receipts_root: header.receipts_root,
            transactions_root: header.transactions_root,
            may_hold,
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(what: &'static str, told: Value) -> Result<T, Wrong> {
    serde_json::from_value(told)
        .map_err(|error| Wrong { what, problem: format!("does not read: {error}") })
}

/// A quantity.
pub(super) fn number(what: &'static str, told: &Value) -> Result<u64, Wrong> {
    let number: U64 = read(what, told.clone())?;
    Ok(number.to())
}

/// The header of block `number`, which hashes to `expected` where that is known.
pub(super) fn header(told: Value, number: u64, expected: Option<B256>) -> Result<Header, Wrong> {
    let what = "header";
    let told: ToldHeader = read(what, told)?;
    let header = told.inner;
    if header.number != number {
        let problem = format!("is that of block {}", header.number);
        return Err(Wrong { what, problem });
    }
    let hash = header.hash_slow();
    // Without an expectation the hash itself is what is told, and must be that of the rest.
    let expected = expected.unwrap_or(told.hash);
    if hash != expected {
        return Err(Wrong::differs(what, "hashes to", hash, expected));
    }
    Ok(header)
}

/// The receipts of a block.
pub(super) fn receipts(told: Value, root: B256) -> Result<Vec<ReceiptEnvelope>, Wrong> {
    let what = "receipts";
    let told: Vec<TransactionReceipt> = read(what, told)?;
    let receipts: Vec<ReceiptEnvelope> =
        told.into_iter().map(|receipt| receipt.into_primitives_receipt().inner).collect();
    let actual = calculate_receipt_root(&receipts);
    if actual != root {
        return Err(Wrong::differs(what, "give the root", actual, root));
    }
    Ok(receipts)
}

/// The transactions of a block, from the block as it is told with them.
pub(super) fn transactions(mut told: Value, root: B256) -> Result<Vec<Transaction>, Wrong> {
    let what = "transactions";
    let told = told.get_mut("transactions").map(Value::take).unwrap_or_default();
    let transactions: Vec<Transaction> = read(what, told)?;
    let inner: Vec<_> = transactions.iter().map(|transaction| transaction.inner.inner()).collect();
    let actual = calculate_transaction_root(&inner);
    if actual != root {
        return Err(Wrong::differs(what, "give the root", actual, root));
    }
    Ok(transactions)
}

/// The hash of a transaction, from itself: what a node tells beside it is not looked at.
pub(super) fn hash_of(transaction: &Transaction) -> B256 {
    keccak256(transaction.inner.encoded_2718())
}

/// The logs of proven receipts, as `eth_getLogs` would tell them.
pub(in crate::l1) fn logs<'a, R>(
    block: &L1Block,
    receipts: impl IntoIterator<Item = (&'a B256, &'a R)>,
    wanted: impl Fn(&alloy::primitives::Log) -> bool,
) -> Vec<Log>
where
    R: TxReceipt<Log = alloy::primitives::Log> + 'a,
{
    let mut logs = Vec::new();
    let mut log_index = 0_u64;
    for (index, (hash, receipt)) in (0_u64..).zip(receipts) {
        for log in receipt.logs() {
            if wanted(log) {
                logs.push(Log {
                    inner: log.clone(),
                    block_hash: Some(block.hash),
                    block_number: Some(block.number),
                    block_timestamp: Some(block.timestamp.get()),
                    transaction_hash: Some(*hash),
                    transaction_index: Some(index),
                    log_index: Some(log_index),
                    removed: false,
                });
            }
            log_index = log_index.saturating_add(1);
        }
    }
    logs
}

/// The hash of the code of an account, as its proof gives it.
pub(super) fn code_hash(told: Value, account: Address, state_root: B256) -> Result<B256, Wrong> {
    let what = "proof of an account";
    let told: EIP1186AccountProofResponse = read(what, told)?;
    let leaf = TrieAccount {
        nonce: told.nonce,
        balance: told.balance,
        storage_root: told.storage_hash,
        code_hash: told.code_hash,
    };
    let mut encoded = Vec::new();
    leaf.encode(&mut encoded);
    let key = Nibbles::unpack(keccak256(account));
    verify_proof(state_root, key, Some(encoded), &told.account_proof).map_err(|error| {
        let problem =
            format!("does not lead from {account} to the state root {state_root}: {error}");
        Wrong { what, problem }
    })?;
    Ok(told.code_hash)
}

/// The code of an account, which hashes to `expected` where that is known.
pub(super) fn code(told: Value, account: Address, expected: Option<B256>) -> Result<Bytes, Wrong> {
    let what = "code";
    let code: Bytes = read(what, told)?;
    let actual = keccak256(&code);
    match expected.filter(|expected| *expected != actual) {
        Some(expected) => {
            Err(Wrong::differs(what, &format!("at {account} hashes to"), actual, expected))
        }
        None => Ok(code),
    }
}

/// Whether `code` holds this word as a constant, as contracts hold their immutables: PUSH32 and the word.
pub(super) fn holds_word(code: &[u8], word: B256) -> bool {
    const PUSH32: u8 = 0x7f;
    code.windows(33).any(|window| window.split_first() == Some((&PUSH32, word.as_slice())))
}
