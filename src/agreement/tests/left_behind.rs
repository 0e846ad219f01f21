//! Agents that come when peers have dropped what they need (R45).

use super::net::{Agent, Net, soon};
use super::{all_reach, restart};
use crate::domain::{BatchNumber, Height, Millis};
use crate::storage::{Horizon, Store};
use std::time::Duration;

/// Drops the blocks below a height.
fn drop_below(agent: &Agent, height: u64) {
    let horizon = Horizon {
        blocks: Height::new(height),
        made_before: Millis::new(u64::MAX),
        batches: BatchNumber::new(0),
    };
    while agent.store.prune(horizon).unwrap() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_peers_have_dropped_old_blocks_reads_them_from_l1_and_the_rest_from_peers() {
    const SETTLED: u64 = 12;
    let net = Net::new(6, 4);
    let mut agents: Vec<_> = (0..4).map(|seat| net.start(seat)).collect();
    all_reach(&mut agents, SETTLED + 6).await;
    // What L1 has for good.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("settled.redb");
    agents[0].store.back_up(&copy);
    let settled = Store::open(&copy).unwrap();
    net.archive(Some(&settled));
    net.mine_through(60);
    for agent in &agents {
        drop_below(agent, SETTLED - 2);
    }

    let fresh_store = Store::open(net.seats[4].store_path()).unwrap();
    fresh_store.settle_from(BatchNumber::new(1), &[restart::settled(SETTLED)]).unwrap();
    drop(fresh_store);
    let mut fresh = net.start(4);
    let goal = restart::tip(&agents[0]) + 5;
    fresh.reaches(goal).await;
    for height in SETTLED - 2..=goal {
        let at = |store: &Store| store.block(Height::new(height)).unwrap().unwrap().block;
        assert_eq!(at(&agents[0].store), at(&fresh.store), "{height}");
    }
    let whole = fresh.store.block(Height::new(1)).unwrap().unwrap();
    assert_eq!(whole.block, settled.block(Height::new(1)).unwrap().unwrap().block);
    // It offers nobody what it has no certificates of; what peers gave it, it has.
    assert_eq!(fresh.store.certified_from().unwrap(), Height::new(SETTLED + 1));

    // One whose L1 shows nothing of it waits, and takes nothing on anybody's word.
    let mut blind = net.start(5);
    soon("it begins", async {
        while blind.store.decided_tip().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let later = restart::tip(&agents[0]) + 60;
    all_reach(&mut agents, later).await;
    assert_eq!(restart::tip(&blind), 0);
    assert!(blind.evidence.try_recv().is_err());
    blind.stop().await;
    fresh.stop().await;
    for agent in agents {
        agent.stop().await;
    }
}

/// What all have lost, and what settled for good, comes back from L1 without a restart of the network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_everybody_has_lost_and_what_settled_is_read_from_l1_and_they_go_on() {
    const SETTLED: u64 = 6;
    let net = Net::new(1, 1);
    let mut alone = net.start(0);
    alone.reaches(SETTLED).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("settled.redb");
    alone.store.back_up(&copy);
    let settled = Store::open(&copy).unwrap();
    alone.stop().await;
    std::fs::remove_file(net.seats[0].store_path()).unwrap();

    let last = settled.block(Height::new(SETTLED)).unwrap().unwrap().block;
    net.archive(Some(&settled));
    net.mine_through(60);
    net.settle(&last.header);
    let store = Store::open(net.seats[0].store_path()).unwrap();
    store.settle_from(BatchNumber::new(1), &[restart::settled(SETTLED)]).unwrap();
    drop(store);
    let patience = Duration::from_millis(300);
    let mut back = net.start_with(0, |config| config.settled_patience = patience);
    back.reaches(SETTLED + 2).await;
    let block = back.store.block(Height::new(SETTLED)).unwrap().unwrap();
    assert_eq!(block.block, last);
    assert!(block.certificate.signatures.is_empty(), "it came from l1");
    assert!(back.evidence.try_recv().is_err());
    back.stop().await;
}
