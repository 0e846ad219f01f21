//! From decided blocks to L1 and back, against a real Anvil.

use super::{Poster, run};
use crate::attest::{Attester, LedgerHandle, Message, Peers};
use crate::batch::{build_header, payload};
use crate::domain::{
    BatchHeader, Block, Certificate, DecidedBlock, Evidence, Height, LeaderSet, Seconds,
    SequencerId,
};
use crate::guard::Guard;
use crate::l1::testing::{Following, World, signer};
use crate::l1::{MirrorHandle, settle_order};
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

/// What comes for a member that is none of those who attest.
type Mailbox = mpsc::Receiver<(SequencerId, Message)>;

/// The first `honest` of four members, who have decided `blocks`, follow L1 together, and attest; with all mailboxes, and what
/// comes for the others.
async fn members(
    world: &World,
    following: &Following,
    blocks: &[Block],
    honest: usize,
    shutdown: &CancellationToken,
) -> (Vec<Member>, Mail, Vec<Mailbox>) {
    let genesis = following.mirror.read().genesis.clone().unwrap();
    let (senders, mailboxes): (BTreeMap<_, _>, Vec<_>) = (0..4)
        .map(|index| {
            let (sender, mailbox) = mpsc::channel(1_024);
            ((signer(index).address(), sender), mailbox)
        })
        .unzip();
    let boxes = Arc::new(senders);
    let (mut members, mut others) = (Vec::new(), Vec::new());
    for (index, mailbox) in mailboxes.into_iter().enumerate() {
        if index >= honest {
            others.push(mailbox);
            continue;
        }
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
    let (mirror, from) = (following.mirror.clone(), signer(honest).address());
    (members, Mail { mirror, from, boxes }, others)
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
    let (mut members, ..) = members(&world, &following, &blocks, 4, &shutdown).await;
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
        tokio::time::timeout(std::time::Duration::from_secs(120), empty).await.expect("settled");
    }
    shutdown.cancel();
}

/// The batch of some of the blocks, by whose headers members are asked to sign it, in the two ways that it can be claimed.
fn splits(blocks: &[Block], first: usize, last: usize) -> [BatchHeader; 2] {
    let blocks = &blocks[first.saturating_sub(1)..last];
    let payload = payload::encode_cheapest(blocks).unwrap();
    let header = build_header(blocks, blocks[0].header.epoch, &payload).unwrap();
    [crate::testing::regular(header.clone()), header]
}

/// Mallory, the fourth member, asks the others for whatever she likes, and has their answers.
struct Mallory {
    mail: Mail,
    mailbox: Mailbox,
}

impl Mallory {
    /// Asks all honest members for a header.
    fn ask(&self, honest: &[Member], header: &BatchHeader) {
        for member in honest {
            self.mail.send(member.address, Message::Want { header: Box::new(header.clone()) });
        }
    }

    /// Headers that were signed until all honest members have answered to the last one.
    async fn answers_until(&mut self, honest: &[Member], last: &BatchHeader) -> Vec<BatchHeader> {
        let mut signed = Vec::new();
        let wait = async {
            // Asked again: who has not seen the tip yet does not sign, and does once it has.
            while signed.iter().filter(|one| *one == last).count() < honest.len() {
                if let Ok(Some((_, Message::Attestation { header, .. }))) =
                    tokio::time::timeout(std::time::Duration::from_secs(2), self.mailbox.recv())
                        .await
                {
                    signed.push(*header);
                } else {
                    self.ask(honest, last);
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), wait).await.expect("answered");
        signed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_for_every_split_gets_none_until_all_could_have_settled_the_regular_one()
{
    let world = World::with_members(4).await;
    let following = Following::start(&world);
    following.until("a set", |mirror| mirror.sets.len() == 1 && mirror.tip.is_some()).await;
    let set = following.mirror.read().sets.values().next().cloned().unwrap();
    // One batch, and a block of the next one.
    let blocks = chain(&world, &following, &set, 4);
    let [regular, _] = splits(&blocks, 1, 3);
    let takeover = world.params.takeover_seconds;
    // Late enough for every member to post.
    let head = world.client.head().await.unwrap().timestamp.get();
    let now = (regular.timestamp.get() + 2 * takeover + 1).max(head + 1);
    world.skip_to(now).await;
    following.until("L1's time", |mirror| mirror.head.unwrap().timestamp.get() >= now).await;

    let shutdown = CancellationToken::new();
    let (honest, mail, mut boxes) = members(&world, &following, &blocks, 3, &shutdown).await;
    let mut mallory = Mallory { mail, mailbox: boxes.remove(0) };
    for (first, last) in [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (1, 4), (2, 4), (4, 4)] {
        for header in splits(&blocks, first, last) {
            mallory.ask(&honest, &header);
        }
    }
    mallory.ask(&honest, &splits(&blocks, 1, 3)[1]);
    mallory.ask(&honest, &regular);
    let signed = mallory.answers_until(&honest, &regular).await;
    // They tell whose turn it is by themselves; nobody has signed anything else.
    assert!(signed.iter().all(|header| *header == regular), "{signed:?}");

    // Nobody has settled it, for as long as it takes until all could: splits of it may settle now, but blame nobody.
    let settled_at = following.mirror.read().tip.as_ref().unwrap().settled_at;
    let open = regular.timestamp.max(settled_at).get() + 5 * takeover;
    world.skip_to(open.max(now + 1)).await;
    following.until("L1's time", |mirror| mirror.head.unwrap().timestamp.get() >= open).await;
    let [_, split] = splits(&blocks, 1, 1);
    mallory.ask(&honest, &split);
    let signed = mallory.answers_until(&honest, &split).await;
    assert!(signed.iter().all(|header| *header == split || *header == regular), "{signed:?}");
    let payload = payload::encode_cheapest(&blocks[..1]).unwrap();
    let batch = world.certify(&set, split, payload);
    let poster = world.poster(signer(3).address());
    poster.execute(&settle_order(&world.deployment, &[batch])).await.unwrap();
    following
        .until("the split", |mirror| mirror.tip.as_ref().unwrap().last_height == Height::new(1))
        .await;

    // Those who are there go on from the new tip with the regular batch of it.
    let [next, _] = splits(&blocks, 2, 4);
    assert_eq!(next.regular_since, Seconds::new(next.timestamp.get()));
    let _posting = post(&world, &following, &honest[0]);
    let _others = (post(&world, &following, &honest[1]), post(&world, &following, &honest[2]));
    world.skip_to(next.timestamp.get().max(open) + 8 * takeover).await;
    following
        .until("the regular one", |mirror| {
            mirror.last_settled.as_ref().is_some_and(|last| last.header == next)
        })
        .await;
    shutdown.cancel();
}
