//! A network of attesters with their stores and guards, by seed: messages are lost, late, doubled and out of order; agents are
//! killed after each of their writes; L1 lags, loses what was posted and reorganises; one member lies. Agreement is a list here: one
//! order, which everybody learns a while later. Time stands still but where the test moves it, so that a seed is a run.
//!
//! Whatever happens, no honest key signs what contradicts the one order, and nobody proves anything against one; what L1
//! takes is that order. And once all is well again, everything settles.
//!
//! `make test` runs a few seeds, `make simulate-network` runs `SEEDS` from `SEED` on. A failure prints its seed.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{Attester, LedgerHandle, Message, Peers};
use crate::batch::build_header;
use crate::batch::payload::{self, Version};
use crate::crypto::SigningDomain;
use crate::domain::{
    BatchHeader, BatchNumber, Block, BlockHeader, Certificate, DecidedBlock, Epoch, Evidence,
    Generation, Height, L1Block, LeaderSet, Member, Millis, PeerEndpoint, Round, Seconds,
    SequencerId, SettledBatch, SettledTip, Signer, tx_root,
};
use crate::guard::Guard;
use crate::storage::{Horizon, Store};
use crate::testing::{Surroundings, header, key, params};
use alloy::primitives::{Address, B256};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Seeds in `make test`.
const CASES: u64 = 4;
/// The last one lies.
const MEMBERS: usize = 4;
const HONEST: usize = 3;
/// Ticks of trouble, and how many it may take afterwards until all has settled.
const STORM: u64 = 240;
const CALM: u64 = 600;
/// A tick is an L1 block.
const TICK: u64 = 5;
const STARTED: u64 = 1_700_000_000;
/// Blocks after which L1 changes no more.
const DEPTH: u64 = 4;
/// Settled batches that are kept.
const KEPT: usize = 3;

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Default)]
struct Outbox(Mutex<Vec<(usize, Message)>>);

impl Peers for Outbox {
    fn send(&self, to: Address, message: Message) {
        let place = (0..MEMBERS).find(|index| signer(*index) == to).unwrap();
        self.0.lock().unwrap().push((place, message));
    }

    fn answer(&self, to: SequencerId, message: Message) {
        let place = (0..MEMBERS).find(|index| id(*index) == to).unwrap();
        self.0.lock().unwrap().push((place, message));
    }
}

fn secret(index: usize) -> crate::crypto::SecretKey {
    key(u8::try_from(index + 1).unwrap())
}

fn signer(index: usize) -> Address {
    secret(index).address()
}

fn id(index: usize) -> SequencerId {
    SequencerId::new(u32::try_from(index + 1).unwrap())
}

fn domain() -> SigningDomain {
    SigningDomain::new(1, Address::repeat_byte(9))
}

fn set() -> LeaderSet {
    let mut members: Vec<Member> =
        (0..MEMBERS).map(|index| Member { signer: signer(index), weight: 10 }).collect();
    members.sort_by_key(|member| member.signer);
    LeaderSet::new(Generation::new(0), Epoch::new(0), B256::repeat_byte(3), members).unwrap()
}

/// An honest agent.
struct Node {
    around: Surroundings,
    attester: Attester,
    ledger: LedgerHandle,
    outbox: Arc<Outbox>,
    evidence: mpsc::Receiver<Evidence>,
    /// The L1 block that it sees as the newest.
    sees: u64,
    /// What it has of L1's batches.
    settled: Vec<SettledBatch>,
    lives: u32,
    place: usize,
}

impl Node {
    fn new(place: usize) -> Self {
        let around = Surroundings::in_memory(params());
        around.mirror.update(|mirror| {
            mirror.params.epoch_seconds = 1_000_000_000;
            mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::new(set()));
            for index in 0..MEMBERS {
                let (agreement, link) = (String::new(), String::new());
                let of = signer(index);
                let peer = PeerEndpoint { id: id(index), signer: of, agreement, link };
                mirror.peers.insert(of, peer);
            }
        });
        let (attester, ledger, outbox, evidence) = Self::wake(&around, place);
        let (sees, settled, lives) = (0, Vec::new(), 0);
        Self { around, attester, ledger, outbox, evidence, sees, settled, lives, place }
    }

    fn wake(
        around: &Surroundings,
        place: usize,
    ) -> (Attester, LedgerHandle, Arc<Outbox>, mpsc::Receiver<Evidence>) {
        let guard = Arc::new(Guard::new(secret(place), domain(), around.store.clone()));
        let (found, evidence) = mpsc::channel(1_024);
        let (ledger, outbox) = (LedgerHandle::default(), Arc::new(Outbox::default()));
        let attester = Attester::new(
            around.mirror.clone(),
            around.store.clone(),
            guard,
            Arc::clone(&outbox) as Arc<dyn Peers>,
            ledger.clone(),
            found,
        );
        (attester, ledger, outbox, evidence)
    }

    fn file(&self, life: u32) -> std::path::PathBuf {
        let name = if life == 0 { "store.redb".to_owned() } else { format!("store-{life}.redb") };
        self.around.folder.path().join(name)
    }

    /// Dies once so many more writes are on its disk.
    fn die_after(&mut self, writes: usize) {
        self.around.store.die_after(writes, self.file(self.lives), self.file(self.lives + 1));
    }

    /// If it has died, comes back with what was on its disk.
    fn revive(&mut self) {
        if !self.around.store.is_dead() {
            return;
        }
        self.lives += 1;
        self.around.store = Store::open(self.file(self.lives)).unwrap();
        let (attester, ledger, outbox, evidence) = Self::wake(&self.around, self.place);
        self.attester = attester;
        self.ledger = ledger;
        self.outbox = outbox;
        self.evidence = evidence;
        // It asks L1 anew.
        self.settled.clear();
    }

    fn tip(&self) -> u64 {
        self.around.store.decided_tip().unwrap().unwrap().0.get()
    }
}

/// A batch in L1, or none any more.
struct L1 {
    number: u64,
    batches: Vec<SettledBatch>,
}

fn block_of_l1(number: u64) -> L1Block {
    L1Block {
        number,
        hash: B256::from(alloy::primitives::U256::from(number)),
        timestamp: Seconds::new(STARTED + number * TICK),
    }
}

struct Parcel {
    at: u64,
    to: usize,
    from: usize,
    message: Message,
}

struct Network {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    /// The one order, from block 0 on.
    chain: Vec<Block>,
    l1: L1,
    wire: Vec<Parcel>,
    stormy: bool,
    honest: BTreeSet<Address>,
    /// What honest members signed, all together.
    signed: u64,
}

impl Network {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let genesis = Block { header: header(0, B256::ZERO), transactions: Vec::new() };
        Self {
            dice: Dice(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)),
            now: 0,
            nodes: (0..HONEST).map(Node::new).collect(),
            chain: vec![genesis],
            l1: L1 { number: 0, batches: Vec::new() },
            wire: Vec::new(),
            stormy: true,
            honest: (0..HONEST).map(signer).collect(),
            signed: 0,
        }
    }

    /// The last settled height, and its hash.
    fn settled(&self) -> (u64, B256) {
        match self.l1.batches.last() {
            Some(batch) => (batch.header.last_height.get(), batch.header.last_block_hash),
            None => (0, self.chain[0].header.hash()),
        }
    }

    fn decide(&mut self) {
        let parent = &self.chain.last().unwrap().header;
        let millis = (STARTED + self.now * TICK) * 1_000;
        let made = BlockHeader {
            timestamp: Millis::new(millis.max(parent.timestamp.get())),
            tx_root: tx_root(&[]),
            ..header(parent.height.next().get(), parent.hash())
        };
        self.chain.push(Block { header: made, transactions: Vec::new() });
    }

    /// Lets a node learn the next blocks of the order.
    fn tell_decided(&mut self, index: usize) {
        let most = if self.stormy { self.dice.below(4) } else { 50 };
        let node = &mut self.nodes[index];
        let next = usize::try_from(node.tip() + 1).unwrap();
        for block in self.chain.iter().skip(next).take(most) {
            let certificate = Certificate {
                round: Round::new(0),
                signatures: vec![(Signer([1; 20]), secret(0).sign(B256::ZERO))],
            };
            let decided = DecidedBlock { block: block.clone(), certificate };
            if node.around.store.append_decided(&decided, &[]).is_err() {
                assert!(node.around.store.is_dead());
                return;
            }
        }
    }

    /// Shows a node L1 as it is some blocks ago.
    fn show_l1(&mut self, index: usize) {
        let lag = if self.stormy { u64::try_from(self.dice.below(4)).unwrap() } else { 0 };
        let genesis = self.chain[0].header.clone();
        let node = &mut self.nodes[index];
        node.sees = node.sees.max(self.l1.number.saturating_sub(lag));
        let head = node.sees;
        let shown: Vec<SettledBatch> =
            self.l1.batches.iter().filter(|batch| batch.block.number <= head).cloned().collect();
        if shown != node.settled {
            let same = shown.iter().zip(&node.settled).take_while(|(a, b)| a == b).count();
            let first = BatchNumber::new(u64::try_from(same + 1).unwrap());
            if node.around.store.settle_from(first, &shown[same..]).is_err() {
                assert!(node.around.store.is_dead());
                return;
            }
            node.settled.clone_from(&shown);
        }
        node.around.mirror.update(|mirror| {
            mirror.head = Some(block_of_l1(head));
            mirror.at_depth = head.checked_sub(DEPTH).map(block_of_l1);
            mirror.last_settled = shown.last().cloned().map(Arc::new);
            mirror.tip = Some(match shown.last() {
                Some(batch) => SettledTip {
                    number: batch.number,
                    last_height: batch.header.last_height,
                    last_block_hash: batch.header.last_block_hash,
                    epoch: batch.header.epoch,
                    timestamp: batch.header.timestamp,
                    settled_at: batch.block.timestamp,
                },
                None => SettledTip {
                    number: BatchNumber::new(0),
                    last_height: genesis.height,
                    last_block_hash: genesis.hash(),
                    epoch: genesis.epoch,
                    timestamp: genesis.timestamp.to_seconds(),
                    settled_at: Seconds::new(STARTED),
                },
            });
        });
    }

    /// What arrives at a node now, and what it says to it.
    fn deliver(&mut self, index: usize) {
        let now = self.now;
        let due = |parcel: &mut Parcel| parcel.to == index && parcel.at <= now;
        let arrived: Vec<Parcel> = self.wire.extract_if(.., due).collect();
        let messages =
            arrived.into_iter().map(|parcel| (id(parcel.from), parcel.message)).collect();
        let node = &mut self.nodes[index];
        if let Err(error) = node.attester.advance(messages) {
            assert!(node.around.store.is_dead(), "{error}");
        }
        let said = std::mem::take(&mut *node.outbox.0.lock().unwrap());
        for (to, message) in said {
            self.check(&message);
            self.send(index, to, message);
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.stormy && self.dice.one_in(5) {
            return;
        }
        let late = if self.stormy { self.dice.below(6) } else { 0 };
        let at = self.now + 1 + u64::try_from(late).unwrap();
        if self.stormy && self.dice.one_in(8) {
            let at = at + u64::try_from(self.dice.below(20)).unwrap();
            self.wire.push(Parcel { at, to, from, message: message.clone() });
        }
        self.wire.push(Parcel { at, to, from, message });
    }

    /// What an honest key has signed is of the one order, and of nothing else: no two such headers contradict each other.
    fn check(&mut self, message: &Message) {
        let Message::Attestation { header, signature } = message else { return };
        let by = signature.recover(domain().batch(header)).unwrap();
        if self.honest.contains(&by) {
            self.is_of_the_order(header);
            self.signed += 1;
        }
    }

    fn is_of_the_order(&self, header: &BatchHeader) {
        let [first, last] = [header.first_height, header.last_height]
            .map(|height| usize::try_from(height.get()).unwrap());
        let blocks = &self.chain[first..=last];
        let is_of_them = [Version::Zstd, Version::Raw].into_iter().any(|version| {
            let payload = payload::encode(blocks, version).unwrap();
            let built = build_header(blocks, header.epoch, &payload).unwrap();
            BatchHeader { regular_since: header.regular_since, ..built } == *header
        });
        assert!(is_of_them, "signed and not of the order: {header:?}");
    }

    /// Whoever can, posts.
    fn post(&mut self) {
        for index in 0..HONEST {
            if self.stormy && self.dice.one_in(2) {
                continue;
            }
            let certificate = {
                let ledger = self.nodes[index].ledger.lock();
                let Some(ledger) = ledger.as_ref() else { continue };
                ledger.certificate(0, Epoch::new(0), Epoch::new(0), |_| Some(Arc::new(set())))
            };
            let Some(certificate) = certificate else { continue };
            let header = certificate.header;
            let (height, hash) = self.settled();
            if header.first_height.get() != height + 1 || header.parent_block_hash != hash {
                continue;
            }
            let quorum = (0..MEMBERS).filter(|bit| certificate.signers & (1 << bit) != 0).count();
            assert!(quorum * 3 > MEMBERS * 2);
            self.is_of_the_order(&header);
            let number = u64::try_from(self.l1.batches.len() + 1).unwrap();
            let parent = self.l1.batches.last().map_or(STARTED, |b| b.block.timestamp.get());
            self.l1.batches.push(SettledBatch {
                number: BatchNumber::new(number),
                header,
                poster: signer(index),
                signers: certificate.signers,
                block: block_of_l1(self.l1.number),
                tx_hash: B256::ZERO,
                parent_settled_at: Seconds::new(parent),
                payload_bytes: 0,
                refund_wei: 0,
                late: false,
                led: true,
            });
        }
    }

    /// L1 takes back what is not deep.
    fn reorganise(&mut self) {
        let keep = u64::try_from(self.dice.below(3)).unwrap() + 1;
        let from = self.l1.number.saturating_sub(DEPTH - keep);
        self.l1.batches.retain(|batch| batch.block.number < from);
    }

    /// The member that lies.
    fn lie(&mut self) {
        let to = self.dice.below(HONEST);
        let of = self.dice.below(HONEST);
        let open: Vec<BatchHeader> = {
            let ledger = self.nodes[of].ledger.lock();
            let open = ledger.as_ref().map(|ledger| ledger.open().iter());
            open.into_iter().flatten().map(|cut| cut.header.clone()).collect()
        };
        if open.is_empty() {
            return;
        }
        let own = open[self.dice.below(open.len())].clone();
        let salt = B256::from(alloy::primitives::U256::from(self.dice.below(5)));
        let forged = match self.dice.below(5) {
            0 => BatchHeader { blocks_root: salt, last_block_hash: salt, ..own.clone() },
            1 => BatchHeader { payload_hash: salt, ..own.clone() },
            2 => BatchHeader { parent_block_hash: salt, ..own.clone() },
            3 => {
                // A split of decided blocks.
                let (first, last) = (own.first_height.get(), own.last_height.get());
                let end = first + u64::try_from(self.dice.below(4)).unwrap();
                let end = end.min(u64::try_from(self.chain.len() - 1).unwrap()).max(first);
                let blocks: Vec<Block> = self.chain[usize::try_from(first).unwrap()..]
                    .iter()
                    .take(usize::try_from(end - first + 1).unwrap())
                    .cloned()
                    .collect();
                let payload = payload::encode_cheapest(&blocks).unwrap();
                let built = build_header(&blocks, own.epoch, &payload).unwrap();
                let since = if end == last { own.regular_since } else { Seconds::new(0) };
                BatchHeader { regular_since: since, ..built }
            }
            _ => own.clone(),
        };
        let message = if self.dice.one_in(2) {
            let signature = secret(HONEST).sign(domain().batch(&forged));
            Message::Attestation { header: Box::new(forged), signature }
        } else {
            Message::Want { header: Box::new(forged) }
        };
        self.send(HONEST, to, message);
    }

    /// Drops what nobody needs, as far as L1 shows it settled for good.
    fn prune(&mut self, index: usize) {
        let deep = self.l1.number.saturating_sub(DEPTH);
        let node = &self.nodes[index];
        let last = node.settled.iter().filter(|batch| batch.block.number <= deep).count();
        let Some(first) = last.checked_sub(KEPT).map(|at| &node.settled[at]) else { return };
        let horizon = Horizon {
            blocks: first.header.first_height,
            made_before: Millis::new(u64::MAX),
            batches: first.number,
        };
        let settled = first.header.first_height;
        if node.around.store.settled_for_good_before(settled).is_err()
            || node.around.store.prune(horizon).is_err()
        {
            assert!(node.around.store.is_dead());
        }
    }

    async fn tick(&mut self) {
        self.now += 1;
        self.l1.number += 1;
        tokio::time::advance(Duration::from_secs(TICK)).await;
        if self.dice.one_in(3) {
            self.decide();
        }
        if self.stormy {
            for _ in 0..self.dice.below(4) {
                self.lie();
            }
            if self.dice.one_in(12) {
                self.reorganise();
            }
        }
        for index in 0..HONEST {
            if self.stormy && self.dice.one_in(15) {
                let writes = self.dice.below(4) + 1;
                self.nodes[index].die_after(writes);
            }
            self.show_l1(index);
            self.tell_decided(index);
            self.deliver(index);
            if self.dice.one_in(10) {
                self.prune(index);
            }
            self.nodes[index].revive();
            while let Ok(found) = self.nodes[index].evidence.try_recv() {
                assert!(!self.honest.contains(&found.offender()), "an honest member is accused");
            }
        }
        self.post();
    }
}

async fn case(seed: u64) -> (u64, usize, u32) {
    println!("seed {seed}");
    let mut network = Network::new(seed);
    for _ in 0..STORM {
        network.tick().await;
    }
    network.stormy = false;
    let goal = u64::try_from(network.chain.len() - 1).unwrap();
    let mut left = CALM;
    while network.settled().0 < goal {
        assert!(left > 0, "seed {seed}: {:?} of {goal} has settled", network.settled().0);
        left -= 1;
        network.tick().await;
    }
    for node in &network.nodes {
        let store = &node.around.store;
        for height in store.kept_from().unwrap().get()..=node.tip() {
            let expected = network.chain[usize::try_from(height).unwrap()].header.hash();
            assert_eq!(store.header(Height::new(height)).unwrap().unwrap().0, expected);
        }
    }
    let lives = network.nodes.iter().map(|node| node.lives).sum();
    (network.signed, network.l1.batches.len(), lives)
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_settles_and_no_honest_key_contradicts_itself_whatever_fails_meanwhile() {
    let wanted = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let first = wanted("ROTA_NETWORK_SEED").unwrap_or(1);
    let seeds = wanted("ROTA_NETWORK_SEEDS").unwrap_or(CASES);
    let mut all = (0, 0, 0);
    for seed in first..first + seeds {
        let (signed, batches, lives) = case(seed).await;
        assert!(signed > 0 && batches > 10, "seed {seed}: {signed} signatures, {batches} batches");
        all = (all.0 + signed, all.1 + batches, all.2 + lives);
    }
    println!("{seeds} seeds: {all:?} signatures, batches, kills");
    assert!(all.2 > 0, "nobody was killed");
}
