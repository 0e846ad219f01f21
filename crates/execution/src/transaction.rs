//! What an ordered transaction is before it meets any state.

use crate::skip::SkipReason;
use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::Typed2718;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, keccak256};

/// The type byte of transactions that carry blobs.
const BLOB_TYPE: u8 = 3;

/// Ordered bytes, read as far as they can be without a state: who sent what.
///
/// Recovering senders is most of what a small transaction costs, and needs nothing but the bytes: whoever has several cores
/// prepares on them what is executed on one.
#[derive(Debug, Clone)]
pub struct Prepared {
    hash: B256,
    outcome: Result<Recovered<TxEnvelope>, SkipReason>,
}

impl Prepared {
    /// Reads one transaction for the chain `chain_id`. Bytes that are none are prepared to be skipped.
    #[must_use]
    pub fn new(raw: &[u8], chain_id: u64) -> Self {
        Self { hash: keccak256(raw), outcome: read(raw, chain_id) }
    }

    /// Keccak of the bytes: what users know the transaction by.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// Who sent it, if that can be told.
    #[must_use]
    pub fn sender(&self) -> Option<Address> {
        self.outcome.as_ref().ok().map(Recovered::signer)
    }

    pub(crate) fn into_outcome(self) -> Result<Recovered<TxEnvelope>, SkipReason> {
        self.outcome
    }
}

fn read(raw: &[u8], chain_id: u64) -> Result<Recovered<TxEnvelope>, SkipReason> {
    if raw.first() == Some(&BLOB_TYPE) {
        return Err(SkipReason::Blob);
    }
    let transaction = TxEnvelope::decode_2718_exact(raw).map_err(|_| SkipReason::Undecodable)?;
    // A second encoding of the same transaction would have another hash than the block's, which is made of the fields.
    if transaction.ty() == BLOB_TYPE || transaction.encoded_2718() != raw {
        return Err(SkipReason::Undecodable);
    }
    if transaction.chain_id() != Some(chain_id) {
        return Err(SkipReason::WrongChain { found: transaction.chain_id() });
    }
    // Also refuses the upper half of s, as Ethereum does.
    transaction.try_into_recovered().map_err(|_| SkipReason::BadSignature)
}
