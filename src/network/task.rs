//! The task that owns the sockets.

use crate::crypto::{Signature, SigningDomain};
use crate::domain::{BatchHeader, RollupTransaction, SequencerId};
use crate::l1::MirrorHandle;
use crate::network::book::Book;
use crate::network::codec::{Frames, PROTOCOL};
use crate::network::link::{Link, Outgoing};
use crate::network::message::Lane;
use crate::network::{Door, INBOX_PER_PEER, LinkMessage, ListedIps, MAX_STREAMS};
use bytes::Bytes;
use futures::StreamExt;
use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{
    self, Event, Message, OutboundRequestId, ProtocolSupport, ResponseChannel,
};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, noise, tcp, yamux};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// A message that is not acknowledged within this time is tried again.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(5);

/// How often a message is tried before it is given up.
const ATTEMPTS: u8 = 3;

/// How often dials and bars are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A handshake that takes longer is given up: it is three round trips.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);

/// Connections of one peer: both sides may dial at the same moment.
const CONNECTIONS_PER_PEER: u32 = 2;

/// Peers whose messages fit the inboxes at the same time; more wait for each other.
const INBOX_PEERS: usize = 256;

/// What the link is made of.
pub struct NetworkConfig {
    /// The identity, the same as the agreement engine's.
    pub identity: Keypair,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What peers sign who they are in: the settlement contract's.
    pub domain: SigningDomain,
    /// The sequencer's key over the identity ([`SigningDomain::link`]).
    pub signature: Signature,
}

/// Why the link does not come up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Noise or TCP cannot be set up with this identity.
    #[error("peer link: {reason}")]
    Setup {
        /// What libp2p said.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("peer link cannot listen on {listen}: {reason}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        reason: String,
    },
}

/// What a peer sent, with the place that it takes in the peer's inbox: that is free again once this is dropped.
#[derive(Debug)]
pub struct Delivery<T> {
    /// Whose agent sent it. Not the signer of the content.
    pub from: SequencerId,
    /// The content; nothing of it is checked.
    pub content: T,
    _place: OwnedSemaphorePermit,
}

/// What concerns the signing of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBatchMessage {
    /// An attestation.
    Attestation {
        /// What is attested.
        header: BatchHeader,
        /// Over its EIP-712 digest.
        signature: Signature,
    },
    /// A request for one.
    Want {
        /// The batch.
        header: BatchHeader,
    },
}

/// Where messages of peers come out.
#[derive(Debug)]
pub struct Incoming {
    /// Forwarded transactions.
    pub transactions: mpsc::Receiver<Delivery<Vec<RollupTransaction>>>,
    /// Attestations and requests for them.
    pub attestations: mpsc::Receiver<Delivery<SignedBatchMessage>>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    door: Door,
    gate: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    requests: request_response::Behaviour<Frames>,
}

/// Places in a peer's inboxes.
struct Inbox {
    transactions: Arc<Semaphore>,
    attestations: Arc<Semaphore>,
}

/// The link, bound to its port and ready to run.
pub struct Network {
    swarm: Swarm<Behaviour>,
    mirror: MirrorHandle,
    link: Link,
    book: Book,
    listed: ListedIps,
    domain: SigningDomain,
    hello: Bytes,
    address: Multiaddr,
    inboxes: HashMap<PeerId, Inbox>,
    transactions: mpsc::Sender<Delivery<Vec<RollupTransaction>>>,
    attestations: mpsc::Sender<Delivery<SignedBatchMessage>>,
    /// What was sent and is not acknowledged.
    under_way: HashMap<OutboundRequestId, (PeerId, SequencerId, Outgoing)>,
    busy: HashSet<(PeerId, Lane)>,
    /// Greetings that were sent and are not acknowledged.
    greeting: HashMap<OutboundRequestId, PeerId>,
    /// Messages that wait for a place; each gives back the channel to acknowledge on.
    delivering: JoinSet<Option<ResponseChannel<()>>>,
}

impl Network {
    /// Binds the port.
    ///
    /// # Errors
    ///
    /// [`NetworkError`].
    pub async fn bind(
        config: NetworkConfig,
        mirror: MirrorHandle,
    ) -> Result<(Self, Link, Incoming), NetworkError> {
        let NetworkConfig { identity, listen, domain, signature } = config;
        let hello = LinkMessage::Hello { signature, session: rand::random() };
        let hello =
            hello.encode().map_err(|error| NetworkError::Setup { reason: error.to_string() })?;
        let listed = ListedIps::default();
        let mut swarm = build(identity, listed.clone())
            .map_err(|error| NetworkError::Setup { reason: error.to_string() })?;
        let refused =
            |reason: &dyn ToString| NetworkError::Listen { listen, reason: reason.to_string() };
        let wanted = Multiaddr::from(listen.ip()).with(Protocol::Tcp(listen.port()));
        swarm.listen_on(wanted).map_err(|error| refused(&error))?;
        let address = loop {
            match swarm.next().await {
                Some(SwarmEvent::NewListenAddr { address, .. }) => break address,
                Some(SwarmEvent::ListenerClosed { reason: Err(error), .. }) => {
                    return Err(refused(&error));
                }
                Some(SwarmEvent::ListenerError { error, .. }) => return Err(refused(&error)),
                Some(_) => {}
                None => return Err(refused(&"the swarm ended")),
            }
        };
        let places = INBOX_PER_PEER.saturating_mul(INBOX_PEERS);
        let (transactions, incoming_transactions) = mpsc::channel(places);
        let (attestations, incoming_attestations) = mpsc::channel(places);
        let link = Link::default();
        let network = Self {
            swarm,
            mirror,
            link: link.clone(),
            book: Book::default(),
            listed,
            domain,
            hello,
            address,
            inboxes: HashMap::new(),
            transactions,
            attestations,
            under_way: HashMap::new(),
            busy: HashSet::new(),
            greeting: HashMap::new(),
            delivering: JoinSet::new(),
        };
        let incoming =
            Incoming { transactions: incoming_transactions, attestations: incoming_attestations };
        Ok((network, link, incoming))
    }

    /// Where it listens, with the port that it got.
    pub const fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Runs the link until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        info!(address = %self.address, peer = %self.swarm.local_peer_id(), "peer link listens");
        let mut changed = self.mirror.subscribe();
        let link = self.link.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow_registry();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                event = self.swarm.select_next_some() => self.on_event(event),
                () = link.woken() => self.on_woken(),
                Some(done) = self.delivering.join_next() => self.acknowledge(done.ok().flatten()),
                Ok(()) = changed.changed() => self.follow_registry(),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    fn follow_registry(&mut self) {
        let own = *self.swarm.local_peer_id();
        let endpoints = self.mirror.read().peers.clone();
        let changes = self.book.update(&endpoints, own, Instant::now());
        for id in changes.allow {
            self.swarm.behaviour_mut().gate.allow_peer(id);
            let places = || Arc::new(Semaphore::new(INBOX_PER_PEER));
            self.inboxes.insert(id, Inbox { transactions: places(), attestations: places() });
        }
        for id in changes.refuse {
            self.swarm.behaviour_mut().gate.disallow_peer(id);
            self.inboxes.remove(&id);
        }
        self.listed.replace(self.book.addresses());
        self.publish_peers();
        self.on_tick();
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        for id in self.book.pardon(now) {
            self.swarm.behaviour_mut().gate.allow_peer(id);
        }
        for (id, addresses) in self.book.due(now) {
            // At once: an address that somebody else made up and that never answers keeps nobody from the true one.
            let at_once = u8::try_from(addresses.len()).ok().and_then(NonZeroU8::new);
            let dial = DialOpts::peer_id(id)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .override_dial_concurrency_factor(at_once.unwrap_or(NonZeroU8::MAX))
                .addresses(addresses)
                .build();
            if let Err(error) = self.swarm.dial(dial) {
                debug!(peer = %id, %error, "peer is not dialled");
            }
        }
        self.greet();
    }

    /// Says who this agent is to those who do not know it yet, or did not take it.
    fn greet(&mut self) {
        for id in self.book.due_greetings(Instant::now()) {
            let hello = self.hello.clone();
            let request = self.swarm.behaviour_mut().requests.send_request(&id, hello);
            self.greeting.insert(request, id);
        }
    }

    fn on_woken(&mut self) {
        for sequencer in self.link.take_reports() {
            if let Some(id) = self.book.name_of(sequencer) {
                self.bar(id, "its content was reported");
            }
        }
        let connected: Vec<_> = self
            .book
            .sequencers()
            .filter(|(_, connected)| *connected)
            .map(|(one, _)| one)
            .collect();
        for sequencer in connected {
            if let Some(id) = self.book.way_to(sequencer) {
                self.send_next(id, sequencer, Lane::Attestations);
                self.send_next(id, sequencer, Lane::Transactions);
            }
        }
    }

    /// Sends the next message of a lane, unless one is under way.
    fn send_next(&mut self, id: PeerId, sequencer: SequencerId, lane: Lane) {
        if self.busy.contains(&(id, lane))
            || !self.swarm.is_connected(&id)
            || self.book.way_to(sequencer) != Some(id)
        {
            return;
        }
        let Some(message) = self.link.next(sequencer, lane) else { return };
        let frame = message.frame.clone();
        let request = self.swarm.behaviour_mut().requests.send_request(&id, frame);
        self.busy.insert((id, lane));
        self.under_way.insert(request, (id, sequencer, message));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                debug!(peer = %peer_id, "peer connected");
                self.book.connected(peer_id, true, Instant::now());
                self.greet();
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                debug!(peer = %peer_id, ?cause, "peer gone");
                self.book.connected(peer_id, false, Instant::now());
                self.publish_peers();
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                debug!(?peer_id, %error, "peer cannot be reached");
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                debug!(%error, "connection refused");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.on_request(event),
            _ => {}
        }
    }

    fn on_request(&mut self, event: Event<Bytes, ()>) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.deliver(peer, &request, channel);
            }
            Event::Message { message: Message::Response { request_id, .. }, .. } => {
                if let Some(id) = self.greeting.remove(&request_id) {
                    self.book.has_greeted(id);
                    self.publish_peers();
                    self.on_woken();
                } else if let Some((id, sequencer, message)) = self.under_way.remove(&request_id) {
                    self.busy.remove(&(id, message.lane));
                    self.send_next(id, sequencer, message.lane);
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some(id) = self.greeting.remove(&request_id) {
                    debug!(peer = %id, %error, "a peer did not take the greeting");
                    return;
                }
                let Some((id, sequencer, mut message)) = self.under_way.remove(&request_id) else {
                    return;
                };
                self.busy.remove(&(id, message.lane));
                let lane = message.lane;
                message.attempts = message.attempts.saturating_add(1);
                if message.attempts < ATTEMPTS {
                    self.link.put_back(sequencer, message);
                } else {
                    debug!(peer = %id, %error, "message given up");
                }
                self.send_next(id, sequencer, lane);
            }
            Event::InboundFailure { peer, error, .. } => {
                debug!(%peer, %error, "message of a peer failed");
            }
            Event::ResponseSent { .. } => {}
        }
    }

    /// Puts a message where its consumer finds it, once there is room for one more of this peer.
    fn deliver(&mut self, id: PeerId, frame: &[u8], channel: ResponseChannel<()>) {
        let message = match LinkMessage::decode(frame) {
            Ok(LinkMessage::Hello { signature, session }) => {
                return self.on_hello(id, signature, session, channel);
            }
            Ok(message) => message,
            Err(error) => {
                debug!(peer = %id, %error, "message of a peer refused");
                return self.bar(id, "its message does not decode");
            }
        };
        // Whoever has not said who it is gets no acknowledgement: it says so first, then sends again.
        let (Some(from), Some(inbox)) = (self.book.sequencer_of(id), self.inboxes.get(&id)) else {
            return;
        };
        match message {
            LinkMessage::Transactions(content) => {
                let (places, inbox) = (Arc::clone(&inbox.transactions), self.transactions.clone());
                self.delivering.spawn(place(places, inbox, from, content, channel));
            }
            LinkMessage::Attestation { header, signature } => {
                let content = SignedBatchMessage::Attestation { header, signature };
                let (places, inbox) = (Arc::clone(&inbox.attestations), self.attestations.clone());
                self.delivering.spawn(place(places, inbox, from, content, channel));
            }
            LinkMessage::WantAttestation { header } => {
                let content = SignedBatchMessage::Want { header };
                let (places, inbox) = (Arc::clone(&inbox.attestations), self.attestations.clone());
                self.delivering.spawn(place(places, inbox, from, content, channel));
            }
            LinkMessage::Hello { .. } => {}
        }
    }

    /// Takes a greeting. It is acknowledged once it fits what the registry says, so that a peer whose entry has not been
    /// seen here yet greets again.
    fn on_hello(
        &mut self,
        id: PeerId,
        signature: Signature,
        session: u64,
        channel: ResponseChannel<()>,
    ) {
        let now = Instant::now();
        if self.book.listens_to(id, session, now) {
            match signature.recover(self.domain.link(&id.to_bytes())) {
                Ok(key) => self.book.greeted_by(id, key, session, now),
                Err(error) => {
                    debug!(peer = %id, %error, "greeting of a peer refused");
                    return self.bar(id, "its greeting is not signed");
                }
            }
        }
        if self.book.sequencer_of(id).is_some() {
            self.acknowledge(Some(channel));
        } else {
            debug!(peer = %id, "a peer greets with a key that the registry does not show for it");
        }
        self.publish_peers();
        self.greet();
        self.on_woken();
    }

    fn acknowledge(&mut self, channel: Option<ResponseChannel<()>>) {
        if let Some(channel) = channel
            && self.swarm.behaviour_mut().requests.send_response(channel, ()).is_err()
        {
            debug!("a peer went before its message was acknowledged");
        }
    }

    fn bar(&mut self, id: PeerId, reason: &'static str) {
        if self.book.bar(id, Instant::now()) {
            warn!(peer = %id, sequencer = ?self.book.sequencer_of(id), reason, "peer is barred for a while");
            self.swarm.behaviour_mut().gate.disallow_peer(id);
        }
    }

    fn publish_peers(&self) {
        self.link.set_peers(self.book.sequencers(), self.book.keys(), self.book.proven());
    }
}

/// Waits for a place in the peer's inbox, then for one in the consumer's. The first bounds what a peer may have there, so
/// that the second is short for everybody.
async fn place<T>(
    places: Arc<Semaphore>,
    inbox: mpsc::Sender<Delivery<T>>,
    from: SequencerId,
    content: T,
    channel: ResponseChannel<()>,
) -> Option<ResponseChannel<()>> {
    let place = places.acquire_owned().await.ok()?;
    inbox.send(Delivery { from, content, _place: place }).await.ok()?;
    Some(channel)
}

fn build(
    identity: Keypair,
    listed: ListedIps,
) -> Result<Swarm<Behaviour>, Box<dyn std::error::Error + Send + Sync>> {
    let swarm = libp2p::SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(MAX_STREAMS.saturating_mul(4));
            config
        })?
        .with_behaviour(|_| Behaviour {
            door: Door::new(listed),
            gate: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER)),
            ),
            requests: request_response::Behaviour::new(
                [(PROTOCOL, ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(ACKNOWLEDGE_WITHIN)
                    .with_max_concurrent_streams(MAX_STREAMS),
            ),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::MAX))
        .with_connection_timeout(HANDSHAKE_WITHIN)
        .build();
    Ok(swarm)
}

#[cfg(test)]
mod tests;
