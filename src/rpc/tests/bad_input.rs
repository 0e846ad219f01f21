use super::Service;
use crate::domain::RollupId;
use crate::rpc::RpcLimits;
use crate::testing::{ROLLUP, key, raw_priced, raw_transaction};
use alloy::primitives::hex;
use serde_json::{Value, json};

fn call(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

#[tokio::test]
async fn each_bad_input_gets_a_code_and_the_name_of_what_is_wrong() {
    let service = Service::start(RpcLimits::default()).await;
    let raw = raw_transaction(&key(1), 0);
    let cut = format!("0x{}", hex::encode(&raw[..raw.len() - 1]));
    let foreign = raw_priced(&key(1), 0, RollupId::new(7), 1);
    let address = "0x00000000000000000000000000000000000000aa";
    let hash = format!("0x{}", "ab".repeat(32));
    let send = "eth_sendRawTransaction";
    let argument = -32602;
    let cases = [
        ("/", String::new(), -32700, "parse error"),
        ("/", "{".into(), -32700, "parse error"),
        ("/", "7".into(), -32600, "an object"),
        ("/", r#"{"jsonrpc":"2.0","id":1}"#.into(), -32600, "method"),
        ("/", "[]".into(), -32600, "at least one"),
        ("/", call("eth_mine", &json!([])), -32601, "eth_mine"),
        ("/rollup/x", call("eth_chainId", &json!([])), -32031, "/rollup/x"),
        ("/elsewhere", call("rota_status", &json!([])), -32031, "/elsewhere"),
        ("/rollup/7", call("eth_chainId", &json!([])), -32016, "rollup 7"),
        ("/", call(send, &json!({ "raw": raw })), argument, "transaction; found \"raw\""),
        ("/", call(send, &json!([raw, 1])), argument, "2 arguments"),
        ("/", call(send, &json!([])), argument, "transaction"),
        ("/", call(send, &json!([1])), argument, "transaction"),
        ("/", call(send, &json!(["f86b"])), argument, "0x"),
        ("/", call(send, &json!(["0xf"])), argument, "transaction"),
        ("/", call(send, &json!(["0x"])), -32011, "empty"),
        ("/", call(send, &json!([cut])), -32011, "does not decode"),
        ("/", call(send, &json!(["0x05c0"])), -32011, "type 5"),
        ("/", call(send, &json!(["0x03c0"])), -32012, "type 3"),
        ("/", call(send, &json!([foreign])), -32015, "rollup 4242"),
        ("/", call(send, &json!([format!("0x{}", "02".repeat(70_000))])), -32010, "70000"),
        ("/", call("eth_getTransactionCount", &json!([])), argument, "address"),
        ("/", call("eth_getTransactionCount", &json!(["0x12"])), argument, "40 hex"),
        ("/", call("eth_getTransactionCount", &json!([address, "soon"])), argument, "block"),
        ("/", call("eth_getTransactionCount", &json!([address, "0x9"])), -32001, "0x9"),
        ("/", call("eth_getTransactionCount", &json!([address, hash])), -32001, "0xabab"),
        ("/", call("eth_getBalance", &json!([address, "0x9"])), -32001, "0x9"),
        ("/", call("eth_getCode", &json!([address, { "blockHash": hash }])), -32001, "0xabab"),
        ("/", call("eth_getCode", &json!([address, {}])), argument, "block"),
        (
            "/",
            call("eth_getCode", &json!([address, { "blockHash": hash, "blockNumber": "0x0" }])),
            argument,
            "block",
        ),
        ("/", call("eth_call", &json!([{ "to": address }])), -32004, "follower"),
        ("/", call("eth_getStorageAt", &json!([address, "0x0", "latest"])), -32004, "follower"),
        ("/", call("eth_getTransactionByHash", &json!(["0xab"])), argument, "32 bytes"),
        ("/", call("eth_getTransactionReceipt", &json!([hash, 2])), argument, "2 arguments"),
        ("/", call("eth_getBlockByNumber", &json!(["-1", true])), argument, "block"),
        ("/", call("eth_getBlockByNumber", &json!(["latest", "yes"])), argument, "full"),
        ("/", call("eth_getBlockByHash", &json!(["latest", true])), argument, "hash"),
        ("/", call("eth_feeHistory", &json!([0, "latest"])), argument, "blockCount"),
        ("/", call("eth_feeHistory", &json!([1025, "latest"])), argument, "1024"),
        ("/", call("eth_feeHistory", &json!([1, "0x9"])), -32001, "0x9"),
        ("/", call("eth_feeHistory", &json!([1, "latest", [9, 3]])), argument, "ascending"),
        ("/", call("eth_estimateGas", &json!([])), argument, "transaction"),
        ("/", call("eth_estimateGas", &json!([{ "to": "bob" }])), argument, "transaction"),
        ("/", call("eth_subscribe", &json!(["newHeads"])), -32601, "WebSocket"),
        ("/", call("rota_schedule", &json!([0, 0, 257])), argument, "256"),
        ("/", call("rota_schedule", &json!(["one"])), argument, "epoch"),
        ("/", call("rota_getBatch", &json!(["safe"])), argument, "batch"),
        ("/", call("rota_getTransaction", &json!([7])), argument, "hash"),
    ];
    for (path, body, code, named) in cases {
        let shown: String = body.chars().take(120).collect();
        let (_, answer) = service.post(path, body).await;
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{shown}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(named), "{shown}: {answer}");
    }
    // Nothing of this stuck, and the service goes on.
    assert_eq!(service.pool.waiting().transactions, 0);
    assert_eq!(service.call("eth_chainId", json!([])).await, "0x1092");
}

#[tokio::test]
async fn an_error_says_field_expected_and_actual() {
    let service = Service::start(RpcLimits::default()).await;
    service.send(1, 0).await;
    let answer = service.call_at("/", "eth_getBalance", json!(["0x12"])).await;
    assert_eq!(
        answer["error"]["data"],
        json!({
            "field": "address", "position": 0, "actual": "\"0x12\"",
            "expected": "an address, 0x and 40 hexadecimal digits",
        })
    );
    service.decide();
    let low = raw_priced(&key(1), 0, ROLLUP, 7);
    let answer = service.call_at("/", "eth_sendRawTransaction", json!([low])).await;
    assert_eq!(answer["error"]["code"], -32017);
    assert_eq!(answer["error"]["message"], "nonce too low: next nonce 1, transaction nonce 0");
    assert_eq!(answer["error"]["data"], json!({ "field": "nonce", "expected": 1, "actual": 0 }));
}

#[tokio::test]
async fn what_is_no_json_rpc_is_told_so() {
    let service = Service::start(RpcLimits::default()).await;
    let url = format!("http://{}/", service.address);
    let http = reqwest::Client::new();
    let get = http.get(&url).send().await.unwrap();
    assert_eq!(get.status(), 405);
    let body: Value = get.json().await.unwrap();
    assert_eq!(
        (&body["error"]["code"], &body["error"]["data"]["field"]),
        (&json!(-32600), &json!("method"))
    );

    let text =
        http.post(&url).body("{}").header("content-type", "text/plain").send().await.unwrap();
    assert_eq!(text.status(), 415);
    let body: Value = text.json().await.unwrap();
    assert_eq!(body["error"]["data"]["actual"], "text/plain");

    let preflight = http.request(reqwest::Method::OPTIONS, &url).send().await.unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn each_bound_answers_as_documented() {
    let limits = RpcLimits { request_bytes: 2_000, batch_calls: 3, ..RpcLimits::default() };
    let service = Service::start(limits).await;
    let (status, answer) = service.post("/", " ".repeat(2_001)).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!(-32007)));

    let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let (_, answer) = service.post("/", Value::from(vec![one.clone(); 4]).to_string()).await;
    assert_eq!(answer["error"]["code"], -32030);
    assert_eq!(answer["error"]["data"], json!({ "field": "batch", "limit": 3, "actual": 4 }));

    // What is used up is there again after a while, however the calls came.
    let service = Service::start(RpcLimits { units_per_second: 5, ..RpcLimits::default() }).await;
    let (_, answers) = service.post("/", Value::from(vec![one; 400]).to_string()).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers[0]["result"], "0x1092");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.get("error").is_some()).collect();
    assert!(!refused.is_empty() && refused.iter().all(|one| one["error"]["code"] == -32005));
    let wait = refused[0]["error"]["data"]["retryAfterMillis"].as_u64().unwrap();
    assert!(wait <= 1_000, "{wait}");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_turned_away_until_one_ends() {
    let service = Service::start(RpcLimits { connections: 1, ..RpcLimits::default() }).await;
    let url = format!("http://{}/", service.address);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let first = reqwest::Client::new();
    let answer = first.post(&url).json(&body).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["result"], "0x1092");

    let mut second = tokio::net::TcpStream::connect(&service.address).await.unwrap();
    let mut told = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut second, &mut told).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&told));

    drop(first);
    loop {
        let again = reqwest::Client::new().post(&url).json(&body).send().await;
        if again.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        tokio::task::yield_now().await;
    }
}
