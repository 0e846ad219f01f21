use super::{Budgets, Takeover, run_within};
use crate::agreement::Faults;
use crate::config::{Config, Identity, RestartDuty};
use crate::domain::RollupId;
use crate::l1::Fees;
use crate::l1::testing::World;
use alloy::primitives::B256;
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the first sequencer's agent is told, with ports that the system gives.
fn config(world: &World, data_dir: &Path) -> Config {
    let any = ([127, 0, 0, 1], 0).into();
    Config {
        l1_rpc: vec![world.url()],
        l1_poll: Duration::from_millis(50),
        deployment: world.deployment.clone(),
        data_dir: data_dir.to_owned(),
        signer: PrivateKeySigner::from_bytes(&B256::repeat_byte(0x51)).unwrap(),
        identity: Identity::open_or_create(&data_dir.join("identity.key")).unwrap(),
        agreement_listen: any,
        link_listen: any,
        rpc_listen: any,
        telemetry_listen: Some(any),
        default_rollup: RollupId::new(77),
        mempool_transactions: 100,
        store_cache_bytes: 1 << 20,
        keep_blocks: None,
        restart_duty: RestartDuty::None,
        rpc_limits: crate::rpc::RpcLimits::default(),
        max_l1_fee: Fees::of_gwei(1_000, 20),
    }
}

/// The file as redb finds it: one that was not closed in order is repaired, with a look at all of it.
fn needs_repair(path: &Path) -> bool {
    let opened =
        redb::Database::builder().set_repair_callback(|session| session.abort()).open(path);
    match opened {
        Ok(_) => false,
        Err(redb::DatabaseError::RepairAborted) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Whether the agent whose folder this is tells users what it has read of L1.
async fn tells_of_l1(folder: &Path) -> Option<bool> {
    let told = std::fs::read(folder.join("listening.json")).ok()?;
    let told: Value = serde_json::from_slice(&told).ok()?;
    let url = format!("http://{}/", told["rpc"].as_str()?);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "rota_status", "params": [] });
    let answer = reqwest::Client::new().post(url).json(&call).send().await.ok()?;
    let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
    let status = &answer["result"];
    Some(status["settled"]["hash"].is_string() && status["l1AtDepth"]["hash"].is_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_ends_in_order_leaves_a_store_that_needs_no_repair_and_is_trusted() {
    let world = World::with_members(1).await;
    let folder = tempfile::tempdir().unwrap();
    let store = config(&world, folder.path()).store_path();
    for start in 0..2 {
        let config = config(&world, folder.path());
        let first = start == 0;
        let said = Takeover { new_store: first, skip_listening: first, retry_set_aside: true };
        let shutdown = CancellationToken::new();
        let budgets = Budgets { stop: PATIENCE, close: PATIENCE };
        let running = run_within(budgets, config, said, Faults::default(), shutdown.clone());
        let agent = tokio::spawn(running);
        // It has written something, and has readers.
        let works = async {
            while tells_of_l1(folder.path()).await != Some(true) {
                assert!(!agent.is_finished(), "it ended by itself");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, works).await.expect("it reads l1 and answers");
        shutdown.cancel();
        agent.await.unwrap().unwrap();
        assert!(!needs_repair(&store), "start {start}");
        let kept = crate::storage::Store::open(&store).unwrap();
        let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x51)).unwrap().address();
        let trusted = Some((crate::storage::Standing::Trusted, true));
        assert_eq!(kept.key_standing(signer).unwrap(), trusted, "start {start}");
    }
}
