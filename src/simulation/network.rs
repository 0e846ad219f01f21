//! The agents, L1 and what lies between, and what must hold.

mod outcome;

use super::agent::{Agent, Fault, Loss, Whom, heeds};
use crate::agreement::simulated::{Promise, Said, To};
use crate::attest::Message;
use crate::domain::{Height, Millis, Params};
use crate::l1::simulated::{Act, GWEI, Whims, World};
use crate::testing::{key, params};
use alloy::primitives::{Address, B256, keccak256};
use libp2p::PeerId;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const AGENTS: usize = 4;
const STEP: Duration = Duration::from_millis(100);
/// Steps in a second.
const SECOND: u64 = 10;
/// Seconds of trouble, and at most until all is well again.
const STORM: u64 = 60;
const CALM: u64 = 100;
/// Blocks of L1 before anybody joins: more than a reader goes through one by one.
const HISTORY: u64 = 200;
/// What a start may ask L1 for, beside what is new.
const START: u64 = 60;
/// A unit of gas where it is dear, as it is once all is well again.
const DEAR: u128 = 240 * GWEI;
/// L1 reorganises less than its depth.
const DEPTH: usize = 3;

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Clone, Debug)]
enum Mail {
    Hello { key: Address, session: u64 },
    Acknowledged,
    Batch(Box<Message>),
    Word(Box<Said>),
}

struct Parcel {
    at: u64,
    to: usize,
    from: usize,
    mail: Mail,
}

pub(super) struct Network {
    dice: Dice,
    params: Params,
    world: World,
    agents: Vec<Agent>,
    began: Instant,
    now: u64,
    stormy: bool,
    wire: Vec<Parcel>,
    promises: BTreeMap<(Address, &'static str, Height, u32), B256>,
    honest: BTreeSet<Address>,
    /// When an agent comes back, and when a step is next.
    down: BTreeMap<usize, u64>,
    reorganised: u64,
    kills: u64,
    lost: u64,
    rotates: Option<usize>,
    hash: B256,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let params = Params {
            epoch_seconds: 30,
            turn_length: 4,
            idle_batch_age_seconds: 2,
            takeover_seconds: 6,
            ..params()
        };
        let world = World::new(&params);
        let agents: Vec<Agent> = (0..AGENTS).map(|index| Agent::new(index, &world, seed)).collect();
        let mut network = Self {
            dice: Dice(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)),
            params,
            world,
            honest: agents.iter().map(Agent::key).collect(),
            agents,
            began: Instant::now(),
            now: 0,
            stormy: true,
            wire: Vec::new(),
            promises: BTreeMap::new(),
            down: BTreeMap::new(),
            reorganised: 0,
            kills: 0,
            lost: 0,
            rotates: None,
            hash: B256::ZERO,
        };
        network.found();
        network
    }

    /// The same, of agents with a fault.
    pub(super) fn with(seed: u64, fault: Fault) -> Self {
        let mut network = Self::new(seed);
        network.agents.iter_mut().for_each(|agent| agent.fault = Some(fault));
        network
    }

    /// Everybody joins, and L1 goes on until they can begin.
    fn found(&mut self) {
        let mut world = self.world.lock();
        for _ in 0..HISTORY {
            world.mine();
        }
        world.act(Act::Join {
            id: 1,
            signer: key(99).address(),
            endpoint: "none,none".into(),
            weight: 1,
        });
        for agent in &self.agents {
            let endpoint = format!("{0},{0}", agent.address);
            let (id, signer) = (agent.id.get(), agent.key());
            world.act(Act::Join { id, signer, endpoint, weight: 10 });
        }
        for _ in 0..10 {
            world.mine();
        }
    }

    /// Seconds of L1's time since the agents began.
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn time(&self) -> Arc<dyn Fn() -> Millis + Send + Sync> {
        let base = (self.params.genesis + HISTORY + 10) * 1_000;
        let began = self.began;
        Arc::new(move || {
            let passed = u64::try_from(began.elapsed().as_millis()).unwrap();
            Millis::new(base + passed)
        })
    }

    async fn wake(&mut self, index: usize) {
        let time = self.time();
        self.agents[index].wake(&self.world, &self.params, time);
        let name = self.agents[index].name;
        for other in 0..AGENTS {
            if other == index {
                continue;
            }
            let theirs = self.agents[other].name;
            if self.agents[other].process.is_none() {
                continue;
            }
            if let Some(process) = &mut self.agents[index].process {
                process.member.connected(&theirs, true).await;
            }
            if let Some(process) = &mut self.agents[other].process {
                process.member.connected(&name, true).await;
            }
        }
    }

    async fn bury(&mut self, index: usize, loss: Loss) {
        let forgets = self.dice.one_in(3);
        let loss = self.agents[index].bury(loss, forgets);
        self.kills += 1;
        self.lost += u64::from(loss != Loss::Memory);
        let (name, now) = (self.agents[index].name, self.elapsed());
        for other in &mut self.agents {
            if let Some(process) = &mut other.process {
                process.links.connected(name, false, now);
                process.member.connected(&name, false).await;
            }
        }
        self.wire.retain(|parcel| parcel.to != index);
    }

    /// Nobody else is away or silent: with one more, nothing would be decided.
    fn may_lose(&self, index: usize) -> bool {
        self.agents.iter().enumerate().all(|(other, agent)| {
            other == index
                || agent.process.as_ref().is_some_and(|process| {
                    process.member.silence().is_none() && !process.store.is_dead()
                })
        })
    }

    /// What goes wrong in this second.
    async fn trouble(&mut self) {
        if self.dice.one_in(9) {
            let index = usize::try_from(self.dice.below(4)).unwrap();
            if self.may_lose(index) && self.agents[index].process.is_some() {
                let writes = usize::try_from(self.dice.below(6)).unwrap() + 1;
                self.agents[index].die_after(writes);
            }
        }
        if self.dice.one_in(6) {
            let index = usize::try_from(self.dice.below(4)).unwrap();
            self.agents[index].back_up();
        }
        if self.dice.one_in(10) {
            let depth = usize::try_from(self.dice.below(3)).unwrap() + 1;
            let forgets = self.dice.one_in(2);
            self.reorganised += 1;
            self.world.lock().reorganise(depth.min(DEPTH), forgets);
        }
        if self.dice.one_in(5) {
            // The first sequencer says that it is where another one is.
            let victim = usize::try_from(self.dice.below(4)).unwrap();
            let name = self.agents[victim].name;
            let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{name}", 3_000 + self.dice.below(3));
            let endpoint = format!("{address},{address}");
            self.world.lock().act(Act::Endpoint { id: 1, endpoint });
        }
        // Gas gets dear, for good, while something waits in L1's pool, so that it waits on; and who sent it may be gone.
        if self.waits().is_some() && self.dice.one_in(3) {
            let mut world = self.world.lock();
            world.base = world.base.saturating_mul(4).min(DEAR);
        }
        if self.dice.one_in(3) {
            self.kill_who_waits().await;
        }
    }

    /// Somebody who has a transaction in L1's pool.
    fn waits(&self) -> Option<usize> {
        let world = self.world.lock();
        self.agents.iter().position(|agent| world.is_waiting(agent.key()))
    }

    /// Kills somebody who has a transaction in L1's pool.
    async fn kill_who_waits(&mut self) {
        let Some(index) = self.waits() else { return };
        if self.agents[index].process.is_some() && self.may_lose(index) {
            self.bury(index, Loss::Memory).await;
            self.down.insert(index, self.now + 5);
        }
    }

    /// One of them takes another key in the middle of it; it runs with it once the set in force holds it.
    async fn rotate(&mut self) {
        match self.rotates {
            None if (0..AGENTS).any(|index| !self.may_lose(index)) => {}
            None => {
                let index = usize::try_from(self.dice.below(4)).unwrap();
                let byte = u8::try_from(200 + index).unwrap();
                let id = self.agents[index].id.get();
                self.world.lock().act(Act::Rotate { id, signer: key(byte).address() });
                self.rotates = Some(index);
            }
            Some(index) => {
                let byte = u8::try_from(200 + index).unwrap();
                let fresh = key(byte).address();
                let is_in_force =
                    self.world.lock().set().is_some_and(|set| set.index_of(fresh).is_some());
                if is_in_force
                    && self.agents[index].key() != fresh
                    && self.agents[index].process.is_some()
                    && self.may_lose(index)
                {
                    self.agents[index].keys.push([byte; 32]);
                    self.honest.insert(fresh);
                    self.bury(index, Loss::Memory).await;
                    self.down.insert(index, self.now + 1);
                }
            }
        }
    }

    fn is_rotating(&self) -> bool {
        self.rotates.is_some_and(|index| {
            let byte = u8::try_from(200 + index).unwrap();
            self.agents[index].keys.last() != Some(&[byte; 32])
        })
    }

    fn send(&mut self, from: usize, to: usize, mail: Mail) {
        if self.stormy && self.dice.one_in(12) {
            return;
        }
        let late = if self.stormy { self.dice.below(3) } else { 0 };
        let at = self.now + 1 + late;
        if self.stormy && self.dice.one_in(10) {
            let at = at + self.dice.below(40);
            self.wire.push(Parcel { at, to, from, mail: mail.clone() });
        }
        self.wire.push(Parcel { at, to, from, mail });
    }

    fn place_of(&self, name: PeerId) -> Option<usize> {
        self.agents.iter().position(|agent| agent.name == name)
    }

    /// What an honest agent says binds it.
    fn check(&mut self, promise: Option<Promise>) {
        let Some((place, hash)) = promise else { return };
        if self.honest.contains(&place.0) {
            let known = self.promises.entry(place).or_insert(hash);
            assert_eq!(*known, hash, "signed twice: {place:?}");
        }
    }

    /// Connections and greetings.
    fn link(&mut self, index: usize) {
        let (now, fault) = (self.elapsed(), self.agents[index].fault);
        let Some(process) = &mut self.agents[index].process else { return };
        process.links.follow(&process.mirror, now, |one, all| heeds(fault, one, all));
        for (name, addresses) in process.links.due(now) {
            let Some(other) = self.place_of(name).filter(|other| *other != index) else { continue };
            let is_there = self.agents[other].process.is_some()
                && addresses
                    .iter()
                    .any(|one| self.agents[other].address.starts_with(&format!("{one}/")));
            if !is_there {
                continue;
            }
            let own = self.agents[index].name;
            for (place, name) in [(index, name), (other, own)] {
                if let Some(process) = &mut self.agents[place].process {
                    process.links.connected(name, true, now);
                }
            }
        }
        let key = self.agents[index].key();
        let Some(process) = &mut self.agents[index].process else { return };
        let session = process.session;
        for name in process.links.due_greetings(now) {
            if let Some(other) = self.place_of(name) {
                self.send(index, other, Mail::Hello { key, session });
            }
        }
    }

    async fn deliver(&mut self, index: usize) -> Result<(), String> {
        let now = self.now;
        let due = |parcel: &mut Parcel| parcel.to == index && parcel.at <= now;
        let arrived: Vec<Parcel> = self.wire.extract_if(.., due).collect();
        for parcel in arrived {
            let (from, now) = (self.agents[parcel.from].name, self.elapsed());
            let Some(process) = &mut self.agents[index].process else { return Ok(()) };
            match parcel.mail {
                Mail::Hello { key, session } => {
                    if process.links.hello(from, key, session, now) {
                        self.send(index, parcel.from, Mail::Acknowledged);
                    }
                }
                Mail::Acknowledged => process.links.was_greeted(from),
                Mail::Batch(message) => {
                    if let Some(sequencer) = process.links.sequencer_of(from) {
                        process.inbox.push((sequencer, *message));
                    }
                }
                Mail::Word(said) => {
                    process.member.hear(&from, *said).await.map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// All that an agent does in one step.
    async fn act(&mut self, index: usize) -> Result<(), String> {
        self.deliver(index).await?;
        let turn = self.now + u64::try_from(index).unwrap();
        if turn.is_multiple_of(SECOND / 2) {
            self.look_at_l1(index).await?;
            self.link(index);
        }
        let said = {
            let Some(process) = &mut self.agents[index].process else { return Ok(()) };
            let said = process.member.turn().await.map_err(|error| error.to_string())?;
            process.follow_silence();
            said
        };
        self.speak(index, said);
        if turn.is_multiple_of(3) {
            let Some(process) = &mut self.agents[index].process else { return Ok(()) };
            let inbox = std::mem::take(&mut process.inbox);
            process.attester.advance(inbox).map_err(|error| error.to_string())?;
            let ways: Vec<(Option<PeerId>, Message)> = process
                .outbox
                .take()
                .into_iter()
                .map(|(whom, message)| {
                    let way = match whom {
                        Whom::Key(key) => process.links.way_to_key(key),
                        Whom::Sequencer(id) => process.links.way_to(id),
                    };
                    (way, message)
                })
                .collect();
            for (way, message) in ways {
                if let Some(other) = way.and_then(|name| self.place_of(name)) {
                    self.send(index, other, Mail::Batch(Box::new(message)));
                }
            }
        }
        if turn.is_multiple_of(SECOND) {
            let Some(process) = &mut self.agents[index].process else { return Ok(()) };
            // L1 may not answer: then at the next time.
            let tended = process.account.tend().await.map_err(|error| error.to_string());
            let looked = process.poster.look().await;
            process.lacks = format!("{tended:?} {looked:?}");
        }
        let Some(process) = &mut self.agents[index].process else { return Ok(()) };
        let mut found = process.member.offences();
        found.extend(std::iter::from_fn(|| process.evidence.try_recv().ok()));
        for offence in found {
            assert!(!self.honest.contains(&offence.offender()), "accused: {offence:?}");
        }
        Ok(())
    }

    fn speak(&mut self, index: usize, said: Vec<(To, Said)>) {
        for (to, word) in said {
            self.hash = keccak256(format!("{}{index}{:?}", self.hash, word.promise()));
            self.check(word.promise());
            let others: Vec<usize> = match to {
                Some(name) => self.place_of(name).into_iter().collect(),
                None => (0..AGENTS).collect(),
            };
            for other in others {
                if other != index && self.agents[other].process.is_some() {
                    self.send(index, other, Mail::Word(Box::new(word.clone())));
                }
            }
        }
    }

    async fn look_at_l1(&mut self, index: usize) -> Result<(), String> {
        let agent = &mut self.agents[index];
        let Some(process) = &mut agent.process else { return Ok(()) };
        if agent.fault == Some(Fault::BelievesLag) {
            process.follower.believe_head().await?;
        }
        let step = process.follower.step().await;
        if let Err(error) = step
            && process.store.is_dead()
        {
            return Err(error);
        }
        let (head, is_ready) = {
            let mirror = process.mirror.read();
            (mirror.head, mirror.is_ready())
        };
        let world = self.world.lock();
        if is_ready && let Some((before, anchor)) = process.reads_since.take() {
            let asked = agent.node.asked() - before;
            let most = START + 2 * world.head().number.saturating_sub(anchor);
            assert!(asked <= most, "a start asked L1 {asked} times, at most {most}");
        }
        if let Some(seen) = process.seen.filter(|seen| world.has(seen)) {
            let now = head.map_or(0, |head| head.number);
            assert!(
                now >= seen.number,
                "agent {index} undid blocks {now} to {} of L1",
                seen.number
            );
        }
        process.seen = head;
        Ok(())
    }

    /// One step of all.
    async fn step(&mut self) {
        self.now += 1;
        tokio::time::advance(STEP).await;
        if self.stormy && self.now.is_multiple_of(SECOND) {
            self.trouble().await;
        }
        let passed = self.elapsed().as_secs();
        while self.world.lock().head().number < HISTORY + 10 + passed {
            self.world.lock().mine();
        }
        if self.now.is_multiple_of(SECOND) && self.now >= 15 * SECOND {
            self.rotate().await;
        }
        for index in 0..AGENTS {
            if self.agents[index].process.is_none() {
                let back = *self.down.entry(index).or_insert(0);
                if back <= self.now {
                    self.wake(index).await;
                }
                continue;
            }
            let result = self.act(index).await;
            if self.agents[index].has_died() {
                let loss = match self.dice.below(3) {
                    // Who waits for its other key to count is one that is away already. Two of four that keep silent wait
                    // for each other for ever.
                    _ if self.is_rotating() || !self.may_lose(index) => Loss::Memory,
                    0 => Loss::Disk,
                    1 => Loss::Newest,
                    _ => Loss::Memory,
                };
                self.bury(index, loss).await;
                let away = self.dice.below(8) * SECOND + 5;
                self.down.insert(index, self.now + away);
                continue;
            }
            if let Err(error) = result {
                panic!("agent {index}: {error}");
            }
        }
    }

    fn behave(&self) {
        let whims = match self.stormy {
            true => Whims { behind: 400, far_behind: 20, fails: 10 },
            // A node that lags is no trouble that passes.
            false => Whims { behind: 300, ..Whims::default() },
        };
        for agent in &self.agents {
            agent.node.behaves(whims);
        }
    }

    /// So many steps of trouble.
    pub(super) async fn storm(&mut self, steps: u64) {
        self.behave();
        for _ in 0..steps {
            self.step().await;
        }
    }

    /// What was said by whom, in order, and what L1 has.
    pub(super) fn trace(&self) -> B256 {
        let world = self.world.lock();
        keccak256(format!("{}{:?}{}{:?}", self.hash, world.head(), world.settled(), world.posters))
    }

    fn tip(&self) -> Height {
        let tips = self.agents.iter().filter_map(|agent| agent.process.as_ref());
        tips.map(super::agent::Process::tip).max().unwrap_or_default()
    }

    /// Trouble, and then none; and what came of it.
    pub(super) async fn run(mut self) -> [u64; 5] {
        self.storm(STORM * SECOND).await;
        self.world.lock().base = DEAR;
        self.kill_who_waits().await;
        self.stormy = false;
        self.behave();
        let (goal, since) = (self.tip(), self.world.lock().batches() + 1);
        let mut left = CALM * SECOND;
        while let Err(lacks) = self.is_well(goal, since) {
            assert!(left > 0, "{lacks}: {}", self.describe());
            left -= 1;
            self.step().await;
        }
        self.assert_one_chain(goal);
        let batches = self.world.lock().batches();
        println!("calm after {} of {CALM} s", CALM - left / SECOND);
        [goal.get(), batches, self.kills, self.lost, self.reorganised]
    }
}
