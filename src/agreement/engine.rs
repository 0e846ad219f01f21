//! One life of the engine: its configuration, its start and its end.

use super::codec::BorshCodec;
use super::context::RotaContext;
use super::log::{EngineLog, Flushing};
use super::signing::{GuardedSigner, RecoveringVerifier, Refusals};
use super::{AgreementConfig, AgreementError, SYNC_BATCH};
use crate::domain::{Generation, LeaderSet, Signer as SignerAddress};
use crate::guard::Guard;
use crate::storage::Store;
use libp2p::multiaddr::Protocol;
use malachitebft_app_channel::app::config::{
    ConsensusConfig, DiscoveryConfig, NodeConfig, P2pConfig, ProtocolNames, PubSubProtocol,
    ValuePayload, ValueSyncConfig,
};
use malachitebft_app_channel::app::events::RxEvent;
use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::codec::Codec;
use malachitebft_app_channel::{
    AppMsg, Channels, ConsensusContext, ConsensusRequest, EngineBuilder, EngineHandle,
    NetworkContext, NetworkIdentity, NetworkMsg, NetworkRequest, RequestContext, SyncContext,
};
use malachitebft_signing::Signer as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// How long a stopped engine may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Links that are accepted and made: all members of a set, and as many that are about to join.
const LINKS: usize = LeaderSet::MAX_MEMBERS * 2;

/// Votes, proposals and values of one later height that may wait: a few rounds of the largest set.
const EARLY_MESSAGES: usize = LeaderSet::MAX_MEMBERS * 32;

/// Whether an engine may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// It votes and proposes wherever the set holds this agent.
    Full,
    /// It follows as one who is in no set.
    Silent,
}

/// A running engine.
pub(super) struct Engine {
    channels: Channels<RotaContext>,
    handle: EngineHandle,
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
    #[expect(
        clippy::too_many_arguments,
        reason = "everything that an engine works with, named once"
    )]
    pub(super) async fn start(
        config: &AgreementConfig,
        generation: Generation,
        guard: &Arc<Guard>,
        store: &Store,
        voice: Voice,
        verifier: RecoveringVerifier,
        refusals: Refusals,
        peers: Vec<Multiaddr>,
    ) -> Result<Self, AgreementError> {
        let failed = |error: &dyn std::fmt::Display| AgreementError::EngineStart {
            reason: error.to_string(),
        };
        let settings = Settings::new(config, generation, guard, peers)?;
        free(&settings.consensus.p2p.listen_addr).await?;
        let address = SignerAddress(guard.address().0.0);
        let flushing = Flushing::default();
        let signer = GuardedSigner::new(generation, Arc::clone(guard), refusals, flushing.clone());

        let peer = config.identity.public().to_peer_id().to_bytes();
        let proof = signer
            .sign_validator_proof(address.0.to_vec(), peer)
            .await
            .map_err(|error| failed(&error))?;
        let proof = BorshCodec.encode(&proof).map_err(|error| failed(&error))?;
        let moniker = settings.moniker.clone();
        let identity = config.identity.clone();
        let (identity, consensus) = match voice {
            Voice::Full => (
                NetworkIdentity::new_validator(moniker.clone(), identity, moniker, proof),
                ConsensusContext::new_validator(address, Box::new(verifier), Box::new(signer)),
            ),
            // No key signs for the zero address, and no set holds it.
            Voice::Silent => (
                NetworkIdentity::new(moniker, identity, None),
                ConsensusContext::new_full_node(SignerAddress([0; 20]), Box::new(verifier)),
            ),
        };

        let log =
            EngineLog::spawn(store.clone(), generation, flushing).await.map_err(|e| failed(&e))?;
        let builder = EngineBuilder::new(RotaContext, settings)
            .with_custom_wal(log)
            .with_default_sync(SyncContext::new(BorshCodec))
            .with_default_consensus(consensus)
            .with_default_request(RequestContext::new(LINKS * 2));
        #[cfg(feature = "byzantine")]
        if let Some(heights) = &config.faults.equivocate {
            let network = equivocation::network(heights, generation, guard, address, identity);
            let builder = builder.with_byzantine_network(network).await;
            let built = builder.map_err(|error| failed(&error))?.build().await;
            return built
                .map(|(channels, handle)| Self { channels, handle })
                .map_err(|error| failed(&error));
        }
        let (channels, handle) = builder
            .with_default_network(NetworkContext::new(identity, BorshCodec))
            .build()
            .await
            .map_err(|error| failed(&error))?;
        Ok(Self { channels, handle })
    }

    /// The next thing that the engine asks for; `None` once it has ended.
    pub(super) async fn next(&mut self) -> Option<AppMsg<RotaContext>> {
        tokio::select! {
            message = self.channels.consensus.recv() => message,
            _ = &mut self.handle.handle => None,
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

    /// Ends the engine. Its parts are stopped one by one, so that they close the log and the sockets; a supervisor that
    /// is stopped first would kill them.
    pub(super) async fn stop(self) {
        let Self { channels, handle } = self;
        drop(channels);
        if handle.handle.is_finished() {
            return;
        }
        let parts = handle.actor.get_cell();
        parts.stop_children_and_wait(None, Some(STOP_PATIENCE)).await;
        let stopped = handle.actor.stop_and_wait(None, Some(STOP_PATIENCE)).await;
        if stopped.is_err() && !handle.handle.is_finished() {
            tracing::warn!("the agreement engine did not stop in time");
        }
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
    let until = Instant::now().checked_add(STOP_PATIENCE);
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
