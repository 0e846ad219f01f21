//! Sequencers as the registry knows them.

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};

/// Where a sequencer's life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SequencerStatus {
    /// Never joined.
    None,
    /// Counts in the sets that are sealed from now on.
    Active,
    /// All of its self-stake is on the way out.
    Leaving,
    /// Reported or absent; out of sets for a while.
    Jailed,
    /// Convicted of a safety offence; out of sets for ever.
    Tombstoned,
}

/// One sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequencerRecord {
    /// Its id, from 1 on.
    pub id: u32,
    /// The cold account that joined.
    pub owner: Address,
    /// The hot key.
    pub signer: Address,
    /// Another account that may post for it; zero if none.
    pub poster: Address,
    /// Where its life stands.
    pub status: SequencerStatus,
    /// What its pool holds, in wei of the stake token.
    pub stake_wei: U256,
}
