//! Following L1 through nodes as they are: each test has a real Anvil, and a node before it that is not kind.

use super::super::testing::hostile::{Fate, Hostile};
use super::super::testing::{Following, World};
use super::super::{Certified, Client, Mirror, settlement};
use crate::domain::{BatchNumber, BlockHeader, LeaderSet};
use alloy::providers::Provider as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that failed once rests.
const REST: Duration = Duration::from_secs(5);

/// A chain of `batches` batches, one in each L1 transaction, and `deep` blocks on top.
pub(super) async fn settled_world(batches: u64, deep: u64) -> World {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.genesis.is_some() && !mirror.sets.is_empty()).await;
    let (mut parent, set): (BlockHeader, Arc<LeaderSet>) = {
        let mirror = following.mirror.read();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        (genesis, set)
    };
    world.mine(1, 2).await;
    for _ in 0..batches {
        let (block, batch): (_, Certified) = world.batch(&set, &parent, 0);
        let poster = world.poster(world.turn_of(&set, block.header.height));
        let order = settlement::order(&world.deployment, std::slice::from_ref(&batch));
        poster.execute(&order).await.unwrap();
        parent = block.header;
    }
    world.mine(deep, 1).await;
    world
}

pub(super) fn number(mirror: &Mirror) -> u64 {
    mirror.tip.as_ref().map_or(0, |tip| tip.number.get())
}

fn at(mirror: &Mirror) -> u64 {
    mirror.blocks.last_key_value().map_or(0, |(number, _)| *number)
}

pub(super) async fn through(hostile: &Hostile, world: &World) -> Client {
    Client::expecting(&[hostile.url()], world.deployment.chain_id).await.unwrap()
}

/// Counts what a node is asked from now on, but for its head: that is asked at each look, and how many looks there are is a
/// matter of time.
pub(super) fn counting(hostile: &Hostile) -> impl Fn() -> u64 + use<> {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    hostile.on(move |request| {
        if !request.asks_block("latest") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    move || asked.load(Ordering::SeqCst)
}

async fn is_read(following: &Following, batches: u64) {
    following.until("all batches", |m| m.is_ready() && number(m) == batches).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_asks_for_what_is_new_and_no_more() {
    let world = settled_world(12, 200).await;
    let hostile = Hostile::before(world.url()).await;
    hostile.delay(Duration::from_millis(20));
    let count = counting(&hostile);
    let fresh = Following::through(&world, through(&hostile, &world).await);
    is_read(&fresh, 12).await;
    let store = fresh.stop().await;
    let read = count();
    assert!(hostile.asked("eth_getTransactionByHash") >= 12, "a fresh agent reads all inputs");

    let again = Following::on(&world, through(&hostile, &world).await, store);
    is_read(&again, 12).await;
    let asked = count() - read;
    assert!(asked <= 20, "a restart asked {asked} things, the first start {read}");
    assert_eq!(hostile.asked("eth_getTransactionByHash"), 12);

    // And after an absence, for what came meanwhile: logs in a few ranges, a header a block.
    let store = again.stop().await;
    world.mine(100, 1).await;
    let read = count();
    let after = Following::on(&world, through(&hostile, &world).await, store);
    is_read(&after, 12).await;
    let asked = count() - read;
    assert!(asked <= 130, "{asked} for 100 blocks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_while_l1_is_away_shows_what_was_kept() {
    let world = settled_world(3, 10).await;
    let hostile = Hostile::before(world.url()).await;
    let fresh = Following::through(&world, through(&hostile, &world).await);
    fresh.until("depth", |m| m.is_ready() && number(m) == 3 && m.at_depth.is_some()).await;
    let depth = fresh.mirror.read().at_depth.unwrap().number;
    let store = fresh.stop().await;

    hostile.on(|_| Some(Fate::Http(503, "away")));
    let away = Following::on(&world, through(&hostile, &world).await, store);
    away.until("the kept picture", |m| number(m) == 3).await;
    {
        let mirror = away.mirror.read();
        assert!(!mirror.is_ready() && mirror.read_through.is_none());
        assert_eq!((mirror.sets.len(), mirror.peers.len()), (1, 4));
        assert!(mirror.at_depth.is_some_and(|block| block.number <= depth));
    }
    hostile.behave();
    is_read(&away, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_reorg_goes_back_to_what_is_still_canonical() {
    let world = settled_world(3, 2).await;
    let fresh = Following::start(&world);
    is_read(&fresh, 3).await;
    let store = fresh.stop().await;
    // The two blocks on top and the last settlement are gone, other blocks are there.
    world.reorg(3).await;
    let again = Following::on(&world, world.client.clone(), store);
    is_read(&again, 2).await;
    assert_eq!(again.store.settled(BatchNumber::new(3)).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_below_all_that_is_kept_is_read_again() {
    let world = settled_world(2, 150).await;
    let fresh = Following::start(&world);
    is_read(&fresh, 2).await;
    world.reorg(152).await;
    // Told once is not enough: it is asked several times.
    fresh.until("nothing settled", |m| m.is_ready() && number(m) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fifth_request_that_fails_costs_time_and_nothing_else() {
    let world = settled_world(6, 200).await;
    let hostile = Hostile::before(world.url()).await;
    hostile.on(|request| match request.number % 15 {
        4 => Some(Fate::Http(502, "<html>bad gateway</html>")),
        9 => Some(Fate::Error(-32_603, "internal error")),
        14 => Some(Fate::Answer(json!("nonsense"))),
        _ => None,
    });
    let fresh = Following::through(&world, through(&hostile, &world).await);
    is_read(&fresh, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_in_ranges_that_every_provider_takes() {
    let world = settled_world(4, 300).await;
    let refusals = [
        Fate::Error(-32_005, "query returned more than 10000 results"),
        Fate::Error(-32_005, "Requested range exceeds maximum RPC range limit"),
        Fate::Error(-32_602, "Log response size exceeded"),
        Fate::Error(-32_614, "eth_getLogs is limited to a 10,000 range"),
        Fate::Error(-32_000, "block range limit exceeded"),
        Fate::Http(413, "<html><h1>413 Request Entity Too Large</h1></html>"),
    ];
    for refusal in refusals {
        let hostile = Hostile::before(world.url()).await;
        let told = refusal.clone();
        hostile
            .on(move |request| request.span().is_some_and(|span| span > 50).then(|| told.clone()));
        let fresh = Following::through(&world, through(&hostile, &world).await);
        fresh
            .until(&format!("all batches in spite of {refusal:?}"), |m| {
                m.is_ready() && number(m) == 4
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_lags_or_a_block_that_is_not_there_is_no_reorg() {
    let world = settled_world(3, 5).await;
    let hostile = Hostile::before(world.url()).await;
    let (newest, asked) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    newest.store(world.client.head().await.unwrap().number, Ordering::SeqCst);
    let shown = Arc::clone(&newest);
    hostile.on(move |request| {
        let nth = asked.fetch_add(1, Ordering::SeqCst);
        if request.asks_block("latest") && nth % 2 == 0 {
            let behind = shown.load(Ordering::SeqCst).saturating_sub(1 + nth % 3);
            let params = json!([format!("0x{behind:x}"), false]);
            return Some(Fate::Instead(
                json!({ "method": "eth_getBlockByNumber", "params": params }),
            ));
        }
        // A backend that does not have the block that another one told of.
        (request.method == "eth_getBlockByNumber" && nth % 7 == 0)
            .then_some(Fate::Answer(json!(null)))
    });
    let following = Following::through(&world, through(&hostile, &world).await);
    is_read(&following, 3).await;

    let mut changes = following.mirror.subscribe();
    let mut highest = following.mirror.read().head.unwrap().number;
    for _ in 0..8 {
        world.mine(1, 1).await;
        let head = newest.fetch_add(1, Ordering::SeqCst) + 1;
        while highest < head {
            changes.changed().await.unwrap();
            let mirror = following.mirror.read();
            let now = mirror.head.unwrap().number;
            assert!(now >= highest, "went back from {highest} to {now}");
            assert_eq!(number(&mirror), 3);
            highest = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_fails_falls_behind_or_is_on_another_chain_is_left_for_the_next() {
    let world = settled_world(1, 300).await;
    let (first, second) = (Hostile::before(world.url()).await, Hostile::before(world.url()).await);
    let urls = [first.url(), second.url()];
    let head = world.client.head().await.unwrap().number;
    let client = Client::expecting(&urls, world.deployment.chain_id).await.unwrap();
    assert_eq!(client.head().await.unwrap().number, head);
    assert_eq!(second.total(), 0, "the first one is in order: nobody else is asked");

    // A backend that is 200 blocks behind.
    first.on(move |request| {
        let params = json!([format!("0x{:x}", head - 200), false]);
        let other = json!({ "method": "eth_getBlockByNumber", "params": params });
        request.asks_block("latest").then_some(Fate::Instead(other))
    });
    assert_eq!(client.head().await.unwrap().number, head);
    let before = first.total();
    client.balance(world.deployment.settlement).await.unwrap();
    assert_eq!(first.total(), before, "who is behind is asked for nothing else");

    // Too many requests, no JSON, and gone.
    for fate in [Fate::Http(429, ""), Fate::Http(200, "<html>"), Fate::Error(-32_005, "rate limit")]
    {
        // A machine that takes as long as the rest does shows nothing about it.
        loop {
            let (first, second) =
                (Hostile::before(world.url()).await, Hostile::before(world.url()).await);
            let told = fate.clone();
            first.on(move |_| Some(told.clone()));
            let urls = [first.url(), second.url()];
            let client = Client::expecting(&urls, world.deployment.chain_id).await.unwrap();
            let begun = Instant::now();
            assert_eq!(client.head().await.unwrap().number, head);
            let before = first.total();
            assert_eq!(client.head().await.unwrap().number, head);
            if begun.elapsed() < REST {
                assert_eq!(first.total(), before, "it rests");
                break;
            }
        }
    }

    let (foreign, second) =
        (Hostile::before(world.url()).await, Hostile::before(world.url()).await);
    foreign.on(|request| (request.method == "eth_chainId").then(|| Fate::Answer(json!("0x5"))));
    let urls = [foreign.url(), second.url()];
    let client = Client::expecting(&urls, world.deployment.chain_id).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.head().await.unwrap().number, head);
    }
    assert_eq!(foreign.total(), 1, "it said what it is, and is never asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_makes_up_a_head_does_not_stop_the_mirror() {
    let world = settled_world(1, 20).await;
    let head = world.client.head().await.unwrap().number;
    let shown = json!([format!("0x{head:x}"), false]);
    let mut made_up: Value = world
        .client
        .provider()
        .raw_request("eth_getBlockByNumber".into(), shown.clone())
        .await
        .unwrap();
    made_up["number"] = json!(format!("0x{:x}", head + (1 << 40)));
    let (honest, liar) = (Hostile::before(world.url()).await, Hostile::before(world.url()).await);
    liar.on(move |request| request.asks_block("latest").then(|| Fate::Answer(made_up.clone())));
    let is_frozen = Arc::new(AtomicBool::new(true));
    let frozen = Arc::clone(&is_frozen);
    honest.on(move |request| {
        let other = json!({ "method": "eth_getBlockByNumber", "params": shown });
        let lags = frozen.load(Ordering::Relaxed) && request.asks_block("latest");
        lags.then_some(Fate::Instead(other))
    });
    let chain_id = world.deployment.chain_id;
    let client = Client::expecting(&[honest.url(), liar.url()], chain_id).await.unwrap();
    let following = Following::through(&world, client);
    following.until("the head", |mirror| at(mirror) == head).await;
    world.mine(2, 1).await;
    // Until the two are compared.
    let compared = async {
        while liar.asked("eth_getBlockByNumber") == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), compared).await.unwrap();
    is_frozen.store(false, Ordering::Relaxed);
    following.until("what is new", |mirror| at(mirror) == head + 2).await;

    // Who starts with the liar alone to believe finds out at the first block that is not there.
    let client = Client::expecting(&[liar.url(), honest.url()], chain_id).await.unwrap();
    let following = Following::through(&world, client);
    following.until("the head", |mirror| at(mirror) == head + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_a_node_made_up_is_not_believed() {
    let world = settled_world(2, 140).await;
    let hostile = Hostile::before(world.url()).await;
    let made_up = json!({
        "to": world.deployment.settlement, "input": "0x12345678", "type": "0x2",
    });
    let lies = AtomicU64::new(0);
    hostile.on(move |request| {
        let is_input = request.method == "eth_getTransactionByHash";
        (is_input && lies.fetch_add(1, Ordering::SeqCst) < 12)
            .then(|| Fate::Answer(made_up.clone()))
    });
    let fresh = Following::through(&world, through(&hostile, &world).await);
    is_read(&fresh, 2).await;
    let batch = fresh.store.settled(BatchNumber::new(2)).unwrap().unwrap();
    assert!(!batch.is_unread() && batch.header.last_height.get() == 2);
}

/// What nodes say of `finalized` before anything is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn depth_waits_for_finality_whatever_a_node_says_of_it() {
    let world = World::deploy(|config| config).await;
    world.mine(100, 1).await;
    let says = [
        Fate::Error(-32_000, "finalized block not found"),
        Fate::Error(-32_000, "unknown block"),
        Fate::Error(-39_001, "Unknown block"),
        Fate::Error(-32_602, "invalid params"),
        Fate::Answer(json!(null)),
    ];
    for said in says {
        // Not a development chain, of which no finality is asked.
        let hostile = Hostile::before(world.url()).await;
        let told = said.clone();
        hostile
            .on(|request| (request.method == "eth_chainId").then(|| Fate::Answer(json!("0x539"))))
            .on(move |request| request.asks_block("finalized").then(|| told.clone()));
        let client = Client::expecting(&[hostile.url()], 1_337).await.unwrap();
        let following = Following::through(&world, client);
        following.until(&format!("a head in spite of {said:?}"), Mirror::is_ready).await;
        assert_eq!(following.mirror.read().at_depth, None, "{said:?}");
        hostile.behave();
        following.until(&format!("depth after {said:?}"), |m| m.at_depth.is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_node_leaves_out_is_not_missed() {
    let world = settled_world(2, 20).await;
    let hostile = Hostile::before(world.url()).await;
    let following = Following::through(&world, through(&hostile, &world).await);
    is_read(&following, 2).await;
    // From now on its index of logs is empty: for a single block, and for a stretch of them.
    hostile.on(|request| (request.method == "eth_getLogs").then(|| Fate::Answer(json!([]))));
    let (mut parent, set) = {
        let mirror = following.mirror.read();
        let last = mirror.last_settled.as_ref().unwrap();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        let parent = BlockHeader {
            height: last.header.last_height,
            timestamp: crate::domain::Millis::new(genesis.timestamp.get() + 1_000),
            ..genesis
        };
        (parent, set)
    };
    // The last block as it was settled.
    let mut before = following.mirror.read().genesis.clone().unwrap();
    for _ in 0..2 {
        before = world.block(&set, &before, 0).header;
    }
    parent.clone_from(&before);
    for (number, more) in [(3, 0), (4, 30)] {
        let (block, batch) = world.batch(&set, &parent, 0);
        let poster = world.poster(world.turn_of(&set, block.header.height));
        poster.execute(&settlement::order(&world.deployment, &[batch])).await.unwrap();
        parent = block.header;
        world.mine(more, 1).await;
        is_read(&following, number).await;
    }
    // Receipts that are not those of the block are not believed either.
    let lies = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&lies);
    hostile.on(move |request| {
        let asked = request.method == "eth_getBlockReceipts";
        (asked && told.fetch_add(1, Ordering::SeqCst) < 3).then(|| Fate::Answer(json!([])))
    });
    let (block, batch) = world.batch(&set, &parent, 0);
    let poster = world.poster(world.turn_of(&set, block.header.height));
    poster.execute(&settlement::order(&world.deployment, &[batch])).await.unwrap();
    is_read(&following, 5).await;
    assert!(lies.load(Ordering::SeqCst) >= 3);
    // Nor does a refusal that nobody knows make it go without them.
    let refused = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&refused);
    hostile.on(move |request| {
        let asked = request.method == "eth_getBlockReceipts";
        (asked && told.fetch_add(1, Ordering::SeqCst) < 2)
            .then_some(Fate::Error(-32_000, "come back when the moon is full"))
    });
    let (block, batch) = world.batch(&set, &block.header, 0);
    let poster = world.poster(world.turn_of(&set, block.header.height));
    poster.execute(&settlement::order(&world.deployment, &[batch])).await.unwrap();
    is_read(&following, 6).await;
    assert!(refused.load(Ordering::SeqCst) >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_receipts_is_believed_as_before() {
    let world = settled_world(3, 20).await;
    let hostile = Hostile::before(world.url()).await;
    hostile.on(|request| {
        let is_asked = request.method == "eth_getBlockReceipts";
        is_asked.then_some(Fate::Error(-32_601, "the method does not exist"))
    });
    let following = Following::through(&world, through(&hostile, &world).await);
    is_read(&following, 3).await;
    assert!(hostile.asked("eth_getBlockReceipts") < 64, "asked once, and those under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_receipts_whose_logs_are_behind_its_headers_hides_no_event() {
    let world = settled_world(3, 20).await;
    let hostile = Hostile::before(world.url()).await;
    // What answers for ranges has not come as far as what answers for blocks.
    hostile
        .on(|request| {
            let is_asked = request.method == "eth_getBlockReceipts";
            is_asked.then_some(Fate::Error(-32_601, "the method does not exist"))
        })
        .on(|request| request.span().is_some().then(|| Fate::Answer(json!([]))));
    let following = Following::through(&world, through(&hostile, &world).await);
    is_read(&following, 3).await;
    let mirror = following.mirror.read();
    assert!(mirror.doubt.is_none() && mirror.genesis.is_some() && !mirror.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_a_node_left_out_of_old_ranges_are_read_again() {
    let world = settled_world(3, 200).await;
    let hostile = Hostile::before(world.url()).await;
    let asked = AtomicU64::new(0);
    // The batches, which are in the oldest range, are not among its logs the first time.
    hostile.on(move |request| {
        let is_first = request.span().is_some() && asked.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| Fate::Answer(json!([])))
    });
    let following = Following::through(&world, through(&hostile, &world).await);
    is_read(&following, 3).await;
    assert_eq!(following.mirror.read().doubt, None);
    assert_eq!(following.store.settled(BatchNumber::new(2)).unwrap().unwrap().number.get(), 2);

    // Whoever never tells them is not asked for ever: what is missing is said.
    let deaf = Hostile::before(world.url()).await;
    deaf.on(|request| request.span().is_some().then(|| Fate::Answer(json!([]))));
    let following = Following::through(&world, through(&deaf, &world).await);
    following.until("the doubt", |m| m.is_ready() && m.doubt.is_some()).await;
    let doubt = following.mirror.read().doubt.clone().unwrap();
    assert!(doubt.contains("by its events"), "{doubt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_set_that_does_not_read_is_never_passed_over() {
    let world = settled_world(1, 5).await;
    for code in ["0x", "0x00", "0x00112233445566778899"] {
        let hostile = Hostile::before(world.url()).await;
        hostile.on(move |request| {
            (request.method == "eth_getCode").then(|| Fate::Answer(json!(code)))
        });
        let following = Following::through(&world, through(&hostile, &world).await);
        let tried = async {
            while hostile.asked("eth_getCode") < 6 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), tried).await.unwrap();
        {
            let mirror = following.mirror.read();
            assert!(!mirror.is_ready() && mirror.sets.is_empty(), "{code}");
        }
        hostile.behave();
        following.until("the set", |m| m.is_ready() && m.sets.len() == 1).await;
    }
}
