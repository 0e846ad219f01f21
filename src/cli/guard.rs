//! `rota guard`: what a sequencer's key has signed, as a file.

use crate::cli::output::Output;
use crate::config::{Config, Settings};
use crate::crypto::SigningDomain;
use crate::guard::{Archive, export, export_incomplete, import};
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
    /// A machine that takes the file in may sign with the key in this one's place: the store here does not sign with it any
    /// more then, until the file is taken in again. Never let two machines take one file in: each of them would sign what the
    /// other does not know of, and that costs the stake. A store that may not know all that the key has signed (it was never
    /// used with it, was copied, or is in doubt) is refused, unless with --incomplete.
    Export(ExportOptions),
    /// Take in what another machine has written, into a new store or the one that is there
    ///
    /// The file is taken for all that the key has signed if it says so: it must be the last one that was written. Of an
    /// incomplete one the records are added, and the agent listens before it signs. Records are only added. A file of another
    /// key or deployment is refused.
    Import(Options),
}

#[derive(Args)]
pub(super) struct ExportOptions {
    /// Write what there is, also if it may not be all: who takes it in listens before it signs. The store here stays as it is
    #[arg(long)]
    incomplete: bool,
    #[command(flatten)]
    options: Options,
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

fn export_to(options: ExportOptions, output: Output) -> eyre::Result<()> {
    let ExportOptions { incomplete, options } = options;
    let file = options.file.clone();
    let (config, domain) = settings_of(options)?;
    if !config.store_path().exists() {
        eyre::bail!("data-dir: there is no store at {}", config.store_path().display());
    }
    let writing = || format!("cannot write {}", file.display());
    // First of all: where nothing can be written nothing is handed over.
    let out = fs::File::options().write(true).create_new(true).open(&file);
    let mut out = out.wrap_err_with(writing)?;
    let text = Store::open(config.store_path())
        .map_err(eyre::Report::new)
        .and_then(|store| {
            let signer = config.signer.address();
            let archive = if incomplete {
                export_incomplete(&store, signer, &domain)?
            } else {
                export(&store, signer, &domain)?
            };
            serde_json::to_string_pretty(&archive).wrap_err("records do not encode")
        })
        .and_then(|text| {
            out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).wrap_err_with(writing)?;
            Ok(text)
        })
        .inspect_err(|_| {
            // Nobody is to find half of a file.
            let _ = fs::remove_file(&file);
        })?;
    let bytes = text.len();
    let told = if incomplete {
        format!("{bytes} bytes of records, which may not be all: who takes them in listens first")
    } else {
        format!("{bytes} bytes of records; the store here does not sign with this key any more")
    };
    output.print(told, &json!({ "file": file, "bytes": bytes, "complete": !incomplete }));
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
    let then = if taken.trusted { "signs from the start" } else { "listens before it signs" };
    output.print(
        format!(
            "{} votes and proposals, {} attested blocks; the agent {then}",
            taken.ballots, taken.attested
        ),
        &json!({
            "ballots": taken.ballots, "attestedBlocks": taken.attested, "trusted": taken.trusted
        }),
    );
    Ok(())
}

fn settings_of(options: Options) -> eyre::Result<(Config, SigningDomain)> {
    let settings = options.settings.with_file(options.config.as_deref())?;
    let config = Config::try_from(settings)?;
    let domain = SigningDomain::new(config.deployment.chain_id, config.deployment.settlement);
    Ok((config, domain))
}
