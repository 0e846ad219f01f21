//! What clients are told of without asking: subscriptions, filters, and submissions that wait.

use super::Service;
use crate::rpc::RpcLimits;
use crate::testing::{ROLLUP, key, raw_transaction};
use alloy::primitives::B256;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A WebSocket client.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(service: &Service) -> Self {
        let url = format!("ws://{}/", service.address);
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn ask(&mut self, method: &str, params: Value) {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.0.send(Message::text(call.to_string())).await.unwrap();
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(120), self.0.next()).await;
            if let Message::Text(text) = next.unwrap().unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).await;
        self.next().await
    }
}

#[tokio::test]
async fn subscription_ids_are_hexadecimal_texts_and_heads_come_in_order() {
    let service = Service::start(RpcLimits::default()).await;
    let mut client = Client::connect(&service).await;
    let id = client.call("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    let text = id.as_str().unwrap();
    assert!(text.starts_with("0x") && u128::from_str_radix(&text[2..], 16).is_ok(), "{id}");
    for _ in 0..3 {
        service.decide();
    }
    for number in ["0x1", "0x2", "0x3"] {
        let told = client.next().await;
        assert_eq!(
            (&told["method"], &told["params"]["subscription"]),
            (&json!("eth_subscription"), &id)
        );
        assert_eq!(told["params"]["result"]["number"], number);
        let block = service.call("eth_getBlockByNumber", json!([number, false])).await;
        for member in ["hash", "transactionsRoot", "receiptsRoot", "parentHash"] {
            assert_eq!(told["params"]["result"][member], block[member]);
        }
    }
    assert_eq!(client.call("eth_unsubscribe", json!([id])).await["result"], true);
    assert_eq!(client.call("eth_unsubscribe", json!([id])).await["result"], false);
    service.decide();
    assert_eq!(
        client.call("eth_blockNumber", json!([])).await["result"],
        "0x4",
        "no head comes any more"
    );
}

#[tokio::test]
async fn submitted_transactions_are_told_as_hashes_or_whole() {
    let service = Service::start(RpcLimits::default()).await;
    let (mut hashes, mut whole) =
        (Client::connect(&service).await, Client::connect(&service).await);
    hashes.call("eth_subscribe", json!(["newPendingTransactions"])).await;
    whole.call("eth_subscribe", json!(["newPendingTransactions", true])).await;
    for nonce in 0..3 {
        let sent = service.send(1, nonce).await;
        assert_eq!(hashes.next().await["params"]["result"], sent);
        let told = whole.next().await;
        assert_eq!(told["params"]["result"]["hash"], sent);
        assert_eq!(told["params"]["result"]["from"], json!(key(1).address()));
    }
}

#[tokio::test]
async fn logs_are_subscribed_to_and_never_come_and_other_kinds_are_refused() {
    let service = Service::start(RpcLimits::default()).await;
    let mut client = Client::connect(&service).await;
    let criteria = json!({ "address": key(1).address(), "topics": [] });
    for params in [json!(["logs"]), json!(["logs", criteria])] {
        assert!(client.call("eth_subscribe", params).await["result"].is_string());
    }
    for params in [
        json!(["newWeather"]),
        json!([]),
        json!([7]),
        json!(["or"]),
        json!(["logs", { "address": "x" }]),
        json!(["newPendingTransactions", 1]),
    ] {
        let answer = client.call("eth_subscribe", params.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{params}: {answer}");
    }
    let answer = client.call("eth_unsubscribe", json!([1])).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[tokio::test]
async fn subscriptions_and_filters_are_bounded_and_given_back() {
    let limits =
        RpcLimits { subscriptions: 2, subscriptions_per_address: 3, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    let mut client = Client::connect(&service).await;
    let heads = || json!(["newHeads"]);
    let first = client.call("eth_subscribe", heads()).await["result"].clone();
    assert!(client.call("eth_subscribe", heads()).await["result"].is_string());
    let refused = client.call("eth_subscribe", heads()).await;
    assert_eq!(refused["error"]["code"], -32006, "{refused}");
    let filter = service.call("eth_newBlockFilter", json!([])).await;
    let refused = service.call_at("/", "eth_newBlockFilter", json!([])).await;
    assert_eq!(refused["error"]["data"]["limit"], 3, "{refused}");
    // What is unsubscribed or uninstalled makes room again.
    client.call("eth_unsubscribe", json!([first])).await;
    assert_eq!(service.call("eth_uninstallFilter", json!([filter])).await, true);
    assert!(client.call("eth_subscribe", heads()).await["result"].is_string());
    // And so does a connection that ends.
    drop(client);
    loop {
        let mut other = Client::connect(&service).await;
        if other.call("eth_subscribe", heads()).await["result"].is_string()
            && other.call("eth_subscribe", heads()).await["result"].is_string()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn filters_tell_what_is_new_since_the_last_question() {
    let service = Service::start(RpcLimits::default()).await;
    service.decide();
    let blocks = service.call("eth_newBlockFilter", json!([])).await;
    let pending = service.call("eth_newPendingTransactionFilter", json!([])).await;
    let logs = service.call("eth_newFilter", json!([{ "fromBlock": "earliest" }])).await;
    let changes = |filter: &Value| service.call("eth_getFilterChanges", json!([filter]));
    for filter in [&blocks, &pending, &logs] {
        assert_eq!(changes(filter).await, json!([]));
    }
    let sent = [service.send(1, 0).await, service.send(1, 1).await];
    // Also what is decided before the client asks.
    service.decide();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(changes(&pending).await.as_array().unwrap().clone());
    }
    assert_eq!(told, sent);
    assert_eq!(changes(&pending).await, json!([]));
    service.decide();
    let service = &service;
    let hash = |height: &'static str| async move {
        service.call("eth_getBlockByNumber", json!([height, false])).await["hash"].clone()
    };
    assert_eq!(changes(&blocks).await, json!([hash("0x2").await, hash("0x3").await]));
    assert_eq!(changes(&blocks).await, json!([]));
    assert_eq!(changes(&logs).await, json!([]));
    assert_eq!(service.call("eth_getFilterLogs", json!([logs])).await, json!([]));

    assert_eq!(service.call("eth_uninstallFilter", json!([blocks])).await, true);
    assert_eq!(service.call("eth_uninstallFilter", json!([blocks])).await, false);
    for (method, filter) in [
        ("eth_getFilterChanges", &blocks),
        ("eth_getFilterLogs", &blocks),
        ("eth_getFilterLogs", &pending),
        ("eth_getFilterChanges", &json!("0xffffffffffffffffffffffffffffffff")),
    ] {
        let answer = service.call_at("/", method, json!([filter])).await;
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        assert_eq!(answer["error"]["message"], "filter not found");
    }
    for wrong in
        [json!("0x"), json!("0x+1"), json!(1), json!("0x100000000000000000000000000000000")]
    {
        let answer = service.call_at("/", "eth_getFilterChanges", json!([wrong])).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
}

#[tokio::test]
async fn questions_about_logs_are_checked_as_if_there_were_any() {
    let service = Service::start(RpcLimits::default()).await;
    let hash = B256::repeat_byte(7);
    let address = key(1).address();
    let good = [
        json!({}),
        json!({ "address": null, "topics": null }),
        json!({ "address": [address, address], "topics": [null, hash, [hash, hash], []] }),
        json!({ "fromBlock": "0x0", "toBlock": "0xffffffffffffffff" }),
        json!({ "fromBlock": "safe", "toBlock": "pending" }),
    ];
    for criteria in good {
        assert_eq!(service.call("eth_getLogs", json!([criteria])).await, json!([]), "{criteria}");
    }
    let bad = [
        (json!([]), "fromBlock", -32602),
        (json!({ "fromBlock": "soon" }), "fromBlock", -32602),
        (json!({ "toBlock": hash }), "toBlock", -32602),
        (json!({ "fromBlock": "0x2", "toBlock": "0x1" }), "fromBlock", -32602),
        (json!({ "blockHash": hash, "toBlock": "0x1" }), "blockHash", -32602),
        (json!({ "blockHash": "0x12" }), "blockHash", -32602),
        (json!({ "blockHash": hash }), "0x0707", -32001),
        (json!({ "address": "0x12" }), "address", -32602),
        (json!({ "address": [address, 1] }), "address", -32602),
        (json!({ "topics": hash }), "topics", -32602),
        (json!({ "topics": [null, null, null, null, null] }), "topics", -32602),
        (json!({ "topics": ["0x12"] }), "topics", -32602),
    ];
    for (criteria, named, code) in bad {
        for method in ["eth_getLogs", "eth_newFilter"] {
            let answer = service.call_at("/", method, json!([criteria])).await;
            assert_eq!(answer["error"]["code"], code, "{criteria}: {answer}");
            if criteria.is_object() {
                let text = answer["error"]["message"].as_str().unwrap();
                assert!(text.contains(named), "{criteria}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn a_submission_that_waits_is_answered_when_it_is_decided() {
    let service = Service::start(RpcLimits::default()).await;
    let send = |nonce, timeout: Value| {
        let raw = raw_transaction(&key(1), nonce);
        service.call_at("/", "eth_sendRawTransactionSync", json!([raw, timeout]))
    };
    let answer = tokio::select! {
        answer = send(0, json!(20_000)) => answer,
        () = service.keep_deciding() => unreachable!(),
    };
    assert_eq!(answer["result"]["status"], "0x1", "{answer}");
    assert_eq!(answer["result"]["blockNumber"], "0x1");
    // What is decided already is answered at once.
    assert_eq!(send(0, json!(null)).await["result"], answer["result"]);

    // Nobody decides: the error names the hash, and the transaction stays.
    let late = send(1, json!(1)).await;
    assert_eq!(late["error"]["code"], 4, "{late}");
    let hash = late["error"]["data"].clone();
    let waiting = service.call("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(waiting["nonce"], "0x1");
    let gap = send(5, json!("0x4e20")).await;
    assert_eq!((&gap["error"]["code"], &gap["error"]["data"]), (&json!(6), &json!("0x2")), "{gap}");
    let wrong = send(2, json!(-1)).await;
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
}

/// Connects from an address, with room for little in the socket.
async fn connect_from(
    address: [u8; 4],
    service: &Service,
) -> Result<WebSocketStream<TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    socket.bind((address, 0).into())?;
    let stream = socket.connect(service.address.parse().unwrap()).await?;
    let url = format!("ws://{}/", service.address);
    Ok(tokio_tungstenite::client_async(url, stream).await?.0)
}

/// A client that reads nothing: what is told to it waits.
async fn deaf_subscriber(service: &Service, address: [u8; 4], kind: &Value) -> TcpStream {
    let mut client = connect_from(address, service).await.unwrap();
    let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": kind });
    client.send(Message::text(ask.to_string())).await.unwrap();
    client.next().await.unwrap().unwrap();
    client.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_subscribers_are_cut_and_one_that_reads_hears_everything() {
    let request_timeout = Duration::from_secs(2);
    let limits = RpcLimits { request_timeout, connections_per_address: 3, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    let whole = json!(["newPendingTransactions", true]);
    let mut deaf = Vec::new();
    let addresses = [20, 21, 22, 23].map(|last| [127, 0, 0, last]);
    for address in addresses.into_iter().cycle().take(12) {
        deaf.push(deaf_subscriber(&service, address, &whole).await);
    }
    let mut reader = Client::connect(&service).await;
    reader.call("eth_subscribe", whole).await;
    // Far more than sockets hold: 60 transactions of 60 kB, told as JSON. Not submitted by a request, which has to be answered
    // within the time that those who read nothing are given.
    let mut sent = Vec::new();
    let mut told = Vec::new();
    for nonce in 0..60 {
        let raw = crate::testing::raw_transaction_with(&key(1), nonce, 60_000);
        sent.push(json!(service.intake.submit(ROLLUP, raw).await.unwrap()));
        told.push(reader.next().await["params"]["result"]["hash"].clone());
    }
    assert_eq!(told, sent);
    // Consensus was never asked to wait.
    service.decide();
    // The deaf ones are cut though nobody takes what they were told: there is room for as many others from where they are.
    for address in addresses {
        let cut = async {
            loop {
                let others = [
                    connect_from(address, &service).await,
                    connect_from(address, &service).await,
                    connect_from(address, &service).await,
                ];
                if others.iter().all(Result::is_ok) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), cut).await.expect("they are cut");
    }
    // Their bytes end.
    for stream in deaf {
        let mut sink = vec![0; 1 << 16];
        loop {
            stream.readable().await.unwrap();
            match stream.try_read(&mut sink) {
                Ok(0) | Err(_) if stream.peer_addr().is_err() => break,
                Ok(0) => break,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}
