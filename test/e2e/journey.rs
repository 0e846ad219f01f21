//! The journey of a transaction when nobody fails.

use crate::{beside, block_on, plan, session, until};
use alloy::primitives::B256;
use rota::devnet::Session;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use url::Url;

#[test]
fn every_agent_leads_and_each_transaction_settles_once_in_one_order() {
    let _seat = beside();
    block_on(async {
        let mut session = session(plan(4), 20.0).await;
        until("every agent has posted a batch that settled", || async {
            session.posters().len() == 4
        })
        .await;

        let root = &session.network.rpc_urls()[0];
        let others = [
            cast_send(root),
            viem_send(root.as_str(), 0),
            viem_send(&format!("{root}rollup/901"), 1),
        ];
        session.stop_sending();
        crate::settle(&mut session).await;
        until("the transactions of cast and viem are settled", || async {
            others.iter().all(|one| session.settled_order().contains(one))
        })
        .await;

        same_order_everywhere(&session).await;
        let height = session.settled_height().get();
        // Empty batches go on meanwhile.
        let batches = session.report().batches;
        until("the last batch is deep enough to verify", || async {
            let verified = verify(&session, &[]);
            verified.hashes().len() >= session.settled_order().len()
                && verified.summary["checked"].as_u64() >= Some(batches)
        })
        .await;
        verified_alike(&session, height);
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
        assert_eq!(report.sent, report.settled, "{report:?}");
        assert_eq!(report.leaders, 4, "{report:?}");
    });
}

/// What `rota verify` tells of the rollup, from L1 alone.
struct Verified {
    records: Vec<Value>,
    summary: Value,
}

impl Verified {
    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["kind"] == kind)
    }

    fn hashes(&self) -> Vec<B256> {
        self.of_kind("transaction")
            .map(|one| one["hash"].as_str().unwrap().parse().unwrap())
            .collect()
    }
}

fn verify(session: &Session, arguments: &[&str]) -> Verified {
    let output = Command::new(env!("CARGO_BIN_EXE_rota"))
        .args(["verify", "--json", "--rollup", "901"])
        .args(arguments)
        .env("ROTA_L1_RPC", session.network.l1_url().as_str())
        .env("ROTA_DEPLOYMENT", session.network.folder().join("deployment.json"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = records.pop().unwrap();
    assert_eq!(summary["kind"], "summary");
    assert!(records.iter().all(|record| record["kind"] != "summary"), "one summary, the last line");
    Verified { records, summary }
}

/// `rota verify` tells the order that the agents tell, also in pieces.
fn verified_alike(session: &Session, height: u64) {
    let whole = verify(session, &[]);
    assert_eq!(whole.hashes(), session.settled_order());
    let Value::Object(summary) = &whole.summary else { panic!("{}", whole.summary) };
    for nothing in ["flawed", "unproven", "lies"] {
        assert_eq!(summary[nothing], json!([]), "{}", whole.summary);
    }
    assert_eq!((&summary["noops"], &summary["violations"]), (&json!(0), &json!(0)));
    let heights = |one: &Value| one["height"].as_u64().is_some_and(|at| at <= height);
    assert!(whole.of_kind("transaction").all(heights));
    let mut pieces = verify(session, &["--to", "2"]).hashes();
    pieces.extend(verify(session, &["--from", "3"]).hashes());
    assert_eq!(pieces, whole.hashes());
}

/// Submits with `cast send`, which waits for the receipt that it understands.
fn cast_send(url: &Url) -> B256 {
    let cast = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/.bin/cast");
    let output = Command::new(cast)
        .args(["send", "--json", "--rpc-url", url.as_str()])
        .args([
            "--private-key",
            "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        ])
        .args(["0x000000000000000000000000000000000000dEaD", "--value", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let receipt: Value = serde_json::from_str(&text).unwrap();
    receipt["transactionHash"].as_str().unwrap().parse().unwrap()
}

/// Sends with viem and follows the transaction; what viem makes of the answers must be right.
fn viem_send(url: &str, nonce: u64) -> B256 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("test/e2e/viem.mjs");
    let output = Command::new("node")
        .arg(script)
        .args([url, "901"])
        .arg("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["status"], "success", "{told}");
    assert_eq!((&told["listed"], &told["chainId"]), (&json!(true), &json!(901)), "{told}");
    let from = told["from"].as_str().unwrap().to_lowercase();
    assert_eq!(from, "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc", "{told}");
    assert_eq!((&told["nonce"], &told["next"]), (&json!(nonce), &json!(nonce + 1)), "{told}");
    told["hash"].as_str().unwrap().parse().unwrap()
}

/// What each agent says that its blocks hold, up to the settled height, is what L1 derives.
async fn same_order_everywhere(session: &Session) {
    let settled = session.settled_height().get();
    let derived = session.settled_order();
    for url in session.network.rpc_urls() {
        let agent = crate::client(url);
        // A quorum settles without who lags.
        until("the agent has decided what is settled", || async {
            let height = agent.call("eth_blockNumber", json!([])).await.unwrap();
            let height = height.as_str().unwrap().trim_start_matches("0x").to_owned();
            u64::from_str_radix(&height, 16).unwrap() >= settled
        })
        .await;
        let mut told: Vec<B256> = Vec::new();
        for height in 1..=settled {
            let number = format!("0x{height:x}");
            let block = agent.call("eth_getBlockByNumber", json!([number, false])).await.unwrap();
            told.extend(
                serde_json::from_value::<Vec<B256>>(block["transactions"].clone()).unwrap(),
            );
        }
        assert_eq!(told, derived, "agent at {}", agent.url());
    }
}
