//! L1 against a real Anvil.

mod liars;
mod reading;
mod restart;
mod rights;

use super::testing::{Following, ONE, World, patient_anvil, signer};
use super::{Client, Derived, Fees, L1Error, Replay, actions, force, settlement, testing};
use crate::config::redact;
use crate::domain::{BatchNumber, Epoch, Place, RollupId, RollupTransaction};
use crate::ports::HeldPort;
use crate::testing::{key, raw_priced};
use alloy::primitives::{Address, U256};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_a_deployment_that_is_not_there() {
    let world = World::deploy(|config| config).await;
    let mut other = world.deployment.clone();
    other.chain_id = 1;
    let error = world.client.verify(&other).await.unwrap_err();
    assert_eq!(error, L1Error::WrongChain { expected: 1, actual: 31_337 });

    let mut other = world.deployment.clone();
    other.slasher = Address::repeat_byte(7);
    let error = world.client.verify(&other).await.unwrap_err();
    assert_eq!(error, L1Error::NoContract { name: "slasher", address: other.slasher });

    let mut other = world.deployment.clone();
    other.slasher = other.rollups;
    let error = world.client.verify(&other).await.unwrap_err();
    assert!(matches!(error, L1Error::OtherDeployment { name: "registry", .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_passed_over_and_one_of_another_chain_is_refused() {
    let world = World::deploy(|config| config).await;
    // Nobody listens there, and no other test is handed it.
    let held = HeldPort::hold(([127, 0, 0, 1], 0).into()).unwrap();
    let dead: url::Url = format!("http://{}", held.address()).parse().unwrap();
    let client = Client::connect(&[dead.clone(), world.url()]).await.unwrap();
    client.verify(&world.deployment).await.unwrap();
    // What a contract refuses is told as that, however silent the other node is.
    let rich = world.rich_through(client);
    for _ in 0..3 {
        let error =
            actions::seal(&rich, &world.deployment, Epoch::new(99), true, 0).await.unwrap_err();
        assert!(matches!(error, L1Error::Reverted { .. }), "{error}");
    }
    let error = Client::connect(&[dead]).await.unwrap_err();
    assert!(matches!(error, L1Error::Unreachable { .. }), "{error}");

    let other = patient_anvil().args(["--chain-id", "1"]).try_spawn().unwrap();
    let error = Client::connect(&[world.url(), other.endpoint_url()]).await.unwrap_err();
    let (first, second) = (redact(&world.url()), redact(&other.endpoint_url()));
    assert_eq!(error, L1Error::ChainsDiffer { first, expected: 31_337, second, actual: 1 });
    let lied_to = Client::connect(&[other.endpoint_url()]).await.unwrap();
    let error = lied_to.verify(&world.deployment).await.unwrap_err();
    assert_eq!(error, L1Error::WrongChain { expected: 31_337, actual: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_refuses_its_parameters_says_why() {
    let result = std::panic::AssertUnwindSafe(World::deploy(|config| {
        config.replace("\"exitDelaySeconds\": 600", "\"exitDelaySeconds\": 6")
    }));
    let error = tokio::spawn(async move { result.0.await.deployment }).await.unwrap_err();
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("ExitDelayTooShort(minimum: 420, actual: 6)"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_join_top_up_leave_and_register() {
    let world = World::with_members(1).await;
    let deployment = &world.deployment;
    let record = actions::sequencer(&world.client, deployment, 1).await.unwrap();
    assert_eq!((record.signer, record.stake_wei), (signer(0).address(), ONE * U256::from(100)));
    assert_eq!(actions::id_of(&world.client, deployment, record.signer).await.unwrap(), Some(1));
    assert_eq!(actions::id_of(&world.client, deployment, Address::ZERO).await.unwrap(), None);

    // The rich account owns no sequencer.
    let stranger = world.rich();
    let error = actions::rotate(&stranger, deployment, 1, &signer(5)).await.unwrap_err();
    assert!(error.to_string().contains("NotOwner(expected: "), "{error}");
    let error = actions::register_rollup(&stranger, deployment, RollupId::new(77), ONE).await;
    assert!(error.unwrap_err().to_string().contains("AlreadyRegistered(chainId: 77"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_a_settled_batch_through_reorgs() {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following
        .until("a set, a rollup, four peers", |mirror| {
            mirror.genesis.is_some()
                && mirror.sets.len() == 1
                && mirror.peers.len() == 4
                && mirror.is_open(RollupId::new(77), u64::MAX)
        })
        .await;
    let (genesis, set) = {
        let mirror = following.mirror.read();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        assert_eq!(mirror.tip.as_ref().unwrap().last_block_hash, genesis.hash());
        (genesis, set)
    };

    // Three batches: one alone, two in one transaction.
    let (block1, batch1) = world.batch(&set, &genesis, 1);
    let (block2, batch2) = world.batch(&set, &block1.header, 0);
    let (_, batch3) = world.batch(&set, &block2.header, 0);
    world.mine(1, 2).await;
    let poster = world.poster(world.turn_of(&set, block1.header.height));
    let order = settlement::order(&world.deployment, std::slice::from_ref(&batch1));
    poster.execute(&order).await.unwrap();
    let both = settlement::order(&world.deployment, &[batch2.clone(), batch3.clone()]);
    poster.execute(&both).await.unwrap();
    following.until("three batches", |m| m.tip.as_ref().unwrap().number.get() == 3).await;
    let kept = following.store.settled(BatchNumber::new(3)).unwrap().unwrap();
    assert_eq!(kept.header, batch3.header);
    assert_eq!((kept.signers, kept.poster), (0b1111, poster.address()));

    // L1 forgets the second transaction, then settles it again.
    world.reorg(1).await;
    following.until("one batch", |m| m.tip.as_ref().unwrap().number.get() == 1).await;
    following.until("the new block", |m| m.head == m.blocks.values().next_back().copied()).await;
    assert_eq!(following.store.settled(BatchNumber::new(2)).unwrap(), None);
    poster.execute(&both).await.unwrap();
    following.until("three batches", |m| m.tip.as_ref().unwrap().number.get() == 3).await;

    // L1 becomes shorter than what was seen, and other than that once it has grown again.
    world.rollback(2).await;
    world.mine(3, 1).await;
    following.until("one batch", |m| m.tip.as_ref().unwrap().number.get() == 1).await;

    // Who starts now sees the same.
    poster.execute(&both).await.unwrap();
    following.until("three batches", |m| m.tip.as_ref().unwrap().number.get() == 3).await;
    let fresh = Following::start(&world);
    fresh.until("three batches", |m| m.tip.as_ref().is_some_and(|t| t.number.get() == 3)).await;
    for number in 1..=3 {
        let number = BatchNumber::new(number);
        assert_eq!(fresh.store.settled(number).unwrap(), following.store.settled(number).unwrap());
    }
    world.mine(world.params.origin_depth_blocks, 1).await;
    fresh.until("a final batch", |m| m.is_final(m.last_settled.as_ref().unwrap())).await;

    // And so does who reads it all from L1 alone.
    let head = world.client.head().await.unwrap().number;
    let params = world.params.clone();
    let mut replay = Replay::new(world.client.clone(), world.deployment.clone(), params);
    let derived = replay.advance(head).await.unwrap();
    let headers: Vec<_> = derived
        .iter()
        .map(|step| match step {
            Derived::Batch(batch, _) => batch.header.clone(),
            Derived::Escape(..) => panic!("nobody escaped"),
        })
        .collect();
    assert_eq!(headers, [batch1.header, batch2.header, batch3.header]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_the_forced_queue_through_reorgs_batches_and_escape() {
    let world = World::with_members(4).await;
    let rollup = RollupId::new(77);
    let (rich, deployment) = (world.rich(), &world.deployment);
    let signed = |nonce| RollupTransaction { rollup, raw: raw_priced(&key(1), nonce, rollup, 1) };
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.genesis.is_some() && !mirror.sets.is_empty()).await;
    let (genesis, set) = {
        let mirror = following.mirror.read();
        let genesis = mirror.genesis.clone().unwrap();
        let set = mirror.set_for(genesis.generation, genesis.epoch).unwrap();
        (genesis, set)
    };

    let unknown = RollupTransaction { rollup: RollupId::new(78), ..signed(0) };
    let error = force::enqueue(&rich, deployment, unknown).await.unwrap_err();
    assert!(error.to_string().contains("ForcedRollupUnknown(rollup: 78)"), "{error}");
    let error = force::escape(&rich, deployment).await.unwrap_err();
    assert!(error.to_string().contains("NothingToEscape()"), "{error}");

    assert_eq!(force::find(&world.client, deployment, &signed(0)).await.unwrap(), None, "empty");

    // L1 forgets an entry, and another one takes its place.
    let lost = force::enqueue(&rich, deployment, signed(9)).await.unwrap();
    assert_eq!((lost.index, lost.fee_wei), (0, world.params.forced_fee_wei));
    following.until("an entry", |mirror| mirror.forced.len() == 1).await;
    world.reorg(1).await;
    following.until("no entry", |mirror| mirror.forced.is_empty()).await;
    assert_eq!(following.store.forced(0..9).unwrap(), []);
    for nonce in 0..3 {
        let entry = force::enqueue(&rich, deployment, signed(nonce)).await.unwrap();
        assert_eq!(entry.index, nonce);
    }
    following.until("three entries", |mirror| mirror.forced.len() == 3).await;
    for nonce in 0..3 {
        let found = force::find(&world.client, deployment, &signed(nonce)).await.unwrap();
        assert_eq!(found, Some(nonce), "what is forced is found before it is forced again");
    }
    let other = RollupTransaction { rollup: RollupId::new(78), ..signed(0) };
    for unknown in [signed(9), other] {
        assert_eq!(force::find(&world.client, deployment, &unknown).await.unwrap(), None);
    }
    let kept = following.store.forced(0..9).unwrap();
    let bytes: Vec<_> = kept.iter().map(|entry| entry.transaction.clone()).collect();
    assert_eq!(bytes, [0, 1, 2].map(signed));
    assert_eq!((kept[0].sender, kept[1].block.number), (rich.address(), kept[0].block.number + 1));

    // A batch takes the first one.
    let mut block = world.block(&set, &genesis, 1);
    block.header.forced_through = 1;
    let blocks = [block.clone()];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, genesis.epoch, &payload).unwrap();
    let header = crate::testing::regular(header);
    let batch = world.certify(&set, header, payload);
    world.mine(1, 2).await;
    let poster = world.poster(world.turn_of(&set, block.header.height));
    let order = settlement::order(deployment, std::slice::from_ref(&batch));
    poster.execute(&order).await.unwrap();
    following.until("one consumed", |mirror| mirror.forced.consumed() == 1).await;

    // The others escape once they have waited long enough; L1 takes that back, and does it again.
    let error = force::escape(&rich, deployment).await.unwrap_err();
    assert!(error.to_string().contains("EscapeNotDue(openFrom: "), "{error}");
    let state = force::state(&world.client, deployment, &world.params).await.unwrap();
    assert_eq!((state.consumed, state.length), (1, 3));
    world.skip_to(state.escape_open_from.unwrap().get() + 60).await;
    assert_eq!(force::escape(&rich, deployment).await.unwrap(), (1, 3));
    following.until("all consumed", |mirror| mirror.forced.waiting() == 0).await;
    assert_eq!(following.store.escape_of(2).unwrap().map(|escape| escape.through), Some(3));
    world.reorg(1).await;
    following.until("two wait", |mirror| mirror.forced.waiting() == 2).await;
    assert_eq!(following.store.escape_of(2).unwrap(), None);
    force::escape(&rich, deployment).await.unwrap();
    following.until("all consumed", |mirror| mirror.forced.waiting() == 0).await;
    let consumed = force::find(&world.client, deployment, &signed(2)).await.unwrap();
    assert_eq!(consumed, Some(2), "and what was consumed lately");

    // Who starts now, and who reads it all from L1 alone, sees the same.
    let fresh = Following::start(&world);
    fresh.until("all consumed", |mirror| mirror.forced.consumed() == 3).await;
    assert_eq!(fresh.mirror.read().forced, following.mirror.read().forced);
    assert_eq!(fresh.store.forced(0..9).unwrap(), kept);
    let head = world.client.head().await.unwrap().number;
    let mut replay = Replay::new(world.client.clone(), deployment.clone(), world.params.clone());
    let derived = replay.advance(head).await.unwrap();
    let items: Vec<_> = derived
        .iter()
        .flat_map(|step| match step {
            Derived::Batch(_, meaning) => &meaning.items,
            Derived::Escape(_, meaning) => &meaning.items,
        })
        .map(|item| (item.place, item.transaction.transaction.clone()))
        .collect();
    let height = block.header.height;
    let expected = (0..3).map(|entry| (Place::Forced { height, entry }, signed(entry)));
    assert!(items.iter().cloned().eq(expected), "{items:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_by_hand_is_told_that_l1_is_too_dear() {
    let world = World::deploy(|config| config).await;
    let asked = world.client.fees().await.unwrap();
    let limit = Fees { max_fee_wei: asked.now() - 1, priority_fee_wei: 20_000_000_000 };
    let rich = world.rich().with_limit(limit);
    let rollup = RollupId::new(79);
    let before = world.client.nonce(rich.address(), true).await.unwrap();
    let error = actions::register_rollup(&rich, &world.deployment, rollup, ONE).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, L1Error::TooDear { .. }) && told.contains("--max-fee-gwei"), "{told}");
    assert_eq!(world.client.nonce(rich.address(), true).await.unwrap(), before);
    let enough = Fees { max_fee_wei: asked.now() * 4, ..limit };
    let rich = world.rich().with_limit(enough);
    actions::register_rollup(&rich, &world.deployment, rollup, ONE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_l1_includes_and_refuses_is_not_paid_for_again_at_once() {
    let world = World::deploy(|config| config).await;
    let hostile = testing::hostile::Hostile::before(world.url()).await;
    // A node that says of everything that it would succeed.
    hostile.on(|request| {
        let is_asked = request.method == "eth_estimateGas";
        is_asked.then(|| testing::hostile::Fate::Answer(serde_json::json!("0x30d40")))
    });
    let client = Client::connect(&[hostile.url()]).await.unwrap();
    let rich = world.rich_through(client);
    let nonce = || world.client.nonce(rich.address(), false);
    let before = nonce().await.unwrap();
    let escape = || force::escape(&rich, &world.deployment);
    for _ in 0..2 {
        let error = escape().await.unwrap_err();
        assert!(matches!(error, L1Error::Reverted { .. }), "{error}");
    }
    assert_eq!(nonce().await.unwrap(), before + 2, "it was paid for");
    for _ in 0..5 {
        let error = escape().await.unwrap_err();
        assert!(matches!(error, L1Error::Resting { what: "escape", failures: 2, .. }), "{error}");
    }
    assert_eq!(nonce().await.unwrap(), before + 2, "and not again");
    assert_eq!((rich.state().paid_in_vain, rich.state().resting.len()), (2, 1));
    // Another call is not blamed for it.
    let error = super::rewards::credit_epoch(&rich, &world.deployment).await.unwrap_err();
    assert!(matches!(error, L1Error::Reverted { .. }), "{error}");
}
