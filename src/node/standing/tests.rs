#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{epoch_by, is_successor};
use crate::crypto::Signature;
use crate::domain::{
    Block, Certificate, DecidedBlock, Epoch, Height, Params, Round, Seconds, Signer,
};
use crate::l1::testing::{World, signer};
use crate::l1::{actions, reports};
use crate::storage::{Standing, Store};
use alloy::primitives::{Address, B256};

/// The number of the key that the first sequencer changes to.
const NEXT: usize = 7;

/// A network of two in which the first sequencer has changed its key, and the epoch in which the new one first counts.
async fn rotated() -> (World, Epoch) {
    let world = World::with_members(2).await;
    let next = signer(NEXT);
    actions::rotate(&world.owner(0), &world.deployment, 1, &next).await.unwrap();
    let mut epoch = world.params.epoch_at(world.client.head().await.unwrap().timestamp);
    loop {
        // Each epoch is sealed in the one before.
        let next_epoch = Epoch::new(epoch.get() + 1);
        world.seal(next_epoch).await;
        world.skip_to(world.params.start_of(next_epoch).get()).await;
        epoch = next_epoch;
        let place =
            reports::place_of(&world.client, &world.deployment, next.address(), epoch, 0).await;
        if place.unwrap().is_some() {
            return (world, epoch);
        }
    }
}

/// A store that these keys were used with, whose last block is of `epoch` and signed by those.
fn used(folder: &tempfile::TempDir, trusted: &[Address], epoch: Epoch, by: &[Address]) -> Store {
    let store = Store::open(folder.path().join("rota.redb")).unwrap();
    let genesis = crate::testing::header(0, B256::ZERO);
    store.write_genesis(&genesis).unwrap();
    let mut header = crate::testing::header(1, genesis.hash());
    header.epoch = epoch;
    let signature = Signature::from_compact([1; 64]);
    let signatures = by.iter().map(|by| (Signer(by.0.0), signature)).collect();
    let certificate = Certificate { round: Round::new(0), signatures };
    let block = Block { header, transactions: Vec::new() };
    store.append_decided(&DecidedBlock { block, certificate }, &[]).unwrap();
    for key in trusted {
        store.keep_standing(*key, Standing::Trusted).unwrap();
    }
    store
}

#[tokio::test]
async fn a_key_goes_on_for_the_one_before_only_where_nothing_speaks_against_it() {
    let (world, first) = rotated().await;
    let (old, other, next) = (signer(0).address(), signer(1).address(), signer(NEXT).address());
    let ask = async |trusted: &[Address], in_use: Epoch, by: &[Address], now: Epoch| {
        let folder = tempfile::tempdir().unwrap();
        let store = used(&folder, trusted, in_use, by);
        is_successor(&world.deployment, next, &store, &world.client, now).await.unwrap()
    };
    let before = Epoch::new(first.get() - 1);
    let later = Epoch::new(first.get() + 1);
    let much_later = Epoch::new(first.get() + 2);
    assert!(ask(&[old], first, &[old], first).await);
    assert!(ask(&[old], before, &[old], first).await, "the old key's last block");
    assert!(ask(&[old], first, &[old], later).await, "the epoch after its first");
    assert!(ask(&[other, old], first, &[old], first).await);

    assert!(!ask(&[], first, &[old], first).await, "no key was used with the store");
    assert!(!ask(&[other], first, &[old], first).await, "another sequencer's key was");
    let stranger = Address::repeat_byte(0xee);
    assert!(!ask(&[stranger], first, &[old], first).await, "nobody's was");
    assert!(!ask(&[old], first, &[old, next], first).await, "it has signed a block elsewhere");
    assert!(!ask(&[old], much_later, &[old], much_later).await, "it counts for too long");
    assert!(!ask(&[old], before, &[old], later).await, "the store was not in use of late");
}

#[tokio::test]
async fn a_key_whose_attestation_is_kept_has_signed_elsewhere() {
    let (world, first) = rotated().await;
    let (old, next) = (signer(0).address(), signer(NEXT).address());
    let folder = tempfile::tempdir().unwrap();
    let store = used(&folder, &[old], first, &[old]);
    let blocks = [store.block(Height::new(1)).unwrap().unwrap().block];
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, first, &payload).unwrap();
    for by in [old, next] {
        let successor = is_successor(&world.deployment, next, &store, &world.client, first);
        assert!(successor.await.unwrap(), "{by} has not attested yet");
        let signature = Signature::from_compact([1; 64]);
        store.keep_attestations([(&header, B256::ZERO, by, signature)]).unwrap();
    }
    let successor = is_successor(&world.deployment, next, &store, &world.client, first);
    assert!(!successor.await.unwrap());
}

#[test]
fn a_node_whose_newest_block_is_old_is_not_asked_and_time_goes_on_since_its_block() {
    let params = Params {
        l1_block_seconds: 12,
        genesis: 1_000,
        epoch_seconds: 100,
        ..crate::testing::params()
    };
    let by = |head, clock| epoch_by(&params, Seconds::new(head), Seconds::new(clock));
    assert_eq!(by(1_199, 1_199), Ok(Epoch::new(1)));
    assert_eq!(by(1_199, 1_200), Ok(Epoch::new(2)), "the node is a moment behind");
    assert_eq!(by(1_319, 1_200), Ok(Epoch::new(3)), "the clock here is");
    assert_eq!(by(1_200, 1_320), Ok(Epoch::new(3)));
    let old = by(1_200, 1_321).unwrap_err();
    assert!(old.is_transient() && old.to_string().contains("newest block"), "{old}");
    assert!(by(0, u64::MAX).is_err());
}
