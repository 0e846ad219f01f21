//! A model of L1 with our contracts, for tests: blocks that are tied by hash, the events of registry, seals and settlement, a
//! pool with several accounts, reorganisations. Its nodes answer the real client in the same process, without sockets, so
//! that time may be paused. They lag behind each other and fail.
//!
//! Of the contracts it knows what agents count on: who joined, with which keys and endpoints, a set sealed an epoch ahead,
//! and which batches settle: those that follow on the settled block and that a quorum of the attesting set signed. It knows
//! neither stake nor rewards, forced transactions or restarts.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

mod node;

use super::bindings::{self, IBatchInbox, IRota, ISequencerRegistry};
use super::calldata;
use crate::crypto::SigningDomain;
use crate::domain::{
    BatchHeader, BlockHeader, Deployment, Epoch, Generation, Height, L1Block, LeaderSet, Member,
    Millis, Params, Seconds, tx_root,
};
use crate::rota::draw;
use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::consensus::{Header, Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, LogData, U256, keccak256, logs_bloom};
use alloy::sol_types::SolEvent as _;
pub(crate) use node::{Node, Whims};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const GWEI: u128 = 1_000_000_000;
/// Transactions of an account in one block, and what of it waits at most.
const PER_BLOCK: usize = 3;
const POOL_SLOTS: usize = 16;
const MIN_TIP: u128 = 1;
/// Blocks before anybody joins.
const FIRST: u64 = 3;

pub(crate) fn deployment() -> Deployment {
    let [a, b, c, d, e, f, g] = [1, 2, 3, 4, 5, 6, 7].map(Address::repeat_byte);
    Deployment {
        chain_id: CHAIN,
        block: 1,
        stake_token: a,
        registry: b,
        settlement: c,
        tally: d,
        slasher: e,
        reward_pool: f,
        rollups: g,
        guardian: Address::ZERO,
    }
}

/// What somebody does at the registry.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Join { id: u32, signer: Address, endpoint: String, weight: u64 },
    Endpoint { id: u32, endpoint: String },
    Rotate { id: u32, signer: Address },
}

/// What the contracts hold after a block.
#[derive(Clone, Debug)]
struct Contracts {
    nonces: BTreeMap<Address, u64>,
    /// Keys and weights by sequencer.
    signers: BTreeMap<u32, (Address, u64)>,
    sets: BTreeMap<Epoch, LeaderSet>,
    genesis: bool,
    /// The settled batches, and the block that was settled last.
    number: u64,
    tip: (Height, B256),
    settled_at: u64,
}

#[derive(Clone, Debug)]
struct Mined {
    header: Header,
    hash: B256,
    logs: Vec<(Address, LogData, B256)>,
    contracts: Contracts,
    included: Vec<(B256, bool)>,
    acts: Vec<Act>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    params: Params,
    domain: SigningDomain,
    blocks: Vec<Mined>,
    acts: Vec<Act>,
    pool: BTreeMap<(Address, u64), TxEnvelope>,
    /// Every transaction that was ever sent, with its sender.
    sent: BTreeMap<B256, (Address, TxEnvelope)>,
    codes: BTreeMap<Address, Bytes>,
    pub(crate) base: u128,
    /// Settlements that were included and did nothing.
    pub(crate) reverted: u64,
    /// Who posted each batch that was settled, in the chain as it is.
    pub(crate) posters: BTreeMap<u64, Address>,
    salt: u64,
}

/// L1.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Mutex<Inner>>);

impl World {
    /// An L1 whose block 0 is at `genesis`, one block a `l1_block_seconds`.
    pub(crate) fn new(params: &Params) -> Self {
        let domain = SigningDomain::new(CHAIN, deployment().settlement);
        let contracts = Contracts {
            nonces: BTreeMap::new(),
            signers: BTreeMap::new(),
            sets: BTreeMap::new(),
            genesis: false,
            number: 0,
            tip: (Height::new(0), B256::ZERO),
            settled_at: 0,
        };
        let header = Header { timestamp: params.genesis, ..Header::default() };
        let (hash, acts) = (header.hash_slow(), Vec::new());
        let first = Mined {
            header,
            hash,
            logs: Vec::new(),
            contracts,
            included: Vec::new(),
            acts: acts.clone(),
        };
        Self(Arc::new(Mutex::new(Inner {
            params: params.clone(),
            domain,
            blocks: vec![first],
            acts,
            pool: BTreeMap::new(),
            sent: BTreeMap::new(),
            codes: BTreeMap::new(),
            base: GWEI,
            reverted: 0,
            posters: BTreeMap::new(),
            salt: 0,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    pub(crate) fn act(&mut self, act: Act) {
        self.acts.push(act);
    }

    pub(crate) fn head(&self) -> L1Block {
        let last = self.blocks.last().unwrap();
        L1Block {
            number: last.header.number,
            hash: last.hash,
            timestamp: Seconds::new(last.header.timestamp),
        }
    }

    /// The epochs that were sealed.
    pub(crate) fn sealed(&self) -> Vec<u64> {
        self.blocks.last().unwrap().contracts.sets.keys().map(|epoch| epoch.get()).collect()
    }

    /// Whether L1 has this very block.
    pub(crate) fn has(&self, block: &L1Block) -> bool {
        let place = usize::try_from(block.number).unwrap();
        self.blocks.get(place).is_some_and(|mined| mined.hash == block.hash)
    }

    /// The last settled height.
    pub(crate) fn settled(&self) -> Height {
        self.blocks.last().unwrap().contracts.tip.0
    }

    pub(crate) fn batches(&self) -> u64 {
        self.blocks.last().unwrap().contracts.number
    }

    /// The set in force now.
    pub(crate) fn set(&self) -> Option<LeaderSet> {
        let epoch = self.params.epoch_at(self.head().timestamp);
        self.set_for(epoch)
    }

    fn set_for(&self, epoch: Epoch) -> Option<LeaderSet> {
        let sets = &self.blocks.last().unwrap().contracts.sets;
        sets.range(..=epoch).next_back().map(|(_, set)| set.clone())
    }

    /// Whether something of an account waits in the pool.
    pub(crate) fn is_waiting(&self, account: Address) -> bool {
        self.pool.range((account, 0)..=(account, u64::MAX)).next().is_some()
    }

    /// Whether a key was in a set.
    pub(crate) fn was_in_a_set(&self, key: Address) -> bool {
        let sets = &self.blocks.last().unwrap().contracts.sets;
        sets.values().any(|set| set.index_of(key).is_some())
    }

    /// The next block.
    pub(crate) fn mine(&mut self) {
        let parent = self.blocks.last().unwrap();
        let (number, before) = (parent.header.number + 1, parent.hash);
        let timestamp = self.params.genesis + number * self.params.l1_block_seconds;
        let mut contracts = parent.contracts.clone();
        let mut logs = Vec::new();
        let acts = std::mem::take(&mut self.acts);
        for act in &acts {
            registry(&mut contracts, act, &mut logs);
        }
        self.seal(&mut contracts, number, before, timestamp, &mut logs);
        let included = self.include(&mut contracts, timestamp, &mut logs);
        let emitted: Vec<alloy::primitives::Log> = logs
            .iter()
            .map(|(address, data, _)| alloy::primitives::Log {
                address: *address,
                data: data.clone(),
            })
            .collect();
        self.salt += 1;
        let header = Header {
            number,
            parent_hash: before,
            timestamp,
            logs_bloom: logs_bloom(emitted.iter()),
            extra_data: self.salt.to_be_bytes().to_vec().into(),
            ..Header::default()
        };
        let hash = header.hash_slow();
        self.blocks.push(Mined { header, hash, logs, contracts, included, acts });
    }

    /// Block 0 in the first epoch with members, and a set for the epoch after the running one.
    fn seal(
        &mut self,
        contracts: &mut Contracts,
        number: u64,
        parent: B256,
        timestamp: u64,
        logs: &mut Vec<(Address, LogData, B256)>,
    ) {
        if contracts.signers.is_empty() {
            return;
        }
        let settlement = deployment().settlement;
        if !contracts.genesis {
            contracts.genesis = true;
            let millis = self.params.genesis * 1_000;
            let header = BlockHeader {
                generation: Generation::new(0),
                height: Height::new(0),
                epoch: Epoch::new(0),
                proposer: Address::ZERO,
                timestamp: Millis::new(millis),
                parent_hash: B256::ZERO,
                l1_origin_number: number - 1,
                l1_origin_hash: parent,
                forced_through: 0,
                tx_count: 0,
                tx_root: tx_root(&[]),
            };
            contracts.tip = (Height::new(0), header.hash());
            contracts.settled_at = timestamp;
            let event = IRota::GenesisFixed { blockHash: header.hash(), header: told(&header) };
            logs.push((settlement, event.encode_log_data(), B256::ZERO));
        }
        let running = self.params.epoch_at(Seconds::new(timestamp));
        for epoch in [running, Epoch::new(running.get() + 1)] {
            let is_first = contracts.sets.is_empty();
            if contracts.sets.contains_key(&epoch) || (!is_first && epoch == running) {
                continue;
            }
            let mut members: Vec<Member> = contracts
                .signers
                .values()
                .map(|(signer, weight)| Member { signer: *signer, weight: *weight })
                .collect();
            members.sort_by_key(|member| member.signer);
            let seed = crate::domain::seed_of(keccak256(epoch.get().to_be_bytes()));
            let generation = Generation::new(0);
            let set = LeaderSet::new(generation, epoch, seed, members).unwrap();
            let code = Bytes::from(set.to_code());
            let pointer = Address::from_word(keccak256(&code));
            self.codes.insert(pointer, code);
            let event = IRota::Sealed {
                generation: 0,
                epoch: epoch.get(),
                pointer,
                seed,
                total: set.total(),
                count: U256::from(set.members().len()),
                pinned: number - 1,
            };
            logs.push((settlement, event.encode_log_data(), B256::ZERO));
            contracts.sets.insert(epoch, set);
        }
    }

    /// Takes what pays enough out of the pool.
    fn include(
        &mut self,
        contracts: &mut Contracts,
        timestamp: u64,
        logs: &mut Vec<(Address, LogData, B256)>,
    ) -> Vec<(B256, bool)> {
        let mut included = Vec::new();
        let accounts: Vec<Address> = self.pool.keys().map(|(from, _)| *from).collect();
        for from in std::collections::BTreeSet::from_iter(accounts) {
            for _ in 0..PER_BLOCK {
                let nonce = contracts.nonces.get(&from).copied().unwrap_or_default();
                let Some(waiting) = self.pool.get(&(from, nonce)) else { break };
                if waiting.max_fee_per_gas() < self.base + MIN_TIP {
                    break;
                }
                let transaction = self.pool.remove(&(from, nonce)).unwrap();
                contracts.nonces.insert(from, nonce + 1);
                let hash = *transaction.tx_hash();
                let is_settlement = transaction.to() == Some(deployment().settlement);
                let mut after = contracts.clone();
                let settled =
                    !is_settlement || self.settle(&mut after, from, &transaction, timestamp, logs);
                match settled {
                    true => *contracts = after,
                    false => self.reverted += 1,
                }
                included.push((hash, settled));
            }
        }
        included
    }

    fn settle(
        &mut self,
        contracts: &mut Contracts,
        from: Address,
        transaction: &TxEnvelope,
        timestamp: u64,
        logs: &mut Vec<(Address, LogData, B256)>,
    ) -> bool {
        let Some(batches) = calldata::read(transaction.input()) else { return false };
        let mut emitted = Vec::new();
        for batch in batches {
            let header = &batch.header;
            let set = contracts.sets.range(..=header.epoch).next_back();
            let Some((_, set)) = set else { return false };
            let follows = header.first_height == contracts.tip.0.next()
                && header.parent_block_hash == contracts.tip.1
                && header.timestamp.get() <= timestamp + self.params.drift_seconds;
            if !follows || !self.is_signed(set, header, batch.signers, &batch.signatures) {
                return false;
            }
            let leader = draw(set, self.params.turn_of(header.last_height), 0)
                .map(|place| set.members()[place].signer);
            contracts.number += 1;
            let event = IBatchInbox::BatchSettled {
                number: contracts.number,
                headerHash: self.domain.batch(header),
                poster: from,
                signers: batch.signers,
                parentSettledAt: contracts.settled_at,
                refundWei: 0,
                late: false,
                led: leader == Some(from),
            };
            contracts.tip = (header.last_height, header.last_block_hash);
            contracts.settled_at = timestamp;
            self.posters.insert(contracts.number, from);
            emitted.push((
                deployment().settlement,
                event.encode_log_data(),
                *transaction.tx_hash(),
            ));
        }
        logs.extend(emitted);
        true
    }

    fn is_signed(
        &self,
        set: &LeaderSet,
        header: &BatchHeader,
        signers: u128,
        signatures: &[crate::crypto::Signature],
    ) -> bool {
        let digest = self.domain.batch(header);
        let signed = set
            .members()
            .iter()
            .enumerate()
            .filter(|(place, _)| signers & (1 << place) != 0)
            .map(|(_, member)| member);
        let mut weight = 0;
        let mut count = 0;
        for (member, signature) in signed.zip(signatures) {
            if signature.recover(digest) != Ok(member.signer) {
                return false;
            }
            weight += member.weight;
            count += 1;
        }
        count == signatures.len() && set.is_quorum(weight)
    }

    /// L1 goes on from an earlier block, one block further than before. Pools have what was in the blocks that are gone, or
    /// have forgotten it.
    pub(crate) fn reorganise(&mut self, depth: usize, forgets: bool) {
        let kept = self.blocks.len().saturating_sub(depth).max(usize::try_from(FIRST).unwrap());
        let gone = self.blocks.split_off(kept);
        let mut acts: Vec<Act> = gone.iter().flat_map(|block| block.acts.clone()).collect();
        acts.append(&mut self.acts);
        self.acts = acts;
        if !forgets {
            for (hash, _) in gone.iter().flat_map(|block| &block.included) {
                let (from, transaction) = self.sent[hash].clone();
                self.pool.entry((from, transaction.nonce())).or_insert(transaction);
            }
        }
        let batches = self.batches();
        self.posters.split_off(&(batches + 1));
        for _ in 0..=gone.len() {
            self.mine();
        }
    }

    /// What a pool does with a transaction.
    fn take(&mut self, raw: &[u8]) -> Result<B256, String> {
        let transaction = TxEnvelope::decode_2718(&mut &*raw).unwrap();
        let from = transaction.recover_signer().unwrap();
        let (hash, nonce) = (*transaction.tx_hash(), transaction.nonce());
        let next = self.nonce(self.blocks.len() - 1, from);
        if nonce < next {
            return Err(format!("nonce too low: next nonce {next}, tx nonce {nonce}"));
        }
        if let Some(before) = self.pool.get(&(from, nonce)) {
            if *before.tx_hash() == hash {
                return Err("already known".to_owned());
            }
            let enough = |new: u128, old: u128| new * 100 >= old * 110;
            let tip = |one: &TxEnvelope| one.max_priority_fee_per_gas().unwrap_or_default();
            if !enough(transaction.max_fee_per_gas(), before.max_fee_per_gas())
                || !enough(tip(&transaction), tip(before))
            {
                return Err("replacement transaction underpriced".to_owned());
            }
        } else if self.pool.range((from, 0)..=(from, u64::MAX)).count() >= POOL_SLOTS {
            return Err("txpool is full".to_owned());
        }
        self.sent.insert(hash, (from, transaction.clone()));
        self.pool.insert((from, nonce), transaction);
        Ok(hash)
    }

    fn nonce(&self, block: usize, account: Address) -> u64 {
        self.blocks[block].contracts.nonces.get(&account).copied().unwrap_or_default()
    }

    fn place_of(&self, hash: B256, newest: usize) -> Option<(usize, bool)> {
        self.blocks[..=newest].iter().enumerate().rev().find_map(|(place, block)| {
            block.included.iter().find(|(one, _)| *one == hash).map(|(_, ok)| (place, *ok))
        })
    }
}

/// What an act makes the registry say.
fn registry(contracts: &mut Contracts, act: &Act, logs: &mut Vec<(Address, LogData, B256)>) {
    let registry = deployment().registry;
    let mut say = |data| logs.push((registry, data, B256::ZERO));
    let endpoint_of = |id, endpoint: &String| {
        ISequencerRegistry::EndpointChanged { id, endpoint: endpoint.clone() }.encode_log_data()
    };
    match act {
        Act::Join { id, signer, endpoint, weight } => {
            contracts.signers.insert(*id, (*signer, *weight));
            let event = ISequencerRegistry::Joined {
                id: *id,
                owner: Address::ZERO,
                signer: *signer,
                stakeWei: U256::ZERO,
                shares: U256::ZERO,
            };
            say(event.encode_log_data());
            say(endpoint_of(*id, endpoint));
        }
        Act::Endpoint { id, endpoint } => say(endpoint_of(*id, endpoint)),
        Act::Rotate { id, signer } => {
            let (old, weight) = contracts.signers.remove(id).unwrap_or_default();
            contracts.signers.insert(*id, (*signer, weight));
            let event =
                ISequencerRegistry::SignerRotated { id: *id, oldSigner: old, newSigner: *signer };
            say(event.encode_log_data());
        }
    }
}

fn told(header: &BlockHeader) -> bindings::BlockHeader {
    bindings::BlockHeader {
        generation: header.generation.get(),
        height: header.height.get(),
        epoch: header.epoch.get(),
        proposer: header.proposer,
        timestamp: header.timestamp.get(),
        parentHash: header.parent_hash,
        l1OriginNumber: header.l1_origin_number,
        l1OriginHash: header.l1_origin_hash,
        forcedThrough: header.forced_through,
        txCount: header.tx_count,
        txRoot: header.tx_root,
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, Node, Whims, World, deployment};
    use crate::l1::follower::Steps;
    use crate::l1::{Mirror, MirrorHandle};
    use crate::testing::{Surroundings, key, params};

    #[tokio::test(start_paused = true)]
    async fn a_node_whose_logs_are_behind_its_headers_hides_no_event() {
        let mut params = params();
        params.epoch_seconds = 5;
        for seed in 0..4 {
            let world = World::new(&params);
            let node = Node::new(&world, seed);
            let around = Surroundings::in_memory(params.clone());
            let mirror = MirrorHandle::new(Mirror::new(params.clone()));
            let mut follower =
                Steps::new(node.client(), deployment(), mirror.clone(), around.store.clone());
            for number in 0..300_u64 {
                {
                    let mut world = world.lock();
                    if number == 150 {
                        let (signer, endpoint) = (key(1).address(), "none,none".to_owned());
                        world.act(Act::Join { id: 1, signer, endpoint, weight: 1 });
                    }
                    world.mine();
                }
                node.behaves(Whims { behind: 400, ..Whims::default() });
                // Several blocks at a time, so that they are read by range.
                if number.is_multiple_of(7) {
                    let _ = follower.step().await;
                }
            }
            node.behaves(Whims::default());
            follower.step().await.unwrap();
            let sealed = world.lock().sealed();
            let read: Vec<u64> = mirror.read().sets.keys().map(|(_, epoch)| epoch.get()).collect();
            assert_eq!(read, sealed, "seed {seed}");
            assert!(sealed.len() > 25);
        }
    }
}
