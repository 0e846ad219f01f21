//! Nodes that answer wrongly, and in the right form: each lies for as long as it is asked, and an honest one stands behind it.

use super::super::testing::hostile::{Fate, Hostile, Request};
use super::super::testing::{Following, World};
use super::super::{Client, L1Error, settlement};
use super::reading::{number, settled_world, through};
use crate::domain::{BatchNumber, BlockHeader, LeaderSet, SettledBatch};
use alloy::consensus::Header;
use alloy::consensus::proofs::calculate_receipt_root;
use alloy::network::AnyReceiptEnvelope;
use alloy::primitives::{Address, B256, Bloom, Bytes};
use alloy::providers::Provider as _;
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::Log;
use alloy::transports::mock::Asserter;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A node that lies wherever `rule` has something to say, and the one that is asked after it.
async fn behind(
    world: &World,
    rule: impl FnMut(&Request<'_>) -> Option<Fate> + Send + 'static,
) -> (Hostile, Hostile, Client) {
    let (liar, honest) = (Hostile::before(world.url()).await, Hostile::before(world.url()).await);
    liar.on(rule);
    let urls = [liar.url(), honest.url()];
    let client = Client::expecting(&urls, world.deployment.chain_id).await.unwrap();
    (liar, honest, client)
}

async fn told(world: &World, method: &'static str, params: Value) -> Value {
    world.client.provider().raw_request(method.into(), params).await.unwrap()
}

/// What a node tells in place of what it is asked for with these parameters.
type Lie = Box<dyn Fn(&Value) -> Option<Fate> + Send>;

/// How often one lie may be told: by as many requests as are under way at a time, and again after each of a few rests.
const TOLD: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_tells_another_block_input_set_or_log_is_left_for_the_next() {
    let world = settled_world(2, 140).await;
    let head = world.client.head().await.unwrap().number;
    let of_nobody = json!([{
        "address": Address::repeat_byte(9), "topics": [], "data": "0x", "blockNumber": "0x5",
        "blockHash": B256::repeat_byte(5), "transactionHash": B256::repeat_byte(6),
        "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
    }]);
    let input = json!({
        "to": world.deployment.settlement, "input": "0x12345678", "type": "0x2",
    });
    let lies: Vec<(&str, Lie)> = vec![
        (
            "eth_getBlockByNumber",
            Box::new(|params| {
                let other = json!({ "method": "eth_getBlockByNumber", "params": ["0x1", false] });
                (params[0] != "latest").then_some(Fate::Instead(other))
            }),
        ),
        (
            "eth_getBlockByNumber",
            Box::new(|params| {
                (params[0] != "latest").then(|| Fate::Answer(json!({ "number": "a lot" })))
            }),
        ),
        ("eth_getTransactionByHash", Box::new(move |_| Some(Fate::Answer(input.clone())))),
        ("eth_getTransactionByHash", Box::new(|_| Some(Fate::Answer(json!("rubbish"))))),
        ("eth_getCode", Box::new(|_| Some(Fate::Answer(json!("0x00112233445566778899"))))),
        ("eth_getLogs", Box::new(move |_| Some(Fate::Answer(of_nobody.clone())))),
    ];
    for (nth, (method, lie)) in lies.into_iter().enumerate() {
        let lies = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&lies);
        let (_liar, honest, client) = behind(&world, move |request| {
            let lie = (request.method == method).then(|| lie(request.params)).flatten();
            told.fetch_add(u64::from(lie.is_some()), Ordering::SeqCst);
            lie
        })
        .await;
        let following = Following::through(&world, client);
        following
            .until(&format!("all in spite of lie {nth} ({method})"), |m| {
                m.head.is_some_and(|block| block.number == head)
                    && number(m) == 2
                    && m.sets.len() == 1
            })
            .await;
        assert!(honest.asked(method) > 0, "{method}");
        let batch = following.store.settled(BatchNumber::new(2)).unwrap().unwrap();
        assert!(!batch.is_unread() && batch.header.last_height.get() == 2);
        // What it answers well meanwhile, as heads, is no lie.
        let lies = lies.load(Ordering::SeqCst);
        assert!((1..=TOLD).contains(&lies), "lie {nth} ({method}) was told {lies} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_is_left_at_once_and_only_its_node() {
    let world = World::deploy(|config| config).await;
    let (liar, honest, client) = behind(&world, |request| {
        let words = json!(format!("0x{}", "ff".repeat(31)));
        (request.method == "eth_call").then_some(Fate::Answer(words))
    })
    .await;
    client.verify(&world.deployment).await.unwrap();
    assert_eq!(liar.asked("eth_call"), 1);
    let before = liar.total();
    client.balance(world.deployment.settlement).await.unwrap();
    assert_eq!(liar.total(), before, "who tells what cannot be is asked for nothing else");
    // What there is not is nobody's lie.
    honest.on(|request| (request.method == "eth_call").then(|| Fate::Answer(json!("0x"))));
    client.verify(&world.deployment).await.unwrap_err();
    let before = honest.total();
    client.balance(world.deployment.settlement).await.unwrap();
    assert_eq!(honest.total(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_alone_is_asked_again_until_it_tells_what_can_be() {
    let world = settled_world(1, 5).await;
    let hostile = Hostile::before(world.url()).await;
    hostile.on(|request| {
        let other = json!({ "method": "eth_getBlockByNumber", "params": ["0x1", false] });
        let is_asked = request.method == "eth_getBlockByNumber" && !request.asks_block("latest");
        is_asked.then_some(Fate::Instead(other))
    });
    let following = Following::through(&world, through(&hostile, &world).await);
    let tried = async {
        while hostile.asked("eth_getBlockByNumber") < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), tried).await.unwrap();
    assert!(!following.mirror.read().is_ready());
    hostile.behave();
    following.until("the batch", |m| m.is_ready() && number(m) == 1).await;
}

/// A settled batch, and what a node would tell of its transaction with the last byte of its payload changed.
async fn with_another_payload(world: &World) -> (SettledBatch, Value) {
    let following = Following::start(world);
    following.until("the batch", |m| m.is_ready() && number(m) == 1).await;
    let batch = following.store.settled(BatchNumber::new(1)).unwrap().unwrap();
    let mut transaction = told(world, "eth_getTransactionByHash", json!([batch.tx_hash])).await;
    let payload =
        settlement::payload_of(&world.client, &world.deployment, &batch).await.unwrap().to_vec();
    let input: Bytes = serde_json::from_value(transaction["input"].clone()).unwrap();
    let at = input.windows(payload.len()).position(|part| part == payload).unwrap();
    let mut other = input.to_vec();
    *other.iter_mut().take(at.saturating_add(payload.len())).last().unwrap() ^= 1;
    transaction["input"] = json!(Bytes::from(other));
    (batch, transaction)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_the_settled_header_does_not_name_is_not_the_end_of_what_can_be_read() {
    let world = settled_world(1, 5).await;
    let (batch, changed) = with_another_payload(&world).await;
    let expected = settlement::payload_of(&world.client, &world.deployment, &batch).await.unwrap();
    let lie = changed.clone();
    let (liar, _honest, client) = behind(&world, move |request| {
        (request.method == "eth_getTransactionByHash").then(|| Fate::Answer(lie.clone()))
    })
    .await;
    for _ in 0..3 {
        let payload = settlement::payload_of(&client, &world.deployment, &batch).await.unwrap();
        assert_eq!(payload, expected);
    }
    assert_eq!(liar.asked("eth_getTransactionByHash"), 1);

    // Where there is no other node, it is told as something that may pass.
    let alone = Hostile::before(world.url()).await;
    alone.on(move |request| {
        (request.method == "eth_getTransactionByHash").then(|| Fate::Answer(changed.clone()))
    });
    let client = through(&alone, &world).await;
    let error = settlement::payload_of(&client, &world.deployment, &batch).await.unwrap_err();
    assert!(matches!(error, L1Error::BadAnswer { .. }) && error.is_transient(), "{error}");
    alone.behave();
    let payload = settlement::payload_of(&client, &world.deployment, &batch).await.unwrap();
    assert_eq!(payload, expected);
}

/// Settles one more batch on top of those of [`settled_world`].
struct Settler {
    set: Arc<LeaderSet>,
    parent: BlockHeader,
}

impl Settler {
    fn after(world: &World, following: &Following, batches: u64) -> Self {
        let mirror = following.mirror.read();
        let mut parent = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(parent.generation, parent.epoch).unwrap();
        for _ in 0..batches {
            parent = world.block(&set, &parent, 0).header;
        }
        Self { set, parent }
    }

    async fn settle(&mut self, world: &World) {
        let (block, batch) = world.batch(&self.set, &self.parent, 0);
        let poster = world.poster(world.turn_of(&self.set, block.header.height));
        poster.execute(&settlement::order(&world.deployment, &[batch])).await.unwrap();
        self.parent = block.header;
    }
}

/// A node whose index of logs is empty: only receipts tell what it leaves out.
fn no_logs(request: &Request<'_>) -> Option<Fate> {
    (request.method == "eth_getLogs").then(|| Fate::Answer(json!([])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_do_not_read_are_no_reason_to_go_without() {
    let world = settled_world(1, 20).await;
    let hostile = Hostile::before(world.url()).await;
    let following = Following::through(&world, through(&hostile, &world).await);
    following.until("the batch", |m| m.is_ready() && number(m) == 1).await;
    let mut settler = Settler::after(&world, &following, 1);
    // One node, twice.
    let lies = AtomicBool::new(true);
    let mut left = 2;
    hostile.on(no_logs).on(move |request| {
        let is_told = lies.load(Ordering::SeqCst) && request.method == "eth_getBlockReceipts";
        is_told.then(|| {
            left -= 1;
            lies.store(left > 0, Ordering::SeqCst);
            Fate::Answer(json!([{ "status": "as you like it" }]))
        })
    });
    settler.settle(&world).await;
    following.until("the second batch", |m| number(m) == 2).await;

    // One of two nodes, always.
    let (liar, honest, client) = behind(&world, |request| {
        let is_asked = request.method == "eth_getBlockReceipts";
        is_asked.then(|| Fate::Answer(json!([{ "status": "as you like it" }])))
    })
    .await;
    honest.on(no_logs);
    liar.on(no_logs);
    let following = Following::on(&world, client, following.stop().await);
    following.until("what was kept", |m| m.is_ready() && number(m) == 2).await;
    settler.settle(&world).await;
    following.until("the third batch", |m| number(m) == 3).await;
    assert!(liar.asked("eth_getBlockReceipts") <= TOLD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_receipts_does_not_hide_those_of_another() {
    let world = settled_world(1, 20).await;
    let following = Following::start(&world);
    following.until("the batch", |m| m.is_ready() && number(m) == 1).await;
    let mut settler = Settler::after(&world, &following, 1);
    let refusals = [
        Fate::Error(-32_601, "the method does not exist"),
        Fate::Error(-32_600, "Unsupported method: eth_getBlockReceipts"),
        Fate::Http(400, r#"{"error":{"code":-32601,"message":"method not found"}}"#),
    ];
    let mut kept = following.stop().await;
    for (refusal, batches) in refusals.into_iter().zip(2..) {
        let (without, with, client) = behind(&world, move |request| {
            let is_asked = request.method == "eth_getBlockReceipts";
            is_asked.then(|| refusal.clone())
        })
        .await;
        without.on(no_logs);
        with.on(no_logs);
        let following = Following::on(&world, client, kept);
        following.until("what was kept", |m| m.is_ready() && number(m) == batches - 1).await;
        settler.settle(&world).await;
        following.until("one more batch", |m| number(m) == batches).await;
        assert_eq!(without.asked("eth_getBlockReceipts"), 1, "it said so");
        assert!(with.asked("eth_getBlockReceipts") > 0);
        assert_eq!(with.asked("eth_call"), 0, "it is in order for everything else");
        kept = following.stop().await;
    }
}

#[tokio::test]
async fn receipts_of_a_kind_that_nobody_knows_yet_are_proven_too() {
    let receipt = json!({
        "type": "0x7b", "status": "0x1", "cumulativeGasUsed": "0x5208", "logsBloom": Bloom::ZERO,
        "logs": [{
            "address": Address::repeat_byte(9), "topics": [B256::repeat_byte(1)], "data": "0x07",
            "blockNumber": "0x7", "blockHash": B256::repeat_byte(5), "logIndex": "0x0",
            "transactionHash": B256::repeat_byte(6), "transactionIndex": "0x0", "removed": false,
        }],
        "transactionHash": B256::repeat_byte(6), "transactionIndex": "0x0",
        "blockHash": B256::repeat_byte(5), "blockNumber": "0x7", "gasUsed": "0x5208",
        "effectiveGasPrice": "0x7", "from": Address::repeat_byte(1), "to": null,
        "contractAddress": null, "ofALaterFork": "0x1",
    });
    let envelope: AnyReceiptEnvelope<Log> = serde_json::from_value(receipt.clone()).unwrap();
    let bare: AnyReceiptEnvelope =
        AnyReceiptEnvelope { inner: envelope.inner.map_logs(|log| log.inner), r#type: 0x7b };
    let root = calculate_receipt_root(std::slice::from_ref(&bare));
    let node = Asserter::new();
    let client = Client::over(RpcClient::mocked(node.clone()), 1);
    let header = Header { number: 7, receipts_root: root, ..Header::default() };
    node.push_success(&json!([receipt]));
    let read = client.receipts(&header).await.unwrap();
    assert_eq!(read, [(B256::repeat_byte(6), bare)]);
    // Of another kind it is another receipt.
    let mut other = receipt;
    other["type"] = json!("0x2");
    node.push_success(&json!([other]));
    let error = client.receipts(&header).await.unwrap_err();
    assert!(matches!(error, L1Error::BadAnswer { .. }), "{error}");
}
