//! Whole agents, in one process, against each other.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod net;

use crate::domain::{Height, VoteType};
use crate::rota;
use crate::storage::Store;
use alloy::primitives::Address;
use net::{Agent, Net, soon, transaction};

/// Asserts that both hold the same blocks up to `height`, each certified and by a proposer whose turn it was.
fn assert_one_chain(net: &Net, a: &Store, b: &Store, height: u64) {
    let mirror = net.mirror.read();
    for at in (1..=height).map(Height::new) {
        let decided = a.block(at).unwrap().unwrap();
        let header = &decided.block.header;
        assert_eq!(decided.block, b.block(at).unwrap().unwrap().block);

        let (_, parent) = a.header(at.previous().unwrap()).unwrap().unwrap();
        assert_eq!(header.parent_hash, parent.hash());
        let set = mirror.set_for(header.generation, header.epoch).unwrap();
        let order = rota::order(&mirror.params, &parent, header.epoch, &set);
        let round = decided.certificate.round;
        let until_now = &order[..order.len().min(round.get() as usize + 1)];
        let could = until_now.iter().any(|place| set.members()[*place].signer == header.proposer);
        assert!(could, "height {at}: {} had no turn", header.proposer);

        let vote = crate::domain::Vote {
            generation: header.generation,
            height: at,
            round,
            block_hash: header.hash(),
        };
        let digest = net.domain.vote(VoteType::Precommit, &vote);
        let weight: u64 = decided
            .certificate
            .signatures
            .iter()
            .map(|(signer, signature)| {
                let signer = Address::new(signer.0);
                assert_eq!(signature.recover(digest), Ok(signer));
                set.members()[set.index_of(signer).unwrap()].weight
            })
            .sum();
        assert!(set.is_quorum(weight), "height {at}");
    }
}

async fn all_reach(agents: &mut [Agent], height: u64) {
    for agent in agents {
        agent.reaches(height).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_agents_decide_one_chain_with_every_transaction_once() {
    let net = Net::new(4, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 1).await;
    let transactions: Vec<_> = (0..60).map(transaction).collect();
    for tx in &transactions {
        for agent in &agents {
            agent.source.submit(tx.clone());
        }
        agents[0].decides(tx).await;
    }
    all_reach(&mut agents, 24).await;
    for agent in &mut agents {
        agent.decides(transactions.last().unwrap()).await;
    }

    for agent in &agents[1..] {
        assert_one_chain(&net, &agents[0].store, &agent.store, 24);
    }
    let tip = agents[0].store.decided_tip().unwrap().unwrap().0;
    let mut seen = Vec::new();
    for at in (1..=tip.get()).map(Height::new) {
        let block = agents[0].store.block(at).unwrap().unwrap().block;
        seen.extend(block.transactions.iter().map(|tx| tx.hash()));
    }
    let sent: Vec<_> = transactions.iter().map(|tx| tx.hash()).collect();
    assert_eq!(seen, sent);
    for agent in agents {
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_stopped_catches_up_and_votes_again() {
    let net = Net::new(4, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 5).await;
    let stopped = agents.pop().unwrap();
    stopped.stop().await;
    let away = agents[0].store.decided_tip().unwrap().unwrap().0.get();
    all_reach(&mut agents, away + 15).await;

    agents.push(net.start(3));
    all_reach(&mut agents, away + 20).await;
    assert_one_chain(&net, &agents[0].store, &agents[3].store, away + 20);

    let back = net.seats[3].address;
    let votes_again = async {
        loop {
            let tip = agents[0].store.decided_tip().unwrap().unwrap().0;
            let decided = agents[0].store.block(tip).unwrap().unwrap();
            if decided.certificate.signatures.iter().any(|(by, _)| Address::new(by.0) == back) {
                return;
            }
            agents[0].decided.changed().await.unwrap();
        }
    };
    soon("a vote of the agent that came back", votes_again).await;
    for agent in agents {
        agent.stop().await;
    }
}
