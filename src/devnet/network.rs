//! Anvil, the contracts and the agents: started, killed, restarted and stopped. The end-to-end tests drive the same code.

use crate::cli::stake::endpoint;
use crate::config::{
    ConfigError, Identity, IdentityError, KeystoreError, STORE, Strength, create_key,
};
use crate::crypto::SecretKey;
use crate::devnet::anvil::{Anvil, RICH_KEY};
use crate::devnet::child::{Child, Ends};
use crate::devnet::ports::{self, AgentPorts};
use crate::devnet::wallet::known_key;
use crate::domain::{Deployment, RollupId};
use crate::l1::{Account, Client, L1Error, actions, deploy};
use crate::rpc_client::{RpcClient, RpcClientError};
use crate::storage::{Standing, Store, StoreError};
use crate::telemetry::DEFAULT_LOG;
use alloy::primitives::{Address, U256};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

/// The rollup of the development network.
pub const ROLLUP: RollupId = RollupId::new(901);
/// Parameters of the development network.
const PARAMS: &str = include_str!("../../script/config/devnet.json");
/// The role of somebody with ETH on L1 who tries things.
pub(super) const GUEST: &str = "guest";
/// What each sequencer stakes, in wei of the stake token.
const STAKE_WEI: u128 = 1_000 * ETHER;
/// What everybody who pays for L1 gas starts with, in wei.
const BALANCE_WEI: u128 = 1_000_000 * ETHER;
const ETHER: u128 = 1_000_000_000_000_000_000;
/// Sealed into the agents' keystores. The keys are known to everybody anyway.
const PASSWORD: &str = "devnet";
/// How long the agents together may take to answer, and then to decide a first block.
const START_BUDGET: Duration = Duration::from_secs(120);
/// Seconds from the deployment to the genesis, and one more for each four agents: on an idle machine all join in half of it.
const GENESIS_DELAY_SECONDS: u64 = 12;
/// How often a network is started when another program takes a port of it meanwhile, or the machine is slow.
const STARTS: usize = 3;
/// Lines of a log that are told when its agent does not come up.
const TAIL_LINES: usize = 20;
const AGENT_LOG: &str = "agent.log";
/// How long an agent may take to shut down in order.
const STOP_BUDGET: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary whose `node` the agents run, and whose `supervise` watches over Anvil.
    pub program: PathBuf,
    /// How many agents.
    pub agents: usize,
    /// Seconds between two L1 blocks.
    pub block_seconds: u64,
    /// Take the ports that people expect, as far as they are free: 8545 for L1, 8645 and up for the agents' JSON-RPC.
    pub usual_ports: bool,
    /// Keep the data folder.
    pub keep: bool,
    /// Filter of the agents' logs.
    pub log: String,
    /// Parameters of the network that differ from those of `script/config/devnet.json`.
    pub params: Vec<(&'static str, u64)>,
    /// More flags for some agents: (its index, the flags).
    pub extra: Vec<(usize, Vec<String>)>,
}

impl Plan {
    /// `agents` agents of the binary that is running now.
    ///
    /// # Errors
    ///
    /// When the system does not tell what is running.
    pub fn of_this_binary(agents: usize) -> Result<Self, DevnetError> {
        let program = std::env::current_exe()
            .map_err(|source| DevnetError::Spawn { program: "rota", source })?;
        Ok(Self {
            program,
            agents,
            block_seconds: 1,
            usual_ports: false,
            keep: false,
            log: DEFAULT_LOG.to_owned(),
            params: Vec::new(),
            extra: Vec::new(),
        })
    }
}

/// Why a development network does not run.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// Anvil is not installed.
    #[error("Anvil, which plays L1, is missing: run `make setup`")]
    AnvilMissing,
    /// Anvil ended or said nothing.
    #[error("Anvil did not start to listen; see {log}")]
    AnvilSilent {
        /// Its output.
        log: PathBuf,
    },
    /// A child process cannot be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// Which.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data folder cannot be written, or no port is free.
    #[error("data folder {path}: {source}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An agent ended or never answered.
    #[error("agent {agent} {how}; the end of {log}:\n{tail}")]
    AgentSilent {
        /// Its index.
        agent: usize,
        /// Whether it still runs, or how it ended.
        how: String,
        /// Its log, which is kept.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// L1 refused.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// Anvil refused a call of its own.
    #[error(transparent)]
    Anvil(#[from] RpcClientError),
    /// The machine is slower than the delay of the genesis allows for.
    #[error(
        "the sequencers joined after the genesis, which was {delay_seconds} s after the deployment"
    )]
    Late {
        /// The delay.
        delay_seconds: u64,
    },
    /// A store cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be written.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A key cannot be written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Settings of the network itself are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl DevnetError {
    /// Whether an agent could not listen: somebody else has a port that was free before.
    fn is_lost_port(&self) -> bool {
        matches!(self, Self::AgentSilent { tail, .. } if tail.contains("cannot listen on"))
    }

    /// Whether a later genesis helps: not all had joined before it, or it was over when the contracts were deployed.
    fn is_late(&self) -> bool {
        match self {
            Self::Late { .. } => true,
            Self::L1(error) => error.to_string().contains("GenesisTooEarly"),
            _ => false,
        }
    }
}

/// A running network. Dropping it kills all processes and removes the data folder; [`Network::stop`] does so in order.
pub struct Network {
    agents: Vec<Agent>,
    anvil: Anvil,
    client: Client,
    deployment: Deployment,
    plan: Plan,
    // Last, so that it is removed after the processes that write to it have ended.
    folder: Folder,
}

/// One agent: what it was started with, and its process while it runs.
struct Agent {
    folder: PathBuf,
    rpc: Url,
    health: Url,
    signer: Address,
    child: Option<Child>,
    /// Held as long as the network stands: an agent that was killed finds its ports again.
    _ports: AgentPorts,
}

impl Network {
    /// Starts everything, and returns once each agent answers. Tells `news` of each step. Where a port was taken by
    /// another program meanwhile, it starts over with other ports.
    ///
    /// # Errors
    ///
    /// [`DevnetError`] names what did not start and where to look; what was started is stopped again, and logs are kept.
    pub async fn start(mut plan: Plan, news: impl Fn(&str)) -> Result<Self, DevnetError> {
        let agents = u64::try_from(plan.agents).unwrap_or(u64::MAX);
        let mut delay = GENESIS_DELAY_SECONDS.saturating_add(agents / 4);
        for _ in 1..STARTS {
            match Self::start_once(plan.clone(), delay, &news).await {
                Err(error) if error.is_lost_port() => {
                    news("a port was taken, starting over");
                    plan.usual_ports = false;
                }
                Err(error) if error.is_late() => {
                    news("the machine is slow, starting over with a later genesis");
                    delay = delay.saturating_mul(3);
                }
                started => return started,
            }
        }
        Self::start_once(plan, delay, &news).await
    }

    async fn start_once(plan: Plan, delay: u64, news: &impl Fn(&str)) -> Result<Self, DevnetError> {
        let mut folder = Folder::create(plan.keep)?;
        news("starting Anvil");
        let anvil = start_anvil(&plan, &folder.path).await;
        let (anvil, usual_ports) = anvil.inspect_err(|_| folder.keep = true)?;
        let client = Client::connect(std::slice::from_ref(&anvil.url)).await?;

        news("deploying the contracts");
        let rich = Account::new(client.clone(), &RICH_KEY)?;
        let deployment = deploy(&rich, &params(&plan, delay)).await?;
        let text = serde_json::to_string_pretty(&deployment).expect("addresses are plain data");
        folder.write("deployment.json", &text)?;

        let mut network = Self { agents: Vec::new(), anvil, client, deployment, plan, folder };
        match network.come_up(&rich, usual_ports, delay, news).await {
            Ok(()) => Ok(network),
            Err(error) => {
                network.stop().await;
                Err(error)
            }
        }
    }

    /// Joins the sequencers and starts their agents.
    async fn come_up(
        &mut self,
        rich: &Account,
        usual_ports: bool,
        delay: u64,
        news: &impl Fn(&str),
    ) -> Result<(), DevnetError> {
        news("staking the sequencers");
        for index in 0..self.plan.agents {
            let agent = self.prepare(index, usual_ports)?;
            self.agents.push(agent);
        }
        self.stake(rich).await?;
        let genesis = self.client.verify(&self.deployment).await?.genesis;
        if self.client.head().await?.timestamp.get() >= genesis {
            // Who joins later enters step by step (R7).
            return Err(DevnetError::Late { delay_seconds: delay });
        }

        news("starting the agents");
        for index in 0..self.agents.len() {
            self.restart(index)?;
        }
        self.answering(START_BUDGET).await?;

        news("waiting for the first leader set and the first block");
        self.deciding(START_BUDGET).await
    }

    /// JSON-RPC of Anvil.
    pub const fn l1_url(&self) -> &Url {
        &self.anvil.url
    }

    /// The binary that agents run.
    pub fn program(&self) -> &Path {
        &self.plan.program
    }

    /// What reads L1.
    pub const fn l1(&self) -> &Client {
        &self.client
    }

    /// Where the contracts are.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// JSON-RPC of all agents.
    pub fn rpc_urls(&self) -> Vec<Url> {
        self.agents.iter().map(|agent| agent.rpc.clone()).collect()
    }

    /// Health pages of all agents, by index.
    pub fn health_urls(&self) -> Vec<Url> {
        self.agents.iter().map(|agent| agent.health.clone()).collect()
    }

    /// Signers of all agents, by index.
    pub fn signers(&self) -> Vec<Address> {
        self.agents.iter().map(|agent| agent.signer).collect()
    }

    /// Process ids of the agents that run, by index.
    pub fn process_ids(&self) -> Vec<Option<u32>> {
        self.agents.iter().map(|agent| agent.child.as_ref().and_then(Child::id)).collect()
    }

    /// Makes L1 hang, or go on: it neither answers nor builds blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`DevnetError::Spawn`] when Anvil has ended.
    pub fn pause_l1(&self, pause: bool) -> Result<(), DevnetError> {
        self.anvil.pause(pause).map_err(|source| DevnetError::Spawn { program: "kill", source })
    }

    /// Agents that ended by themselves, with the way they did.
    pub fn ended(&mut self) -> Vec<(usize, std::process::ExitStatus)> {
        let agents = self.agents.iter_mut().enumerate();
        agents
            .filter_map(|(index, agent)| {
                agent.child.as_mut().and_then(Child::ended).map(|status| (index, status))
            })
            .collect()
    }

    /// Ends an agent at once, as a power cut would.
    pub async fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.agents.get_mut(index).and_then(|agent| agent.child.take()) {
            child.kill().await;
        }
    }

    /// Starts an agent, again with the same keys, ports and data.
    ///
    /// # Errors
    ///
    /// [`DevnetError::Spawn`].
    pub fn restart(&mut self, index: usize) -> Result<(), DevnetError> {
        let Some(agent) = self.agents.get_mut(index) else { return Ok(()) };
        let mut arguments = vec![
            "node".to_owned(),
            "--config".to_owned(),
            agent.folder.join("rota.toml").to_string_lossy().into_owned(),
            "--exit-with-parent".to_owned(),
        ];
        let extra = self.plan.extra.iter().filter(|(chosen, _)| *chosen == index);
        arguments.extend(extra.flat_map(|(_, flags)| flags.iter().cloned()));
        let log = agent.folder.join(AGENT_LOG);
        let child = Child::spawn(&self.plan.program, &arguments, &log, false, Ends::Killed)
            .map_err(|source| DevnetError::Spawn { program: "rota node", source })?;
        agent.child = Some(child);
        Ok(())
    }

    /// Waits until every agent that runs answers.
    ///
    /// # Errors
    ///
    /// [`DevnetError::AgentSilent`] names the first that does not within `budget`, or that ended, and keeps the logs.
    pub async fn answering(&mut self, budget: Duration) -> Result<(), DevnetError> {
        let answers = |agent: &Agent| {
            let health = agent.health.clone();
            async move { reqwest::get(health).await.is_ok() }
        };
        self.each(budget, answers).await
    }

    /// Waits until every agent that runs has a decided block.
    async fn deciding(&mut self, budget: Duration) -> Result<(), DevnetError> {
        let decides = |agent: &Agent| {
            let client = RpcClient::new(agent.rpc.clone());
            async move {
                let height = client.call("eth_blockNumber", json!([])).await;
                height.is_ok_and(|height| height.as_str().is_some_and(|height| height != "0x0"))
            }
        };
        self.each(budget, decides).await
    }

    /// Asks the agents that run one after the other until each has said yes.
    async fn each<F: Future<Output = bool>>(
        &mut self,
        budget: Duration,
        ask: impl Fn(&Agent) -> F,
    ) -> Result<(), DevnetError> {
        let start = Instant::now();
        for (index, agent) in self.agents.iter_mut().enumerate() {
            if agent.child.is_none() {
                continue;
            }
            while !ask(agent).await {
                let ended = agent.child.as_mut().and_then(Child::ended);
                if start.elapsed() >= budget || ended.is_some() {
                    self.folder.keep = true;
                    let log = agent.folder.join(AGENT_LOG);
                    let how = match ended {
                        Some(status) => format!("ended ({status})"),
                        None => format!("does not answer within {} s", budget.as_secs()),
                    };
                    return Err(DevnetError::AgentSilent {
                        agent: index,
                        how,
                        tail: tail(&log),
                        log,
                    });
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Stops the agents, then Anvil, and removes the data folder unless it is to be kept.
    pub async fn stop(mut self) {
        let children = self.agents.iter_mut().filter_map(|agent| agent.child.take());
        futures::future::join_all(children.map(|mut child| async move {
            child.stop(STOP_BUDGET).await;
        }))
        .await;
        self.anvil.stop().await;
    }

    /// Keys, ports and settings of an agent.
    fn prepare(&self, index: usize, usual_ports: bool) -> Result<Agent, DevnetError> {
        let folder = self.folder.path.join(format!("agent-{index}"));
        let failed = |source| DevnetError::Folder { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let key = known_key("signer", index);
        let keystore = folder.join("signer.json");
        let signer = create_key(&keystore, PASSWORD, Strength::Light, Some(key))?.address();
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("password"))
            .and_then(|mut file| file.write_all(PASSWORD.as_bytes()))
            .map_err(failed)?;

        // A key that was made just now has signed nothing, whenever its agent starts: on a slow machine that is when the
        // first set is in force.
        Store::open(folder.join(STORE))?.keep_standing(signer, Standing::Trusted)?;

        let ports = AgentPorts::hold(index, usual_ports).map_err(failed)?;
        let AgentPorts { agreement, link, rpc, telemetry } = &ports;
        let [agreement, link] = [agreement.address(), link.address()];
        let [rpc, telemetry] = [rpc.address(), telemetry.address()];
        let settings = format!(
            "l1-rpc = [\"{l1}\"]\n\
             l1-poll-millis = 200\n\
             deployment = \"{deployment}\"\n\
             data-dir = \"{data}\"\n\
             password-file = \"{data}/password\"\n\
             agreement-listen = \"{agreement}\"\n\
             link-listen = \"{link}\"\n\
             rpc-listen = \"{rpc}\"\n\
             telemetry-listen = \"{telemetry}\"\n\
             default-rollup = {rollup}\n\
             log = \"{log}\"\n",
            l1 = self.anvil.url,
            deployment = self.folder.path.join("deployment.json").display(),
            data = folder.display(),
            rollup = ROLLUP,
            log = self.plan.log,
        );
        fs::write(folder.join("rota.toml"), settings).map_err(failed)?;
        let rpc = format!("http://{rpc}").parse().expect("an address makes a url");
        let health = format!("http://{telemetry}/health").parse().expect("an address makes a url");
        Ok(Agent { folder, rpc, health, signer, child: None, _ports: ports })
    }

    /// Gives everybody ETH and tokens, joins the sequencers, and opens the rollup: before genesis, so that the first set
    /// holds all of them.
    async fn stake(&self, rich: &Account) -> Result<(), DevnetError> {
        let anvil = RpcClient::new(self.anvil.url.clone());
        let deployment = &self.deployment;
        let joins = self.agents.iter().enumerate().map(|(index, agent)| {
            let anvil = &anvil;
            async move {
                let owner = Account::new(self.client.clone(), &known_key("owner", index))?;
                for account in [owner.address(), agent.signer] {
                    set_balance(anvil, account).await?;
                }
                actions::mint(&owner, deployment, owner.address(), U256::from(STAKE_WEI)).await?;
                let signer = SecretKey::from_bytes(known_key("signer", index))
                    .expect("a keccak256 hash is a key");
                let joining = actions::Joining {
                    signer: &signer,
                    endpoint: agent.endpoint()?,
                    stake_wei: U256::from(STAKE_WEI),
                };
                actions::join(&owner, deployment, joining).await?;
                Ok::<(), DevnetError>(())
            }
        });
        let open = async {
            let guest =
                SecretKey::from_bytes(known_key(GUEST, 0)).expect("a keccak256 hash is a key");
            set_balance(&anvil, guest.address()).await?;
            let allowance = U256::from(1_000 * ETHER);
            actions::register_rollup(rich, deployment, ROLLUP, allowance).await?;
            let tokens = U256::from(1_000_000 * ETHER);
            actions::mint(rich, deployment, rich.address(), tokens).await?;
            actions::fund_pool(rich, deployment, U256::from(1_000 * ETHER), tokens).await?;
            Ok(())
        };
        futures::future::try_join(futures::future::try_join_all(joins), open).await?;
        Ok(())
    }
}

impl Agent {
    /// What the registry publishes of it.
    fn endpoint(&self) -> Result<String, DevnetError> {
        let settings = crate::config::Settings::read(&self.folder.join("rota.toml"))?;
        Ok(endpoint(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            settings.agreement_listen(),
            settings.link_listen(),
            &Identity::open_or_create(&self.folder.join("identity.key"))?,
        ))
    }
}

async fn set_balance(anvil: &RpcClient, account: Address) -> Result<Value, RpcClientError> {
    anvil.call("anvil_setBalance", json!([account, U256::from(BALANCE_WEI)])).await
}

/// The parameters of the network, with the genesis late enough for everybody to join before it.
fn params(plan: &Plan, delay: u64) -> String {
    let mut params: Value = serde_json::from_str(PARAMS).expect("script/config holds JSON");
    if let Some(object) = params.as_object_mut() {
        object.insert("genesisDelaySeconds".to_owned(), json!(delay));
        for (name, value) in &plan.params {
            object.insert((*name).to_owned(), json!(value));
        }
    }
    params.to_string()
}

/// Starts Anvil, on its usual port if that is wanted and free. Says whether it got it.
async fn start_anvil(plan: &Plan, folder: &Path) -> Result<(Anvil, bool), DevnetError> {
    if plan.usual_ports && ports::is_free(ports::L1) {
        let usual = Anvil::start(&plan.program, folder, plan.block_seconds, ports::L1).await;
        if let Ok(anvil) = usual {
            return Ok((anvil, true));
        }
    }
    Ok((Anvil::start(&plan.program, folder, plan.block_seconds, 0).await?, false))
}

/// The last lines of a log: what is needed to see why an agent did not come up.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    if last.is_empty() { "(nothing)".to_owned() } else { last.join("\n") }
}

/// The data folder. Removed when dropped, unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn create(keep: bool) -> Result<Self, DevnetError> {
        let name = format!("rota-devnet-{:08x}", rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)
            .map_err(|source| DevnetError::Folder { path: path.clone(), source })?;
        Ok(Self { path, keep })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DevnetError> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(|source| DevnetError::Folder { path, source })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Nobody is left to tell, and a folder in the system's temporary place does no harm.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
