//! `rota rollup`: what a rollup needs on L1 so that agents take its transactions.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner, ether, units};
use crate::domain::RollupId;
use crate::l1::actions;
use alloy::primitives::U256;
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Register a rollup, which costs the fee of the network, and give it an allowance for its bytes
    Register(Options),
    /// Add to the allowance of a registered rollup; anybody may
    Fund(Options),
}

#[derive(Args)]
pub(super) struct Options {
    /// Chain id of the rollup
    #[arg(value_name = "CHAIN_ID", value_parser = clap::value_parser!(u64).range(1..))]
    rollup: u64,
    /// Allowance in ETH (0.5); agents take its transactions while the network's reserve is left of it
    #[arg(long, value_name = "ETH", value_parser = ether)]
    allowance: U256,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(command: Command, output: Output) -> eyre::Result<()> {
    let (new, options) = match command {
        Command::Register(options) => (true, options),
        Command::Fund(options) => (false, options),
    };
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let rollup = RollupId::new(options.rollup);

    let waiting = progress("waiting for L1");
    let done = match new {
        true => actions::register_rollup(&account, &deployment, rollup, options.allowance).await,
        false => actions::fund_rollup(&account, &deployment, rollup, options.allowance).await,
    };
    waiting.finish_and_clear();
    done?;
    let what = if new { "registered with an allowance of" } else { "allowance grew by" };
    output.print(
        format!("rollup {rollup}: {what} {} ETH", units(options.allowance)),
        &json!({
            "rollup": options.rollup,
            "addedWei": options.allowance.to_string(),
            "owner": account.address(),
        }),
    );
    Ok(())
}
