//! Operators who change their hot keys while the network runs.

use crate::{beside, block_on, key, plan, record, rota, session, until};
use alloy::primitives::{Address, keccak256};
use rota::config::{Strength, create_key};
use rota::devnet::Session;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::fs;

/// What the development network's keystores are sealed with.
const PASSWORD: &str = "devnet";

/// One key sorts above the old one, the other below it: nothing may depend on which of a sequencer's keys comes first.
#[test]
fn who_takes_another_key_posts_until_it_counts_and_with_it_from_then_on() {
    let _seat = beside();
    block_on(async {
        let mut session = session(plan(4), 10.0).await;
        until("a first batch is settled", || async { session.report().batches > 0 }).await;
        let witness = crate::client(session.network.rpc_urls()[0].clone());
        for agent in [1, 2] {
            let old = session.network.signers()[agent];
            until("it posts", || posted(&witness, 1, old)).await;
        }
        let mut moves = Vec::new();
        for (agent, above) in [(1, true), (2, false)] {
            moves.push(Move::begin(&session, agent, above).await);
        }
        let from = newest_batch(&witness).await + 1;
        for one in &moves {
            // On a machine so slow that no turn of it falls between, there is nothing to see.
            until("it posts with the old key, or that no longer counts", || async {
                posted(&witness, from, one.old).await || counts(&witness, one.new).await
            })
            .await;
        }
        for one in &moves {
            until("the new key counts", || counts(&witness, one.new)).await;
            assert!(!posted(&witness, from, one.new).await, "nobody has the new key yet");
            session.network.kill(one.agent).await;
            fs::rename(&one.next, &one.keystore).unwrap();
            session.network.restart(one.agent).unwrap();
        }
        session.network.answering(crate::DEADLINE).await.unwrap();
        for one in &moves {
            until("it posts with the new key", || posted(&witness, from, one.new)).await;
        }
        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}

/// One sequencer's way from one key to another.
struct Move {
    agent: usize,
    old: Address,
    new: Address,
    keystore: std::path::PathBuf,
    next: std::path::PathBuf,
}

impl Move {
    async fn begin(session: &Session, agent: usize, above: bool) -> Self {
        let old = session.network.signers()[agent];
        let folder = session.network.folder().join(format!("agent-{agent}"));
        let (keystore, next) = (folder.join("signer.json"), folder.join("next.json"));
        let known = (0..).map(|n| keccak256(format!("rota test rotation {n}")).0);
        let mut fitting = known.filter(|key| {
            let address = rota::crypto::SecretKey::from_bytes(*key).unwrap().address();
            (address > old) == above
        });
        let new = create_key(&next, PASSWORD, Strength::Light, fitting.next()).unwrap().address();
        let l1 = crate::client(session.network.l1_url().clone());
        l1.call("anvil_setBalance", json!([new, "0x3635c9adc5dea00000"])).await.unwrap();
        let id = record(session, old).await.id.to_string();
        let (file, password) = (next.to_str().unwrap(), folder.join("password"));
        let password = password.to_str().unwrap();
        let command = ["rotate", &id, "--new-keystore", file, "--new-password-file", password];
        rota(session, &key("owner", agent), 0, &command);
        Self { agent, old, new, keystore, next }
    }
}

async fn newest_batch(agent: &RpcClient) -> u64 {
    let status = agent.call("rota_status", json!([])).await.unwrap();
    status["settled"]["batch"].as_u64().unwrap_or_else(|| panic!("{status}"))
}

/// Whether a batch from `from` on was posted by this account.
async fn posted(agent: &RpcClient, from: u64, poster: Address) -> bool {
    for number in from..=newest_batch(agent).await {
        let batch = agent
            .call("rota_getBatch", json!([format!("{number:#x}")]))
            .await
            .unwrap_or(Value::Null);
        if batch["poster"] == json!(poster) {
            return true;
        }
    }
    false
}

/// Whether the set in force holds this key.
async fn counts(agent: &RpcClient, key: Address) -> bool {
    let schedule = agent.call("rota_schedule", json!([])).await.unwrap();
    let members = schedule["members"].as_array();
    members.is_some_and(|all| all.iter().any(|member| member["signer"] == json!(key)))
}
