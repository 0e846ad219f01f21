//! From decided blocks to L1 and back, against a real Anvil.

use super::{Poster, run};
use crate::attest::{Attester, LedgerHandle, Message, Peers};
use crate::domain::{Block, Certificate, DecidedBlock, Evidence, Height, LeaderSet, SequencerId};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
use crate::l1::testing::{Following, World, signer};
use crate::storage::Store;
use alloy::primitives::Address;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Members' mailboxes in one process.
struct Mail {
    mirror: MirrorHandle,
    from: Address,
    boxes: Arc<BTreeMap<Address, mpsc::Sender<(SequencerId, Message)>>>,
}

impl Peers for Mail {
    fn send(&self, to: Address, message: Message) {
        let from = self.mirror.read().peers.get(&self.from).map(|peer| peer.id);
        if let (Some(mailbox), Some(from)) = (self.boxes.get(&to), from) {
            let _ = mailbox.try_send((from, message));
        }
    }

    fn answer(&self, to: SequencerId, message: Message) {
        let to =
            self.mirror.read().peers.values().find(|peer| peer.id == to).map(|peer| peer.signer);
        self.send(to.expect("whoever asked is a peer"), message);
    }
}

/// One member: its store with the decided blocks, and its attester.
struct Member {
    address: Address,
    store: Store,
    ledger: LedgerHandle,
    evidence: mpsc::Receiver<Evidence>,
    folder: tempfile::TempDir,
}

/// Four members who have decided `blocks`, follow L1 together, and attest.
async fn members(
    world: &World,
    following: &Following,
    blocks: &[Block],
    shutdown: &CancellationToken,
) -> Vec<Member> {
    let genesis = following.mirror.read().genesis.clone().unwrap();
    let (senders, mailboxes): (BTreeMap<_, _>, Vec<_>) = (0..4)
        .map(|index| {
            let (sender, mailbox) = mpsc::channel(1_024);
            ((signer(index).address(), sender), mailbox)
        })
        .unzip();
    let boxes = Arc::new(senders);
    let mut members = Vec::new();
    for (index, mailbox) in mailboxes.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        store.write_genesis(&genesis).unwrap();
        for block in blocks {
            let certificate = Certificate::default();
            let decided = DecidedBlock { block: block.clone(), certificate };
            store.append_decided(&decided, &[]).unwrap();
        }
        let address = signer(index).address();
        let guard = Arc::new(Guard::new(signer(index), world.domain, store.clone()));
        let (found, evidence) = mpsc::channel(16);
        let ledger = LedgerHandle::default();
        let attester = Attester::new(
            following.mirror.clone(),
            store.clone(),
            guard,
            Arc::new(Mail {
                mirror: following.mirror.clone(),
                from: address,
                boxes: Arc::clone(&boxes),
            }),
            ledger.clone(),
            found,
        );
        let (_, decided) = watch::channel(Height::new(0));
        let changes = following.mirror.subscribe();
        tokio::spawn(crate::attest::run(attester, decided, changes, mailbox, shutdown.clone()));
        members.push(Member { address, store, ledger, evidence, folder });
    }
    members
}

/// Starts the poster of a member.
fn post(world: &World, following: &Following, member: &Member) -> DropGuard {
    let account = world.poster(member.address).owned(
        member.folder.path().join("l1-flights.json"),
        world.deployment.settlement,
        std::time::Duration::from_secs(world.params.l1_block_seconds),
    );
    let poster = Poster::new(
        account.clone(),
        member.address,
        world.deployment.clone(),
        following.mirror.clone(),
        member.store.clone(),
        member.ledger.clone(),
    );
    let shutdown = CancellationToken::new();
    tokio::spawn(run(poster, shutdown.clone()));
    tokio::spawn(crate::l1::keep(account, shutdown.clone()));
    shutdown.drop_guard()
}

/// `count` empty blocks, 23 s apart: with an idle batch age of 45 s a batch ends with every third one.
fn chain(world: &World, following: &Following, set: &LeaderSet, count: usize) -> Vec<Block> {
    let mut parent = following.mirror.read().genesis.clone().unwrap();
    let mut blocks = Vec::new();
    for _ in 0..count {
        let block = world.block(set, &parent, 23);
        parent = block.header.clone();
        blocks.push(block);
    }
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decided_blocks_settle_once_through_restarts_and_reorgs() {
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.sets.len() == 1 && mirror.tip.is_some()).await;
    let set = following.mirror.read().sets.values().next().cloned().unwrap();
    let blocks = chain(&world, &following, &set, 6);
    // L1 is past the last block, so that every member is admitted.
    world.mine(2, 75).await;

    let shutdown = CancellationToken::new();
    let mut members = members(&world, &following, &blocks, &shutdown).await;
    let settled = |count: u64| {
        move |mirror: &crate::l1::Mirror| {
            mirror
                .tip
                .as_ref()
                .is_some_and(|tip| tip.number.get() == count && tip.last_height.get() == 3 * count)
        }
    };
    let posting = post(&world, &following, &members[0]);
    following.until("two batches", settled(2)).await;

    // The poster is gone when L1 takes them back; its successor starts with nothing but the store and L1.
    drop(posting);
    world.reorg(1).await;
    following.until("a reorg", |mirror| !settled(2)(mirror)).await;
    let posting = post(&world, &following, &members[1]);
    following.until("two batches again", settled(2)).await;
    // The same with a poster that is there.
    world.rollback(1).await;
    // Shorter is no reorg yet: another hash at a number is.
    world.mine(2, 1).await;
    following.until("a rollback", |mirror| !settled(2)(mirror)).await;
    following.until("two batches after the rollback", settled(2)).await;
    drop(posting);

    for member in &mut members {
        assert!(member.evidence.try_recv().is_err(), "nobody contradicted itself");
        let mut changes = member.ledger.subscribe();
        let empty = async {
            while member.ledger.open() > 0 {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), empty).await.expect("settled");
    }
    shutdown.cancel();
}
