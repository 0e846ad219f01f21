//! `rota restart`: a new generation after more than a third of a set is gone for good (R33).

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::domain::{Deployment, Params, Seconds};
use crate::l1::restart::{Finishing, RestartStatus, Stage};
use crate::l1::{Account, Client, L1Error, actions, restart};
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;

/// Bring the network back after more than a third of a leader set is gone for good
///
/// When nothing settles any more and those who are missing will not return: `open`, then every sequencer that is there
/// checks in (an agent does so by itself), then `finish`. Those who checked in are the leader set of a new generation.
/// What is settled stays; what was only decided is ordered again. `status` says which step is next, and when.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Open a restart, once nothing has settled for the restart delay; anybody may
    Open(Anybody),
    /// Say that a sequencer is there; its owner or its hot key says so
    CheckIn(CheckIn),
    /// Begin the new generation, once check-in is over; anybody may
    Finish(Anybody),
    /// Show where the network stands and what can be done
    Status(Chain),
}

#[derive(Args)]
pub(super) struct Anybody {
    #[command(flatten)]
    payer: Owner,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Args)]
pub(super) struct CheckIn {
    /// The sequencer's number in the registry; found by the key without it
    #[arg(value_name = "SEQUENCER")]
    id: Option<u32>,
    #[command(flatten)]
    key: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// What a command needs of L1.
struct Network {
    client: Client,
    deployment: Deployment,
    params: Params,
}

impl Network {
    async fn open(chain: &Chain) -> eyre::Result<Self> {
        let (client, deployment) = chain.open().await?;
        let params = client.verify(&deployment).await?;
        Ok(Self { client, deployment, params })
    }

    async fn status(&self) -> Result<RestartStatus, L1Error> {
        restart::status(&self.client, &self.deployment, &self.params).await
    }
}

pub(super) async fn run(command: Command, output: Output) -> eyre::Result<()> {
    match command {
        Command::Open(options) => open(options, output).await,
        Command::CheckIn(options) => check_in(options, output).await,
        Command::Finish(options) => finish(options, output).await,
        Command::Status(chain) => {
            let status = Network::open(&chain).await?.status().await?;
            output.print(told(&status), &status);
            Ok(())
        }
    }
}

async fn open(options: Anybody, output: Output) -> eyre::Result<()> {
    let network = Network::open(&options.chain).await?;
    let account = options.payer.account(network.client.clone())?;
    let status = network.status().await?;
    let (opened, until) = match status.stage {
        Stage::Due => {
            let waiting = progress("opening a restart");
            let opened = restart::open(&account, &network.deployment).await;
            waiting.finish_and_clear();
            (true, opened?)
        }
        Stage::CheckIn { until } => (false, until),
        Stage::NotDue { .. } | Stage::Finish { .. } => eyre::bail!(told(&status)),
    };
    let was = if opened { "is open" } else { "was open already" };
    output.print(
        format!(
            "a restart {was}; check-in ends {}\nnow, for each sequencer that is there: rota restart check-in",
            when(until, status.now)
        ),
        &json!({ "opened": opened, "checkInUntil": until }),
    );
    Ok(())
}

async fn check_in(options: CheckIn, output: Output) -> eyre::Result<()> {
    let network = Network::open(&options.chain).await?;
    let account = options.key.account(network.client.clone())?;
    let id = match options.id {
        Some(id) => id,
        None => own_sequencer(&network, &account).await?,
    };
    let before = network.status().await?;
    if let Stage::Finish { .. } = before.stage {
        eyre::bail!("check-in is over: {}", told(&before));
    }
    let waiting = progress("checking in");
    let done = restart::check_in(&account, &network.deployment, id).await;
    waiting.finish_and_clear();
    let checked_in = match done {
        Ok(()) => true,
        Err(L1Error::Reverted { reason, .. }) if reason.starts_with("AlreadyCheckedIn") => false,
        Err(L1Error::Reverted { reason, .. }) if reason.starts_with("NoRestartOpen") => {
            eyre::bail!(told(&before));
        }
        Err(error) => return Err(error.into()),
    };
    let status = network.status().await?;
    let text = match (checked_in, status.stage) {
        (true, Stage::CheckIn { .. }) => format!("sequencer {id} checked in\n{}", told(&status)),
        (false, Stage::CheckIn { .. }) => {
            format!("sequencer {id} had checked in already\n{}", told(&status))
        }
        (true, _) => format!("sequencer {id} is back; it counts from the next set sealed on"),
        (false, _) => format!("sequencer {id} did not miss the last restart"),
    };
    output.print(text, &json!({ "sequencer": id, "checkedIn": checked_in, "status": status }));
    Ok(())
}

async fn finish(options: Anybody, output: Output) -> eyre::Result<()> {
    let network = Network::open(&options.chain).await?;
    let account = options.payer.account(network.client.clone())?;
    let status = network.status().await?;
    if !matches!(status.stage, Stage::Finish { .. }) {
        eyre::bail!(told(&status));
    }
    let waiting = progress("finishing the restart");
    let pause = Duration::from_secs(network.params.l1_block_seconds.clamp(1, 12));
    let begun = loop {
        match restart::finish(&account, &network.deployment, true, 0).await {
            Ok(Finishing::Begun(begun)) => break Ok(begun),
            // The block that the seed comes from is not there yet.
            Ok(Finishing::Closed | Finishing::Open | Finishing::Waiting { .. }) => {
                tokio::time::sleep(pause).await
            }
            Err(error) => break Err(error),
        }
    };
    waiting.finish_and_clear();
    let begun = begun?;
    output.print(
        format!(
            "generation {} begins after height {}, in epoch {}; agents go over to it once this is at depth",
            begun.generation, begun.last_height, begun.epoch
        ),
        &begun,
    );
    Ok(())
}

/// The sequencer whose hot key or owner this account is.
async fn own_sequencer(network: &Network, account: &Account) -> eyre::Result<u32> {
    let address = account.address();
    if let Some(id) = actions::id_of(&network.client, &network.deployment, address).await? {
        return Ok(id);
    }
    let all = actions::sequencers(&network.client, &network.deployment).await?;
    let mut owned = all.iter().filter(|one| one.owner == address).map(|one| one.id);
    match (owned.next(), owned.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => eyre::bail!("{address} is no sequencer's owner and no hot key"),
        (Some(_), Some(_)) => {
            eyre::bail!(
                "{address} owns several sequencers: name one, rota restart check-in <SEQUENCER>"
            )
        }
    }
}

/// Where the network stands and what comes next, in words.
fn told(status: &RestartStatus) -> String {
    let gathered = format!(
        "{} sequencers with a weight of {} of {} have checked in, {}",
        status.checked_in,
        status.weight,
        status.total,
        match status.needed {
            Some(needed) => format!("{needed} is needed"),
            None => "the least number of members is enough".to_owned(),
        }
    );
    let next = match status.stage {
        Stage::NotDue { open_from } => {
            format!(
                "a restart can be opened {}, if nothing settles until then",
                when(open_from, status.now)
            )
        }
        Stage::Due => "a restart can be opened now: rota restart open".to_owned(),
        Stage::CheckIn { until } => format!(
            "a restart is open: {gathered}; check-in ends {}, then: rota restart finish",
            when(until, status.now)
        ),
        Stage::Finish { until } => format!(
            "check-in is over: {gathered}; rota restart finish, it lapses {}",
            when(until, status.now)
        ),
    };
    format!(
        "generation {}, settled up to height {}\n{next}",
        status.generation, status.tip.last_height
    )
}

fn when(time: Seconds, now: Seconds) -> String {
    format!("in {} s, at L1 time {time}", time.get().saturating_sub(now.get()))
}
