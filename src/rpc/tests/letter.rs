//! JSON-RPC 2.0 by the letter, over HTTP and WebSocket. The cases are the table in docs/RPC.md: what it says is what is sent
//! here, and what must come back.

use super::Service;
use crate::rpc::RpcLimits;
use futures::{SinkExt as _, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const DOCUMENT: &str = include_str!("../../../docs/RPC.md");

/// The cells between backticks of a table under a heading, row by row.
pub(super) fn table(heading: &str) -> Vec<Vec<String>> {
    let part = DOCUMENT.split(heading).nth(1).unwrap_or_else(|| panic!("{heading}"));
    let rows = part
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let found: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(!found.is_empty(), "{heading}");
    found
}

/// What stands between backticks, with the escapes of a table undone.
fn text(cell: &str) -> String {
    cell.trim_matches('`').replace("\\n", "\n").replace("\\t", "\t")
}

/// What a row expects: nothing, or JSON in which `"…"` stands for any text.
fn matches(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(any), Value::String(_)) if any == "…" => true,
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| matches(expected, actual))
        }
        (Value::Object(expected), Value::Object(actual)) => {
            let known = |key: &String| expected.contains_key(key) || key == "data";
            expected
                .iter()
                .all(|(key, value)| actual.get(key).is_some_and(|one| matches(value, one)))
                && actual.keys().all(known)
        }
        (expected, actual) => expected == actual,
    }
}

#[tokio::test]
async fn the_table_of_json_rpc_holds_over_http_and_websocket() {
    let service = Service::start(RpcLimits { batch_calls: 4, ..RpcLimits::default() }).await;
    let url = format!("ws://{}/", service.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let http = reqwest::Client::new();
    for row in table("### JSON-RPC 2.0") {
        let [what, sent, expected] = row.as_slice() else { panic!("{row:?}") };
        let (sent, expected) = (text(sent), text(expected));
        let expected: Option<Value> = (expected != "nothing").then(|| {
            serde_json::from_str(&expected)
                .unwrap_or_else(|error| panic!("{what}: {expected}: {error}"))
        });
        let answer = http
            .post(format!("http://{}/", service.address))
            .header("content-type", "application/json")
            .body(sent.clone())
            .send()
            .await
            .unwrap();
        let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
        // A marker behind it: what wants no answer gets none before the marker's.
        let marker = r#"{"jsonrpc":"2.0","id":"marker","method":"net_listening"}"#;
        socket.send(Message::text(sent.clone())).await.unwrap();
        let mut told = next(&mut socket, expected.is_some()).await;
        if expected.is_none() {
            socket.send(Message::text(marker)).await.unwrap();
            told = next(&mut socket, true).await;
            assert!(told.as_deref().unwrap().contains("marker"), "{what}: {told:?}");
            told = None;
        }
        match expected {
            None => assert_eq!((status, body.as_str()), (204, ""), "{what}"),
            Some(expected) => {
                assert_eq!(status, 200, "{what}: {body}");
                for (over, body) in [("http", Some(body)), ("websocket", told)] {
                    let actual: Value = serde_json::from_str(&body.unwrap()).unwrap();
                    assert!(matches(&expected, &actual), "{what}, {over}: {actual}");
                }
            }
        }
    }
}

async fn next(
    socket: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
    wanted: bool,
) -> Option<String> {
    if !wanted {
        return None;
    }
    loop {
        let message = tokio::time::timeout(Duration::from_secs(120), socket.next()).await.unwrap();
        if let Message::Text(text) = message.unwrap().unwrap() {
            return Some(text.to_string());
        }
    }
}

#[tokio::test]
async fn content_types_may_have_parameters_and_bodies_white_space() {
    let service = Service::start(RpcLimits::default()).await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/", service.address);
    let body = format!(
        "{}{}",
        " \r\n\t".repeat(400),
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#
    );
    let status = |kind: &'static str| {
        let request = http.post(&url).header("content-type", kind).body(body.clone());
        async move { request.send().await.unwrap().status().as_u16() }
    };
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8; odata=verbose",
        "APPLICATION/JSON ; x=\"y\"",
        "application/json-rpc",
    ] {
        assert_eq!(status(kind).await, 200, "{kind}");
    }
    for kind in
        ["text/plain", "application/jsonp", "application", "text/json; application/json", ""]
    {
        assert_eq!(status(kind).await, 415, "{kind}");
    }
}

#[tokio::test]
async fn a_websocket_message_that_is_too_long_is_told_so_before_the_connection_ends() {
    let service = Service::start(RpcLimits { request_bytes: 2_000, ..RpcLimits::default() }).await;
    let url = format!("ws://{}/", service.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text(" ".repeat(3_000))).await.unwrap();
    let told: Value = serde_json::from_str(&next(&mut socket, true).await.unwrap()).unwrap();
    assert_eq!(told["error"]["code"], -32007, "{told}");
    let ended = tokio::time::timeout(Duration::from_secs(120), async {
        while let Some(Ok(message)) = socket.next().await {
            assert!(matches!(message, Message::Close(_) | Message::Ping(_)), "{message:?}");
        }
    });
    ended.await.unwrap();
}
