//! `rota rollup`: what a rollup needs on L1 so that agents take its transactions.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner, ether, registered, units};
use crate::domain::{Deployment, RollupId};
use crate::l1::{Client, actions, rights};
use alloy::primitives::{Address, U256};
use clap::{Args, Subcommand};
use serde_json::json;

/// Register a rollup, add to its allowance, hand it over, close it or open it again
#[derive(Subcommand)]
pub(super) enum Command {
    /// Register a rollup, which costs the fee of the network, and give it an allowance for its bytes
    Register(Options),
    /// Add to the allowance of a registered rollup; anybody may
    Fund(Options),
    /// Offer a rollup to another account; nothing changes until that accepts
    Propose(Propose),
    /// Take over a rollup that was offered to this account
    Accept(Owned),
    /// Close a rollup: agents order nothing more for it; what they ordered before is debited all the same
    Close(Owned),
    /// Open a rollup again that its owner closed
    Reopen(Owned),
}

#[derive(Args)]
pub(super) struct Propose {
    /// Who may accept; the zero address takes the offer back
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    #[command(flatten)]
    owned: Owned,
}

#[derive(Args)]
pub(super) struct Owned {
    /// Chain id of the rollup
    #[arg(value_name = "CHAIN_ID", value_parser = clap::value_parser!(u64).range(1..))]
    rollup: u64,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// What an owner does with a rollup that it has.
enum Change {
    Propose(Address),
    Accept,
    Close(bool),
}

async fn change(options: Owned, change: Change, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let rollup = RollupId::new(options.rollup);
    registered(&client, &deployment, rollup, "rota rollup register opens it").await?;
    let account = options.owner.account(client)?;
    let (text, value) = match change {
        Change::Propose(to) => {
            rights::propose_rollup_owner(&account, &deployment, rollup, to).await?;
            let text = if to.is_zero() {
                "is offered to nobody".to_owned()
            } else {
                format!("is offered to {to}: rota rollup accept")
            };
            (text, json!({ "rollup": options.rollup, "offeredTo": to }))
        }
        Change::Accept => {
            rights::accept_rollup_owner(&account, &deployment, rollup).await?;
            let owner = account.address();
            (format!("belongs to {owner}"), json!({ "rollup": options.rollup, "owner": owner }))
        }
        Change::Close(closed) => {
            rights::set_rollup_closed(&account, &deployment, rollup, closed).await?;
            let text = if closed { "is closed" } else { "is open while its allowance lasts" };
            (text.to_owned(), json!({ "rollup": options.rollup, "closed": closed }))
        }
    };
    output.print(format!("rollup {rollup} {text}"), &value);
    Ok(())
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
        Command::Propose(options) => {
            return change(options.owned, Change::Propose(options.to), output).await;
        }
        Command::Accept(options) => return change(options, Change::Accept, output).await,
        Command::Close(options) => return change(options, Change::Close(true), output).await,
        Command::Reopen(options) => return change(options, Change::Close(false), output).await,
    };
    let (client, deployment) = options.chain.open().await?;
    let rollup = RollupId::new(options.rollup);
    match new {
        true => sensible(&client, &deployment, rollup, options.allowance).await?,
        false => {
            eyre::ensure!(!options.allowance.is_zero(), "--allowance: expected more than 0");
            registered(&client, &deployment, rollup, "rota rollup register opens it").await?;
        }
    }
    // What it owes is paid first.
    let owed = actions::rollup_owes(&client, &deployment, rollup).await?.min(options.allowance);
    let added = options.allowance.saturating_sub(owed);
    let account = options.owner.account(client)?;

    let waiting = progress("waiting for L1");
    let done = match new {
        true => actions::register_rollup(&account, &deployment, rollup, options.allowance).await,
        false => actions::fund_rollup(&account, &deployment, rollup, options.allowance).await,
    };
    waiting.finish_and_clear();
    done?;
    let what = if new { "registered with an allowance of" } else { "allowance grew by" };
    let debts = match owed.is_zero() {
        true => String::new(),
        false => format!(", after {} ETH that it owed", units(owed)),
    };
    output.print(
        format!("rollup {rollup}: {what} {} ETH{debts}", units(added)),
        &json!({
            "rollup": options.rollup,
            "addedWei": added.to_string(),
            "owedWei": owed.to_string(),
            "owner": account.address(),
        }),
    );
    Ok(())
}

/// Refuses to register what cannot have been meant: the fee burns, and a registration stands for ever.
async fn sensible(
    client: &Client,
    deployment: &Deployment,
    rollup: RollupId,
    allowance: U256,
) -> eyre::Result<()> {
    eyre::ensure!(
        rollup.get() != client.chain_id(),
        "{rollup} is L1's own chain id: a transaction that is signed for the rollup would move funds on L1 as well"
    );
    if let Some(owner) = actions::rollup(client, deployment, rollup).await?.owner {
        eyre::bail!(
            "rollup {rollup} is registered already, by {owner}; rota rollup fund adds to its allowance"
        );
    }
    let reserve = client.verify(deployment).await?.rollup_reserve_wei;
    eyre::ensure!(
        allowance >= reserve,
        "--allowance: expected at least {} ETH, the network's reserve: with {} the rollup would be closed from its first \
         moment on",
        units(reserve),
        units(allowance)
    );
    Ok(())
}
