//! Ends and starts of the process, again and again, at every write: an agent that has its store goes on voting.

use super::net::{Agent, Net, soon};
use super::{all_reach, assert_one_chain, compare_log_and_guard};
use crate::storage::Store;

fn tip(agent: &Agent) -> u64 {
    agent.store.decided_tip().unwrap().map_or(0, |(height, _)| height.get())
}

/// Asserts that the log and the guard of a seat's store say the same.
fn inspect(net: &Net, seat: usize) {
    let store = Store::open(net.seats[seat].store_path()).unwrap();
    compare_log_and_guard(&store, net.seats[seat].address);
}

/// Runs a seat until its process has died after this many writes, and puts back what the disk then held.
async fn kill_after(net: &Net, agent: Agent, seat: usize, writes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let remains = folder.path().join("rota.redb");
    let path = net.seats[seat].store_path();
    agent.store.die_after(writes, path.clone(), remains.clone());
    let dies = async {
        while !agent.store.is_dead() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("the process dies", dies).await;
    // Whatever it says to that: nothing of it was written.
    let _ = agent.end().await;
    std::fs::copy(remains, path).unwrap();
    inspect(net, seat);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_that_was_killed_at_any_write_goes_on() {
    let net = Net::new(1, 1);
    let mut agent = net.start(0);
    agent.reaches(2).await;
    for writes in 1..=14 {
        kill_after(&net, agent, 0, writes).await;
        agent = net.start(0);
        let before = tip(&agent);
        agent.reaches(before + 1).await;
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_that_is_stopped_again_and_again_goes_on() {
    let net = Net::new(1, 1);
    for round in 0..25_u64 {
        let mut agent = net.start(0);
        let before = tip(&agent);
        agent.reaches(before + 1).await;
        // Somewhere within a height; where is left to the machine.
        tokio::time::sleep(std::time::Duration::from_micros(round * 3_700 % 50_000)).await;
        agent.stop().await;
        inspect(&net, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_four_that_was_killed_at_any_write_votes_again_and_is_never_guilty() {
    let net = Net::new(4, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 2).await;
    for writes in 1..=10 {
        let killed = agents.pop().unwrap();
        kill_after(&net, killed, 3, writes).await;
        agents.push(net.start(3));
        let goal = tip(&agents[0]) + 2;
        all_reach(&mut agents, goal).await;
        super::votes(&mut agents[0], net.seats[3].address).await;
    }
    let height = tip(&agents[3]);
    assert_one_chain(&net, &agents[0].store, &agents[3].store, height);
    for agent in &mut agents {
        assert!(agent.evidence.try_recv().is_err(), "somebody was seen to sign twice");
    }
    for (seat, agent) in agents.into_iter().enumerate() {
        agent.stop().await;
        inspect(&net, seat);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_are_stopped_at_once_and_go_on() {
    let net = Net::new(4, 4);
    for _ in 0..4 {
        let mut agents = net.start_all();
        let goal = agents.iter().map(tip).max().unwrap() + 2;
        all_reach(&mut agents, goal).await;
        for (seat, mut agent) in agents.into_iter().enumerate() {
            assert!(agent.evidence.try_recv().is_err(), "somebody was seen to sign twice");
            agent.stop().await;
            inspect(&net, seat);
        }
    }
}
