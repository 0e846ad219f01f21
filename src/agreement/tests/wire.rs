//! The wire below the gate, `vendor/libp2p-scatter`: what a connected peer can do with it, whatever it sends and reads.

use crate::agreement::gate::{FrontDoor, Registered};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, InboundUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::swarm::derive_prelude::FromSwarm;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, NetworkBehaviour, NotifyHandler, OneShotHandler,
    SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_scatter::{Behaviour, Config, Event, HandlerEvent, MAX_WAITING, Message, Topic};
use malachitebft_app_channel::app::types::PeerId as EnginePeerId;
use prometheus_client::registry::Registry;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// Whoever does not close a connection never does: this is only how long a test waits before it says so.
const PATIENCE: Duration = Duration::from_secs(120);

const OURS: &[u8] = b"ours";

/// The largest frame that is read.
const FRAME: usize = 1_000;

/// Reads each message after a while.
#[derive(Clone, Copy, Debug)]
struct Slowly(Duration);

impl UpgradeInfo for Slowly {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        Config::default().protocol_info()
    }
}

impl InboundUpgrade<Stream> for Slowly {
    type Output = Message;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Message, io::Error>>;

    fn upgrade_inbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        Box::pin(async move {
            tokio::time::sleep(self.0).await;
            Config::default().upgrade_inbound(socket, info).await
        })
    }
}

/// A peer that sends just these messages once it is connected. It tells when one of them was not taken.
struct Raw {
    messages: Vec<Message>,
    reads: Slowly,
    events: VecDeque<ToSwarm<(), Message>>,
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = OneShotHandler<Slowly, Message, HandlerEvent>;
    type ToSwarm = ();

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(OneShotHandler::new(SubstreamProtocol::new(self.reads, ()), Default::default()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(OneShotHandler::new(SubstreamProtocol::new(self.reads, ()), Default::default()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionEstablished(connection) = event {
            for message in self.messages.drain(..) {
                self.events.push_back(ToSwarm::NotifyHandler {
                    peer_id: connection.peer_id,
                    handler: NotifyHandler::Any,
                    event: message,
                });
            }
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        if event.is_err() {
            self.events.push_back(ToSwarm::GenerateEvent(()));
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<(), THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn swarm<B: NetworkBehaviour>(identity: Keypair, behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

/// Listens, and reads one topic.
async fn victim(mut behaviour: Behaviour) -> (Swarm<Behaviour>, Multiaddr) {
    behaviour.subscribe(Topic::new(OURS));
    let mut swarm = swarm(Keypair::generate_ed25519(), behaviour);
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return (swarm, address);
        }
    }
}

fn raw(messages: Vec<Message>, reads: Duration) -> Swarm<Raw> {
    let raw = Raw { messages, reads: Slowly(reads), events: VecDeque::new() };
    swarm(Keypair::generate_ed25519(), raw)
}

/// Drives both until `done` says so of what happens at the victim.
async fn until<B: NetworkBehaviour>(
    victim: &mut Swarm<Behaviour>,
    other: &mut Swarm<B>,
    what: &str,
    mut done: impl FnMut(&mut Swarm<Behaviour>, &SwarmEvent<Event>) -> bool,
) {
    let driven = async {
        loop {
            tokio::select! {
                event = victim.select_next_some() => if done(victim, &event) { return },
                _ = other.select_next_some() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, driven).await.unwrap_or_else(|_| panic!("{what}"));
}

const fn is_closed(event: &SwarmEvent<Event>) -> bool {
    matches!(event, SwarmEvent::ConnectionClosed { .. })
}

#[tokio::test]
async fn a_topic_that_nobody_here_reads_costs_the_connection_and_leaves_nothing() {
    let made_up = Topic::new(&[b'z'; 63]);
    for message in [
        Message::Subscribe(made_up),
        Message::Unsubscribe(made_up),
        Message::Broadcast(made_up, vec![1; 10].into()),
    ] {
        let mut registry = Registry::default();
        let config = Config { max_buf_size: FRAME };
        let behaviour = Behaviour::new_with_metrics(config, &mut registry);
        let (mut victim, address) = victim(behaviour).await;
        let mut hostile = raw(vec![message.clone()], Duration::ZERO);
        hostile.dial(address).unwrap();
        let mut told = 0;
        until(&mut victim, &mut hostile, "it is closed", |_, event| {
            told += usize::from(matches!(event, SwarmEvent::Behaviour(_)));
            is_closed(event)
        })
        .await;
        assert_eq!(told, 0, "{message:?} goes no further");
        assert!(victim.behaviour().peers(&made_up).is_none(), "{message:?}");
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
        assert!(metrics.contains("ours") && !metrics.contains("zzz"), "{metrics}");
    }
}

#[tokio::test]
async fn who_subscribes_twice_is_one_subscriber_and_none_once_it_is_gone() {
    let mut registry = Registry::default();
    let behaviour = Behaviour::new_with_metrics(Config { max_buf_size: FRAME }, &mut registry);
    let (mut victim, address) = victim(behaviour).await;
    let ours = Topic::new(OURS);
    let mut peer = raw(vec![Message::Subscribe(ours), Message::Subscribe(ours)], Duration::ZERO);
    peer.dial(address).unwrap();
    let mut times = 0;
    until(&mut victim, &mut peer, "it subscribes", |_, event| {
        times += usize::from(matches!(event, SwarmEvent::Behaviour(Event::Subscribed(..))));
        times == 2
    })
    .await;
    let count = |registry: &Registry| {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, registry).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("topic_peers_counts{"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(count(&registry), "1");
    let id = *peer.local_peer_id();
    victim.disconnect_peer_id(id).unwrap();
    until(&mut victim, &mut peer, "it is gone", |_, event| is_closed(event)).await;
    assert_eq!(count(&registry), "0");
    assert_eq!(victim.behaviour().peers(&ours).unwrap().count(), 0);
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off_before_what_waits_for_it_fills_memory() {
    // Each is read in time, by itself: it never comes to a time-out.
    for (messages, bytes) in [(MAX_WAITING + 100, 100), (40, 1 << 20)] {
        let (mut victim, address) = victim(Behaviour::new(Config { max_buf_size: FRAME })).await;
        let ours = Topic::new(OURS);
        let mut slow = raw(vec![Message::Subscribe(ours)], Duration::from_secs(5));
        slow.dial(address).unwrap();
        until(&mut victim, &mut slow, "it is cut off", |victim, event| {
            if matches!(event, SwarmEvent::Behaviour(Event::Subscribed(..))) {
                let frame = bytes::Bytes::from(vec![7; bytes]);
                for _ in 0..messages {
                    victim.behaviour_mut().broadcast(&ours, frame.clone());
                }
            }
            is_closed(event)
        })
        .await;
    }
}

#[tokio::test]
async fn a_frame_beyond_the_configured_size_is_not_read() {
    let (mut victim, address) = victim(Behaviour::new(Config { max_buf_size: FRAME })).await;
    let large = Message::Broadcast(Topic::new(OURS), vec![7; 1 << 20].into());
    let mut hostile = raw(vec![large], Duration::ZERO);
    hostile.dial(address).unwrap();
    let refused = async {
        loop {
            tokio::select! {
                event = victim.select_next_some() => if let SwarmEvent::Behaviour(event) = event {
                    panic!("it was read: {event:?}");
                },
                event = hostile.select_next_some() => if let SwarmEvent::Behaviour(()) = event {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it is refused");
}

#[tokio::test]
async fn at_a_door_whoever_is_not_registered_is_refused_and_whoever_is_comes_in() {
    let (member, stranger) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let registered = Registered::default();
    let name = EnginePeerId::from_bytes(&member.public().to_peer_id().to_bytes()).unwrap();
    registered.replace(HashSet::from([name]), []);
    let door = Box::new(FrontDoor::new(registered));
    let (behaviour, taken) =
        libp2p_scatter::with_door(door, || Behaviour::new(Config { max_buf_size: FRAME }));
    assert!(taken);
    let (mut victim, address) = victim(behaviour).await;
    for (identity, comes_in) in [(stranger, false), (member, true)] {
        let id = identity.public().to_peer_id();
        let mut peer = swarm(identity, Behaviour::new(Config::default()));
        peer.dial(address.clone()).unwrap();
        let mut came_in = None;
        until(&mut victim, &mut peer, "it is judged", |_, event| {
            came_in = match event {
                SwarmEvent::ConnectionEstablished { peer_id, .. } if *peer_id == id => Some(true),
                SwarmEvent::IncomingConnectionError { .. } => Some(false),
                _ => None,
            };
            came_in.is_some()
        })
        .await;
        assert_eq!(came_in, Some(comes_in));
    }
    let (_, taken) =
        libp2p_scatter::with_door(Box::new(FrontDoor::new(Registered::default())), || {
            Behaviour::new(Config::default())
        });
    assert!(taken, "a door is for one");
}
