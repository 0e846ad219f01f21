//! `rota params`: what a deployment fixes for ever, as L1 holds it.

use crate::cli::Chain;
use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::domain::Seconds;
use crate::l1;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Show all parameters of a deployment, with units
///
/// `rota params check FILE` says, without L1, whether a deployment would take the parameters of a file.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Subcommand)]
enum Command {
    /// Check all relations between the parameters of a file, without L1
    Check {
        /// Parameters, such as script/config/testnet.json
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    if let Some(Command::Check { file }) = options.command {
        let text = fs::read_to_string(&file).map_err(|source| ConfigError::Unreadable {
            setting: "params",
            path: file.clone(),
            source,
        })?;
        let params = l1::read_params(&text, Seconds::new(0))?;
        let mut text = format!("{}: every relation holds", file.display());
        if !params.hides_proposers() {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                ", on the development chain alone: elsewhere a pin {} L1 blocks ahead is refused (R4)",
                params.seed_distance_blocks()
            );
        }
        output.print(text, &serde_json::to_value(params)?);
        return Ok(());
    }
    let (client, deployment) = options.chain.open().await?;
    let params = serde_json::to_value(client.verify(&deployment).await?)?;
    output.print(table(params.as_object().unwrap_or(&Map::new())), &params);
    Ok(())
}

/// One line a parameter: its name, its number, its unit.
fn table(params: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in params {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<28} {:>24} {}", number(value), unit(name));
    }
    text.truncate(text.trim_end().len());
    text
}

/// Wei are 256-bit numbers, which JSON holds as hexadecimal text.
fn number(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse::<alloy::primitives::U256>().map_or(text, |wei| wei.to_string())
}

/// What a parameter is counted in; its name ends in it.
fn unit(name: &str) -> &'static str {
    const UNITS: [(&str, &str); 11] = [
        ("Seconds", "s"),
        ("Millis", "ms"),
        ("Bytes", "bytes"),
        ("Blocks", "L1 blocks"),
        ("Bps", "1/10,000"),
        ("Wei", "wei"),
        ("Gas", "gas"),
        ("Entries", "entries"),
        ("Doublings", "times"),
        ("Members", "members"),
        ("Lag", "epochs"),
    ];
    match name {
        "genesis" => "L1 time, s",
        "turnLength" => "heights",
        "ringSize" => "batches",
        "correlationFactor" => "times",
        _ => UNITS.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit),
    }
}

#[cfg(test)]
mod tests {
    use super::{table, unit};
    use crate::domain::Params;

    fn shown() -> serde_json::Map<String, serde_json::Value> {
        let value = serde_json::to_value(Params::for_tests()).expect("params are JSON");
        value.as_object().expect("params are an object").clone()
    }

    #[test]
    fn knows_the_unit_of_every_parameter() {
        for name in shown().keys() {
            assert_ne!(unit(name), "", "{name}");
        }
    }

    #[test]
    fn prints_wei_as_decimal_numbers() {
        let text = table(&shown());
        let line = text.lines().find(|line| line.starts_with("minStakeWei")).expect("it is there");
        assert!(line.ends_with("1000000000000000000 wei"), "{line}");
    }
}
