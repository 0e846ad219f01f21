//! How the process ends, and what each number means.

use crate::cli::NotRegistered;
use crate::cli::output::Output;
use crate::cli::send::WrongAgent;
use crate::cli::verify::{Faulty, Told, VerifyError};
use crate::config::{ConfigError, KeystoreError, redact_text};
use crate::l1::proven::ProvenError;
use crate::l1::{L1Error, ReplayError};
use crate::node::NodeError;
use crate::rpc_client::RpcClientError;
use serde_json::json;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

/// Shown at the end of `rota --help`.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed for a reason of its own (see the message)
  2  wrong usage
  3  settings are missing or wrong
  4  no L1 node, or no agent, answers: try again later
  5  L1 is another chain, or holds other contracts, or who answers is not of this deployment
  6  a contract or an agent refused
  7  the agent stopped because its engine or its store failed: restart it
  8  what settled on L1 is not what was signed, or breaks a rule: `rota verify` names it
  9  an L1 node told what cannot be: `rota verify` names it
  10 the agent hung, the message says where: restart it
  11 the agent was told to stop, did not in time, and was ended; nothing is lost
  12 there is no store, and the agent's key has been in a leader set: see OPERATIONS, a lost disk";

/// The watchdog ended the process.
pub(crate) const HUNG: i32 = 10;
/// The process was told to stop and did not.
pub(crate) const NOT_STOPPED: i32 = 11;

/// How long whoever reads standard error may take to take the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Says something before the end, from a thread of its own, and waits for that no longer than a second: standard error may be
/// a pipe that nobody reads, and the logs what hangs.
pub(crate) fn last_words(say: impl FnOnce() + Send + 'static) {
    let (said, done) = mpsc::channel();
    let saying = move || {
        say();
        let _ = said.send(());
    };
    if std::thread::Builder::new().name("last words".to_owned()).spawn(saying).is_ok() {
        let _ = done.recv_timeout(LAST_WORDS);
    }
}

/// Ends the process from any thread, with word of why on standard error if that takes it.
pub(crate) fn end_now(code: i32, why: &'static str) -> ! {
    last_words(move || eprintln!("rota: {why}"));
    std::process::exit(code)
}

/// Prints the error and picks the code.
pub(super) fn report(error: &eyre::Report, output: Output) -> ExitCode {
    let code = picked(error);
    if error.downcast_ref::<Told>().is_some() {
        return ExitCode::from(code);
    }
    if output.json() {
        println!("{}", json!({ "error": message(error), "exitCode": code }));
    } else {
        eprintln!("rota: {}", message(error));
    }
    ExitCode::from(code)
}

/// The same for what nobody may be watching: ends in any case.
pub(super) fn report_in_time(error: eyre::Report, output: Output) -> ExitCode {
    let code = picked(&error);
    last_words(move || {
        report(&error, output);
    });
    ExitCode::from(code)
}

fn picked(error: &eyre::Report) -> u8 {
    match error.downcast_ref() {
        Some(Told { code }) => *code,
        None => code_of(error),
    }
}

/// The error and its causes, each told once: many of ours tell their cause themselves.
pub(super) fn message(error: &eyre::Report) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| redact_text(&cause.to_string())) {
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{cause}");
        }
    }
    text
}

pub(super) fn code_of(error: &eyre::Report) -> u8 {
    error
        .chain()
        .find_map(|cause| {
            if cause.is::<ConfigError>() || cause.is::<KeystoreError>() {
                return Some(3);
            }
            match cause.downcast_ref::<RpcClientError>() {
                Some(RpcClientError::Unreachable { .. }) => return Some(4),
                Some(RpcClientError::Refused { .. }) => return Some(6),
                None => {}
            }
            if let Some(l1) = cause.downcast_ref::<L1Error>() {
                return Some(code_of_l1(l1));
            }
            if cause.is::<Faulty>() {
                return Some(8);
            }
            if cause.is::<WrongAgent>() || cause.is::<NotRegistered>() {
                return Some(5);
            }
            match cause.downcast_ref::<VerifyError>() {
                Some(VerifyError::Proven(proven)) => return Some(code_of_proven(proven)),
                Some(VerifyError::NoSuchRollup { .. }) => return Some(5),
                Some(VerifyError::Write(_)) => return Some(1),
                None => {}
            }
            match cause.downcast_ref::<ReplayError>() {
                Some(ReplayError::L1(l1)) => return Some(code_of_l1(l1)),
                Some(_) => return Some(8),
                None => {}
            }
            match cause.downcast_ref::<NodeError>()? {
                NodeError::L1(l1) => Some(code_of_l1(l1)),
                NodeError::Listen { .. } | NodeError::Link(_) => Some(3),
                NodeError::NoStore { .. } => Some(12),
                _ => Some(7),
            }
        })
        .unwrap_or(1)
}

fn code_of_proven(error: &ProvenError) -> u8 {
    match error {
        ProvenError::Lie(_) => 9,
        ProvenError::Silence(_) | ProvenError::Reorganised { .. } => 4,
        ProvenError::L1(l1) | ProvenError::Replay(ReplayError::L1(l1)) => code_of_l1(l1),
        ProvenError::Replay(_) | ProvenError::Unreadable { .. } => 8,
        ProvenError::OtherDeployment { .. } | ProvenError::OtherRelease { .. } => 5,
        ProvenError::TooEarly { .. } => 2,
    }
}

fn code_of_l1(error: &L1Error) -> u8 {
    match error {
        L1Error::BadUrl { .. } | L1Error::BadConfig { .. } => 3,
        L1Error::WrongChain { .. }
        | L1Error::ChainsDiffer { .. }
        | L1Error::NoContract { .. }
        | L1Error::OtherDeployment { .. }
        | L1Error::NoSeeds { .. } => 5,
        L1Error::Reverted { .. } | L1Error::Refused { .. } => 6,
        L1Error::Unreachable { .. }
        | L1Error::BadAnswer { .. }
        | L1Error::UnknownHeader { .. }
        | L1Error::NotIncluded { .. }
        | L1Error::Silent
        | L1Error::Resting { .. } => 4,
        L1Error::TooDear { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;

    #[test]
    fn an_error_keeps_its_code_under_context() {
        let settings = ConfigError::Missing { setting: "deployment", expected: "a file" };
        let wrong_chain = L1Error::WrongChain { expected: 1, actual: 2 };
        let reverted = L1Error::Reverted { contract: Address::ZERO, reason: "no".to_owned() };

        assert_eq!(code_of(&eyre::Report::new(settings).wrap_err("starting")), 3);
        assert_eq!(code_of(&eyre::Report::new(wrong_chain)), 5);
        assert_eq!(code_of(&eyre::Report::new(NodeError::L1(reverted)).wrap_err("joining")), 6);
        assert_eq!(code_of(&eyre::eyre!("something else")), 1);
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let words = source.to_string();
        let unreadable = ConfigError::Unreadable { setting: "out", path: "x".into(), source };

        let told = message(&eyre::Report::new(unreadable).wrap_err("starting"));

        assert_eq!(told, format!("starting: out: cannot read x: {words}"));
    }
}
