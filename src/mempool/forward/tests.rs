#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use super::{Forwarder, receive};
use crate::agreement::BlockSource;
use crate::crypto::SigningDomain;
use crate::domain::{
    Epoch, Generation, Height, LeaderSet, Member, PeerEndpoint, RollupId, RollupTransaction,
    SequencerId,
};
use crate::mempool::{Limits, Origin, Pool};
use crate::network::{Incoming, Link, LinkMessage, Network, NetworkConfig};
use crate::testing::{ROLLUP, Surroundings, key, params, raw_transaction, transaction};
use alloy::primitives::{Address, B256};
use libp2p::identity::Keypair;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes nearly as long; the machine may be busy.
const SOON: Duration = Duration::from_secs(120);

struct Agent {
    signer: Address,
    around: Surroundings,
    pool: Arc<Pool>,
    link: Link,
    incoming: Option<Incoming>,
    endpoint: PeerEndpoint,
    decided: watch::Sender<Height>,
    shutdown: CancellationToken,
    _running: DropGuard,
}

/// Agents in one leader set, linked with each other, on the same chain of one block.
async fn agents(count: u8) -> Vec<Agent> {
    let mut agents = Vec::new();
    for n in 1..=count {
        let around = Surroundings::new(params());
        let identity = Keypair::generate_ed25519();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let secret = key(n);
        let domain = SigningDomain::new(1, Address::ZERO);
        let name = identity.public().to_peer_id();
        let signature = secret.sign(domain.link(&name.to_bytes()));
        let config = NetworkConfig { identity, listen, domain, signature };
        let (network, link, incoming) = Network::bind(config, around.mirror.clone()).await.unwrap();
        let signer = secret.address();
        let at = format!("{}/p2p/{name}", network.address());
        let endpoint = PeerEndpoint {
            id: SequencerId::new(n.into()),
            signer,
            agreement: String::new(),
            link: at,
        };
        let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone());
        let shutdown = CancellationToken::new();
        tokio::spawn(network.run(shutdown.clone()));
        agents.push(Agent {
            signer,
            around,
            pool: Arc::new(pool.unwrap()),
            link,
            incoming: Some(incoming),
            endpoint,
            decided: watch::Sender::new(Height::new(0)),
            _running: shutdown.clone().drop_guard(),
            shutdown,
        });
    }
    let mut members: Vec<_> =
        agents.iter().map(|one| Member { signer: one.signer, weight: 1 }).collect();
    members.sort_by_key(|one| one.signer);
    let set =
        LeaderSet::new(Generation::new(0), Epoch::new(0), B256::repeat_byte(9), members).unwrap();
    let set = Arc::new(set);
    for agent in &agents {
        agent.around.mirror.update(|mirror| {
            mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::clone(&set));
            mirror.peers.extend(agents.iter().map(|one| (one.signer, one.endpoint.clone())));
        });
    }
    for agent in &mut agents {
        let forwarder = Forwarder {
            pool: Arc::clone(&agent.pool),
            link: agent.link.clone(),
            store: agent.around.store.clone(),
            mirror: agent.around.mirror.clone(),
            own: agent.signer,
        };
        tokio::spawn(forwarder.run(agent.decided.subscribe(), agent.shutdown.clone()));
        let incoming = agent.incoming.take().unwrap();
        let (pool, link) = (Arc::clone(&agent.pool), agent.link.clone());
        tokio::spawn(receive(pool, link, incoming.transactions, agent.shutdown.clone()));
    }
    until(|| agents.iter().all(|one| connections(one) + 1 == agents.len())).await;
    agents
}

fn connections(agent: &Agent) -> usize {
    agent.link.peers().iter().filter(|peer| peer.connected).count()
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, met).await.expect("happens soon");
}

/// Every agent decides the next block, by `proposer` and with nothing in it.
fn decide(agents: &[Agent], proposer: Address) {
    for agent in agents {
        let height = agent.around.decide_by(proposer, &[]);
        agent.decided.send_replace(height);
    }
}

#[tokio::test]
async fn clients_transactions_reach_the_leader_in_order() {
    let agents = agents(2).await;
    decide(&agents, agents[1].signer);
    let from = key(7);
    for nonce in 0..20 {
        agents[0].pool.admit(transaction(&from, nonce), Origin::Local).unwrap();
        agents[0].pool.announce();
    }
    until(|| agents[1].pool.waiting().transactions == 20).await;
    let open = |_| true;
    let block = agents[1].pool.collect(1 << 20, &open);
    assert_eq!(block[19].raw, raw_transaction(&from, 19));
    assert!(!agents[1].pool.is_local(transaction(&from, 0).hash));
}

#[tokio::test]
async fn every_member_gets_what_clients_gave_one() {
    let agents = agents(4).await;
    decide(&agents, agents[1].signer);
    for nonce in 0..20 {
        agents[0].pool.admit(transaction(&key(7), nonce), Origin::Local).unwrap();
        agents[0].pool.announce();
    }
    until(|| agents.iter().all(|one| one.pool.waiting().transactions == 20)).await;
    let hash = transaction(&key(7), 19).hash;
    let keepers = agents.iter().filter(|one| one.pool.is_local(hash)).count();
    assert_eq!(keepers, 1, "only who promised it has to keep it");
}

#[tokio::test]
async fn whoever_becomes_leader_gets_what_waits() {
    let agents = agents(4).await;
    // The turn has a sticky holder, so that the test chooses who leads.
    decide(&agents, agents[1].signer);
    let waiting = transaction(&key(7), 0);
    let hash = waiting.hash;
    agents[0].pool.admit(waiting, Origin::Local).unwrap();
    agents[0].pool.announce();
    until(|| agents.iter().all(|one| one.pool.waiting().transactions == 1)).await;
    for other in [2, 3] {
        // A copy is its holder's to drop.
        agents[other].pool.retract(&[hash]);
        decide(&agents, agents[other].signer);
        until(|| agents[other].pool.waiting().transactions == 1).await;
    }
}

#[tokio::test]
async fn a_transaction_that_no_honest_agent_forwards_costs_the_link() {
    let elsewhere =
        RollupTransaction { rollup: RollupId::new(7), raw: raw_transaction(&key(7), 1) };
    let raw = raw_transaction(&key(7), 0);
    let cut = RollupTransaction { rollup: ROLLUP, raw: raw.slice(..raw.len() - 1) };
    for bad in [elsewhere, cut] {
        let agents = agents(2).await;
        let message = LinkMessage::Transactions(vec![bad]);
        agents[0].link.send(agents[1].signer, &message).unwrap();
        until(|| connections(&agents[1]) == 0).await;
        assert_eq!(agents[1].pool.waiting().transactions, 0);
    }
}
