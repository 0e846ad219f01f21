//! `rota simulate`: what offences cost under given parameters, before anything is deployed.

use crate::cli::output::Output;
use crate::cli::{ether, units};
use crate::config::ConfigError;
use crate::domain::Seconds;
use crate::economics::{Network, Outcome};
use crate::l1;
use alloy::primitives::U256;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Play each offence against parameters, and see what it costs
///
/// Needs no L1. Sequencers are taken to be equal. An attack pays only for who gains more outside of the network than is
/// lost here.
#[derive(Args)]
pub(super) struct Options {
    /// Parameters, such as script/config/testnet.json
    #[arg(long, value_name = "FILE")]
    params: PathBuf,
    /// How many sequencers the network has
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=128))]
    members: u64,
    /// What each has staked, in tokens
    #[arg(long, value_name = "TOKENS", default_value = "1000", value_parser = ether)]
    stake: U256,
}

pub(super) fn run(options: Options, output: Output) -> eyre::Result<()> {
    let text = fs::read_to_string(&options.params).map_err(|source| ConfigError::Unreadable {
        setting: "params",
        path: options.params.clone(),
        source,
    })?;
    let params = l1::read_params(&text, Seconds::new(0))?;
    let network = Network { params, members: options.members, stake_wei: options.stake };
    let outcomes = network.play();

    output.print(table(&network, &outcomes), &json!({ "outcomes": outcomes }));
    Ok(())
}

fn table(network: &Network, outcomes: &[Outcome]) -> String {
    let mut text =
        format!("{} sequencers of {} tokens each\n", network.members, units(network.stake_wei));
    for outcome in outcomes {
        let unit = if outcome.in_eth { "ETH" } else { "tokens" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{}\n  costs {} {unit} (burned {}, paid to others {})\n  for   {}\n",
            outcome.attack,
            units(outcome.lost_wei),
            units(outcome.burned_wei),
            units(outcome.paid_wei),
            outcome.effect
        );
    }
    text
}
