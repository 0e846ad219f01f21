//! One life of the engine: its configuration, its start and its end.

use super::between::Between;
use super::codec::BorshCodec;
use super::context::RotaContext;
use super::log::{EngineLog, Page};
use super::signing::{GuardedSigner, RecoveringVerifier};
use super::voice::Voice;
use super::{AgreementConfig, AgreementError, SYNC_BATCH};
use crate::blocking::blocking;
use crate::domain::{Generation, LeaderSet, Signer as SignerAddress};
use crate::guard::Guard;
use crate::storage::Store;
use libp2p::multiaddr::Protocol;
use malachitebft_app_channel::app::config::{
    ConsensusConfig, DiscoveryConfig, NodeConfig, P2pConfig, ProtocolNames, PubSubProtocol,
    ValuePayload, ValueSyncConfig,
};
use malachitebft_app_channel::app::events::RxEvent;
use malachitebft_app_channel::app::metrics::SharedRegistry;
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::codec::Codec;
use malachitebft_app_channel::spawn::spawn_network_actor;
use malachitebft_app_channel::{
    AppMsg, Channels, ConsensusContext, ConsensusRequest, EngineBuilder, EngineHandle,
    NetworkIdentity, NetworkMsg, NetworkRequest, RequestContext, SyncContext,
};
use malachitebft_engine::network::NetworkRef;
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

/// A running engine.
pub(super) struct Engine {
    channels: Channels<RotaContext>,
    handle: EngineHandle,
    /// Ends after the engine, whatever the engine's end. `None` where a test's network is no part of this module.
    network: Option<NetworkRef<RotaContext>>,
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
    /// Agents of another deployment or generation speak other protocols, so that a stale endpoint links nobody across.
    fn new(
        config: &AgreementConfig,
        generation: Generation,
        guard: &Guard,
        peers: Vec<Multiaddr>,
    ) -> Result<Self, AgreementError> {
        let listen_addr: Multiaddr =
            config.listen.parse().map_err(|error: <Multiaddr as std::str::FromStr>::Err| {
                AgreementError::Setting {
                    field: "listen",
                    value: config.listen.clone(),
                    reason: error.to_string(),
                }
            })?;
        let separator = guard.domain().separator();
        let name = |what: &str| format!("/rota/{separator:x}/{generation}/{what}");
        let p2p = P2pConfig {
            listen_addr,
            persistent_peers: peers,
            persistent_peers_only: true,
            discovery: DiscoveryConfig {
                enabled: false,
                num_outbound_peers: LINKS,
                num_inbound_peers: LINKS,
                max_connections_per_ip: LINKS * 2,
                ..DiscoveryConfig::default()
            },
            protocol: PubSubProtocol::Broadcast,
            protocol_names: ProtocolNames {
                consensus: name("consensus"),
                discovery_kad: name("kad"),
                discovery_regres: name("discovery"),
                sync: name("sync"),
                validator_proof: name("member"),
            },
            ..P2pConfig::default()
        };
        Ok(Self {
            moniker: guard.address().to_string(),
            consensus: ConsensusConfig {
                enabled: true,
                p2p,
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
        })
    }
}

impl Engine {
    /// Starts an engine on the log of this generation.
    pub(super) async fn start(
        config: &AgreementConfig,
        generation: Generation,
        guard: &Arc<Guard>,
        store: &Store,
        voice: Voice,
        verifier: RecoveringVerifier,
        peers: Vec<Multiaddr>,
    ) -> Result<Self, AgreementError> {
        let failed = |error: &dyn std::fmt::Display| AgreementError::EngineStart {
            reason: error.to_string(),
        };
        let settings = Settings::new(config, generation, guard, peers)?;
        free(&settings.consensus.p2p.listen_addr).await?;
        let address = SignerAddress(guard.address().0.0);
        let page = Page::new(store.clone(), Arc::clone(guard), generation);
        let signer = GuardedSigner::new(generation, Arc::clone(guard), page.clone(), voice);

        let peer = config.identity.public().to_peer_id().to_bytes();
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
        #[cfg(feature = "byzantine")]
        if let Some(heights) = &config.faults.equivocate {
            let network = equivocation::network(heights, generation, guard, address, identity);
            let builder = EngineBuilder::new(RotaContext, settings)
                .with_custom_wal(log)
                .with_default_sync(SyncContext::new(BorshCodec))
                .with_default_consensus(consensus)
                .with_default_request(RequestContext::new(LINKS * 2))
                .with_byzantine_network(network)
                .await;
            let built = builder.map_err(|error| failed(&error))?.build().await;
            return built
                .map(|(channels, handle)| Self { channels, handle, network: None, page })
                .map_err(|error| failed(&error));
        }
        let registry = SharedRegistry::global().with_moniker(settings.moniker());
        let (network, to_network) = spawn_network_actor(
            identity,
            &settings.consensus,
            &settings.value_sync,
            &registry,
            BorshCodec,
        )
        .await
        .map_err(|error| failed(&error))?;
        let between = Between::spawn(network.clone()).await.map_err(|error| failed(&error))?;
        let built = EngineBuilder::new(RotaContext, settings)
            .with_custom_wal(log)
            .with_custom_network(between, to_network)
            .with_default_sync(SyncContext::new(BorshCodec))
            .with_default_consensus(consensus)
            .with_default_request(RequestContext::new(LINKS * 2))
            .build()
            .await;
        match built {
            Ok((channels, handle)) => Ok(Self { channels, handle, network: Some(network), page }),
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
            () = gone(self.network.as_ref()) => None,
        }
    }

    pub(super) fn events(&self) -> RxEvent<RotaContext> {
        self.channels.events.subscribe()
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
        let Self { channels, handle, network, page } = self;
        drop(channels);
        if !handle.handle.is_finished() {
            let parts = handle.actor.get_cell();
            parts.stop_children_and_wait(None, Some(STOP_PATIENCE)).await;
            let stopped = handle.actor.stop_and_wait(None, Some(STOP_PATIENCE)).await;
            if stopped.is_err() && !handle.handle.is_finished() {
                tracing::warn!("the agreement engine did not stop in time");
            }
        }
        if let Some(network) = network {
            network.stop(None);
            if network.wait(Some(STOP_PATIENCE)).await.is_err() {
                tracing::warn!("the engine's network did not stop in time");
                network.kill();
            }
        }
        blocking(move || page.close()).await;
    }
}

/// Waits for the end of the engine's network.
async fn gone(network: Option<&NetworkRef<RotaContext>>) {
    match network {
        Some(network) => {
            let _ = network.wait(None).await;
        }
        None => std::future::pending().await,
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
    use crate::agreement::heights::Heights;
    use crate::agreement::tests::net::{Net, soon};

    /// However an engine ends, another one can listen at once where it did, also when nobody is connected whose next
    /// message would wake it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_engine_that_failed_gives_its_port_back() {
        let net = Net::new(1, 1);
        let config = net.config(0);
        let (store, guard) = net.store_and_guard(0);
        for failing in [true, false, true] {
            let generation = Generation::new(0);
            let verifier = RecoveringVerifier::new(generation, *guard.domain(), Heights::default());
            let started = Engine::start(
                &config,
                generation,
                &guard,
                &store,
                Voice::default(),
                verifier,
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
            let port = config.listen.rsplit('/').next().unwrap().parse().unwrap();
            TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        }
    }
}

/// A network that says everything twice, for tests of the slashing path. Never in a release.
#[cfg(feature = "byzantine")]
mod equivocation {
    use super::{BorshCodec, Guard, NetworkIdentity, RotaContext, SignerAddress};
    use crate::agreement::context::{BlockId, HeaderValue};
    use crate::agreement::signing::UnguardedSigner;
    use crate::domain::Generation;
    use malachitebft_app_channel::ByzantineContext;
    use malachitebft_engine_byzantine::{ByzantineConfig, Trigger};
    use std::ops::RangeInclusive;
    use std::sync::Arc;

    pub(super) fn network(
        heights: &RangeInclusive<u64>,
        generation: Generation,
        guard: &Arc<Guard>,
        address: SignerAddress,
        identity: NetworkIdentity,
    ) -> ByzantineContext<RotaContext, BorshCodec> {
        let trigger = || Trigger::HeightRange { from: *heights.start(), to: *heights.end() };
        ByzantineContext {
            identity,
            codec: BorshCodec,
            config: ByzantineConfig::default()
                .with_equivocate_votes(trigger())
                .with_equivocate_proposals(trigger()),
            signer: Box::new(UnguardedSigner::new(generation, Arc::clone(guard))),
            address,
            conflicting_value_fn: Some(Box::new(|value: &HeaderValue| {
                let mut header = value.header().clone();
                header.tx_root.0[31] ^= 1;
                HeaderValue::new(header)
            })),
            conflicting_vote_value_fn: Some(Box::new(|id: Option<&BlockId>| {
                let mut hash = id.map_or([0; 32], |id| id.0);
                hash[31] ^= 1;
                BlockId(hash)
            })),
        }
    }
}
