//! A node that lies, in front of a real chain that was recorded.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own making")]

use super::check::Lie;
use super::{Anchor, Failure, Http, Nodes, Proven, ProvenError, Verifier, Violation, Wire};
use crate::domain::{
    Block, BlockHeader, Deployment, LeaderSet, RollupId, RollupTransaction, Seconds, tx_root,
};
use crate::l1::restart::{self, Finishing};
use crate::l1::testing::{Following, World};
use crate::l1::{Derived, L1Error, actions, force, settlement};
use crate::testing::{key, raw_priced};
use alloy::primitives::B256;
use alloy::providers::ext::AnvilApi as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const ROLLUP: RollupId = RollupId::new(77);

/// What a node answered to what.
type Record = BTreeMap<(&'static str, String), Value>;

/// Answers as a real node does, and writes it down.
struct Recorder {
    node: Http,
    record: Mutex<Record>,
}

impl Wire for Recorder {
    fn count(&self) -> usize {
        1
    }

    fn name(&self, node: usize) -> String {
        self.node.name(node)
    }

    fn post<'a>(
        &'a self,
        node: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            let answer = self.node.post(node, method, params).await?;
            self.record.lock().unwrap().insert((method, params.to_string()), answer.clone());
            Ok(answer)
        })
    }
}

/// Answers from a record, in which something may have been changed.
#[derive(Clone)]
struct Recorded(Arc<Record>);

impl Recorded {
    fn lying(&self, key: &(&'static str, String), lie: Value) -> Self {
        let mut record = Record::clone(&self.0);
        // Whoever lies about a block by its number does so by its hash, too.
        if let Some(hash) = record.get(key).and_then(|told| told.get("hash")).cloned()
            && key.0 == "eth_getBlockByNumber"
        {
            record.insert(by_hash(&hash), lie.clone());
        }
        record.insert(key.clone(), lie);
        Self(Arc::new(record))
    }
}

fn by_hash(hash: &Value) -> (&'static str, String) {
    ("eth_getBlockByHash", json!([hash, false]).to_string())
}

fn unknown() -> Failure {
    Failure { reason: "not recorded".to_owned(), is_busy: false, is_final: true }
}

impl Wire for Recorded {
    fn count(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        "http://liar".to_owned()
    }

    fn post<'a>(
        &'a self,
        _: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        let answer = self.0.get(&(method, params.to_string())).cloned().ok_or_else(unknown);
        Box::pin(std::future::ready(answer))
    }
}

/// Several nodes, each with its own record.
struct Several(Vec<Recorded>);

impl Wire for Several {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn name(&self, node: usize) -> String {
        format!("http://node{node}")
    }

    fn post<'a>(
        &'a self,
        node: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        self.0[node].post(0, method, params)
    }
}

/// What is found: the list, and the rules that are broken.
#[derive(Debug, PartialEq)]
struct Found {
    derived: Vec<Derived>,
    violations: Vec<Violation>,
    unproven: Vec<&'static str>,
    harmless: Vec<Lie>,
    requests: u64,
}

async fn verify(
    wire: impl Wire,
    deployment: &Deployment,
    anchor: Anchor,
) -> Result<Found, ProvenError> {
    verify_with(Nodes::new(wire).impatient(), deployment, anchor).await
}

async fn verify_with(
    nodes: Nodes<impl Wire>,
    deployment: &Deployment,
    anchor: Anchor,
) -> Result<Found, ProvenError> {
    let (proven, params) = Proven::open(nodes, deployment.clone(), anchor, &|_| ()).await?;
    let mut verifier = Verifier::new(deployment.clone(), params);
    let mut found = Found {
        derived: Vec::new(),
        violations: Vec::new(),
        unproven: proven.unproven().to_vec(),
        harmless: Vec::new(),
        requests: 0,
    };
    let l1 = |number| proven.block(number);
    {
        let mut blocks = std::pin::pin!(proven.blocks(0, &|_| ()));
        while let Some(block) = blocks.next().await {
            let verified = verifier.take(&block?, &l1).await?;
            found.derived.extend(verified.derived);
            found.violations.extend(verified.violations);
        }
    }
    found.harmless = proven.nodes().lies();
    found.requests = proven.nodes().requests();
    Ok(found)
}

/// A chain on which everything happened once, and what a node told of it.
struct Chain {
    deployment: Deployment,
    head: u64,
    hash: B256,
    honest: Recorded,
}

/// A block on `parent`, whose origin is an L1 block that there is.
fn child(
    world: &World,
    set: &LeaderSet,
    parent: &BlockHeader,
    change: impl FnOnce(&mut Block),
) -> Block {
    let mut block = world.block(set, parent, 1);
    change(&mut block);
    block.header.tx_count = u32::try_from(block.transactions.len()).unwrap();
    block.header.tx_root = tx_root(&block.transactions);
    block
}

async fn settle(world: &World, set: &LeaderSet, block: &Block) {
    let blocks = [block.clone()];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, block.header.epoch, &payload).unwrap();
    // One block is no cut (R20): such a batch is not regular, and settles once nothing has for five takeovers.
    let batch = world.certify(set, header, payload);
    world.mine(1, world.params.takeover_seconds * 5 + 3).await;
    let poster = world.poster(world.turn_of(set, block.header.height));
    poster.execute(&settlement::order(&world.deployment, &[batch])).await.unwrap();
}

fn signed(nonce: u64) -> RollupTransaction {
    RollupTransaction { rollup: ROLLUP, raw: raw_priced(&key(1), nonce, ROLLUP, 1) }
}

/// Batches with and without transactions, a forced entry that a batch takes and two that escape.
async fn chain(change: impl FnOnce(&mut Block)) -> (World, Chain) {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.genesis.is_some() && !mirror.sets.is_empty()).await;
    let (genesis, set) = {
        let mirror = following.mirror.read();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        (genesis, set)
    };
    let (rich, deployment) = (world.rich(), &world.deployment);
    for nonce in 7..10 {
        force::enqueue(&rich, deployment, signed(nonce)).await.unwrap();
    }
    let origin = world.client.head().await.unwrap();
    actions::register_rollup(&rich, deployment, RollupId::new(78), crate::l1::testing::ONE)
        .await
        .unwrap();

    let first = child(&world, &set, &genesis, |block| {
        let header = &mut block.header;
        header.timestamp = crate::domain::Millis::new(origin.timestamp.get() * 1_000);
        header.forced_through = 1;
        (header.l1_origin_number, header.l1_origin_hash) = (origin.number, origin.hash);
        block.transactions = (0..3).map(signed).collect();
    });
    settle(&world, &set, &first).await;
    let second = child(&world, &set, &first.header, |block| {
        let epoch = world.params.epoch_at(origin.timestamp);
        block.header.epoch = epoch.max(block.header.epoch);
        block.transactions = vec![signed(3), signed(0)];
        change(block);
    });
    settle(&world, &set, &second).await;
    let state = force::state(&world.client, deployment, &world.params).await.unwrap();
    world.skip_to(state.escape_open_from.unwrap().get() + 60).await;
    force::escape(&rich, deployment).await.unwrap();
    world.mine(2, 1).await;

    let head = world.client.head().await.unwrap();
    let chain = Chain {
        deployment: deployment.clone(),
        head: head.number,
        hash: head.hash,
        honest: Recorded(Arc::default()),
    };
    (world, chain)
}

async fn record(world: &World, chain: &mut Chain) -> Found {
    let node = Http::new(&[world.url()]).unwrap();
    let recorder = Recorder { node, record: Mutex::default() };
    let shared = Arc::new(recorder);
    let found = verify(Shared(Arc::clone(&shared)), &chain.deployment, Anchor::Number(chain.head))
        .await
        .unwrap();
    let mut all = shared.record.lock().unwrap().clone();
    // A node knows by its hash what it knows by its number.
    let headers: Vec<Value> = all
        .iter()
        .filter(|((method, _), _)| *method == "eth_getBlockByNumber")
        .map(|(_, header)| header.clone())
        .collect();
    all.extend(headers.into_iter().map(|header| (by_hash(&header["hash"]), header)));
    chain.honest = Recorded(Arc::new(all));
    found
}

struct Shared(Arc<Recorder>);

impl Wire for Shared {
    fn count(&self) -> usize {
        1
    }

    fn name(&self, node: usize) -> String {
        self.0.name(node)
    }

    fn post<'a>(
        &'a self,
        node: usize,
        method: &'static str,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        self.0.post(node, method, params)
    }
}

/// Every way to change one place of an answer: each leaf, and each list without one of its parts, doubled or turned around.
fn lies(told: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let mut leaf = |value: Value| found.push((path.to_owned(), value));
    match told {
        Value::Null => leaf(json!("0x1")),
        Value::Bool(flag) => leaf(json!(!flag)),
        Value::Number(_) => leaf(json!(7)),
        Value::String(text) => {
            leaf(json!(flipped(text)));
            leaf(json!("0xnonsense"));
            leaf(Value::Null);
            if path.ends_with("extraData") {
                leaf(json!(format!("0x{}", "ab".repeat(100_000))));
            }
        }
        Value::Array(parts) => {
            leaf(json!([]));
            for index in [0, parts.len() / 2, parts.len().saturating_sub(1)] {
                if index < parts.len() {
                    let mut fewer = parts.clone();
                    fewer.remove(index);
                    leaf(Value::Array(fewer));
                }
            }
            if let Some(first) = parts.first() {
                let mut more = parts.clone();
                more.push(first.clone());
                leaf(Value::Array(more));
            }
            leaf(Value::Array(parts.iter().rev().cloned().collect()));
            for (index, part) in parts.iter().enumerate() {
                let mut inner = Vec::new();
                lies(part, &format!("{path}[]"), &mut inner);
                found.extend(inner.into_iter().map(|(path, lie)| {
                    let mut changed = parts.clone();
                    changed[index] = lie;
                    (path, Value::Array(changed))
                }));
            }
        }
        Value::Object(fields) => {
            leaf(json!({}));
            for (name, field) in fields {
                let mut inner = Vec::new();
                lies(field, &format!("{path}.{name}"), &mut inner);
                found.extend(inner.into_iter().map(|(path, lie)| {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), lie);
                    (path, Value::Object(changed))
                }));
            }
        }
    }
}

/// The last hex digit but one is another: still well formed, and one bit is enough.
fn flipped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let place = bytes.len().saturating_sub(2).max(2).min(bytes.len().saturating_sub(1));
    if let Some(byte) = bytes.get_mut(place) {
        *byte = if *byte == b'1' { b'2' } else { b'1' };
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_of_a_node_changes_the_list_and_each_is_named() {
    let (world, mut chain) = chain(|_| ()).await;
    let truth = record(&world, &mut chain).await;
    assert_eq!(truth.violations, []);
    assert_eq!(truth.unproven, [""; 0]);
    assert_eq!(truth.derived.len(), 3, "two batches and an escape: {:?}", truth.derived);
    drop(world);
    let again = verify(chain.honest.clone(), &chain.deployment, Anchor::Number(chain.head)).await;
    assert_eq!(again.unwrap().derived, truth.derived);

    let mut tried = 0_u32;
    let mut named = 0_u32;
    // How often a kind of lie (method and path without indices, and which of the ways) was tried.
    let mut kinds: BTreeMap<(&str, String), u32> = BTreeMap::new();
    let anchor = by_hash(&json!(chain.hash));
    let is_asked = |key: &(&str, String)| {
        key.0 != "eth_getBlockByHash" || key.1.ends_with("true]") || *key == anchor
    };
    let keys: Vec<_> = chain.honest.0.keys().filter(|key| is_asked(key)).cloned().collect();
    for key in keys {
        let mut all = vec![(String::new(), Value::Null), (String::new(), json!("nonsense"))];
        lies(&chain.honest.0[&key], "", &mut all);
        // A whole answer of another block, too.
        let other = chain.honest.0.iter().find(|(other, _)| other.0 == key.0 && **other != key);
        all.extend(other.map(|(_, answer)| (".other".to_owned(), answer.clone())));
        for (path, lie) in all {
            if lie == chain.honest.0[&key] {
                continue;
            }
            let count = kinds.entry((key.0, path.clone())).or_default();
            *count += 1;
            if *count > 4 {
                continue;
            }
            tried += 1;
            let liar = chain.honest.lying(&key, lie);
            match verify(liar, &chain.deployment, Anchor::Hash(chain.hash)).await {
                Ok(found) => assert_eq!(found.derived, truth.derived, "{key:?} {path}"),
                Err(ProvenError::Lie(lie)) => {
                    named += 1;
                    assert_eq!(lie.node, "http://liar");
                }
                Err(ProvenError::Silence(_)) => {}
                Err(ProvenError::L1(error)) => {
                    assert!(key.0 == "eth_chainId", "{key:?} {path}: {error}");
                }
                Err(error) => panic!("{key:?} {path}: blamed on somebody else: {error}"),
            }
        }
    }
    assert!(tried > 300 && named > 200, "{named} of {tried} lies were named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_members_should_not_have_signed_is_named_and_derives_all_the_same() {
    let (world, mut chain) = chain(|block| {
        block.header.proposer = alloy::primitives::Address::repeat_byte(7);
        block.transactions.push(RollupTransaction { rollup: RollupId::new(5), ..signed(6) });
        block.transactions.push(RollupTransaction { rollup: ROLLUP, raw: (&[1, 2, 3][..]).into() });
    })
    .await;
    let found = record(&world, &mut chain).await;
    assert_eq!(found.derived.len(), 3);
    let rules: Vec<&str> = found.violations.iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, ["R14", "R43", "R17"], "{:?}", found.violations);
    assert!(found.violations.iter().all(|violation| violation.batch == Some(2)));
}

/// A set that is sealed while a restart is between its two calls, and goes by a pin; the restart, which goes by its own; and a
/// set of the new generation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_l1_is_verified_by_its_closed_check_in() {
    let world = World::with_members(4).await;
    let (client, deployment, params) = (&world.client, &world.deployment, &world.params);
    // However long the calls take.
    client.provider().anvil_set_block_timestamp_interval(1).await.unwrap();
    let due = client.head().await.unwrap().timestamp.get() + params.restart_delay_seconds;
    let opened_in = params.epoch_at(Seconds::new(due)).next();
    world.skip_to(params.start_of(opened_in).get()).await;
    let until = restart::open(&world.rich(), deployment).await.unwrap();
    for index in 0..3_usize {
        let id = u32::try_from(index + 1).unwrap();
        restart::check_in(&world.owner(index), deployment, id).await.unwrap();
    }
    world.skip_to(until.get()).await;
    assert_eq!(
        restart::finish(&world.rich(), deployment, true, 0).await.unwrap(),
        Finishing::Closed
    );
    let running = params.epoch_at(client.head().await.unwrap().timestamp);
    world.seal(running.next()).await;
    let begun = loop {
        match restart::finish(&world.rich(), deployment, true, 0).await.unwrap() {
            Finishing::Begun(begun) => break begun,
            Finishing::Closed => panic!("closed twice"),
            Finishing::Open | Finishing::Waiting { .. } => world.mine(1, 1).await,
        }
    };
    let next = begun.epoch.next();
    world.skip_to(params.start_of(next).get()).await;
    world.seal(next.next()).await;

    let node = Http::new(&[world.url()]).unwrap();
    let anchor = Anchor::Number(client.head().await.unwrap().number);
    let found = verify(node, deployment, anchor).await.unwrap();
    assert_eq!(found.violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_is_asked_after_null_an_error_or_a_lie() {
    let (world, mut chain) = chain(|_| ()).await;
    let truth = record(&world, &mut chain).await;
    let mut lies = 0;
    for key in chain.honest.0.keys() {
        let mut silent = Record::clone(&chain.honest.0);
        silent.remove(key);
        let null = chain.honest.lying(key, Value::Null);
        let wrong = chain.honest.lying(key, json!("0x01"));
        for first in [Recorded(Arc::new(silent)), null, wrong] {
            let nodes = Several(vec![first, chain.honest.clone()]);
            if key.0 == "eth_chainId" {
                continue;
            }
            let found = verify(nodes, &chain.deployment, Anchor::Hash(chain.hash)).await.unwrap();
            assert_eq!(
                (&found.derived, &found.unproven),
                (&truth.derived, &truth.unproven),
                "{key:?}"
            );
            lies += found.harmless.len();
        }
    }
    assert!(lies > 5, "lies are told also where they did no harm: {lies}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_proofs_of_accounts_it_goes_on_and_says_so() {
    let (world, mut chain) = chain(|_| ()).await;
    let truth = record(&world, &mut chain).await;
    let mut record = Record::clone(&chain.honest.0);
    record.retain(|(method, _), _| *method != "eth_getProof");
    let pruned = Recorded(Arc::new(record));
    let found = verify(pruned, &chain.deployment, Anchor::Number(chain.head)).await.unwrap();
    assert_eq!(found.derived, truth.derived);
    assert_eq!(found.unproven, ["the code of the settlement contract and of frozen sets"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_header_takes_one_request_and_each_block_of_ours_at_most_four_more() {
    let (world, mut chain) = chain(|_| ()).await;
    let found = record(&world, &mut chain).await;
    let headers = chain.head - chain.deployment.block + 1;
    let (receipts, bodies) =
        (count(&chain, "eth_getBlockReceipts"), count(&chain, "eth_getBlockByHash"));
    let proofs = count(&chain, "eth_getProof") + count(&chain, "eth_getCode");
    // Chain id and parameters, besides.
    assert_eq!(found.requests, headers + receipts + bodies + proofs + 2);
    assert!(bodies <= receipts && proofs <= 2 * (bodies + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_not_asked_for_again_and_is_believed_no_more_than_a_node() {
    let (world, mut chain) = chain(|_| ()).await;
    let truth = record(&world, &mut chain).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let run = async || {
        let nodes =
            Nodes::new(chain.honest.clone()).keeping(super::KeptAnswers::open(&path).unwrap());
        verify_with(nodes, &chain.deployment, Anchor::Number(chain.head)).await.unwrap()
    };
    let (first, second) = (run().await, run().await);
    assert_eq!((&first.derived, &second.derived), (&truth.derived, &truth.derived));
    assert_eq!(first.requests, truth.requests);
    let proofs = count(&chain, "eth_getProof") + count(&chain, "eth_getCode");
    assert_eq!(second.requests, proofs + 3, "chain id, anchor, parameters, and proofs");

    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("0x1", "0x2")).unwrap();
    let third = run().await;
    assert_eq!(third.derived, truth.derived);
    assert!(third.requests > second.requests);
}

fn count(chain: &Chain, method: &str) -> u64 {
    let is_header = |params: &str| method == "eth_getBlockByHash" && params.ends_with("false]");
    let asked =
        chain.honest.0.keys().filter(|(known, params)| *known == method && !is_header(params));
    u64::try_from(asked.count()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_under_the_reader_is_nobodys_lie() {
    let (world, chain) = chain(|_| ()).await;
    let node = Http::new(&[world.url()]).unwrap();
    let nodes = Nodes::new(node).impatient();
    let anchor = Anchor::Number(chain.head);
    let (proven, params) =
        Proven::open(nodes, chain.deployment.clone(), anchor, &|_| ()).await.unwrap();
    // All that settled is in other blocks now, under the same numbers or not at all.
    world.reorg(chain.head.saturating_sub(chain.deployment.block).saturating_sub(1)).await;
    let mut verifier = Verifier::new(chain.deployment.clone(), params);
    let l1 = |number| proven.block(number);
    let mut blocks = std::pin::pin!(proven.blocks(0, &|_| ()));
    let error = loop {
        match blocks.next().await {
            Some(Ok(block)) => drop(verifier.take(&block, &l1).await.unwrap()),
            Some(Err(error)) => break error,
            None => panic!("read to the end"),
        }
    };
    let is_blame = matches!(error, ProvenError::Lie(_) | ProvenError::Silence(_));
    assert!(is_blame, "by itself it looks like one: {error}");
    let judged = proven.judged(error).await;
    assert!(matches!(judged, ProvenError::Reorganised { number } if number == chain.head));
    assert_eq!(proven.nodes().lies(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_of_another_release_is_named() {
    let (world, mut chain) = chain(|_| ()).await;
    record(&world, &mut chain).await;
    let key = chain.honest.0.keys().find(|key| key.0 == "eth_call").unwrap().clone();
    let told = chain.honest.0[&key].as_str().unwrap().to_owned();
    let shorter = told[..told.len() - 64].to_owned();
    for other in [shorter, format!("{told}{}", "0".repeat(64))] {
        let node = chain.honest.lying(&key, json!(other));
        let error = verify(node, &chain.deployment, Anchor::Hash(chain.hash)).await.unwrap_err();
        assert!(matches!(error, ProvenError::OtherRelease { .. }), "{error}");
        assert!(error.to_string().contains("another release"), "{error}");
        // Where one node tells the truth, the other one is the liar.
        let node = Several(vec![chain.honest.lying(&key, json!(other)), chain.honest.clone()]);
        let found = verify(node, &chain.deployment, Anchor::Hash(chain.hash)).await.unwrap();
        assert_eq!(found.harmless.len(), 1);
    }
    let node = chain.honest.lying(&key, json!("0x"));
    let error = verify(node, &chain.deployment, Anchor::Hash(chain.hash)).await.unwrap_err();
    assert!(matches!(error, ProvenError::L1(L1Error::NoContract { .. })), "{error}");
}

/// How fast it goes where no node is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of release builds"]
async fn speed() {
    const ROUNDS: u32 = 20;
    let (world, mut chain) = chain(|block| block.transactions.extend((100..850).map(signed))).await;
    let found = record(&world, &mut chain).await;
    drop(world);
    let count = |derived: &Derived| match derived {
        Derived::Batch(_, batch) => batch.items.len() + batch.noops.len(),
        Derived::Escape(_, escape) => escape.items.len() + escape.noops.len(),
    };
    let transactions: usize = found.derived.iter().map(count).sum();
    let begun = std::time::Instant::now();
    for _ in 0..ROUNDS {
        let again = verify(chain.honest.clone(), &chain.deployment, Anchor::Hash(chain.hash)).await;
        assert_eq!(again.unwrap().derived.len(), found.derived.len());
    }
    let each = begun.elapsed() / ROUNDS;
    let a_second = f64::from(u32::try_from(transactions).unwrap()) / each.as_secs_f64();
    println!("{transactions} transactions in {each:?}: {a_second:.0} a second");
}
