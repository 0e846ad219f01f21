//! Whom the engine keeps a connection to: every sequencer whose endpoint the registry shows, as the mirror has it.
//!
//! The registry takes anybody's word for an endpoint, and the engine disconnects a peer when one of its addresses is taken
//! away. So several sequencers that claim one name in the network are told apart: once one of them has proven to be it,
//! on the peer link, what the others say of that name changes nothing, also while it is not connected there.

use super::gate::Registered;
use super::source::Reach;
use crate::domain::{PeerEndpoint, SequencerId};
use crate::l1::MirrorHandle;
use libp2p::PeerId;
use libp2p::multiaddr::Protocol;
use malachitebft_app_channel::NetworkRequest;
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::PeerId as EnginePeerId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Addresses by the name that they end in, and by who says so.
pub(super) type Claims = BTreeMap<(PeerId, SequencerId), Multiaddr>;

/// What the registry says of all peers but this agent itself. An endpoint without `/p2p/<PeerId>` is left out: its links
/// would be refused and dialled again for ever.
pub(super) fn claims(mirror: &MirrorHandle, own: PeerId) -> Claims {
    let mirror = mirror.read();
    let parsed = mirror.peers.values().filter_map(|peer| {
        let (name, address) = parse(peer)?;
        Some(((name, peer.id), address))
    });
    parsed.filter(|((name, _), _)| *name != own).collect()
}

/// Whose endpoint cannot be dialled, and what it is.
type Undialable = BTreeSet<(SequencerId, String)>;

fn undialable(mirror: &MirrorHandle) -> Undialable {
    let mirror = mirror.read();
    let wrong = mirror.peers.values().filter(|peer| parse(peer).is_none());
    wrong.map(|peer| (peer.id, peer.agreement.clone())).collect()
}

/// Says which endpoints cannot be dialled, each once for as long as it stays so: the mirror changes with every L1 block, and
/// anybody who is in the registry can publish what cannot be dialled. Returns how many lines that took.
fn tell(undialable: Undialable, told: &mut Undialable) -> usize {
    let mut lines = 0_usize;
    for (sequencer, endpoint) in undialable.difference(told) {
        tracing::warn!(%sequencer, endpoint, "endpoint cannot be dialled");
        lines = lines.saturating_add(1);
    }
    *told = undialable;
    lines
}

/// The names that somebody registered says are its own, as the engine writes them.
pub(super) fn names(claims: &Claims) -> HashSet<EnginePeerId> {
    claims.keys().filter_map(|(name, _)| EnginePeerId::from_bytes(&name.to_bytes()).ok()).collect()
}

fn parse(peer: &PeerEndpoint) -> Option<(PeerId, Multiaddr)> {
    let address: Multiaddr = peer.agreement.parse().ok()?;
    Some((name_of(&address)?, address))
}

fn name_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(name) => Some(name),
        _ => None,
    }
}

/// What to tell the engine, removals first: with an address it forgets the peer, so that others of the same peer, or the
/// new one, have to be said after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    add: Vec<Multiaddr>,
    remove: Vec<Multiaddr>,
}

/// Goes over from what the engine was told to what the registry says now, as far as `owner` lets it. Pure.
fn advance(
    known: &mut Claims,
    wanted: &Claims,
    owner: impl Fn(&PeerId) -> Option<SequencerId>,
) -> Changes {
    let mut changes = Changes::default();
    let names: BTreeSet<PeerId> = wanted.keys().map(|(name, _)| *name).collect();
    let is_others = |name: &PeerId, by: &SequencerId| {
        names.contains(name) && owner(name).is_some_and(|owner| owner != *by)
    };
    for ((name, by), address) in wanted {
        if is_others(name, by) {
            continue;
        }
        match known.insert((*name, *by), address.clone()) {
            Some(before) if before == *address => {}
            before => {
                changes.add.push(address.clone());
                changes.remove.extend(before);
            }
        }
    }
    known.retain(|key @ (name, by), address| {
        let stays = wanted.contains_key(key) || is_others(name, by);
        if !stays {
            changes.remove.push(address.clone());
        }
        stays
    });
    // Several may have given the same address: the engine has it once, for as long as one of them does.
    changes.remove.retain(|address| !known.values().any(|other| other == address));
    let torn: BTreeSet<PeerId> = changes.remove.iter().filter_map(name_of).collect();
    for ((name, _), address) in known {
        if torn.contains(name) && !changes.add.contains(address) {
            changes.remove.push(address.clone());
            changes.add.push(address.clone());
        }
    }
    changes
}

/// Who has proven to be whom, for as long as both say so in the registry: whoever is disconnected for a moment is still the
/// one whose name it is.
#[derive(Debug, Default)]
struct Owners(BTreeMap<PeerId, SequencerId>);

impl Owners {
    /// Takes over what has been proven since, and forgets whoever does not claim its name any more.
    fn learn(&mut self, wanted: &Claims, proven: impl Fn(&PeerId) -> Option<SequencerId>) {
        self.0.retain(|name, owner| wanted.contains_key(&(*name, *owner)));
        for (name, _) in wanted.keys() {
            if let Some(owner) = proven(name).filter(|owner| wanted.contains_key(&(*name, *owner)))
            {
                self.0.insert(*name, owner);
            }
        }
    }

    fn of(&self, name: &PeerId) -> Option<SequencerId> {
        self.0.get(name).copied()
    }
}

/// How often it is asked who has proven to be whom.
const LEARN_EVERY: Duration = Duration::from_secs(1);

/// Follows the mirror until the engine ends.
pub(super) async fn follow(
    mirror: MirrorHandle,
    own: PeerId,
    mut known: Claims,
    registered: Registered,
    reach: Arc<dyn Reach>,
    network: mpsc::Sender<NetworkRequest>,
) {
    let mut changes = mirror.subscribe();
    let mut named = Undialable::new();
    let mut owners = Owners::default();
    let mut learning = tokio::time::interval(LEARN_EVERY);
    learning.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tell(undialable(&mirror), &mut named);
        let wanted = claims(&mirror, own);
        owners.learn(&wanted, |name| reach.sequencer_of(name));
        let told = advance(&mut known, &wanted, |name| owners.of(name));
        registered.replace(names(&known), known.values());
        for gone in told.remove {
            let asked = NetworkRequest::remove_persistent_peer(&network, gone.clone()).await;
            tracing::info!(peer = %gone, result = ?asked, "peer removed");
        }
        for new in told.add {
            let asked = NetworkRequest::add_persistent_peer(&network, new.clone()).await;
            tracing::info!(peer = %new, result = ?asked, "peer added");
        }
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = learning.tick() => owners.learn(&known, |name| reach.sequencer_of(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16, name: PeerId) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}/p2p/{name}").parse().unwrap()
    }

    fn claim(id: u32, port: u16, name: PeerId) -> ((PeerId, SequencerId), Multiaddr) {
        ((name, SequencerId::new(id)), address(port, name))
    }

    #[test]
    fn who_moves_is_dialled_at_the_new_place_and_who_left_is_forgotten() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut known = Claims::from([claim(1, 1, a), claim(2, 2, b)]);
        let nobody = |_: &PeerId| None;
        let moved = Claims::from([claim(1, 9, a)]);
        let changes = advance(&mut known, &moved, nobody);
        assert_eq!(changes.add, [address(9, a)]);
        assert_eq!(changes.remove, [address(1, a), address(2, b)]);
        assert_eq!(known, moved);
        assert_eq!(advance(&mut known, &moved, nobody), Changes::default());
    }

    #[test]
    fn what_others_say_of_a_proven_name_changes_nothing() {
        let victim = PeerId::random();
        let owner = |_: &PeerId| Some(SequencerId::new(7));
        let mut known = Claims::from([claim(7, 7, victim)]);
        for wanted in [
            Claims::from([claim(7, 7, victim), claim(1, 1, victim)]),
            Claims::from([claim(7, 7, victim), claim(1, 2, victim)]),
            Claims::from([claim(7, 7, victim)]),
        ] {
            assert_eq!(advance(&mut known, &wanted, owner), Changes::default());
        }
        // It was claimed before its owner was known: what the liar takes back does not cut the owner off.
        let mut known = Claims::from([claim(7, 7, victim), claim(1, 1, victim)]);
        let changes = advance(&mut known, &Claims::from([claim(7, 7, victim)]), owner);
        assert_eq!(changes, Changes::default());
        let changes = advance(&mut known, &Claims::new(), owner);
        assert_eq!(changes.remove.len(), 2, "with the owner all of it goes");
    }

    #[test]
    fn who_has_proven_its_name_keeps_it_while_it_is_away_and_as_long_as_it_claims_it() {
        let victim = PeerId::random();
        let mut known = Claims::from([claim(7, 7, victim), claim(1, 1, victim)]);
        let mut owners = Owners::default();
        owners.learn(&known, |_| Some(SequencerId::new(7)));
        for port in 2..10 {
            let wanted = Claims::from([claim(7, 7, victim), claim(1, port, victim)]);
            owners.learn(&wanted, |_| None);
            let changes = advance(&mut known, &wanted, |name| owners.of(name));
            assert_eq!(changes, Changes::default(), "the liar moves while its victim is away");
        }
        // It is found where it moved itself, and its name is free once it does not claim it.
        let moved = Claims::from([claim(7, 8, victim), claim(1, 9, victim)]);
        owners.learn(&moved, |_| None);
        assert_eq!(
            advance(&mut known, &moved, |name| owners.of(name)).add,
            [address(8, victim), address(1, victim)]
        );
        let left = Claims::from([claim(1, 9, victim)]);
        owners.learn(&left, |_| Some(SequencerId::new(7)));
        assert_eq!(owners.of(&victim), None);
        assert_eq!(advance(&mut known, &left, |name| owners.of(name)).add, [address(9, victim)]);
    }

    #[test]
    fn while_nobody_has_proven_a_name_each_claim_is_dialled() {
        let name = PeerId::random();
        let nobody = |_: &PeerId| None;
        let mut known = Claims::from([claim(7, 7, name)]);
        let both = Claims::from([claim(7, 7, name), claim(1, 1, name)]);
        assert_eq!(advance(&mut known, &both, nobody).add, [address(1, name)]);
        let changes = advance(&mut known, &Claims::from([claim(7, 7, name)]), nobody);
        assert_eq!(changes.remove, [address(1, name), address(7, name)]);
        assert_eq!(changes.add, [address(7, name)], "the engine forgot the peer with the first");
    }

    #[test]
    fn an_address_that_two_gave_goes_with_the_last_of_them() {
        let name = PeerId::random();
        let mut known = Claims::from([claim(1, 5, name), claim(2, 5, name)]);
        let nobody = |_: &PeerId| None;
        let changes = advance(&mut known, &Claims::from([claim(2, 5, name)]), nobody);
        assert_eq!(changes, Changes::default());
        let changes = advance(&mut known, &Claims::new(), nobody);
        assert_eq!(changes.remove, [address(5, name)]);
    }

    #[test]
    fn an_endpoint_that_cannot_be_dialled_is_told_once_and_again_when_it_changes() {
        let mut mirror = crate::l1::Mirror::new(crate::testing::params());
        let peer = |n: u8, agreement: &str| PeerEndpoint {
            id: SequencerId::new(n.into()),
            signer: alloy::primitives::Address::repeat_byte(n),
            agreement: agreement.to_owned(),
            link: String::new(),
        };
        let good = address(7, PeerId::random()).to_string();
        for one in [peer(2, "nonsense"), peer(3, "/ip4/1.2.3.4/tcp/7"), peer(4, &good)] {
            mirror.peers.insert(one.signer, one);
        }
        let mirror = MirrorHandle::new(mirror);
        let mut told = Undialable::new();

        assert_eq!(tell(undialable(&mirror), &mut told), 2);
        for _ in 0..100 {
            assert_eq!(tell(undialable(&mirror), &mut told), 0, "nothing new");
        }
        mirror.update(|mirror| {
            let (two, three) = (peer(2, "other nonsense"), peer(3, ""));
            mirror.peers.remove(&three.signer);
            mirror.peers.insert(two.signer, two);
        });
        assert_eq!(tell(undialable(&mirror), &mut told), 1);
        assert_eq!(told.len(), 1, "what is gone is forgotten");
    }
}
