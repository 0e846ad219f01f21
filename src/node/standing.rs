//! Whether the agent's store knows all that its key has signed (R46), as far as can be told before it starts.

use super::{FIRST_PAUSE, MAX_PAUSE, NodeError};
use crate::agreement::{Silence, doubt_of};
use crate::config::Config;
use crate::domain::{Epoch, Params};
use crate::l1::{Client, L1Error, actions, reports};
use crate::storage::{Standing, Store, StoreError};
use alloy::primitives::Address;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// Epochs back in which the key is looked for in leader sets. What it signed longer ago convicts nobody any more.
const EPOCHS_BACK: u64 = 64;

/// What the operator says about the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// A new store is to be made though the key has been in a leader set.
    pub new_store: bool,
    /// The records are complete, whatever it looks like: no need to listen before signing (R47).
    pub skip_listening: bool,
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
        let now = params.epoch_at(client.head().await?.timestamp);
        if is_successor(store, config.signer.address(), now)? {
            return Ok(false);
        }
        Ok::<_, NodeError>(was_in_a_set(config, params, client).await?)
    };
    match timeout(ASKING, asked).await {
        Ok(Err(NodeError::L1(error))) if error.is_transient() => {
            warn!(%error, "l1 does not say whether the key has been in a leader set: taken for one that has");
            Ok(true)
        }
        Ok(answer) => answer,
        Err(_) => {
            warn!(
                "l1 does not say in time whether the key has been in a leader set: taken for one that has"
            );
            Ok(true)
        }
    }
}

/// Whether the key takes over from another one (R5) where that one signed: a store that was used up to now, here, with all its
/// records. More than one member may change its key at once, and who listens does not vote: the network would stand still.
fn is_successor(store: &Store, signer: Address, now: Epoch) -> Result<bool, StoreError> {
    if !store.is_trusted_with_another(signer)? {
        return Ok(false);
    }
    let Some((height, _)) = store.decided_tip()? else { return Ok(false) };
    let header = store.header(height)?;
    Ok(header.is_some_and(|(_, header)| header.epoch.get().saturating_add(1) >= now.get()))
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
    if actions::id_of(client, deployment, signer).await?.is_none() {
        return Ok(false);
    }
    let now = client.head().await?.timestamp;
    // The first set is known before it is in force, and nobody has signed then.
    if now.get() < params.genesis {
        return Ok(false);
    }
    let place =
        reports::place_of(client, deployment, signer, params.epoch_at(now), EPOCHS_BACK).await?;
    Ok(place.is_some())
}
