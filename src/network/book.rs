//! Who the peers are, where to dial them and when. Pure.
//!
//! The registry says where a sequencer may be dialled, and which name it has in the network. That a peer *is* a sequencer,
//! it proves itself: noise shows that it holds the name's key, its greeting that a key of the sequencer speaks through
//! that name. Both must agree before anything is taken from it or sent to it. So whoever writes another one's name into
//! its own endpoint gains and spoils nothing, and a sequencer is found by each of the keys that it ever had.

use crate::domain::{PeerEndpoint, SequencerId};
use crate::network::BAR;
use alloy::primitives::Address;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// First pause between two attempts to dial or to greet a peer; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause between two attempts to dial or to greet a peer.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Greetings of one peer that are looked at lie at least so far apart: less than an honest agent waits between them.
const LISTEN_PAUSE: Duration = Duration::from_millis(125);

/// Something that is tried again and again, less and less often.
#[derive(Debug)]
struct Attempts {
    pause: Duration,
    next: Instant,
}

impl Attempts {
    const fn now(now: Instant) -> Self {
        Self { pause: MIN_PAUSE, next: now }
    }

    /// Whether one is due; the next is, after the pause.
    fn take(&mut self, now: Instant) -> bool {
        if self.next > now {
            return false;
        }
        self.next = now.checked_add(self.pause).unwrap_or(now);
        self.pause = self.pause.saturating_mul(2).min(MAX_PAUSE);
        true
    }
}

/// What a peer said when it greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    /// The key that speaks through its name.
    key: Address,
    /// Which of its processes it was.
    session: u64,
}

#[derive(Debug)]
struct Peer {
    /// Where the registry says it is, by the sequencers that claim its name; those who left are not there.
    claims: BTreeMap<SequencerId, Multiaddr>,
    connected: bool,
    dial: Attempts,
    greeting: Option<Greeting>,
    /// When its next greeting is looked at, at the earliest.
    listen_at: Instant,
    /// It took this agent's greeting.
    greeted: bool,
    greet: Attempts,
    barred_until: Option<Instant>,
}

/// The peers by their name in the network.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<PeerId, Peer>,
    /// The name that each sequencer's endpoint gives.
    names: BTreeMap<SequencerId, PeerId>,
    /// All keys of sequencers.
    keys: HashMap<Address, SequencerId>,
}

/// What changed for the gate when the registry changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) allow: Vec<PeerId>,
    pub(super) refuse: Vec<PeerId>,
}

impl Book {
    /// Takes over the endpoints of the registry, by key. An endpoint that is no address with a peer id is left out, and
    /// so is one that names this agent itself.
    pub(super) fn update(
        &mut self,
        endpoints: &BTreeMap<Address, PeerEndpoint>,
        own: PeerId,
        now: Instant,
    ) -> Changes {
        self.keys = endpoints.iter().map(|(key, endpoint)| (*key, endpoint.id)).collect();
        self.names.clear();
        let mut claims: HashMap<PeerId, BTreeMap<SequencerId, Multiaddr>> = HashMap::new();
        for endpoint in endpoints.values() {
            let Some((name, address)) = parse(&endpoint.link) else { continue };
            if name != own {
                self.names.insert(endpoint.id, name);
                claims.entry(name).or_default().insert(endpoint.id, address);
            }
        }
        let mut changes = Changes {
            refuse: self.peers.keys().filter(|one| !claims.contains_key(*one)).copied().collect(),
            ..Changes::default()
        };
        for name in &changes.refuse {
            self.peers.remove(name);
        }
        for (name, claims) in claims {
            if let Some(peer) = self.peers.get_mut(&name) {
                if peer.claims != claims {
                    peer.claims = claims;
                    peer.dial = Attempts::now(now);
                }
                continue;
            }
            changes.allow.push(name);
            self.peers.insert(
                name,
                Peer {
                    claims,
                    connected: false,
                    dial: Attempts::now(now),
                    greeting: None,
                    listen_at: now,
                    greeted: false,
                    greet: Attempts::now(now),
                    barred_until: None,
                },
            );
        }
        changes
    }

    /// The peers to dial now, each with all of its addresses: which of several is true only a connection shows.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (name, peer) in &mut self.peers {
            if !peer.connected && peer.barred_until.is_none() && peer.dial.take(now) {
                due.push((*name, peer.claims.values().cloned().collect()));
            }
        }
        due
    }

    /// The peers to greet now.
    pub(super) fn due_greetings(&mut self, now: Instant) -> Vec<PeerId> {
        let mut due = Vec::new();
        for (name, peer) in &mut self.peers {
            if peer.connected && !peer.greeted && peer.greet.take(now) {
                due.push(*name);
            }
        }
        due
    }

    /// Notes that a peer is there, or has gone. It has to greet and to be greeted each time.
    pub(super) fn connected(&mut self, name: PeerId, connected: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&name) {
            if !connected {
                (peer.greeting, peer.greeted) = (None, false);
            }
            if !peer.connected {
                peer.greet = Attempts::now(now);
            }
            peer.connected = connected;
            peer.dial =
                Attempts { pause: MIN_PAUSE, next: now.checked_add(MIN_PAUSE).unwrap_or(now) };
        }
    }

    /// Whether the greeting of a peer is to be looked at: not what it said already, and not more often than an honest agent
    /// greets, as a look costs more than a greeting.
    pub(super) fn listens_to(&mut self, name: PeerId, session: u64, now: Instant) -> bool {
        let known = self.sequencer_of(name).is_some();
        let Some(peer) = self.peers.get_mut(&name) else { return false };
        let said = known && peer.greeting.is_some_and(|before| before.session == session);
        if said || peer.listen_at > now {
            return false;
        }
        peer.listen_at = now.checked_add(LISTEN_PAUSE).unwrap_or(now);
        true
    }

    /// Notes by which key a peer speaks. Whether that is a key of the sequencer whose endpoint gives its name is asked
    /// each time anew: the registry may say so later, or no more. A peer that began again has not been greeted.
    pub(super) fn greeted_by(&mut self, name: PeerId, key: Address, session: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&name) {
            let greeting = Greeting { key, session };
            if peer.greeting.is_some_and(|before| before.session != session) {
                peer.greeted = false;
                peer.greet = Attempts::now(now);
            }
            peer.greeting = Some(greeting);
        }
    }

    /// Notes that a peer took this agent's greeting.
    pub(super) fn has_greeted(&mut self, name: PeerId) {
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.greeted = true;
        }
    }

    /// Keeps a peer out for a while. False when it is none or is out already.
    pub(super) fn bar(&mut self, name: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&name) else { return false };
        let fresh = peer.barred_until.is_none();
        peer.barred_until = now.checked_add(BAR);
        fresh
    }

    /// Lets those in again whose time is over.
    pub(super) fn pardon(&mut self, now: Instant) -> Vec<PeerId> {
        let mut pardoned = Vec::new();
        for (name, peer) in &mut self.peers {
            if peer.barred_until.is_some_and(|until| until <= now) {
                peer.barred_until = None;
                pardoned.push(*name);
            }
        }
        pardoned
    }

    /// The sequencer that a peer has proven to be.
    pub(super) fn sequencer_of(&self, name: PeerId) -> Option<SequencerId> {
        let peer = self.peers.get(&name)?;
        let sequencer = *self.keys.get(&peer.greeting?.key)?;
        peer.claims.contains_key(&sequencer).then_some(sequencer)
    }

    /// The peer that has proven to be this sequencer.
    pub(super) fn name_of(&self, sequencer: SequencerId) -> Option<PeerId> {
        let name = *self.names.get(&sequencer)?;
        (self.sequencer_of(name) == Some(sequencer)).then_some(name)
    }

    /// The peer to send to this sequencer by: it has proven to be it, and it took this agent's greeting.
    pub(super) fn way_to(&self, sequencer: SequencerId) -> Option<PeerId> {
        let name = self.name_of(sequencer)?;
        self.peers.get(&name).is_some_and(|peer| peer.connected && peer.greeted).then_some(name)
    }

    /// All sequencers with an endpoint, and whether there is a way to them.
    pub(super) fn sequencers(&self) -> impl Iterator<Item = (SequencerId, bool)> + '_ {
        self.names.keys().map(|one| (*one, self.way_to(*one).is_some()))
    }

    /// Where the registry says that peers are.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.peers.values().flat_map(|peer| peer.claims.values())
    }

    /// All keys of sequencers.
    pub(super) const fn keys(&self) -> &HashMap<Address, SequencerId> {
        &self.keys
    }

    /// The peers that have proven who they are.
    pub(super) fn proven(&self) -> impl Iterator<Item = (PeerId, SequencerId)> + '_ {
        self.names
            .iter()
            .filter(|(one, _)| self.name_of(**one).is_some())
            .map(|(one, name)| (*name, *one))
    }
}

/// Splits an endpoint into the peer's name and the address to dial.
fn parse(endpoint: &str) -> Option<(PeerId, Multiaddr)> {
    let mut address: Multiaddr = endpoint.parse().ok()?;
    match address.pop()? {
        Protocol::P2p(name) if !address.is_empty() => Some((name, address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
