//! One agent: what outlives its processes, and a process.

use crate::agreement::simulated::{Place, Simulated};
use crate::agreement::{BlockSource, doubt_of};
use crate::attest::{Attester, LedgerHandle, Message, Peers};
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{
    Evidence, Height, L1Block, Millis, Params, PeerEndpoint, RollupId, RollupTransaction,
    SequencerId,
};
use crate::guard::Guard;
use crate::l1::follower::Steps;
use crate::l1::simulated::{CHAIN, GWEI, Node, World, deployment};
use crate::l1::{Account, Fees, Mirror, MirrorHandle};
use crate::network::simulated::Links;
use crate::poster::Poster;
use crate::storage::{IncludedTransaction, Store};
use alloy::primitives::{Address, B256};
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};

/// The most for a unit of gas: twice what the model asks for at its dearest.
const LIMIT: Fees = Fees { max_fee_wei: 500 * GWEI, priority_fee_wei: 500 * GWEI };

/// To whom an agent speaks of batches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    Key(Address),
    Sequencer(SequencerId),
}

#[derive(Default)]
pub(super) struct Outbox(Mutex<Vec<(Whom, Message)>>);

impl Outbox {
    pub(super) fn take(&self) -> Vec<(Whom, Message)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Peers for Outbox {
    fn send(&self, to: Address, message: Message) {
        self.0.lock().unwrap().push((Whom::Key(to), message));
    }

    fn answer(&self, to: SequencerId, message: Message) {
        self.0.lock().unwrap().push((Whom::Sequencer(to), message));
    }
}

/// Nobody sends anything: blocks are empty.
#[derive(Default)]
struct Nobody(Notify);

impl BlockSource for Nobody {
    fn collect(&self, _: usize, _: &dyn Fn(RollupId) -> bool) -> Vec<RollupTransaction> {
        Vec::new()
    }

    fn has_work(&self) -> bool {
        false
    }

    fn work(&self) -> &Notify {
        &self.0
    }

    fn known(&self, _: RollupId, _: B256) -> Option<IncludedTransaction> {
        None
    }
}

/// An earlier behaviour of agents that the simulation must find. What took its place is in the code that runs here, so each is put
/// back at the seam where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Who has lost its disk, or part of it, speaks at once.
    SpeaksWithoutRecords,
    /// What was read of L1 is not kept over a start.
    ReadsAllAgain,
    /// A sequencer is found by one of its keys alone.
    OneKeyEach,
    /// Who joined first has a name in the network, whoever proves to be it.
    FirstClaimHasIt,
    /// What waits in L1's pool from before a start is left there.
    LeavesFlights,
    /// A node that is behind is taken for a reorganisation.
    BelievesLag,
}

/// What is lost with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// What was not on disk.
    Memory,
    /// The disk too.
    Disk,
    /// What was written to it since it was copied the last time.
    Newest,
}

pub(super) struct Agent {
    pub(super) id: SequencerId,
    pub(super) name: PeerId,
    /// Where it can be dialled.
    pub(super) address: String,
    /// The keys that it has had.
    pub(super) keys: Vec<[u8; 32]>,
    pub(super) node: Node,
    pub(super) lives: u64,
    folder: TempDir,
    has_backup: bool,
    pub(super) fault: Option<Fault>,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) store: Store,
    pub(super) mirror: MirrorHandle,
    pub(super) follower: Steps,
    pub(super) attester: Attester,
    pub(super) outbox: Arc<Outbox>,
    pub(super) evidence: mpsc::Receiver<Evidence>,
    pub(super) account: Account,
    pub(super) poster: Poster,
    pub(super) links: Links,
    pub(super) member: Simulated,
    pub(super) session: u64,
    /// Messages about batches that it has not looked at.
    pub(super) inbox: Vec<(SequencerId, Message)>,
    silent: Arc<AtomicBool>,
    /// What was in the way of its poster last.
    pub(super) lacks: String,
    pub(super) ledger: LedgerHandle,
    /// What its node had been asked when it began, and the L1 block up to which it knew L1; `None` once it has read on, and
    /// where it knew nothing.
    pub(super) reads_since: Option<(u64, u64)>,
    /// The newest L1 block that it has taken in.
    pub(super) seen: Option<L1Block>,
}

impl Agent {
    pub(super) fn new(index: usize, world: &World, seed: u64) -> Self {
        let byte = u8::try_from(index + 1).unwrap();
        let identity = libp2p::identity::Keypair::ed25519_from_bytes([byte; 32]).unwrap();
        let name = identity.public().to_peer_id();
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self {
            // Sequencer 1 is the liar.
            id: SequencerId::new(u32::try_from(index + 2).unwrap()),
            name,
            address: format!("/ip4/127.0.0.1/tcp/{}/p2p/{name}", 2_000 + index),
            keys: vec![[byte * 16; 32]],
            node: Node::new(world, seed * 1_000 + u64::try_from(index).unwrap()),
            lives: 0,
            folder,
            has_backup: false,
            fault: None,
            process: None,
        }
    }

    pub(super) fn secret(&self) -> SecretKey {
        SecretKey::from_bytes(*self.keys.last().unwrap()).unwrap()
    }

    pub(super) fn key(&self) -> Address {
        self.secret().address()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins a process on what is on its disk.
    pub(super) fn wake(
        &mut self,
        world: &World,
        params: &Params,
        time: Arc<dyn Fn() -> Millis + Send + Sync>,
    ) {
        self.lives += 1;
        let store = Store::open(self.file("store.redb")).unwrap();
        let domain = SigningDomain::new(CHAIN, deployment().settlement);
        let key = self.key();
        // Everybody begins before the first set is in force.
        let was_in_a_set = self.lives > 1 && world.lock().was_in_a_set(key);
        let careless = self.fault == Some(Fault::SpeaksWithoutRecords);
        let doubt = doubt_of(&store, key, was_in_a_set).unwrap().filter(|_| !careless);
        // Who was killed while it read L1 for the first time has no whole picture of it yet.
        let anchor = Steps::anchor(&store, &deployment());
        if self.fault == Some(Fault::ReadsAllAgain) {
            store.drop_l1_picture().unwrap();
            store.drop_l1_picture().unwrap();
        }
        let guard = Arc::new(Guard::new(self.secret(), domain, store.clone()));
        let mirror = MirrorHandle::new(Mirror::new(params.clone()));
        let client = self.node.client();
        let follower = Steps::new(client.clone(), deployment(), mirror.clone(), store.clone());
        let (found, evidence) = mpsc::channel(1_024);
        let (ledger, outbox) = (LedgerHandle::default(), Arc::new(Outbox::default()));
        let attester = Attester::new(
            mirror.clone(),
            store.clone(),
            Arc::clone(&guard),
            Arc::clone(&outbox) as Arc<dyn Peers>,
            ledger.clone(),
            found,
        );
        let silent = Arc::new(AtomicBool::new(doubt.is_some()));
        let block = Duration::from_secs(params.l1_block_seconds);
        let account = Account::new(client, self.keys.last().unwrap()).unwrap().with_limit(LIMIT);
        let account = match self.fault {
            Some(Fault::LeavesFlights) => account,
            _ => account.owned(self.file("l1-flights.json"), deployment().settlement, block),
        };
        let account = account.silent_while(Arc::clone(&silent));
        let poster = Poster::new(
            account.clone(),
            key,
            deployment(),
            mirror.clone(),
            store.clone(),
            ledger.clone(),
        );
        let member = Simulated::new(Place {
            name: self.name,
            mirror: mirror.clone(),
            store: store.clone(),
            guard,
            source: Arc::new(Nobody::default()),
            time,
            doubt,
            careless,
        });
        self.process = Some(Process {
            store,
            mirror,
            follower,
            attester,
            outbox,
            evidence,
            account,
            poster,
            links: Links::new(self.name),
            member,
            session: self.lives,
            inbox: Vec::new(),
            silent,
            lacks: String::new(),
            ledger,
            reads_since: anchor.map(|anchor| (self.node.asked(), anchor)),
            seen: None,
        });
    }

    /// Dies once so many more writes are on its disk.
    pub(super) fn die_after(&self, writes: usize) {
        if let Some(process) = &self.process {
            process.store.die_after(writes, self.file("store.redb"), self.file("remains.redb"));
        }
    }

    pub(super) fn has_died(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.store.is_dead())
    }

    /// Copies its disk, as a backup does.
    pub(super) fn back_up(&mut self) {
        let path = self.file("backup.redb");
        if let Some(process) = &self.process
            && !process.store.is_dead()
        {
            process.store.back_up(&path);
            let _ = process.store.renew_seal();
            self.has_backup = true;
        }
    }

    /// The process is gone, and with it what is lost.
    pub(super) fn bury(&mut self, loss: Loss, forgets_flights: bool) -> Loss {
        let died = self.has_died();
        self.process = None;
        let store = self.file("store.redb");
        let loss = if self.has_backup || loss != Loss::Newest { loss } else { Loss::Memory };
        // Into the file that is there: it is the same disk.
        match loss {
            Loss::Memory if died => {
                std::fs::write(&store, std::fs::read(self.file("remains.redb")).unwrap()).unwrap();
            }
            Loss::Memory => {}
            Loss::Disk => {
                std::fs::remove_file(&store).unwrap();
                self.has_backup = false;
            }
            Loss::Newest => {
                std::fs::write(&store, std::fs::read(self.file("backup.redb")).unwrap()).unwrap();
            }
        }
        if forgets_flights || loss != Loss::Memory {
            let _ = std::fs::remove_file(self.file("l1-flights.json"));
        }
        loss
    }
}

/// Whether an agent with this fault heeds an endpoint in its book.
pub(super) fn heeds(
    fault: Option<Fault>,
    endpoint: &PeerEndpoint,
    all: &BTreeMap<Address, PeerEndpoint>,
) -> bool {
    match fault {
        Some(Fault::OneKeyEach) => {
            all.values().all(|other| other.id != endpoint.id || other.signer >= endpoint.signer)
        }
        Some(Fault::FirstClaimHasIt) => {
            let name = |one: &PeerEndpoint| one.link.rsplit('/').next().map(str::to_owned);
            all.values().all(|other| name(other) != name(endpoint) || other.id >= endpoint.id)
        }
        _ => true,
    }
}

impl Process {
    pub(super) fn tip(&self) -> Height {
        self.store.decided_tip().unwrap().map_or(Height::default(), |(height, _)| height)
    }

    /// Lets the account know whether the agent keeps silent.
    pub(super) fn follow_silence(&self) {
        self.silent.store(self.member.silence().is_some(), Ordering::Relaxed);
    }
}
