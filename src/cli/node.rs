//! `rota node`: the agent of a sequencer.

use crate::agreement::Faults;
use crate::batch::payload::check_compressor;
use crate::cli::signals;
use crate::config::{Config, Settings};
#[cfg(feature = "byzantine")]
use crate::domain::RollupId;
use crate::node::{self, Takeover};
use crate::telemetry::{DEFAULT_LOG, start_logs};
use clap::Args;
use eyre::WrapErr as _;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Run the agent of a sequencer
///
/// Join first (`rota join`). Never run two agents with one key, nor one on an older copy of its data folder: what is signed
/// twice is slashed. The agent checks that L1 holds the deployment, follows it, takes part in agreement, and posts batches when it is its
/// turn. Stop it with Ctrl-C or SIGTERM; it may be killed at any moment and loses nothing that it has signed or promised.
#[derive(Args)]
pub(super) struct Options {
    /// Settings file; see rota.example.toml
    #[arg(long, env = "ROTA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Begin with an empty store though the key has been in a leader set. Signs nothing until it has caught up and listened
    #[arg(long)]
    new_store: bool,
    /// Sign at once though the store may not know all that the key has signed. What it does not know costs the stake
    #[arg(long)]
    skip_listening: bool,
    /// Try again to take in what was accepted and set aside because the agent ended on it again and again
    #[arg(long)]
    retry_set_aside: bool,
    /// End when standard input does: for agents that a development network starts
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    /// Sign conflicting votes and proposals on purpose, to be caught
    #[cfg(feature = "byzantine")]
    #[arg(long, hide = true)]
    equivocate: bool,
    /// Never propose a transaction of this rollup, and take as little of the forced queue as blocks may
    #[cfg(feature = "byzantine")]
    #[arg(long, hide = true, value_name = "CHAIN_ID")]
    censor: Option<u64>,
    /// Take the clock to be so many seconds ahead
    #[cfg(feature = "byzantine")]
    #[arg(
        long,
        hide = true,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    clock_off: i64,
    /// Hang after the start, as a fault would, to be ended from outside
    #[cfg(feature = "byzantine")]
    #[arg(long, hide = true)]
    hang: bool,
    /// Ask the others to sign every split of what is not settled, in every epoch
    #[cfg(feature = "byzantine")]
    #[arg(long, hide = true)]
    ask_for_splits: bool,
    #[command(flatten)]
    settings: Settings,
}

pub(super) async fn run(options: Options) -> eyre::Result<()> {
    let settings = options.settings.with_file(options.config.as_deref())?;
    let filter = settings.log.clone().unwrap_or_else(|| DEFAULT_LOG.to_owned());
    start_logs(&filter, settings.log_format.unwrap_or_default())?;
    let config = Config::try_from(settings)?;
    check_compressor()?;

    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone(), options.exit_with_parent)
        .wrap_err("cannot wait for signals")?;
    let said = Takeover {
        new_store: options.new_store,
        skip_listening: options.skip_listening,
        retry_set_aside: options.retry_set_aside,
    };
    #[cfg(feature = "byzantine")]
    let faults = Faults {
        equivocate: options.equivocate.then_some(10..=60),
        censor: options.censor.map(RollupId::new),
        clock_off_millis: options.clock_off.saturating_mul(1_000),
        hang: options.hang,
        ask_for_splits: options.ask_for_splits,
    };
    #[cfg(not(feature = "byzantine"))]
    let faults = Faults::default();
    Ok(node::run(config, said, faults, shutdown).await?)
}
