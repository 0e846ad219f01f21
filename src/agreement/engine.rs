//! One life of the engine: its configuration, its start and its end.

use super::app::Nudge;
use super::between::Between;
use super::codec::BorshCodec;
use super::context::RotaContext;
use super::evidence::Witness;
use super::gate::Registered;
use super::log::{EngineLog, Page};
use super::network::{self, GatedNetwork};
use super::signing::GuardedSigner;
use super::streams::PIECE_BYTES;
use super::verify::RecoveringVerifier;
use super::voice::Voice;
use super::{AgreementConfig, AgreementError, SYNC_BATCH};
use crate::blocking::blocking;
use crate::domain::{Generation, LeaderSet, Signer as SignerAddress};
use crate::guard::Guard;
use crate::storage::Store;
use libp2p::multiaddr::Protocol;
use malachitebft_app_channel::app::config::{
    ConsensusConfig, NodeConfig, ValuePayload, ValueSyncConfig,
};
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_app_channel::app::types::codec::Codec;
use malachitebft_app_channel::{
    AppMsg, Channels, ConsensusContext, ConsensusRequest, EngineBuilder, EngineHandle,
    NetworkIdentity, NetworkMsg, NetworkRequest, RequestContext, SyncContext,
};
use malachitebft_engine::network::NetworkRef;
use malachitebft_network as transport;
use malachitebft_signing::Signer as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// How long each of the parts of a stopped engine may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How long the port may take to be free.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

/// Links that are accepted and made: all members of a set, and as many that are about to join.
const LINKS: usize = LeaderSet::MAX_MEMBERS * 2;

/// Votes, proposals and values of one later height that may wait: a few rounds of the largest set.
const EARLY_MESSAGES: usize = LeaderSet::MAX_MEMBERS * 32;

/// The wire format. It stands in the names of protocols and topics: one is raised when parts, votes or what is synced
/// change in form.
const WIRE: u32 = 2;

/// The largest frame: a piece of a body, or a certificate of the largest set, with what goes around it.
const FRAME_BYTES: usize = 2 * PIECE_BYTES;

/// How long a connection stands on which nothing is said; agents say something every two seconds.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// A running engine.
pub(super) struct Engine {
    channels: Channels<RotaContext>,
    handle: EngineHandle,
    /// Ends after the engine, whatever the engine's end.
    network: NetworkRef<RotaContext>,
    /// What this agent is called in it.
    me: PeerId,
    page: Page,
}

struct Settings {
    moniker: String,
    consensus: ConsensusConfig,
    value_sync: ValueSyncConfig,
}

impl NodeConfig for Settings {
    fn moniker(&self) -> &str {
        &self.moniker
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.value_sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.value_sync
    }
}

impl Settings {
    fn new(guard: &Guard) -> Self {
        Self {
            moniker: guard.address().to_string(),
            consensus: ConsensusConfig {
                enabled: true,
                value_payload: ValuePayload::ProposalAndParts,
                queue_per_height_capacity: EARLY_MESSAGES,
                ..ConsensusConfig::default()
            },
            value_sync: ValueSyncConfig {
                enabled: true,
                status_update_interval: Duration::from_secs(2),
                batch_size: usize::try_from(SYNC_BATCH.saturating_add(1)).unwrap_or(1),
                ..ValueSyncConfig::default()
            },
        }
    }

    /// The network's own settings. Agents of another deployment, generation or wire format speak other protocols and on
    /// other topics, so that a stale endpoint links nobody across.
    fn transport(
        &self,
        config: &AgreementConfig,
        generation: Generation,
        guard: &Guard,
        peers: Vec<Multiaddr>,
    ) -> Result<transport::Config, AgreementError> {
        let listen_addr: Multiaddr =
            config.listen.parse().map_err(|error: <Multiaddr as std::str::FromStr>::Err| {
                AgreementError::Setting {
                    field: "listen",
                    value: config.listen.clone(),
                    reason: error.to_string(),
                }
            })?;
        let separator = guard.domain().separator();
        let name = |what: &str| format!("/rota/{WIRE}/{separator:x}/{generation}/{what}");
        let topic = |what: &str| format!("/rota/{WIRE}/{generation}/{what}");
        let sync = &self.value_sync;
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Ok(transport::Config {
            listen_addr,
            persistent_peers: peers,
            persistent_peers_only: true,
            discovery: transport::DiscoveryConfig {
                enabled: false,
                persistent_peers_only: true,
                num_outbound_peers: LINKS,
                // Four times as many handshakes and connections are let in: who they are of is asked at the door.
                num_inbound_peers: LINKS * 4,
                max_connections_per_ip: LINKS * 2,
                ..transport::DiscoveryConfig::default()
            },
            idle_connection_timeout: IDLE_CONNECTION,
            transport: transport::TransportProtocol::Tcp,
            gossipsub: transport::GossipSubConfig::default(),
            pubsub_protocol: transport::PubSubProtocol::Broadcast,
            channel_names: transport::ChannelNames {
                consensus: topic("consensus"),
                proposal_parts: topic("parts"),
                sync: topic("sync"),
                liveness: topic("liveness"),
            },
            rpc_max_size: bytes(sync.max_response_size.as_u64()),
            pubsub_max_size: FRAME_BYTES,
            pubsub_max_size_per_topic: transport::PubSubMaxSizePerTopic::default(),
            sync_request_timeout: sync.request_timeout,
            sync_max_request_size: bytes(sync.max_request_size.as_u64()),
            sync_parallel_requests: sync.parallel_requests,
            enable_consensus: true,
            enable_sync: true,
            protocol_names: transport::ProtocolNames {
                consensus: name("consensus"),
                discovery_kad: name("kad"),
                discovery_regres: name("discovery"),
                sync: name("sync"),
                validator_proof: name("member"),
            },
        })
    }
}

/// Starts the network behind its gate, and a way for blocks to be sent through it.
async fn listen(
    settings: transport::Config,
    identity: NetworkIdentity,
    ears: Ears,
) -> Result<(NetworkRef<RotaContext>, mpsc::Sender<NetworkMsg<RotaContext>>), AgreementError> {
    let Ears { verifier, witness, registered } = ears;
    let network = GatedNetwork::spawn(registered, witness, verifier, identity, settings)
        .await
        .map_err(|error| AgreementError::EngineStart { reason: error.to_string() })?;
    let (parts, mut sent) = mpsc::channel::<NetworkMsg<RotaContext>>(1);
    let to = network.clone();
    tokio::spawn(async move {
        while let Some(message) = sent.recv().await {
            if to.cast(message.into()).is_err() {
                return;
            }
        }
    });
    Ok((network, parts))
}

/// What looks at messages on their way in.
pub(super) struct Ears {
    pub(super) verifier: RecoveringVerifier,
    pub(super) witness: Witness,
    pub(super) registered: Registered,
}

impl Engine {
    /// Starts an engine on the log of this generation.
    pub(super) async fn start(
        config: &AgreementConfig,
        generation: Generation,
        guard: &Arc<Guard>,
        store: &Store,
        voice: Voice,
        ears: Ears,
        peers: Vec<Multiaddr>,
    ) -> Result<Self, AgreementError> {
        let failed = |error: &dyn std::fmt::Display| AgreementError::EngineStart {
            reason: error.to_string(),
        };
        let settings = Settings::new(guard);
        let transport = settings.transport(config, generation, guard, peers)?;
        free(&transport.listen_addr).await?;
        let verifier = ears.verifier.clone();
        let address = SignerAddress(guard.address().0.0);
        let page = Page::new(store.clone(), Arc::clone(guard), generation);
        let signer = GuardedSigner::new(generation, Arc::clone(guard), page.clone(), voice.clone());

        let peer = config.identity.public().to_peer_id().to_bytes();
        let me = PeerId::from_bytes(&peer).map_err(|error| failed(&error))?;
        let proof = signer
            .sign_validator_proof(address.0.to_vec(), peer)
            .await
            .map_err(|error| failed(&error))?;
        let proof = BorshCodec.encode(&proof).map_err(|error| failed(&error))?;
        let moniker = settings.moniker.clone();
        let identity = config.identity.clone();
        let identity = NetworkIdentity::new_validator(moniker.clone(), identity, moniker, proof);
        let consensus =
            ConsensusContext::new_validator(address, Box::new(verifier), Box::new(signer));

        let log = EngineLog::spawn(page.clone()).await.map_err(|error| failed(&error))?;
        let (network, parts) = listen(transport, identity, ears).await?;
        let built = async {
            #[cfg(feature = "byzantine")]
            let planted = match &config.faults.equivocate {
                Some(heights) => Some(
                    equivocation::network(heights, generation, guard, address, network.clone())
                        .await?,
                ),
                None => None,
            };
            #[cfg(not(feature = "byzantine"))]
            let planted = None;
            // Only one of them: whoever the engine does not know of is not ended with it, and keeps the store.
            let between = match planted {
                Some(planted) => planted,
                None => Between::spawn(network.clone(), voice.clone()).await?,
            };
            EngineBuilder::new(RotaContext, settings)
                .with_custom_wal(log)
                .with_custom_network(between, parts)
                .with_default_sync(SyncContext::new(BorshCodec))
                .with_default_consensus(consensus)
                .with_default_request(RequestContext::new(LINKS * 2))
                .build()
                .await
        };
        match built.await {
            Ok((channels, handle)) => Ok(Self { channels, handle, network, me, page }),
            Err(error) => {
                let _ = network.stop_and_wait(None, Some(STOP_PATIENCE)).await;
                Err(failed(&error))
            }
        }
    }

    /// The next thing that the engine asks for; `None` once it has ended.
    pub(super) async fn next(&mut self) -> Option<AppMsg<RotaContext>> {
        tokio::select! {
            message = self.channels.consensus.recv() => message,
            _ = &mut self.handle.handle => None,
            _ = self.network.wait(None) => None,
        }
    }

    /// Makes the engine ask for what could not be judged before.
    pub(super) fn nudge(&self) -> Nudge {
        let (network, me) = (self.network.clone(), self.me);
        Box::new(move || network::nudge(&network, me))
    }

    pub(super) fn network(&self) -> mpsc::Sender<NetworkMsg<RotaContext>> {
        self.channels.network.clone()
    }

    pub(super) fn network_requests(&self) -> mpsc::Sender<NetworkRequest> {
        self.channels.net_requests.clone()
    }

    /// Asks for a sign of life; if none comes in time, `asleep` hears of it.
    pub(super) fn probe(&self, patience: Duration, asleep: mpsc::Sender<()>) {
        let requests = self.channels.requests.clone();
        tokio::spawn(async move {
            let answer = ConsensusRequest::dump_state(&requests);
            if !matches!(tokio::time::timeout(patience, answer).await, Ok(Ok(_))) {
                let _ = asleep.try_send(());
            }
        });
    }

    /// Ends the engine. Its parts are stopped one by one, so that they end what they are at; a supervisor that is stopped
    /// first would kill them, as it does when one of them fails. The network is none of its parts: it has given back its
    /// socket when this returns, also after an engine that failed. Nothing of this life is written after that.
    pub(super) async fn stop(self) {
        let Self { channels, handle, network, page, .. } = self;
        drop(channels);
        if !handle.handle.is_finished() {
            let parts = handle.actor.get_cell();
            parts.stop_children_and_wait(None, Some(STOP_PATIENCE)).await;
            let stopped = handle.actor.stop_and_wait(None, Some(STOP_PATIENCE)).await;
            if stopped.is_err() && !handle.handle.is_finished() {
                tracing::warn!("the agreement engine did not stop in time");
            }
        }
        network.stop(None);
        if network.wait(Some(STOP_PATIENCE)).await.is_err() {
            tracing::warn!("the engine's network did not stop in time");
            network.kill();
        }
        blocking(move || page.close()).await;
    }
}

/// Waits until nobody listens where the engine will: it says nothing when it cannot, and an engine that failed may hold
/// its socket for a moment.
async fn free(listen: &Multiaddr) -> Result<(), AgreementError> {
    let setting = |reason: &str| AgreementError::Setting {
        field: "listen",
        value: listen.to_string(),
        reason: reason.to_owned(),
    };
    let mut parts = listen.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => {
            return Err(setting("expected /ip4/<address>/tcp/<port> or /ip6/<address>/tcp/<port>"));
        }
    };
    let Some(Protocol::Tcp(port)) = parts.next() else {
        return Err(setting("expected /tcp/<port> after the address"));
    };
    let until = Instant::now().checked_add(PORT_PATIENCE);
    loop {
        match TcpListener::bind((ip, port)).await {
            Ok(_) => return Ok(()),
            Err(error) if until.is_none_or(|until| Instant::now() >= until) => {
                return Err(setting(&error.to_string()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::evidence::EvidencePool;
    use crate::agreement::heights::Heights;
    use crate::agreement::tests::net::{Net, soon};
    use futures::StreamExt as _;
    use libp2p::swarm::SwarmEvent;
    use libp2p::{SwarmBuilder, noise, yamux};
    use std::collections::HashSet;

    /// What the engine's transport has no list for.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_not_registered_is_told_nothing_and_not_connected() {
        let net = Net::new(1, 1);
        let config = net.config(0);
        let (store, guard) = net.store_and_guard(0);
        let generation = Generation::new(0);
        let heights = Heights::default();
        let verifier = RecoveringVerifier::new(generation, *guard.domain(), heights.clone());
        let pool = EvidencePool::new(generation, verifier.clone(), heights);
        let (witness, _found) = Witness::new(pool);
        let member = libp2p::identity::Keypair::generate_ed25519();
        let registered = Registered::default();
        let name = PeerId::from_bytes(&member.public().to_peer_id().to_bytes()).unwrap();
        registered.replace(HashSet::from([name]), []);
        let started = Engine::start(
            &config,
            generation,
            &guard,
            &store,
            net.voice(&guard, &store),
            Ears { verifier, witness, registered },
            Vec::new(),
        );
        let engine = started.await.unwrap();
        let stranger = libp2p::identity::Keypair::generate_ed25519();
        for (identity, is_heard) in [(stranger, false), (member, true)] {
            let mut swarm = SwarmBuilder::with_existing_identity(identity)
                .with_tokio()
                .with_tcp(libp2p::tcp::Config::new(), noise::Config::new, yamux::Config::default)
                .unwrap()
                .with_behaviour(|_| {
                    let mut behaviour =
                        libp2p_scatter::Behaviour::new(libp2p_scatter::Config::default());
                    for what in ["consensus", "parts", "sync", "liveness"] {
                        let topic = format!("/rota/{WIRE}/{generation}/{what}");
                        behaviour.subscribe(libp2p_scatter::Topic::new(topic.as_bytes()));
                    }
                    behaviour
                })
                .unwrap()
                .build();
            let mut connects = false;
            let told = async {
                loop {
                    if !connects {
                        let address: Multiaddr = config.listen.parse().unwrap();
                        connects = swarm.dial(address).is_ok();
                    }
                    match swarm.select_next_some().await {
                        SwarmEvent::Behaviour(libp2p_scatter::Event::Subscribed(..)) => {
                            return true;
                        }
                        SwarmEvent::ConnectionClosed { .. } => return false,
                        // It does not listen yet.
                        SwarmEvent::OutgoingConnectionError { .. } => connects = false,
                        _ => {}
                    }
                }
            };
            assert_eq!(soon("it is told, or refused", told).await, is_heard);
        }
        engine.stop().await;
    }

    /// However an engine ends, another one can listen where it did, also when nobody is connected whose next
    /// message would wake it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_engine_that_failed_gives_its_port_back() {
        let net = Net::new(1, 1);
        let config = net.config(0);
        let (store, guard) = net.store_and_guard(0);
        for failing in [true, false, true] {
            let generation = Generation::new(0);
            let heights = Heights::default();
            let verifier = RecoveringVerifier::new(generation, *guard.domain(), heights.clone());
            let pool = EvidencePool::new(generation, verifier.clone(), heights);
            let (witness, _found) = Witness::new(pool);
            let ears = Ears { verifier, witness, registered: Registered::default() };
            let started = Engine::start(
                &config,
                generation,
                &guard,
                &store,
                net.voice(&guard, &store),
                ears,
                Vec::new(),
            );
            let mut engine = started.await.unwrap();
            let asked = soon("the engine asks for a height", engine.next()).await;
            assert!(matches!(asked, Some(AppMsg::ConsensusReady { .. })));
            if failing {
                // As its supervisor does when one of its parts fails.
                engine.handle.actor.stop(None);
                assert!(soon("the engine has ended", engine.next()).await.is_none());
            }
            engine.stop().await;
            let port: u16 = config.listen.rsplit('/').next().unwrap().parse().unwrap();
            let free = async {
                while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            soon("the port is free", free).await;
        }
    }
}

/// A network that says everything twice, for tests of the slashing path. Never in a release.
#[cfg(feature = "byzantine")]
mod equivocation {
    use super::{Guard, NetworkRef, RotaContext, SignerAddress};
    use crate::agreement::context::{BlockId, HeaderValue};
    use crate::agreement::signing::UnguardedSigner;
    use crate::domain::Generation;
    use malachitebft_engine_byzantine::{ByzantineConfig, ByzantineNetworkProxy, Trigger};
    use std::ops::RangeInclusive;
    use std::sync::Arc;

    pub(super) async fn network(
        heights: &RangeInclusive<u64>,
        generation: Generation,
        guard: &Arc<Guard>,
        address: SignerAddress,
        honest: NetworkRef<RotaContext>,
    ) -> eyre::Result<NetworkRef<RotaContext>> {
        let trigger = || Trigger::HeightRange { from: *heights.start(), to: *heights.end() };
        ByzantineNetworkProxy::spawn(
            ByzantineConfig::default()
                .with_equivocate_votes(trigger())
                .with_equivocate_proposals(trigger()),
            honest,
            Box::new(UnguardedSigner::new(generation, Arc::clone(guard))),
            RotaContext,
            address,
            tracing::Span::current(),
            Some(Box::new(|value: &HeaderValue| {
                let mut header = value.header().clone();
                header.tx_root.0[31] ^= 1;
                HeaderValue::new(header)
            })),
            Some(Box::new(|id: Option<&BlockId>| {
                let mut hash = id.map_or([0; 32], |id| id.0);
                hash[31] ^= 1;
                BlockId(hash)
            })),
        )
        .await
    }
}
