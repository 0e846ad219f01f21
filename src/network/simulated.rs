//! An agent's address book as the task that owns the sockets keeps it, over a network and a clock that the caller has.

use super::book::Book;
use crate::domain::{PeerEndpoint, SequencerId};
use crate::l1::MirrorHandle;
use alloy::primitives::Address;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whom an agent knows, and by which way.
pub(crate) struct Links {
    book: Book,
    own: PeerId,
    began: Instant,
}

impl Links {
    /// Those of the agent with this name.
    pub(crate) fn new(own: PeerId) -> Self {
        Self { book: Book::default(), own, began: Instant::now() }
    }

    fn at(&self, now: Duration) -> Instant {
        self.began.checked_add(now).unwrap()
    }

    /// Takes over what the registry says, as far as `heeds` is so.
    pub(crate) fn follow(
        &mut self,
        mirror: &MirrorHandle,
        now: Duration,
        heeds: impl Fn(&PeerEndpoint, &BTreeMap<Address, PeerEndpoint>) -> bool,
    ) {
        let (mut endpoints, at) = (mirror.read().peers.clone(), self.at(now));
        let all = endpoints.clone();
        endpoints.retain(|_, endpoint| heeds(endpoint, &all));
        self.book.update(&endpoints, self.own, at);
    }

    /// Whom to dial, and where.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let at = self.at(now);
        let mut due = self.book.due(at);
        due.sort();
        due
    }

    /// Whom to greet.
    pub(crate) fn due_greetings(&mut self, now: Duration) -> Vec<PeerId> {
        let at = self.at(now);
        let mut due = self.book.due_greetings(at);
        due.sort();
        due
    }

    /// A connection is made, or is gone.
    pub(crate) fn connected(&mut self, name: PeerId, connected: bool, now: Duration) {
        let at = self.at(now);
        self.book.connected(name, connected, at);
    }

    /// A greeting with this key; whether it is acknowledged.
    pub(crate) fn hello(
        &mut self,
        name: PeerId,
        key: Address,
        session: u64,
        now: Duration,
    ) -> bool {
        let at = self.at(now);
        if self.book.listens_to(name, session, at) {
            self.book.greeted_by(name, key, session, at);
        }
        self.book.sequencer_of(name).is_some()
    }

    /// The own greeting was acknowledged.
    pub(crate) fn was_greeted(&mut self, name: PeerId) {
        self.book.has_greeted(name);
    }

    /// Who speaks by this name.
    pub(crate) fn sequencer_of(&self, name: PeerId) -> Option<SequencerId> {
        self.book.sequencer_of(name)
    }

    /// The way to whoever has this key.
    pub(crate) fn way_to_key(&self, key: Address) -> Option<PeerId> {
        self.book.way_to(*self.book.keys().get(&key)?)
    }

    /// The way to a sequencer.
    pub(crate) fn way_to(&self, sequencer: SequencerId) -> Option<PeerId> {
        self.book.way_to(sequencer)
    }
}
