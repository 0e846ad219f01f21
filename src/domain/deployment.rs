//! Where a deployment stands: the file that `rota deploy` writes and that every other command reads.

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

/// The contracts of one deployment. Every contract holds a hash of these addresses and of the parameters, so that a
/// wrong one does not go unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// Chain id of the L1 it stands on.
    pub chain_id: u64,
    /// The L1 block before the first contract's: where to start reading events.
    pub block: u64,
    /// The ERC-20 that is staked.
    pub stake_token: Address,
    /// `SequencerRegistry`.
    pub registry: Address,
    /// `Settlement`.
    pub settlement: Address,
    /// `Tally`.
    pub tally: Address,
    /// `Slasher`.
    pub slasher: Address,
    /// `RewardPool`.
    pub reward_pool: Address,
    /// `Rollups`.
    pub rollups: Address,
    /// May delay an execution once; zero if there is none.
    pub guardian: Address,
}
