//! A network of agents in one process: real engines over real sockets on loopback, a made-up L1.

use crate::agreement::voice::Voice;
use crate::agreement::{
    AgreementConfig, AgreementError, BlockSource, Clock, History, HistoryError, Quiet, Reach,
    SETTLED_PATIENCE, Timeouts, doubt_of, run,
};
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{
    BatchNumber, Block, BlockHeader, Epoch, Evidence, Generation, GenerationStart, Height, L1Block,
    LeaderSet, Member, Millis, Params, PeerEndpoint, RollupId, RollupTransaction, Seconds,
    SequencerId, SettledBatch, SettledTip, tx_root,
};
use crate::guard::Guard;
use crate::l1::{Allowance, Mirror, MirrorHandle};
use crate::ports::HeldPort;
use crate::storage::{IncludedTransaction, Store};
use crate::testing::ROLLUP;
use alloy::primitives::{Address, B256, U256, keccak256};
use async_trait::async_trait;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes nearly as long; the machine may be busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for what must happen.
pub(in crate::agreement) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A mempool that gives what is not decided, or no longer.
pub(super) struct TestSource {
    store: Store,
    waiting: Mutex<Vec<RollupTransaction>>,
    work: Notify,
}

impl TestSource {
    fn undecided(&self) -> Vec<RollupTransaction> {
        let waiting = self.waiting.lock().unwrap();
        let undecided =
            |tx: &&RollupTransaction| self.store.locate(tx.rollup, tx.hash()).unwrap().is_none();
        waiting.iter().filter(undecided).cloned().collect()
    }

    pub(super) fn submit(&self, transaction: RollupTransaction) {
        self.waiting.lock().unwrap().push(transaction);
        self.work.notify_one();
    }
}

impl BlockSource for TestSource {
    fn collect(
        &self,
        max_bytes: usize,
        is_open: &dyn Fn(RollupId) -> bool,
    ) -> Vec<RollupTransaction> {
        let mut left = max_bytes;
        let mut taken = Vec::new();
        for tx in self.undecided() {
            let bytes = crate::batch::body::max_transaction_bytes(&tx);
            if bytes > left || !is_open(tx.rollup) {
                break;
            }
            left -= bytes;
            taken.push(tx);
        }
        taken
    }

    fn has_work(&self) -> bool {
        !self.undecided().is_empty()
    }

    fn work(&self) -> &Notify {
        &self.work
    }

    fn known(&self, _rollup: RollupId, _hash: B256) -> Option<IncludedTransaction> {
        None
    }
}

/// Everybody can be reached, as far as anybody knows.
#[derive(Debug)]
struct Everybody;

impl Reach for Everybody {
    fn is_reachable(&self, _signer: Address) -> bool {
        true
    }

    fn sequencer_of(&self, _peer: &PeerId) -> Option<SequencerId> {
        None
    }
}

/// A user's transaction, signed.
pub(super) fn transaction(nonce: u64) -> RollupTransaction {
    crate::testing::transaction(&crate::testing::key(0x77), nonce).transaction
}

/// What of an agent outlives its runs.
pub(super) struct Seat {
    key: [u8; 32],
    pub(super) address: Address,
    identity: Keypair,
    /// Held as long as the seat stands: other tests' agents are never handed it, not even between two runs.
    port: HeldPort,
    folder: TempDir,
}

impl Seat {
    fn new(index: u8) -> Self {
        let key = keccak256([index]).0;
        Self {
            key,
            address: SecretKey::from_bytes(key).unwrap().address(),
            identity: Keypair::generate_ed25519(),
            port: HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn store_path(&self) -> PathBuf {
        self.folder.path().join("rota.redb")
    }

    const fn port(&self) -> u16 {
        self.port.address().port()
    }

    pub(super) fn secret(&self) -> SecretKey {
        SecretKey::from_bytes(self.key).unwrap()
    }
}

/// A running agent.
pub(super) struct Agent {
    pub(super) store: Store,
    pub(super) source: Arc<TestSource>,
    pub(super) decided: watch::Receiver<Height>,
    pub(super) evidence: mpsc::Receiver<Evidence>,
    pub(super) clock: Clock,
    pub(super) quiet: watch::Receiver<Quiet>,
    pub(super) path: PathBuf,
    stop: CancellationToken,
    running: JoinHandle<Result<(), AgreementError>>,
}

impl Agent {
    /// Waits until this agent has decided `height`, as long as it goes on: heights are many, and the machine may be slow.
    pub(super) async fn reaches(&mut self, height: u64) {
        let height = Height::new(height);
        loop {
            let at = *self.decided.borrow_and_update();
            if at >= height {
                return;
            }
            let what = format!("a height after {at}, on the way to {height}");
            soon(&what, self.decided.changed()).await.unwrap();
        }
    }

    /// Waits until this agent has decided a transaction.
    pub(super) async fn decides(&mut self, tx: &RollupTransaction) {
        let decided = async {
            while self.store.locate(tx.rollup, tx.hash()).unwrap().is_none() {
                self.decided.changed().await.unwrap();
            }
        };
        soon("a transaction is decided", decided).await;
    }

    /// Waits until this agent has gone over to a generation.
    pub(super) async fn begins(&mut self, generation: u32) {
        let running = || self.store.generation_start().unwrap().map(|start| start.generation.get());
        let begun = async {
            while running() != Some(generation) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a generation begins", begun).await;
    }

    /// Stops it and gives up the store, which the engine's actors hold until each of them has ended.
    pub(super) async fn stop(self) {
        self.end().await.unwrap();
    }

    /// The same, also of one that cannot go on; why it could not.
    pub(super) async fn end(self) -> Result<(), AgreementError> {
        let Self { store, source, path, stop, running, .. } = self;
        stop.cancel();
        let ended = soon("an agent stops", running).await.unwrap();
        drop((store, source));
        let given_up = async {
            while Store::open(&path).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the store is given up", given_up).await;
        ended
    }
}

/// The agents' seats and the L1 that all of them see.
pub(in crate::agreement) struct Net {
    pub(super) seats: Vec<Seat>,
    pub(super) mirror: MirrorHandle,
    pub(super) domain: SigningDomain,
    /// L1 time of block 0 of the test.
    began: u64,
    /// Where blocks are read that settled.
    archive: Arc<Archive>,
    /// Whether a store that is new from now on is that of a key that was in a set.
    pub(super) lost: bool,
    /// Ports of second machines.
    held: Mutex<Vec<HeldPort>>,
}

/// Settled blocks, from the store of an agent that has them.
#[derive(Default)]
struct Archive(Mutex<Option<Store>>);

#[async_trait]
impl History for Archive {
    async fn blocks(&self, batch: &SettledBatch) -> Result<Vec<Block>, HistoryError> {
        let archive = self.0.lock().unwrap();
        let Some(store) = archive.as_ref() else {
            return Err(HistoryError::Silent { reason: "no archive".into() });
        };
        let heights = batch.header.first_height.get()..=batch.header.last_height.get();
        Ok(heights.map(|at| store.block(Height::new(at)).unwrap().unwrap().block).collect())
    }
}

impl Net {
    /// `members` of the seats are in the first set.
    pub(in crate::agreement) fn new(seats: u8, members: usize) -> Self {
        Self::with_pace(seats, members, Duration::from_millis(50), Duration::from_millis(100))
    }

    pub(super) fn with_pace(seats: u8, members: usize, interval: Duration, idle: Duration) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let seats: Vec<_> = (1..=seats).map(Seat::new).collect();
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 300;
        let params = Params {
            genesis: began,
            interval_millis: interval.as_millis().try_into().unwrap(),
            idle_interval_millis: idle.as_millis().try_into().unwrap(),
            ..Params::for_tests()
        };
        let mut mirror = Mirror::new(params);
        mirror.peers = seats.iter().map(|seat| (seat.address, endpoint(seat))).collect();
        mirror.rollups = BTreeMap::from([(ROLLUP, Allowance::new(0, U256::MAX))]);
        let net = Self {
            mirror: MirrorHandle::new(mirror),
            domain: SigningDomain::new(31_337, Address::repeat_byte(7)),
            began,
            seats,
            archive: Arc::default(),
            lost: false,
            held: Mutex::default(),
        };
        net.seal(0, &(0..members).collect::<Vec<_>>());
        net.mine_through(10);
        let origin = net.l1_block(0);
        net.mirror.update(|mirror| {
            mirror.genesis = Some(BlockHeader {
                generation: Generation::new(0),
                height: Height::new(0),
                epoch: Epoch::new(0),
                proposer: Address::ZERO,
                timestamp: Millis::new(began * 1_000),
                parent_hash: B256::ZERO,
                l1_origin_number: origin.number,
                l1_origin_hash: origin.hash,
                forced_through: 0,
                tx_count: 0,
                tx_root: tx_root(&[]),
            });
        });
        net
    }

    fn l1_block(&self, number: u64) -> L1Block {
        let hash = keccak256(number.to_be_bytes());
        L1Block { number, hash, timestamp: Seconds::new(self.began + number) }
    }

    /// L1 has grown to this block, one a second.
    pub(super) fn mine_through(&self, head: u64) {
        self.mirror.update(|mirror| {
            mirror.blocks = (0..=head).map(|n| (n, self.l1_block(n))).collect();
            mirror.head = Some(self.l1_block(head));
            mirror.at_depth = Some(self.l1_block(head - 4));
        });
    }

    /// Blocks up to this one have settled, and everybody knows.
    pub(super) fn settle(&self, last: &BlockHeader) {
        let tip = SettledTip {
            number: BatchNumber::new(1),
            last_height: last.height,
            last_block_hash: last.hash(),
            epoch: last.epoch,
            timestamp: last.timestamp.to_seconds(),
            settled_at: last.timestamp.to_seconds(),
        };
        self.mirror.update(|mirror| mirror.tip = Some(tip));
    }

    /// Freezes a set of the first generation.
    pub(super) fn seal(&self, epoch: u64, seats: &[usize]) {
        self.seal_in(0, epoch, seats);
    }

    fn seal_in(&self, generation: u32, epoch: u64, seats: &[usize]) {
        let (generation, epoch) = (Generation::new(generation), Epoch::new(epoch));
        let mut members: Vec<_> = seats
            .iter()
            .map(|seat| Member { signer: self.seats[*seat].address, weight: 10 })
            .collect();
        members.sort_by_key(|member| member.signer);
        let set = LeaderSet::new(generation, epoch, keccak256("seed"), members).unwrap();
        self.mirror.update(|mirror| mirror.sets.insert((generation, epoch), Arc::new(set)));
    }

    /// A restart after `settled` is finished in L1 block `number`, in the epoch of that block, with these seats as its set.
    /// Everybody sees it once that block is at depth.
    pub(super) fn finish(
        &self,
        generation: u32,
        settled: (Height, B256),
        number: u64,
        seats: &[usize],
    ) {
        let finished_in = self.l1_block(number);
        let epoch = self.mirror.read().params.epoch_at(finished_in.timestamp);
        self.seal_in(generation, epoch.get(), seats);
        let generation = Generation::new(generation);
        let (last_height, last_block_hash) = settled;
        let start =
            GenerationStart { generation, epoch, last_height, last_block_hash, finished_in };
        self.mirror.update(|mirror| mirror.generations.insert(generation, start));
    }

    /// Lets those who come late read what settled from this agent's store, as one batch; from no one's without it.
    pub(super) fn archive(&self, store: Option<&Store>) {
        *self.archive.0.lock().unwrap() = store.cloned();
    }

    pub(super) fn start(&self, seat: usize) -> Agent {
        self.start_with(seat, |_| {})
    }

    pub(super) fn start_with(
        &self,
        seat: usize,
        change: impl FnOnce(&mut AgreementConfig),
    ) -> Agent {
        let path = self.seats[seat].store_path();
        self.start_at(seat, self.config(seat), path, change)
    }

    /// Starts a second machine with a seat's key and name in the network, over another store.
    pub(super) fn start_elsewhere(&self, seat: usize, path: PathBuf) -> Agent {
        let port = HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listen = format!("/ip4/127.0.0.1/tcp/{}", port.address().port());
        let agent =
            self.start_at(seat, AgreementConfig { listen, ..self.config(seat) }, path, |_| {});
        self.held.lock().unwrap().push(port);
        agent
    }

    fn start_at(
        &self,
        seat: usize,
        mut config: AgreementConfig,
        path: PathBuf,
        change: impl FnOnce(&mut AgreementConfig),
    ) -> Agent {
        let store = Store::open(&path).unwrap();
        let guard = Guard::new(self.seats[seat].secret(), self.domain, store.clone());
        let guard = Arc::new(guard);
        let source = Arc::new(TestSource {
            store: store.clone(),
            waiting: Mutex::default(),
            work: Notify::new(),
        });
        let (decided_tx, decided) = watch::channel(Height::new(0));
        let (evidence_tx, evidence) = mpsc::channel(1_024);
        let stop = CancellationToken::new();
        let address = self.seats[seat].address;
        config.doubt = doubt_of(&store, address, self.lost).unwrap();
        config.quiet.send_modify(|quiet| quiet.silence = config.doubt);
        change(&mut config);
        let clock = config.clock.clone();
        let quiet = config.quiet.subscribe();
        let running = tokio::spawn(run(
            config,
            self.mirror.clone(),
            store.clone(),
            guard,
            Arc::clone(&source) as Arc<dyn BlockSource>,
            Arc::clone(&self.archive) as Arc<dyn History>,
            decided_tx,
            evidence_tx,
            stop.clone(),
        ));
        Agent { store, source, decided, evidence, clock, quiet, path, stop, running }
    }

    /// How a seat's agent takes part.
    pub(in crate::agreement) fn config(&self, seat: usize) -> AgreementConfig {
        let seat = &self.seats[seat];
        AgreementConfig {
            listen: format!("/ip4/127.0.0.1/tcp/{}", seat.port()),
            identity: seat.identity.clone(),
            timeouts: Timeouts::for_interval(Duration::from_millis(250)),
            settled_patience: SETTLED_PATIENCE,
            reach: Arc::new(Everybody),
            clock: Clock::default(),
            doubt: None,
            quiet: watch::Sender::default(),
            faults: crate::agreement::Faults::default(),
        }
    }

    /// A voice for an engine that no agent runs.
    pub(in crate::agreement) fn voice(&self, guard: &Arc<Guard>, store: &Store) -> Voice {
        let (mirror, told) = (self.mirror.clone(), watch::Sender::default());
        Voice::new(None, mirror, Arc::clone(guard), store.clone(), told, false)
    }

    /// A seat's store, and the guard over it.
    pub(in crate::agreement) fn store_and_guard(&self, seat: usize) -> (Store, Arc<Guard>) {
        let seat = &self.seats[seat];
        let store = Store::open(seat.store_path()).unwrap();
        let guard = Guard::new(seat.secret(), self.domain, store.clone());
        (store, Arc::new(guard))
    }

    pub(super) fn start_all(&self) -> Vec<Agent> {
        (0..self.seats.len()).map(|seat| self.start(seat)).collect()
    }
}

fn endpoint(seat: &Seat) -> PeerEndpoint {
    let peer = seat.identity.public().to_peer_id();
    PeerEndpoint {
        id: SequencerId::new(0),
        signer: seat.address,
        agreement: format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", seat.port()),
        link: String::new(),
    }
}
