//! The set that L1 froze for an epoch (R4).

use crate::domain::{Epoch, Generation};
use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// A sequencer's place in a frozen set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The hot key's address; also its name in the network.
    pub signer: Address,
    /// Stake in weight units; never zero.
    pub weight: u64,
}

/// A leader set frozen for an epoch, carried forward while nobody seals. Consensus-critical: members ascend by signer as
/// a number, and the total is their sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderSet {
    generation: Generation,
    sealed_for: Epoch,
    seed: B256,
    total: u64,
    members: Vec<Member>,
}

/// Why bytes or members are no leader set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaderSetError {
    /// Members must ascend strictly by signer.
    #[error("member {index}: signers do not ascend")]
    NotAscending {
        /// Place of the first member that is out of order.
        index: usize,
    },
    /// A member of weight zero would never lead and count for nothing.
    #[error("member {index}: weight is zero")]
    ZeroWeight {
        /// Its place.
        index: usize,
    },
    /// R4 keeps the total below 2^56.
    #[error("total weight does not fit 56 bits")]
    TotalTooLarge,
    /// R4 bounds a set.
    #[error("{count} members, at most {}", LeaderSet::MAX_MEMBERS)]
    TooMany {
        /// How many there were.
        count: usize,
    },
}

impl LeaderSet {
    /// The most members that a set can have (R4).
    pub const MAX_MEMBERS: usize = 128;

    /// Checks and freezes.
    ///
    /// # Errors
    ///
    /// [`LeaderSetError`] names the first member, or the total, that breaks R4.
    pub fn new(
        generation: Generation,
        sealed_for: Epoch,
        seed: B256,
        members: Vec<Member>,
    ) -> Result<Self, LeaderSetError> {
        if members.len() > Self::MAX_MEMBERS {
            return Err(LeaderSetError::TooMany { count: members.len() });
        }
        let mut total: u64 = 0;
        let mut last: Option<Address> = None;
        for (index, member) in members.iter().enumerate() {
            if last.is_some_and(|before| before >= member.signer) {
                return Err(LeaderSetError::NotAscending { index });
            }
            if member.weight == 0 {
                return Err(LeaderSetError::ZeroWeight { index });
            }
            total = total
                .checked_add(member.weight)
                .filter(|sum| *sum < 1 << 56)
                .ok_or(LeaderSetError::TotalTooLarge)?;
            last = Some(member.signer);
        }
        Ok(Self { generation, sealed_for, seed, total, members })
    }

    /// The generation that it belongs to.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The epoch it was sealed for; it may be in force later too.
    pub const fn sealed_for(&self) -> Epoch {
        self.sealed_for
    }

    /// Seed of its draws.
    pub const fn seed(&self) -> B256 {
        self.seed
    }

    /// Sum of the members' weights.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Members, ascending by signer.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Place of a signer in the set.
    pub fn index_of(&self, signer: Address) -> Option<usize> {
        self.members.binary_search_by_key(&signer, |member| member.signer).ok()
    }

    /// Whether `signed` is more than 2/3 of the total (3 x signed > 2 x total).
    pub const fn is_quorum(&self, signed: u64) -> bool {
        (signed as u128).saturating_mul(3) > (self.total as u128).saturating_mul(2)
    }
}
