//! Stores that do not know all that their key has signed: lost, older, put back, or in two places at once. None of them signs
//! what contradicts it (R46, R47).

use super::net::{Agent, Net, soon, transaction};
use super::{all_reach, votes};
use crate::agreement::{Silence, doubt_of};
use crate::domain::{Evidence, Height};
use crate::storage::Store;
use std::path::{Path, PathBuf};

/// What became of the store of the last member while it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Wiped,
    /// A backup was restored.
    OlderCopy,
    /// A backup's bytes were written into the file that is there.
    Overwritten,
    /// An image of the machine was put back: the same file to all that can be asked.
    PutBack,
}

/// What the network does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Idle,
    Traffic,
    /// Two of four are gone: nothing is decided, and all vote again and again.
    Partition,
}

const MEMBER: usize = 3;

fn tip(agent: &Agent) -> u64 {
    agent.store.decided_tip().unwrap().map_or(0, |(height, _)| height.get())
}

/// A copy of what is on the disk of a running agent.
fn backup(agent: &Agent) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    agent.store.back_up(&folder.path().join("rota.redb"));
    // The file itself, as an image of the disk holds it.
    std::fs::hard_link(seal(&agent.path), folder.path().join("rota.redb.seal")).unwrap();
    folder
}

fn seal(store: &Path) -> PathBuf {
    store.with_extension("redb.seal")
}

fn damage(damage: Damage, backup: &Path, path: &Path) {
    match damage {
        Damage::Wiped => std::fs::remove_file(path).unwrap(),
        Damage::OlderCopy => {
            std::fs::remove_file(path).unwrap();
            std::fs::copy(backup, path).unwrap();
        }
        Damage::Overwritten => std::fs::write(path, std::fs::read(backup).unwrap()).unwrap(),
        Damage::PutBack => {
            std::fs::write(path, std::fs::read(backup).unwrap()).unwrap();
            std::fs::rename(seal(backup), seal(path)).unwrap();
        }
    }
}

fn offences(agents: &mut [Agent]) -> Vec<Evidence> {
    agents
        .iter_mut()
        .flat_map(|agent| std::iter::from_fn(|| agent.evidence.try_recv().ok()))
        .collect()
}

async fn is_never_guilty(harm: Damage, weather: Weather) {
    let mut net = Net::new(4, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 4).await;
    let path = net.seats[MEMBER].store_path();
    let backup = backup(&agents[MEMBER]);
    if weather == Weather::Traffic {
        for nonce in 0..200 {
            agents.iter().for_each(|agent| agent.source.submit(transaction(nonce)));
        }
    }
    let before = tip(&agents[0]) + 6;
    all_reach(&mut agents, before).await;
    let lost = agents.pop().unwrap();
    let mut gone = Vec::new();
    if weather == Weather::Partition {
        for agent in agents.drain(1..) {
            agent.stop().await;
        }
        gone = vec![1, 2];
        // The last vote of the member that is in two minds afterwards is at a height that nobody decides.
        let stuck = Height::new(tip(&agents[0]).max(tip(&lost)) + 1);
        let address = net.seats[MEMBER].address;
        let voted = async {
            let generation = crate::domain::Generation::new(0);
            while lost.store.ballots_at(address, generation, stuck).unwrap().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon("it votes at the height that is stuck", voted).await;
    }
    lost.stop().await;

    damage(harm, &backup.path().join("rota.redb"), &path);
    net.lost = true;
    agents.push(net.start(MEMBER));
    let back = agents.len() - 1;
    let doubted = agents[back].quiet.borrow().silence;
    match harm {
        Damage::Wiped => assert_eq!(doubted, Some(Silence::New)),
        Damage::OlderCopy | Damage::Overwritten => assert_eq!(doubted, Some(Silence::Moved)),
        Damage::PutBack => assert_eq!(doubted, None, "there is nothing to see on it"),
    }
    for seat in gone {
        agents.insert(agents.len() - 1, net.start(seat));
    }
    let goal = before + 12;
    all_reach(&mut agents, goal).await;
    votes(&mut agents[0], net.seats[MEMBER].address).await;
    let sure = agents.last_mut().unwrap().quiet.wait_for(|quiet| quiet.silence.is_none()).await;
    assert_eq!(sure.unwrap().silence, None);
    let goal = tip(&agents[0]) + 4;
    all_reach(&mut agents, goal).await;
    assert_eq!(offences(&mut agents), []);
    for agent in agents {
        agent.stop().await;
    }
}

/// One test for each kind of damage in each weather.
macro_rules! matrix {
    ($($name:ident: $damage:ident in $weather:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                is_never_guilty(Damage::$damage, Weather::$weather).await;
            }
        )*
    };
}

matrix! {
    a_wiped_store_in_an_idle_network: Wiped in Idle;
    a_wiped_store_under_traffic: Wiped in Traffic;
    a_wiped_store_in_a_network_that_is_stuck: Wiped in Partition;
    an_older_copy_in_an_idle_network: OlderCopy in Idle;
    an_older_copy_under_traffic: OlderCopy in Traffic;
    an_older_copy_in_a_network_that_is_stuck: OlderCopy in Partition;
    a_backup_written_into_the_file_under_traffic: Overwritten in Traffic;
    an_image_that_was_put_back_in_an_idle_network: PutBack in Idle;
    an_image_that_was_put_back_under_traffic: PutBack in Traffic;
}

/// The same key, name and store on two machines, both started. The second listens first. Peers may well send to it what was
/// meant for the first, which then hears nothing and says nothing: the second goes on in its place, and the first, once it meets
/// what the other has signed, keeps silent. However it comes out, nobody sees the key sign twice.
async fn two_machines(weather: Weather) {
    let net = Net::new(4, 4);
    let mut agents = net.start_all();
    all_reach(&mut agents, 4).await;
    let copy = backup(&agents[MEMBER]);
    let store = copy.path().join("rota.redb");
    let address = net.seats[MEMBER].address;
    assert_eq!(
        doubt_of(&Store::open(&store).unwrap(), address, true).unwrap(),
        Some(Silence::Moved)
    );

    let twin = net.start_elsewhere(MEMBER, store);
    if weather == Weather::Partition {
        for agent in agents.drain(1..3) {
            agent.stop().await;
        }
        agents.insert(1, net.start(1));
        agents.insert(2, net.start(2));
    }
    for nonce in 0..if weather == Weather::Idle { 0 } else { 100 } {
        agents.iter().for_each(|agent| agent.source.submit(transaction(nonce)));
    }
    let goal = tip(&agents[0]) + 60;
    all_reach(&mut agents[..3], goal).await;
    assert_eq!(offences(&mut agents), []);
    twin.stop().await;
    for agent in agents {
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_a_second_machine_in_an_idle_network() {
    two_machines(Weather::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_a_second_machine_under_traffic() {
    two_machines(Weather::Traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_a_second_machine_in_a_network_that_is_stuck() {
    two_machines(Weather::Partition).await;
}
