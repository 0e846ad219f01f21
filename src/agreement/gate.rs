//! Who is heard at all, and how much of each. Local policy, not consensus-critical.
//!
//! The engine's network hands over what anybody sends who has completed the handshake of its transport: that a peer is one
//! of those configured it asks only when the peer identifies itself, and a hostile one does not. So each frame passes here
//! before it is decoded. One of a peer that no registered endpoint names is dropped and costs its sender the connection.
//! A registered peer has an allowance of messages and bytes, some of them at once; what goes beyond is dropped unread, and
//! what turns out to be unsigned uses up much of it. Who goes on beyond it is not worth taking frames off the wire for: its
//! connection is closed, and stays so for a while. That costs the flooder its own place and nobody else theirs, since frames
//! come from who signed them and no peer passes on another's. Lines in the log are one a minute for each kind of trouble.

use crate::network::{Door, ListedIps};
use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionDenied, ConnectionId};
use malachitebft_app_channel::app::types::PeerId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Messages of one peer: some hundred a second are the most that fast blocks and a full set make of an honest one.
const MESSAGES: Allowance = Allowance { a_second: 2_000, at_once: 8_000 };

/// Bytes of one peer: a body is at most some 100 kB.
const BYTES: Allowance = Allowance { a_second: 4 << 20, at_once: 16 << 20 };

/// What an unsigned message costs, in messages: it took a recovery, and no honest peer sends one.
const UNSIGNED: u64 = 100;

/// Frames beyond its allowance, without a second of quiet between them, for which a peer is shut out.
const EXCESS: u64 = 100;

/// How long that is. Votes that it misses meanwhile are sent again by who sent them, and blocks are synced.
const SHUT_OUT: Duration = Duration::from_secs(10);

/// How often the connection of who is shut out is closed: it dials again, and what is still on its way is no other reason.
const SHUT_AGAIN: Duration = Duration::from_millis(100);

/// How often one stranger's connection is closed: what is still on its way when it was is not another reason.
const CLOSE_EVERY: Duration = Duration::from_secs(1);

/// Strangers that are remembered for that; at more, all are forgotten.
const STRANGERS: usize = 1_024;

/// How often one kind of trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The peers whose endpoints the registry shows, shared with those who ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Registered {
    peers: Arc<RwLock<HashSet<PeerId>>>,
    ips: ListedIps,
}

impl Registered {
    /// From now on these are they, and these their addresses.
    pub(super) fn replace<'a>(
        &self,
        peers: HashSet<PeerId>,
        addresses: impl IntoIterator<Item = &'a Multiaddr>,
    ) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
        self.ips.replace(addresses);
    }

    /// Whether this is one.
    pub(super) fn holds(&self, peer: &PeerId) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }
}

/// Before the gate: whoever is not registered is not connected at all.
#[derive(Debug)]
pub(super) struct FrontDoor {
    registered: Registered,
    handshakes: Door,
    strange: Trouble,
}

/// A connection is refused: nobody registered has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is not registered")]
struct Stranger {
    peer: libp2p::PeerId,
}

impl FrontDoor {
    pub(super) fn new(registered: Registered) -> Self {
        let handshakes = Door::new(registered.ips.clone());
        Self { registered, handshakes, strange: Trouble::default() }
    }
}

impl libp2p_scatter::Door for FrontDoor {
    fn pending(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), ConnectionDenied> {
        self.handshakes.begins(id, from).map_err(ConnectionDenied::new)
    }

    fn established(
        &mut self,
        id: ConnectionId,
        peer: &libp2p::PeerId,
    ) -> Result<(), ConnectionDenied> {
        self.handshakes.ended(id);
        let known = PeerId::from_bytes(&peer.to_bytes()).ok();
        if known.is_some_and(|peer| self.registered.holds(&peer)) {
            return Ok(());
        }
        if let Some(times) = self.strange.again(Instant::now()) {
            tracing::warn!(%peer, times, "a peer that is not registered was refused");
        }
        Err(ConnectionDenied::new(Stranger { peer: *peer }))
    }

    fn failed(&mut self, id: ConnectionId) {
        self.handshakes.ended(id);
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It goes on.
    Open,
    /// It is dropped.
    Closed,
    /// It is dropped, and its sender's connection closed.
    Thrown,
}

/// So much a second, and so much at once.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    a_second: u64,
    at_once: u64,
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug)]
struct Left {
    amount: u64,
    at: Instant,
}

impl Left {
    const fn all(of: Allowance, now: Instant) -> Self {
        Self { amount: of.at_once, at: now }
    }

    /// Grants what has come to it since.
    fn refill(&mut self, of: Allowance, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let granted = millis.saturating_mul(of.a_second).checked_div(1_000).unwrap_or_default();
        if granted > 0 {
            self.amount = self.amount.saturating_add(granted).min(of.at_once);
            self.at = now;
        }
    }
}

#[derive(Debug)]
struct Account {
    messages: Left,
    bytes: Left,
    /// Frames that were dropped since the last quiet second.
    excess: u64,
    /// Until when it is shut out, and when its connection was closed last.
    shut: Option<(Instant, Instant)>,
}

impl Account {
    const fn new(now: Instant) -> Self {
        Self {
            messages: Left::all(MESSAGES, now),
            bytes: Left::all(BYTES, now),
            excess: 0,
            shut: None,
        }
    }

    /// Judges a frame of a peer that is shut out; `None` once it is not.
    fn shut(&mut self, now: Instant) -> Option<Passage> {
        let (until, closed) = self.shut.as_mut()?;
        if now >= *until {
            *self = Self::new(now);
            return None;
        }
        if now.saturating_duration_since(*closed) < SHUT_AGAIN {
            return Some(Passage::Closed);
        }
        *closed = now;
        Some(Passage::Thrown)
    }

    /// Judges a frame by what is left.
    fn judge(&mut self, bytes: u64, now: Instant) -> Passage {
        self.messages.refill(MESSAGES, now);
        self.bytes.refill(BYTES, now);
        if self.messages.amount >= MESSAGES.a_second && self.bytes.amount >= BYTES.a_second {
            self.excess = 0;
        }
        match (self.messages.amount.checked_sub(1), self.bytes.amount.checked_sub(bytes)) {
            (Some(messages), Some(bytes)) => {
                self.messages.amount = messages;
                self.bytes.amount = bytes;
                Passage::Open
            }
            _ => {
                self.excess = self.excess.saturating_add(1);
                if self.excess < EXCESS {
                    return Passage::Closed;
                }
                let until = now.checked_add(SHUT_OUT).unwrap_or(now);
                self.shut = Some((until, now));
                Passage::Thrown
            }
        }
    }
}

/// Counts a kind of trouble, and says when to tell of it.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    told: Option<Instant>,
    times: u64,
}

impl Trouble {
    /// Once more; how often it was since it was last told, if it is time.
    pub(super) fn again(&mut self, now: Instant) -> Option<u64> {
        self.times = self.times.saturating_add(1);
        let due = self.told.is_none_or(|then| now.saturating_duration_since(then) >= TELL_EVERY);
        due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.times)
        })
    }
}

/// The gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    registered: Registered,
    accounts: HashMap<PeerId, Account>,
    thrown: HashMap<PeerId, Instant>,
    strange: Trouble,
    excessive: Trouble,
    unsigned: Trouble,
    unreadable: Trouble,
}

impl Gate {
    pub(super) fn new(registered: Registered) -> Self {
        Self { registered, ..Self::default() }
    }

    /// Judges a frame by its sender and size.
    pub(super) fn judge(&mut self, peer: &PeerId, bytes: usize, now: Instant) -> Passage {
        if !self.registered.holds(peer) {
            self.accounts.remove(peer);
            return self.throw(peer, now);
        }
        let account = self.accounts.entry(*peer).or_insert_with(|| Account::new(now));
        if let Some(passage) = account.shut(now) {
            return passage;
        }
        let passage = account.judge(u64::try_from(bytes).unwrap_or(u64::MAX), now);
        if passage != Passage::Open
            && let Some(messages) = self.excessive.again(now)
        {
            tracing::warn!(%peer, messages, "a peer sends more than it may, the rest is dropped");
        }
        passage
    }

    /// Judges that a peer connected or subscribed. Who may not is closed each time: nothing else of it need ever come by which
    /// it could be judged.
    pub(super) fn enter(&mut self, peer: &PeerId, now: Instant) -> Passage {
        let judged = self.judge(peer, 0, now);
        let is_shut = |account: &Account| account.shut.is_some();
        if !self.registered.holds(peer) || self.accounts.get(peer).is_some_and(is_shut) {
            return Passage::Thrown;
        }
        judged
    }

    /// A message of this peer that went on was not signed by whom it names.
    pub(super) fn unsigned(&mut self, peer: &PeerId, now: Instant) {
        self.charge(peer);
        if let Some(messages) = self.unsigned.again(now) {
            tracing::warn!(%peer, messages, "a peer sends messages that nobody signed");
        }
    }

    /// A frame of this peer that went on was no message.
    pub(super) fn unreadable(&mut self, peer: &PeerId, now: Instant) {
        self.charge(peer);
        if let Some(messages) = self.unreadable.again(now) {
            tracing::warn!(%peer, messages, "a peer sends what does not decode");
        }
    }

    fn charge(&mut self, peer: &PeerId) {
        if let Some(account) = self.accounts.get_mut(peer) {
            account.messages.amount = account.messages.amount.saturating_sub(UNSIGNED);
        }
    }

    fn throw(&mut self, peer: &PeerId, now: Instant) -> Passage {
        if let Some(messages) = self.strange.again(now) {
            tracing::warn!(%peer, messages, "a peer that is not registered was cut off");
        }
        let again = self
            .thrown
            .get(peer)
            .is_none_or(|then| now.saturating_duration_since(*then) >= CLOSE_EVERY);
        if !again {
            return Passage::Closed;
        }
        if self.thrown.len() >= STRANGERS {
            self.thrown.clear();
        }
        self.thrown.insert(*peer, now);
        Passage::Thrown
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BYTES, CLOSE_EVERY, EXCESS, Gate, MESSAGES, Passage, Registered, SHUT_AGAIN, SHUT_OUT,
        STRANGERS, UNSIGNED,
    };
    use malachitebft_app_channel::app::types::PeerId;
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    fn peer() -> PeerId {
        PeerId::from_bytes(&libp2p::PeerId::random().to_bytes()).unwrap()
    }

    fn gate(registered: &[PeerId]) -> Gate {
        let all = Registered::default();
        all.replace(registered.iter().copied().collect(), []);
        Gate::new(all)
    }

    fn passed(gate: &mut Gate, peer: &PeerId, bytes: usize, times: u64, now: Instant) -> u64 {
        let open = (0..times).filter(|_| gate.judge(peer, bytes, now) == Passage::Open);
        open.count() as u64
    }

    #[test]
    fn a_stranger_is_cut_off_at_its_first_frame_and_again_when_it_comes_back() {
        let (stranger, now) = (peer(), Instant::now());
        let mut gate = gate(&[peer()]);
        assert_eq!(gate.judge(&stranger, 1, now), Passage::Thrown);
        assert_eq!(gate.judge(&stranger, 1, now), Passage::Closed);
        assert_eq!(gate.judge(&stranger, 1, now + CLOSE_EVERY), Passage::Thrown);
    }

    #[test]
    fn who_may_not_stay_is_cut_off_whenever_it_connects_or_subscribes() {
        let (stranger, loud, now) = (peer(), peer(), Instant::now());
        let mut gate = gate(&[loud]);
        assert_eq!(gate.judge(&stranger, 1, now), Passage::Thrown);
        assert_eq!(gate.judge(&stranger, 1, now), Passage::Closed);
        assert_eq!(gate.enter(&stranger, now), Passage::Thrown, "within the second");
        assert_eq!(gate.enter(&stranger, now), Passage::Thrown);

        assert_eq!(gate.enter(&loud, now), Passage::Open);
        passed(&mut gate, &loud, 1, MESSAGES.at_once + EXCESS, now);
        assert_eq!(gate.enter(&loud, now), Passage::Thrown, "shut out");
        assert_eq!(gate.enter(&loud, now + SHUT_OUT), Passage::Open);
    }

    #[test]
    fn whoever_leaves_the_registry_is_a_stranger_from_then_on() {
        let (leaver, now) = (peer(), Instant::now());
        let registered = Registered::default();
        registered.replace(HashSet::from([leaver]), []);
        let mut gate = Gate::new(registered.clone());
        assert_eq!(gate.judge(&leaver, 1, now), Passage::Open);
        registered.replace(HashSet::new(), []);
        assert_eq!(gate.judge(&leaver, 1, now), Passage::Thrown);
        assert!(gate.accounts.is_empty());
    }

    #[test]
    fn strangers_without_number_take_no_memory() {
        let (mut gate, now) = (gate(&[]), Instant::now());
        for _ in 0..3 * STRANGERS {
            assert_eq!(gate.judge(&peer(), 1, now), Passage::Thrown);
        }
        assert!(gate.thrown.len() <= STRANGERS);
        assert!(gate.accounts.is_empty());
    }

    #[test]
    fn a_peer_is_bounded_in_messages_and_bytes_and_no_other_pays_for_it() {
        let (loud, honest, now) = (peer(), peer(), Instant::now());
        let mut gate = gate(&[loud, honest]);
        let slightly_more = MESSAGES.at_once + EXCESS - 1;
        assert_eq!(passed(&mut gate, &loud, 1, slightly_more, now), MESSAGES.at_once);
        let later = now + Duration::from_secs(1);
        let slightly_more = MESSAGES.a_second + EXCESS - 1;
        assert_eq!(passed(&mut gate, &loud, 1, slightly_more, later), MESSAGES.a_second);

        let much = 1 << 20;
        let until = later + Duration::from_secs(60);
        assert_eq!(passed(&mut gate, &loud, much, 100, until), BYTES.at_once >> 20);
        assert_eq!(passed(&mut gate, &honest, 1, 100, until), 100);
    }

    #[test]
    fn who_goes_on_beyond_its_allowance_is_shut_out_for_a_while_and_nobody_else_is() {
        let (loud, honest, now) = (peer(), peer(), Instant::now());
        let mut gate = gate(&[loud, honest]);
        let beyond = MESSAGES.at_once + EXCESS - 1;
        assert_eq!(passed(&mut gate, &loud, 1, beyond, now), MESSAGES.at_once);
        assert_eq!(gate.judge(&loud, 1, now), Passage::Thrown);
        assert_eq!(gate.judge(&loud, 1, now), Passage::Closed, "still on its way");
        for again in 1..10 {
            let then = now + SHUT_AGAIN * again;
            assert_eq!(gate.judge(&loud, 0, then), Passage::Thrown, "it dialled again");
            assert_eq!(gate.judge(&honest, 1, then), Passage::Open);
        }
        assert_eq!(gate.judge(&loud, 1, now + SHUT_OUT), Passage::Open);
    }

    #[test]
    fn who_goes_beyond_its_allowance_now_and_then_is_not_shut_out() {
        let (bursty, mut now) = (peer(), Instant::now());
        let mut gate = gate(&[bursty]);
        for _ in 0..10 {
            for _ in 0..MESSAGES.at_once + EXCESS - 1 {
                assert_ne!(gate.judge(&bursty, 1, now), Passage::Thrown);
            }
            now += Duration::from_secs(4);
        }
    }

    #[test]
    fn what_is_unsigned_uses_up_the_allowance() {
        let (forger, now) = (peer(), Instant::now());
        let mut gate = gate(&[forger]);
        let mut heard = 0;
        while gate.judge(&forger, 1, now) == Passage::Open {
            gate.unsigned(&forger, now);
            heard += 1;
        }
        assert_eq!(heard, MESSAGES.at_once.div_ceil(UNSIGNED + 1));
    }
}
