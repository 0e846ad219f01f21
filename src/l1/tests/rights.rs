//! Owners, and whom they name, against a real Anvil.

use crate::domain::RollupId;
use crate::l1::testing::{Following, ONE, World, signer};
use crate::l1::{actions, rights};
use alloy::primitives::{Address, U256};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequencer_changes_hands_with_all_that_its_owner_has_and_pays_whom_it_named() {
    let world = World::with_members(4).await;
    let deployment = &world.deployment;
    let (before, next, cold) = (world.owner(0), world.owner(5), world.owner(6));
    rights::set_withdrawal(&before, deployment, 1, cold.address()).await.unwrap();
    rights::set_operator(&before, deployment, 1, signer(0).address()).await.unwrap();
    rights::propose_owner(&before, deployment, 1, next.address()).await.unwrap();
    let known = rights::rights(&world.client, deployment, 1).await.unwrap();
    let expected = rights::Rights {
        next_owner: next.address(),
        operator: signer(0).address(),
        withdrawal: cold.address(),
    };
    assert_eq!(known, expected);

    let shares = actions::shares_of(&world.client, deployment, 1, before.address()).await.unwrap();
    let error = rights::accept_owner(&next, deployment, 1, Address::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("WithdrawalDiffers"), "{error}");
    rights::accept_owner(&next, deployment, 1, cold.address()).await.unwrap();
    let record = actions::sequencer(&world.client, deployment, 1).await.unwrap();
    assert_eq!(record.owner, next.address());
    let moved = actions::shares_of(&world.client, deployment, 1, next.address()).await.unwrap();
    assert_eq!(moved, shares);

    // What the operator may is its own, and what it may not is the owner's.
    let operator = world.poster(signer(0).address());
    let endpoint = "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2".to_owned();
    actions::set_endpoint(&operator, deployment, 1, endpoint.clone()).await.unwrap();
    actions::set_endpoint(&before, deployment, 1, endpoint).await.unwrap_err();
    let error = rights::set_withdrawal(&next, deployment, 1, next.address()).await.unwrap_err();
    assert!(error.to_string().contains("NotOwner"), "{error}");

    let (exit, _) = actions::exit(&next, deployment, 1, shares, U256::ZERO).await.unwrap();
    let error = actions::claim(&next, deployment, exit, next.address()).await.unwrap_err();
    assert!(error.to_string().contains("NotHolder"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_that_its_owner_closes_is_closed_from_that_block_on() {
    let world = World::with_members(1).await;
    let (deployment, rollup) = (&world.deployment, RollupId::new(77));
    let (owner, next) = (world.rich(), world.owner(5));
    let following = Following::start(&world);
    following.until("an open rollup", |mirror| mirror.is_open(rollup, u64::MAX)).await;
    let opened = world.client.head().await.unwrap().number;

    rights::set_rollup_closed(&owner, deployment, rollup, true).await.unwrap();
    following.until("a closed rollup", |mirror| !mirror.is_open(rollup, u64::MAX)).await;
    assert!(following.mirror.read().is_open(rollup, opened), "it was open before");
    assert!(following.mirror.read().is_registered(rollup, u64::MAX));
    assert!(actions::rollup(&world.client, deployment, rollup).await.unwrap().closed);
    // What is added to it opens nothing.
    actions::fund_rollup(&next, deployment, rollup, ONE).await.unwrap();
    let funded = world.client.head().await.unwrap().number;
    following
        .until("the block", |mirror| mirror.head.is_some_and(|head| head.number >= funded))
        .await;
    assert!(!following.mirror.read().is_open(rollup, u64::MAX));
    // Whoever starts now reads the same.
    let fresh = Following::start(&world);
    fresh.until("the block", |mirror| mirror.head.is_some_and(|head| head.number >= funded)).await;
    assert!(!fresh.mirror.read().is_open(rollup, u64::MAX));

    rights::propose_rollup_owner(&owner, deployment, rollup, next.address()).await.unwrap();
    rights::accept_rollup_owner(&next, deployment, rollup).await.unwrap();
    let error = rights::set_rollup_closed(&owner, deployment, rollup, false).await.unwrap_err();
    assert!(error.to_string().contains("NotOwner"), "{error}");
    rights::set_rollup_closed(&next, deployment, rollup, false).await.unwrap();
    following.until("an open rollup", |mirror| mirror.is_open(rollup, u64::MAX)).await;

    // Whoever starts now reads the same; between the first and the last that it reads of long ago it keeps nothing.
    let fresh = Following::start(&world);
    fresh.until("an open rollup", |mirror| mirror.is_open(rollup, u64::MAX)).await;
}
