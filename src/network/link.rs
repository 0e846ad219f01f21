//! The handle that tasks hold to speak with peers.

use crate::domain::SequencerId;
use crate::network::message::Lane;
use crate::network::{LANE_MESSAGES, LinkMessage, MessageError};
use alloy::primitives::Address;
use bytes::Bytes;
use libp2p::PeerId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What became of a message that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes out in its turn; at once if the peer is connected and idle.
    Queued,
    /// So does this one, but the oldest that waited for this peer was dropped for it.
    DroppedOldest,
    /// The registry knows no endpoint of a sequencer with this key, or it is this agent itself.
    UnknownPeer,
}

/// How the link to one peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Whose agent it is.
    pub sequencer: SequencerId,
    /// Whether a connection is up, over which both have proven who they are.
    pub connected: bool,
    /// Messages that wait for it.
    pub queued: usize,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) lane: Lane,
    pub(super) frame: Bytes,
    /// How often it was tried before.
    pub(super) attempts: u8,
}

#[derive(Debug, Default)]
struct Queues {
    connected: bool,
    transactions: VecDeque<Outgoing>,
    attestations: VecDeque<Outgoing>,
}

impl Queues {
    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<Outgoing> {
        match lane {
            Lane::Transactions => &mut self.transactions,
            Lane::Attestations => &mut self.attestations,
        }
    }
}

/// Who the peers are, as the task that owns the sockets knows it.
#[derive(Debug, Default)]
struct Peers {
    queues: HashMap<SequencerId, Queues>,
    /// All keys that sequencers ever had, of those with a queue and others.
    keys: HashMap<Address, SequencerId>,
    /// Who has proven to be whom.
    proven: HashMap<PeerId, SequencerId>,
}

impl Peers {
    fn of_key(&mut self, key: Address) -> Option<&mut Queues> {
        self.queues.get_mut(self.keys.get(&key)?)
    }
}

#[derive(Debug, Default)]
struct Shared {
    peers: Mutex<Peers>,
    reports: Mutex<HashSet<SequencerId>>,
    wake: Notify,
}

/// Sends messages to peers. Cheap to clone; never blocks.
#[derive(Clone, Debug, Default)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Hands a message over for the sequencer that has or had this key. Nothing says whether it arrives: what must arrive
    /// is sent again until its effect is seen.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it fits no message.
    pub fn send(&self, to: Address, message: &LinkMessage) -> Result<Sent, MessageError> {
        let frame = message.encode()?;
        Ok(self.put(|peers| peers.of_key(to), message.lane(), frame))
    }

    /// Hands a message over for a sequencer: an answer to what came [`from`](crate::network::Delivery::from) it.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it fits no message.
    pub fn answer(&self, to: SequencerId, message: &LinkMessage) -> Result<Sent, MessageError> {
        let frame = message.encode()?;
        Ok(self.put(|peers| peers.queues.get_mut(&to), message.lane(), frame))
    }

    /// Hands a message over for every peer, and says for how many.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it fits no message.
    pub fn broadcast(&self, message: &LinkMessage) -> Result<usize, MessageError> {
        let frame = message.encode()?;
        let all: Vec<SequencerId> = self.peers_locked().queues.keys().copied().collect();
        for one in &all {
            self.put(|peers| peers.queues.get_mut(one), message.lane(), frame.clone());
        }
        Ok(all.len())
    }

    /// Has a peer barred for a while: it sent what no honest agent sends.
    pub fn report(&self, peer: SequencerId) {
        lock(&self.shared.reports).insert(peer);
        self.shared.wake.notify_one();
    }

    /// How the links stand, by sequencer.
    pub fn peers(&self) -> Vec<PeerState> {
        let peers = self.peers_locked();
        let states = peers.queues.iter().map(|(sequencer, queues)| PeerState {
            sequencer: *sequencer,
            connected: queues.connected,
            queued: queues.transactions.len().saturating_add(queues.attestations.len()),
        });
        let mut states: Vec<_> = states.collect();
        states.sort_by_key(|state| state.sequencer);
        states
    }

    /// Whether a connection to the sequencer with this key is up; also true of one that the registry does not know.
    pub fn is_connected(&self, key: Address) -> bool {
        self.peers_locked().of_key(key).is_none_or(|queues| queues.connected)
    }

    /// The sequencer whose key has proven to speak through this name; `None` while nobody is connected by it.
    pub fn sequencer_of(&self, name: &PeerId) -> Option<SequencerId> {
        self.peers_locked().proven.get(name).copied()
    }

    /// Takes over who the peers are; what waits for one that is none any more is dropped.
    pub(super) fn set_peers(
        &self,
        sequencers: impl Iterator<Item = (SequencerId, bool)>,
        keys: &HashMap<Address, SequencerId>,
        proven: impl Iterator<Item = (PeerId, SequencerId)>,
    ) {
        let mut peers = self.peers_locked();
        let mut before = std::mem::take(&mut peers.queues);
        for (sequencer, connected) in sequencers {
            let kept = before.remove(&sequencer).unwrap_or_default();
            peers.queues.insert(sequencer, Queues { connected, ..kept });
        }
        peers.keys.clone_from(keys);
        peers.proven = proven.collect();
    }

    /// The next message of a lane, for a peer that is connected.
    pub(super) fn next(&self, to: SequencerId, lane: Lane) -> Option<Outgoing> {
        self.peers_locked().queues.get_mut(&to)?.lane(lane).pop_front()
    }

    /// Puts back a message that did not go through; it is still the next one.
    pub(super) fn put_back(&self, to: SequencerId, message: Outgoing) {
        if let Some(queues) = self.peers_locked().queues.get_mut(&to) {
            let queue = queues.lane(message.lane);
            if queue.len() < LANE_MESSAGES {
                queue.push_front(message);
            }
        }
    }

    pub(super) fn take_reports(&self) -> Vec<SequencerId> {
        lock(&self.shared.reports).drain().collect()
    }

    /// Resolves when there is something to send or a report to look at.
    pub(super) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    fn put(
        &self,
        to: impl FnOnce(&mut Peers) -> Option<&mut Queues>,
        lane: Lane,
        frame: Bytes,
    ) -> Sent {
        let sent = {
            let mut peers = self.peers_locked();
            let Some(queues) = to(&mut peers) else { return Sent::UnknownPeer };
            let queue = queues.lane(lane);
            let full = queue.len() >= LANE_MESSAGES;
            if full {
                queue.pop_front();
            }
            queue.push_back(Outgoing { lane, frame, attempts: 0 });
            if full { Sent::DroppedOldest } else { Sent::Queued }
        };
        self.shared.wake.notify_one();
        sent
    }

    fn peers_locked(&self) -> MutexGuard<'_, Peers> {
        lock(&self.shared.peers)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
