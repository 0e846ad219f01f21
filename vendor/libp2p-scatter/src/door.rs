//! Who may connect at all, asked before anything of a connection is heard.

use std::cell::RefCell;
use std::fmt;

use libp2p::swarm::{ConnectionDenied, ConnectionId};
use libp2p::{Multiaddr, PeerId};

/// Judges inbound connections.
pub trait Door: Send {
    /// Somebody at this address begins a handshake.
    ///
    /// # Errors
    ///
    /// It is to be refused.
    fn pending(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), ConnectionDenied>;

    /// It has finished its handshake as this peer.
    ///
    /// # Errors
    ///
    /// It is to be closed.
    fn established(&mut self, id: ConnectionId, peer: &PeerId) -> Result<(), ConnectionDenied>;

    /// It has not finished it, or was refused by somebody else.
    fn failed(&mut self, id: ConnectionId);
}

thread_local! {
    static NEXT: RefCell<Option<Box<dyn Door>>> = const { RefCell::new(None) };
}

/// Runs what makes a [`Behaviour`](crate::Behaviour), on this thread; it gets this door. For those who have the making of it in
/// somebody else's hands. Also tells whether the door was taken.
pub fn with_door<R>(door: Box<dyn Door>, run: impl FnOnce() -> R) -> (R, bool) {
    NEXT.with(|next| *next.borrow_mut() = Some(door));
    let made = run();
    let left = take();
    (made, left.0.is_none())
}

/// The door that waits for a behaviour.
pub(crate) fn take() -> Doorway {
    Doorway(NEXT.with(|next| next.borrow_mut().take()))
}

/// A door, or none.
#[derive(Default)]
pub(crate) struct Doorway(Option<Box<dyn Door>>);

impl Doorway {
    pub(crate) fn pending(
        &mut self,
        id: ConnectionId,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0.as_mut().map_or(Ok(()), |door| door.pending(id, from))
    }

    pub(crate) fn established(
        &mut self,
        id: ConnectionId,
        peer: &PeerId,
    ) -> Result<(), ConnectionDenied> {
        self.0.as_mut().map_or(Ok(()), |door| door.established(id, peer))
    }

    pub(crate) fn failed(&mut self, id: ConnectionId) {
        if let Some(door) = &mut self.0 {
            door.failed(id);
        }
    }
}

impl fmt::Debug for Doorway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doorway").field(&self.0.is_some()).finish()
    }
}
