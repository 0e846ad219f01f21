//! `rota rewards`, `commission`, `fund`: what work earns on L1, who keeps what of it, and who pays for it.

use crate::cli::amount::{StakeToken, Written, ether, units};
use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::domain::{Deployment, Epoch, SequencerRecord};
use crate::l1::rewards::{self, WaitingEpoch};
use crate::l1::{Account, Client, L1Error, actions};
use alloy::primitives::{Address, U256};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Epochs that are looked at or credited at once.
const EPOCHS: usize = 64;

/// Show what an account has earned, and take all of it out
///
/// Counts refunds and margins of a poster, bounties of a reporter, and for every sequencer that the account owns or signs
/// for: the rewards that wait for their epoch to close, and the owner's commission. Rewards of closed epochs go into the
/// sequencer's pool, where stake and delegations share them; they come out with the stake (`rota exit`).
#[derive(Args)]
pub(super) struct Rewards {
    /// The account, if it is another than the owner's; its key is not needed to look
    #[arg(long, value_name = "ADDRESS", conflicts_with = "claim")]
    of: Option<Address>,
    /// Take out all of it, and credit the closed epochs that wait
    #[arg(long)]
    claim: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Show or set what the owner keeps of the rewards of a sequencer's pool
///
/// Lowering counts at once. A raise is announced, is at most as large as the network allows, and counts after its delay.
#[derive(Args)]
pub(super) struct CommissionOptions {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// What to keep from now on, or from the delay on, in percent (2.5); shows it without
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    set: Option<u16>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Show or set how much others may delegate to a sequencer
///
/// What is delegated already stays. A cap of 0 takes no more of it; without a cap the network's least part that an owner
/// holds itself (`rota params`, minSelfBondBps) is the only limit.
#[derive(Args)]
pub(super) struct CapOptions {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// What others may have in its pool, in whole tokens (5000); shows it without
    #[arg(long, value_name = "TOKENS")]
    set: Option<Written>,
    /// Take the cap away
    #[arg(long, conflicts_with = "set")]
    none: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Fund the reward pool
///
/// ETH is for posters and sealers, stake tokens for signers. Nothing of it comes back.
#[derive(Args)]
pub(super) struct Fund {
    /// ETH (0.5)
    #[arg(long, value_name = "ETH", value_parser = ether, required_unless_present = "tokens")]
    eth: Option<U256>,
    /// Stake tokens (1000)
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<Written>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// What one account has earned.
struct Earned {
    poster_wei: U256,
    bounty_wei: U256,
    sequencers: Vec<(SequencerRecord, rewards::Commission, Vec<(WaitingEpoch, U256)>)>,
}

pub(super) async fn run(options: Rewards, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    if !options.claim {
        let account = match options.of {
            Some(account) => account,
            None => options.owner.account(client.clone())?.address(),
        };
        let earned = look(&client, &deployment, account).await?;
        let token = StakeToken::of(&client, &deployment).await?;
        output.print(describe(account, &earned, token), &as_json(account, &earned));
        return Ok(());
    }
    let account = options.owner.account(client.clone())?;
    let waiting = progress("waiting for L1");
    let claimed = claim(&account, &deployment).await;
    waiting.finish_and_clear();
    let (text, value) = claimed?;
    output.print(text, &value);
    Ok(())
}

async fn look(client: &Client, deployment: &Deployment, account: Address) -> eyre::Result<Earned> {
    let mut sequencers = Vec::new();
    for sequencer in actions::sequencers(client, deployment).await? {
        if sequencer.owner != account && sequencer.signer != account {
            continue;
        }
        let commission = rewards::commission(client, deployment, sequencer.id).await?;
        let waiting = waiting(client, deployment, &sequencer).await?;
        sequencers.push((sequencer, commission, waiting));
    }
    Ok(Earned {
        poster_wei: rewards::poster_balance(client, deployment, account).await?,
        bounty_wei: rewards::bounty(client, deployment, account).await?,
        sequencers,
    })
}

/// What a sequencer earned in each epoch from the first that waits to the running one.
async fn waiting(
    client: &Client,
    deployment: &Deployment,
    sequencer: &SequencerRecord,
) -> eyre::Result<Vec<(WaitingEpoch, U256)>> {
    let Some(first) = rewards::next_credit(client, deployment).await? else {
        return Ok(Vec::new());
    };
    let params = client.verify(deployment).await?;
    let running = params.epoch_at(client.head().await?.timestamp);
    let mut earned = Vec::new();
    for epoch in (first.epoch.get()..=running.get()).take(EPOCHS) {
        let epoch = Epoch::new(epoch);
        let one = WaitingEpoch { epoch, due: first.due && epoch == first.epoch, ..first };
        let wei = rewards::signer_reward(client, deployment, one, sequencer).await?;
        if !wei.is_zero() {
            earned.push((one, wei));
        }
    }
    Ok(earned)
}

fn describe(account: Address, earned: &Earned, token: StakeToken) -> String {
    let mut text = format!(
        "{account}\n  poster   {:>14} ETH\n  bounties {:>14} tokens",
        units(earned.poster_wei),
        token.show(earned.bounty_wei)
    );
    for (sequencer, commission, waiting) in &earned.sequencers {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\nsequencer {}: commission {} tokens",
            sequencer.id,
            token.show(commission.balance_wei)
        );
        for (one, wei) in waiting {
            let state = if one.due { "closed, can be credited" } else { "not closed yet" };
            let _ =
                write!(text, "\n  epoch {:>6} {:>14} tokens, {state}", one.epoch, token.show(*wei));
        }
    }
    text
}

fn as_json(account: Address, earned: &Earned) -> Value {
    let sequencers: Vec<Value> = earned
        .sequencers
        .iter()
        .map(|(sequencer, commission, waiting)| {
            let epochs: Vec<Value> = waiting
                .iter()
                .map(|(one, wei)| {
                    json!({
                        "generation": one.generation,
                        "epoch": one.epoch,
                        "closed": one.due,
                        "rewardWei": wei.to_string(),
                    })
                })
                .collect();
            json!({
                "sequencer": sequencer.id,
                "commissionWei": commission.balance_wei.to_string(),
                "epochs": epochs,
            })
        })
        .collect();
    json!({
        "account": account,
        "posterWei": earned.poster_wei.to_string(),
        "bountyWei": earned.bounty_wei.to_string(),
        "sequencers": sequencers,
    })
}

/// Credits what is due and takes out what is there.
async fn claim(account: &Account, deployment: &Deployment) -> eyre::Result<(String, Value)> {
    let client = account.client();
    let mut credited = 0_usize;
    let mut tried = None;
    for _ in 0..EPOCHS {
        let next = rewards::next_credit(client, deployment).await?.filter(|next| next.due);
        let Some(next) = next else { break };
        match rewards::credit_epoch(account, deployment).await {
            Ok(_) => credited = credited.saturating_add(1),
            // Agents credit too: whoever comes second finds the next epoch, and that it is not over.
            Err(L1Error::Reverted { .. }) if tried != Some(next) => {}
            Err(error) => return Err(error.into()),
        }
        tried = Some(next);
    }
    let earned = look(client, deployment, account.address()).await?;
    if !earned.poster_wei.is_zero() {
        actions::claim_poster(account, deployment, account.address()).await?;
    }
    if !earned.bounty_wei.is_zero() {
        actions::claim_bounty(account, deployment, account.address()).await?;
    }
    let mut commission_wei = U256::ZERO;
    for (sequencer, commission, _) in &earned.sequencers {
        if sequencer.owner == account.address() && !commission.balance_wei.is_zero() {
            let paid = rewards::claim_commission(account, deployment, sequencer.id).await?;
            commission_wei = commission_wei.saturating_add(paid);
        }
    }
    let token = StakeToken::of(client, deployment).await?;
    let text = format!(
        "{credited} epochs credited to their pools\n\
         paid to {}: {} ETH for posting, {} tokens of bounties, {} tokens of commission (to the \
         withdrawal addresses of sequencers that have one)",
        account.address(),
        units(earned.poster_wei),
        token.show(earned.bounty_wei),
        token.show(commission_wei)
    );
    let value = json!({
        "account": account.address(),
        "epochsCredited": credited,
        "posterWei": earned.poster_wei.to_string(),
        "bountyWei": earned.bounty_wei.to_string(),
        "commissionWei": commission_wei.to_string(),
    });
    Ok((text, value))
}

pub(super) async fn cap(options: CapOptions, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let cap = options.set.map(|cap| token.units("--set", &cap)).transpose()?;
    if cap.is_some() || options.none {
        let owner = options.owner.account(client.clone())?;
        rewards::set_delegation_cap(&owner, &deployment, options.id, cap).await?;
    }
    // A sequencer that there is not has no cap, which would be a strange answer.
    actions::sequencer(&client, &deployment, options.id).await?;
    let known = rewards::delegation_cap(&client, &deployment, options.id).await?;
    let text =
        known.map_or_else(|| "no cap".to_owned(), |cap| format!("{} tokens", token.show(cap)));
    output.print(
        format!("sequencer {}: others may delegate: {text}", options.id),
        &json!({ "sequencer": options.id, "capWei": known.map(|cap| cap.to_string()) }),
    );
    Ok(())
}

pub(super) async fn commission(options: CommissionOptions, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    if let Some(bps) = options.set {
        let owner = options.owner.account(client.clone())?;
        rewards::set_commission(&owner, &deployment, options.id, bps).await?;
    }
    // A sequencer that there is not keeps nothing, which would be a strange answer.
    actions::sequencer(&client, &deployment, options.id).await?;
    let known = rewards::commission(&client, &deployment, options.id).await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let mut text = format!(
        "sequencer {}: the owner keeps {} %, has {} tokens to claim",
        options.id,
        of_bps(known.bps),
        token.show(known.balance_wei)
    );
    if known.next_bps != known.bps {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nfrom L1 time {} on: {} %", known.next_from, of_bps(known.next_bps));
    }
    let value = json!({
        "sequencer": options.id,
        "bps": known.bps,
        "nextBps": known.next_bps,
        "nextFrom": known.next_from,
        "balanceWei": known.balance_wei.to_string(),
    });
    output.print(text, &value);
    Ok(())
}

pub(super) async fn fund(options: Fund, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let account = options.owner.account(client)?;
    let eth = options.eth.unwrap_or_default();
    let tokens = options.tokens.map(|tokens| token.units("--tokens", &tokens)).transpose()?;
    let tokens = tokens.unwrap_or_default();
    eyre::ensure!(!eth.is_zero() || !tokens.is_zero(), "--eth or --tokens: expected more than 0");
    let waiting = progress("waiting for L1");
    let done = actions::fund_pool(&account, &deployment, eth, tokens).await;
    waiting.finish_and_clear();
    done?;
    output.print(
        format!("the reward pool has {} ETH and {} tokens more", units(eth), token.show(tokens)),
        &json!({
            "ethWei": eth.to_string(),
            "tokenWei": tokens.to_string(),
            "from": account.address(),
        }),
    );
    Ok(())
}

fn of_bps(bps: u16) -> String {
    let (whole, rest) = (bps / 100, bps % 100);
    let text = format!("{whole}.{rest:02}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Percent with at most two decimals, as basis points.
fn percent(text: &str) -> Result<u16, &'static str> {
    const EXPECTED: &str =
        "expected a percentage from 0 to 100 with at most two decimals, such as 2.5";
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 2 || !digits(whole) || !digits(decimals) {
        return Err(EXPECTED);
    }
    let bps: u16 = format!("{whole}{decimals:0<2}").parse().map_err(|_| EXPECTED)?;
    if bps > 10_000 { Err(EXPECTED) } else { Ok(bps) }
}

#[cfg(test)]
mod tests {
    use super::{of_bps, percent};

    #[test]
    fn percentages_are_basis_points_and_back() {
        for (text, bps) in [("0", 0), ("2.5", 250), ("2.05", 205), ("100", 10_000), ("0.01", 1)] {
            assert_eq!(percent(text), Ok(bps));
            assert_eq!(of_bps(bps), text);
        }
        for text in ["", ".5", "2.505", "100.01", "-1", "1e1", "+1", "99999999", "2,5"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
