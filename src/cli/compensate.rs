//! `rota compensate`: what the senders of late forced transactions are owed.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner, units};
use crate::domain::Deployment;
use crate::l1::compensation::{self, Owed};
use crate::l1::{Account, Client};
use alloy::primitives::{Address, U256};
use clap::Args;
use serde_json::{Value, json};

/// Have the senders of forced transactions compensated that came late. Needs L1 alone; anybody may.
///
/// A batch that consumes an entry after its deadline and grace earns nothing; what it would have earned in ETH goes to the
/// senders of its late entries, by the fees that they burned. This puts it in the sender's name; `rota rewards --claim`, or
/// `rota claim --poster`, with the sender's key pays it out.
#[derive(Args)]
pub(super) struct Options {
    /// Whose entries, if not those of the account that pays
    #[arg(long, value_name = "ADDRESS")]
    of: Option<Address>,
    /// Only say what is owed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = match (options.dry_run, options.of) {
        (true, Some(_)) => None,
        _ => Some(options.owner.account(client.clone())?),
    };
    let sender = options.of.or(account.as_ref().map(Account::address)).unwrap_or_default();

    let waiting = progress("waiting for L1");
    let done = compensate(&client, &deployment, sender, account.filter(|_| !options.dry_run)).await;
    waiting.finish_and_clear();
    let owed = done?;
    output.print(describe(sender, &owed, options.dry_run), &told(sender, &owed));
    Ok(())
}

/// What is owed to `sender`; `account` has it credited, if there is one.
async fn compensate(
    client: &Client,
    deployment: &Deployment,
    sender: Address,
    account: Option<Account>,
) -> eyre::Result<Vec<Owed>> {
    let mut owed = compensation::owed(client, deployment, sender).await?;
    if let Some(account) = account {
        for entry in &mut owed {
            entry.amount_wei = compensation::compensate(&account, deployment, entry).await?;
        }
    }
    Ok(owed)
}

fn total(owed: &[Owed]) -> U256 {
    owed.iter().fold(U256::ZERO, |sum, entry| sum.saturating_add(entry.amount_wei))
}

fn describe(sender: Address, owed: &[Owed], dry_run: bool) -> String {
    if owed.is_empty() {
        return format!(
            "nothing is owed to {sender}: no entry of it came late with a tallied batch"
        );
    }
    let mut text = String::new();
    for Owed { index, batch, amount_wei, .. } in owed {
        text += &format!("entry {index}, late with batch {batch}: {} ETH\n", units(*amount_wei));
    }
    let whole = units(total(owed));
    let end = match dry_run {
        true => format!("{whole} ETH are owed to {sender}"),
        false => format!("{whole} ETH are in the name of {sender}: rota rewards --claim pays them"),
    };
    text + &end
}

fn told(sender: Address, owed: &[Owed]) -> Value {
    let entries: Vec<Value> = owed
        .iter()
        .map(|Owed { index, batch, rollup, transaction_hash, amount_wei, .. }| {
            json!({
                "entry": index,
                "batch": batch,
                "rollup": rollup,
                "hash": transaction_hash,
                "amountWei": amount_wei.to_string(),
            })
        })
        .collect();
    json!({ "sender": sender, "amountWei": total(owed).to_string(), "entries": entries })
}

#[cfg(test)]
mod tests {
    use super::{Owed, describe, told};
    use crate::domain::{BatchNumber, RollupId};
    use alloy::primitives::{Address, B256, U256};
    use serde_json::json;

    #[test]
    fn says_what_is_owed_and_how_it_is_paid() {
        let sender = Address::repeat_byte(1);
        let owed = |index, wei: u64| Owed {
            index,
            batch: BatchNumber::new(7),
            rollup: RollupId::new(901),
            sender,
            transaction_hash: B256::ZERO,
            amount_wei: U256::from(wei),
        };
        let two = [owed(3, 1_000_000_000_000_000), owed(4, 500_000_000_000_000)];
        let text = describe(sender, &two, false);
        assert!(text.starts_with("entry 3, late with batch 7: 0.001 ETH\nentry 4,"), "{text}");
        assert!(text.contains("0.0015 ETH are in the name of"), "{text}");
        assert!(describe(sender, &two, true).contains("0.0015 ETH are owed to"));
        assert!(describe(sender, &[], false).starts_with("nothing is owed to"));
        let value = told(sender, &two);
        assert_eq!(value["amountWei"], "1500000000000000");
        assert_eq!(
            (&value["entries"][1]["entry"], &value["entries"][0]["batch"]),
            (&json!(4), &json!(7))
        );
    }
}
