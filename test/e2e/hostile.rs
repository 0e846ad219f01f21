//! Peers that speak the raw wire: what the agents' own networking never sends, from a program that is no agent.
//!
//! The format is written out here a second time, so that a change of it is noticed (`src/agreement/codec.rs` pins the same).

use crate::{STAKE_WEI, alone, block_on, plan, record, session, until};
use alloy::primitives::{Address, B256, keccak256};
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_scatter::{Behaviour, Config, Event, Topic};
use rota::config::{Identity, Settings};
use rota::crypto::{SecretKey, SigningDomain};
use rota::devnet::Session;
use rota::domain::{
    BlockHeader, Epoch, Generation, Height, Millis, Proposal, Round, SequencerStatus, Signer, Vote,
    VoteType, tx_root,
};
use rota::rpc_client::RpcClient;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// L1 blocks over which blocks are timed, once in quiet and once under attack, in turns.
const WINDOW: u64 = 10;
/// At most so many windows of each kind: a machine that is busy with something else evens out.
const WINDOWS: u32 = 8;

/// Enough for transactions to wait at each height: an idle one takes its time (R19).
const TPS: f64 = 40.0;

/// What one hostile peer sends again and again.
pub(super) struct Attack {
    /// Whose PeerId it has.
    pub(super) identity: Keypair,
    /// With which key it signs.
    pub(super) key: SecretKey,
    pub(super) domain: SigningDomain,
    /// All members, in whose names it speaks.
    pub(super) members: Vec<Address>,
    /// Whether it sends what does not decode, too.
    pub(super) garbage: bool,
}

/// One hostile peer that is at work while `on` says so.
pub(super) struct Hostile {
    pub(super) on: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    cut: Arc<AtomicU64>,
    pub(super) task: JoinHandle<()>,
}

impl Attack {
    /// Frames for heights and rounds that honest agents are at or about to come to.
    fn frames(&self, tip: u64, salt: u64) -> Vec<(Topic, Vec<u8>)> {
        let mut frames = Vec::new();
        for height in tip + 1..=tip + 3 {
            for round in 0..4_u32 {
                for (variant, member) in [(0, self.members[0]), (1, self.members[1])] {
                    let mut id = [0; 48];
                    id[..8].copy_from_slice(&(salt ^ height ^ variant).to_be_bytes());
                    id[8..12].copy_from_slice(&round.to_be_bytes());
                    let header = junk(height, member, variant);
                    frames.push((topic("parts"), self.init(id, header, round, member)));
                    frames.push((
                        topic("parts"),
                        borsh::to_vec(&(id.to_vec(), 1_u64, 1_u8)).unwrap(),
                    ));
                }
                // A body that belongs to nothing.
                let mut id = [1; 48];
                id[..8].copy_from_slice(&salt.to_be_bytes());
                let body = (id.to_vec(), 1_u64, 0_u8, 1_u8, vec![0_u8; 1_000]);
                frames.push((topic("parts"), borsh::to_vec(&body).unwrap()));
                for member in &self.members {
                    frames.push((topic("consensus"), self.vote(height, round, *member)));
                }
            }
        }
        // Its own block in every round, once each: more of one would be an offence.
        let own = self.key.address();
        for round in 0..8_u32 {
            let mut id = [2; 48];
            id[..8].copy_from_slice(&(tip + 1).to_be_bytes());
            id[8..12].copy_from_slice(&round.to_be_bytes());
            let header = junk(tip + 1, own, 7);
            frames.push((topic("parts"), self.init(id, header, round, own)));
            frames.push((topic("parts"), borsh::to_vec(&(id.to_vec(), 1_u64, 1_u8)).unwrap()));
        }
        if self.garbage {
            for name in ["parts", "consensus", "liveness", "sync"] {
                frames.push((topic(name), vec![0xff; 100]));
            }
        }
        frames
    }

    /// The first part of a stream: a proposal in the name of `proposer`, signed with the key that this peer has.
    fn init(&self, id: [u8; 48], header: BlockHeader, round: u32, proposer: Address) -> Vec<u8> {
        let proposal = Proposal {
            generation: header.generation,
            height: header.height,
            round: Round::new(round),
            pol_round: -1,
            block_hash: header.hash(),
        };
        let signature = self.key.sign(self.domain.proposal(&proposal));
        let stream = (id.to_vec(), 0_u64, 0_u8, 0_u8);
        let proposal = (header.height, 1_u8, round, header, 0_u8, Signer(proposer.0.0));
        borsh::to_vec(&(stream, proposal, signature)).unwrap()
    }

    fn vote(&self, height: u64, round: u32, voter: Address) -> Vec<u8> {
        let block = keccak256(height.to_be_bytes());
        let vote = Vote {
            generation: Generation::new(0),
            height: Height::new(height),
            round: Round::new(round),
            block_hash: block,
        };
        let signature = self.key.sign(self.domain.vote(VoteType::Precommit, &vote));
        // Of itself it says nothing, or it would sign against what it signed before.
        let voter = if voter == self.key.address() { Address::repeat_byte(1) } else { voter };
        let fields = (0_u8, 1_u8, height, 1_u8, round, 1_u8, block.0, voter.0.0);
        borsh::to_vec(&(fields, signature)).unwrap()
    }

    /// Begins to attack these agents. Frames are for the heights after `tip`.
    pub(super) fn begin(self, targets: Vec<Multiaddr>, tip: Arc<AtomicU64>) -> Hostile {
        let on = Arc::new(AtomicBool::new(false));
        let (sent, cut) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (at_work, counted, closed) = (on.clone(), sent.clone(), cut.clone());
        let task = tokio::spawn(async move {
            let mut swarm = swarm(self.identity.clone());
            let mut ticks = tokio::time::interval(Duration::from_millis(200));
            let (mut salt, mut last, mut pause) = (0_u64, 0, 0);
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionClosed { .. } => {
                            closed.fetch_add(1, Ordering::SeqCst);
                        }
                        SwarmEvent::Behaviour(Event::Subscribed(..)) => {}
                        _ => {}
                    },
                    _ = ticks.tick() => {
                        if !at_work.load(Ordering::SeqCst) {
                            continue;
                        }
                        for target in &targets {
                            let Some(Protocol::P2p(peer)) = target.iter().last() else { continue };
                            if !swarm.is_connected(&peer) {
                                let _ = swarm.dial(target.clone());
                            }
                        }
                        // Once for each height that it sees, so that the load is a part of what the network does, however
                        // fast the machine; and once a second where nothing is decided.
                        let now = tip.load(Ordering::SeqCst);
                        pause = if now == last { pause + 1 } else { 0 };
                        if pause % 5 != 0 {
                            continue;
                        }
                        last = now;
                        salt += 1;
                        for (topic, bytes) in self.frames(now, salt) {
                            let peers = swarm.behaviour().peers(&topic).map_or(0, Iterator::count);
                            counted.fetch_add(peers as u64, Ordering::SeqCst);
                            swarm.behaviour_mut().broadcast(&topic, bytes.into());
                        }
                    }
                }
            }
        });
        Hostile { on, sent, cut, task }
    }
}

fn swarm(identity: Keypair) -> Swarm<Behaviour> {
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let mut behaviour = Behaviour::new(Config::default());
            for name in ["parts", "consensus", "liveness", "sync"] {
                behaviour.subscribe(topic(name));
            }
            behaviour
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

fn topic(name: &str) -> Topic {
    Topic::new(format!("/rota/2/0/{name}").as_bytes())
}

fn junk(height: u64, proposer: Address, variant: u64) -> BlockHeader {
    BlockHeader {
        generation: Generation::new(0),
        height: Height::new(height),
        epoch: Epoch::new(0),
        proposer,
        timestamp: Millis::new(variant),
        parent_hash: B256::repeat_byte(0xbb),
        l1_origin_number: u64::MAX,
        l1_origin_hash: B256::repeat_byte(0xcc),
        forced_through: 0,
        tx_count: 0,
        tx_root: tx_root(&[]),
    }
}

pub(super) fn folder(session: &Session, agent: usize) -> PathBuf {
    session.network.folder().join(format!("agent-{agent}"))
}

/// Where the engines of these agents listen, and as whom.
pub(super) fn targets(session: &Session, agents: std::ops::Range<usize>) -> Vec<Multiaddr> {
    agents
        .map(|agent| {
            let settings = Settings::read(&folder(session, agent).join("rota.toml")).unwrap();
            let listen = settings.agreement_listen();
            let peer: PeerId = identity(session, agent).public().to_peer_id();
            format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", listen.port()).parse().unwrap()
        })
        .collect()
}

pub(super) fn identity(session: &Session, agent: usize) -> Keypair {
    Identity::open_or_create(&folder(session, agent).join("identity.key")).unwrap().keypair()
}

pub(super) fn signer(agent: usize) -> SecretKey {
    SecretKey::from_bytes(keccak256(format!("rota devnet signer {agent}")).0).unwrap()
}

pub(super) fn domain(session: &Session) -> SigningDomain {
    let deployment = session.network.deployment();
    SigningDomain::new(deployment.chain_id, deployment.settlement)
}

fn hex(value: &serde_json::Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn number(client: &RpcClient) -> u64 {
    client.call("eth_blockNumber", json!([])).await.map_or(0, |number| hex(&number))
}

/// The milliseconds that blocks took by their headers; the last one may be none yet.
#[derive(Debug, Default)]
struct Pace(Vec<u64>);

impl Pace {
    fn millis(&self) -> u64 {
        self.0.iter().sum()
    }

    fn median(&self) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(u64::MAX)
    }

    /// Whether it stays within a tenth of `other`. Over the minutes of `make hostile` all of the time counts. A few windows have
    /// a few blocks that wait a second for a vote, with or without an attack, and these decide: then a block in the middle counts,
    /// and of all of the time half.
    fn keeps_up_with(&self, other: &Self) -> bool {
        let is_long = std::env::var_os("ROTA_HOSTILE_MINUTES").is_some();
        let tenths = if is_long { 9 } else { 5 };
        let (blocks, others) = (self.0.len() as u64, other.0.len() as u64);
        let goes_on = blocks * other.millis() * 10 >= others * self.millis() * tenths;
        blocks > 0 && goes_on && self.median() * 9 <= other.median() * 10
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} blocks in {} ms, {} ms each", self.0.len(), self.millis(), self.median())
    }
}

/// How fast blocks are decided at an agent while L1 makes so many. Turns that fall to `absent`, which runs nowhere, are left
/// out: each costs a takeover, and the draws give them to quiet and attack unevenly.
async fn pace_in_a_window(session: &Session, tip: &AtomicU64, absent: Option<Address>) -> Pace {
    let l1 = crate::client(session.network.l1_url().clone());
    let agent = crate::client(session.network.rpc_urls()[0].clone());
    let (from, begun) = (number(&agent).await, number(&l1).await);
    let mut before = now();
    until("L1 goes on", || async {
        tip.store(number(&agent).await, Ordering::SeqCst);
        number(&l1).await >= begun + WINDOW
    })
    .await;
    let (last, end) = (number(&agent).await, now());
    let mut epoch = header(&agent, from).await.epoch;
    let mut pace = Pace::default();
    for height in from + 1..=last + 1 {
        // What the next block has been waited for so far counts, too: nothing may be decided at all.
        let mut until = end;
        if height <= last {
            let header = header(&agent, height).await;
            (epoch, until) = (header.epoch, header.timestamp.get());
        }
        if Some(leader(&agent, epoch, height).await) != absent {
            pace.0.push(until.saturating_sub(before));
        }
        before = before.max(until);
    }
    pace
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// To whom the turn of a height falls.
async fn leader(agent: &RpcClient, epoch: Epoch, height: u64) -> Address {
    let turns = |first: u64| agent.call("rota_schedule", json!([epoch, first, 1]));
    let length = turns(0).await.unwrap()["turns"][0]["lastHeight"].as_u64().unwrap() + 1;
    let turn = turns(height / length).await.unwrap()["turns"][0].clone();
    assert!(turn["firstHeight"].as_u64().unwrap() <= height, "{turn}");
    serde_json::from_value(turn["leader"].clone()).unwrap()
}

async fn header(agent: &RpcClient, height: u64) -> BlockHeader {
    let block = agent.call("rota_getBlock", json!([height])).await.unwrap();
    serde_json::from_value(block["header"].clone()).unwrap()
}

/// How many windows of each kind there are at least: two, or as many as fill `ROTA_HOSTILE_MINUTES`.
fn windows() -> u32 {
    let minutes = std::env::var("ROTA_HOSTILE_MINUTES").ok().and_then(|text| text.parse().ok());
    let seconds_a_pair = u32::try_from(2 * WINDOW).unwrap();
    minutes.map_or(2, |minutes: u32| (minutes * 60 / seconds_a_pair).max(2))
}

/// The pace in quiet and under attack, in as many windows; more of them until it keeps up, or there were too many.
async fn paces(
    session: &Session,
    hostile: &Hostile,
    tip: &AtomicU64,
    absent: Option<Address>,
) -> (Pace, Pace) {
    let (mut quiet, mut attacked) = (Pace::default(), Pace::default());
    let least = windows();
    for window in 1..=least.max(WINDOWS) {
        for (on, all) in [(false, &mut quiet), (true, &mut attacked)] {
            hostile.on.store(on, Ordering::SeqCst);
            all.0.extend(pace_in_a_window(session, tip, absent).await.0);
        }
        if window >= least && attacked.keeps_up_with(&quiet) {
            break;
        }
    }
    hostile.on.store(false, Ordering::SeqCst);
    (quiet, attacked)
}

fn log(session: &Session, agent: usize) -> String {
    std::fs::read_to_string(folder(session, agent).join("agent.log")).unwrap()
}

async fn nobody_honest_is_slashed(session: &Session, honest: usize) {
    for signer in &session.network.signers()[..honest] {
        let record = record(session, *signer).await;
        assert_eq!(record.status, SequencerStatus::Active, "{record:?}");
        assert!(record.stake_wei.to::<u128>() >= STAKE_WEI, "{record:?}");
    }
}

#[test]
fn a_stranger_on_the_raw_wire_is_cut_off_and_stops_nothing() {
    let _alone = alone();
    block_on(async {
        let mut session = session(plan(4), TPS).await;
        let tip = Arc::new(AtomicU64::new(0));
        let attack = Attack {
            identity: Keypair::generate_ed25519(),
            key: SecretKey::from_bytes([0x55; 32]).unwrap(),
            domain: domain(&session),
            members: session.network.signers(),
            garbage: true,
        };
        let hostile = attack.begin(targets(&session, 0..4), tip.clone());
        let begun = Instant::now();
        let (quiet, attacked) = paces(&session, &hostile, &tip, None).await;
        let (sent, cut) = (hostile.sent.load(Ordering::SeqCst), hostile.cut.load(Ordering::SeqCst));
        hostile.task.abort();
        println!("{quiet} in quiet, {attacked} under attack; {sent} frames, {cut} cuts");
        assert!(!quiet.0.is_empty() && attacked.keeps_up_with(&quiet), "{quiet}; {attacked}");
        assert!(sent == 0 && cut >= 4, "{sent} frames arrived, {cut} connections were cut");
        for agent in 0..4 {
            let log = log(&session, agent);
            let told = log.matches("a peer that is not registered was refused").count();
            // Once a minute at most, by the agent's own clock.
            let most = 2 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
            assert!((1..=most).contains(&told), "{told} lines at agent {agent}");
            let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
        nobody_honest_is_slashed(&session, 4).await;

        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}

#[test]
fn a_member_on_the_raw_wire_stops_nothing_and_has_nobody_else_slashed() {
    let _alone = alone();
    block_on(async {
        let mut session = session(plan(5), TPS).await;
        session.network.kill(4).await;
        let tip = Arc::new(AtomicU64::new(0));
        let attack = Attack {
            identity: identity(&session, 4),
            key: signer(4),
            domain: domain(&session),
            members: session.network.signers(),
            garbage: false,
        };
        let hostile = attack.begin(targets(&session, 0..4), tip.clone());
        let absent = session.network.signers()[4];
        let begun = Instant::now();
        let (quiet, attacked) = paces(&session, &hostile, &tip, Some(absent)).await;
        let sent = hostile.sent.load(Ordering::SeqCst);
        hostile.task.abort();
        println!("{quiet} in quiet, {attacked} under attack; {sent} frames");
        assert!(!quiet.0.is_empty() && attacked.keeps_up_with(&quiet), "{quiet}; {attacked}");
        assert!(sent > 1_000, "{sent} frames arrived");
        for agent in 0..4 {
            let log = log(&session, agent);
            let told = log.matches("a peer sends messages that nobody signed").count();
            // Once a minute at most, by the agent's own clock.
            let most = 2 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
            assert!((1..=most).contains(&told), "{told} lines at agent {agent}");
            assert!(
                !log.contains("a peer sends what does not decode"),
                "the format here is another"
            );
        }
        nobody_honest_is_slashed(&session, 4).await;

        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled), (0, 0), "{report:?}");
    });
}
