//! The handle that tasks hold to speak with peers.

use crate::network::message::Lane;
use crate::network::{LANE_MESSAGES, LinkMessage, MessageError};
use alloy::primitives::Address;
use bytes::Bytes;
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
    /// The registry knows no endpoint of this signer, or it is this agent itself.
    UnknownPeer,
}

/// How the link to one peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its signer.
    pub signer: Address,
    /// Whether a connection is up.
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

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<HashMap<Address, Queues>>,
    reports: Mutex<HashSet<Address>>,
    wake: Notify,
}

/// Sends messages to peers. Cheap to clone; never blocks.
#[derive(Clone, Debug, Default)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Hands a message over for the sequencer with this signer. Nothing says whether it arrives: what must arrive is sent
    /// again until its effect is seen.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it fits no message.
    pub fn send(&self, to: Address, message: &LinkMessage) -> Result<Sent, MessageError> {
        Ok(self.put(to, message.lane(), message.encode()?))
    }

    /// Hands a message over for every peer, and says for how many.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it fits no message.
    pub fn broadcast(&self, message: &LinkMessage) -> Result<usize, MessageError> {
        let frame = message.encode()?;
        let signers: Vec<Address> = self.queues().keys().copied().collect();
        for signer in &signers {
            self.put(*signer, message.lane(), frame.clone());
        }
        Ok(signers.len())
    }

    /// Has a peer barred for a while: it sent what no honest agent sends.
    pub fn report(&self, peer: Address) {
        lock(&self.shared.reports).insert(peer);
        self.shared.wake.notify_one();
    }

    /// How the links stand.
    pub fn peers(&self) -> Vec<PeerState> {
        let queues = self.queues();
        let states = queues.iter().map(|(signer, queues)| PeerState {
            signer: *signer,
            connected: queues.connected,
            queued: queues.transactions.len().saturating_add(queues.attestations.len()),
        });
        let mut states: Vec<_> = states.collect();
        states.sort_by_key(|state| state.signer);
        states
    }

    /// Whether a connection to this sequencer is up; also true of one that the registry does not know.
    pub fn is_connected(&self, signer: Address) -> bool {
        self.queues().get(&signer).is_none_or(|queues| queues.connected)
    }

    /// Takes over who the peers are; what waits for one that is none any more is dropped.
    pub(super) fn set_peers(&self, peers: impl Iterator<Item = (Address, bool)>) {
        let mut queues = self.queues();
        let mut before = std::mem::take(&mut *queues);
        for (signer, connected) in peers {
            let kept = before.remove(&signer).unwrap_or_default();
            queues.insert(signer, Queues { connected, ..kept });
        }
    }

    /// The next message of a lane, for a peer that is connected.
    pub(super) fn next(&self, to: Address, lane: Lane) -> Option<Outgoing> {
        self.queues().get_mut(&to)?.lane(lane).pop_front()
    }

    /// Puts back a message that did not go through; it is still the next one.
    pub(super) fn put_back(&self, to: Address, message: Outgoing) {
        if let Some(queues) = self.queues().get_mut(&to) {
            let queue = queues.lane(message.lane);
            if queue.len() < LANE_MESSAGES {
                queue.push_front(message);
            }
        }
    }

    pub(super) fn take_reports(&self) -> Vec<Address> {
        lock(&self.shared.reports).drain().collect()
    }

    /// Resolves when there is something to send or a report to look at.
    pub(super) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    fn put(&self, to: Address, lane: Lane, frame: Bytes) -> Sent {
        let sent = {
            let mut queues = self.queues();
            let Some(queues) = queues.get_mut(&to) else { return Sent::UnknownPeer };
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

    fn queues(&self) -> MutexGuard<'_, HashMap<Address, Queues>> {
        lock(&self.shared.queues)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
