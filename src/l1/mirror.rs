//! What this agent has seen on L1 so far: a pure picture that everybody reads and only the follower changes.
//!
//! Blocks, sets, rollups, peers and the settled chain are those of the canonical chain up to `head`; a reorg rewinds them
//! (the follower applies `Removed` in reverse order). What consensus looks at is read *at depth* alone (R15, R16).

use super::allowance::Allowance;
use super::facts::Fact;
use super::forced::ForcedQueue;
use super::roster::Roster;
use crate::domain::{
    BatchNumber, BlockHeader, Epoch, Generation, GenerationStart, L1Block, LeaderSet, Params,
    PeerEndpoint, RollupId, Seconds, SettledBatch, SettledTip,
};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// A restart under way (R33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// When it was opened.
    pub opened_at: Seconds,
    /// Before this L1 time sequencers check in.
    pub check_in_until: Seconds,
    /// From then until before this one anybody finishes; later it has lapsed.
    pub finish_until: Seconds,
    /// Ids of those who have checked in.
    pub checked_in: BTreeSet<u32>,
    /// Of those the ones with weight when they did: the others are members of nothing, and anybody can have many.
    pub weighing: BTreeSet<u32>,
    /// Where those lie who will lead, once check-in is closed.
    pub closed: Option<Address>,
}

impl Restart {
    /// Whether it can be finished at this L1 time, if enough have checked in.
    pub fn can_finish_at(&self, time: Seconds) -> bool {
        (self.check_in_until..self.finish_until).contains(&time)
    }
}

/// The picture. Cheap to read; `Arc`s are shared, not copied.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The deployment's parameters.
    pub params: Params,
    /// Canonical L1 blocks that are still of use, by number (from the settled origin on; older ones are dropped).
    pub blocks: BTreeMap<u64, L1Block>,
    /// The newest L1 block seen.
    pub head: Option<L1Block>,
    /// How far L1 is read since the start, and how far it went then. `None` before a node answered: what is shown is what
    /// was kept.
    pub read_through: Option<(u64, u64)>,
    /// What is missing in what was read of L1, if L1 says so again and again.
    pub doubt: Option<String>,
    /// The newest L1 block at the configured depth (R16).
    pub at_depth: Option<L1Block>,
    /// Block 0, once the first seal fixed it.
    pub genesis: Option<BlockHeader>,
    /// How each generation after the first began (R33).
    pub generations: BTreeMap<Generation, GenerationStart>,
    /// The restart that was opened last, if neither a batch nor a finish has ended it.
    pub restart: Option<Restart>,
    /// Sets by (generation, epoch they were sealed for).
    pub sets: BTreeMap<(Generation, Epoch), Arc<LeaderSet>>,
    /// Registered rollups and what they had left when (R43).
    pub rollups: BTreeMap<RollupId, Allowance>,
    /// Endpoints of sequencers by key: by the newest few of those who stay, and by each key that a set holds which can still attest.
    pub peers: BTreeMap<Address, PeerEndpoint>,
    /// Where the settled chain stands.
    pub tip: Option<SettledTip>,
    /// The batch settled last.
    pub last_settled: Option<Arc<SettledBatch>>,
    /// The forced queue.
    pub forced: ForcedQueue,
    /// Offences that were reported and not executed.
    pub open_cases: BTreeSet<B256>,
    /// Offences that were reported, executed or not.
    pub reported: u64,
    /// What is known of each sequencer.
    roster: Roster,
}

impl Mirror {
    /// An empty picture of a deployment.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            blocks: BTreeMap::new(),
            head: None,
            read_through: None,
            doubt: None,
            at_depth: None,
            genesis: None,
            generations: BTreeMap::new(),
            restart: None,
            sets: BTreeMap::new(),
            rollups: BTreeMap::new(),
            peers: BTreeMap::new(),
            tip: None,
            last_settled: None,
            forced: ForcedQueue::default(),
            open_cases: BTreeSet::new(),
            reported: 0,
            roster: Roster::default(),
        }
    }

    /// Whether a settled batch is final by this agent's policy: its L1 block is at depth.
    pub fn is_final(&self, batch: &SettledBatch) -> bool {
        self.at_depth.is_some_and(|depth| batch.block.number <= depth.number)
    }

    /// Whether L1 was read up to its head since the start. Before that, what is missing here is not known yet, and nobody
    /// may be told that it is not so.
    pub fn is_ready(&self) -> bool {
        self.read_through.is_some_and(|(through, head)| through >= head)
    }

    /// How many sequencers have ever joined.
    pub(super) fn count_sequencers(&self) -> u64 {
        u64::try_from(self.roster.count()).unwrap_or(u64::MAX)
    }

    /// Adds what an event of L1 block `block` says.
    pub(super) fn apply(&mut self, block: &L1Block, fact: &Fact) {
        match fact {
            Fact::Genesis(header) => {
                self.tip = Some(SettledTip {
                    number: BatchNumber::new(0),
                    last_height: header.height,
                    last_block_hash: header.hash(),
                    epoch: header.epoch,
                    timestamp: header.timestamp.to_seconds(),
                    settled_at: block.timestamp,
                });
                self.genesis = Some(header.clone());
            }
            Fact::Sealed(set) => self.seal(set),
            Fact::RestartOpened { check_in_until, finish_until } => {
                self.restart = Some(Restart {
                    opened_at: block.timestamp,
                    check_in_until: *check_in_until,
                    finish_until: *finish_until,
                    checked_in: BTreeSet::new(),
                    weighing: BTreeSet::new(),
                    closed: None,
                });
            }
            Fact::CheckedIn { id, weight } => {
                self.roster.hear_of(*id, block.timestamp);
                if let Some(restart) = &mut self.restart {
                    restart.checked_in.insert(*id);
                    if *weight != 0 {
                        restart.weighing.insert(*id);
                    }
                }
            }
            Fact::CheckInClosed { pointer } => {
                if let Some(restart) = &mut self.restart {
                    restart.closed = Some(*pointer);
                }
            }
            Fact::Returned { id } => self.roster.hear_of(*id, block.timestamp),
            Fact::GenerationStarted { start, pointer } => {
                // A seal after an empty set begins a generation too, also while a restart can be finished, and asks nobody whether it
                // is there (R5): only the set tells them apart.
                let open = self.restart.take();
                if let Some(finished) = open.filter(|one| one.closed == Some(*pointer)) {
                    self.roster.restarted(finished.opened_at);
                }
                if let Some(tip) = &mut self.tip {
                    (tip.epoch, tip.settled_at) = (start.epoch, block.timestamp);
                }
                self.generations.insert(start.generation, start.clone());
            }
            Fact::Joined { id, signer } => {
                self.roster.take_key(*id, *signer, &mut self.peers);
                self.roster.hear_of(*id, block.timestamp);
            }
            Fact::Rotated { id, signer } => {
                self.roster.take_key(*id, *signer, &mut self.peers);
            }
            Fact::Endpoint { id, agreement, link } => {
                let endpoint = (agreement.clone(), link.clone());
                self.roster.set_endpoint(*id, endpoint, &mut self.peers);
            }
            Fact::Status { id, status } => {
                self.roster.set_status(*id, *status, block.timestamp, &mut self.peers);
            }
            Fact::RollupBalance { rollup, balance_wei } => {
                self.rollups
                    .entry(*rollup)
                    .or_insert_with(|| Allowance::new(block.number, *balance_wei))
                    .change(block.number, *balance_wei);
            }
            Fact::Reported { case } => {
                self.open_cases.insert(*case);
                self.reported = self.reported.saturating_add(1);
            }
            Fact::Executed { case } => {
                self.open_cases.remove(case);
            }
            Fact::Forced(entry) => self.forced.push(entry.index, block.number),
            Fact::Escaped(escape) => self.forced.escape(escape.through),
            Fact::Settled(batch) => {
                self.forced.settle(batch.header.forced_through);
                self.tip = Some(SettledTip {
                    number: batch.number,
                    last_height: batch.header.last_height,
                    last_block_hash: batch.header.last_block_hash,
                    epoch: batch.header.epoch,
                    timestamp: batch.header.timestamp,
                    settled_at: batch.block.timestamp,
                });
                self.last_settled = Some(Arc::clone(batch));
                self.restart = None;
            }
        }
    }

    /// Forgets everything that events said, but not the blocks; for a reorg, before the events that remain are applied
    /// again.
    pub(super) fn forget_facts(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let (head, at_depth, read_through) = (self.head, self.at_depth, self.read_through);
        *self = Self { blocks, head, at_depth, read_through, ..Self::new(self.params.clone()) };
    }

    /// A set was sealed. All keys of sets that can still attest lead to their sequencers, also after it left or took another one.
    fn seal(&mut self, set: &Arc<LeaderSet>) {
        self.sets.insert((set.generation(), set.sealed_for()), Arc::clone(set));
        self.roster.hold(set, &mut self.peers);
        let oldest = self.oldest_that_attests();
        let over = self.sets.range(self.roster.oldest()..).take_while(|(of, _)| **of < oldest);
        for (_, set) in over {
            self.roster.release(set, &mut self.peers);
        }
        self.roster.released_before(oldest.max(self.roster.oldest()));
    }

    /// The set in force in the newest epoch that is over for so long that nothing of the ones before it settles any more.
    fn oldest_that_attests(&self) -> (Generation, Epoch) {
        let Some((&(generation, newest), _)) = self.sets.last_key_value() else {
            return <(Generation, Epoch)>::default();
        };
        // Sets are sealed an epoch ahead, and the one before the oldest of them may still be carried into it.
        let lag = self.params.max_epoch_lag.saturating_add(2);
        let oldest = Epoch::new(newest.get().saturating_sub(lag));
        let carried = self.set_for(generation, oldest);
        (generation, carried.map_or(oldest, |set| set.sealed_for()))
    }

    /// Whether a sequencer missed the last restart and has not shown itself since: no set will hold it (R33).
    pub fn missed_restart(&self, id: u32) -> bool {
        self.roster.missed_restart(id)
    }

    /// Whether a sequencer is active: neither jailed, nor leaving, nor tombstoned.
    pub fn is_active(&self, id: u32) -> bool {
        self.roster.is_active(id)
    }

    /// The sequencer that has or had this key.
    pub fn sequencer_of(&self, key: Address) -> Option<u32> {
        self.roster.owner_of(key)
    }

    /// Ids of all that the next seal can hold, ascending: active, and not missed by a restart. Each is one, however many keys it
    /// has had.
    pub fn sealable(&self) -> Vec<u32> {
        self.roster.sealable()
    }

    /// The generation in which batches settle now; zero before L1 fixed block 0.
    pub fn generation(&self) -> Generation {
        self.generations.last_key_value().map(|(generation, _)| *generation).unwrap_or_default()
    }

    /// The generation to go over to from `running`: the first later one whose finish is at depth (R33).
    pub fn next_generation(&self, running: Generation) -> Option<&GenerationStart> {
        let depth = self.at_depth?.number;
        let (_, start) = self.generations.range(running.next()..).next()?;
        (start.finished_in.number <= depth).then_some(start)
    }

    /// The set in force in `epoch`: sealed for it, or the last one before (R2).
    pub fn set_for(&self, generation: Generation, epoch: Epoch) -> Option<Arc<LeaderSet>> {
        self.sets
            .range((generation, Epoch::new(0))..=(generation, epoch))
            .next_back()
            .map(|(_, set)| Arc::clone(set))
    }

    /// Whether `rollup` was open at the L1 block with number `origin` (R43): registered, and with the reserve left. What
    /// origins before the oldest of `blocks` had is forgotten.
    pub fn is_open(&self, rollup: RollupId, origin: u64) -> bool {
        self.rollups.get(&rollup).is_some_and(|allowance| {
            allowance.is_registered(origin)
                && allowance.balance_at(origin) >= self.params.rollup_reserve_wei
        })
    }

    /// Whether `rollup` was open at some L1 block from the one with number `origin` on: each of them can still be an origin.
    pub fn was_open_since(&self, rollup: RollupId, origin: u64) -> bool {
        self.rollups
            .get(&rollup)
            .is_some_and(|allowance| allowance.most_since(origin) >= self.params.rollup_reserve_wei)
    }

    /// Whether `rollup` was registered at the L1 block with number `origin`.
    pub fn is_registered(&self, rollup: RollupId, origin: u64) -> bool {
        self.rollups.get(&rollup).is_some_and(|allowance| allowance.is_registered(origin))
    }

    #[cfg(test)]
    fn now(&self) -> L1Block {
        let beginning = L1Block { number: 0, hash: B256::ZERO, timestamp: Seconds::new(0) };
        self.head.unwrap_or(beginning)
    }

    /// Takes note of a sequencer that joined at the head, or as L1 began, and is active.
    #[cfg(test)]
    pub(crate) fn joined(&mut self, id: u32, signer: Address) {
        let block = self.now();
        self.apply(&block, &Fact::Joined { id, signer });
        let (agreement, link) = (String::new(), String::new());
        self.apply(&block, &Fact::Endpoint { id, agreement, link });
    }

    /// The same for what its status became.
    #[cfg(test)]
    pub(crate) fn becomes(&mut self, id: u32, status: crate::domain::SequencerStatus) {
        let block = self.now();
        self.apply(&block, &Fact::Status { id, status });
    }

    /// The same for another key.
    #[cfg(test)]
    pub(crate) fn rotated(&mut self, id: u32, signer: Address) {
        let block = self.now();
        self.apply(&block, &Fact::Rotated { id, signer });
    }

    /// Forgets blocks before `oldest`, and what rollups had then: nothing names them as an origin any more.
    pub(super) fn forget_before(&mut self, oldest: u64) {
        if self.blocks.first_key_value().is_none_or(|(number, _)| *number >= oldest) {
            return;
        }
        self.blocks = self.blocks.split_off(&oldest);
        for allowance in self.rollups.values_mut() {
            allowance.forget_before(oldest);
        }
    }
}

/// A shared [`Mirror`] with a signal for each change.
#[derive(Clone, Debug)]
pub struct MirrorHandle {
    mirror: Arc<RwLock<Mirror>>,
    version: watch::Sender<u64>,
}

impl MirrorHandle {
    /// Shares a picture.
    pub fn new(mirror: Mirror) -> Self {
        Self { mirror: Arc::new(RwLock::new(mirror)), version: watch::Sender::new(0) }
    }

    /// Whether nobody writes at this moment, for whoever watches that it is given back.
    pub fn is_free(&self) -> bool {
        !matches!(self.mirror.try_read(), Err(std::sync::TryLockError::WouldBlock))
    }

    /// Reads the picture. Never hold the guard across an `.await`.
    pub fn read(&self) -> std::sync::RwLockReadGuard<'_, Mirror> {
        self.mirror.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the picture and wakes those who wait for a change. For the follower and for tests.
    pub fn update<T>(&self, change: impl FnOnce(&mut Mirror) -> T) -> T {
        let result = {
            let mut guard = self.mirror.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut guard)
        };
        self.version.send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Changes what nobody waits for; wakes those who wait for a change only if `change` says so.
    pub(super) fn update_if(&self, change: impl FnOnce(&mut Mirror) -> bool) {
        let wakes = {
            let mut guard = self.mirror.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut guard)
        };
        if wakes {
            self.version.send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    /// A receiver that is marked changed whenever the picture changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
#[cfg(test)]
mod tests {

    use super::{Fact, Mirror};
    use crate::domain::{
        Epoch, Generation, GenerationStart, Height, L1Block, LeaderSet, Member, Seconds,
        SequencerId, SequencerStatus,
    };
    use crate::testing::params;
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    /// Where those lie who checked in.
    const CLOSED: Address = Address::repeat_byte(0xc1);

    fn block(number: u64) -> L1Block {
        L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) }
    }

    /// A generation that begins with what check-in was closed with.
    fn started(generation: u32, number: u64) -> Fact {
        began(generation, number, CLOSED)
    }

    fn began(generation: u32, number: u64, pointer: Address) -> Fact {
        let start = GenerationStart {
            generation: Generation::new(generation),
            epoch: Epoch::new(9),
            last_height: Height::new(5),
            last_block_hash: B256::ZERO,
            finished_in: block(number),
        };
        Fact::GenerationStarted { start, pointer }
    }

    /// A restart that sequencer 1 checked in to, of 1 and 2.
    fn restarted() -> Mirror {
        let mut mirror = Mirror::new(params());
        for (id, key) in [(1, 7), (2, 8)] {
            mirror.apply(&block(1), &Fact::Joined { id, signer: Address::with_last_byte(key) });
        }
        let (check_in_until, finish_until) = (Seconds::new(20), Seconds::new(30));
        mirror.apply(&block(10), &Fact::RestartOpened { check_in_until, finish_until });
        mirror.apply(&block(11), &Fact::CheckedIn { id: 1, weight: 10 });
        mirror.apply(&block(21), &Fact::CheckInClosed { pointer: CLOSED });
        mirror
    }

    #[test]
    fn a_finish_counts_once_it_is_at_depth() {
        let mut mirror = restarted();
        mirror.apply(&block(25), &started(1, 25));
        assert_eq!(mirror.generation(), Generation::new(1));
        let due = |mirror: &Mirror| mirror.next_generation(Generation::new(0)).is_some();
        mirror.at_depth = Some(block(24));
        assert!(!due(&mirror));
        mirror.at_depth = Some(block(25));
        assert!(due(&mirror));
        assert_eq!(mirror.next_generation(Generation::new(1)), None);
    }

    #[test]
    fn who_went_through_two_restarts_away_goes_through_both() {
        let mut mirror = restarted();
        mirror.apply(&block(25), &started(1, 25));
        mirror.apply(&block(50), &started(2, 50));
        mirror.at_depth = Some(block(60));
        let next = |running| mirror.next_generation(Generation::new(running)).unwrap().generation;
        assert_eq!((next(0), next(1)), (Generation::new(1), Generation::new(2)));
    }

    #[test]
    fn who_did_not_check_in_is_missed_until_it_shows_itself() {
        let mut mirror = restarted();
        assert!(!mirror.missed_restart(2));
        mirror.apply(&block(25), &started(1, 25));
        assert!(mirror.missed_restart(2) && !mirror.missed_restart(1));
        mirror.apply(&block(26), &Fact::Joined { id: 3, signer: Address::with_last_byte(9) });
        mirror.apply(&block(27), &Fact::Returned { id: 2 });
        assert!(!mirror.missed_restart(2) && !mirror.missed_restart(3));
    }

    #[test]
    fn a_generation_that_a_seal_began_misses_nobody() {
        // Also while the restart can be finished.
        for number in [22, 99] {
            let mut mirror = restarted();
            mirror.apply(&block(number), &began(1, number, Address::repeat_byte(0x5e)));
            assert!(!mirror.missed_restart(2));
        }
    }

    #[test]
    fn who_joined_or_left_jail_since_the_restart_was_opened_did_not_miss_it() {
        let mut mirror = restarted();
        let status = |id, status| Fact::Status { id, status };
        mirror.apply(&block(5), &Fact::Joined { id: 5, signer: Address::with_last_byte(9) });
        mirror.apply(&block(5), &status(5, SequencerStatus::Jailed));
        mirror.apply(&block(12), &Fact::Joined { id: 3, signer: Address::with_last_byte(1) });
        mirror.apply(&block(22), &Fact::Joined { id: 4, signer: Address::with_last_byte(2) });
        mirror.apply(&block(22), &status(5, SequencerStatus::Active));
        mirror.apply(&block(25), &started(1, 25));
        assert_eq!(
            [1, 2, 3, 4, 5].map(|id| mirror.missed_restart(id)),
            [false, true, false, false, false]
        );
        assert_eq!(mirror.sealable(), [1, 3, 4, 5]);
        mirror.apply(&block(26), &status(2, SequencerStatus::Jailed));
        assert!(mirror.missed_restart(2) && !mirror.is_active(2));
        mirror.apply(&block(27), &status(2, SequencerStatus::Active));
        assert!(!mirror.missed_restart(2) && mirror.is_active(2));
    }

    /// What the contracts ask: `aliveAt < _aliveSince`, both L1 times, zero before a restart was finished.
    #[derive(Default)]
    struct Registry {
        alive_at: [u64; 6],
        is_jailed: [bool; 6],
        alive_since: u64,
        opened_at: Option<u64>,
        closed: bool,
    }

    #[test]
    fn mirror_and_contracts_agree_about_who_missed_a_restart_whatever_comes_between() {
        let mut missed = 0_u32;
        for seed in 0_u64..200 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (mut mirror, mut l1) = (Mirror::new(params()), Registry::default());
            for time in 1..200_u64 {
                let (at, place) = (block(time), usize::try_from(next(6)).unwrap());
                let id = u32::try_from(place).unwrap() + 1;
                let was_missed = l1.alive_since != 0 && l1.alive_at[place] < l1.alive_since;
                let has_joined = l1.alive_at[place] != 0;
                match next(9) {
                    0 if !has_joined => {
                        let signer = Address::with_last_byte(u8::try_from(id).unwrap());
                        mirror.apply(&at, &Fact::Joined { id, signer });
                        l1.alive_at[place] = time;
                    }
                    1 if has_joined => {
                        mirror.apply(&at, &Fact::Status { id, status: SequencerStatus::Jailed });
                        l1.is_jailed[place] = true;
                    }
                    2 if has_joined && l1.is_jailed[place] => {
                        mirror.apply(&at, &Fact::Status { id, status: SequencerStatus::Active });
                        (l1.is_jailed[place], l1.alive_at[place]) = (false, time);
                    }
                    3 if has_joined
                        && !l1.is_jailed[place]
                        && l1.opened_at.is_some()
                        && !l1.closed =>
                    {
                        mirror.apply(&at, &Fact::CheckedIn { id, weight: next(2) });
                        l1.alive_at[place] = time;
                    }
                    4 if has_joined
                        && !l1.is_jailed[place]
                        && l1.opened_at.is_none()
                        && was_missed =>
                    {
                        mirror.apply(&at, &Fact::Returned { id });
                        l1.alive_at[place] = time;
                    }
                    5 if l1.opened_at.is_none() => {
                        let until = |more: u64| Seconds::new(time + more);
                        let (check_in_until, finish_until) = (until(20), until(40));
                        mirror.apply(&at, &Fact::RestartOpened { check_in_until, finish_until });
                        (l1.opened_at, l1.closed) = (Some(time), false);
                    }
                    6 if l1.opened_at.is_some() => {
                        mirror.apply(&at, &Fact::CheckInClosed { pointer: CLOSED });
                        l1.closed = true;
                    }
                    7 if l1.closed => {
                        mirror.apply(&at, &started(mirror.generation().next().get(), time));
                        (l1.alive_since, l1.opened_at) = (l1.opened_at.unwrap(), None);
                        l1.closed = false;
                    }
                    8 if next(4) == 0 => {
                        // A seal after an empty set: it ends a restart, and asks nobody.
                        let pointer = Address::repeat_byte(0x5e);
                        mirror.apply(&at, &began(mirror.generation().next().get(), time, pointer));
                        (l1.opened_at, l1.closed) = (None, false);
                    }
                    _ => {}
                }
                for (place, alive_at) in l1.alive_at.iter().enumerate().filter(|one| *one.1 != 0) {
                    let expected = l1.alive_since != 0 && *alive_at < l1.alive_since;
                    missed += u32::from(expected);
                    let id = u32::try_from(place).unwrap() + 1;
                    assert_eq!(
                        mirror.missed_restart(id),
                        expected,
                        "seed {seed}, time {time}, {id}"
                    );
                    assert_eq!(mirror.is_active(id), !l1.is_jailed[place]);
                }
            }
        }
        assert!(missed > 10_000, "{missed}: the walk goes where it should");
    }

    #[test]
    fn what_a_key_takes_is_the_same_however_many_there_are() {
        let mut mirror = Mirror::new(params());
        let key = |n: u32| Address::left_padding_from(&n.to_be_bytes());
        mirror.joined(1, key(1));
        mirror.joined(2, key(2));
        mirror.apply(&block(1), &sealed(0, &[1, 2]));
        for n in 3..20_000 {
            mirror.rotated(1, key(n));
        }
        let of = |mirror: &Mirror, id: u32| {
            mirror.peers.values().filter(|peer| peer.id.get() == id).count()
        };
        assert_eq!((of(&mirror, 1), of(&mirror, 2)), (9, 1), "the newest, and what sets hold");
        assert!(mirror.peers.contains_key(&key(1)) && mirror.peers.contains_key(&key(19_999)));
        assert_eq!(mirror.sequencer_of(key(7_777)), Some(1), "whose it was is known");
        assert_eq!(mirror.sealable(), [1, 2], "and it is one sequencer");
    }

    #[test]
    fn a_key_that_was_passed_over_leads_to_its_sequencer_once_a_set_holds_it() {
        let mut mirror = Mirror::new(params());
        let key = Address::with_last_byte;
        mirror.joined(1, key(1));
        for n in 2..30 {
            mirror.rotated(1, key(n));
        }
        assert!(!mirror.peers.contains_key(&key(5)));
        mirror.apply(&block(1), &sealed(0, &[5]));
        let (agreement, link) = (String::new(), "/ip4/127.0.0.1/tcp/2".to_owned());
        mirror.apply(&block(2), &Fact::Endpoint { id: 1, agreement, link: link.clone() });
        assert_eq!(mirror.peers[&key(5)].link, link);
        mirror.becomes(1, SequencerStatus::Leaving);
        assert_eq!(mirror.peers.keys().copied().collect::<Vec<_>>(), [key(5)]);
        for epoch in 1..20 {
            mirror.apply(&block(3), &sealed(epoch, &[]));
        }
        assert!(mirror.peers.is_empty(), "nothing of that set settles any more");
    }

    fn sealed(epoch: u64, keys: &[u8]) -> Fact {
        let members = keys
            .iter()
            .map(|key| Member { signer: Address::with_last_byte(*key), weight: 10 })
            .collect();
        let (generation, epoch) = (Generation::new(0), Epoch::new(epoch));
        Fact::Sealed(Arc::new(LeaderSet::new(generation, epoch, B256::ZERO, members).unwrap()))
    }

    #[test]
    fn all_keys_of_a_sequencer_lead_to_it_until_no_set_that_counts_holds_one() {
        let mut mirror = Mirror::new(params());
        let key = Address::with_last_byte;
        let mut say = |fact| {
            mirror.apply(&block(1), &fact);
            let known: Vec<u8> = (1..9).filter(|n| mirror.peers.contains_key(&key(*n))).collect();
            known
        };
        for id in [1, 2] {
            say(Fact::Joined { id, signer: key(u8::try_from(id).unwrap()) });
        }
        let at = || (String::new(), "/ip4/127.0.0.1/tcp/1/p2p/x".to_owned());
        for id in [1, 2] {
            let (agreement, link) = at();
            say(Fact::Endpoint { id, agreement, link });
        }
        assert_eq!(say(sealed(0, &[1, 2])), [1, 2]);
        assert_eq!(say(Fact::Rotated { id: 1, signer: key(5) }), [1, 2, 5]);
        assert_eq!(say(sealed(1, &[2, 5])), [1, 2, 5]);
        assert_eq!(
            say(Fact::Status { id: 1, status: SequencerStatus::Leaving }),
            [1, 2, 5],
            "it is in the set"
        );
        let lag = params().max_epoch_lag;
        // Sealed without it; the last set with it can attest for a while.
        let last = (2..20).find(|epoch| say(sealed(*epoch, &[2])) == [2]);
        assert_eq!(last, Some(2 + lag + 2), "maxEpochLag, and an epoch that is sealed ahead");
        assert_eq!(
            say(Fact::Status { id: 1, status: SequencerStatus::Active }),
            [1, 2, 5],
            "it came back"
        );
        assert_eq!(mirror.peers[&key(5)].id, SequencerId::new(1));
    }

    #[test]
    fn a_reorg_takes_a_generation_back() {
        let mut mirror = restarted();
        mirror.apply(&block(25), &started(1, 25));
        mirror.forget_facts();
        assert_eq!((mirror.generation(), mirror.restart.clone()), (Generation::new(0), None));
        assert!(!mirror.missed_restart(2));
    }
}
