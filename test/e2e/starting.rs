//! How a network on this machine starts, where something is in its way, and that nothing of it is left behind.

use crate::{beside, block_on, metric, plan, session, until};
use rota::devnet::{DevnetError, LINES, Network, announcement};
use rota::telemetry::Metrics;
use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

#[test]
fn an_agent_that_does_not_come_up_is_told_with_the_end_of_its_log_which_is_kept() {
    let _seat = beside();
    block_on(async {
        let mut plan = plan(1);
        plan.extra = vec![(0, vec!["--restart-duty=whatever".to_owned()])];
        let Err(error) = Network::start(plan, |_| {}).await else { panic!("it came up") };
        let told = error.to_string();
        let DevnetError::AgentSilent { agent: 0, log, tail, .. } = error else { panic!("{told}") };
        assert!(tail.contains("whatever") && told.contains("ended (exit status: 2)"), "{told}");
        assert!(fs::read_to_string(&log).unwrap().contains(&tail), "{}", log.display());
        fs::remove_dir_all(log.parent().and_then(Path::parent).unwrap()).unwrap();
    });
}

#[test]
fn a_network_starts_over_when_another_program_has_taken_a_port_meanwhile() {
    let _seat = beside();
    block_on(async {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = plan(1);
        plan.extra = vec![(0, vec![format!("--telemetry-listen={}", taken.local_addr().unwrap())])];
        let taken = RefCell::new(Some(taken));
        let again = RefCell::new(0);
        let news = |step: &str| {
            if step == "a port was taken, starting over" {
                *again.borrow_mut() += 1;
                taken.borrow_mut().take();
            }
        };
        // The health page is where the flag says and not where the network looks for it, which is what ends the test.
        let starting = tokio::time::timeout(crate::DEADLINE, Network::start(plan, news));
        let started = async {
            loop {
                if *again.borrow() > 0 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            _ = starting => panic!("the network came up or failed without starting over"),
            () = started => {}
        }
        assert_eq!(*again.borrow(), 1);
    });
}

#[test]
fn a_network_that_ends_leaves_no_agent_behind_not_even_one_that_hangs() {
    let _seat = beside();
    block_on(async {
        for in_order in [true, false] {
            let session = session(plan(2), 0.0).await;
            let agents = session.network.process_ids();
            let agents: Vec<String> =
                agents.into_iter().flatten().map(|id| id.to_string()).collect();
            assert_eq!(agents.len(), 2);
            let stopped = Command::new("kill").args(["-STOP", &agents[0]]).status().unwrap();
            assert!(stopped.success());
            if in_order {
                session.end().await;
            } else {
                drop(session);
            }
            let gone = || agents.iter().all(|id| !runs(id));
            until("no agent runs any more", || async { gone() }).await;
        }
    });
}

#[test]
fn the_lines_that_a_network_tells_work_as_they_are_printed() {
    let _seat = beside();
    block_on(async {
        let session = session(plan(1), 0.0).await;
        let told = announcement(&session.network);
        let (places, lines) = told.split_once(LINES).unwrap();
        let url = session.network.rpc_urls()[0].to_string();
        let socket = url.replace("http://", "ws://");
        let deployment = session.network.folder().join("deployment.json");
        for place in ["chain 31337", "rollup 901", &url, &socket, deployment.to_str().unwrap()] {
            assert!(places.contains(place), "{place}: {told}");
        }
        for command in [" send ", " force ", " escape ", " verify ", " status", "cast"] {
            assert!(lines.contains(command), "{command}: {told}");
        }
        let lines = lines.to_owned();
        let run = move || {
            let command = Command::new("sh").args(["-e", "-x", "-c", &lines]).env_clear().output();
            command.unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        session.end().await;
    });
}

/// Those that move in no ordinary run have their place in the tests of what moves them.
const ELSEWHERE: [&str; 8] = [
    "generation",
    "forced_waiting",
    "evidence",
    "l1_unread_blocks",
    "clock_offset_milliseconds",
    "silent",
    "own_messages_without_record",
    "store_kept_from",
];

/// Those that move when an agent has bad luck with what it sends, which an ordinary run may or may not bring.
const BY_CHANCE: [&str; 2] = ["l1_paid_in_vain", "l1_resting"];

#[test]
fn every_metric_moves() {
    let _seat = beside();
    block_on(async {
        let session = session(plan(2), 20.0).await;
        let names = Metrics::NAMES
            .iter()
            .filter(|name| !ELSEWHERE.contains(name) && !BY_CHANCE.contains(name));
        for name in names {
            until(&format!("{name} is above 0"), || async {
                metric(&session, 0, name).await > 0 || metric(&session, 1, name).await > 0
            })
            .await;
        }
        for name in ELSEWHERE {
            assert_eq!(metric(&session, 0, name).await, 0, "{name}");
        }
        session.end().await;
    });
}

#[test]
#[cfg(feature = "byzantine")]
fn what_is_built_to_be_run_knows_no_faults_and_a_binary_that_does_is_found_out() {
    let package = env!("CARGO_MANIFEST_DIR");
    let recipe = Command::new("make").args(["-n", "build"]).current_dir(package).output().unwrap();
    let recipe = String::from_utf8_lossy(&recipe.stdout).into_owned();
    assert!(recipe.contains("cargo build --release --locked\n"), "{recipe}");
    assert!(recipe.contains("tools/release-check target/release/rota"), "{recipe}");
    assert!(!recipe.contains("byzantine"), "{recipe}");

    let check = Path::new(package).join("tools/release-check");
    let checked = Command::new(check).arg(env!("CARGO_BIN_EXE_rota")).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("--equivocate"), "{said}");
}

/// Whether a process runs: one that has ended and that nobody has asked after yet does not.
fn runs(id: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = state.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
