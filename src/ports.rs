//! Ports that are kept from the moment they are chosen until the one who chose them is done.
//!
//! To look for a free port and give it up again until it is used is a race: any other program may be handed it meanwhile.
//! A [`HeldPort`] is a socket that is bound and does not listen. On Linux nobody who asks for *some* port (port 0, or the near
//! end of a connection) gets it while it is held, while whoever asks for this very one, and sets `SO_REUSEADDR` as every
//! listener here does, may listen on it, give it up and listen again. So a port can be published before anybody listens on it,
//! and an agent or an engine that starts again finds it free.
//!
//! It keeps out chance, not malice or a second program that is told to use the same port: that is seen by whoever then
//! listens. On other systems nothing is held, and whoever starts something tries again when it could not listen.

use std::net::{SocketAddr, TcpListener};
use tokio::net::TcpSocket;

/// A port that nobody else is handed. Dropping it gives it up.
#[derive(Debug)]
pub struct HeldPort {
    address: SocketAddr,
    #[cfg(target_os = "linux")]
    _socket: TcpSocket,
}

impl HeldPort {
    /// Holds a port; port 0 takes one that is free. Needs no runtime.
    ///
    /// # Errors
    ///
    /// When somebody listens there, or the address is none of this machine's.
    pub fn hold(address: SocketAddr) -> std::io::Result<Self> {
        if address.port() != 0 {
            // Binding alone would succeed beside an engine of another process, which shares its port with whoever asks.
            drop(TcpListener::bind(address)?);
        }
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            address: socket.local_addr()?,
            #[cfg(target_os = "linux")]
            _socket: socket,
        })
    }

    /// The address, with the port that it got.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, TcpStream};

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn its_holder_listens_gives_up_and_listens_again() {
        let held = HeldPort::hold(ANY).unwrap();
        assert_ne!(held.address().port(), 0);
        for _ in 0..3 {
            assert!(TcpStream::connect(held.address()).is_err(), "nobody listens");
            let listener = TcpListener::bind(held.address()).unwrap();
            let client = TcpStream::connect(held.address()).unwrap();
            let (server, _) = listener.accept().unwrap();
            // The server ends first: its half of the connection stays in TIME_WAIT.
            drop(server);
            drop(client);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn nobody_else_is_handed_a_port_that_is_held() {
        let held: Vec<_> = (0..64).map(|_| HeldPort::hold(ANY).unwrap()).collect();
        let ports: BTreeSet<_> = held.iter().map(|one| one.address().port()).collect();
        assert_eq!(ports.len(), held.len());
        // More than the system gives at random before it meets one of 64 again, if it could.
        for _ in 0..4_096 {
            let other = TcpListener::bind(ANY).unwrap().local_addr().unwrap().port();
            assert!(!ports.contains(&other), "{other}");
        }
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_not_held() {
        let taken = TcpListener::bind(ANY).unwrap();
        let refused = HeldPort::hold(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        drop(taken);
    }

    /// The engine's sockets share their port with other processes of the same user, so that binding beside one succeeds.
    #[tokio::test]
    async fn a_port_that_a_libp2p_engine_listens_on_is_not_held() {
        let engine = TcpSocket::new_v4().unwrap();
        engine.set_reuseaddr(true).unwrap();
        #[cfg(unix)]
        engine.set_reuseport(true).unwrap();
        engine.bind(ANY).unwrap();
        let engine = engine.listen(8).unwrap();
        assert!(HeldPort::hold(engine.local_addr().unwrap()).is_err());
    }
}
