use super::tell::Teller;
use super::{Task, VerifyError, verify};
use crate::domain::{BlockHeader, Deployment, LeaderSet};
use crate::l1::proven::{Anchor, Http, Nodes, ProvenError};
use crate::l1::testing::{Following, World};
use crate::l1::{Certified, force, settle_order};
use crate::testing::{key, raw_priced};
use alloy::primitives::Address;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Standard output, as those see it who read it while it is written.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    fn records(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |record: &Value| record["kind"].as_str().unwrap().to_owned();
        self.records().iter().map(kind).collect()
    }

    async fn until(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        let wait = async {
            while !condition(&self.kinds()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(120), wait).await;
        waited.unwrap_or_else(|_| panic!("never told {what}: {:?}", self.kinds()));
    }
}

fn task(rollup: u64, end: Anchor, follow: bool) -> Task {
    Task { rollup, from: 1, to: u64::MAX, end, follow }
}

async fn tell(
    task: &Task,
    world: &World,
    deployment: &Deployment,
    out: &Out,
) -> Result<(), VerifyError> {
    let nodes = Nodes::new(Http::new(&[world.url()]).unwrap());
    let mut teller = Teller::new(out.clone(), true, task.rollup);
    let done = verify(task, nodes, deployment, &mut teller, &|_| ()).await;
    teller.finish(None, 0).unwrap();
    done
}

async fn begun(world: &World) -> (BlockHeader, Arc<LeaderSet>) {
    let following = Following::start(world);
    following.until("a set", |mirror| mirror.genesis.is_some() && !mirror.sets.is_empty()).await;
    let mirror = following.mirror.read();
    let genesis = mirror.genesis.clone().unwrap();
    let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
    (genesis, set)
}

async fn settle(world: &World, set: &LeaderSet, batch: &Certified) {
    let poster = world.poster(world.turn_of(set, batch.header.last_height));
    let order = settle_order(&world.deployment, std::slice::from_ref(batch));
    poster.execute(&order).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_is_an_object_and_the_last_alone_is_the_summary() {
    let world = World::with_members(4).await;
    let (genesis, set) = begun(&world).await;
    let raw = raw_priced(&key(1), 0, crate::domain::RollupId::new(77), 1);
    let transaction =
        crate::domain::RollupTransaction { rollup: crate::domain::RollupId::new(77), raw };
    let forced = transaction.clone();
    force::enqueue(&world.rich(), &world.deployment, forced).await.unwrap();
    let mut block = world.block(&set, &genesis, 1);
    let origin = world.client.head().await.unwrap();
    block.header.forced_through = 1;
    (block.header.l1_origin_number, block.header.l1_origin_hash) = (origin.number, origin.hash);
    block.header.timestamp =
        crate::domain::Millis::new(origin.timestamp.get().saturating_mul(1_000));
    block.transactions = vec![transaction.clone()];
    block.header.tx_count = 1;
    block.header.tx_root = crate::domain::tx_root(&block.transactions);
    let blocks = [block.clone()];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, genesis.epoch, &payload).unwrap();
    let header = crate::testing::regular(header);
    world.mine(1, 2).await;
    settle(&world, &set, &world.certify(&set, header, payload)).await;
    let head = world.client.head().await.unwrap();

    let out = Out::default();
    let task = task(77, Anchor::Hash(head.hash), false);
    tell(&task, &world, &world.deployment, &out).await.unwrap();
    assert_eq!(out.kinds(), ["start", "batch", "transaction", "noop", "summary"]);
    let records = out.records();
    let [start, batch, transaction_told, noop, summary] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(start["l1BlockHash"], json!(head.hash));
    assert_eq!((&batch["batch"], &batch["transactions"]), (&json!(1), &json!(2)));
    assert_eq!(transaction_told["raw"], json!(transaction.raw));
    assert_eq!(
        (&transaction_told["forced"], &transaction_told["index"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(transaction_told["block"]["hash"], json!(block.header.hash()));
    assert_eq!(transaction_told["block"]["timestampMs"], json!(block.header.timestamp.get()));
    assert_eq!((&noop["reason"], &noop["keptAt"]), (&json!("duplicate"), &json!(1)));
    assert_eq!((&summary["transactions"], &summary["noops"]), (&json!(1), &json!(1)));
    assert_eq!((&summary["checked"], &summary["exitCode"]), (&json!(1), &json!(0)));

    let nobodys = super::Task { rollup: 12_345, ..task };
    let error = tell(&nobodys, &world, &world.deployment, &Out::default()).await.unwrap_err();
    assert!(matches!(error, VerifyError::NoSuchRollup { rollup: 12_345, .. }), "{error}");
    let mut other = world.deployment.clone();
    other.rollups = other.slasher;
    let error = tell(&nobodys, &world, &other, &Out::default()).await.unwrap_err();
    let other =
        ProvenError::OtherDeployment { settlement: other.settlement, rollups: other.rollups };
    assert_eq!(error.to_string(), other.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_what_a_reorg_takes_back_and_what_comes_in_its_place() {
    let world = World::with_members(4).await;
    let (genesis, set) = begun(&world).await;
    let depth = world.params.origin_depth_blocks;
    world.mine(1, 2).await;
    let raw = raw_priced(&key(1), 0, crate::domain::RollupId::new(77), 1);
    let mut block = world.block(&set, &genesis, 1);
    block.transactions =
        vec![crate::domain::RollupTransaction { rollup: crate::domain::RollupId::new(77), raw }];
    block.header.tx_count = 1;
    block.header.tx_root = crate::domain::tx_root(&block.transactions);
    // As late as its origin, which L1 made after genesis.
    block.header.timestamp = world.client.head().await.unwrap().timestamp.to_millis();
    // Nobody's, which breaks R14: that is told with the batch, and taken back with it.
    block.header.proposer = Address::repeat_byte(7);
    let blocks = [block];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, genesis.epoch, &payload).unwrap();
    let batch = world.certify(&set, crate::testing::regular(header), payload);
    settle(&world, &set, &batch).await;
    world.mine(depth, 1).await;

    let out = Out::default();
    let (deployment, url) = (world.deployment.clone(), world.url());
    let told = out.clone();
    let enough = CancellationToken::new();
    let stop = enough.clone();
    let following = tokio::spawn(async move {
        let nodes = Nodes::new(Http::new(&[url]).unwrap());
        let mut teller = Teller::new(told, true, 77);
        let task = task(77, Anchor::AtDepth, true);
        tokio::select! {
            done = verify(&task, nodes, &deployment, &mut teller, &|_| ()) => done.unwrap(),
            () = stop.cancelled() => {}
        }
        teller.finish(None, 0).unwrap();
    });
    let count = |kinds: &[String], kind: &str| kinds.iter().filter(|told| *told == kind).count();
    out.until("the batch", |kinds| count(kinds, "batch") == 1).await;
    // The block that settled it goes, and the new one has other neighbours.
    world.reorg(depth.saturating_add(2)).await;
    world.mine(depth, 1).await;
    out.until("the reorg", |kinds| count(kinds, "reorg") == 1).await;
    assert_eq!(count(&out.kinds(), "batch"), 1);
    settle(&world, &set, &batch).await;
    world.mine(depth, 1).await;
    out.until("the batch again", |kinds| count(kinds, "batch") == 2).await;
    let records = out.records();
    let reorg = records.iter().find(|record| record["kind"] == "reorg").unwrap();
    assert_eq!(reorg["keptBatch"], 0);
    enough.cancel();
    following.await.unwrap();
    let records = out.records();
    let summary = records.last().unwrap();
    // What was told twice counts once.
    assert_eq!(count(&out.kinds(), "transaction"), 2);
    assert_eq!((&summary["checked"], &summary["transactions"]), (&json!(1), &json!(1)));
    assert_eq!(summary["violations"], json!(1), "{summary}");
}
