//! Which ports a development network listens on.

use crate::ports::HeldPort;
use std::net::{Ipv4Addr, SocketAddr};

/// Where people look for an L1 node.
pub(super) const L1: u16 = 8545;
/// Where people look for the JSON-RPC of the first agent; the others follow.
const FIRST_RPC: u16 = 8645;

/// The ports of an agent, held for it until it listens, and whenever it does not.
pub(super) struct AgentPorts {
    pub(super) agreement: HeldPort,
    pub(super) link: HeldPort,
    pub(super) rpc: HeldPort,
    pub(super) telemetry: HeldPort,
}

impl AgentPorts {
    /// Free ports for agent number `index`. With `usual`, its JSON-RPC is where people expect it, unless somebody listens
    /// there.
    ///
    /// # Errors
    ///
    /// When the machine has none left.
    pub(super) fn hold(index: usize, usual: bool) -> std::io::Result<Self> {
        let free = || HeldPort::hold(local(0));
        let expected = u16::try_from(index).ok().and_then(|index| FIRST_RPC.checked_add(index));
        let rpc = match expected.filter(|_| usual).map(|port| HeldPort::hold(local(port))) {
            Some(Ok(held)) => held,
            _ => free()?,
        };
        Ok(Self { agreement: free()?, link: free()?, rpc, telemetry: free()? })
    }
}

/// Whether nobody listens on a port of this machine at this moment.
pub(super) fn is_free(port: u16) -> bool {
    HeldPort::hold(local(port)).is_ok()
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agents_have_ports_of_their_own() {
        let agents: Vec<_> = (0..8).map(|index| AgentPorts::hold(index, false).unwrap()).collect();
        let ports: BTreeSet<u16> = agents
            .iter()
            .flat_map(|agent| [&agent.agreement, &agent.link, &agent.rpc, &agent.telemetry])
            .map(|held| held.address().port())
            .collect();
        assert_eq!(ports.len(), 32);
    }

    #[test]
    fn an_agent_whose_usual_port_is_taken_gets_another() {
        // Some other network may hold these ports: what matters is that each agent gets one that nobody listens on.
        let taken: Vec<_> =
            (0..4).map(|index| std::net::TcpListener::bind(local(FIRST_RPC + index))).collect();
        let agents: Vec<_> = (0..4).map(|index| AgentPorts::hold(index, true).unwrap()).collect();
        for agent in &agents {
            let port = agent.rpc.address().port();
            assert!(!(FIRST_RPC..FIRST_RPC + 4).contains(&port), "{port}");
        }
        drop(taken);
    }
}
