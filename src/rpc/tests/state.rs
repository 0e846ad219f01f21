//! State reads at every way of naming a block.

use super::Service;
use crate::domain::Height;
use crate::rpc::RpcLimits;
use crate::testing::key;
use serde_json::{Value, json};

#[tokio::test]
async fn a_nonce_is_told_at_numbers_hashes_tags_and_objects() {
    let service = Service::start(RpcLimits::default()).await;
    let sender = key(1).address();
    for nonce in 0..3 {
        service.send(1, nonce).await;
        service.decide();
    }
    service.send(1, 3).await;
    let hash = |height| service.around.store.header(Height::new(height)).unwrap().unwrap().0;
    let cases = [
        (json!("latest"), "0x3"),
        (json!("pending"), "0x4"),
        (json!("earliest"), "0x0"),
        // Nothing is settled here: both are block 0.
        (json!("safe"), "0x0"),
        (json!("finalized"), "0x0"),
        (json!("0x0"), "0x0"),
        (json!("0x1"), "0x1"),
        (json!("0x3"), "0x3"),
        (json!(2), "0x2"),
        (json!("2"), "0x2"),
        (json!(null), "0x3"),
        (json!(hash(2)), "0x2"),
        (json!({ "blockNumber": "0x2" }), "0x2"),
        (json!({ "blockNumber": "latest" }), "0x3"),
        (json!({ "blockHash": hash(1) }), "0x1"),
        (json!({ "blockHash": hash(1), "requireCanonical": true }), "0x1"),
        (json!({ "blockHash": hash(3), "requireCanonical": false }), "0x3"),
    ];
    for (block, expected) in cases {
        let told = service.call("eth_getTransactionCount", json!([sender, block])).await;
        assert_eq!(told, expected, "{block}");
        service.call("eth_getBalance", json!([sender, block])).await;
        service.call("eth_getCode", json!([sender, block])).await;
    }
    for block in [
        json!("0x4"),
        json!({ "blockNumber": "0x4" }),
        json!({ "blockHash": key(9).address().into_word() }),
    ] {
        for method in ["eth_getTransactionCount", "eth_getBalance", "eth_getCode"] {
            let answer = service.call_at("/", method, json!([sender, block])).await;
            assert_eq!(answer["error"]["code"], -32001, "{method} {block}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_nonce_that_is_not_kept_any_more_says_from_where_on_they_are() {
    let service = Service::start(RpcLimits::default()).await;
    for nonce in 0..4 {
        service.send(1, nonce).await;
        service.decide();
    }
    service.around.store.settled_for_good_before(Height::new(3)).unwrap();
    let sender = key(1).address();
    let at = |block: Value| service.call_at("/", "eth_getTransactionCount", json!([sender, block]));
    assert_eq!(at(json!("0x2")).await["result"], "0x2", "the last final block is still told");
    let gone = at(json!("0x1")).await;
    assert_eq!(gone["error"]["code"], -32002, "{gone}");
    assert_eq!(gone["error"]["data"], json!({ "field": "block", "first": 2, "actual": 1 }));
    assert_eq!(at(json!("earliest")).await["result"], "0x0");
}
