//! `rota report`: offences that anybody can prove, for a bounty.

use crate::cli::amount::StakeToken;
use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::domain::{Deployment, Evidence};
use crate::l1::duties::{self, KeyReference};
use crate::l1::{Account, L1Error, actions, reports};
use alloy::primitives::{Address, B256};
use clap::{Args, Subcommand};
use eyre::WrapErr as _;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How often to look for the block after a commitment.
const LOOK: Duration = Duration::from_millis(500);

/// Report an offence to L1, for a bounty; anybody may
#[derive(Subcommand)]
pub(super) enum Command {
    /// Have a sequencer jailed that misses its turns
    MissedTurns(MissedTurns),
    /// Prove that somebody signed two things that exclude each other
    Evidence(Offence),
}

#[derive(Args)]
pub(super) struct MissedTurns {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Args)]
pub(super) struct Offence {
    /// JSON file with the two signed messages (see OPERATIONS.md)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Commit to the evidence one block before showing it, so that nobody who sees the report on its way gets its bounty
    #[arg(long)]
    commit: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Burn what penalties took and left to nobody; anybody may
#[derive(Args)]
pub(super) struct Sweep {
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn sweep(options: Sweep, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let account = options.owner.account(client)?;
    let burned = reports::sweep(&account, &deployment).await?;
    output.print(
        format!("{} tokens burned", token.show(burned)),
        &json!({ "burnedWei": burned.to_string() }),
    );
    Ok(())
}

pub(super) async fn run(command: Command, output: Output) -> eyre::Result<()> {
    match command {
        Command::MissedTurns(options) => missed_turns(options, output).await,
        Command::Evidence(options) => evidence(options, output).await,
    }
}

async fn missed_turns(options: MissedTurns, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let case = reports::report_missed_turns(&account, &deployment, options.id).await?;
    output.print(
        format!("sequencer {} is jailed; your bounty waits: rota claim --bounty", options.id),
        &json!({ "sequencer": options.id, "case": case, "reporter": account.address() }),
    );
    Ok(())
}

async fn evidence(options: Offence, output: Output) -> eyre::Result<()> {
    let text = fs::read_to_string(&options.file)
        .wrap_err_with(|| format!("cannot read {}", options.file.display()))?;
    let evidence: Evidence = serde_json::from_str(&text)
        .wrap_err_with(|| format!("{} holds no evidence", options.file.display()))?;
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let offender = evidence.offender();
    let known = actions::id_of(account.client(), &deployment, offender).await?;
    let Some(id) = known else { eyre::bail!("{offender} is no sequencer's key") };

    let (case, earlier) = if options.commit {
        report_committed(&account, &deployment, &evidence).await?
    } else {
        let key = key_of(&account, &deployment, &evidence).await?;
        (duties::report(&account, &deployment, key, &evidence).await?, None)
    };
    let bounty = earlier.map(|refused| format!("\nsomebody else has the bounty: {refused}"));
    output.print(
        format!(
            "sequencer {id} is jailed by case {case}; its penalty can be executed after the correlation window{}",
            bounty.unwrap_or_default()
        ),
        &json!({ "sequencer": id, "case": case, "reporter": account.address() }),
    );
    Ok(())
}

/// Commits, waits for the next block, as a commitment of the same one would count as no earlier, and reports. Returns the
/// case, and why the bounty is another's if it is.
async fn report_committed(
    account: &Account,
    deployment: &Deployment,
    evidence: &Evidence,
) -> eyre::Result<(B256, Option<L1Error>)> {
    // By its place in a set: that holds also if somebody else has the offender jailed meanwhile, or it takes another key.
    let place = place_of(account, deployment, evidence).await?;
    let key = place.ok_or_else(|| in_no_set(evidence.offender()))?;
    let (report, salt) =
        (duties::report_input(key, evidence), B256::from(rand::random::<[u8; 32]>()));
    let waiting = progress("committing");
    reports::commit(account, deployment, &report, salt).await?;
    let committed = account.client().head().await?;
    while account.client().head().await?.number <= committed.number {
        tokio::time::sleep(LOOK).await;
    }
    waiting.finish_and_clear();
    match reports::claim_case(account, deployment, &report, salt).await {
        Ok(case) => Ok((case, None)),
        // Somebody knew earlier, and has the bounty. The case counts all the same, unless it is known.
        Err(refused @ L1Error::Reverted { .. }) => {
            match duties::report(account, deployment, key, evidence).await {
                Ok(case) => Ok((case, Some(refused))),
                Err(L1Error::Reverted { .. }) => Err(refused.into()),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

async fn key_of(
    account: &Account,
    deployment: &Deployment,
    evidence: &Evidence,
) -> eyre::Result<KeyReference> {
    let (client, offender) = (account.client(), evidence.offender());
    if let Some(key) = duties::current_key(client, deployment, offender).await? {
        return Ok(key);
    }
    let place = place_of(account, deployment, evidence).await?;
    place.ok_or_else(|| in_no_set(offender))
}

fn in_no_set(offender: Address) -> eyre::Report {
    eyre::eyre!("{offender} is in no set whose evidence is still taken")
}

async fn place_of(
    account: &Account,
    deployment: &Deployment,
    evidence: &Evidence,
) -> eyre::Result<Option<KeyReference>> {
    let client = account.client();
    let params = client.verify(deployment).await?;
    let now = params.epoch_at(client.head().await?.timestamp);
    // A set may have ended an epoch after the one that it is looked for in.
    let window = params.evidence_window_seconds.checked_div(params.epoch_seconds).unwrap_or(0);
    let back = window.saturating_add(1);
    Ok(reports::place_of(client, deployment, evidence.offender(), now, back).await?)
}
