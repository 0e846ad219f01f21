//! `rota simulate`, which needs no network.

use serde_json::Value;
use std::fs;
use std::process::Command;

fn simulate(params: &str, members: &str) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_rota"))
        .args(["--json", "simulate", "--params", params, "--members", members, "--stake", "1000"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn offences_are_played_against_parameters_and_wrong_ones_are_named() {
    let (code, answer) = simulate("script/config/testnet.json", "16");
    assert_eq!(code, Some(0));
    let outcomes = answer["outcomes"].as_array().unwrap();
    let alone = &outcomes[0];
    assert!(alone["attack"].as_str().unwrap().starts_with("1 of 16 sign two blocks"), "{alone}");
    // 500 + 3 * 10,000 / 16 = 2,375 basis points of 1,000 tokens, a part of which the attacker gets by reporting itself.
    let wei = |field: &str| {
        let text = alone[field].as_str().unwrap().trim_start_matches("0x");
        u128::from_str_radix(text, 16).unwrap()
    };
    assert_eq!(wei("lostWei") + wei("paidWei"), 237_500_000_000_000_000_000);
    assert!(outcomes.iter().any(|one| one["inEth"] == true), "{answer}");
    let duties = answer["year"]["duties"].as_array().unwrap();
    assert!(duties.len() >= 60 && duties.iter().all(|one| one["losingHours"] == 0), "{answer}");
    assert!(!answer["year"]["pools"].as_array().unwrap().is_empty(), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("params.json");
    let text = fs::read_to_string("script/config/testnet.json").unwrap();
    fs::write(&wrong, text.replace("\"doubleSignBps\"", "\"doubleSignPercent\"")).unwrap();
    let (code, answer) = simulate(wrong.to_str().unwrap(), "16");
    assert_ne!(code, Some(0));
    assert!(answer["error"].as_str().unwrap().contains("doubleSign"), "{answer}");
}

#[test]
fn parameters_that_a_deployment_refuses_are_refused_offline_with_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("params.json");
    let text = fs::read_to_string("script/config/devnet.json").unwrap();
    let text = text
        .replace("\"exitDelaySeconds\": 600", "\"exitDelaySeconds\": 1")
        .replace("\"ringSize\": 1024", "\"ringSize\": 1")
        .replace("\"driftSeconds\": 1", "\"driftSeconds\": 9");
    fs::write(&wrong, text).unwrap();
    let wrong = wrong.to_str().unwrap();
    let nobody = "--l1-rpc=http://127.0.0.1:1";
    let refusals = [
        vec!["params", "check", wrong],
        vec!["simulate", "--params", wrong],
        // Before anybody is asked, let alone paid.
        vec!["deploy", "--params", wrong, nobody, "--out", "nowhere/deployment.json"],
    ];
    for arguments in refusals {
        let output = Command::new(env!("CARGO_BIN_EXE_rota"))
            .args(&arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {told}");
        for error in ["ExitDelayTooShort(minimum: 420, actual: 1)", "RingTooSmall", "DriftAbove"] {
            assert!(told.contains(error), "{arguments:?}: {told}");
        }
    }
    let (good, check) = ("script/config/testnet.json", env!("CARGO_BIN_EXE_rota"));
    let mut checked = Command::new(check);
    checked.args(["params", "check", good]).current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
    let checked = checked.output().unwrap();
    assert_eq!(checked.status.code(), Some(0));
}
