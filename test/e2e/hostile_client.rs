//! A client that asks one agent for more than it is due, and the votes of that agent.

use crate::{beside, block_on, plan, session, until};
use alloy::primitives::Address;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use url::Url;

/// Connections that the client keeps busy.
const CONNECTIONS: usize = 16;

/// Blocks that are decided meanwhile.
const BLOCKS: u64 = 48;

async fn decided(agent: &RpcClient) -> u64 {
    let height = agent.call("eth_blockNumber", json!([])).await.unwrap();
    u64::from_str_radix(height.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Whole blocks in batches, calls that are nothing, and bodies of rubbish, as fast as they are answered.
pub(super) fn ask_for_everything(
    victim: &Url,
    tip: u64,
    answers: &Arc<AtomicU64>,
) -> Vec<JoinHandle<()>> {
    let call = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let dear: Vec<Value> = (0..256)
        .map(|n| {
            let block = format!("0x{:x}", tip.saturating_sub(n % 32));
            match n % 3 {
                0 => call("eth_getBlockReceipts", json!([block])),
                1 => call("eth_getBlockByNumber", json!([block, true])),
                _ => call("txpool_content", json!([])),
            }
        })
        .collect();
    let bodies =
        [json!(dear).to_string(), json!(vec![json!([]); 1_000]).to_string(), "[".repeat(1 << 20)];
    (0..CONNECTIONS)
        .map(|n| {
            let (url, body, answers) = (victim.clone(), bodies[n % 3].clone(), Arc::clone(answers));
            tokio::spawn(async move {
                let http = reqwest::Client::new();
                loop {
                    let sent = http.post(url.clone()).header("content-type", "application/json");
                    match sent.body(body.clone()).send().await {
                        Ok(answer) => {
                            let _ = answer.bytes().await;
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        // Nobody is there while the agent is down.
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            })
        })
        .collect()
}

#[test]
fn an_agent_that_a_client_asks_for_everything_votes_all_the_same() {
    let _seat = beside();
    block_on(async {
        // Of three each vote is needed: that of the agent under attack is in each certificate.
        let mut session = session(plan(3), 20.0).await;
        until("a first batch is settled", || async { session.report().batches > 0 }).await;
        let urls = session.network.rpc_urls();
        let (victim, witness) = (urls[0].clone(), crate::client(urls[1].clone()));
        let signer: Address = session.network.signers()[0];

        let answers = Arc::new(AtomicU64::new(0));
        let tip = decided(&witness).await;
        let clients = ask_for_everything(&victim, tip, &answers);

        let goal = tip + BLOCKS;
        until("the network decides while one agent is under attack", || async {
            decided(&witness).await >= goal
        })
        .await;
        assert!(answers.load(Ordering::Relaxed) > 0, "nobody was answered: there was no attack");
        let mut named = 0;
        for height in tip + 1..=goal {
            let block = witness.call("rota_getBlock", json!([height])).await.unwrap();
            let signatures = block["certificate"]["signatures"].as_array().unwrap();
            named += u64::from(signatures.iter().any(|one| one["signer"] == json!(signer)));
        }
        for client in clients {
            client.abort();
        }
        assert_eq!(named, BLOCKS, "the agent's vote is in {named} of {BLOCKS} certificates");
        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}
