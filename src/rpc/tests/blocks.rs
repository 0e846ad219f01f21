//! Blocks as clients check them.

use super::Service;
use crate::domain::RollupId;
use crate::l1::Allowance;
use crate::rpc::RpcLimits;
use crate::testing::{key, raw_priced, raw_transaction};
use alloy::consensus::constants::EMPTY_TRANSACTIONS;
use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, TxEnvelope};
use alloy::primitives::{B256, U256};
use alloy::rpc::types::{Block, TransactionReceipt};
use serde_json::{Value, json};

#[tokio::test]
async fn a_block_without_transactions_of_the_rollup_has_the_empty_roots() {
    let service = Service::start(RpcLimits::default()).await;
    let other = RollupId::new(7);
    let open = Allowance::new(0, U256::MAX);
    service.around.mirror.update(|mirror| mirror.rollups.insert(other, open));
    let foreign = raw_priced(&key(2), 0, other, 5);
    service.call_at("/rollup/7", "eth_sendRawTransaction", json!([foreign])).await;
    service.decide();
    let block = service.call("eth_getBlockByNumber", json!(["0x1", true])).await;
    let empty: B256 = EMPTY_ROOT_HASH;
    assert_eq!(block["transactionsRoot"], json!(empty));
    assert_eq!(block["receiptsRoot"], json!(empty));
    assert_eq!(block["sha3Uncles"], json!(EMPTY_OMMER_ROOT_HASH));
    assert_eq!(block["uncles"], json!([]));
    assert_eq!(block["logsBloom"], json!(format!("0x{}", "0".repeat(512))));
    assert_eq!(EMPTY_TRANSACTIONS, empty);
}

#[tokio::test]
async fn the_roots_are_those_of_what_the_block_shows() {
    let service = Service::start(RpcLimits::default()).await;
    for nonce in 0..130 {
        service.send(1, nonce).await;
    }
    service.decide();
    let shown = service.call("eth_getBlockByNumber", json!(["latest", true])).await;
    let block: Block = serde_json::from_value(shown).unwrap();
    let transactions: Vec<TxEnvelope> =
        block.transactions.txns().map(|one| one.inner.inner().clone()).collect();
    assert_eq!(transactions.len(), 130);
    assert_eq!(block.header.inner.transactions_root, calculate_transaction_root(&transactions));

    let receipts = service.call("eth_getBlockReceipts", json!(["latest"])).await;
    let receipts: Vec<TransactionReceipt> = serde_json::from_value(receipts).unwrap();
    let receipts: Vec<_> =
        receipts.into_iter().map(|one| one.inner.map_logs(|log| log.inner)).collect();
    assert_eq!(block.header.inner.receipts_root, calculate_receipt_root(&receipts));
}

#[tokio::test]
async fn blocks_and_transactions_are_read_by_every_index() {
    let service = Service::start(RpcLimits::default()).await;
    let first = service.send(1, 0).await;
    let second = service.send(1, 1).await;
    service.decide();
    let hash = service.call("eth_getBlockByNumber", json!(["latest", false])).await["hash"].clone();
    let raw = |nonce| json!(raw_transaction(&key(1), nonce));
    for (by, block) in [("Number", json!("0x1")), ("Hash", hash)] {
        let ask = |method: &str, params: Value| {
            let method = method.replace('*', by);
            let service = &service;
            async move { service.call(&method, params).await }
        };
        assert_eq!(ask("eth_getBlockTransactionCountBy*", json!([block])).await, "0x2");
        assert_eq!(ask("eth_getUncleCountByBlock*", json!([block])).await, "0x0");
        assert_eq!(ask("eth_getUncleByBlock*AndIndex", json!([block, "0x0"])).await, Value::Null);
        let at =
            |index: &'static str| ask("eth_getTransactionByBlock*AndIndex", json!([block, index]));
        assert_eq!(at("0x0").await["hash"], first);
        assert_eq!(at("0x1").await["hash"], second);
        assert_eq!(at("0x2").await, Value::Null);
        assert_eq!(at("0xffffffffffffffff").await, Value::Null);
        let found = ask("eth_getRawTransactionByBlock*AndIndex", json!([block, "0x1"])).await;
        assert_eq!(found, raw(1));
    }
    assert_eq!(service.call("eth_getRawTransactionByHash", json!([first])).await, raw(0));
    let waiting = service.send(1, 2).await;
    assert_eq!(service.call("eth_getRawTransactionByHash", json!([waiting])).await, raw(2));
    let none = json!([B256::repeat_byte(0xab)]);
    for method in [
        "eth_getRawTransactionByHash",
        "eth_getBlockTransactionCountByHash",
        "eth_getUncleCountByBlockHash",
        "eth_getBlockByHash",
    ] {
        assert_eq!(service.call(method, none.clone()).await, Value::Null, "{method}");
    }
    assert_eq!(service.call("eth_getBlockReceipts", json!(["0x9"])).await, Value::Null);
}

#[tokio::test]
async fn the_pool_is_shown_by_sender_and_nonce() {
    let service = Service::start(RpcLimits::default()).await;
    for nonce in [0, 1, 5] {
        service.send(1, nonce).await;
    }
    let sender = key(1).address();
    let status = service.call("txpool_status", json!([])).await;
    assert_eq!(status, json!({ "pending": "0x2", "queued": "0x1" }));
    let content = service.call("txpool_content", json!([])).await;
    let of = &content["pending"][sender.to_string().to_lowercase()];
    assert_eq!(of["1"]["nonce"], "0x1", "{content}");
    let from = service.call("txpool_contentFrom", json!([sender])).await;
    assert_eq!(from["queued"]["5"]["from"], json!(sender));
    let inspect = service.call("txpool_inspect", json!([])).await;
    let told = &inspect["queued"][sender.to_string().to_lowercase()]["5"];
    assert!(told.as_str().unwrap().contains("1 wei + 21000 gas"), "{inspect}");
}
