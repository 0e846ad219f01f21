//! Generations: what a restart leaves, and who goes on from there (R5, R33).

use super::net::{Agent, Net, soon, transaction};
use super::{all_reach, assert_one_chain};
use crate::domain::{
    BatchHeader, BatchNumber, Generation, Height, L1Block, RollupTransaction, Seconds, SettledBatch,
};
use crate::storage::Store;
use crate::testing::batch_header;
use alloy::primitives::{Address, B256};
use std::time::Duration;

pub(super) fn tip(agent: &Agent) -> u64 {
    agent.store.decided_tip().unwrap().unwrap().0.get()
}

fn block_at(store: &Store, height: u64) -> (Height, B256) {
    (Height::new(height), store.header(Height::new(height)).unwrap().unwrap().0)
}

fn submit(agents: &[Agent], transactions: &[RollupTransaction]) {
    for agent in agents {
        for tx in transactions {
            agent.source.submit(tx.clone());
        }
    }
}

/// How often the chain holds each of these.
fn counts(store: &Store, transactions: &[RollupTransaction]) -> Vec<usize> {
    let tip = store.decided_tip().unwrap().unwrap().0.get();
    let blocks: Vec<_> =
        (1..=tip).map(|at| store.block(Height::new(at)).unwrap().unwrap().block).collect();
    let all = || blocks.iter().flat_map(|block| &block.transactions);
    transactions.iter().map(|tx| all().filter(|other| *other == tx).count()).collect()
}

/// Heights up to `last` as one settled batch.
pub(super) fn settled(last: u64) -> SettledBatch {
    let header = BatchHeader { first_height: Height::new(1), ..batch_header(last) };
    SettledBatch {
        number: BatchNumber::new(1),
        header,
        poster: Address::ZERO,
        signers: 0,
        block: L1Block { number: 40, hash: B256::ZERO, timestamp: Seconds::new(0) },
        tx_hash: B256::ZERO,
        parent_settled_at: Seconds::new(0),
        payload_bytes: 0,
        refund_wei: 0,
        late: false,
        led: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_are_left_go_on_from_the_settled_block_and_order_again_what_was_undone() {
    const SETTLED: u64 = 5;
    const FINISH: u64 = 60;
    let net = Net::new(5, 4);
    let mut agents: Vec<_> = (0..4).map(|seat| net.start(seat)).collect();
    all_reach(&mut agents, SETTLED + 2).await;
    let undone: Vec<_> = (0..20).map(transaction).collect();
    submit(&agents, &undone);
    for agent in &mut agents {
        agent.decides(undone.last().unwrap()).await;
    }
    // Two of four are gone for good: nothing more is decided, whatever comes in.
    agents.pop().unwrap().stop().await;
    agents.pop().unwrap().stop().await;
    let late = [transaction(20)];
    submit(&agents, &late);
    let before = tip(&agents[0]).max(tip(&agents[1]));
    let parent = block_at(&agents[0].store, SETTLED);

    net.finish(1, parent, FINISH, &[0, 1]);
    assert_eq!(agents[0].store.generation_start().unwrap(), None, "the finish is not at depth");
    net.mine_through(FINISH + 4);
    for agent in &mut agents {
        agent.begins(1).await;
        agent.decides(&late[0]).await;
    }
    all_reach(&mut agents, before + 5).await;
    assert_one_chain(&net, &agents[0].store, &agents[1].store, before + 5);

    let first = agents[0].store.block(parent.0.next()).unwrap().unwrap().block.header;
    assert_eq!((first.generation, first.parent_hash), (Generation::new(1), parent.1));
    assert!(first.l1_origin_number >= FINISH, "{first:?}");
    for agent in &agents {
        assert_eq!(counts(&agent.store, &undone), [1; 20]);
        assert!(!agent.store.undone().unwrap().is_empty());
    }

    // An agent that knows of nothing yet reads what settled from L1, and the rest from its peers.
    net.archive(Some(&agents[0].store));
    let store = Store::open(net.seats[4].store_path()).unwrap();
    store.settle_from(BatchNumber::new(1), &[settled(SETTLED)]).unwrap();
    drop(store);
    let mut fresh = net.start(4);
    fresh.reaches(before + 5).await;
    assert_one_chain_from(&agents[0].store, &fresh.store, before + 5);
    fresh.stop().await;

    // After a restart of its process an agent is where it was.
    agents.pop().unwrap().stop().await;
    agents.push(net.start(1));
    let goal = tip(&agents[0]) + 5;
    all_reach(&mut agents, goal).await;
    net.archive(None);
    for agent in agents {
        agent.stop().await;
    }
}

/// The blocks alone: those that were read from L1 have no certificate.
fn assert_one_chain_from(a: &Store, b: &Store, height: u64) {
    for at in (1..=height).map(Height::new) {
        let [a, b] = [a, b].map(|store| store.block(at).unwrap().unwrap().block);
        assert_eq!(a, b);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_set_orders_nothing_until_a_generation_with_members_begins() {
    let net = Net::new(2, 2);
    let mut agents = net.start_all();
    all_reach(&mut agents, 3).await;
    net.seal(1, &[]);
    net.mine_through(80);
    let starved = async {
        let origin = |agent: &Agent| {
            let tip = agent.store.decided_tip().unwrap().unwrap().0;
            agent.store.header(tip).unwrap().unwrap().1.l1_origin_number
        };
        while agents.iter().any(|agent| origin(agent) < 60) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the epoch of the empty set", starved).await;
    let stopped = tip(&agents[0]);

    net.finish(1, block_at(&agents[0].store, 2), 90, &[0, 1]);
    net.mine_through(100);
    for agent in &mut agents {
        agent.begins(1).await;
    }
    all_reach(&mut agents, stopped + 4).await;
    assert_one_chain(&net, &agents[0].store, &agents[1].store, stopped + 4);
    let parent = agents[0].store.header(Height::new(2)).unwrap().unwrap().1;
    assert_eq!(parent.generation, Generation::new(0));
    for agent in agents {
        agent.stop().await;
    }
}
