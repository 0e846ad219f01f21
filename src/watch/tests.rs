//! Duties against a real Anvil.

use super::tally::TALLY_AT_ONCE;
use super::{Watcher, run};
use crate::crypto::SecretKey;
use crate::domain::{
    Evidence, Generation, Height, RollupId, RollupTransaction, Round, SequencerStatus, Vote,
    VoteType,
};
use crate::l1::testing::{Following, World, signer};
use crate::l1::{actions, duties, force, reports, settle_order};
use crate::testing::{key, raw_priced};
use alloy::primitives::{B256, U256};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn double_vote(world: &World, key: &SecretKey) -> Evidence {
    let vote = |block| Vote {
        generation: Generation::new(0),
        height: Height::new(7),
        round: Round::new(0),
        block_hash: B256::repeat_byte(block),
    };
    let signed = |vote: Vote| {
        let signature = key.sign(world.domain.vote(VoteType::Precommit, &vote));
        (vote, signature)
    };
    Evidence::DoubleVote {
        offender: key.address(),
        vote_type: VoteType::Precommit,
        a: signed(vote(1)),
        b: signed(vote(2)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seals_the_next_set_tallies_and_brings_an_offence_to_its_end() {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.sets.len() == 1 && mirror.tip.is_some()).await;
    let (genesis, set) = {
        let mirror = following.mirror.read();
        (mirror.genesis.clone().unwrap(), mirror.sets.values().next().cloned().unwrap())
    };

    // As many batches as are tallied at once.
    let mut parent = genesis;
    let mut batches = Vec::new();
    for _ in 0..TALLY_AT_ONCE {
        let (block, batch) = world.batch(&set, &parent, 0);
        parent = block.header;
        batches.push(batch);
    }
    for batch in batches {
        let poster = world.poster(world.turn_of(&set, batch.header.last_height));
        poster.execute(&settle_order(&world.deployment, &[batch])).await.unwrap();
    }

    let watcher = Watcher::new(
        world.poster(signer(0).address()),
        signer(0).address(),
        world.deployment.clone(),
        following.mirror.clone(),
        following.store.clone(),
        crate::config::RestartDuty::None,
    );
    let shutdown = CancellationToken::new();
    let (found, evidence) = mpsc::channel(4);
    tokio::spawn(run(watcher, evidence, shutdown.clone()));
    let _stop = shutdown.drop_guard();

    // Late in the epoch anybody seals the next one.
    let into = world.params.epoch_seconds - 2;
    let end = world.params.start_of(set.sealed_for()).get() + into;
    let now = world.client.head().await.unwrap().timestamp.get();
    world.mine(1, 1).await;
    world.skip_to(end.max(now + 2)).await;
    following.until("the next set", |mirror| mirror.sets.len() == 2).await;

    let offence = double_vote(&world, &signer(1));
    let id = actions::id_of(&world.client, &world.deployment, signer(1).address()).await.unwrap();
    let id = id.unwrap();
    let case = reports::case_id(id, &offence);
    assert!(following.store.keep_evidence(&offence).unwrap());
    found.send(offence.clone()).await.unwrap();
    found.send(offence).await.unwrap();
    following.until("a report", |mirror| mirror.open_cases.contains(&case)).await;
    let record = actions::sequencer(&world.client, &world.deployment, id).await.unwrap();
    assert_eq!(record.status, SequencerStatus::Jailed);
    let two_windows = 3 * world.params.correlation_window_seconds;
    let now = world.client.head().await.unwrap().timestamp.get();
    world.skip_to(now + two_windows).await;
    following.until("an execution", |mirror| mirror.open_cases.is_empty()).await;
    assert_eq!(following.mirror.read().reported, 1);
    let record = actions::sequencer(&world.client, &world.deployment, id).await.unwrap();
    assert_eq!(record.status, SequencerStatus::Tombstoned);
    let reporter = world.poster(signer(0).address());
    let bounty =
        actions::claim_bounty(&reporter, &world.deployment, reporter.address()).await.unwrap();
    assert!(bounty > U256::ZERO);

    world.mine(world.params.origin_depth_blocks, 1).await;
    let all_tallied = async {
        while duties::next_tally(&world.client, &world.deployment).await.unwrap().get()
            <= u64::try_from(TALLY_AT_ONCE).unwrap()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all_tallied).await.expect("tallied");

    // No reorg can undo the report any more: nothing is kept of it.
    let forgotten = async {
        while !following.store.evidence().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), forgotten).await.expect("forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_what_an_earlier_run_found() {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.sets.len() == 1).await;
    let offence = double_vote(&world, &signer(1));
    assert!(following.store.keep_evidence(&offence).unwrap());

    let watcher = Watcher::new(
        world.poster(signer(0).address()),
        signer(0).address(),
        world.deployment.clone(),
        following.mirror.clone(),
        following.store.clone(),
        crate::config::RestartDuty::None,
    );
    let shutdown = CancellationToken::new();
    let (_found, evidence) = mpsc::channel(4);
    tokio::spawn(run(watcher, evidence, shutdown.clone()));
    let _stop = shutdown.drop_guard();
    world.mine(world.params.origin_depth_blocks, 1).await;
    following.until("a report", |mirror| mirror.open_cases.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_committed_first_has_the_bounty_of_a_copied_report() {
    let world = World::with_members(4).await;
    let deployment = &world.deployment;
    let (author, copier) = (world.poster(signer(0).address()), world.poster(signer(2).address()));
    let offender = signer(1).address();
    let offence = double_vote(&world, &signer(1));
    let id = actions::id_of(&world.client, deployment, offender).await.unwrap().unwrap();
    let (case, salt) = (reports::case_id(id, &offence), B256::repeat_byte(5));
    let now = world.params.epoch_at(world.client.head().await.unwrap().timestamp);
    let place = reports::place_of(&world.client, deployment, offender, now, 8).await.unwrap();
    let key = place.unwrap();
    let report = duties::report_input(key, &offence);

    reports::commit(&author, deployment, &report, salt).await.unwrap();
    world.mine(1, 1).await;
    assert_eq!(duties::report(&copier, deployment, key, &offence).await.unwrap(), case);
    let error = reports::claim_case(&copier, deployment, &report, salt).await.unwrap_err();
    assert!(error.to_string().contains("CommitmentDiffers"), "{error}");
    assert_eq!(reports::claim_case(&author, deployment, &report, salt).await.unwrap(), case);

    let due = duties::executable_at(&world.client, deployment, case).await.unwrap();
    world.skip_to(due.get()).await;
    duties::execute_case(&copier, deployment, case).await.unwrap();
    assert!(
        actions::claim_bounty(&author, deployment, author.address()).await.unwrap() > U256::ZERO
    );
    actions::claim_bounty(&copier, deployment, copier.address()).await.unwrap_err();
    assert!(reports::sweep(&copier, deployment).await.unwrap() > U256::ZERO);
    let error = reports::sweep(&copier, deployment).await.unwrap_err();
    assert!(error.to_string().contains("NothingToSweep"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_lets_in_what_is_open_before_itself_and_agents_do_when_none_comes() {
    let world = World::with_members(4).await;
    let (rich, deployment, rollup) = (world.rich(), &world.deployment, RollupId::new(77));
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.genesis.is_some() && !mirror.sets.is_empty()).await;
    let raw = raw_priced(&key(1), 0, rollup, 1);
    force::enqueue(&rich, deployment, RollupTransaction { rollup, raw }).await.unwrap();
    following.until("an entry", |mirror| mirror.forced.waiting() == 1).await;
    let state = force::state(&world.client, deployment, &world.params).await.unwrap();
    world.skip_to(state.escape_open_from.unwrap().get()).await;

    // Decided before anybody saw the entry, and signed by all.
    let (genesis, set, epoch) = {
        let mirror = following.mirror.read();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        (genesis, set, world.params.epoch_at(state.escape_open_from.unwrap()))
    };
    let block = world.block(&set, &genesis, 1);
    let poster = world.poster(world.turn_of(&set, block.header.height));
    let blocks = [block];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, epoch, &payload).unwrap();
    let header = crate::testing::regular(header);
    let order = settle_order(deployment, &[world.certify(&set, header, payload)]);
    poster.execute(&order).await.unwrap();
    following
        .until("the batch settled", |mirror| {
            mirror.tip.as_ref().is_some_and(|tip| tip.last_height == Height::new(1))
        })
        .await;
    assert_eq!(following.store.escape_of(0).unwrap().map(|escape| escape.through), Some(1));
    assert_eq!(following.mirror.read().forced.waiting(), 0);

    let raw = raw_priced(&key(1), 1, rollup, 1);
    force::enqueue(&rich, deployment, RollupTransaction { rollup, raw }).await.unwrap();
    following.until("another entry", |mirror| mirror.forced.waiting() == 1).await;
    let state = force::state(&world.client, deployment, &world.params).await.unwrap();
    world.skip_to(state.escape_open_from.unwrap().get()).await;
    let watcher = Watcher::new(
        world.poster(signer(0).address()),
        signer(0).address(),
        deployment.clone(),
        following.mirror.clone(),
        following.store.clone(),
        crate::config::RestartDuty::None,
    );
    let shutdown = CancellationToken::new();
    let (_found, evidence) = mpsc::channel(4);
    tokio::spawn(run(watcher, evidence, shutdown.clone()));
    let _stop = shutdown.drop_guard();
    following.until("the entry is in", |mirror| mirror.forced.waiting() == 0).await;
    assert_eq!(following.store.escape_of(1).unwrap().map(|escape| escape.through), Some(2));
}
