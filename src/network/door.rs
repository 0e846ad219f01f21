//! Who may begin a handshake. Local policy, not consensus-critical.
//!
//! A connection costs its place before anybody knows whose it is, and whoever sends nothing has it until the time-out. So
//! places are counted by address: few for each, and those that an endpoint of the registry names have places of their own,
//! which nobody else can take.
//!
//! | bound | value | when it is reached |
//! |---|---|---|
//! | handshakes of an address that no endpoint names | [`HANDSHAKES_PER_IP`] | further ones are refused |
//! | handshakes of all such addresses | [`HANDSHAKES`] | further ones of such addresses are refused |
//! | handshakes of an address that an endpoint names | [`HANDSHAKES_PER_LISTED_IP`] | further ones are refused |
//!
//! Of IPv6, an address is its first 64 bits: whoever has one has them all. Who has the address of a member, behind the same
//! router, can take that member's places and nobody else's; the member still dials out.

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

/// Handshakes of one address that no endpoint names, at a time.
const HANDSHAKES_PER_IP: usize = 8;

/// Handshakes of all addresses that no endpoint names, at a time.
const HANDSHAKES: usize = 1_024;

/// Handshakes of one address that an endpoint names, at a time: many agents may be behind one router, or on one machine.
const HANDSHAKES_PER_LISTED_IP: usize = 64;

/// The addresses that endpoints of the registry name, shared with those who ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListedIps(Arc<RwLock<HashSet<IpAddr>>>);

impl ListedIps {
    /// From now on these are they. Names of hosts are none: they are looked up where they are dialled.
    pub(crate) fn replace<'a>(&self, addresses: impl IntoIterator<Item = &'a Multiaddr>) {
        let ips = addresses.into_iter().filter_map(ip_of).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ips;
    }

    fn holds(&self, ip: &IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(ip)
    }
}

/// What counts as one address.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => ip.into(),
            None => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        }),
        _ => None,
    }
}

/// Why nobody comes in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// So many handshakes of this address are under way already.
    #[error("{ip} has {handshakes} handshakes under way")]
    Address {
        /// The address.
        ip: IpAddr,
        /// How many.
        handshakes: usize,
    },
    /// So many handshakes of addresses that no endpoint names are under way already.
    #[error("{handshakes} handshakes of unknown addresses are under way, {ip} is another")]
    Unknown {
        /// The address.
        ip: IpAddr,
        /// How many.
        handshakes: usize,
    },
    /// It does not come by an IP address.
    #[error("{from} is no IP address")]
    NoIp {
        /// Where it comes from.
        from: Multiaddr,
    },
}

/// The handshakes that are under way.
#[derive(Debug, Default)]
pub(crate) struct Door {
    listed: ListedIps,
    /// Of which address each is, and whether it has one of the places of unknown addresses.
    under_way: HashMap<ConnectionId, (IpAddr, bool)>,
    by_ip: HashMap<IpAddr, usize>,
    unknown: usize,
}

impl Door {
    pub(crate) fn new(listed: ListedIps) -> Self {
        Self { listed, ..Self::default() }
    }

    /// A handshake begins.
    ///
    /// # Errors
    ///
    /// There is no place for it.
    pub(crate) fn begins(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), Refused> {
        let ip = ip_of(from).ok_or_else(|| Refused::NoIp { from: from.clone() })?;
        let of_ip = self.by_ip.get(&ip).copied().unwrap_or_default();
        let is_listed = self.listed.holds(&ip);
        let most = if is_listed { HANDSHAKES_PER_LISTED_IP } else { HANDSHAKES_PER_IP };
        if of_ip >= most {
            return Err(Refused::Address { ip, handshakes: of_ip });
        }
        if !is_listed && self.unknown >= HANDSHAKES {
            return Err(Refused::Unknown { ip, handshakes: self.unknown });
        }
        if !is_listed {
            self.unknown = self.unknown.saturating_add(1);
        }
        self.by_ip.insert(ip, of_ip.saturating_add(1));
        self.under_way.insert(id, (ip, !is_listed));
        Ok(())
    }

    /// A handshake is over, however it ended.
    pub(crate) fn ended(&mut self, id: ConnectionId) {
        let Some((ip, is_unknown)) = self.under_way.remove(&id) else { return };
        if is_unknown {
            self.unknown = self.unknown.saturating_sub(1);
        }
        if let Some(of_ip) = self.by_ip.get_mut(&ip) {
            *of_ip = of_ip.saturating_sub(1);
            if *of_ip == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }
}

impl NetworkBehaviour for Door {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.begins(id, from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.ended(id);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(failure) = event {
            self.ended(failure.connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Door, HANDSHAKES, HANDSHAKES_PER_IP, HANDSHAKES_PER_LISTED_IP, ListedIps, Refused, ip_of,
    };
    use libp2p::Multiaddr;
    use libp2p::swarm::ConnectionId;

    fn at(ip: &str) -> Multiaddr {
        let kind = if ip.contains(':') { "ip6" } else { "ip4" };
        format!("/{kind}/{ip}/tcp/9").parse().unwrap()
    }

    /// A door behind which one member is listed, and who begins handshakes at it.
    fn door() -> (Door, impl FnMut(&mut Door, &str) -> Result<ConnectionId, Refused>) {
        let listed = ListedIps::default();
        listed.replace([&at("9.9.9.9")]);
        let mut next = 0_usize;
        let begin = move |door: &mut Door, ip: &str| {
            next = next.saturating_add(1);
            let id = ConnectionId::new_unchecked(next);
            door.begins(id, &at(ip)).map(|()| id)
        };
        (Door::new(listed), begin)
    }

    #[test]
    fn an_address_has_few_places_and_gets_back_those_that_it_leaves() {
        let (mut door, mut begin) = door();
        let begun: Vec<_> =
            (0..HANDSHAKES_PER_IP).map(|_| begin(&mut door, "1.2.3.4").unwrap()).collect();
        let refused = begin(&mut door, "1.2.3.4").unwrap_err();
        assert!(matches!(refused, Refused::Address { handshakes: HANDSHAKES_PER_IP, .. }));
        begin(&mut door, "1.2.3.5").unwrap();
        door.ended(begun[3]);
        door.ended(begun[3]);
        begin(&mut door, "1.2.3.4").unwrap();
        begin(&mut door, "1.2.3.4").unwrap_err();
    }

    #[test]
    fn a_listed_address_has_places_that_no_number_of_others_takes() {
        let (mut door, mut begin) = door();
        for n in 0..HANDSHAKES {
            begin(&mut door, &format!("10.0.{}.{}", n / 250, n % 250)).unwrap();
        }
        let refused = begin(&mut door, "11.0.0.1").unwrap_err();
        assert!(matches!(refused, Refused::Unknown { handshakes: HANDSHAKES, .. }));
        for _ in 0..HANDSHAKES_PER_LISTED_IP {
            begin(&mut door, "9.9.9.9").unwrap();
        }
        begin(&mut door, "9.9.9.9").unwrap_err();
    }

    #[test]
    fn what_ended_leaves_nothing_also_when_its_address_was_listed_meanwhile() {
        let (mut door, mut begin) = door();
        let begun: Vec<_> =
            (0..4).map(|n| begin(&mut door, &format!("1.1.1.{n}")).unwrap()).collect();
        door.listed.replace([&at("1.1.1.0"), &at("1.1.1.1")]);
        for id in begun {
            door.ended(id);
        }
        assert_eq!((door.under_way.len(), door.by_ip.len(), door.unknown), (0, 0, 0));
    }

    #[test]
    fn an_address_of_ipv6_is_its_first_half_and_a_mapped_one_is_of_ipv4() {
        assert_eq!(ip_of(&at("2001:db8::1")), ip_of(&at("2001:db8::ffff:1")));
        assert_ne!(ip_of(&at("2001:db8::1")), ip_of(&at("2001:db8:0:1::1")));
        assert_eq!(ip_of(&at("::ffff:1.2.3.4")), ip_of(&at("1.2.3.4")));
        assert_eq!(ip_of(&"/dns4/example.org/tcp/9".parse().unwrap()), None);
    }
}
