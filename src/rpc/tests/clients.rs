//! Real clients: alloy over HTTP and WebSocket, and cast.

use super::Service;
use crate::domain::RollupId;
use crate::l1::Allowance;
use crate::rpc::RpcLimits;
use alloy::eips::BlockNumberOrTag;
use alloy::network::TransactionBuilder as _;
use alloy::primitives::{Address, U256, address, b256};
use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The first account that Anvil makes.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const SENDER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const TO: &str = "0x00000000000000000000000000000000000000aa";

/// What cast prints; an error if it complains. Its launcher exits with 0 all the same, so the complaint counts.
async fn cast(arguments: &[&str]) -> Result<String, String> {
    let cast = concat!(env!("CARGO_MANIFEST_DIR"), "/node_modules/.bin/cast");
    let run = Command::new(cast).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), run).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    let (answer, complaint) = (text(output.stdout), text(output.stderr));
    if complaint.contains("Error") { Err(complaint) } else { Ok(answer) }
}

#[tokio::test]
async fn cast_sends_and_tracks_at_a_rollups_own_path() {
    let service = Service::start(RpcLimits::default()).await;
    let url = format!("http://{}/rollup/4242", service.address);
    let at = |arguments: &[&str]| {
        let mut all: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        all.extend(["--rpc-url".to_owned(), url.clone()]);
        async move { cast(&all.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap() }
    };
    let client = async {
        assert_eq!(at(&["chain-id"]).await, "4242");
        let send = |more: &[&str]| {
            let mut all = vec!["send", "--json", "--private-key", KEY, TO, "--value", "1"];
            all.extend(more);
            let sent = at(&all);
            async move { serde_json::from_str::<Value>(&sent.await).unwrap() }
        };
        let dynamic = send(&[]).await;
        let legacy = send(&["--legacy"]).await;
        let listed = send(&["--access-list", "[]"]).await;
        for (receipt, kind) in [(&dynamic, "0x2"), (&legacy, "0x0"), (&listed, "0x2")] {
            assert_eq!(receipt["status"], "0x1", "{receipt}");
            assert_eq!(receipt["type"], kind, "{receipt}");
        }
        assert_eq!(at(&["nonce", &SENDER.to_string()]).await, "3");

        let make = [
            "mktx",
            "--private-key",
            KEY,
            "--rpc-url",
            &url,
            TO,
            "transfer(address,uint256)",
            TO,
            "7",
        ];
        let signed = cast(&make).await.unwrap();
        let published: Value = serde_json::from_str(&at(&["publish", &signed]).await).unwrap();
        let hash = published["transactionHash"].as_str().unwrap().to_owned();
        let receipt: Value =
            serde_json::from_str(&at(&["receipt", "--json", &hash]).await).unwrap();
        assert_eq!(receipt["blockNumber"], published["blockNumber"]);
        let found: Value = serde_json::from_str(&at(&["tx", "--json", &hash]).await).unwrap();
        assert_eq!(found["from"], format!("{SENDER:#x}"));

        assert_eq!(at(&["block-number"]).await, "4");
        let block: Value =
            serde_json::from_str(&at(&["block", "--json", "--full", "latest"]).await).unwrap();
        assert_eq!(block["transactions"][0]["hash"], hash.as_str());
        assert_eq!(at(&["code", TO]).await, "0x");
        assert_ne!(at(&["balance", TO]).await, "0");
        at(&["gas-price"]).await;
        at(&["estimate", TO, "--value", "1"]).await;
        let call = ["call", "--rpc-url", &url, TO, "name()"];
        let unexecuted = cast(&call).await.unwrap_err();
        assert!(unexecuted.contains("ask a follower of the rollup"), "{unexecuted}");

        let refused = cast(&["publish", "--rpc-url", &url, "0x03c0"]).await.unwrap_err();
        assert!(refused.contains("blob transactions"), "{refused}");
    };
    tokio::select! {
        () = client => {}
        () = service.keep_deciding() => {}
    }
}

#[tokio::test]
async fn alloy_sends_and_waits_over_http_and_websocket() {
    let service = Service::start(RpcLimits::default()).await;
    let wallet: PrivateKeySigner = KEY.parse().unwrap();
    let http = format!("http://{}/", service.address).parse().unwrap();
    let over_http = ProviderBuilder::new().wallet(wallet.clone()).connect_http(http);
    over_http.client().set_poll_interval(Duration::from_millis(50));
    let socket = WsConnect::new(format!("ws://{}/rollup/4242", service.address));
    let over_socket = ProviderBuilder::new().wallet(wallet).connect_ws(socket).await.unwrap();
    let request = || {
        let to = Address::repeat_byte(0xaa);
        TransactionRequest::default().with_to(to).with_value(U256::from(1))
    };
    let client = async {
        let sent = over_http.send_transaction(request()).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        assert_eq!(receipt.from, SENDER);

        let mut heads = over_socket.subscribe_blocks().await.unwrap().into_stream();
        let sent = over_socket.send_transaction(request()).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        // Each head comes, in order: the transaction's among them.
        let mut head = heads.next().await.unwrap();
        while Some(head.hash) != receipt.block_hash {
            let next = heads.next().await.unwrap();
            assert_eq!(next.number, head.number.saturating_add(1));
            head = next;
        }
        let number = BlockNumberOrTag::Number(head.number);
        let block = over_socket.get_block_by_number(number).full().await.unwrap();
        let block = block.unwrap();
        assert_eq!(block.header.hash, head.hash);
        assert_eq!(block.transactions.len(), 1);
        assert_eq!(block.transactions.txns().next().unwrap().inner.signer(), SENDER);
    };
    tokio::select! {
        () = client => {}
        () = service.keep_a_pace() => {}
    }
}

#[tokio::test]
async fn rollups_do_not_see_each_others_transactions() {
    let service = Service::start(RpcLimits::default()).await;
    let other = RollupId::new(7);
    service
        .around
        .mirror
        .update(|mirror| mirror.rollups.insert(other, Allowance::new(0, U256::MAX)));
    let hash = service.send(1, 0).await;
    let foreign = crate::testing::raw_priced(&crate::testing::key(2), 0, other, 5);
    let sent = service.call_at("/rollup/7", "eth_sendRawTransaction", json!([foreign])).await;
    let foreign = sent["result"].clone();
    service.decide();

    for (path, own, others) in [("/", &hash, &foreign), ("/rollup/7", &foreign, &hash)] {
        let found = service.call_at(path, "eth_getTransactionReceipt", json!([own])).await;
        assert_eq!(found["result"]["transactionIndex"], "0x0", "{found}");
        let found = service.call_at(path, "eth_getTransactionReceipt", json!([others])).await;
        assert_eq!(found["result"], Value::Null);
        let block = service.call_at(path, "eth_getBlockByNumber", json!(["latest", false])).await;
        assert_eq!(block["result"]["transactions"], json!([own]));
    }
    let unknown = b256!("00000000000000000000000000000000000000000000000000000000000000aa");
    assert_eq!(service.call("eth_getTransactionByHash", json!([unknown])).await, Value::Null);
}
