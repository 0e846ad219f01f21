//! What a start costs after a long time.

use super::super::facts::Fact;
use super::super::picture;
use super::super::testing::Following;
use super::super::testing::hostile::{Fate, Hostile};
use super::reading::{counting, number, settled_world, through};
use crate::domain::{BatchHeader, BatchNumber, Deployment, Height, SettledBatch};
use crate::storage::Store;
use std::sync::Arc;

/// Batches that have settled before those that this L1 has.
const EARLIER: u64 = 100_000;

/// Makes a store that has seen two batches look as if `EARLIER` more had settled before them.
fn age(store: &Store, deployment: &Deployment) {
    let pictures = store.l1_pictures().unwrap();
    let mut kept = picture::decode(&pictures[0], deployment).unwrap();
    let mut last = None;
    for (_, fact) in &mut kept.chain.facts {
        let Fact::Settled(batch) = fact else { continue };
        let later = SettledBatch {
            number: BatchNumber::new(batch.number.get().saturating_add(EARLIER)),
            ..SettledBatch::clone(batch)
        };
        *fact = Fact::Settled(Arc::new(later.clone()));
        last = Some(later);
    }
    let like = last.expect("one has settled");
    store.keep_l1_picture(&picture::encode(&kept, deployment), false).unwrap();
    let all: Vec<SettledBatch> = (1..=EARLIER)
        .map(|number| {
            let (first_height, last_height) = (Height::new(number), Height::new(number));
            let header = BatchHeader { first_height, last_height, ..like.header.clone() };
            SettledBatch { number: BatchNumber::new(number), header, ..like.clone() }
        })
        .collect();
    store.settle(&all).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_hundred_thousand_batches_asks_l1_for_what_is_new_alone() {
    let world = settled_world(2, 60).await;
    let hostile = Hostile::before(world.url()).await;
    let fresh = Following::through(&world, through(&hostile, &world).await);
    fresh.until("both batches", |m| m.is_ready() && number(m) == 2).await;
    let store = fresh.store.clone();
    let kept = fresh.stop().await;
    age(&store, &world.deployment);
    drop(store);

    let count = counting(&hostile);
    let again = Following::on(&world, through(&hostile, &world).await, kept);
    again.until("all batches", |m| m.is_ready() && number(m) == EARLIER + 2).await;
    let asked = count();
    assert!(asked <= 100, "{asked} requests");
    assert_eq!(hostile.asked("eth_getTransactionByHash"), 2, "no input is read again");

    // All that it takes to vote is there before a node has answered.
    let kept = again.stop().await;
    let client = through(&hostile, &world).await;
    hostile.on(|_| Some(Fate::Http(503, "away")));
    let away = Following::on(&world, client, kept);
    away.until("the kept picture", |m| number(m) == EARLIER + 2 && !m.sets.is_empty()).await;
    assert!(!away.mirror.read().is_ready());
}
