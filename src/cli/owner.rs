//! `rota owner`: who may do what for a sequencer, and who is paid what its owner takes out.

use crate::cli::output::Output;
use crate::cli::{Chain, Owner};
use crate::l1::rights;
use alloy::primitives::Address;
use clap::{Args, Subcommand};
use serde_json::json;

/// Hand a sequencer over, name who runs it, or whom it pays
#[derive(Subcommand)]
pub(super) enum Command {
    /// Offer a sequencer, with its owner's stake, to another account, which has to accept
    Propose(Named),
    /// Take over a sequencer that was offered to this account
    ///
    /// Operator, poster, hot key and withdrawal address stay what they are; look at them first (`rota owner show`).
    Accept(Accept),
    /// Let another account run a sequencer: unjail, endpoint, poster, check-in; it moves no stake
    Operator(Named),
    /// Have all that the owner takes out from now on paid to one address
    ///
    /// The owner names the first. From then on only that address can name another one, so choose one whose key you have: by
    /// the owner's key alone stake can then be taken nowhere else, not even after a hand-over.
    Withdrawal(Named),
    /// Show who may do what
    Show(Show),
}

#[derive(Args)]
pub(super) struct Named {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// Whom; the zero address is nobody
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Args)]
pub(super) struct Accept {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// The withdrawal address that it has, if it has one: whom all that you take out will be paid to
    #[arg(long, value_name = "ADDRESS", default_value_t = Address::ZERO, hide_default_value = true)]
    withdrawal: Address,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Args)]
pub(super) struct Show {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(command: Command, output: Output) -> eyre::Result<()> {
    match command {
        Command::Propose(options) => {
            let (client, deployment) = options.chain.open().await?;
            let account = options.owner.account(client)?;
            rights::propose_owner(&account, &deployment, options.id, options.to).await?;
            let text = if options.to.is_zero() {
                format!("sequencer {} is offered to nobody", options.id)
            } else {
                format!("sequencer {} is offered to {}: rota owner accept", options.id, options.to)
            };
            output.print(text, &json!({ "sequencer": options.id, "offeredTo": options.to }));
        }
        Command::Accept(options) => {
            let (client, deployment) = options.chain.open().await?;
            let account = options.owner.account(client)?;
            rights::accept_owner(&account, &deployment, options.id, options.withdrawal).await?;
            output.print(
                format!("sequencer {} belongs to {}", options.id, account.address()),
                &json!({ "sequencer": options.id, "owner": account.address() }),
            );
        }
        Command::Operator(options) => {
            let (client, deployment) = options.chain.open().await?;
            let account = options.owner.account(client)?;
            rights::set_operator(&account, &deployment, options.id, options.to).await?;
            output.print(
                format!("sequencer {}: operator {}", options.id, options.to),
                &json!({ "sequencer": options.id, "operator": options.to }),
            );
        }
        Command::Withdrawal(options) => {
            let (client, deployment) = options.chain.open().await?;
            let account = options.owner.account(client)?;
            rights::set_withdrawal(&account, &deployment, options.id, options.to).await?;
            output.print(
                format!("sequencer {}: withdrawal address {}", options.id, options.to),
                &json!({ "sequencer": options.id, "withdrawal": options.to }),
            );
        }
        Command::Show(options) => {
            let (client, deployment) = options.chain.open().await?;
            let known = crate::l1::actions::sequencer(&client, &deployment, options.id).await?;
            let rights = rights::rights(&client, &deployment, options.id).await?;
            output.print(
                format!(
                    "sequencer {}\nowner       {}\noffered to  {}\noperator    {}\nwithdrawal  {}\nposter      {}",
                    options.id,
                    known.owner,
                    rights.next_owner,
                    rights.operator,
                    rights.withdrawal,
                    known.poster
                ),
                &json!({
                    "sequencer": options.id,
                    "owner": known.owner,
                    "offeredTo": rights.next_owner,
                    "operator": rights.operator,
                    "withdrawal": rights.withdrawal,
                    "poster": known.poster,
                }),
            );
        }
    }
    Ok(())
}
