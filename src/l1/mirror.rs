//! What this agent has seen on L1 so far: a pure picture that everybody reads and only the follower changes.
//!
//! Blocks, sets, rollups, peers and the settled chain are those of the canonical chain up to `head`; a reorg rewinds them
//! (the follower applies `Removed` in reverse order). What consensus looks at is read *at depth* alone (R15, R16).

use super::facts::Fact;
use super::forced::ForcedQueue;
use crate::domain::{
    BatchNumber, BlockHeader, Epoch, Generation, L1Block, LeaderSet, Params, PeerEndpoint,
    RollupId, SettledBatch, SettledTip,
};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// The picture. Cheap to read; `Arc`s are shared, not copied.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The deployment's parameters.
    pub params: Params,
    /// Canonical L1 blocks that are still of use, by number (from the settled origin on; older ones are dropped).
    pub blocks: BTreeMap<u64, L1Block>,
    /// The newest L1 block seen.
    pub head: Option<L1Block>,
    /// The newest L1 block at the configured depth (R16).
    pub at_depth: Option<L1Block>,
    /// Block 0, once the first seal fixed it.
    pub genesis: Option<BlockHeader>,
    /// Sets by (generation, epoch they were sealed for).
    pub sets: BTreeMap<(Generation, Epoch), Arc<LeaderSet>>,
    /// Open rollups (R43) and the L1 block in which they became open.
    pub rollups: BTreeMap<RollupId, u64>,
    /// Rollups that are registered, open or not: those can be forced.
    pub registered: BTreeSet<RollupId>,
    /// Endpoints of all sequencers, by signer.
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
    /// Per sequencer: its keys in the order in which it took them, and its endpoint.
    sequencers: BTreeMap<u32, (Vec<Address>, Option<(String, String)>)>,
}

impl Mirror {
    /// An empty picture of a deployment.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            blocks: BTreeMap::new(),
            head: None,
            at_depth: None,
            genesis: None,
            sets: BTreeMap::new(),
            rollups: BTreeMap::new(),
            registered: BTreeSet::new(),
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
            }
            Fact::Joined { id, signer } | Fact::Rotated { id, signer } => {
                self.sequencers.entry(*id).or_default().0.push(*signer);
                self.refresh_peers(*id);
            }
            Fact::Endpoint { id, agreement, link } => {
                self.sequencers.entry(*id).or_default().1 = Some((agreement.clone(), link.clone()));
                self.refresh_peers(*id);
            }
            Fact::RollupFunded { rollup, balance_wei } => {
                self.registered.insert(*rollup);
                if *balance_wei >= self.params.rollup_reserve_wei {
                    self.rollups.entry(*rollup).or_insert(block.number);
                }
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
            }
        }
    }

    /// Forgets everything that events said, but not the blocks; for a reorg, before the events that remain are applied
    /// again.
    pub(super) fn forget_facts(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let (head, at_depth) = (self.head, self.at_depth);
        *self = Self { blocks, head, at_depth, ..Self::new(self.params.clone()) };
    }

    /// A key of a set may have been rotated since: all keys of a sequencer lead to its endpoint.
    fn refresh_peers(&mut self, id: u32) {
        let Some((signers, Some((agreement, link)))) = self.sequencers.get(&id) else { return };
        for signer in signers {
            let peer = PeerEndpoint {
                id,
                signer: *signer,
                agreement: agreement.clone(),
                link: link.clone(),
            };
            self.peers.insert(*signer, peer);
        }
    }

    /// The set in force in `epoch`: sealed for it, or the last one before (R2).
    pub fn set_for(&self, generation: Generation, epoch: Epoch) -> Option<Arc<LeaderSet>> {
        self.sets
            .range((generation, Epoch::new(0))..=(generation, epoch))
            .next_back()
            .map(|(_, set)| Arc::clone(set))
    }

    /// Whether `rollup` was open at the L1 block with number `origin` (R43).
    pub fn is_open(&self, rollup: RollupId, origin: u64) -> bool {
        self.rollups.get(&rollup).is_some_and(|since| *since <= origin)
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

    /// A receiver that is marked changed whenever the picture changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
