//! A node of L1 as one agent reaches it.

use super::{CHAIN, Inner, MIN_TIP, World};
use crate::l1::client::Client;
use crate::l1::facts;
use alloy::consensus::Transaction as _;
use alloy::consensus::transaction::Recovered;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{
    ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy::rpc::types::{Block, Filter, Log, Transaction};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// How a node behaves, in a thousand answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whims {
    /// Answers that are a block behind, and many blocks behind.
    pub(crate) behind: u32,
    pub(crate) far_behind: u32,
    /// Requests that fail, half of them after they had their effect.
    pub(crate) fails: u32,
}

/// How many blocks a node is behind that is far behind.
const FAR: usize = 12;

#[derive(Debug)]
struct Habits {
    whims: Whims,
    random: StdRng,
    asked: u64,
}

/// A node as one agent reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    world: World,
    habits: Arc<Mutex<Habits>>,
}

impl Node {
    pub(crate) fn new(world: &World, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let habits = Habits { whims: Whims::default(), random, asked: 0 };
        Self { world: world.clone(), habits: Arc::new(Mutex::new(habits)) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::over(RpcClient::new(self.clone(), true), CHAIN)
    }

    pub(crate) fn behaves(&self, whims: Whims) {
        self.habits.lock().unwrap().whims = whims;
    }

    /// How many requests it has had.
    pub(crate) fn asked(&self) -> u64 {
        self.habits.lock().unwrap().asked
    }

    fn answer(&self, request: &SerializedRequest) -> Result<Response, TransportError> {
        let (lag, fails, before) = {
            let mut habits = self.habits.lock().unwrap();
            let Habits { whims, random, asked } = &mut *habits;
            *asked += 1;
            let lag = match random.gen_range(0..1_000) {
                roll if roll < whims.far_behind => FAR,
                roll if roll < whims.far_behind + whims.behind => 1,
                _ => 0,
            };
            (lag, random.gen_range(0..1_000) < whims.fails, random.gen_bool(0.5))
        };
        if fails && before {
            return Err(TransportErrorKind::custom_str("connection refused"));
        }
        let params: Value = request
            .params()
            .map_or(Value::Null, |params| serde_json::from_str(params.get()).unwrap());
        let result = self.world.lock().call(request.method(), &params, lag);
        if fails {
            return Err(TransportErrorKind::custom_str("connection reset"));
        }
        let payload = match result {
            Ok(value) => ResponsePayload::Success(serde_json::value::to_raw_value(&value).unwrap()),
            Err(message) => {
                let is_unknown = message.contains("does not exist");
                let code = if is_unknown { -32_601 } else { -32_000 };
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
                RequestPacket::Single(one) => node.answer(&one).map(ResponsePacket::Single),
                RequestPacket::Batch(_) => unreachable!("the client sends no batches"),
            }
        })
    }
}

impl Inner {
    fn call(&mut self, method: &str, params: &Value, lag: usize) -> Result<Value, String> {
        let newest = (self.blocks.len() - 1).saturating_sub(lag);
        match method {
            "eth_getBlockByNumber" => {
                let place = match params[0].as_str().unwrap() {
                    "latest" => newest,
                    number => usize::try_from(number_of(number)).unwrap(),
                };
                let block = self.blocks.get(place).filter(|_| place <= newest);
                Ok(block.map_or(Value::Null, |block| {
                    let header = alloy::rpc::types::Header {
                        hash: block.hash,
                        inner: block.header.clone(),
                        total_difficulty: None,
                        size: None,
                    };
                    serde_json::to_value(Block::<Transaction>::empty(header)).unwrap()
                }))
            }
            "eth_getLogs" => {
                let filter: Filter = serde_json::from_value(params[0].clone()).unwrap();
                self.logs(&filter, newest)
            }
            "eth_getCode" => {
                let address: Address = serde_json::from_value(params[0].clone()).unwrap();
                Ok(json!(self.codes.get(&address).cloned().unwrap_or_default()))
            }
            "eth_getTransactionByHash" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                Ok(self.transaction(hash, newest))
            }
            "eth_getTransactionBySenderAndNonce" => {
                let from: Address = serde_json::from_value(params[0].clone()).unwrap();
                let nonce: U256 = serde_json::from_value(params[1].clone()).unwrap();
                let waiting = self.pool.get(&(from, nonce.to())).map(|one| *one.tx_hash());
                Ok(waiting.map_or(Value::Null, |hash| self.transaction(hash, newest)))
            }
            "eth_getTransactionReceipt" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                let found = self.place_of(hash, newest);
                Ok(found.map_or(Value::Null, |(place, ok)| self.receipt(hash, place, ok)))
            }
            "eth_getTransactionCount" => {
                let account: Address = serde_json::from_value(params[0].clone()).unwrap();
                self.count(account, &params[1], newest)
            }
            "eth_feeHistory" => {
                let base = hex(self.base);
                Ok(json!({
                    "oldestBlock": "0x1",
                    "baseFeePerGas": [base.clone(), base],
                    "gasUsedRatio": [0.5],
                    "reward": [["0x1"]],
                }))
            }
            "eth_maxPriorityFeePerGas" => Ok(json!(hex(MIN_TIP))),
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(params[0].clone()).unwrap();
                self.take(&raw).map(|hash| json!(hash))
            }
            "eth_estimateGas" => Ok(json!("0x186a0")),
            "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
            other => Err(format!("the method {other} does not exist/is not available")),
        }
    }

    fn logs(&self, filter: &Filter, newest: usize) -> Result<Value, String> {
        let places: Vec<usize> = match filter.get_block_hash() {
            Some(hash) => {
                let found = self.blocks[..=newest].iter().position(|block| block.hash == hash);
                vec![found.ok_or("unknown block")?]
            }
            None => {
                let [from, to] = [filter.get_from_block(), filter.get_to_block()]
                    .map(|number| usize::try_from(number.unwrap_or_default()).unwrap());
                (from..=to.min(newest)).collect()
            }
        };
        let mut found = Vec::new();
        for place in places {
            let block = &self.blocks[place];
            for (index, (address, data, tx)) in block.logs.iter().enumerate() {
                let inner = alloy::primitives::Log { address: *address, data: data.clone() };
                if !facts::passes(filter, &inner) {
                    continue;
                }
                found.push(Log {
                    inner,
                    block_hash: Some(block.hash),
                    block_number: Some(block.header.number),
                    block_timestamp: Some(block.header.timestamp),
                    transaction_hash: Some(*tx),
                    transaction_index: Some(0),
                    log_index: Some(u64::try_from(index).unwrap()),
                    removed: false,
                });
            }
        }
        Ok(serde_json::to_value(found).unwrap())
    }

    fn transaction(&self, hash: B256, newest: usize) -> Value {
        let Some((from, transaction)) = self.sent.get(&hash) else { return Value::Null };
        let waits = self.pool.get(&(*from, transaction.nonce()));
        let place = self.place_of(hash, newest);
        if place.is_none() && waits.is_none_or(|one| *one.tx_hash() != hash) {
            return Value::Null;
        }
        let block = place.map(|(place, _)| &self.blocks[place]);
        serde_json::to_value(Transaction {
            inner: Recovered::new_unchecked(transaction.clone(), *from),
            block_hash: block.map(|block| block.hash),
            block_number: block.map(|block| block.header.number),
            transaction_index: block.map(|_| 0),
            effective_gas_price: None,
            block_timestamp: None,
        })
        .unwrap()
    }

    fn receipt(&self, hash: B256, place: usize, succeeded: bool) -> Value {
        let block = &self.blocks[place];
        let (from, transaction) = &self.sent[&hash];
        json!({
            "transactionHash": hash,
            "transactionIndex": "0x0",
            "blockHash": block.hash,
            "blockNumber": hex(block.header.number),
            "from": from,
            "to": transaction.to(),
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

    fn count(&self, account: Address, block: &Value, newest: usize) -> Result<Value, String> {
        if block == "latest" {
            return Ok(json!(hex(self.nonce(newest, account))));
        }
        if block == "pending" {
            let mut pending = self.nonce(newest, account);
            while self.pool.contains_key(&(account, pending)) {
                pending += 1;
            }
            return Ok(json!(hex(pending)));
        }
        let hash = block.get("blockHash").unwrap_or(block);
        let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
        let place = self.blocks[..=newest].iter().position(|block| block.hash == hash);
        let place = place.ok_or("header not found")?;
        Ok(json!(hex(self.nonce(place, account))))
    }
}

fn hex(number: impl Into<u128>) -> String {
    format!("0x{:x}", number.into())
}

fn number_of(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}
