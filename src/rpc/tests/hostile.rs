//! Clients that want more than their share.

use super::Service;
use crate::domain::Height;
use crate::rpc::RpcLimits;
use crate::rpc::heads::Heads;
use crate::testing::{ROLLUP, key, transaction};
use futures::future::join_all;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn from(address: [u8; 4]) -> reqwest::Client {
    let address = IpAddr::V4(Ipv4Addr::from(address));
    reqwest::Client::builder().local_address(address).build().unwrap()
}

async fn post(client: &reqwest::Client, service: &Service, body: &Value) -> Value {
    let url = format!("http://{}/", service.address);
    let answer = client.post(url).json(body).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

fn call(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// One block with `count` transactions, which nobody had to ask for.
fn block_of(service: &Service, count: u64) {
    let all: Vec<_> = (0..count).map(|nonce| transaction(&key(1), nonce)).collect();
    service.decided.send_replace(service.around.decide(&all));
}

#[tokio::test]
async fn dear_calls_cost_what_they_touch_and_only_the_one_who_asks_pays() {
    // One is served every two seconds: however slow the machine is, it would serve more.
    let limits = RpcLimits { units_per_second: 100, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    block_of(&service, 200);
    // A batch of receipts of the whole block: 20 units and 200 for its transactions each.
    let greedy = from([127, 0, 0, 9]);
    let batch = json!(vec![call("eth_getBlockReceipts", json!(["0x1"])); 100]);
    let answers = join_all((0..4).map(|_| post(&greedy, &service, &batch))).await;
    let answers: Vec<&Value> = answers.iter().flat_map(|one| one.as_array().unwrap()).collect();
    let served = answers.iter().filter(|one| one.get("result").is_some()).count();
    let refused = answers.iter().filter(|one| one["error"]["code"] == -32005).count();
    assert_eq!((answers.len(), served.saturating_add(refused)), (400, 400));
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    let again = post(&greedy, &service, &call("eth_chainId", json!([]))).await;
    // Another address is served as ever.
    let other = post(&from([127, 0, 0, 8]), &service, &call("eth_chainId", json!([]))).await;
    assert_eq!(other["result"], "0x1092", "{other} {again}");
}

#[tokio::test]
async fn what_does_not_fit_an_answer_is_refused_and_never_made() {
    let limits = RpcLimits { response_bytes: 100_000, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    block_of(&service, 150);
    let client = reqwest::Client::new();
    let full = || call("eth_getBlockByNumber", json!(["0x1", true]));
    let short = || call("eth_getBlockByNumber", json!(["0x1", false]));
    assert_eq!(post(&client, &service, &full()).await["error"]["code"], -32008);
    assert!(post(&client, &service, &short()).await["result"].is_object());
    let some = post(&client, &service, &json!([short(), full(), short()])).await;
    let codes: Vec<_> =
        some.as_array().unwrap().iter().map(|one| one["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, Some(-32008), None]);
    let many = post(&client, &service, &json!(vec![short(); 20])).await;
    let codes: Vec<_> =
        many.as_array().unwrap().iter().map(|one| one["error"]["code"].as_i64()).collect();
    assert!(codes.contains(&None) && codes.contains(&Some(-32008)), "{codes:?}");
    assert!(many.to_string().len() <= 101_000);
    // Not even all refusals fit.
    let all = post(&client, &service, &json!(vec![full(); 900])).await;
    assert_eq!(all["error"]["code"], -32008);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = RpcLimits { connections_per_address: 1, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    let first = from([127, 0, 0, 9]);
    let chain = call("eth_chainId", json!([]));
    assert_eq!(post(&first, &service, &chain).await["result"], "0x1092");
    let url = format!("http://{}/", service.address);
    let second = from([127, 0, 0, 9]).post(&url).json(&chain).send().await;
    assert!(second.is_err() || second.unwrap().status() == 503);
    assert_eq!(post(&from([127, 0, 0, 8]), &service, &chain).await["result"], "0x1092");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_head_is_made_for_all_who_subscribe() {
    let service = Service::start(RpcLimits::default()).await;
    block_of(&service, 20);
    let heads = Arc::new(Heads::default());
    let store = &service.around.store;
    let each = (0..100).map(|_| {
        let (heads, store) = (Arc::clone(&heads), store.clone());
        tokio::spawn(
            async move { heads.at(&store, ROLLUP, Height::new(1)).await.unwrap().unwrap() },
        )
    });
    let all: Vec<_> = join_all(each).await.into_iter().map(Result::unwrap).collect();
    assert!(all.iter().all(|head| Arc::ptr_eq(&head.json, &all[0].json)));
    assert_eq!(heads.made(), 1);
}
