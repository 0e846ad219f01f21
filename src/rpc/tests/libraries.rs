//! Real clients as processes of their own: what npm, PyPI and Foundry bring at pinned versions. `make setup` installs them.

use super::Service;
use crate::rpc::RpcLimits;
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The second account that Anvil makes; its address.
const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const SENDER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// How long a client may take on a machine that is busy with something else.
const DEADLINE: Duration = Duration::from_secs(600);

/// A path in the repository.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program against the service while it decides what comes in; what it prints.
async fn run(
    service: &Service,
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    folder: &Path,
) -> String {
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(folder).env("SENDER_KEY", KEY).stdin(Stdio::null());
    let client = async {
        let output = command.kill_on_drop(true).output().await.unwrap_or_else(|error| {
            panic!("{:?}: {error}; `make setup` installs it", program.as_ref())
        });
        let (told, complaint) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{:?} {arguments:?}: {told}{complaint}", program.as_ref());
        told.into_owned()
    };
    tokio::select! {
        told = tokio::time::timeout(DEADLINE, client) => told.expect("the client ends in time"),
        () = service.keep_a_pace() => unreachable!("it decides for ever"),
    }
}

/// A client's script: it checks what it is told by itself, and prints `ok`.
async fn script(program: &str, script: &str) {
    let service = Service::start(RpcLimits::default()).await;
    let script = at("test/clients").join(script);
    let arguments = [script.to_str().unwrap(), &service.address, "4242", KEY];
    let told = run(&service, program, &arguments, &at("")).await;
    assert_eq!(told.trim(), "ok");
}

#[tokio::test]
async fn viem_watches_sends_and_waits_over_http_and_websocket() {
    script("node", "viem.mjs").await;
}

#[tokio::test]
async fn ethers_watches_sends_and_waits_over_http_and_websocket() {
    script("node", "ethers.mjs").await;
}

#[tokio::test]
async fn metamask_finds_the_next_nonce_at_the_block_that_its_tracker_saw() {
    script("node", "metamask.mjs").await;
}

#[tokio::test]
async fn ignition_says_that_trying_takes_execution_and_deploys_beside_one_who_executes() {
    script("node", "ignition.mjs").await;
}

#[tokio::test]
async fn web3_py_watches_sends_and_waits_over_http_and_websocket() {
    let python = at("target/python/bin/python");
    script(python.to_str().unwrap(), "web3_py.py").await;
}

/// Deploys a contract, calls it, and pays somebody.
const SCRIPT: &str = r#"// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

interface Vm {
    function startBroadcast(uint256 key) external;
    function stopBroadcast() external;
    function envUint(string calldata name) external view returns (uint256);
}

contract Stored {
    uint256 public number;

    constructor(uint256 first) {
        number = first;
    }

    function set(uint256 next) external {
        number = next;
    }
}

contract Send {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run() external {
        VM.startBroadcast(VM.envUint("SENDER_KEY"));
        Stored stored = new Stored(7);
        stored.set(8);
        (bool paid,) = payable(address(0xaa)).call{value: 1}("");
        require(paid, "not paid");
        VM.stopBroadcast();
    }
}
"#;

#[tokio::test]
async fn forge_script_broadcasts_what_it_simulated_on_a_fork() {
    let service = Service::start(RpcLimits::default()).await;
    let project = tempfile::tempdir().unwrap();
    let settings = format!(
        "[profile.default]\nsrc = 'src'\nscript = 'script'\nlibs = []\nsolc = '{}'\nevm_version = 'prague'\n",
        at("tools/solc").display()
    );
    std::fs::write(project.path().join("foundry.toml"), settings).unwrap();
    std::fs::create_dir(project.path().join("script")).unwrap();
    std::fs::write(project.path().join("script/Send.s.sol"), SCRIPT).unwrap();
    let forge = std::fs::read_dir(at("node_modules/@foundry-rs"))
        .expect("`make setup` installs Forge")
        .map(|entry| entry.unwrap().path())
        // The launcher beside it exits with 0 whatever Forge says.
        .filter(|package| package.file_name().is_some_and(|name| name != "forge"))
        .map(|package| package.join("bin/forge"))
        .find(|binary| binary.exists())
        .expect("`make setup` installs Forge");
    let url = format!("http://{}/", service.address);
    let arguments = [
        "script",
        "script/Send.s.sol:Send",
        "--rpc-url",
        &url,
        "--broadcast",
        "--sender",
        SENDER,
        "--non-interactive",
    ];
    let told = run(&service, forge, &arguments, project.path()).await;
    assert!(told.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{told}");
    let nonce = service.call("eth_getTransactionCount", json!([SENDER, "latest"])).await;
    assert_eq!(nonce, "0x3", "{told}");
}
