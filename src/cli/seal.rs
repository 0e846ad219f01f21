//! `rota seal`: the set of an epoch, without any agent.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::domain::{Deployment, Epoch, Params};
use crate::l1::actions::{self, SealStep};
use crate::l1::sealing::{Sealable, sealable, sealed_for};
use crate::l1::{Account, Client, L1Error};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// Freeze and seal the set of the next epoch, or of the running one if nobody leads; anybody may
///
/// Agents do so by themselves, in turns. By hand it takes two transactions with up to 96 L1 blocks in between (R4), and the command
/// waits for them: begin in the first half of an epoch. What somebody else has begun it goes on with.
#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    payer: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let params = client.verify(&deployment).await?;
    let account = options.payer.account(client.clone())?;
    let work = Work { client, deployment, params, account };
    let (epoch, sealed) = match work.look().await? {
        Sealable::Before { genesis } => {
            eyre::bail!("no set is sealed before genesis, at L1 time {genesis}")
        }
        Sealable::Done { epoch } => (epoch, false),
        Sealable::Due { epoch, .. } => {
            let waiting = progress(format!("sealing the set of epoch {epoch}"));
            let sealed = work.seal(epoch).await;
            waiting.finish_and_clear();
            (epoch, sealed?)
        }
    };
    let was = if sealed { "is sealed" } else { "was sealed by somebody else" };
    output.print(
        format!("the set of epoch {epoch} {was}"),
        &json!({ "epoch": epoch, "sealed": sealed }),
    );
    Ok(())
}

struct Work {
    client: Client,
    deployment: Deployment,
    params: Params,
    account: Account,
}

impl Work {
    async fn look(&self) -> Result<Sealable, L1Error> {
        sealable(&self.client, &self.deployment, &self.params).await
    }

    /// Seals the set of `epoch`; says whether it did, or somebody else.
    async fn seal(&self, epoch: Epoch) -> eyre::Result<bool> {
        let pause = Duration::from_secs(self.params.l1_block_seconds.clamp(1, 12));
        let is_due =
            |look: Sealable| matches!(look, Sealable::Due { epoch: due, .. } if due == epoch);
        loop {
            let step = actions::seal(&self.account, &self.deployment, epoch, true, 0).await;
            let look = self.look().await?;
            match step {
                Ok(SealStep::Sealed) => return Ok(true),
                // The block that the seed comes from is not there yet; or somebody was faster with one of the two.
                Ok(_) | Err(L1Error::Reverted { .. }) if !is_due(look) => {
                    return self.over(epoch).await;
                }
                Ok(_) => sleep(pause).await,
                // Somebody's transaction that waits for a block, or that another node has seen already: look again then.
                Err(L1Error::Reverted { reason, .. }) if is_by_others(&reason) => {
                    sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// It is not to be sealed any more: because it is, or because it is too late.
    async fn over(&self, epoch: Epoch) -> eyre::Result<bool> {
        let sealed_for = sealed_for(&self.client, &self.deployment, epoch).await?;
        if sealed_for == Some(epoch) {
            return Ok(false);
        }
        eyre::bail!(
            "the time to seal the set of epoch {epoch} is over: call again, early in an epoch"
        )
    }
}

/// Whether a call reverts for what somebody else did: nodes judge it after transactions that are in no block yet.
fn is_by_others(reason: &str) -> bool {
    let by_others = ["PinStands", "AlreadySealed", "EpochNotSealable"];
    by_others.iter().any(|name| reason.starts_with(name))
}
