//! The journey of a transaction when nobody fails.

use crate::{alone, block_on, plan, session, until};
use alloy::primitives::B256;
use rota::devnet::Session;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use url::Url;

#[test]
fn every_agent_leads_and_each_transaction_settles_once_in_one_order() {
    let _alone = alone();
    block_on(async {
        let mut session = session(plan(4), 20.0).await;
        until("every agent has posted a batch that settled", || async {
            session.posters().len() == 4
        })
        .await;

        let by_cast = cast_send(&session.network.rpc_urls()[0]);
        session.stop_sending();
        session.show_until_settled().await;
        until("the transaction of cast is settled", || async {
            session.settled_order().contains(&by_cast)
        })
        .await;

        same_order_everywhere(&session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
        assert_eq!(report.sent, report.settled, "{report:?}");
        assert_eq!(report.leaders, 4, "{report:?}");
    });
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

/// What each agent says that its blocks hold, up to the settled height, is what L1 derives.
async fn same_order_everywhere(session: &Session) {
    let settled = session.settled_height().get();
    let derived = session.settled_order();
    for url in session.network.rpc_urls() {
        let agent = RpcClient::new(url);
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
