//! The `rota` command. Each subcommand is a file: its flags, what it does, what it prints.

mod compensate;
mod deploy;
mod escape;
mod exit_code;
mod force;
mod keys;
mod node;
pub(crate) mod output;
mod params;
pub(crate) mod parent;
mod report;
mod restart;
mod rewards;
mod rollup;
mod send;
mod simulate;
pub(crate) mod stake;
mod status;
mod verify;

use crate::config::{Settings, http_url};
use crate::devnet;
use crate::domain::Deployment;
use crate::l1::{Account, Client};
use alloy::primitives::U256;
use alloy::primitives::utils::{format_ether, parse_ether};
use clap::{Args, Parser, Subcommand};
use eyre::WrapErr as _;
use output::Output;
use std::path::PathBuf;
use url::Url;

/// Decentralized sequencing that settles on L1.
///
/// Sequencers stake on L1, take turns at ordering the transactions of rollups, and settle batches that more than two
/// thirds of the stake has signed.
#[derive(Parser)]
#[command(name = "rota", version, after_help = exit_code::HELP)]
struct Cli {
    /// Print results as JSON on standard output, one object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything on this machine: Anvil, contracts, agents, traffic and a live view
    Devnet(devnet::Options),
    /// Measure throughput, latencies and failover of agents on this machine
    Bench(devnet::bench::Options),
    /// Deploy the contracts and write down where they are
    Deploy(deploy::Options),
    /// Play each offence against parameters, and see what it costs
    Simulate(simulate::Options),
    /// Create or show a key
    #[command(subcommand)]
    Keys(keys::Command),
    /// Run the agent of a sequencer
    Node(node::Options),
    /// Register a rollup, or add to its allowance
    #[command(subcommand)]
    Rollup(rollup::Command),
    /// Stake and become a sequencer
    Join(stake::Join),
    /// Add to a sequencer's stake
    Stake(stake::TopUp),
    /// Put stake into the pool of a sequencer that somebody else runs
    Delegate(stake::Delegate),
    /// Take delegated stake out again: as exit
    Undelegate(stake::Exit),
    /// Bring a jailed sequencer back
    Unjail(stake::Unjail),
    /// Change where other agents reach a sequencer
    Endpoint(stake::Endpoint),
    /// Show all parameters of a deployment, with units
    Params(params::Options),
    /// Give a sequencer another hot key
    Rotate(stake::Rotate),
    /// Send stake on its way out
    Exit(stake::Exit),
    /// Take out what is yours: stake that has left, a poster's refunds, a reporter's bounty
    Claim(stake::Claim),
    /// Bring the network back after more than a third of a leader set is gone for good
    #[command(subcommand)]
    Restart(restart::Command),
    /// Report an offence to L1, for a bounty; anybody may
    #[command(subcommand)]
    Report(report::Command),
    /// Show what an account has earned, and take all of it out
    Rewards(rewards::Rewards),
    /// Show or set what the owner keeps of the rewards of a sequencer's pool
    Commission(rewards::CommissionOptions),
    /// Fund the reward pool
    Fund(rewards::Fund),
    /// Show sequencers and the settled chain, or one agent
    Status(status::Options),
    /// Rebuild a rollup's ordered transactions from L1 alone, and check every certificate and root
    Verify(verify::Options),
    /// Sign a transaction for a rollup, submit it, and follow it until it is settled
    Send(send::Options),
    /// Force a transaction into a rollup through L1: no sequencer can leave it out
    Force(force::Options),
    /// Let in what was forced and nobody settled in time
    Escape(escape::Options),
    /// Have senders compensated whose forced transactions came late
    Compensate(compensate::Options),
    /// Run a program that must not outlive the parent of this process
    #[command(hide = true)]
    Supervise {
        /// Program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Where L1 and the contracts are.
#[derive(Args, Clone, Debug)]
struct Chain {
    /// URL of an L1 node (http or https); several are tried in order
    #[arg(long, env = "ROTA_L1_RPC", value_name = "URL", value_delimiter = ',', value_parser = http_url)]
    l1_rpc: Option<Vec<Url>>,
    /// File that `rota deploy` wrote
    #[arg(long, env = "ROTA_DEPLOYMENT", value_name = "FILE")]
    deployment: Option<PathBuf>,
}

impl Chain {
    async fn open(&self) -> eyre::Result<(Client, Deployment)> {
        let settings = Settings {
            l1_rpc: self.l1_rpc.clone(),
            deployment: self.deployment.clone(),
            ..Settings::default()
        };
        let deployment = settings.deployment()?;
        let client = Client::connect(&settings.l1_rpc()?).await?;
        client.verify(&deployment).await?;
        Ok((client, deployment))
    }
}

/// The account that pays and owns: a keystore with its password, or a bare key in the environment.
#[derive(Args, Clone, Debug)]
struct Owner {
    /// Key of the account that pays, in Web3 Secret Storage form (or ROTA_OWNER_KEY: the bare key, for development)
    #[arg(long, env = "ROTA_OWNER_KEYSTORE", value_name = "FILE")]
    owner_keystore: Option<PathBuf>,
    /// File that holds its password
    #[arg(long, env = "ROTA_OWNER_PASSWORD_FILE", value_name = "FILE")]
    owner_password_file: Option<PathBuf>,
}

impl Owner {
    fn account(&self, client: Client) -> eyre::Result<Account> {
        Ok(Account::new(client, &*keys::secret(self)?)?)
    }
}

/// A number of wei as people read it: 1.5 rather than 1.500000000000000000.
fn units(wei: U256) -> String {
    let text = format_ether(wei);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An amount of ETH, as flags give it.
fn ether(text: &str) -> eyre::Result<U256> {
    parse_ether(text).wrap_err("expected an amount of ETH, such as 0.5")
}

/// Runs the command that the process was started with, and says how the process should end.
pub fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit_code::report(&eyre::Report::new(error), output),
    };
    let result = runtime.block_on(run(cli.command, output));
    // Whatever still reads standard input or sleeps must not hold the process back.
    runtime.shutdown_background();
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => exit_code::report(&error, output),
    }
}

async fn run(command: Command, output: Output) -> eyre::Result<()> {
    match command {
        Command::Devnet(options) => devnet::run(options, output.json()).await,
        Command::Bench(options) => devnet::bench::run(options, output.json()).await,
        Command::Deploy(options) => deploy::run(options, output).await,
        Command::Simulate(options) => simulate::run(options, output),
        Command::Keys(command) => keys::run(command, output),
        Command::Rollup(command) => rollup::run(command, output).await,
        Command::Node(options) => node::run(options).await,
        Command::Join(options) => stake::join(options, output).await,
        Command::Stake(options) => stake::top_up(options, output).await,
        Command::Delegate(options) => stake::delegate(options, output).await,
        Command::Undelegate(options) | Command::Exit(options) => stake::exit(options, output).await,
        Command::Unjail(options) => stake::unjail(options, output).await,
        Command::Endpoint(options) => stake::set_endpoint(options, output).await,
        Command::Params(options) => params::run(options, output).await,
        Command::Rotate(options) => stake::rotate(options, output).await,
        Command::Claim(options) => stake::claim(options, output).await,
        Command::Restart(command) => restart::run(command, output).await,
        Command::Report(command) => report::run(command, output).await,
        Command::Rewards(options) => rewards::run(options, output).await,
        Command::Commission(options) => rewards::commission(options, output).await,
        Command::Fund(options) => rewards::fund(options, output).await,
        Command::Status(options) => status::run(options, output).await,
        Command::Verify(options) => verify::run(options, output).await,
        Command::Send(options) => send::run(options, output).await,
        Command::Force(options) => force::run(options, output).await,
        Command::Escape(options) => escape::run(options, output).await,
        Command::Compensate(options) => compensate::run(options, output).await,
        Command::Supervise { command } => {
            let (program, arguments) = command.split_first().expect("clap requires one");
            parent::supervise(program, arguments).await.wrap_err_with(|| program.clone())
        }
    }
}
