//! What docs/OPERATIONS.md tells an operator to do, with the command line alone: from no contracts to a settled
//! transaction, and from a request to leave to the stake's return.

use crate::{beside, block_on, until};
use alloy::primitives::{Address, U256};
use rota::devnet::find_anvil;
use rota::domain::Deployment;
use rota::l1::{Account, Client, actions};
use rota::ports::HeldPort;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::sleep;
use url::Url;

/// The key of Anvil's first account, which everybody knows: it has ETH.
const OWNER_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ONE: u128 = 1_000_000_000_000_000_000;

#[test]
fn an_operator_deploys_joins_settles_a_transaction_and_leaves_with_the_stake() {
    let _seat = beside();
    let desk = Desk::new();

    let signer = desk.new_key("agent");
    desk.new_key("other");
    let [agent, other] = [desk.settings("agent"), desk.settings("other")];
    assert_ne!(agent, other, "each agent has ports of its own");

    // Deploy. What cannot work is refused before anything is paid.
    let refused = desk.refused(3, &["deploy", "--params", "params.json", "--out", "no/where.json"]);
    assert!(refused.starts_with("out: cannot write no/where.json"), "{refused}");
    desk.done(&["deploy", "--params", "params.json"]);
    let text = fs::read_to_string(desk.folder.path().join("deployment.json")).unwrap();
    let deployment: Deployment = serde_json::from_str(&text).unwrap();

    // Stake: the first before genesis, so that the first set holds it. The second, which no agent speaks for, is small enough
    // for the first to be a quorum, and remains when it leaves.
    block_on(desk.pay(&deployment, signer));
    let joined = desk.join("agent", "1000");
    assert_eq!((&joined["sequencer"], &joined["stakeWei"]), (&json!(1), &wei(1000)));
    let _agent = desk.start(&["node", "--config", "agent.toml", "--exit-with-parent"]);
    assert_eq!(desk.join("other", "400")["sequencer"], 2);
    desk.done(&["stake", "1", "--amount", "10"]);
    desk.done(&["keys", "new", "--keystore", "next.json", "--password-file", "password"]);
    let next = ["--new-keystore", "next.json", "--new-password-file", "password"];
    desk.done(&[&["rotate", "2"][..], &next].concat());

    // A rollup, and a transaction of one of its users.
    desk.done(&["rollup", "register", "901", "--allowance", "1"]);
    let opened = crate::client(agent.clone());
    block_on(until("the agent decides blocks of the rollup", || async {
        let height = opened.call("eth_blockNumber", json!([])).await;
        height.is_ok_and(|height| height != "0x0")
    }));
    let receiver = "0x000000000000000000000000000000000000dEaD";
    // Nothing is signed for who is not the rollup's agent: whoever sees it could use it on that chain.
    let l1 = desk.l1.as_str();
    let refused = desk.refused(5, &["send", receiver, "--rpc", l1, "--value", "3"]);
    assert!(
        refused.contains("no Rota agent") && refused.contains("nothing was signed"),
        "{refused}"
    );
    let another = desk.refused(5, &["send", receiver, "--rpc", agent.as_str(), "--rollup", "902"]);
    assert!(another.contains("speaks for rollup 901, expected 902"), "{another}");
    let unknown = desk.refused(5, &["verify", "--rollup", "902"]);
    assert!(unknown.contains("rollup 902 is not registered"), "{unknown}");
    let closed = desk.refused(1, &["rollup", "register", "902", "--allowance", "0"]);
    assert!(closed.starts_with("--allowance: expected at least 0.02 ETH"), "{closed}");
    let itself = desk.refused(1, &["rollup", "register", "31337", "--allowance", "1"]);
    assert!(itself.contains("L1's own chain id"), "{itself}");
    let twice = desk.refused(1, &["rollup", "register", "901", "--allowance", "1"]);
    assert!(twice.contains("registered already"), "{twice}");
    let nothing = desk.refused(1, &["rollup", "fund", "901", "--allowance", "0"]);
    assert!(nothing.starts_with("--allowance"), "{nothing}");
    let told = desk.done(&["status", "--rpc", agent.as_str()]);
    assert_eq!(told["defaultRollup"], 901, "a flag beats ROTA_L1_RPC: {told}");
    let sent = desk.done(&["send", receiver, "--rpc", agent.as_str(), "--timeout", "240"]);
    let known = block_on(opened.call("rota_getTransaction", json!([sent["hash"]]))).unwrap();
    assert!(matches!(known["status"].as_str(), Some("settled" | "final")), "{known}");
    let status = desk.done(&["status"]);
    assert_eq!(status["sequencers"].as_array().unwrap().len(), 2);
    assert!(status["tip"]["number"].as_u64().unwrap() > 0, "{status}");

    // Leave. The claim says how long it still takes until it pays.
    let exit = desk.done(&["exit", "1"])["exit"].as_str().unwrap().to_owned();
    let claim = ["claim", "--exit", exit.as_str()];
    let again = desk.refused(1, &["exit", "1"]);
    assert!(again.contains("no stake in sequencer 1"), "{again}");
    // Only so much leaves in an epoch (R7): the agent moves the rest on in the next ones.
    let early = desk.refused(1, &claim);
    assert!(early.contains("waits in the churn queue"), "{early}");
    block_on(until("the set without the sequencer is sealed", || async {
        // Seals need blocks between their two steps, and the agent time to take both in one epoch.
        desk.mine(5).await;
        sleep(Duration::from_secs(1)).await;
        desk.refused(1, &claim).contains("at L1 time")
    }));
    // The delay of 600 s runs from the start of the set's epoch, which may be an epoch of 60 s ahead.
    block_on(desk.pass(660));
    block_on(until("the delay has passed on L1", || async { desk.rota(&claim).0 == 0 }));
    assert!(desk.refused(6, &claim).contains("ExitAlreadyClaimed"));
    let status = desk.done(&["status"]);
    let left: U256 = serde_json::from_value(status["sequencers"][0]["stakeWei"].clone()).unwrap();
    assert!(left.is_zero(), "{status}");
}

fn wei(whole: u128) -> Value {
    json!((whole * ONE).to_string())
}

/// Where an operator works: a folder, an L1, and the `rota` command.
pub(super) struct Desk {
    // Ends with the desk, before its folder.
    _anvil: Running,
    l1: Url,
    folder: TempDir,
    /// What its agents are told to listen on.
    ports: RefCell<Vec<HeldPort>>,
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let params = include_str!("../../script/config/devnet.json")
            .replace("\"genesisDelaySeconds\": 8", "\"genesisDelaySeconds\": 24");
        fs::write(folder.path().join("params.json"), params).unwrap();
        let password = folder.path().join("password");
        fs::write(&password, "of the operator\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();

        let anvil = find_anvil().unwrap();
        let mut anvil = Running::start(
            Command::new(env!("CARGO_BIN_EXE_rota"))
                .args(["supervise", "--", &anvil.to_string_lossy(), "--port", "0"])
                .args(["--block-time", "1", "--hardfork", "prague", "--gas-limit", "60000000"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut lines = BufReader::new(anvil.0.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .unwrap();
        // Anvil prints each block: somebody must read it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            _anvil: anvil,
            l1: format!("http://{address}").parse().unwrap(),
            folder,
            ports: RefCell::default(),
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            // The first node is dead: everything below goes through the second.
            .env("ROTA_L1_RPC", format!("http://127.0.0.1:1,{}", self.l1))
            .env("ROTA_DEPLOYMENT", "deployment.json")
            .env("ROTA_OWNER_KEY", OWNER_KEY);
        command
    }

    /// Runs a command; its exit code and its answer.
    fn rota(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.command(arguments).arg("--json").output().unwrap();
        // One object, or a line each: then the last one is the summary.
        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        let last = lines.rfind(|line| !line.is_empty()).unwrap_or_default();
        let answer = serde_json::from_slice(last).unwrap_or_else(|_| {
            panic!("{arguments:?}: no answer: {}", String::from_utf8_lossy(&output.stderr))
        });
        (output.status.code().unwrap(), answer)
    }

    pub(super) fn done(&self, arguments: &[&str]) -> Value {
        let (code, answer) = self.rota(arguments);
        assert_eq!(code, 0, "{arguments:?}: {answer}");
        answer
    }

    /// What a command says that must end with `code`.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let (actual, answer) = self.rota(arguments);
        assert_eq!(actual, code, "{arguments:?}: {answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    pub(super) fn new_key(&self, name: &str) -> Address {
        let keystore = format!("{name}/signer.json");
        let key =
            self.done(&["keys", "new", "--keystore", &keystore, "--password-file", "password"]);
        key["address"].as_str().unwrap().parse().unwrap()
    }

    fn join(&self, name: &str, stake: &str) -> Value {
        let config = format!("{name}.toml");
        self.done(&["join", "--config", &config, "--stake", stake, "--advertise", "127.0.0.1"])
    }

    /// The example's settings with folders and ports of their own. Returns where its JSON-RPC will be.
    pub(super) fn settings(&self, name: &str) -> Url {
        let [agreement, link, rpc, telemetry]: [SocketAddr; 4] = std::array::from_fn(|_| {
            let held = HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = held.address();
            self.ports.borrow_mut().push(held);
            address
        });
        let text = include_str!("../../rota.example.toml")
            .replace("rota-data/password", "password")
            .replace("rota-data", name)
            .replace("0.0.0.0:27000", &agreement.to_string())
            .replace("0.0.0.0:27001", &link.to_string())
            .replace("127.0.0.1:8645", &rpc.to_string())
            .replace("127.0.0.1:9645", &telemetry.to_string());
        fs::write(self.folder.path().join(format!("{name}.toml")), text).unwrap();
        format!("http://{rpc}").parse().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let log = fs::File::create(self.folder.path().join("agent.log")).unwrap();
        Running::start(self.command(arguments).stdout(Stdio::null()).stderr(log))
    }

    /// Stake tokens for the owner and ETH for the agent, which an operator buys.
    async fn pay(&self, deployment: &Deployment, signer: Address) {
        let client = Client::connect(std::slice::from_ref(&self.l1)).await.unwrap();
        let key: [u8; 32] = alloy::hex::decode(OWNER_KEY).unwrap().try_into().unwrap();
        let owner = Account::new(client, &key).unwrap();
        let tokens = U256::from(2000 * ONE);
        actions::mint(&owner, deployment, owner.address(), tokens).await.unwrap();
        actions::send_eth(&owner, signer, U256::from(ONE)).await.unwrap();
    }

    /// Makes so many L1 blocks of a second each.
    async fn mine(&self, blocks: u64) {
        let anvil = crate::client(self.l1.clone());
        anvil.call("anvil_mine", json!([blocks, 1])).await.unwrap();
    }

    /// Lets time pass on L1.
    async fn pass(&self, seconds: u64) {
        let anvil = crate::client(self.l1.clone());
        anvil.call("evm_increaseTime", json!([seconds])).await.unwrap();
    }
}

/// A process that ends when its standard input does, which is when this is dropped.
pub(super) struct Running(pub(super) Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Waiting closes the standard input first.
        let _ = self.0.wait();
    }
}
