//! The `rota` command. Each subcommand is a file: its flags, what it does, what it prints.

mod amount;
mod compensate;
mod deploy;
mod escape;
pub(crate) mod exit_code;
mod force;
mod guard;
mod keys;
mod node;
pub(crate) mod output;
mod owner;
mod params;
pub(crate) mod parent;
mod report;
mod restart;
mod rewards;
mod rollup;
mod seal;
mod send;
mod signals;
mod simulate;
pub(crate) mod stake;
mod status;
mod verify;

use crate::config::{Settings, http_url, whole};
use crate::devnet;
use crate::domain::Deployment;
use crate::domain::RollupId;
use crate::l1::{Account, Client, Fees, actions};
use amount::{ether, units};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
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

// What a command does stands at its flags: words here would take the place of the whole text there.
#[derive(Subcommand)]
enum Command {
    Devnet(devnet::Options),
    Bench(devnet::bench::Options),
    Deploy(deploy::Options),
    Simulate(simulate::Options),
    #[command(subcommand)]
    Keys(keys::Command),
    Node(node::Options),
    #[command(subcommand)]
    Guard(guard::Command),
    #[command(subcommand)]
    Rollup(rollup::Command),
    Join(stake::Join),
    Stake(stake::TopUp),
    Delegate(stake::Delegate),
    /// Take delegated stake out again
    ///
    /// As `rota exit`: it stays slashable until the last set that counts it has ended; `rota claim` pays it out after the exit
    /// delay.
    Undelegate(stake::Exit),
    Unjail(stake::Unjail),
    Endpoint(stake::Endpoint),
    Params(params::Options),
    Rotate(stake::Rotate),
    Poster(stake::Poster),
    Exit(stake::Exit),
    Claim(stake::Claim),
    #[command(subcommand)]
    Owner(owner::Command),
    Seal(seal::Options),
    #[command(subcommand)]
    Restart(restart::Command),
    #[command(subcommand)]
    Report(report::Command),
    Sweep(report::Sweep),
    Rewards(rewards::Rewards),
    Commission(rewards::CommissionOptions),
    Cap(rewards::CapOptions),
    Fund(rewards::Fund),
    Status(status::Options),
    Verify(verify::Options),
    Send(send::Options),
    Force(force::Options),
    Escape(escape::Options),
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
    fn settings(&self) -> Settings {
        Settings {
            l1_rpc: self.l1_rpc.clone(),
            deployment: self.deployment.clone(),
            ..Settings::default()
        }
    }

    async fn open(&self) -> eyre::Result<(Client, Deployment)> {
        let settings = self.settings();
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
    /// The most that is paid for a unit of L1 gas, in gwei; beyond it nothing is sent
    #[arg(long, env = "ROTA_MAX_FEE_GWEI", value_name = "GWEI", default_value_t = 500, value_parser = whole::<u64>)]
    max_fee_gwei: u64,
    /// The largest part of it for the block's builder that an L1 node is believed to want, in gwei
    #[arg(long, env = "ROTA_MAX_TIP_GWEI", value_name = "GWEI", default_value_t = 20, value_parser = whole::<u64>)]
    max_tip_gwei: u64,
}

impl Owner {
    fn account(&self, client: Client) -> eyre::Result<Account> {
        let limit = Fees::of_gwei(self.max_fee_gwei, self.max_tip_gwei);
        Ok(Account::new(client, &*keys::secret(self)?)?.with_limit(limit))
    }
}

/// A chain id that is no rollup of the deployment.
#[derive(Debug, thiserror::Error)]
#[error("rollup {rollup} is not registered in this deployment (contract {rollups}): {advice}")]
struct NotRegistered {
    rollup: RollupId,
    rollups: alloy::primitives::Address,
    advice: &'static str,
}

/// Refuses a rollup that nobody has registered.
async fn registered(
    client: &Client,
    deployment: &Deployment,
    rollup: RollupId,
    advice: &'static str,
) -> eyre::Result<actions::RollupStanding> {
    let standing = actions::rollup(client, deployment, rollup).await?;
    match standing.owner {
        Some(_) => Ok(standing),
        None => Err(NotRegistered { rollup, rollups: deployment.rollups, advice }.into()),
    }
}

/// The command line. An environment variable that is empty counts as not set: that is how compose files and unit files
/// write that there is none.
fn grammar() -> clap::Command {
    without_empty_variables(Cli::command(), &|name| std::env::var_os(name))
}

fn without_empty_variables(
    command: clap::Command,
    read: &dyn Fn(&std::ffi::OsStr) -> Option<std::ffi::OsString>,
) -> clap::Command {
    let is_empty =
        |arg: &clap::Arg| arg.get_env().and_then(read).is_some_and(|value| value.is_empty());
    command
        .mut_args(
            |arg| if is_empty(&arg) { arg.env(clap::builder::Resettable::Reset) } else { arg },
        )
        .mut_subcommands(|command| without_empty_variables(command, read))
}

/// Refuses two flags of which each says where to ask. A flag beats the environment, so that a variable is no contradiction.
fn contradiction(matches: &ArgMatches) -> Option<clap::Error> {
    let (name, matches) = matches.subcommand()?;
    if name != "status" {
        return None;
    }
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let other = ["l1_rpc", "deployment"].into_iter().find(|id| given("rpc") && given(id))?;
    let told =
        format!("--rpc asks one agent, --{} asks L1: give one of them", other.replace('_', "-"));
    Some(Cli::command().error(ErrorKind::ArgumentConflict, told))
}

/// Runs the command that the process was started with, and says how the process should end.
pub fn main() -> std::process::ExitCode {
    let matches = grammar().get_matches();
    if let Some(error) = contradiction(&matches) {
        error.exit();
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit_code::report(&eyre::Report::new(error), output),
    };
    let is_agent = matches!(cli.command, Command::Node(_));
    let result = runtime.block_on(run(cli.command, output));
    // Whatever still reads standard input or sleeps must not hold the process back.
    runtime.shutdown_background();
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // Its supervisor waits for the end, not for the words.
        Err(error) if is_agent => exit_code::report_in_time(error, output),
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
        Command::Guard(command) => guard::run(command, output),
        Command::Node(options) => node::run(options).await,
        Command::Join(options) => stake::join(options, output).await,
        Command::Stake(options) => stake::top_up(options, output).await,
        Command::Delegate(options) => stake::delegate(options, output).await,
        Command::Undelegate(options) | Command::Exit(options) => stake::exit(options, output).await,
        Command::Unjail(options) => stake::unjail(options, output).await,
        Command::Endpoint(options) => stake::set_endpoint(options, output).await,
        Command::Params(options) => params::run(options, output).await,
        Command::Rotate(options) => stake::rotate(options, output).await,
        Command::Poster(options) => stake::set_poster(options, output).await,
        Command::Claim(options) => stake::claim(options, output).await,
        Command::Owner(command) => owner::run(command, output).await,
        Command::Seal(options) => seal::run(options, output).await,
        Command::Restart(command) => restart::run(command, output).await,
        Command::Report(command) => report::run(command, output).await,
        Command::Sweep(options) => report::sweep(options, output).await,
        Command::Rewards(options) => rewards::run(options, output).await,
        Command::Commission(options) => rewards::commission(options, output).await,
        Command::Cap(options) => rewards::cap(options, output).await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{OsStr, OsString};

    /// What `rota COMMAND --help` shows.
    fn long_help(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let found =
            path.iter().fold(&mut command, |at, name| at.find_subcommand_mut(name).unwrap());
        found.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_help_of_a_command_holds_its_warnings() {
        for (command, words) in [
            ("exit", "It stays slashable, and the agent must go on"),
            ("undelegate", "stays slashable until the last set"),
            ("rotate", "run the agent with the old key until then"),
            ("delegate", "is slashed with it"),
            ("join", "keep its key cold"),
            ("node", "Never run two agents with one key"),
            ("unjail", "enters by the churn queue"),
            ("endpoint", "as it is to be published"),
            ("deploy", "Parameters are fixed for ever"),
            ("verify", "Asks no agent"),
            ("send", "Otherwise nothing is signed"),
            ("force", "for a fee that burns"),
            ("escape", "Needs L1 alone"),
            ("compensate", "earns nothing"),
            ("rewards", "they come out with the stake"),
            ("commission", "A raise is announced"),
            ("cap", "What is delegated already stays"),
            ("fund", "Nothing of it comes back"),
            ("restart", "What is settled stays"),
            ("seal", "Agents do so by themselves"),
            ("simulate", "Needs no L1"),
            ("devnet", "leaves nothing behind"),
            ("status", "one agent for its own view"),
        ] {
            let help = long_help(&[command]);
            assert!(help.contains(words), "{command}: {help}");
        }
    }

    #[test]
    fn the_list_of_commands_has_one_line_for_each() {
        fn look(command: &clap::Command) {
            for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
                let about = one.get_about().map(ToString::to_string).unwrap_or_default();
                let name = one.get_name();
                assert!(
                    (10..100).contains(&about.len()) && !about.contains('\n'),
                    "{name}: {about}"
                );
                assert!(!about.ends_with('.'), "{name}: {about}");
                look(one);
            }
        }
        look(&Cli::command());
        Cli::command().debug_assert();
    }

    #[test]
    fn an_amount_that_is_none_is_refused_with_its_argument() {
        let token = ["--owner-keystore", "k"];
        let cases: [(&[&str], &str); 10] = [
            (&["send", "0x000000000000000000000000000000000000dEaD"], "--value"),
            (&["force", "0x000000000000000000000000000000000000dEaD", "--rollup=901"], "--value"),
            (&["join", "--advertise=127.0.0.1"], "--stake"),
            (&["stake", "1"], "--amount"),
            (&["delegate", "1"], "--amount"),
            (&["fund"], "--eth"),
            (&["fund"], "--tokens"),
            (&["rollup", "register", "901"], "--allowance"),
            (&["rollup", "fund", "901"], "--allowance"),
            (&["simulate", "--params=x"], "--stake"),
        ];
        for (command, flag) in cases {
            for wrong in ["-1", "1e3", "+1", "", "0x1", "1,5"] {
                let argument = format!("{flag}={wrong}");
                let words = [&["rota"][..], command, &[argument.as_str()]].concat();
                let words: Vec<&str> = match command[0] {
                    "simulate" => words,
                    _ => [words, token.to_vec()].concat(),
                };
                let Err(refused) = Cli::try_parse_from(&words) else { panic!("{words:?}") };
                assert!(refused.to_string().contains(flag), "{words:?}: {refused}");
                assert_eq!(refused.exit_code(), 2);
            }
        }
    }

    fn with_environment(set: &'static [(&str, &str)]) -> clap::Command {
        let read = move |name: &OsStr| {
            set.iter().find(|(one, _)| name == *one).map(|(_, value)| OsString::from(value))
        };
        without_empty_variables(Cli::command(), &read)
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let command =
            with_environment(&[("ROTA_LOG", ""), ("ROTA_PASSWORD_FILE", ""), ("ROTA_RPC", "x")]);
        let of = |command: &clap::Command, id: &str| {
            let node = command.find_subcommand("node").unwrap().clone();
            let arg = node.get_arguments().find(|arg| arg.get_id() == id).cloned();
            arg.unwrap().get_env().map(OsStr::to_owned)
        };
        assert_eq!(of(&command, "log"), None);
        assert_eq!(of(&command, "password_file"), None);
        assert_eq!(of(&command, "deployment"), Some("ROTA_DEPLOYMENT".into()));
        let send = command.find_subcommand("send").unwrap();
        let rpc = send.get_arguments().find(|arg| arg.get_id() == "rpc").unwrap();
        assert_eq!(rpc.get_env(), Some(OsStr::new("ROTA_RPC")), "one that is not empty counts");
    }

    #[test]
    fn a_flag_beats_the_environment_and_two_flags_are_a_contradiction() {
        let parse = |words: &[&str]| {
            let matches = Cli::command().try_get_matches_from(words).unwrap();
            contradiction(&matches).map(|error| error.to_string())
        };
        assert_eq!(parse(&["rota", "status", "--rpc=http://127.0.0.1:1"]), None);
        assert_eq!(parse(&["rota", "status", "--l1-rpc=http://127.0.0.1:1"]), None);
        let both = parse(&["rota", "status", "--rpc=http://a", "--l1-rpc=http://b"]).unwrap();
        assert!(both.contains("--rpc asks one agent, --l1-rpc asks L1"), "{both}");
        assert_eq!(
            parse(&[
                "rota",
                "send",
                "--rpc=http://a",
                "--l1-rpc=http://b",
                "0x000000000000000000000000000000000000dEaD"
            ]),
            None
        );
    }
}
