//! Wrong settings and wrong calls: each refusal names what was wrong, and the agent goes on.

use crate::{beside, block_on, plan, session};
use rota::rpc_client::RpcClientError;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[test]
fn an_agent_refuses_malformed_calls_one_by_one_and_goes_on() {
    let _seat = beside();
    block_on(async {
        let session = session(plan(1), 0.0).await;
        let url = session.network.rpc_urls()[0].clone();
        let agent = crate::client(url.clone());
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
fn an_agent_whose_port_is_taken_names_the_setting_and_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("password"), "secret").unwrap();
    fs::set_permissions(path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path("deployment.json"), nowhere().to_string()).unwrap();
    let rota = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rota"))
            .arg("--json")
            .args(arguments)
            .env_clear()
            .env("ROTA_LOG", "error")
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), answer)
    };
    let (keystore, password) = (path("signer.json"), path("password"));
    let key = ["keys", "new", "--keystore", &keystore, "--password-file", &password];
    assert_eq!(rota(&key).0, Some(0));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (deployment, data) = (path("deployment.json"), path(""));
    for setting in ["agreement-listen", "link-listen"] {
        let ports: Vec<String> = ["agreement-listen", "link-listen"]
            .iter()
            .map(|one| {
                format!("--{one}={}", if *one == setting { &address } else { "127.0.0.1:0" })
            })
            .collect();
        let (code, answer) = rota(&[
            "node",
            "--l1-rpc=http://127.0.0.1:1",
            "--deployment",
            &deployment,
            "--data-dir",
            &data,
            "--password-file",
            &password,
            "--default-rollup=901",
            &ports[0],
            &ports[1],
        ]);
        let error = answer["error"].as_str().unwrap();
        assert_eq!(code, Some(3), "{error}");
        let expected = format!("{setting}: cannot listen on {address}");
        assert!(error.starts_with(&expected), "{error}");
    }
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

/// A deployment that is nowhere.
fn nowhere() -> Value {
    let zero = "0x0000000000000000000000000000000000000000";
    let mut deployment = json!({ "chainId": 31337, "block": 0 });
    for contract in [
        "stakeToken",
        "registry",
        "settlement",
        "tally",
        "slasher",
        "rewardPool",
        "rollups",
        "guardian",
    ] {
        deployment[contract] = json!(zero);
    }
    deployment
}

#[test]
fn that_nobody_answers_is_told_with_the_reason_and_without_the_key_in_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.json");
    fs::write(&file, nowhere().to_string()).unwrap();
    let (file, l1) =
        (file.to_str().unwrap(), "http://user:SECRET@127.0.0.1:1/v2/SECRET?key=SECRET");
    let receiver = "0x000000000000000000000000000000000000dEaD";
    for arguments in [
        vec!["status", "--l1-rpc", l1, "--deployment", file],
        vec!["status", "--rpc", l1],
        vec!["send", receiver, "--rpc", l1],
        vec!["verify", "--rollup=901", "--l1-rpc", l1, "--deployment", file],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rota"))
            .args(&arguments)
            .env_clear()
            .env("ROTA_OWNER_KEY", "01".repeat(32))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("127.0.0.1:1") && said.contains("refused"), "{arguments:?}: {said}");
        assert!(!said.contains("SECRET"), "{arguments:?}: {said}");
    }
}
