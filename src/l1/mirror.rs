//! What this agent has seen on L1 so far: a pure picture that everybody reads and only the follower changes.
//!
//! Blocks, sets, rollups, peers and the settled chain are those of the canonical chain up to `head`; a reorg rewinds them
//! (the follower applies `Removed` in reverse order). What consensus looks at is read *at depth* alone (R15, R16).

use super::allowance::Allowance;
use super::facts::Fact;
use super::forced::ForcedQueue;
use crate::domain::{
    BatchNumber, BlockHeader, Epoch, Generation, GenerationStart, L1Block, LeaderSet, Params,
    PeerEndpoint, RollupId, Seconds, SequencerId, SettledBatch, SettledTip,
};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// A restart under way (R33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Before this L1 time sequencers check in.
    pub check_in_until: Seconds,
    /// From then until before this one anybody finishes; later it has lapsed.
    pub finish_until: Seconds,
    /// Ids of those who have checked in.
    pub checked_in: BTreeSet<u32>,
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
    /// Sequencers that have shown themselves since the last restart that was finished; `None` if none was, and all count.
    present: Option<BTreeSet<u32>>,
    /// Sets by (generation, epoch they were sealed for).
    pub sets: BTreeMap<(Generation, Epoch), Arc<LeaderSet>>,
    /// Registered rollups and what they had left when (R43).
    pub rollups: BTreeMap<RollupId, Allowance>,
    /// Endpoints of sequencers, by each key that they ever had: of those who stay, and of those who leave for as long as a
    /// set that can still attest holds them.
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
    sequencers: BTreeMap<SequencerId, Sequencer>,
}

/// What events said of one sequencer.
#[derive(Clone, Debug, Default)]
struct Sequencer {
    /// Its keys, in the order in which it took them.
    keys: Vec<Address>,
    /// Where it is reached: agreement, link.
    endpoint: Option<(String, String)>,
    /// It leaves for good.
    leaves: bool,
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
            present: None,
            sets: BTreeMap::new(),
            rollups: BTreeMap::new(),
            peers: BTreeMap::new(),
            tip: None,
            last_settled: None,
            forced: ForcedQueue::default(),
            open_cases: BTreeSet::new(),
            reported: 0,
            sequencers: BTreeMap::new(),
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
        let joined = self.sequencers.values().filter(|one| !one.keys.is_empty()).count();
        u64::try_from(joined).unwrap_or(u64::MAX)
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
            Fact::Sealed(set) => {
                self.sets.insert((set.generation(), set.sealed_for()), Arc::clone(set));
                let leaving = self.sequencers.iter().filter(|(_, one)| one.leaves);
                for id in leaving.map(|(id, _)| *id).collect::<Vec<_>>() {
                    self.refresh_peers(id);
                }
            }
            Fact::RestartOpened { check_in_until, finish_until } => {
                self.restart = Some(Restart {
                    check_in_until: *check_in_until,
                    finish_until: *finish_until,
                    checked_in: BTreeSet::new(),
                });
            }
            Fact::CheckedIn { id } => {
                if let Some(restart) = &mut self.restart {
                    restart.checked_in.insert(*id);
                }
            }
            Fact::Returned { id } => self.note_present(*id),
            Fact::GenerationStarted(start) => {
                // A seal after an empty set begins a generation too, and asks nobody whether it is there (R5).
                let open = self.restart.take();
                if let Some(finished) = open.filter(|one| one.can_finish_at(block.timestamp)) {
                    self.present = Some(finished.checked_in);
                }
                if let Some(tip) = &mut self.tip {
                    (tip.epoch, tip.settled_at) = (start.epoch, block.timestamp);
                }
                self.generations.insert(start.generation, start.clone());
            }
            Fact::Joined { id, signer } | Fact::Rotated { id, signer } => {
                if matches!(fact, Fact::Joined { .. }) {
                    self.note_present(*id);
                }
                let id = SequencerId::new(*id);
                self.sequencers.entry(id).or_default().keys.push(*signer);
                self.refresh_peers(id);
            }
            Fact::Endpoint { id, agreement, link } => {
                let id = SequencerId::new(*id);
                self.sequencers.entry(id).or_default().endpoint =
                    Some((agreement.clone(), link.clone()));
                self.refresh_peers(id);
            }
            Fact::Stays { id, stays } => {
                let id = SequencerId::new(*id);
                self.sequencers.entry(id).or_default().leaves = !stays;
                self.refresh_peers(id);
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

    /// A key of a set may have been rotated since: all keys of a sequencer lead to its endpoint, until it has left.
    fn refresh_peers(&mut self, id: SequencerId) {
        let Some(Sequencer { keys, endpoint: Some((agreement, link)), leaves }) =
            self.sequencers.get(&id)
        else {
            return;
        };
        if *leaves && !self.can_attest(keys) {
            for key in keys {
                self.peers.remove(key);
            }
            return;
        }
        for signer in keys {
            let peer = PeerEndpoint {
                id,
                signer: *signer,
                agreement: agreement.clone(),
                link: link.clone(),
            };
            self.peers.insert(*signer, peer);
        }
    }

    /// Whether one of these keys is in a set of an epoch that is not over for so long that nothing of it settles any more.
    fn can_attest(&self, keys: &[Address]) -> bool {
        let Some((&(generation, newest), _)) = self.sets.last_key_value() else { return true };
        // Sets are sealed an epoch ahead, and the one before the oldest of them may still be carried into it.
        let lag = self.params.max_epoch_lag.saturating_add(2);
        let oldest = Epoch::new(newest.get().saturating_sub(lag));
        let carried = self.set_for(generation, oldest);
        let later = self.sets.range((generation, oldest)..).map(|(_, set)| set);
        carried.iter().chain(later).any(|set| keys.iter().any(|key| set.index_of(*key).is_some()))
    }

    fn note_present(&mut self, id: u32) {
        if let Some(present) = &mut self.present {
            present.insert(id);
        }
    }

    /// Whether a sequencer missed the last restart and has not shown itself since: no set will hold it (R33).
    pub fn missed_restart(&self, id: u32) -> bool {
        self.present.as_ref().is_some_and(|present| !present.contains(&id))
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
        SequencerId,
    };
    use crate::testing::params;
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    fn block(number: u64) -> L1Block {
        L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) }
    }

    fn started(generation: u32, number: u64) -> Fact {
        Fact::GenerationStarted(GenerationStart {
            generation: Generation::new(generation),
            epoch: Epoch::new(9),
            last_height: Height::new(5),
            last_block_hash: B256::ZERO,
            finished_in: block(number),
        })
    }

    /// A restart that sequencer 1 checked in to, of 1 and 2.
    fn restarted() -> Mirror {
        let mut mirror = Mirror::new(params());
        for id in [1, 2] {
            mirror.apply(&block(1), &Fact::Joined { id, signer: Address::with_last_byte(7) });
        }
        let (check_in_until, finish_until) = (Seconds::new(20), Seconds::new(30));
        mirror.apply(&block(10), &Fact::RestartOpened { check_in_until, finish_until });
        mirror.apply(&block(11), &Fact::CheckedIn { id: 1 });
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
        let mut mirror = restarted();
        mirror.apply(&block(99), &started(1, 99));
        assert!(!mirror.missed_restart(2));
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
        say(Fact::Joined { id: 1, signer: key(1) });
        say(Fact::Joined { id: 2, signer: key(2) });
        let at = || (String::new(), "/ip4/127.0.0.1/tcp/1/p2p/x".to_owned());
        for id in [1, 2] {
            let (agreement, link) = at();
            say(Fact::Endpoint { id, agreement, link });
        }
        assert_eq!(say(sealed(0, &[1, 2])), [1, 2]);
        assert_eq!(say(Fact::Rotated { id: 1, signer: key(5) }), [1, 2, 5]);
        assert_eq!(say(sealed(1, &[2, 5])), [1, 2, 5]);
        assert_eq!(say(Fact::Stays { id: 1, stays: false }), [1, 2, 5], "it is in the set");
        let lag = params().max_epoch_lag;
        // Sealed without it; the last set with it can attest for a while.
        let last = (2..20).find(|epoch| say(sealed(*epoch, &[2])) == [2]);
        assert_eq!(last, Some(2 + lag + 2), "maxEpochLag, and an epoch that is sealed ahead");
        assert_eq!(say(Fact::Stays { id: 1, stays: true }), [1, 2, 5], "it came back");
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
