//! The set that L1 froze for an epoch (R4).

use crate::domain::{Epoch, Generation};
use alloy::primitives::{Address, B256, b256};
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
    /// Code that is not that of a set.
    #[error("code of {length} bytes is not that of a set: {field} does not fit")]
    BadCode {
        /// Its length in bytes.
        length: usize,
        /// The first field that is wrong.
        field: &'static str,
    },
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

    /// Reads the code of a set's data contract, STOP byte included.
    ///
    /// ```text
    /// offset  0     1        8        40             44       45 + 27 i  65 + 27 i
    ///         STOP  total 7  seed 32  generation 4   count 1  signer 20  weight 7     big-endian
    /// ```
    ///
    /// # Errors
    ///
    /// [`LeaderSetError::BadCode`] when the layout is another, else as [`LeaderSet::new`].
    pub fn from_code(code: &[u8], sealed_for: Epoch) -> Result<Self, LeaderSetError> {
        let bad = |field| LeaderSetError::BadCode { length: code.len(), field };
        let (stop, rest) = code.split_first_chunk::<1>().ok_or(bad("STOP"))?;
        let (total, rest) = rest.split_first_chunk::<7>().ok_or(bad("total"))?;
        let (seed, rest) = rest.split_first_chunk::<32>().ok_or(bad("seed"))?;
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or(bad("generation"))?;
        let (count, mut rest) = rest.split_first_chunk::<1>().ok_or(bad("count"))?;
        if *stop != [0] {
            return Err(bad("STOP"));
        }
        let mut members = Vec::with_capacity(usize::from(count[0]));
        for _ in 0..count[0] {
            let (signer, tail) = rest.split_first_chunk::<20>().ok_or(bad("signer"))?;
            let (weight, tail) = tail.split_first_chunk::<7>().ok_or(bad("weight"))?;
            members.push(Member { signer: Address::new(*signer), weight: from_seven(*weight) });
            rest = tail;
        }
        if !rest.is_empty() {
            return Err(bad("count"));
        }
        let generation = Generation::new(u32::from_be_bytes(*generation));
        let set = Self::new(generation, sealed_for, B256::new(*seed), members)?;
        if set.total != from_seven(*total) {
            return Err(bad("total"));
        }
        Ok(set)
    }

    /// The code that [`LeaderSet::from_code`] reads.
    pub fn to_code(&self) -> Vec<u8> {
        let mut code = vec![0];
        code.extend_from_slice(&to_seven(self.total));
        code.extend_from_slice(self.seed.as_slice());
        code.extend_from_slice(&self.generation.get().to_be_bytes());
        code.push(u8::try_from(self.members.len()).unwrap_or(u8::MAX));
        for member in &self.members {
            code.extend_from_slice(member.signer.as_slice());
            code.extend_from_slice(&to_seven(member.weight));
        }
        code
    }

    /// The same members with another epoch's seed: epochs that are sealed with the same members share the code.
    pub const fn with_seed(mut self, seed: B256) -> Self {
        self.seed = seed;
        self
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

/// A seed's 12 bytes, of a hash (R4): so many fit beside an address in a slot.
pub fn seed_of(hash: B256) -> B256 {
    const SEED: B256 = b256!("ffffffffffffffffffffffff0000000000000000000000000000000000000000");
    hash & SEED
}

/// Weights stay below 2^56 (R4): the top byte is always zero.
const fn to_seven(weight: u64) -> [u8; 7] {
    let [_, bytes @ ..] = weight.to_be_bytes();
    bytes
}

const fn from_seven(bytes: [u8; 7]) -> u64 {
    let [a, b, c, d, e, f, g] = bytes;
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

#[cfg(test)]
mod tests {
    use super::{LeaderSet, LeaderSetError, Member};
    use crate::domain::{Epoch, Generation};
    use alloy::primitives::{Address, B256};
    use proptest::prelude::*;

    fn member(signer: u64, weight: u64) -> Member {
        Member { signer: Address::left_padding_from(&signer.to_be_bytes()), weight }
    }

    fn set(members: Vec<Member>) -> Result<LeaderSet, LeaderSetError> {
        LeaderSet::new(Generation::new(2), Epoch::new(9), B256::repeat_byte(3), members)
    }

    #[test]
    fn what_breaks_the_rule_is_named() {
        let m = member;
        assert_eq!(set(vec![m(2, 1), m(2, 1)]), Err(LeaderSetError::NotAscending { index: 1 }));
        assert_eq!(set(vec![m(2, 1), m(3, 0)]), Err(LeaderSetError::ZeroWeight { index: 1 }));
        assert_eq!(set(vec![m(1, 1 << 55), m(2, 1 << 55)]), Err(LeaderSetError::TotalTooLarge));
        let many = (0..129).map(|i| m(i, 1)).collect();
        assert_eq!(set(many), Err(LeaderSetError::TooMany { count: 129 }));
    }

    #[test]
    fn a_quorum_is_more_than_two_thirds() {
        let set = set(vec![member(1, 100), member(2, 200)]).unwrap();
        assert!(!set.is_quorum(200));
        assert!(set.is_quorum(201));
    }

    #[test]
    fn code_of_another_shape_is_refused() {
        let code = set(vec![member(1, 5), member(2, 6)]).unwrap().to_code();
        let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut code = code.clone();
            change(&mut code);
            match LeaderSet::from_code(&code, Epoch::new(9)) {
                Err(LeaderSetError::BadCode { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refusal(&|code| code[0] = 1), "STOP");
        assert_eq!(refusal(&|code| code[7] += 1), "total");
        assert_eq!(refusal(&|code| code[44] = 1), "count");
        assert_eq!(refusal(&|code| code[44] = 3), "signer");
        assert_eq!(refusal(&|code| code.truncate(98)), "weight");
        assert_eq!(refusal(&|code| code.push(0)), "count");
        assert_eq!(refusal(&Vec::clear), "STOP");
    }

    proptest! {
        #[test]
        fn code_is_read_as_it_was_written(weights in prop::collection::vec(1_u64..1 << 48, 0..=128)) {
            let members = (0..).zip(weights).map(|(i, weight)| member(i, weight)).collect();
            let set = set(members).unwrap();
            prop_assert_eq!(LeaderSet::from_code(&set.to_code(), Epoch::new(9)), Ok(set));
        }
    }
}
