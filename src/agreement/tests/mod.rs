//! Whole agents, in one process, against each other.

#![expect(clippy::arithmetic_side_effects, reason = "tests")]

mod left_behind;
mod lost_disk;
pub(super) mod net;
mod parts;
mod restart;
mod restarts;
mod wire;

use super::codec::BorshCodec;
use super::context::{BlockId, RotaContext};
#[cfg(feature = "byzantine")]
use crate::agreement::Against;
use crate::agreement::Timeouts;
use crate::domain::{Epoch, Generation, Height, Round, Signer, VoteType};
use crate::rota;
use crate::storage::{Ballot, BallotKind, BallotRecord, Store};
use alloy::primitives::Address;
use malachitebft_core_consensus::Input;
use malachitebft_core_types::{
    Context as _, LinearTimeouts, NilOrVal, Proposal as _, Round as EngineRound, SignedMessage,
    Vote as _,
};
use malachitebft_engine::wal::{decode_entry, encode_entry};
use net::{Agent, Net, soon, transaction};
use std::collections::BTreeSet;
use std::time::Duration;

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

/// Asserts that what a store's log holds of a key's own messages is what the guard has records of, at the log's height;
/// returns how many there are. The two are of one transaction, save for a proposal: its signature leaves with the block, so
/// its record may be there before the log's entry, but never without the block, which is proposed again then.
pub(super) fn compare_log_and_guard(store: &Store, signer: Address) -> usize {
    let own = Signer(signer.0.0);
    let mut logged = BTreeSet::new();
    let mut places = BTreeSet::new();
    for (generation, height, entry) in store.engine_log() {
        places.insert((generation, height));
        let (kind, round, hash) = match decode_entry(&BorshCodec, entry.as_slice()).unwrap() {
            Input::Vote(vote) if *vote.validator_address() == own => {
                let (vote_type, signed) = vote.message.to_domain(generation).unwrap();
                let kind = match vote_type {
                    VoteType::Prevote => BallotKind::Prevote,
                    VoteType::Precommit => BallotKind::Precommit,
                };
                (kind, signed.round, signed.block_hash)
            }
            Input::Proposal(proposal) if *proposal.validator_address() == own => {
                let signed = proposal.message.to_domain(generation).unwrap();
                (BallotKind::Proposal, signed.round, signed.block_hash)
            }
            _ => continue,
        };
        logged.insert((Ballot { signer, kind, generation, height, round }, hash.0));
    }
    assert!(places.len() <= 1, "a log of several heights: {places:?}");
    let running = store.decided_tip().unwrap().map(|(height, _)| height.next());
    places.extend(running.map(|height| (Generation::new(0), height)));
    let mut recorded = BTreeSet::new();
    for (generation, height) in places {
        for (ballot, record) in store.ballots_at(signer, generation, height).unwrap() {
            recorded.insert((ballot, record.block_hash));
        }
    }
    let unrecorded: Vec<_> = logged.difference(&recorded).collect();
    assert!(unrecorded.is_empty(), "in the log and not on record: {unrecorded:?}");
    for (ballot, hash) in recorded.difference(&logged) {
        assert_eq!(ballot.kind, BallotKind::Proposal, "on record and not in the log: {ballot:?}");
        let kept = store.own_proposals(ballot.generation, ballot.height).unwrap();
        assert!(kept.contains(&(ballot.round, (*hash).into())), "no block for {ballot:?}");
        assert!(store.undecided(ballot.height, (*hash).into()).unwrap().is_some(), "{ballot:?}");
    }
    logged.len()
}

async fn all_reach(agents: &mut [Agent], height: u64) {
    for agent in agents {
        agent.reaches(height).await;
    }
}

/// Waits until the newest block at `agent` carries a precommit of `member`.
async fn votes(agent: &mut Agent, member: Address) {
    let voted = async {
        loop {
            let tip = agent.store.decided_tip().unwrap().unwrap().0;
            let decided = agent.store.block(tip).unwrap().unwrap();
            if decided.certificate.signatures.iter().any(|(by, _)| Address::new(by.0) == member) {
                return;
            }
            agent.decided.changed().await.unwrap();
        }
    };
    soon("a vote is counted", voted).await;
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

    votes(&mut agents[0], net.seats[3].address).await;
    for agent in agents {
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_votes_from_the_first_height_whose_set_holds_it() {
    let net = Net::new(5, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 4).await;
    net.seal(1, &[0, 1, 2, 3, 4]);
    net.mine_through(80);
    votes(&mut agents[0], net.seats[4].address).await;

    let tip = agents[0].store.decided_tip().unwrap().unwrap().0;
    agents[4].reaches(tip.get()).await;
    let (_, header) = agents[4].store.header(tip).unwrap().unwrap();
    assert_eq!(header.epoch, Epoch::new(1));
    assert_one_chain(&net, &agents[0].store, &agents[4].store, tip.get());
    for agent in agents {
        agent.stop().await;
    }
}

/// Plants a record of another block.
fn plant(seat: &net::Seat, kind: BallotKind, height: Height) {
    let store = Store::open(seat.store_path()).unwrap();
    let another = BallotRecord {
        block_hash: [9; 32],
        pol_round: -1,
        signature: seat.secret().sign([9; 32].into()),
    };
    let position = Ballot {
        signer: seat.address,
        kind,
        generation: Generation::new(0),
        height,
        round: Round::new(0),
    };
    store.record_ballot(&position, &another).unwrap();
}

/// Plants a prevote for another block, in the log too.
fn plant_logged_prevote(net: &Net, seat: &net::Seat, height: Height) {
    let value = NilOrVal::Val(BlockId([9; 32]));
    let vote = RotaContext.new_prevote(height, EngineRound::ZERO, value, Signer(seat.address.0.0));
    let (vote_type, signed) = vote.to_domain(Generation::new(0)).unwrap();
    let signature = seat.secret().sign(net.domain.vote(vote_type, &signed));
    let mut entry = Vec::new();
    let input = Input::Vote(SignedMessage::new(vote, signature));
    encode_entry(input, &BorshCodec, &mut entry).unwrap();
    let ballot = Ballot {
        signer: seat.address,
        kind: BallotKind::Prevote,
        generation: signed.generation,
        height,
        round: signed.round,
    };
    let record = BallotRecord { block_hash: signed.block_hash.0, pol_round: -1, signature };
    let store = Store::open(seat.store_path()).unwrap();
    store.append_engine_log(signed.generation, height, 0, &[entry], &[(ballot, record)]).unwrap();
}

/// What a seat's own records hold of a height, by kind, for round 0.
fn said(agent: &Agent, signer: Address, height: Height) -> Vec<(BallotKind, [u8; 32])> {
    let ballots = agent.store.ballots_at(signer, Generation::new(0), height).unwrap();
    let first = ballots.into_iter().filter(|(ballot, _)| ballot.round == Round::new(0));
    first.map(|(ballot, record)| (ballot.kind, record.block_hash)).collect()
}

/// Whether a member whose prevote was refused precommits in that very round. The others are a quorum without it: on a busy
/// machine they may be done with the height before it has met them, and what it did not say tells nothing then.
async fn precommits_where_its_prevote_is_refused() -> bool {
    const HEIGHT: Height = Height::new(1);
    let net = Net::new(4, 4);
    let refused = net.seats[0].address;
    plant_logged_prevote(&net, &net.seats[0], HEIGHT);
    let mut agents = net.start_all();
    all_reach(&mut agents, HEIGHT.get() + 3).await;

    let said = said(&agents[0], refused, HEIGHT);
    assert!(said.contains(&(BallotKind::Prevote, [9; 32])), "the record stands: {said:?}");
    let precommitted = said.iter().any(|(kind, _)| *kind == BallotKind::Precommit);
    votes(&mut agents[1], refused).await;
    assert_one_chain(&net, &agents[0].store, &agents[1].store, HEIGHT.get() + 3);
    for agent in &mut agents[1..] {
        assert!(agent.evidence.try_recv().is_err(), "somebody was seen to sign twice");
    }
    for agent in agents {
        agent.stop().await;
    }
    precommitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_guard_keeps_back_one_message_and_the_engine_goes_on() {
    for _ in 0..20 {
        if precommits_where_its_prevote_is_refused().await {
            return;
        }
    }
    panic!("a refused prevote kept a precommit back each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_bound_to_another_block_sits_out_the_height_and_then_votes_again() {
    const HEIGHT: Height = Height::new(3);
    let net = Net::new(4, 4);
    let refused = net.seats[0].address;
    plant(&net.seats[0], BallotKind::Precommit, HEIGHT);
    let mut agents = net.start_all();
    all_reach(&mut agents, HEIGHT.get() + 3).await;

    let decided = agents[1].store.block(HEIGHT).unwrap().unwrap();
    let voted = decided.certificate.signatures.iter().any(|(by, _)| by.0 == refused.0.0);
    assert!(!voted, "a refused vote was counted");
    votes(&mut agents[1], refused).await;
    assert_one_chain(&net, &agents[0].store, &agents[1].store, HEIGHT.get() + 3);
    for agent in agents {
        agent.stop().await;
    }
}

#[cfg(feature = "byzantine")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_agents_prove_that_an_equivocator_signed_twice() {
    use crate::domain::Evidence;

    let net = Net::new(4, 4);
    let mut agents: Vec<_> = (0..4)
        .map(|i| {
            net.start_with(i, |config| {
                config.faults.equivocate = (i == 0).then_some(2..=10_000);
            })
        })
        .collect();
    let (mut double_votes, mut double_proposals) = (0, 0);
    let offences = async {
        while double_votes == 0 || double_proposals == 0 {
            let evidence = agents[1].evidence.recv().await.unwrap();
            assert_eq!(evidence.offender(), net.seats[0].address);
            match evidence {
                Evidence::DoubleVote { offender, vote_type, a, b } => {
                    assert_ne!(a.0.block_hash, b.0.block_hash);
                    for (vote, signature) in [a, b] {
                        let digest = net.domain.vote(vote_type, &vote);
                        assert_eq!(signature.recover(digest), Ok(offender));
                    }
                    double_votes += 1;
                }
                Evidence::DoubleProposal { offender, a, b } => {
                    assert_ne!(a.0.block_hash, b.0.block_hash);
                    for (proposal, signature) in [a, b] {
                        let digest = net.domain.proposal(&proposal);
                        assert_eq!(signature.recover(digest), Ok(offender));
                    }
                    double_proposals += 1;
                }
                Evidence::DoubleAttestation { .. } => panic!("nobody attests here"),
            }
        }
    };
    soon("both offences are proven", offences).await;
    let tip = agents[1].store.decided_tip().unwrap().unwrap().0.get();
    all_reach(&mut agents[1..], tip + 10).await;
    assert_one_chain(&net, &agents[1].store, &agents[2].store, tip + 10);
    for agent in agents {
        agent.stop().await;
    }
}

#[cfg(feature = "byzantine")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_clock_is_off_learns_it_and_stops_nobody() {
    for off in [20_000, -20_000] {
        let net = Net::new(4, 4);
        let mut agents: Vec<_> = (0..4)
            .map(|i| {
                net.start_with(i, |config| {
                    config.faults.clock_off_millis = if i == 0 { off } else { 0 };
                })
            })
            .collect();
        let drift = net.mirror.read().params.drift();
        let learns = async {
            loop {
                if let Some(fault) = agents[0].clock.fault(drift) {
                    assert_eq!(fault.millis.signum(), off.signum(), "{fault:?}");
                    assert_eq!(fault.against, Against::Peers);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the agent learns that its clock is off", learns).await;
        let tip = agents[1].store.decided_tip().unwrap().unwrap().0.get();
        all_reach(&mut agents, tip + 10).await;
        assert_one_chain(&net, &agents[0].store, &agents[1].store, tip + 10);
        for agent in agents {
            agent.stop().await;
        }
    }
}

#[test]
fn a_proposer_that_cannot_be_reached_costs_less_and_changes_no_later_round() {
    let timeouts = Timeouts::for_interval(Duration::from_millis(250));
    let (usual, without) = (LinearTimeouts::from(timeouts), timeouts.without_first_proposer());

    assert!(without.propose < usual.propose);
    let second = |timeouts: LinearTimeouts| timeouts.propose.saturating_add(timeouts.propose_delta);
    assert_eq!(second(without), second(usual));
    assert_eq!((without.prevote, without.precommit), (usual.prevote, usual.precommit));
}
