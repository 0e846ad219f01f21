//! Who is registered: keys, endpoints, status, and when each was last heard of. A part of the [`Mirror`](super::Mirror).
//!
//! A new key costs its owner some gas and nothing else: whatever is done for each event is of the same size however many keys there
//! are, and whatever is done for each sequencer counts it once.

use crate::domain::{
    Epoch, Generation, LeaderSet, PeerEndpoint, Seconds, SequencerId, SequencerStatus,
};
use alloy::primitives::Address;
use std::collections::BTreeMap;

/// Keys that lead to a sequencer though no set holds them, the newest ones: one of them may be in the next set.
const NEWEST_KEYS: usize = 8;

/// Endpoints by key.
pub(super) type Peers = BTreeMap<Address, PeerEndpoint>;

/// What is known of each sequencer.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    sequencers: BTreeMap<u32, Sequencer>,
    /// Whose each key is or was: no two ever have the same one.
    owners: BTreeMap<Address, u32>,
    /// From this set on keys of sets are held: nothing of an earlier one settles any more.
    oldest: (Generation, Epoch),
    /// When the last restart that was finished had been opened: who was not heard of since missed it (R33).
    alive_since: Option<Seconds>,
}

#[derive(Clone, Debug)]
struct Sequencer {
    /// Its keys, in the order in which it took them.
    keys: Vec<Address>,
    /// Those of them that sets hold of which something may still settle, and how many do.
    held: BTreeMap<Address, u32>,
    /// Where it is reached: agreement, link.
    endpoint: Option<(String, String)>,
    status: SequencerStatus,
    /// When it last joined, came back from jail, checked in or returned: what L1 asks about those who missed a restart.
    heard_at: Seconds,
}

impl Default for Sequencer {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            held: BTreeMap::new(),
            endpoint: None,
            status: SequencerStatus::Active,
            heard_at: Seconds::new(0),
        }
    }
}

impl Sequencer {
    const fn stays(&self) -> bool {
        matches!(self.status, SequencerStatus::Active | SequencerStatus::Jailed)
    }

    fn newest_keys(&self) -> impl Iterator<Item = &Address> {
        self.keys.iter().rev().take(NEWEST_KEYS)
    }

    fn is_listed(&self, key: &Address) -> bool {
        self.held.contains_key(key) || (self.stays() && self.newest_keys().any(|one| one == key))
    }

    /// Makes `peers` say of a key what is so.
    fn list(&self, id: u32, key: Address, peers: &mut Peers) {
        match &self.endpoint {
            Some((agreement, link)) if self.is_listed(&key) => {
                let (agreement, link) = (agreement.clone(), link.clone());
                let id = SequencerId::new(id);
                peers.insert(key, PeerEndpoint { id, signer: key, agreement, link });
            }
            _ => {
                peers.remove(&key);
            }
        }
    }

    /// The same of all that may have changed with its endpoint or status.
    fn list_all(&self, id: u32, peers: &mut Peers) {
        for key in self.newest_keys().chain(self.held.keys()) {
            self.list(id, *key, peers);
        }
    }
}

impl Roster {
    /// How many have ever joined.
    pub(super) fn count(&self) -> usize {
        self.sequencers.values().filter(|one| !one.keys.is_empty()).count()
    }

    /// A key of a sequencer: its first one, or one that it took in place of another.
    pub(super) fn take_key(&mut self, id: u32, key: Address, peers: &mut Peers) {
        let one = self.sequencers.entry(id).or_default();
        one.keys.push(key);
        self.owners.insert(key, id);
        let before = one.keys.len().checked_sub(NEWEST_KEYS.saturating_add(1));
        let oldest = before.and_then(|place| one.keys.get(place));
        for key in [Some(&key), oldest].into_iter().flatten() {
            one.list(id, *key, peers);
        }
    }

    pub(super) fn set_endpoint(&mut self, id: u32, endpoint: (String, String), peers: &mut Peers) {
        let one = self.sequencers.entry(id).or_default();
        one.endpoint = Some(endpoint);
        one.list_all(id, peers);
    }

    /// A sequencer's status changed at an L1 time. It becomes active by joining and by coming back from jail, and is heard of by both.
    pub(super) fn set_status(
        &mut self,
        id: u32,
        status: SequencerStatus,
        now: Seconds,
        peers: &mut Peers,
    ) {
        let one = self.sequencers.entry(id).or_default();
        one.status = status;
        one.list_all(id, peers);
        if status == SequencerStatus::Active {
            self.hear_of(id, now);
        }
    }

    /// A sequencer showed itself.
    pub(super) fn hear_of(&mut self, id: u32, now: Seconds) {
        self.sequencers.entry(id).or_default().heard_at = now;
    }

    /// A restart was finished that had been opened at `opened_at`.
    pub(super) const fn restarted(&mut self, opened_at: Seconds) {
        self.alive_since = Some(opened_at);
    }

    /// Whether a sequencer missed the last restart and has not shown itself since: no set will hold it (R33).
    pub(super) fn missed_restart(&self, id: u32) -> bool {
        self.sequencers.get(&id).is_some_and(|one| self.misses(one))
    }

    fn misses(&self, one: &Sequencer) -> bool {
        self.alive_since.is_some_and(|since| one.heard_at < since)
    }

    pub(super) fn is_active(&self, id: u32) -> bool {
        self.sequencers.get(&id).is_some_and(|one| one.status == SequencerStatus::Active)
    }

    /// Whose key this is or was.
    pub(super) fn owner_of(&self, key: Address) -> Option<u32> {
        self.owners.get(&key).copied()
    }

    /// Ids of all that the next seal can hold, ascending.
    pub(super) fn sealable(&self) -> Vec<u32> {
        let is_sealable =
            |one: &Sequencer| one.status == SequencerStatus::Active && !self.misses(one);
        self.sequencers.iter().filter(|(_, one)| is_sealable(one)).map(|(id, _)| *id).collect()
    }

    /// From which set on the keys of members are held.
    pub(super) const fn oldest(&self) -> (Generation, Epoch) {
        self.oldest
    }

    /// Holds the keys of a set that was sealed.
    pub(super) fn hold(&mut self, set: &LeaderSet, peers: &mut Peers) {
        for key in set.members().iter().map(|member| member.signer) {
            let Some(id) = self.owner_of(key) else { continue };
            let Some(one) = self.sequencers.get_mut(&id) else { continue };
            let sets = one.held.entry(key).or_default();
            *sets = sets.saturating_add(1);
            if *sets == 1 {
                one.list(id, key, peers);
            }
        }
    }

    /// Lets go of those of a set of which nothing settles any more.
    pub(super) fn release(&mut self, set: &LeaderSet, peers: &mut Peers) {
        for key in set.members().iter().map(|member| member.signer) {
            let Some(id) = self.owner_of(key) else { continue };
            let Some(one) = self.sequencers.get_mut(&id) else { continue };
            let Some(sets) = one.held.get_mut(&key) else { continue };
            *sets = sets.saturating_sub(1);
            if *sets == 0 {
                one.held.remove(&key);
                one.list(id, key, peers);
            }
        }
    }

    pub(super) const fn released_before(&mut self, oldest: (Generation, Epoch)) {
        self.oldest = oldest;
    }
}
