use super::{
    Behaviour, BehaviourEvent, Delivery, Incoming, Network, NetworkConfig, SignedBatchMessage,
    build,
};
use crate::crypto::{Signature, SigningDomain};
use crate::domain::{BatchHeader, PeerEndpoint, RollupId, RollupTransaction, SequencerId};
use crate::l1::{Mirror, MirrorHandle};
use crate::network::{LANE_MESSAGES, Link, LinkMessage, ListedIps, MAX_MESSAGE_BYTES, Sent};
use crate::ports::HeldPort;
use crate::testing::{batch_header, key as secret, params};
use alloy::primitives::Address;
use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes nearly as long; the machine may be busy.
const SOON: Duration = Duration::from_secs(120);

struct Node {
    sequencer: SequencerId,
    signer: Address,
    identity: Keypair,
    address: Multiaddr,
    link: Link,
    incoming: Incoming,
    _running: DropGuard,
}

fn mirror() -> MirrorHandle {
    MirrorHandle::new(Mirror::new(params()))
}

fn domain() -> SigningDomain {
    SigningDomain::new(1, Address::repeat_byte(7))
}

/// What key `n` signs to speak by this identity.
fn sign(n: u8, identity: &Keypair) -> Signature {
    secret(n).sign(domain().link(&identity.public().to_peer_id().to_bytes()))
}

/// Sequencer `n` with key `n`, reached by this identity.
fn enlist(mirror: &MirrorHandle, n: u8, identity: &Keypair, address: &Multiaddr) -> SequencerId {
    enlist_key(mirror, n, n, identity, address)
}

fn enlist_key(
    mirror: &MirrorHandle,
    n: u8,
    key: u8,
    identity: &Keypair,
    address: &Multiaddr,
) -> SequencerId {
    let (id, signer) = (SequencerId::new(n.into()), secret(key).address());
    let link = format!("{address}/p2p/{}", identity.public().to_peer_id());
    let endpoint = PeerEndpoint { id, signer, agreement: String::new(), link };
    mirror.update(|mirror| mirror.peers.insert(signer, endpoint));
    id
}

async fn start_at(mirror: &MirrorHandle, n: u8, identity: Keypair, port: u16) -> Node {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let signature = sign(n, &identity);
    let config = NetworkConfig { identity: identity.clone(), listen, domain: domain(), signature };
    let (network, link, incoming) = Network::bind(config, mirror.clone()).await.unwrap();
    let address = network.address().clone();
    let sequencer = enlist(mirror, n, &identity, &address);
    let signer = secret(n).address();
    let shutdown = CancellationToken::new();
    tokio::spawn(network.run(shutdown.clone()));
    Node { sequencer, signer, identity, address, link, incoming, _running: shutdown.drop_guard() }
}

async fn start(mirror: &MirrorHandle, n: u8) -> Node {
    start_at(mirror, n, Keypair::generate_ed25519(), 0).await
}

async fn connected(link: &Link, to: SequencerId) {
    let up = async {
        while !link.peers().iter().any(|peer| peer.sequencer == to && peer.connected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, up).await.expect("peers connect");
}

/// Waits until a node knows of a peer.
async fn listed(link: &Link, sequencer: SequencerId) {
    let known = async {
        while !link.peers().iter().any(|peer| peer.sequencer == sequencer) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, known).await.expect("the registry is followed");
}

fn transactions(n: u32, size: usize) -> LinkMessage {
    let mut raw = vec![7; size];
    raw[..4].copy_from_slice(&n.to_be_bytes());
    LinkMessage::Transactions(vec![RollupTransaction { rollup: RollupId::new(1), raw: raw.into() }])
}

async fn next_number(node: &mut Node) -> (SequencerId, u32) {
    let delivery = timeout(SOON, node.incoming.transactions.recv()).await.unwrap().unwrap();
    (delivery.from, number(&delivery))
}

fn number(delivery: &Delivery<Vec<RollupTransaction>>) -> u32 {
    u32::from_be_bytes(delivery.content[0].raw[..4].try_into().unwrap())
}

#[tokio::test]
async fn peers_of_the_registry_find_each_other_and_keep_the_order() {
    let mirror = mirror();
    let (a, mut b) = (start(&mirror, 1).await, start(&mirror, 2).await);
    connected(&a.link, b.sequencer).await;
    for n in 0..50 {
        assert_eq!(a.link.send(b.signer, &transactions(n, 500)).unwrap(), Sent::Queued);
    }
    for n in 0..50 {
        assert_eq!(next_number(&mut b).await, (a.sequencer, n));
    }
    assert_eq!(a.link.send(a.signer, &transactions(0, 4)).unwrap(), Sent::UnknownPeer);
    let nobody = Address::repeat_byte(99);
    assert_eq!(a.link.send(nobody, &transactions(0, 4)).unwrap(), Sent::UnknownPeer);
}

#[tokio::test]
async fn attestations_do_not_wait_for_transactions() {
    let mirror = mirror();
    let (a, mut b) = (start(&mirror, 1).await, start(&mirror, 2).await);
    connected(&a.link, b.sequencer).await;
    // Nobody takes b's transactions, so their lane is stuck.
    for n in 0..20 {
        a.link.send(b.signer, &transactions(n, 500)).unwrap();
    }
    let header: BatchHeader = batch_header(7);
    let signature = Signature::from_compact([3; 64]);
    let message = LinkMessage::Attestation { header: header.clone(), signature };
    assert_eq!(a.link.broadcast(&message).unwrap(), 1);
    a.link.send(b.signer, &LinkMessage::WantAttestation { header: header.clone() }).unwrap();
    let first = timeout(SOON, b.incoming.attestations.recv()).await.unwrap().unwrap();
    let expected = SignedBatchMessage::Attestation { header: header.clone(), signature };
    assert_eq!((first.from, &first.content), (a.sequencer, &expected));
    let second = timeout(SOON, b.incoming.attestations.recv()).await.unwrap().unwrap();
    assert_eq!(second.content, SignedBatchMessage::Want { header });
}

#[tokio::test]
async fn who_joins_later_is_found_and_who_leaves_is_cut_off() {
    let mirror = mirror();
    let a = start(&mirror, 1).await;
    let mut c = start(&mirror, 3).await;
    connected(&a.link, c.sequencer).await;
    a.link.send(c.signer, &transactions(1, 4)).unwrap();
    assert_eq!(next_number(&mut c).await, (a.sequencer, 1));

    mirror.update(|mirror| mirror.peers.remove(&a.signer));
    let gone = async {
        while !c.link.peers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    a.link.send(c.signer, &transactions(2, 4)).unwrap();
    enlist(&mirror, 1, &a.identity, &a.address);
    connected(&c.link, a.sequencer).await;
    // What a had left for c goes out now: it was not given up while c refused.
    assert_eq!(next_number(&mut c).await, (a.sequencer, 2));
}

#[tokio::test]
async fn a_peer_that_comes_back_gets_what_waited() {
    let mirror = mirror();
    let a = start(&mirror, 1).await;
    // Nobody else is handed its port while it is away.
    let held = HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = held.address().port();
    let b = start_at(&mirror, 2, Keypair::generate_ed25519(), port).await;
    connected(&a.link, b.sequencer).await;
    let (identity, signer) = (b.identity.clone(), b.signer);
    drop(b);
    let gone = async {
        while a.link.peers().iter().any(|peer| peer.connected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    a.link.send(signer, &transactions(5, 4)).unwrap();
    let mut b = start_at(&mirror, 2, identity, port).await;
    assert_eq!(next_number(&mut b).await, (a.sequencer, 5));
}

#[tokio::test]
async fn a_slow_peer_costs_its_own_oldest_messages_only() {
    let mirror = mirror();
    let a = start(&mirror, 1).await;
    let identity = Keypair::generate_ed25519();
    let listed_as = enlist(&mirror, 9, &identity, &"/ip4/127.0.0.1/tcp/9".parse().unwrap());
    listed(&a.link, listed_as).await;
    let absent = secret(9).address();
    let limit = u32::try_from(LANE_MESSAGES).unwrap();
    for n in 0..limit {
        assert_eq!(a.link.send(absent, &transactions(n, 4)).unwrap(), Sent::Queued);
    }
    assert_eq!(a.link.send(absent, &transactions(limit, 4)).unwrap(), Sent::DroppedOldest);
    assert_eq!(a.link.peers()[0].queued, LANE_MESSAGES);
}

/// A peer that speaks the protocol but not its rules, connected as far as it can tell itself.
async fn rogue(identity: Keypair, to: &Node) -> Swarm<Behaviour> {
    let mut swarm = build(identity, ListedIps::default()).unwrap();
    let id = to.identity.public().to_peer_id();
    swarm.behaviour_mut().gate.allow_peer(id);
    swarm.dial(to.address.clone()).unwrap();
    let up = async {
        while !matches!(swarm.next().await, Some(SwarmEvent::ConnectionEstablished { .. })) {}
    };
    timeout(SOON, up).await.unwrap();
    swarm
}

/// A rogue of the registry that says who it is, as key `n`, and waits until it is believed.
async fn rogue_member(n: u8, identity: Keypair, to: &Node) -> Swarm<Behaviour> {
    let signature = sign(n, &identity);
    let mut swarm = rogue(identity, to).await;
    let hello = LinkMessage::Hello { signature, session: 1 };
    let id = to.identity.public().to_peer_id();
    let hello = hello.encode().unwrap();
    let believed = async {
        // Who greets again too soon is not looked at, so it tries until it is.
        loop {
            swarm.behaviour_mut().requests.send_request(&id, hello.clone());
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(BehaviourEvent::Requests(Event::Message {
                        message: Message::Response { .. },
                        ..
                    })) => return,
                    SwarmEvent::Behaviour(BehaviourEvent::Requests(Event::OutboundFailure {
                        ..
                    })) => break,
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, believed).await.expect("it is who it says");
    swarm
}

/// Drives a rogue until its message is acknowledged, or it is cut off.
async fn acknowledged(swarm: &mut Swarm<Behaviour>) -> bool {
    let outcome = async {
        loop {
            match swarm.next().await {
                Some(SwarmEvent::ConnectionClosed { .. }) => return false,
                Some(SwarmEvent::Behaviour(BehaviourEvent::Requests(Event::Message {
                    message: Message::Response { .. },
                    ..
                }))) => return true,
                _ => {}
            }
        }
    };
    timeout(SOON, outcome).await.unwrap()
}

#[tokio::test]
async fn strangers_are_refused() {
    let mirror = mirror();
    let mut a = start(&mirror, 1).await;
    let member = Keypair::generate_ed25519();
    let listed_as = enlist(&mirror, 8, &member, &"/ip4/127.0.0.1/tcp/9".parse().unwrap());
    listed(&a.link, listed_as).await;
    let mut member = rogue_member(8, member, &a).await;
    let id = a.identity.public().to_peer_id();
    member.behaviour_mut().requests.send_request(&id, transactions(0, 4).encode().unwrap());
    assert!(acknowledged(&mut member).await, "in the registry");
    assert_eq!(next_number(&mut a).await.1, 0);

    let mut stranger = rogue(Keypair::generate_ed25519(), &a).await;
    let frame = transactions(1, 4).encode().unwrap();
    let id = a.identity.public().to_peer_id();
    stranger.behaviour_mut().requests.send_request(&id, frame);
    assert!(!acknowledged(&mut stranger).await);
    assert!(a.incoming.transactions.try_recv().is_err());
}

#[tokio::test]
async fn a_flood_is_held_back_and_hurts_nobody_else() {
    let mirror = mirror();
    let mut a = start(&mirror, 1).await;
    let flooder = Keypair::generate_ed25519();
    let nowhere = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
    let flooding = enlist(&mirror, 8, &flooder, &nowhere);
    let b = start(&mirror, 2).await;
    connected(&b.link, a.sequencer).await;
    listed(&a.link, flooding).await;

    let mut rogue = rogue_member(8, flooder, &a).await;
    let id = a.identity.public().to_peer_id();
    for n in 0..24 {
        let frame = transactions(n, MAX_MESSAGE_BYTES - 100).encode().unwrap();
        rogue.behaviour_mut().requests.send_request(&id, frame);
    }
    let flood = tokio::spawn(async move { while rogue.next().await.is_some() {} });

    // The consumer finishes nothing: the flooder has its places and no more, and b's message comes through.
    let first = timeout(SOON, a.incoming.transactions.recv()).await.unwrap().unwrap();
    assert_eq!(first.from, flooding);
    tokio::time::sleep(Duration::from_millis(300)).await;
    b.link.send(a.signer, &transactions(77, 4)).unwrap();
    let mut held = vec![first];
    loop {
        let delivery = timeout(SOON, a.incoming.transactions.recv()).await.unwrap().unwrap();
        if delivery.from == b.sequencer {
            assert_eq!(number(&delivery), 77);
            break;
        }
        assert_eq!(delivery.from, flooding);
        held.push(delivery);
    }
    assert!(held.len() <= super::INBOX_PER_PEER, "{} places taken", held.len());
    flood.abort();
}

#[tokio::test]
async fn who_sends_no_message_is_barred() {
    let mirror = mirror();
    let a = start(&mirror, 1).await;
    for (n, bytes) in [(8, vec![255_u8; 100]), (9, vec![0_u8; MAX_MESSAGE_BYTES + 1])] {
        let identity = Keypair::generate_ed25519();
        let listed_as = enlist(&mirror, n, &identity, &"/ip4/127.0.0.1/tcp/9".parse().unwrap());
        listed(&a.link, listed_as).await;
        let mut noisy = rogue(identity.clone(), &a).await;
        let id = a.identity.public().to_peer_id();
        noisy.behaviour_mut().requests.send_request(&id, bytes.into());
        assert!(!acknowledged(&mut noisy).await, "cut off");
        drop(noisy);

        let mut again = rogue(identity, &a).await;
        let frame = transactions(1, 4).encode().unwrap();
        again.behaviour_mut().requests.send_request(&id, frame);
        assert!(!acknowledged(&mut again).await, "and stays out");
    }
}

#[tokio::test]
async fn who_is_reported_is_barred() {
    let mirror = mirror();
    let (a, b) = (start(&mirror, 1).await, start(&mirror, 2).await);
    connected(&b.link, a.sequencer).await;
    a.link.report(b.sequencer);
    let gone = async {
        while b.link.peers().iter().any(|peer| peer.connected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!b.link.peers().iter().any(|peer| peer.connected));
}

#[tokio::test]
async fn who_has_not_said_who_it_is_is_not_heard() {
    let mirror = mirror();
    let mut a = start(&mirror, 1).await;
    let identity = Keypair::generate_ed25519();
    let nowhere = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
    let listed_as = enlist(&mirror, 8, &identity, &nowhere);
    listed(&a.link, listed_as).await;
    let mut silent = rogue(identity.clone(), &a).await;
    let id = a.identity.public().to_peer_id();
    let request = transactions(0, 4).encode().unwrap();
    silent.behaviour_mut().requests.send_request(&id, request.clone());
    // By a key that the registry shows for another sequencer, over its own name and over the other's.
    for signature in [sign(1, &identity), sign(8, &a.identity), sign(77, &identity)] {
        let hello = LinkMessage::Hello { signature, session: 3 };
        silent.behaviour_mut().requests.send_request(&id, hello.encode().unwrap());
    }
    let refused = async {
        let mut failures = 0;
        while failures < 4 {
            if let SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) =
                silent.select_next_some().await
            {
                match event {
                    Event::OutboundFailure { .. } => failures += 1,
                    Event::Message { message: Message::Response { .. }, .. } => {
                        panic!("it was believed")
                    }
                    _ => {}
                }
            }
        }
    };
    timeout(SOON, refused).await.unwrap();
    assert!(a.incoming.transactions.try_recv().is_err());
    drop(silent);
    let mut member = rogue_member(8, identity, &a).await;
    member.behaviour_mut().requests.send_request(&id, request);
    assert!(acknowledged(&mut member).await);
    assert_eq!(next_number(&mut a).await, (listed_as, 0));
}

#[tokio::test]
async fn a_sequencer_that_took_another_key_is_reached_by_both_and_speaks_as_one() {
    for (old, new) in [(2, 200), (200, 2)] {
        let mirror = mirror();
        let mut a = start(&mirror, 1).await;
        // Its agent speaks with the old key; the registry shows both.
        let identity = Keypair::generate_ed25519();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let signature = sign(old, &identity);
        let config =
            NetworkConfig { identity: identity.clone(), listen, domain: domain(), signature };
        let (network, link, mut incoming) = Network::bind(config, mirror.clone()).await.unwrap();
        let address = network.address().clone();
        let shutdown = CancellationToken::new();
        let _running = shutdown.clone().drop_guard();
        tokio::spawn(network.run(shutdown));
        let sequencer = enlist_key(&mirror, 4, old, &identity, &address);
        connected(&a.link, sequencer).await;
        enlist_key(&mirror, 4, new, &identity, &address);
        let both = async {
            while a.link.send(secret(new).address(), &transactions(2, 4)).unwrap()
                == Sent::UnknownPeer
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, both).await.unwrap();
        a.link.send(secret(old).address(), &transactions(1, 4)).unwrap();
        for expected in [2, 1] {
            let delivery = timeout(SOON, incoming.transactions.recv()).await.unwrap().unwrap();
            assert_eq!((delivery.from, number(&delivery)), (a.sequencer, expected));
        }
        connected(&link, a.sequencer).await;
        link.answer(a.sequencer, &transactions(3, 4)).unwrap();
        assert_eq!(next_number(&mut a).await, (sequencer, 3));
    }
}

#[tokio::test]
async fn who_claims_the_name_of_another_cuts_nobody_off() {
    let mirror = mirror();
    let (a, mut victim) = (start(&mirror, 9).await, start(&mirror, 8).await);
    // The liar joined first, and says that it is the victim, somewhere where nobody answers.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let nowhere: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let liar = enlist(&mirror, 1, &victim.identity, &nowhere);
    listed(&a.link, liar).await;
    connected(&a.link, victim.sequencer).await;
    for n in 0..5 {
        // It changes its mind again and again.
        let elsewhere = if n % 2 == 0 { &victim.address } else { &nowhere };
        enlist(&mirror, 1, &victim.identity, elsewhere);
        a.link.send(victim.signer, &transactions(n, 4)).unwrap();
        assert_eq!(next_number(&mut victim).await, (a.sequencer, n));
    }
    let liars = a.link.peers().into_iter().find(|peer| peer.sequencer == liar).unwrap();
    assert!(!liars.connected, "nobody proved to be the liar");
}

/// Keeps so many connections open on which nothing is said, from an address that no endpoint names.
fn silent(count: usize, to: &Node) -> JoinSet<()> {
    let port = to.address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap()));
    let mut all = JoinSet::new();
    for _ in 0..count {
        all.spawn(async move {
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
                let begun = tokio::time::Instant::now();
                if let Ok(mut stream) = socket.connect(target).await {
                    // What the other side says first, and then until it gives up.
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                // Who was refused comes back; who timed out does so at once.
                if begun.elapsed() < Duration::from_secs(1) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        });
    }
    all
}

#[tokio::test]
async fn silent_connections_keep_no_member_out() {
    for count in [64, 500] {
        let mirror = mirror();
        let a = start(&mirror, 1).await;
        let attack = silent(count, &a);
        tokio::time::sleep(Duration::from_millis(300)).await;
        // It can be dialled nowhere, so that it has to come in.
        let identity = Keypair::generate_ed25519();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let signature = sign(2, &identity);
        let nowhere = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
        let sequencer = enlist(&mirror, 2, &identity, &nowhere);
        listed(&a.link, sequencer).await;
        let config = NetworkConfig { identity, listen, domain: domain(), signature };
        let (network, link, _incoming) = Network::bind(config, mirror.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let _running = shutdown.clone().drop_guard();
        tokio::spawn(network.run(shutdown));
        connected(&link, a.sequencer).await;
        connected(&a.link, sequencer).await;
        drop(attack);
    }
}
