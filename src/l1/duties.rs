//! What agents do for everybody on L1: book settled batches, report offences, execute cases.

use super::account::{Account, Order};
use super::bindings::{BlockProof, ISlasher, ITally, KeyReference, Settled, VoteType};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use crate::domain::{
    self, BatchHeader, BatchNumber, Deployment, Epoch, Evidence, Generation, Height, Seconds,
    SettledBatch,
};
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider as _;

/// Names a frozen set that holds an offender's key, and its place there (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// The generation of the set.
    pub generation: Generation,
    /// An epoch in which it is in force.
    pub epoch: Epoch,
    /// The key's place in it.
    pub index: usize,
}

/// Number of the next batch to tally.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn next_tally(client: &Client, deployment: &Deployment) -> Result<BatchNumber, L1Error> {
    let call = ITally::nextTallyCall {};
    client.call(deployment.tally, &call).await.map(BatchNumber::new)
}

/// Books consecutive settled batches, of which the first is the next one to tally.
///
/// # Errors
///
/// [`L1Error::Reverted`] when somebody else was faster, or what is in the way to L1.
pub async fn tally(
    account: &Account,
    deployment: &Deployment,
    batches: &[SettledBatch],
) -> Result<(), L1Error> {
    let Some(first) = batches.first() else { return Ok(()) };
    let mut settled = Vec::with_capacity(batches.len());
    for batch in batches {
        let (base_fee_wei, blob_base_fee_wei) =
            fees_of(account.client(), batch.block.number).await?;
        settled.push(Settled {
            header: convert::sol_batch_header(&batch.header),
            signers: batch.signers,
            poster: batch.poster,
            settledAt: batch.block.timestamp.get(),
            parentSettledAt: batch.parent_settled_at.get(),
            baseFeeWei: U256::from(base_fee_wei),
            blobBaseFeeWei: U256::from(blob_base_fee_wei),
            payloadTokens: batch.payload_tokens,
            blobs: 0,
            late: batch.late,
        });
    }
    let call = ITally::tallyCall { first: first.number.get(), batches: settled };
    account.execute(&Order::call(deployment.tally, &call)).await?;
    Ok(())
}

/// Reports an offence. Returns the case's id.
///
/// # Errors
///
/// [`L1Error::Reverted`] when L1 does not accept the evidence or has it already, or what is in the way to L1.
pub async fn report(
    account: &Account,
    deployment: &Deployment,
    place: KeyPlace,
    evidence: &Evidence,
) -> Result<B256, L1Error> {
    let key = KeyReference {
        generation: place.generation.get(),
        epoch: place.epoch.get(),
        index: U256::from(place.index),
    };
    let order = match evidence {
        Evidence::DoubleVote { vote_type, a, b, .. } => {
            let call = ISlasher::reportDoubleVoteCall {
                key,
                voteType: match vote_type {
                    domain::VoteType::Prevote => VoteType::Prevote,
                    domain::VoteType::Precommit => VoteType::Precommit,
                },
                a: convert::sol_vote(&a.0),
                signatureA: convert::sol_signature(&a.1),
                b: convert::sol_vote(&b.0),
                signatureB: convert::sol_signature(&b.1),
            };
            Order::call(deployment.slasher, &call)
        }
        Evidence::DoubleProposal { a, b, .. } => {
            let call = ISlasher::reportDoubleProposalCall {
                key,
                a: convert::sol_proposal(&a.0),
                signatureA: convert::sol_signature(&a.1),
                b: convert::sol_proposal(&b.0),
                signatureB: convert::sol_signature(&b.1),
            };
            Order::call(deployment.slasher, &call)
        }
        Evidence::DoubleAttestation { a, b, .. } => {
            let call = ISlasher::reportDoubleAttestationCall {
                key,
                height: differing_height(&a.0, &b.0).get(),
                a: convert::sol_batch_header(&a.0),
                signatureA: convert::sol_signature(&a.1),
                proofA: last_block(&a.0),
                b: convert::sol_batch_header(&b.0),
                signatureB: convert::sol_signature(&b.1),
                proofB: last_block(&b.0),
            };
            Order::call(deployment.slasher, &call)
        }
    };
    let receipt = account.execute(&order).await?;
    super::actions::event::<ISlasher::Reported>(&receipt).map(|event| event.caseId)
}

/// L1 time from which a case can be executed.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn executable_at(
    client: &Client,
    deployment: &Deployment,
    case: B256,
) -> Result<Seconds, L1Error> {
    let call = ISlasher::executableAtCall { caseId: case };
    client.call(deployment.slasher, &call).await.map(Seconds::new)
}

/// Applies the penalty of a case.
///
/// # Errors
///
/// [`L1Error::Reverted`] when it is not due or executed already, or what is in the way to L1.
pub async fn execute_case(
    account: &Account,
    deployment: &Deployment,
    case: B256,
) -> Result<(), L1Error> {
    let call = ISlasher::executeCall { caseId: case };
    account.execute(&Order::call(deployment.slasher, &call)).await?;
    Ok(())
}

/// The height at which two headers contradict each other without a Merkle proof: their common last one, or the one at
/// which the later begins.
fn differing_height(a: &BatchHeader, b: &BatchHeader) -> Height {
    if a.last_height == b.last_height { a.last_height } else { a.first_height.max(b.first_height) }
}

/// A header names its last block itself: no siblings are needed.
fn last_block(header: &BatchHeader) -> BlockProof {
    BlockProof { blockHash: header.last_block_hash, siblings: Vec::new() }
}

/// Base fee and blob base fee of an L1 block, in wei.
async fn fees_of(client: &Client, block: u64) -> Result<(u128, u128), L1Error> {
    let history = client
        .provider()
        .get_fee_history(1, block.into(), &[])
        .await
        .map_err(|error| L1Error::of(&error, Address::ZERO))?;
    let base = history.base_fee_per_gas.first().copied();
    let base = base.ok_or(L1Error::BadAnswer { what: "fee history" })?;
    // Where nothing is told about blobs there is no market for them yet: the price is 1 wei.
    let blob = history.base_fee_per_blob_gas.first().copied().filter(|wei| *wei != 0);
    Ok((base, blob.unwrap_or(1)))
}
