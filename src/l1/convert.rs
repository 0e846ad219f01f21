//! The one place where contract types and domain types meet.

use super::bindings::{self, IRota};
use super::error::L1Error;
use crate::crypto::Signature;
use crate::domain::{
    BatchHeader, BlockHeader, Deployment, Epoch, Generation, Height, LeaderSet, Millis, Params,
    Proposal, SequencerStatus, Vote,
};
use alloy::primitives::{B256, U256};
use serde_json::{Map, Value};

/// How many fields the contracts' parameters have; each is one word of their ABI encoding.
pub(super) const PARAMS: usize = bindings::PARAMS.len();

/// Parameters from their words.
pub(super) fn params(words: &[U256; PARAMS]) -> Result<Params, L1Error> {
    let bad = |_| L1Error::BadAnswer { what: "params" };
    let mut object = Map::new();
    for ((name, is_u64), word) in bindings::PARAMS.iter().zip(words) {
        let value = if *is_u64 {
            Value::from(u64::try_from(*word).map_err(|_| L1Error::BadAnswer { what: "params" })?)
        } else {
            Value::from(word.to_string())
        };
        object.insert((*name).to_owned(), value);
    }
    serde_json::from_value(Value::Object(object)).map_err(bad)
}

/// A sequencer's status.
pub(super) const fn status(status: bindings::Status) -> SequencerStatus {
    match status {
        bindings::Status::Active => SequencerStatus::Active,
        bindings::Status::Leaving => SequencerStatus::Leaving,
        bindings::Status::Jailed => SequencerStatus::Jailed,
        bindings::Status::Tombstoned => SequencerStatus::Tombstoned,
        _ => SequencerStatus::None,
    }
}

/// Where the contracts of a deployment are, as their constructors take it.
pub(super) const fn addresses(deployment: &Deployment) -> bindings::Addresses {
    bindings::Addresses {
        stakeToken: deployment.stake_token,
        registry: deployment.registry,
        settlement: deployment.settlement,
        tally: deployment.tally,
        slasher: deployment.slasher,
        rewardPool: deployment.reward_pool,
        rollups: deployment.rollups,
        guardian: deployment.guardian,
    }
}

pub(super) const fn block_header(header: &bindings::BlockHeader) -> BlockHeader {
    BlockHeader {
        generation: Generation::new(header.generation),
        height: Height::new(header.height),
        epoch: Epoch::new(header.epoch),
        proposer: header.proposer,
        timestamp: Millis::new(header.timestamp),
        parent_hash: header.parentHash,
        l1_origin_number: header.l1OriginNumber,
        l1_origin_hash: header.l1OriginHash,
        forced_through: header.forcedThrough,
        tx_count: header.txCount,
        tx_root: header.txRoot,
    }
}

pub(super) const fn sol_batch_header(header: &BatchHeader) -> bindings::BatchHeader {
    bindings::BatchHeader {
        generation: header.generation.get(),
        epoch: header.epoch.get(),
        firstHeight: header.first_height.get(),
        lastHeight: header.last_height.get(),
        parentBlockHash: header.parent_block_hash,
        blocksRoot: header.blocks_root,
        lastBlockHash: header.last_block_hash,
        forcedThrough: header.forced_through,
        l1OriginNumber: header.l1_origin_number,
        l1OriginHash: header.l1_origin_hash,
        timestamp: header.timestamp.get(),
        payloadHash: header.payload_hash,
        blobsHash: header.blobs_hash,
        usageHash: header.usage_hash,
        stateRoot: header.state_root,
        regularSince: header.regular_since.get(),
    }
}

pub(super) fn sol_signature(signature: &Signature) -> bindings::Signature {
    let bytes = signature.to_compact();
    let (r, vs) = bytes.split_at(32);
    bindings::Signature { r: B256::from_slice(r), vs: B256::from_slice(vs) }
}

pub(super) const fn sol_vote(vote: &Vote) -> bindings::Vote {
    bindings::Vote {
        generation: vote.generation.get(),
        height: vote.height.get(),
        round: vote.round.get(),
        blockHash: vote.block_hash,
    }
}

pub(super) const fn sol_proposal(proposal: &Proposal) -> bindings::Proposal {
    bindings::Proposal {
        generation: proposal.generation.get(),
        height: proposal.height.get(),
        round: proposal.round.get(),
        polRound: proposal.pol_round,
        blockHash: proposal.block_hash,
    }
}

/// A frozen set from the code that holds it and its epoch's seed (R4).
///
/// # Errors
///
/// [`L1Error::BadAnswer`] for any other code: the event then named a contract that is no set.
pub(super) fn leader_set(code: &[u8], sealed_for: Epoch, seed: B256) -> Result<LeaderSet, L1Error> {
    LeaderSet::from_code(code, sealed_for)
        .map(|set| set.with_seed(seed))
        .map_err(|_| L1Error::BadAnswer { what: "leader set" })
}

/// Whether a set is the one that an event tells of; else the first field that is another one.
pub(super) fn is_sealed(set: &LeaderSet, event: &IRota::Sealed) -> Result<(), &'static str> {
    [
        (set.generation().get() == event.generation, "generation"),
        (set.seed() == event.seed, "seed"),
        (set.total() == event.total, "total"),
        (U256::from(set.members().len()) == event.count, "count"),
    ]
    .into_iter()
    .try_for_each(|(same, field)| if same { Ok(()) } else { Err(field) })
}

#[cfg(test)]
mod tests {
    use super::{PARAMS, params, sol_signature};
    use crate::crypto::Signature;
    use alloy::primitives::U256;

    #[test]
    fn fills_every_parameter_by_its_name() {
        let mut words = [U256::ZERO; PARAMS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = U256::from(index);
        }
        let params = params(&words).unwrap();
        assert_eq!(params.genesis, 0);
        assert_eq!(params.epoch_seconds, 1);
        assert_eq!(params.rollup_byte_wei, U256::from(PARAMS - 2));
        assert_eq!(params.rollup_booking_gas, u64::try_from(PARAMS - 1).unwrap());
    }

    #[test]
    fn a_signature_is_split_in_the_middle() {
        let mut bytes = [3; 64];
        bytes[32] = 0x81;
        let split = sol_signature(&Signature::from_compact(bytes));
        assert_eq!((split.r[0], split.vs[0]), (3, 0x81));
    }
}
