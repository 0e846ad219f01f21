//! `rota simulate`: what offences cost under given parameters, before anything is deployed.

use crate::cli::output::Output;
use crate::cli::{ether, units};
use crate::config::ConfigError;
use crate::domain::Seconds;
use crate::economics::{Network, Outcome, Year};
use crate::l1;
use alloy::primitives::U256;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Play each offence, and the duties on L1 over years of fees, and see what they cost
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
    /// Which years of L1 fees are played for the duties on L1
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
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

    let year = network.play_fees(options.seed);

    let text = table(&network, &outcomes) + &years(&year);
    output.print(text, &json!({ "outcomes": outcomes, "year": year }));
    Ok(())
}

/// What a year of fees comes to.
fn years(year: &Year) -> String {
    let mut text = "\nDuties on L1, done once an hour for a year\n".to_owned();
    for one in &year.duties {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {:<22} {:<19} {:<10} spends {}, gets {} ETH, loses in {} hours",
            one.duty,
            one.fees,
            one.prices,
            units(one.spent_wei),
            units(one.paid_wei),
            one.losing_hours
        );
    }
    text += "\nThe reward pool of four members in a year\n";
    for one in &year.pools {
        let _ = writeln!(
            text,
            "  {} batches an hour, {}, {}: pays {} ETH, gets {} from rollups ({} to {} % of what their bytes cost); signers earn {} tokens",
            one.batches_an_hour,
            one.fees,
            one.prices,
            units(one.paid_wei),
            units(one.income_wei),
            one.least_percent,
            one.most_percent,
            units(one.signers_wei)
        );
    }
    text
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
