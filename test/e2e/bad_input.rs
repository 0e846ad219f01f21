//! Wrong settings and wrong calls: each refusal names what was wrong, and the agent goes on.

use crate::{alone, block_on, plan, session};
use rota::rpc_client::{RpcClient, RpcClientError};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn an_agent_refuses_malformed_calls_one_by_one_and_goes_on() {
    let _alone = alone();
    block_on(async {
        let session = session(plan(1), 0.0).await;
        let url = session.network.rpc_urls()[0].clone();
        let agent = RpcClient::new(url.clone());
        let calls: [(&str, Value); 8] = [
            ("eth_sendRawTransaction", json!([])),
            ("eth_sendRawTransaction", json!(["0x"])),
            ("eth_sendRawTransaction", json!(["not hexadecimal"])),
            ("eth_sendRawTransaction", json!(["0x02f8"])),
            ("eth_getTransactionCount", json!(["0x12"])),
            ("eth_getBlockByNumber", json!(["yesterday", false])),
            ("rota_getTransaction", json!([42])),
            ("eth_nonsense", json!([])),
        ];
        for (method, params) in calls {
            match agent.call(method, params.clone()).await {
                Err(RpcClientError::Refused { code, message, .. }) => {
                    assert!(code < 0 && !message.is_empty(), "{method} {params}: {code} {message}");
                }
                other => panic!("{method} {params}: {other:?}"),
            }
        }
        let http = reqwest::Client::new();
        for body in ["", "{", "[]", "null", "{\"jsonrpc\":\"1.0\"}"] {
            let answer = http
                .post(url.clone())
                .header("content-type", "application/json")
                .body(body)
                .send()
                .await
                .unwrap();
            assert!(!answer.text().await.unwrap().contains("\"result\""), "{body}");
        }
        assert_eq!(agent.call("eth_chainId", json!([])).await.unwrap(), json!("0x385"));
        session.end().await;
    });
}

#[test]
fn an_agent_without_settings_says_what_is_missing_and_exits_with_3() {
    let output = Command::new(env!("CARGO_BIN_EXE_rota"))
        .args(["--json", "node"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["exitCode"], 3);
    assert!(answer["error"].as_str().unwrap().starts_with("l1-rpc is missing"), "{answer}");
}
