//! The words of the protocol as types. Pure, and consensus-critical wherever a type is hashed or encoded.

mod batch;
mod block;
mod deployment;
mod encoding;
mod evidence;
mod forced;
mod l1;
mod leader_set;
mod params;
mod place;
mod receipt;
mod relations;
mod sequencer;
mod transaction;
mod units;
mod vote;

pub use batch::{Attestation, BatchHeader};
pub use block::{Block, BlockHeader, Certificate, DecidedBlock, Signer, tx_root};
pub use deployment::Deployment;
pub use evidence::{BlockProof, Evidence, Position};
pub use forced::{FORCED_A_BLOCK, ForcedEntry, ForcedEscape};
pub use l1::{GenerationStart, L1Block, PeerEndpoint, SettledBatch, SettledTip};
pub use leader_set::{LeaderSet, LeaderSetError, Member, seed_of};
pub use params::Params;
pub use place::Place;
pub use receipt::OrderReceipt;
pub use relations::{Violation, violations};
pub use sequencer::{SequencerRecord, SequencerStatus};
#[cfg(test)]
pub(crate) use transaction::recoveries;
pub use transaction::{
    Authorization, InvalidTransaction, MAX_NONCE, PartlyDecoded, RollupTransaction,
    SignedTransaction, TransactionError, authorizations_listed,
};
pub use units::{
    BatchNumber, Epoch, Generation, Height, Millis, RollupId, Round, Seconds, SequencerId, Turn,
};
pub use vote::{Proposal, Vote, VoteType};
