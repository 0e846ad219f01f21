//! Stores that are lost, or older than what their key signed, among agents that go on.

use crate::{beside, block_on, metric, plan, record, session, until};
use rota::devnet::Session;
use rota::domain::SequencerStatus;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Whose store is lost, and whose is put back from a backup.
const LOST: usize = 2;
const RESTORED: usize = 3;

fn folder_of(session: &Session, agent: usize) -> PathBuf {
    session.network.folder().join(format!("agent-{agent}"))
}

async fn answers_again(session: &mut Session, agent: usize) {
    session.network.restart(agent).unwrap();
    session.network.answering(Duration::from_secs(120)).await.unwrap();
}

/// Waits until the network has decided for a while.
async fn goes_on(session: &Session) {
    let goal = metric(session, 0, "decided_height").await + 12;
    let height = async || metric(session, 0, "decided_height").await;
    until("the network goes on", async || height().await >= goal).await;
}

/// Waits until an agent that kept silent for this reason signs again, and has caught up.
async fn comes_back(session: &Session, agent: usize, why: &str) {
    let log = fs::read_to_string(folder_of(session, agent).join("agent.log")).unwrap();
    assert!(log.contains(why), "{why}: {log}");
    until("the agent signs again", async || metric(session, agent, "silent").await == 0).await;
    let goal = metric(session, 0, "decided_height").await;
    let height = async || metric(session, agent, "decided_height").await;
    until("the agent has caught up", async || height().await >= goal).await;
}

#[test]
fn a_lost_disk_and_a_backup_that_is_put_back_cost_turns_and_no_stake() {
    let _seat = beside();
    block_on(async {
        let mut plan = plan(4);
        // Has no effect as long as there is a store.
        plan.extra = vec![(LOST, vec!["--new-store".to_owned()])];
        let mut session = session(plan, 10.0).await;
        until("a first batch is settled", || async { session.report().batches > 0 }).await;

        let store = folder_of(&session, RESTORED).join("store.redb");
        session.network.kill(RESTORED).await;
        let backup = fs::read(&store).unwrap();
        answers_again(&mut session, RESTORED).await;
        goes_on(&session).await;
        session.network.kill(RESTORED).await;
        // Into the file that is there, as cp does.
        fs::write(&store, backup).unwrap();
        answers_again(&mut session, RESTORED).await;
        comes_back(&session, RESTORED, "the store's file was moved or copied").await;

        session.network.kill(LOST).await;
        let folder = folder_of(&session, LOST);
        fs::remove_file(folder.join("store.redb")).unwrap();
        fs::remove_file(folder.join("store.redb.seal")).unwrap();
        answers_again(&mut session, LOST).await;
        comes_back(&session, LOST, "the store is new and the key is not").await;
        goes_on(&session).await;

        for signer in session.network.signers() {
            let record = record(&session, signer).await;
            assert_eq!(record.status, SequencerStatus::Active, "{record:?}");
        }
        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}
