//! How a network on this machine starts, where something is in its way, and that nothing of it is left behind.

use crate::{alone, block_on, plan, session};
use rota::devnet::{DevnetError, Network};
use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

#[test]
fn an_agent_that_does_not_come_up_is_told_with_the_end_of_its_log_which_is_kept() {
    let _alone = alone();
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
    let _alone = alone();
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
    let _alone = alone();
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
            crate::until("no agent runs any more", || async { gone() }).await;
        }
    });
}

/// Whether a process runs: one that has ended and that nobody has asked after yet does not.
fn runs(id: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = state.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
