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

    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("params.json");
    let text = fs::read_to_string("script/config/testnet.json").unwrap();
    fs::write(&wrong, text.replace("\"doubleSignBps\"", "\"doubleSignPercent\"")).unwrap();
    let (code, answer) = simulate(wrong.to_str().unwrap(), "16");
    assert_ne!(code, Some(0));
    assert!(answer["error"].as_str().unwrap().contains("doubleSign"), "{answer}");
}
