//! `rota compensate`: what the senders of late forced transactions are owed.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner, units};
use crate::domain::Deployment;
use crate::l1::compensation::{self, Entries, Owed, Standing};
use crate::l1::{Account, L1Error};
use alloy::primitives::{Address, U256};
use clap::Args;
use eyre::bail;
use serde_json::{Value, json};

/// Have senders compensated whose forced transactions came late
///
/// Needs L1 alone; anybody may.
///
/// A batch that consumes an entry after its deadline and grace earns nothing; what it would have earned in ETH goes to the
/// senders of its late entries, by the fees that they burned. This puts it in the sender's name; `rota rewards --claim`, or
/// `rota claim --poster`, with the sender's key pays it out.
#[derive(Args)]
pub(super) struct Options {
    /// Number of an entry of the forced queue, or hash of the transaction that was forced; without it all entries of an account
    #[arg(value_name = "ENTRY|HASH", value_parser = named, conflicts_with = "of")]
    entry: Option<Entries>,
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
    let named = options.entry.or(options.of.map(Entries::Of));
    let (entries, account) = match named {
        // To look up what was named takes no key.
        Some(entries) if options.dry_run => (entries, None),
        _ => {
            let account = options.owner.account(client.clone())?;
            (named.unwrap_or(Entries::Of(account.address())), Some(account))
        }
    };

    let waiting = progress("waiting for L1");
    let standing = compensation::standing(&client, &deployment, entries).await;
    let done = match (standing, account.filter(|_| !options.dry_run)) {
        (Ok(standing), Some(account)) => compensate(&account, &deployment, standing).await,
        (standing, _) => standing,
    };
    waiting.finish_and_clear();
    let standing = done?;
    if let Some(reason) = nothing(entries, &standing) {
        bail!(reason);
    }
    output.print(describe(entries, &standing.owed, options.dry_run), &told(&standing.owed));
    Ok(())
}

/// Has what is owed credited. What somebody else was faster with is in its sender's name as well.
async fn compensate(
    account: &Account,
    deployment: &Deployment,
    mut standing: Standing,
) -> Result<Standing, L1Error> {
    let mut credited = Vec::with_capacity(standing.owed.len());
    for entry in standing.owed {
        match compensation::compensate(account, deployment, &entry).await {
            Ok(amount_wei) => credited.push(Owed { amount_wei, ..entry }),
            Err(L1Error::Reverted { reason, .. }) if reason.starts_with("AlreadyCompensated") => {
                standing.compensated.push(entry.index);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Standing { owed: credited, ..standing })
}

/// A number in the queue, or a hash.
fn named(text: &str) -> Result<Entries, &'static str> {
    if let Ok(index) = text.parse() {
        return Ok(Entries::Numbered(index));
    }
    let hash = text.parse().map(Entries::Holding);
    hash.map_err(
        |_| "expected the number of an entry, or the hash of a transaction (0x and 64 digits)",
    )
}

/// Why there is nothing for an entry that was named. An account may well have none that came late.
fn nothing(entries: Entries, standing: &Standing) -> Option<String> {
    let unknown = match entries {
        Entries::Of(_) => return None,
        Entries::Numbered(index) => format!("the forced queue has no entry {index}"),
        Entries::Holding(hash) => format!("no entry of the forced queue holds {hash}"),
    };
    if !standing.owed.is_empty() {
        return None;
    }
    Some(match (standing.compensated.first(), standing.others.first()) {
        (Some(index), _) => format!("entry {index} is compensated already"),
        (None, Some(index)) => {
            format!("nothing is owed for entry {index}: it did not come late with a tallied batch")
        }
        (None, None) => unknown,
    })
}

fn total(owed: &[Owed]) -> U256 {
    owed.iter().fold(U256::ZERO, |sum, entry| sum.saturating_add(entry.amount_wei))
}

fn describe(entries: Entries, owed: &[Owed], dry_run: bool) -> String {
    let mut text = String::new();
    for Owed { index, batch, sender, amount_wei, .. } in owed {
        text += &format!(
            "entry {index} of {sender}, late with batch {batch}: {} ETH\n",
            units(*amount_wei)
        );
    }
    let whole = units(total(owed));
    let whose = match entries {
        Entries::Of(sender) if owed.is_empty() => {
            return format!(
                "nothing is owed to {sender}: no entry of it that came late with a tallied batch is left"
            );
        }
        Entries::Of(sender) => sender.to_string(),
        Entries::Numbered(_) | Entries::Holding(_) => "who forced it".to_owned(),
    };
    let end = match dry_run {
        true => format!("{whole} ETH are owed to {whose}"),
        false => format!("{whole} ETH are in the name of {whose}: rota rewards --claim pays them"),
    };
    text + &end
}

fn told(owed: &[Owed]) -> Value {
    let entries: Vec<Value> = owed
        .iter()
        .map(|Owed { index, batch, rollup, sender, transaction_hash, amount_wei }| {
            json!({
                "entry": index,
                "batch": batch,
                "rollup": rollup,
                "sender": sender,
                "hash": transaction_hash,
                "amountWei": amount_wei.to_string(),
            })
        })
        .collect();
    json!({ "amountWei": total(owed).to_string(), "entries": entries })
}

#[cfg(test)]
mod tests {
    use super::{Entries, Owed, Standing, describe, named, nothing, told};
    use crate::domain::{BatchNumber, RollupId};
    use alloy::primitives::{Address, B256, U256};
    use serde_json::json;

    fn owed(index: u64, wei: u64) -> Owed {
        Owed {
            index,
            batch: BatchNumber::new(7),
            rollup: RollupId::new(901),
            sender: Address::repeat_byte(1),
            transaction_hash: B256::ZERO,
            amount_wei: U256::from(wei),
        }
    }

    #[test]
    fn says_what_is_owed_and_how_it_is_paid() {
        let sender = Address::repeat_byte(1);
        let all = Entries::Of(sender);
        let two = [owed(3, 1_000_000_000_000_000), owed(4, 500_000_000_000_000)];
        let text = describe(all, &two, false);
        let first = format!("entry 3 of {sender}, late with batch 7: 0.001 ETH\nentry 4 ");
        assert!(text.starts_with(&first), "{text}");
        assert!(text.contains(&format!("0.0015 ETH are in the name of {sender}")), "{text}");
        assert!(describe(all, &two, true).contains("0.0015 ETH are owed to"));
        assert!(describe(all, &[], false).starts_with("nothing is owed to"));
        let value = told(&two);
        assert_eq!(value["amountWei"], "1500000000000000");
        assert_eq!(
            (&value["entries"][1]["entry"], &value["entries"][0]["batch"]),
            (&json!(4), &json!(7))
        );
        assert_eq!(value["entries"][1]["sender"], json!(sender));
    }

    #[test]
    fn takes_a_number_or_a_hash_and_nothing_else() {
        assert_eq!(named("12"), Ok(Entries::Numbered(12)));
        let hash = B256::repeat_byte(9);
        assert_eq!(named(&hash.to_string()), Ok(Entries::Holding(hash)));
        for text in ["", "-1", "0x12", "18446744073709551616"] {
            assert!(named(text).unwrap_err().starts_with("expected the number of an entry"));
        }
    }

    #[test]
    fn says_why_nothing_is_owed_for_an_entry_that_was_named() {
        let one = Entries::Numbered(3);
        let none = Standing::default();
        assert_eq!(nothing(one, &none).unwrap(), "the forced queue has no entry 3");
        let hash = nothing(Entries::Holding(B256::ZERO), &none).unwrap();
        assert_eq!(hash, format!("no entry of the forced queue holds {}", B256::ZERO));
        assert_eq!(nothing(Entries::Of(Address::ZERO), &none), None);

        let in_time = Standing { others: vec![3], ..none.clone() };
        let text = nothing(one, &in_time).unwrap();
        assert_eq!(text, "nothing is owed for entry 3: it did not come late with a tallied batch");
        let before = Standing { compensated: vec![3], ..none.clone() };
        assert_eq!(nothing(one, &before).unwrap(), "entry 3 is compensated already");
        let late = Standing { owed: vec![owed(3, 1)], ..before };
        assert_eq!(nothing(one, &late), None);
    }
}
