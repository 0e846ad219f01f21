//! Who the peers are, where to dial them and when. Pure.

use crate::domain::PeerEndpoint;
use crate::network::BAR;
use alloy::primitives::Address;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// First pause between two attempts to dial a peer; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause between two attempts to dial a peer.
const MAX_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Peer {
    signer: Address,
    address: Multiaddr,
    connected: bool,
    pause: Duration,
    next_dial: Instant,
    barred_until: Option<Instant>,
}

/// The peers by their name in the network.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<PeerId, Peer>,
    by_signer: HashMap<Address, PeerId>,
}

/// What changed for the gate when the registry changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) allow: Vec<PeerId>,
    pub(super) refuse: Vec<PeerId>,
}

impl Book {
    /// Takes over the endpoints of the registry. An endpoint that is no address with a peer id is left out; of several
    /// that claim one peer id, the sequencer that joined first has it.
    pub(super) fn update(
        &mut self,
        endpoints: &BTreeMap<Address, PeerEndpoint>,
        own: PeerId,
        now: Instant,
    ) -> Changes {
        let mut sorted: Vec<_> = endpoints.values().collect();
        sorted.sort_by_key(|endpoint| endpoint.id);
        let mut seen = HashSet::from([own]);
        let mut changes = Changes::default();
        self.by_signer.clear();
        for endpoint in sorted {
            let Some((id, address)) = parse(&endpoint.link) else { continue };
            if !seen.insert(id) {
                continue;
            }
            self.by_signer.insert(endpoint.signer, id);
            match self.peers.get_mut(&id) {
                Some(peer) => {
                    peer.signer = endpoint.signer;
                    if peer.address != address {
                        peer.address = address;
                        (peer.pause, peer.next_dial) = (MIN_PAUSE, now);
                    }
                }
                None => {
                    changes.allow.push(id);
                    self.peers.insert(
                        id,
                        Peer {
                            signer: endpoint.signer,
                            address,
                            connected: false,
                            pause: MIN_PAUSE,
                            next_dial: now,
                            barred_until: None,
                        },
                    );
                }
            }
        }
        changes.refuse = self.peers.keys().filter(|id| !seen.contains(id)).copied().collect();
        for id in &changes.refuse {
            self.peers.remove(id);
        }
        changes
    }

    /// The peers to dial now; each is due again after its pause, which doubles.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(PeerId, Multiaddr)> {
        let mut due = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.connected || peer.barred_until.is_some() || peer.next_dial > now {
                continue;
            }
            peer.next_dial = now.checked_add(peer.pause).unwrap_or(now);
            peer.pause = peer.pause.saturating_mul(2).min(MAX_PAUSE);
            due.push((*id, peer.address.clone()));
        }
        due
    }

    /// Notes that a peer is there, or has gone.
    pub(super) fn connected(&mut self, id: PeerId, connected: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connected = connected;
            peer.pause = MIN_PAUSE;
            peer.next_dial = now.checked_add(MIN_PAUSE).unwrap_or(now);
        }
    }

    /// Keeps a peer out for a while. False when it is none or is out already.
    pub(super) fn bar(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let fresh = peer.barred_until.is_none();
        peer.barred_until = now.checked_add(BAR);
        fresh
    }

    /// Lets those in again whose time is over.
    pub(super) fn pardon(&mut self, now: Instant) -> Vec<PeerId> {
        let mut pardoned = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.barred_until.is_some_and(|until| until <= now) {
                peer.barred_until = None;
                pardoned.push(*id);
            }
        }
        pardoned
    }

    pub(super) fn signer_of(&self, id: PeerId) -> Option<Address> {
        self.peers.get(&id).map(|peer| peer.signer)
    }

    pub(super) fn id_of(&self, signer: Address) -> Option<PeerId> {
        self.by_signer.get(&signer).copied()
    }

    /// Signers of all peers, and whether they are connected.
    pub(super) fn signers(&self) -> impl Iterator<Item = (Address, bool)> + '_ {
        self.peers.values().map(|peer| (peer.signer, peer.connected))
    }
}

/// Splits an endpoint into the peer's name and the address to dial.
fn parse(endpoint: &str) -> Option<(PeerId, Multiaddr)> {
    let mut address: Multiaddr = endpoint.parse().ok()?;
    match address.pop()? {
        Protocol::P2p(id) if !address.is_empty() => Some((id, address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: u32, signer: u8, link: String) -> (Address, PeerEndpoint) {
        let signer = Address::repeat_byte(signer);
        (signer, PeerEndpoint { id, signer, agreement: String::new(), link })
    }

    fn link(id: PeerId, port: u16) -> String {
        format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}")
    }

    fn later(now: Instant, seconds: u64) -> Instant {
        now.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn follows_the_registry() {
        let (own, a, b) = (PeerId::random(), PeerId::random(), PeerId::random());
        let now = Instant::now();
        let mut book = Book::default();
        let first = BTreeMap::from([
            endpoint(1, 1, link(own, 1)),
            endpoint(2, 2, link(a, 2)),
            endpoint(3, 3, "no address".into()),
            endpoint(4, 4, "/ip4/127.0.0.1/tcp/4".into()),
        ]);
        let changes = book.update(&first, own, now);
        assert_eq!(changes, Changes { allow: vec![a], refuse: vec![] });
        assert_eq!(book.due(now).len(), 1);
        assert_eq!(book.id_of(Address::repeat_byte(1)), None, "not oneself");

        let second = BTreeMap::from([endpoint(5, 5, link(b, 5))]);
        let changes = book.update(&second, own, now);
        assert_eq!(changes, Changes { allow: vec![b], refuse: vec![a] });
        assert_eq!(book.signer_of(a), None);
        assert_eq!(book.id_of(Address::repeat_byte(5)), Some(b));
    }

    #[test]
    fn a_name_belongs_to_whoever_joined_with_it_first() {
        let (own, a) = (PeerId::random(), PeerId::random());
        let mut book = Book::default();
        let claims = BTreeMap::from([endpoint(9, 1, link(a, 9)), endpoint(2, 7, link(a, 2))]);
        book.update(&claims, own, Instant::now());
        assert_eq!(book.signer_of(a), Some(Address::repeat_byte(7)));
        assert_eq!(book.id_of(Address::repeat_byte(1)), None);
    }

    #[test]
    fn dials_less_and_less_often_until_it_works_or_the_address_changes() {
        let (own, a) = (PeerId::random(), PeerId::random());
        let now = Instant::now();
        let mut book = Book::default();
        let endpoints = BTreeMap::from([endpoint(2, 2, link(a, 2))]);
        book.update(&endpoints, own, now);
        let mut dials: u32 = 0;
        for tenth in 0..600 {
            let at = now.checked_add(Duration::from_millis(tenth * 100)).unwrap();
            dials += u32::try_from(book.due(at).len()).unwrap();
        }
        assert!((8..16).contains(&dials), "{dials} dials in a minute");
        book.connected(a, true, later(now, 60));
        assert!(book.due(later(now, 90)).is_empty());
        book.connected(a, false, later(now, 90));
        assert_eq!(book.due(later(now, 91)).len(), 1);
        let moved = BTreeMap::from([endpoint(2, 2, link(a, 3))]);
        book.update(&moved, own, later(now, 91));
        assert_eq!(book.due(later(now, 91)).len(), 1, "a new address is tried at once");
    }

    #[test]
    fn keeps_the_barred_out_for_a_while() {
        let (own, a) = (PeerId::random(), PeerId::random());
        let now = Instant::now();
        let mut book = Book::default();
        book.update(&BTreeMap::from([endpoint(2, 2, link(a, 2))]), own, now);
        assert!(book.bar(a, now));
        assert!(!book.bar(a, now), "once");
        assert!(book.due(later(now, 1)).is_empty());
        assert!(book.pardon(later(now, 29)).is_empty());
        assert_eq!(book.pardon(later(now, 31)), [a]);
        assert_eq!(book.due(later(now, 31)).len(), 1);
    }
}
