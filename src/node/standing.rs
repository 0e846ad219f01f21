//! Whether the agent's store knows all that its key has signed (R46), as far as can be told before it starts.

use super::{FIRST_PAUSE, MAX_PAUSE, NodeError};
use crate::agreement::{Silence, doubt_of};
use crate::config::Config;
use crate::domain::{Deployment, Epoch, Params, Seconds};
use crate::l1::{Client, L1Error, actions, reports};
use crate::storage::{Standing, Store};
use alloy::primitives::Address;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tracing::warn;

/// Epochs back in which the key is looked for in leader sets. What it signed longer ago convicts nobody any more.
const EPOCHS_BACK: u64 = 64;

/// A node whose newest block is older than so many blocks of L1, and so many seconds, is behind: it is not asked.
const OLD_BLOCKS: u64 = 10;
const OLD_SECONDS: u64 = 30;

/// What the operator says about the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// A new store is to be made though the key has been in a leader set.
    pub new_store: bool,
    /// The records are complete, whatever it looks like: no need to listen before signing (R47).
    pub skip_listening: bool,
    /// Accepted transactions that were set aside, since the process ended on them again and again, are tried again.
    pub retry_set_aside: bool,
}

/// How long L1 is asked about a key that a store was never used with, before it is taken to have signed.
const ASKING: Duration = Duration::from_secs(10);

/// The store, if there is one.
///
/// # Errors
///
/// [`NodeError::Store`].
pub(super) fn existing(config: &Config) -> Result<Option<Store>, NodeError> {
    let path = config.store_path();
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Store::open_with_cache(path, config.store_cache_bytes)?))
}

/// Takes the store, or makes one; says why it may not know all that the key has signed, if so. Asks L1 only where the store
/// was never used with the key. A store that is there is taken whether or not L1 answers.
///
/// # Errors
///
/// [`NodeError::NoStore`] when there is none and the key has been in a leader set; [`NodeError::Store`]; [`NodeError::L1`].
pub(super) async fn take_over(
    config: &Config,
    existing: Option<Store>,
    params: &Params,
    client: &Client,
    said: Takeover,
) -> Result<(Store, Option<Silence>), NodeError> {
    let signer = config.signer.address();
    let (store, may_have_signed) = match existing {
        Some(store) => {
            let may_have_signed = store.key_standing(signer)?.is_none()
                && may_have_signed(config, &store, params, client).await?;
            (store, may_have_signed)
        }
        None => {
            let was_in_a_set = ask_until_answered(config, params, client).await?;
            let path = config.store_path();
            if was_in_a_set && !said.new_store {
                return Err(NodeError::NoStore { path, signer });
            }
            (Store::open_with_cache(path, config.store_cache_bytes)?, was_in_a_set)
        }
    };
    if said.skip_listening {
        warn!("what the store holds is taken for all that the key has signed, as was asked for");
        store.keep_standing(signer, Standing::Trusted)?;
    }
    let doubt = doubt_of(&store, signer, may_have_signed)?;
    if let Some(silence) = doubt {
        warn!(%silence, "the agent follows along and listens first");
    }
    Ok((store, doubt))
}

/// Whether a key may have signed with which a store that is there was never used.
async fn may_have_signed(
    config: &Config,
    store: &Store,
    params: &Params,
    client: &Client,
) -> Result<bool, NodeError> {
    let asked = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match asked_once(config, store, params, client).await {
                Err(NodeError::L1(error)) if error.is_transient() => {
                    warn!(%error, "l1 does not say whether the key has been in a leader set");
                }
                answered => return answered,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
    };
    match timeout(ASKING, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            warn!(
                "l1 does not say in time whether the key has been in a leader set: taken for one that has"
            );
            Ok(true)
        }
    }
}

async fn asked_once(
    config: &Config,
    store: &Store,
    params: &Params,
    client: &Client,
) -> Result<bool, NodeError> {
    let now = epoch_now(params, client).await?;
    if is_successor(&config.deployment, config.signer.address(), store, client, now).await? {
        return Ok(false);
    }
    Ok(was_in_a_set(config, params, client).await?)
}

/// Whether the key takes over from another one (R5) where that one signed: a store that was used up to now, here, with all its
/// records, by the same sequencer. More than one member may change its key at once, and who listens does not vote: the network
/// would stand still. A key that has been in the sets for longer than since the epoch before may have signed elsewhere, as one
/// has whose signatures others' blocks hold.
async fn is_successor(
    deployment: &Deployment,
    signer: Address,
    store: &Store,
    client: &Client,
    now: Epoch,
) -> Result<bool, NodeError> {
    let before = store.trusted_besides(signer)?;
    let (Some((height, _)), false) = (store.decided_tip()?, before.is_empty()) else {
        return Ok(false);
    };
    // What it may have signed in: the running epoch, and the one before.
    let first = Epoch::new(now.get().saturating_sub(1));
    let is_in_use = store.header(height)?.is_some_and(|(_, header)| header.epoch >= first);
    if !is_in_use || store.has_certified(signer, first)? || store.has_attested(signer)? {
        return Ok(false);
    }
    let Some(id) = actions::id_of(client, deployment, signer).await? else { return Ok(false) };
    let mut is_the_same = false;
    for key in before {
        is_the_same |= actions::id_of(client, deployment, key).await? == Some(id);
    }
    if !is_the_same {
        return Ok(false);
    }
    let Some(earlier) = first.get().checked_sub(1).map(Epoch::new) else { return Ok(true) };
    Ok(reports::place_of(client, deployment, signer, earlier, EPOCHS_BACK).await?.is_none())
}

/// The epoch of this moment, by a node that is not far behind: one that is would not know of the set that holds the key.
async fn epoch_now(params: &Params, client: &Client) -> Result<Epoch, L1Error> {
    let epoch = client.checked(|| async {
        let head = client.head().await?.timestamp;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        epoch_by(params, head, Seconds::new(since.as_secs()))
    });
    epoch.await
}

/// The epoch by the node's newest block and this machine's clock, of which the later one counts: what is known of that block
/// is what there is, and time has passed since.
fn epoch_by(params: &Params, head: Seconds, clock: Seconds) -> Result<Epoch, L1Error> {
    let old = params.l1_block_seconds.saturating_mul(OLD_BLOCKS).max(OLD_SECONDS);
    if clock.get().saturating_sub(head.get()) > old {
        return Err(L1Error::BadAnswer {
            what: "newest block: it is old, the node is behind or the clock here is wrong",
        });
    }
    Ok(params.epoch_at(head.max(clock)))
}

/// Without a store there is no start before L1 has answered.
async fn ask_until_answered(
    config: &Config,
    params: &Params,
    client: &Client,
) -> Result<bool, L1Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        match was_in_a_set(config, params, client).await {
            Err(error) if error.is_transient() => {
                warn!(%error, retry_in = ?pause, "l1 does not answer, and there is no store: waiting for it");
            }
            answered => return answered,
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(MAX_PAUSE);
    }
}

async fn was_in_a_set(config: &Config, params: &Params, client: &Client) -> Result<bool, L1Error> {
    let (deployment, signer) = (&config.deployment, config.signer.address());
    // First of all whether the node is to be asked: one that is behind does not know the key either.
    let now = epoch_now(params, client).await?;
    if actions::id_of(client, deployment, signer).await?.is_none() {
        return Ok(false);
    }
    // The first set is known before it is in force, and nobody has signed then.
    if client.head().await?.timestamp.get() < params.genesis {
        return Ok(false);
    }
    Ok(reports::place_of(client, deployment, signer, now, EPOCHS_BACK).await?.is_some())
}

#[cfg(test)]
mod tests;
