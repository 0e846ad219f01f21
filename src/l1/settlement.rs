//! Batches on their way to L1 and back: the input of `settle` and `settleMany`.

use super::account::Order;
use super::bindings::{IBatchInbox, Submission};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use crate::crypto::{Signature, SigningDomain};
use crate::domain::{BatchHeader, Deployment, SettledBatch};
use alloy::consensus::Transaction as _;
use alloy::primitives::{B256, Bytes, U256};
use alloy::sol_types::SolCall as _;

/// Nodes refuse larger transactions.
const MAX_TRANSACTION_BYTES: usize = 128 * 1024;
/// What the envelope around the input takes at most: fees, nonce, address, signature.
const ENVELOPE_BYTES: usize = 256;
/// Gas of a settlement beyond its calldata: what is read and written, and per signature and member. Measured maxima (the
/// benches of the contracts) with room to spare; what is not used is not paid.
const BASE_GAS: u64 = 150_000;
const GAS_PER_SIGNATURE: u64 = 8_000;
const GAS_PER_MEMBER: u64 = 1_000;
/// Calldata at its dearest: EIP-7623's price of a nonzero byte.
const GAS_PER_BYTE: u64 = 40;
const INTRINSIC_GAS: u64 = 21_000;
/// The most that a transaction may ask for (EIP-7825).
const MAX_TRANSACTION_GAS: u64 = 16_000_000;

/// A batch that a quorum has signed, ready to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The header.
    pub header: BatchHeader,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// Their signatures, in the order of the members.
    pub signatures: Vec<Signature>,
    /// How many members the attesting set has.
    pub members: usize,
    /// The payload's bytes.
    pub payload: Bytes,
}

/// A batch as the transaction that settled it carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledPayload {
    /// The header.
    pub header: BatchHeader,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// Their signatures.
    pub signatures: Vec<Signature>,
    /// The payload's bytes.
    pub payload: Bytes,
}

impl SettledPayload {
    /// The EIP-712 digest of its header.
    pub(super) fn digest(&self, deployment: &Deployment) -> B256 {
        SigningDomain::new(deployment.chain_id, deployment.settlement).batch(&self.header)
    }
}

impl Certified {
    /// Bytes that it takes in a transaction's input, about.
    fn input_bytes(&self) -> usize {
        // 15 words of header, and offsets, lengths, bitmap and padding.
        let words = 26_usize.saturating_add(self.signatures.len().saturating_mul(2));
        words.saturating_mul(32).saturating_add(self.payload.len())
    }

    fn gas(&self) -> u64 {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        count(self.input_bytes())
            .saturating_mul(GAS_PER_BYTE)
            .saturating_add(BASE_GAS)
            .saturating_add(count(self.signatures.len()).saturating_mul(GAS_PER_SIGNATURE))
            .saturating_add(count(self.members).saturating_mul(GAS_PER_MEMBER))
    }
}

/// How many of `batches`, from the first on, fit one transaction; at least one if there is any.
pub fn fitting(batches: &[Certified]) -> usize {
    let mut bytes = ENVELOPE_BYTES;
    let mut gas = INTRINSIC_GAS;
    let mut count = 0_usize;
    for batch in batches {
        bytes = bytes.saturating_add(batch.input_bytes());
        gas = gas.saturating_add(batch.gas());
        if count > 0 && (bytes > MAX_TRANSACTION_BYTES || gas > MAX_TRANSACTION_GAS) {
            break;
        }
        count = count.saturating_add(1);
    }
    count
}

/// The transaction that settles `batches` in this order. Its gas is given, not estimated: an estimate would fail while
/// the batch before is still on its way.
pub fn order(deployment: &Deployment, batches: &[Certified]) -> Order {
    let gas = batches.iter().map(Certified::gas).fold(INTRINSIC_GAS, u64::saturating_add);
    let input: Bytes = match batches {
        [one] => {
            let submission = submission(one);
            IBatchInbox::settleCall {
                header: submission.header,
                signers: submission.signers,
                signatures: submission.signatures,
                payload: submission.payload,
            }
            .abi_encode()
            .into()
        }
        several => {
            IBatchInbox::settleManyCall { submissions: several.iter().map(submission).collect() }
                .abi_encode()
                .into()
        }
    };
    Order { to: Some(deployment.settlement), value_wei: U256::ZERO, input, gas: Some(gas) }
}

fn submission(batch: &Certified) -> Submission {
    Submission {
        header: convert::sol_batch_header(&batch.header),
        signers: batch.signers,
        signatures: batch.signatures.iter().map(convert::sol_signature).collect(),
        payload: batch.payload.clone(),
    }
}

/// What a transaction settled, from its input.
///
/// # Errors
///
/// [`L1Error::BadAnswer`] when the node does not know it or its input is no settlement.
pub(super) async fn fetch(
    client: &Client,
    deployment: &Deployment,
    tx_hash: B256,
) -> Result<Vec<SettledPayload>, L1Error> {
    let transaction = client
        .transaction(tx_hash)
        .await?
        .filter(|transaction| transaction.inner.to() == Some(deployment.settlement))
        .ok_or(L1Error::BadAnswer { what: "settlement transaction" })?;
    parse(transaction.inner.input()).ok_or(L1Error::BadAnswer { what: "settlement input" })
}

/// The payload of a settled batch, from the transaction that settled it.
///
/// # Errors
///
/// [`L1Error::BadAnswer`] when the node does not know it, or what is in the way to L1.
pub async fn payload_of(
    client: &Client,
    deployment: &Deployment,
    batch: &SettledBatch,
) -> Result<Bytes, L1Error> {
    let carried = fetch(client, deployment, batch.tx_hash).await?;
    let carried = carried.into_iter().find(|carried| carried.header == batch.header);
    carried.map(|carried| carried.payload).ok_or(L1Error::BadAnswer { what: "settlement input" })
}

fn parse(input: &[u8]) -> Option<Vec<SettledPayload>> {
    let submissions = match *input.first_chunk::<4>()? {
        IBatchInbox::settleCall::SELECTOR => {
            let call = IBatchInbox::settleCall::abi_decode(input).ok()?;
            vec![Submission {
                header: call.header,
                signers: call.signers,
                signatures: call.signatures,
                payload: call.payload,
            }]
        }
        IBatchInbox::settleManyCall::SELECTOR => {
            IBatchInbox::settleManyCall::abi_decode(input).ok()?.submissions
        }
        _ => return None,
    };
    let settled = submissions
        .into_iter()
        .map(|submission| SettledPayload {
            header: convert::batch_header(&submission.header),
            signers: submission.signers,
            signatures: submission.signatures.iter().map(convert::signature).collect(),
            payload: submission.payload,
        })
        .collect();
    Some(settled)
}
