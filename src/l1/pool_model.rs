//! A model of an L1 node with a pool, for tests: it answers the real client in the same process, without sockets, so that
//! time may be paused. It keeps one account and the batches that this account settles.
//!
//! The rules are those of geth's pool: a nonce is included once, in order; a replacement pays 110 % on both fees; a minimum
//! tip; a bound on what waits. Beside them what nodes do to each other's users: they lag, do not show what waits, forget,
//! fail before or after they took something.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::flights::Span;
use super::settlement;
use alloy::consensus::transaction::{Recovered, SignerRecoverable as _};
use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::json_rpc::{
    ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy::rpc::types::Transaction;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) const GWEI: u128 = 1_000_000_000;
/// What of one account waits at most.
const POOL_SLOTS: usize = 16;
/// Transactions of the account in one block.
const PER_BLOCK: usize = 3;

/// What `eth_getTransactionCount` says of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// All that waits.
    All,
    /// What waited a while ago.
    Late,
    /// Nothing: it answers as if only what was included were there, and knows no transaction that waits.
    Nothing,
}

/// How this node behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) shows: Shows,
    /// The least tip, and whether a refusal names it.
    pub(crate) min_tip: u128,
    pub(crate) names_minimum: bool,
    /// `eth_maxPriorityFeePerGas` exists, and names the least tip.
    pub(crate) tells_tip: bool,
    /// `eth_getTransactionBySenderAndNonce` exists.
    pub(crate) finds_by_nonce: bool,
    /// In a thousand: requests that fail, half of them after they had their effect.
    pub(crate) fails: u32,
    /// In a thousand: blocks after which something that waits is forgotten.
    pub(crate) forgets: u32,
    /// The base fee moves between 1 gwei and this, in gwei.
    pub(crate) highest_base: u128,
}

impl Rules {
    /// A node without whims.
    pub(crate) const fn plain() -> Self {
        Self {
            shows: Shows::All,
            min_tip: 1,
            names_minimum: true,
            tells_tip: true,
            finds_by_nonce: true,
            fails: 0,
            forgets: 0,
            highest_base: 20,
        }
    }
}

/// A transaction that waits.
#[derive(Clone, Debug)]
struct Waiting {
    hash: B256,
    transaction: TxEnvelope,
    span: Option<Span>,
}

#[derive(Clone, Debug)]
pub(crate) struct Mined {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) settled: u64,
    nonce: u64,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) base: u128,
    /// Settled heights.
    pub(crate) settled: u64,
    pub(crate) nonce: u64,
    pool: BTreeMap<u64, Waiting>,
    shown: Vec<u64>,
    included: BTreeMap<B256, (u64, Option<Address>, bool)>,
    pub(crate) blocks: Vec<Mined>,
    /// Transactions that pools were asked to take, and those that were included and did nothing for it.
    pub(crate) sends: u64,
    pub(crate) reverted: u64,
    /// Requests that change nothing.
    pub(crate) reads: u64,
    /// Batches that were in two transactions of the pool at one time.
    pub(crate) doubled: Vec<(u64, u64)>,
    random: StdRng,
}

/// A node as its users reach it.
#[derive(Clone, Debug)]
pub(crate) struct Node(Arc<Mutex<Model>>);

impl Node {
    pub(crate) fn new(seed: u64, rules: Rules, nonce: u64) -> Self {
        let mut model = Model {
            rules,
            base: GWEI,
            settled: 0,
            nonce,
            pool: BTreeMap::new(),
            shown: Vec::new(),
            included: BTreeMap::new(),
            blocks: Vec::new(),
            sends: 0,
            reverted: 0,
            reads: 0,
            doubled: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        };
        model.mine();
        Self(Arc::new(Mutex::new(model)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    async fn answer(self, request: SerializedRequest) -> Result<Response, TransportError> {
        let (delay, fails) = {
            let mut model = self.lock();
            let delay = model.random.gen_range(0..200);
            let fails = model.random.gen_range(0..1_000) < model.rules.fails;
            (Duration::from_millis(delay), fails)
        };
        // The way there and the way back: whoever asks may be gone between.
        tokio::time::sleep(delay).await;
        if fails && self.lock().random.gen_bool(0.5) {
            return Err(TransportErrorKind::custom_str("connection refused"));
        }
        let params: Value = request
            .params()
            .map_or(Value::Null, |params| serde_json::from_str(params.get()).unwrap());
        let result = self.lock().call(request.method(), &params);
        tokio::time::sleep(delay).await;
        if fails {
            return Err(TransportErrorKind::custom_str("connection reset"));
        }
        let payload = match result {
            Ok(value) => ResponsePayload::Success(serde_json::value::to_raw_value(&value).unwrap()),
            Err(message) => {
                let code = -32_000;
                ResponsePayload::Failure(ErrorPayload { code, message: message.into(), data: None })
            }
        };
        Ok(Response { id: request.id().clone(), payload })
    }
}

impl tower::Service<RequestPacket> for Node {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let node = self.clone();
        Box::pin(async move {
            match packet {
                RequestPacket::Single(one) => node.answer(one).await.map(ResponsePacket::Single),
                RequestPacket::Batch(_) => unreachable!("the client sends no batches"),
            }
        })
    }
}

impl Model {
    fn call(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        if method != "eth_sendRawTransaction" {
            self.reads += 1;
        }
        match method {
            "eth_getTransactionCount" => self.count(&params[1]).map(|count| json!(hex(count))),
            "eth_feeHistory" => {
                let base = hex(self.base);
                Ok(json!({
                    "oldestBlock": "0x1",
                    "baseFeePerGas": [base.clone(), base],
                    "gasUsedRatio": [0.5],
                    "reward": [["0x1"]],
                }))
            }
            "eth_maxPriorityFeePerGas" if self.rules.tells_tip => {
                Ok(json!(hex(self.rules.min_tip)))
            }
            "eth_sendRawTransaction" => {
                self.sends += 1;
                let raw: Bytes = serde_json::from_value(params[0].clone()).unwrap();
                self.take(&raw).map(|hash| json!(hash))
            }
            "eth_getTransactionByHash" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                let shown = self.rules.shows != Shows::Nothing;
                let found = self.pool.values().find(|waiting| shown && waiting.hash == hash);
                Ok(found.map_or(Value::Null, answer_of))
            }
            "eth_getTransactionBySenderAndNonce" if self.rules.finds_by_nonce => {
                let nonce: U256 = serde_json::from_value(params[1].clone()).unwrap();
                Ok(self.pool.get(&nonce.to()).map_or(Value::Null, answer_of))
            }
            "eth_estimateGas" => Ok(json!("0x186a0")),
            // Whatever a contract is asked: nothing of it.
            "eth_call" => Ok(json!(format!("0x{}", "00".repeat(32 * 32)))),
            "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
            "eth_getTransactionReceipt" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                Ok(self.included.get(&hash).map_or(Value::Null, |(number, to, succeeded)| {
                    receipt(hash, *number, *to, *succeeded)
                }))
            }
            other => Err(format!("the method {other} does not exist/is not available")),
        }
    }

    fn count(&mut self, block: &Value) -> Result<u64, String> {
        if block == "latest" {
            return Ok(self.nonce);
        }
        if block == "pending" {
            let mut pending = self.nonce;
            while self.pool.contains_key(&pending) {
                pending += 1;
            }
            self.shown.push(pending);
            return Ok(match self.rules.shows {
                Shows::All => pending,
                Shows::Nothing => self.nonce,
                Shows::Late => {
                    let late = self.shown.iter().rev().nth(3).copied().unwrap_or(self.nonce);
                    late.max(self.nonce)
                }
            });
        }
        let hash = block.get("blockHash").unwrap_or(block);
        let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
        let block = self.blocks.iter().find(|block| block.hash == hash);
        block.map(|block| block.nonce).ok_or_else(|| "header not found".to_owned())
    }

    /// What a pool does with a transaction.
    fn take(&mut self, raw: &[u8]) -> Result<B256, String> {
        let transaction = TxEnvelope::decode_2718(&mut &*raw).unwrap();
        let (hash, nonce) = (*transaction.tx_hash(), transaction.nonce());
        let tip = transaction.max_priority_fee_per_gas().unwrap();
        let cap = transaction.max_fee_per_gas();
        assert!(tip <= cap, "max priority fee per gas higher than max fee per gas");
        if nonce < self.nonce {
            return Err(format!("nonce too low: next nonce {}, tx nonce {nonce}", self.nonce));
        }
        if self.pool.get(&nonce).is_some_and(|before| before.hash == hash) {
            return Err("already known".to_owned());
        }
        if tip < self.rules.min_tip {
            let minimum = self.rules.min_tip;
            return Err(match self.rules.names_minimum {
                true => {
                    format!("transaction underpriced: tip needed {minimum}, tip permitted {tip}")
                }
                false => "transaction underpriced".to_owned(),
            });
        }
        if nonce > self.nonce + 64 {
            return Err(format!("nonce too high: tx nonce {nonce}, state nonce {}", self.nonce));
        }
        match self.pool.get(&nonce) {
            Some(before) => {
                let old = &before.transaction;
                let enough = |new: u128, old: u128| new * 100 >= old * 110;
                let old_tip = old.max_priority_fee_per_gas().unwrap();
                if !enough(cap, old.max_fee_per_gas()) || !enough(tip, old_tip) {
                    return Err("replacement transaction underpriced".to_owned());
                }
            }
            None if self.pool.len() >= POOL_SLOTS => return Err("txpool is full".to_owned()),
            None => {}
        }
        let span = settlement::span_of(transaction.input());
        self.pool.insert(nonce, Waiting { hash, transaction, span });
        self.look_for_doubles();
        Ok(hash)
    }

    /// Batches that are in two transactions of which both would be paid for.
    fn look_for_doubles(&mut self) {
        let spans: Vec<(u64, Span)> = self
            .pool
            .range(self.nonce..)
            .filter_map(|(nonce, waiting)| Some((*nonce, waiting.span?)))
            .collect();
        for (index, (nonce, span)) in spans.iter().enumerate() {
            for (other, later) in spans.iter().skip(index + 1) {
                if span.first <= later.last && later.first <= span.last {
                    self.doubled.push((*nonce, *other));
                }
            }
        }
    }

    /// Puts something into the pool that the agent's process knows nothing of.
    pub(crate) fn plant(&mut self, raw: &[u8]) {
        self.take(raw).unwrap();
        self.sends = 0;
    }

    /// The next block.
    pub(crate) fn mine(&mut self) {
        let number = u64::try_from(self.blocks.len()).unwrap() + 1;
        for _ in 0..PER_BLOCK {
            let Some(waiting) = self.pool.get(&self.nonce) else { break };
            if waiting.transaction.max_fee_per_gas() < self.base + self.rules.min_tip {
                break;
            }
            let waiting = self.pool.remove(&self.nonce).unwrap();
            self.nonce += 1;
            let mut succeeded = true;
            if let Some(span) = waiting.span {
                succeeded = span.first.get() == self.settled + 1;
                match succeeded {
                    true => self.settled = span.last.get(),
                    false => self.reverted += 1,
                }
            }
            let to = waiting.transaction.to();
            self.included.insert(waiting.hash, (number, to, succeeded));
        }
        // A walk with jumps.
        let highest = self.rules.highest_base * GWEI;
        self.base = match self.random.gen_range(0..20) {
            0 => self.random.gen_range(GWEI..=highest),
            1..=9 => (self.base * 9 / 8).min(highest),
            _ => (self.base * 7 / 8).max(GWEI),
        };
        if self.random.gen_range(0..1_000) < self.rules.forgets {
            let nonces: Vec<u64> = self.pool.keys().copied().collect();
            if !nonces.is_empty() {
                let place = self.random.gen_range(0..nonces.len());
                self.pool.remove(&nonces[place]);
            }
        }
        let hash = keccak256(number.to_be_bytes());
        self.blocks.push(Mined { number, hash, settled: self.settled, nonce: self.nonce });
    }

    /// L1 takes back what was included in its last `blocks` blocks, and no pool has it.
    pub(crate) fn take_back(&mut self, blocks: usize) {
        let last = self.blocks[self.blocks.len() - 1 - blocks].clone();
        (self.nonce, self.settled) = (last.nonce, last.settled);
        self.included.retain(|_, (number, ..)| *number <= last.number);
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> usize {
        self.pool.len()
    }

    pub(crate) fn random(&mut self, end: u64) -> u64 {
        self.random.gen_range(0..end)
    }
}

fn hex(number: impl Into<u128>) -> String {
    format!("0x{:x}", number.into())
}

fn answer_of(waiting: &Waiting) -> Value {
    let signer = waiting.transaction.recover_signer().unwrap();
    let inner = Recovered::new_unchecked(waiting.transaction.clone(), signer);
    let transaction = Transaction {
        inner,
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
    };
    serde_json::to_value(transaction).unwrap()
}

fn receipt(hash: B256, number: u64, to: Option<Address>, succeeded: bool) -> Value {
    json!({
        "transactionHash": hash,
        "transactionIndex": "0x0",
        "blockHash": keccak256(number.to_be_bytes()),
        "blockNumber": hex(number),
        "from": Address::ZERO,
        "to": to,
        "cumulativeGasUsed": "0x5208",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x1",
        "contractAddress": null,
        "logs": [],
        "logsBloom": format!("0x{}", "00".repeat(256)),
        "type": "0x2",
        "status": if succeeded { "0x1" } else { "0x0" },
    })
}
