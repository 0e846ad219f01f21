//! The picture of L1 as it is kept on disk: what a start goes on from.
//!
//! It is anchored: the blocks in it have numbers and hashes, and whoever loads it asks L1 whether they are still canonical
//! before anything newer is read. It has a version, and the deployment that it is of: another one's, or one that an older
//! agent wrote, is no picture. Two are kept, the newest and one that is older by a window or more, for a reorg below all
//! blocks of the newest.

use super::chain::Chain;
use super::facts::Fact;
use super::mirror::Mirror;
use crate::domain::{
    BlockHeader, Deployment, Epoch, ForcedEntry, ForcedEscape, GenerationStart, L1Block, LeaderSet,
    Params, RollupId, Seconds, SequencerStatus, SettledBatch,
};
use alloy::primitives::{Address, B256, U256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};
use std::sync::Arc;

/// Raised with every change of what is written here.
const VERSION: u16 = 3;

/// Statuses in the order of the contract, by which they are written.
const STATUSES: [SequencerStatus; 5] = [
    SequencerStatus::None,
    SequencerStatus::Active,
    SequencerStatus::Leaving,
    SequencerStatus::Jailed,
    SequencerStatus::Tombstoned,
];

/// Everything that a start needs.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// The deployment's parameters, so that a start needs no node for them.
    pub(super) params: Params,
    pub(super) chain: Chain,
    /// Blocks that decided blocks may name as origins: those of [`Mirror::blocks`]. None while the beginning is read.
    pub(super) known: Vec<L1Block>,
    /// The newest block at depth that was seen.
    pub(super) at_depth: Option<L1Block>,
    /// Whether L1 was seen to finalize.
    pub(super) has_finality: bool,
    /// Whether everything up to the chain's tip was read, and not only the beginning of it.
    pub(super) is_whole: bool,
}

/// The newest block that is read.
pub(super) fn anchor(picture: &Picture) -> u64 {
    picture.chain.tip().map_or(0, |tip| tip.number)
}

/// Makes a mirror show the picture.
pub(super) fn show(picture: &Picture, mirror: &mut Mirror) {
    mirror.forget_facts();
    for (block, fact) in &picture.chain.facts {
        mirror.apply(block, fact);
    }
    mirror.head = picture.chain.tip();
    mirror.at_depth = picture.at_depth;
    mirror.blocks = picture.known.iter().map(|block| (block.number, *block)).collect();
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    version: u16,
    deployment: [u8; 32],
    params: Vec<u8>,
    blocks: Vec<L1Block>,
    facts: Vec<(L1Block, KeptFact)>,
    known: Vec<L1Block>,
    at_depth: Option<L1Block>,
    has_finality: bool,
    is_whole: bool,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum KeptFact {
    Genesis(BlockHeader),
    Sealed { epoch: u64, code: Vec<u8> },
    RestartOpened { check_in_until: Seconds, finish_until: Seconds },
    CheckedIn { id: u32, weight: u64 },
    CheckInClosed { pointer: [u8; 20] },
    Returned { id: u32 },
    GenerationStarted { start: GenerationStart, pointer: [u8; 20] },
    Joined { id: u32, signer: [u8; 20] },
    Rotated { id: u32, signer: [u8; 20] },
    Endpoint { id: u32, agreement: String, link: String },
    RollupBalance { rollup: u64, balance_wei: [u8; 32] },
    Forced(ForcedEntry),
    Escaped(ForcedEscape),
    Settled(Box<SettledBatch>),
    Reported { case: [u8; 32] },
    Executed { case: [u8; 32] },
    Status { id: u32, status: u8 },
}

impl From<&Fact> for KeptFact {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::Genesis(header) => Self::Genesis(header.clone()),
            Fact::Sealed(set) => {
                Self::Sealed { epoch: set.sealed_for().get(), code: set.to_code() }
            }
            Fact::RestartOpened { check_in_until, finish_until } => {
                Self::RestartOpened { check_in_until: *check_in_until, finish_until: *finish_until }
            }
            Fact::CheckedIn { id, weight } => Self::CheckedIn { id: *id, weight: *weight },
            Fact::CheckInClosed { pointer } => Self::CheckInClosed { pointer: pointer.0.0 },
            Fact::Returned { id } => Self::Returned { id: *id },
            Fact::GenerationStarted { start, pointer } => {
                Self::GenerationStarted { start: start.clone(), pointer: pointer.0.0 }
            }
            Fact::Joined { id, signer } => Self::Joined { id: *id, signer: signer.0.0 },
            Fact::Rotated { id, signer } => Self::Rotated { id: *id, signer: signer.0.0 },
            Fact::Endpoint { id, agreement, link } => {
                Self::Endpoint { id: *id, agreement: agreement.clone(), link: link.clone() }
            }
            Fact::RollupBalance { rollup, balance_wei } => {
                Self::RollupBalance { rollup: rollup.get(), balance_wei: balance_wei.to_be_bytes() }
            }
            Fact::Forced(entry) => Self::Forced(ForcedEntry::clone(entry)),
            Fact::Escaped(escape) => Self::Escaped(*escape),
            Fact::Settled(batch) => Self::Settled(Box::new(SettledBatch::clone(batch))),
            Fact::Reported { case } => Self::Reported { case: case.0 },
            Fact::Executed { case } => Self::Executed { case: case.0 },
            Fact::Status { id, status } => {
                let status = STATUSES.iter().position(|one| one == status).unwrap_or_default();
                Self::Status { id: *id, status: u8::try_from(status).unwrap_or_default() }
            }
        }
    }
}

impl KeptFact {
    /// `None` for what no agent wrote.
    fn into_fact(self) -> Option<Fact> {
        Some(match self {
            Self::Genesis(header) => Fact::Genesis(header),
            Self::Sealed { epoch, code } => {
                Fact::Sealed(Arc::new(LeaderSet::from_code(&code, Epoch::new(epoch)).ok()?))
            }
            Self::RestartOpened { check_in_until, finish_until } => {
                Fact::RestartOpened { check_in_until, finish_until }
            }
            Self::CheckedIn { id, weight } => Fact::CheckedIn { id, weight },
            Self::CheckInClosed { pointer } => {
                Fact::CheckInClosed { pointer: Address::new(pointer) }
            }
            Self::Returned { id } => Fact::Returned { id },
            Self::GenerationStarted { start, pointer } => {
                Fact::GenerationStarted { start, pointer: Address::new(pointer) }
            }
            Self::Joined { id, signer } => Fact::Joined { id, signer: Address::new(signer) },
            Self::Rotated { id, signer } => Fact::Rotated { id, signer: Address::new(signer) },
            Self::Endpoint { id, agreement, link } => Fact::Endpoint { id, agreement, link },
            Self::RollupBalance { rollup, balance_wei } => Fact::RollupBalance {
                rollup: RollupId::new(rollup),
                balance_wei: U256::from_be_bytes(balance_wei),
            },
            Self::Forced(entry) => Fact::Forced(Arc::new(entry)),
            Self::Escaped(escape) => Fact::Escaped(escape),
            Self::Settled(batch) => Fact::Settled(Arc::new(*batch)),
            Self::Reported { case } => Fact::Reported { case: B256::new(case) },
            Self::Executed { case } => Fact::Executed { case: B256::new(case) },
            Self::Status { id, status } => {
                Fact::Status { id, status: *STATUSES.get(usize::from(status))? }
            }
        })
    }
}

/// What tells deployments apart.
fn name_of(deployment: &Deployment) -> [u8; 32] {
    let text = serde_json::to_vec(deployment).expect("a deployment is plain data");
    keccak256(text).0
}

/// The picture's bytes.
pub(super) fn encode(picture: &Picture, deployment: &Deployment) -> Vec<u8> {
    let facts = picture.chain.facts.iter();
    let kept = Kept {
        version: VERSION,
        deployment: name_of(deployment),
        params: serde_json::to_vec(&picture.params).expect("parameters are plain data"),
        blocks: picture.chain.blocks.values().copied().collect(),
        facts: facts.map(|(block, fact)| (*block, KeptFact::from(fact))).collect(),
        known: picture.known.clone(),
        at_depth: picture.at_depth,
        has_finality: picture.has_finality,
        is_whole: picture.is_whole,
    };
    borsh::to_vec(&kept).expect("writing to memory does not fail")
}

/// The picture in bytes, if it is one of this deployment and this version.
pub(super) fn decode(bytes: &[u8], deployment: &Deployment) -> Option<Picture> {
    // The version comes first, and says whether the rest means anything.
    if bytes.first_chunk::<2>() != Some(&VERSION.to_le_bytes()) {
        return None;
    }
    let kept: Kept = borsh::from_slice(bytes).ok()?;
    if kept.deployment != name_of(deployment) || kept.blocks.is_empty() {
        return None;
    }
    let facts: Option<Vec<(L1Block, Fact)>> =
        kept.facts.into_iter().map(|(block, fact)| Some((block, fact.into_fact()?))).collect();
    Some(Picture {
        params: serde_json::from_slice(&kept.params).ok()?,
        chain: Chain {
            blocks: kept.blocks.iter().map(|block| (block.number, *block)).collect(),
            facts: facts?,
        },
        known: kept.known,
        at_depth: kept.at_depth,
        has_finality: kept.has_finality,
        is_whole: kept.is_whole,
    })
}

#[cfg(test)]
mod tests {
    use super::{Chain, Picture, STATUSES, decode, encode, show};
    use crate::domain::{
        BatchNumber, Deployment, Epoch, ForcedEscape, Generation, GenerationStart, Height, L1Block,
        LeaderSet, Member, RollupId, Seconds, SettledBatch,
    };
    use crate::l1::Mirror;
    use crate::l1::facts::Fact;
    use crate::testing::{batch_header, forced, header, key, params, transaction};
    use alloy::primitives::{Address, B256, U256};
    use std::sync::Arc;

    fn deployment(chain_id: u64) -> Deployment {
        let nowhere = Address::ZERO;
        Deployment {
            chain_id,
            block: 1,
            stake_token: nowhere,
            registry: nowhere,
            settlement: nowhere,
            tally: nowhere,
            slasher: nowhere,
            reward_pool: nowhere,
            rollups: nowhere,
            guardian: nowhere,
        }
    }

    const fn block(number: u64) -> L1Block {
        L1Block { number, hash: B256::repeat_byte(9), timestamp: Seconds::new(number) }
    }

    /// One fact of every kind.
    fn facts() -> Vec<Fact> {
        let members = vec![Member { signer: Address::repeat_byte(3), weight: 7 }];
        let set = LeaderSet::new(Generation::new(0), Epoch::new(4), B256::repeat_byte(2), members);
        let start = GenerationStart {
            generation: Generation::new(1),
            epoch: Epoch::new(5),
            last_height: Height::new(6),
            last_block_hash: B256::repeat_byte(7),
            finished_in: block(3),
        };
        let batch = SettledBatch {
            number: BatchNumber::new(1),
            header: batch_header(8),
            poster: Address::repeat_byte(5),
            signers: u128::MAX,
            block: block(4),
            tx_hash: B256::repeat_byte(6),
            parent_settled_at: Seconds::new(3),
            payload_bytes: 1,
            refund_wei: 2,
            late: true,
            led: true,
        };
        let escape = ForcedEscape { first: 0, through: 1, block: block(5), tx_hash: B256::ZERO };
        vec![
            Fact::Genesis(header(0, B256::ZERO)),
            Fact::Sealed(Arc::new(set.unwrap())),
            Fact::RestartOpened {
                check_in_until: Seconds::new(1),
                finish_until: Seconds::new(u64::MAX),
            },
            Fact::CheckedIn { id: 1, weight: u64::MAX },
            Fact::CheckInClosed { pointer: Address::repeat_byte(8) },
            Fact::Returned { id: 2 },
            Fact::GenerationStarted { start, pointer: Address::repeat_byte(8) },
            Fact::Joined { id: u32::MAX, signer: Address::repeat_byte(1) },
            Fact::Rotated { id: 1, signer: Address::repeat_byte(2) },
            Fact::Endpoint { id: 1, agreement: "a".to_owned(), link: "ü".to_owned() },
            Fact::RollupBalance { rollup: RollupId::new(u64::MAX), balance_wei: U256::MAX },
            Fact::Forced(Arc::new(forced(0, transaction(&key(1), 0).transaction))),
            Fact::Escaped(escape),
            Fact::Settled(Arc::new(batch)),
            Fact::Reported { case: B256::repeat_byte(1) },
            Fact::Executed { case: B256::repeat_byte(1) },
        ]
        .into_iter()
        .chain(STATUSES.map(|status| Fact::Status { id: 1, status }))
        .collect()
    }

    fn picture() -> Picture {
        let facts = facts().into_iter().map(|fact| (block(5), fact)).collect();
        let blocks = [(4, block(4)), (5, block(5))].into();
        Picture {
            params: params(),
            chain: Chain { blocks, facts },
            known: vec![block(3), block(4), block(5)],
            at_depth: Some(block(4)),
            has_finality: true,
            is_whole: true,
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let bytes = encode(&picture(), &deployment(1));
        let back = decode(&bytes, &deployment(1)).unwrap();
        assert_eq!(back.chain, picture().chain);
        assert_eq!((back.params, back.known), (params(), picture().known));
        assert_eq!((back.at_depth, back.has_finality, back.is_whole), (Some(block(4)), true, true));
    }

    #[test]
    fn another_version_or_deployment_or_damage_is_no_picture() {
        let bytes = encode(&picture(), &deployment(1));
        assert!(decode(&bytes, &deployment(2)).is_none());
        let mut newer = bytes.clone();
        newer[0] = newer[0].wrapping_add(1);
        assert!(decode(&newer, &deployment(1)).is_none());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], &deployment(1)).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_mirror_shows_it() {
        let mut mirror = Mirror::new(params());
        show(&picture(), &mut mirror);
        assert_eq!((mirror.head, mirror.at_depth), (Some(block(5)), Some(block(4))));
        assert_eq!(mirror.blocks.len(), 3);
        assert_eq!(mirror.tip.unwrap().last_height.get(), 8);
        assert_eq!(mirror.sets.len(), 1);
    }
}
