//! More than a third of the stake is gone for good (R33): what docs/OPERATIONS.md tells the others to do.

use crate::{beside, block_on, metric, plan, session, until};
use rota::devnet::Session;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// The key of Anvil's first account: anybody who has ETH.
const ANYBODY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// About the shortest that fit each other: a restart is due after 32 s without a settled batch, in windows of 20 s.
const SHORT: [(&str, u64); 5] = [
    ("epochSeconds", 30),
    ("escapeDelaySeconds", 24),
    ("idleBatchAgeSeconds", 8),
    ("restartDelaySeconds", 32),
    ("restartWindowSeconds", 20),
];

#[test]
fn half_of_the_stake_is_gone_and_the_others_go_on_with_all_that_was_accepted() {
    let _seat = beside();
    block_on(async {
        let mut plan = plan(4);
        plan.params = SHORT.to_vec();
        // Long enough for a person at a slow machine, who calls six commands in it.
        plan.params.push(("restartWindowSeconds", 60));
        // One agent leaves checking in to its operator.
        plan.extra = vec![(1, vec!["--restart-duty".to_owned(), "none".to_owned()])];
        let mut session = session(plan, 10.0).await;
        until("batches are settled", || async { session.report().batches > 2 }).await;
        let desk = Desk::of(&session);
        let refused = desk.refused(&["open"]);
        assert!(refused.contains("a restart can be opened in"), "{refused}");

        session.network.kill(2).await;
        session.network.kill(3).await;
        until("a restart is due", || async { desk.done(&["status"])["stage"] == "due" }).await;
        let settled = session.settled_height();
        let [here, there] =
            [0, 1].map(|agent| crate::client(session.network.rpc_urls()[agent].clone()));
        let undone = status(&here).await["decided"]["height"].as_u64().unwrap();

        let opened = desk.done(&["open"]);
        assert_eq!(opened["opened"], true, "{opened}");
        assert_eq!(desk.done(&["open"])["opened"], false, "it is open already");
        let early = desk.refused(&["finish"]);
        assert!(early.contains("check-in ends in"), "{early}");
        until("an agent has checked in by itself", || async {
            desk.done(&["status"])["checkedIn"] == 1
        })
        .await;
        let checked_in = desk.check_in(1);
        assert_eq!(checked_in["checkedIn"], true, "{checked_in}");
        assert_eq!(checked_in["status"]["checkedIn"], 2, "{checked_in}");
        assert_eq!(desk.check_in(0)["checkedIn"], false, "its agent was faster");

        until("check-in is over", || async { desk.done(&["status"])["stage"] == "finish" }).await;
        let begun = desk.done(&["finish"]);
        assert_eq!((&begun["generation"], &begun["lastHeight"]), (&json!(1), &json!(settled)));
        until("an agent counts in the new generation", || async {
            metric(&session, 0, "generation").await == 1
        })
        .await;
        for agent in [&here, &there] {
            until("the agents go over to the new generation", || async {
                status(agent).await["generation"] == 1
            })
            .await;
        }
        until("batches of the new generation settle", || async {
            session.settled_height().get() > settled.get().max(undone) + 8
        })
        .await;

        // Who comes back late takes up the chain that it finds.
        session.network.restart(3).unwrap();
        let late = crate::client(session.network.rpc_urls()[3].clone());
        until("an agent that was away follows the new generation", || async {
            let status = status(&late).await;
            let decided = status["decided"]["height"].as_u64();
            status["generation"] == 1 && decided > Some(undone)
        })
        .await;

        // It missed the check-in and says by itself that it is back.
        until("its sequencer is in a set again", || async {
            let schedule = here.call("rota_schedule", json!([])).await.unwrap_or_default();
            schedule["members"].as_array().is_some_and(|members| members.len() == 3)
        })
        .await;

        everything_settles_once(session).await;
    });
}

#[test]
fn agents_that_are_told_to_bring_the_network_back_by_themselves() {
    let _seat = beside();
    block_on(async {
        let mut plan = plan(4);
        plan.params = SHORT.to_vec();
        let all = || vec!["--restart-duty".to_owned(), "all".to_owned()];
        plan.extra = (0..4).map(|agent| (agent, all())).collect();
        let mut session = session(plan, 10.0).await;
        until("batches are settled", || async { session.report().batches > 2 }).await;

        session.network.kill(0).await;
        session.network.kill(1).await;
        let agent = crate::client(session.network.rpc_urls()[2].clone());
        let generation = status(&agent).await["generation"].as_u64().unwrap();
        until("a generation begins", || async {
            status(&agent).await["generation"].as_u64() > Some(generation)
        })
        .await;
        let settled = session.settled_height();
        until("its batches settle", || async { session.settled_height() > settled }).await;

        everything_settles_once(session).await;
    });
}

async fn everything_settles_once(mut session: Session) {
    session.stop_sending();
    crate::settle(&mut session).await;
    let report = session.end().await;
    assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    assert_eq!(report.sent, report.settled, "{report:?}");
}

/// What an agent says of itself; null while it does not answer.
async fn status(agent: &RpcClient) -> Value {
    agent.call("rota_status", json!([])).await.unwrap_or_default()
}

/// Where `rota restart` is called.
struct Desk {
    l1: String,
    folder: PathBuf,
}

impl Desk {
    fn of(session: &Session) -> Self {
        let network = &session.network;
        Self { l1: network.l1_url().to_string(), folder: network.folder().to_owned() }
    }

    fn rota(&self, change: impl FnOnce(&mut Command)) -> (bool, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
        command
            .args(["--json", "restart"])
            .env("ROTA_L1_RPC", &self.l1)
            .env("ROTA_DEPLOYMENT", self.folder.join("deployment.json"));
        change(&mut command);
        let output = command.output().unwrap();
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), answer)
    }

    fn by_anybody(&self, arguments: &[&str]) -> (bool, Value) {
        self.rota(|command| {
            command.args(arguments).env("ROTA_OWNER_KEY", ANYBODY);
        })
    }

    fn done(&self, arguments: &[&str]) -> Value {
        let (done, answer) = self.by_anybody(arguments);
        assert!(done, "{arguments:?}: {answer}");
        answer
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (done, answer) = self.by_anybody(arguments);
        assert!(!done, "{arguments:?}: {answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    /// Checks in with the hot key of an agent.
    fn check_in(&self, agent: usize) -> Value {
        let folder = self.folder.join(format!("agent-{agent}"));
        let (done, answer) = self.rota(|command| {
            command
                .args(["check-in", "--owner-keystore"])
                .arg(folder.join("signer.json"))
                .arg("--owner-password-file")
                .arg(folder.join("password"));
        });
        assert!(done, "{answer}");
        answer
    }
}
