//! `rota guard`: what a sequencer's key has signed, as a file.

use crate::cli::output::Output;
use crate::config::{Config, Settings};
use crate::crypto::SigningDomain;
use crate::guard::{Archive, export, import};
use crate::storage::Store;
use clap::{Args, Subcommand};
use eyre::WrapErr as _;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// Take what a sequencer's key has signed to another machine
#[derive(Subcommand)]
pub(super) enum Command {
    /// Write what the agent's key has signed into a file; stop the agent first
    ///
    /// A machine that takes the file in may sign with the key in this one's place. Never start both: each of them would sign
    /// what the other does not know of, and that costs the stake.
    Export(Options),
    /// Take in what another machine has written, into a new store or the one that is there
    ///
    /// The file is taken for all that the key has signed: it must have been written after the agent stopped for the last
    /// time. Records are only added. A file of another key or deployment is refused.
    Import(Options),
}

#[derive(Args)]
pub(super) struct Options {
    /// The file; an existing one is never overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Settings file of the agent; see rota.example.toml
    #[arg(long, env = "ROTA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(command: Command, output: Output) -> eyre::Result<()> {
    match command {
        Command::Export(options) => export_to(options, output),
        Command::Import(options) => import_from(options, output),
    }
}

fn export_to(options: Options, output: Output) -> eyre::Result<()> {
    let file = options.file.clone();
    let (config, domain) = settings_of(options)?;
    if !config.store_path().exists() {
        eyre::bail!("data-dir: there is no store at {}", config.store_path().display());
    }
    let store = Store::open(config.store_path())?;
    let archive = export(&store, config.signer.address(), &domain)?;
    let text = serde_json::to_string_pretty(&archive).wrap_err("records do not encode")?;
    let write = || {
        let mut out = fs::File::options().write(true).create_new(true).open(&file)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()
    };
    write().wrap_err_with(|| format!("cannot write {}", file.display()))?;
    output.print(
        format!(
            "{} bytes of records; start no other agent with this key beside this one",
            text.len()
        ),
        &json!({ "file": file, "bytes": text.len() }),
    );
    Ok(())
}

fn import_from(options: Options, output: Output) -> eyre::Result<()> {
    let file = options.file.clone();
    let (config, domain) = settings_of(options)?;
    let text =
        fs::read_to_string(&file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    let archive: Archive = serde_json::from_str(&text)
        .wrap_err_with(|| format!("{} holds no guard's records", file.display()))?;
    fs::create_dir_all(&config.data_dir)
        .wrap_err_with(|| format!("data-dir: cannot write {}", config.data_dir.display()))?;
    let store = Store::open(config.store_path())?;
    let taken = import(&store, config.signer.address(), &domain, &archive)
        .wrap_err_with(|| file.display().to_string())?;
    output.print(
        format!("{} votes and proposals, {} attested blocks", taken.ballots, taken.attested),
        &json!({ "ballots": taken.ballots, "attestedBlocks": taken.attested }),
    );
    Ok(())
}

fn settings_of(options: Options) -> eyre::Result<(Config, SigningDomain)> {
    let settings = options.settings.with_file(options.config.as_deref())?;
    let config = Config::try_from(settings)?;
    let domain = SigningDomain::new(config.deployment.chain_id, config.deployment.settlement);
    Ok((config, domain))
}
