//! Transactions of rollups, as signed by users.

mod fields;

use crate::crypto::{Signature, SignatureError};
use crate::domain::RollupId;
use crate::domain::encoding::{read_bytes, write_bytes};
use alloy::consensus::transaction::{RlpEcdsaDecodableTx, SignableTransaction};
use alloy::consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy::eips::eip7702::SignedAuthorization;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rlp::Header;
use borsh::{BorshDeserialize, BorshSerialize};

/// The last nonce of an account (EIP-2681), so that the one after it is a number too. No transaction has a higher one.
pub const MAX_NONCE: u64 = u64::MAX - 1;

/// Type byte of EIP-4844.
const BLOB_TYPE: u8 = 3;

/// Type byte of EIP-7702, and how many fields stand before its list of authorizations.
const DELEGATING_TYPE: u8 = 4;
const FIELDS_BEFORE_AUTHORIZATIONS: usize = 9;

/// A transaction as a block holds it: the rollup and the raw EIP-2718 bytes. Consensus-critical.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct RollupTransaction {
    /// The rollup whose chain id the transaction carries.
    pub rollup: RollupId,
    /// EIP-2718 bytes; a legacy transaction is its RLP list.
    #[borsh(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub raw: Bytes,
}

impl RollupTransaction {
    /// keccak256 of the raw bytes: the hash by which wallets know it.
    pub fn hash(&self) -> B256 {
        keccak256(&self.raw)
    }

    /// Decodes the bytes, as [`SignedTransaction::decode`]. Recovery is what costs in a block: a caller with more than one
    /// core cuts the block and decodes the parts side by side.
    ///
    /// # Errors
    ///
    /// As there; [`TransactionError::WrongRollup`] when they are for another rollup than the one listed.
    pub fn decode(&self, limit: usize) -> Result<SignedTransaction, TransactionError> {
        let signed = SignedTransaction::decode(self.raw.clone(), limit)?;
        let (expected, actual) = (self.rollup, signed.transaction.rollup);
        if expected == actual {
            Ok(signed)
        } else {
            Err(TransactionError::WrongRollup { expected, actual })
        }
    }
}

/// A transaction that was decoded and whose sender was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// As a block would hold it.
    pub transaction: RollupTransaction,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// The sender's nonce.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// The most that it pays for a unit of gas, in wei.
    pub max_fee_wei: u128,
    /// The part of it that goes to the proposer, in wei.
    pub priority_fee_wei: u128,
    /// What it authorizes accounts to run, as far as these are well-formed and signed: of type 4 only.
    pub authorizations: Vec<Authorization>,
}

/// An account that lets its code be set by a type 4 transaction (EIP-7702), and thereby spends a nonce: if this is its next
/// one when the transaction comes to it, its next nonce is one higher then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who signed it: the transaction's sender or anybody else.
    pub authority: Address,
    /// The nonce that the authority spends.
    pub nonce: u64,
}

impl SignedTransaction {
    /// The sender's next nonce once this transaction was executed in its turn: one more than its own, and one more for each
    /// authorization of the sender itself, which an EVM looks at after it has counted the transaction.
    pub fn nonce_after(&self) -> u64 {
        let own = self.authorizations.iter().filter(|one| one.authority == self.sender);
        own.fold(self.nonce.saturating_add(1), |next, one| {
            if one.nonce == next { next.saturating_add(1) } else { next }
        })
    }

    /// Decodes EIP-2718 bytes and recovers the sender: legacy with EIP-155, and types 1, 2 and 4. Consensus-critical:
    /// only the one canonical encoding is accepted, so that a transaction has one hash. Says nothing about which nonce is
    /// next, about balance or fees, which are the rollup's.
    ///
    /// # Errors
    ///
    /// In this order: [`TransactionError::Blob`], whatever its size, since clients send blobs along with it;
    /// [`TransactionError::TooLarge`] beyond `limit` bytes, [`TransactionError::Malformed`], [`TransactionError::NoChainId`],
    /// [`TransactionError::NoSuchNonce`], [`TransactionError::BadSignature`].
    pub fn decode(raw: Bytes, limit: usize) -> Result<Self, TransactionError> {
        Self::decode_partly(raw, limit).map(PartlyDecoded::whole)
    }

    /// The same, and leaves the authorizations for later: each asks for a recovery of its own.
    ///
    /// # Errors
    ///
    /// As [`SignedTransaction::decode`].
    pub fn decode_partly(raw: Bytes, limit: usize) -> Result<PartlyDecoded, TransactionError> {
        if raw.first() == Some(&BLOB_TYPE) {
            return Err(TransactionError::Blob);
        }
        if raw.len() > limit {
            return Err(TransactionError::TooLarge { limit, actual: raw.len() });
        }
        match raw.first().copied() {
            None => Err(TransactionError::malformed("it is empty")),
            Some(1) => decode_as::<TxEip2930>(raw),
            Some(2) => decode_as::<TxEip1559>(raw),
            Some(DELEGATING_TYPE) => decode_as::<TxEip7702>(raw),
            Some(0xc0..) => decode_as::<TxLegacy>(raw),
            Some(other) => {
                Err(TransactionError::malformed(format_args!("type {other} is not known")))
            }
        }
    }
}

/// A transaction whose sender is known, and whose authorizations are not looked at yet.
#[derive(Clone, Debug)]
pub struct PartlyDecoded {
    signed: SignedTransaction,
    listed: Vec<SignedAuthorization>,
}

impl PartlyDecoded {
    /// What is known. It shows no authorizations.
    pub const fn signed(&self) -> &SignedTransaction {
        &self.signed
    }

    /// All of it.
    pub fn whole(self) -> SignedTransaction {
        let Self { mut signed, listed } = self;
        let chain_id = signed.transaction.rollup.get();
        signed.authorizations =
            listed.iter().filter_map(|one| authorization(one, chain_id)).collect();
        signed
    }
}

/// How many authorizations a transaction lists, by its bytes alone; 0 for what is none of type 4 that far.
pub fn authorizations_listed(raw: &[u8]) -> usize {
    let Some((&DELEGATING_TYPE, content)) = raw.split_first() else { return 0 };
    counted(content).unwrap_or(0)
}

fn counted(mut content: &[u8]) -> alloy::rlp::Result<usize> {
    let mut fields = Header::decode_bytes(&mut content, true)?;
    for _ in 0..FIELDS_BEFORE_AUTHORIZATIONS {
        skip(&mut fields)?;
    }
    let mut list = Header::decode_bytes(&mut fields, true)?;
    let mut count: usize = 0;
    while !list.is_empty() {
        skip(&mut list)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Goes past one item, whatever it is. Takes a byte at least.
fn skip(rest: &mut &[u8]) -> alloy::rlp::Result<()> {
    let before = *rest;
    let header = Header::decode(rest)?;
    *rest = rest.get(header.payload_length..).ok_or(alloy::rlp::Error::InputTooShort)?;
    // A single byte is its own header, and then still there: it is the payload that was skipped.
    debug_assert!(rest.len() < before.len(), "an item is a byte at least");
    Ok(())
}

/// Decodes one type; a trailing byte or any other encoding than alloy's own is refused.
fn decode_as<T>(raw: Bytes) -> Result<PartlyDecoded, TransactionError>
where
    T: RlpEcdsaDecodableTx + SignableTransaction<alloy::primitives::Signature>,
{
    let mut rest = raw.as_ref();
    let signed = T::eip2718_decode(&mut rest).map_err(|error| {
        TransactionError::malformed(fields::wrong(&raw).unwrap_or_else(|| error.to_string()))
    })?;
    if !rest.is_empty() {
        return Err(TransactionError::malformed(format_args!("{} bytes too many", rest.len())));
    }
    let (tx, signature) = (signed.tx(), signed.signature());
    let mut again = Vec::with_capacity(raw.len());
    tx.eip2718_encode(signature, &mut again);
    if again != raw {
        return Err(TransactionError::malformed("its encoding is not canonical"));
    }
    let chain_id = tx.chain_id().filter(|id| *id != 0).ok_or(TransactionError::NoChainId)?;
    if tx.nonce() > MAX_NONCE {
        return Err(TransactionError::NoSuchNonce);
    }

    let sender = recover(signature.r(), signature.s(), signature.v(), tx.signature_hash())
        .map_err(TransactionError::BadSignature)?;

    let listed = match tx.authorization_list() {
        // EIP-7702 knows no such transaction: accepted, it would hold up its sender's later ones.
        Some([]) => return Err(TransactionError::malformed("its authorization list is empty")),
        Some(listed) => listed.to_vec(),
        None => Vec::new(),
    };
    let signed = SignedTransaction {
        hash: keccak256(&raw),
        sender,
        nonce: tx.nonce(),
        gas_limit: tx.gas_limit(),
        max_fee_wei: tx.max_fee_per_gas(),
        priority_fee_wei: tx.priority_fee_or_price(),
        authorizations: Vec::new(),
        transaction: RollupTransaction { rollup: RollupId::new(chain_id), raw },
    };
    Ok(PartlyDecoded { signed, listed })
}

#[cfg(test)]
thread_local! {
    static RECOVERIES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Keys that this thread has recovered.
#[cfg(test)]
pub(crate) fn recoveries() -> usize {
    RECOVERIES.get()
}

/// Who signed `digest`.
fn recover(r: U256, s: U256, odd_y: bool, digest: B256) -> Result<Address, SignatureError> {
    #[cfg(test)]
    RECOVERIES.set(RECOVERIES.get().saturating_add(1));
    let mut rs = [0; 64];
    rs[..32].copy_from_slice(&r.to_be_bytes::<32>());
    rs[32..].copy_from_slice(&s.to_be_bytes::<32>());
    Signature::from_parts(rs, odd_y)?.recover(digest)
}

/// An authorization that an EVM of this chain would look at; it passes over any other.
fn authorization(listed: &SignedAuthorization, chain_id: u64) -> Option<Authorization> {
    let is_for_this_chain = listed.chain_id.is_zero() || listed.chain_id == U256::from(chain_id);
    let odd_y = match listed.y_parity() {
        0 => false,
        1 => true,
        _ => return None,
    };
    if !is_for_this_chain || listed.nonce > MAX_NONCE {
        return None;
    }
    let authority = recover(listed.r(), listed.s(), odd_y, listed.signature_hash()).ok()?;
    Some(Authorization { authority, nonce: listed.nonce })
}

/// A transaction that has no place in a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction {index}: {reason}")]
pub struct InvalidTransaction {
    /// Its place.
    pub index: usize,
    /// What is wrong with it.
    pub reason: TransactionError,
}

/// Why bytes are no transaction that this network orders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Larger than a transaction may be.
    #[error("transaction is {actual} bytes, at most {limit}")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
        /// Its size in bytes.
        actual: usize,
    },
    /// Not an EIP-2718 envelope.
    #[error("transaction does not decode: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: String,
    },
    /// Blobs belong to L1.
    #[error("blob transactions (type 3) are not taken")]
    Blob,
    /// Beyond [`MAX_NONCE`].
    #[error("nonce has max value: an account's last nonce is {MAX_NONCE}")]
    NoSuchNonce,
    /// Without a chain id nobody knows which rollup it is for.
    #[error("transaction carries no chain id")]
    NoChainId,
    /// High s, zero, or not recoverable.
    #[error("transaction signature is invalid: {0}")]
    BadSignature(SignatureError),
    /// In a block, under another rollup than the one that it was signed for.
    #[error("transaction is for rollup {actual}, listed under {expected}")]
    WrongRollup {
        /// The rollup that the block says.
        expected: RollupId,
        /// The chain id that was signed.
        actual: RollupId,
    },
}

impl TransactionError {
    fn malformed(reason: impl std::fmt::Display) -> Self {
        Self::Malformed { reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests;
