//! What agents do for everybody on L1: book settled batches, debit rollups for them, report offences, execute cases.

use super::account::{Account, Order};
use super::bindings::{
    BlockProof, Debit, IRollups, ISequencerRegistry, ISlasher, ITally, Settled, Status, VoteType,
};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use crate::batch::{Usage, packed_usage};
use crate::domain::{
    self, BatchNumber, Deployment, Epoch, Evidence, Generation, Seconds, SettledBatch,
};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider as _;
use alloy::sol_types::SolCall as _;

/// Names an offender's key to L1 (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// The key with which this active sequencer signs now: no set has to be read.
    Current {
        /// The sequencer's id.
        sequencer: u32,
    },
    /// The key at a place of a frozen set.
    InSet {
        /// The generation of the set.
        generation: Generation,
        /// An epoch in which it is in force.
        epoch: Epoch,
        /// The key's place in it.
        index: u8,
    },
}

impl KeyReference {
    /// As the contract's `KeyLib` draws it: id 32, or (from the low bits up) index 8, epoch 64, generation 32 and the top
    /// bit.
    fn to_word(self) -> U256 {
        match self {
            Self::Current { sequencer } => U256::from(sequencer),
            Self::InSet { generation, epoch, index } => {
                let place = U256::from(generation.get()).wrapping_shl(72)
                    | U256::from(epoch.get()).wrapping_shl(8)
                    | U256::from(index);
                place | U256::ONE.wrapping_shl(255)
            }
        }
    }
}

/// The cheapest name of `signer`'s key: its sequencer, if that is active and has no other key by now.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn current_key(
    client: &Client,
    deployment: &Deployment,
    signer: Address,
) -> Result<Option<KeyReference>, L1Error> {
    let Some(id) = super::actions::id_of(client, deployment, signer).await? else {
        return Ok(None);
    };
    let call = ISequencerRegistry::sequencerCall { id };
    let known = client.call(deployment.registry, &call).await?;
    let is_current = known.status == Status::Active && known.signer == signer;
    Ok(is_current.then_some(KeyReference::Current { sequencer: id }))
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
        settled.push(settled_of(account.client(), batch).await?);
    }
    let call = ITally::tallyCall { first: first.number.get(), batches: settled };
    account.execute(&Order::call(deployment.tally, &call)).await?;
    Ok(())
}

/// How many places wait in the two churn queues (R7).
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn waiting_churn(client: &Client, deployment: &Deployment) -> Result<u64, L1Error> {
    let state = client.call(deployment.registry, &ISequencerRegistry::churnCall {}).await?;
    Ok(state.entrances.saturating_add(state.exits))
}

/// Lets up to `max` places of each churn queue move as far as the epoch's limit allows.
///
/// # Errors
///
/// [`L1Error::Reverted`] when nothing can move in this epoch, or what is in the way to L1.
pub async fn flush(account: &Account, deployment: &Deployment, max: u64) -> Result<(), L1Error> {
    let call = ISequencerRegistry::flushCall { max: U256::from(max) };
    account.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Which of 256 batches their rollups were debited for: bit i for batch 256 · `group` + i.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn debited(
    client: &Client,
    deployment: &Deployment,
    group: u64,
) -> Result<U256, L1Error> {
    client.call(deployment.rollups, &IRollups::debitedBatchesCall { group }).await
}

/// Debits rollups for what they take of settled batches. Batches that are debited by then are left out.
///
/// # Errors
///
/// [`L1Error::Reverted`] when all are, or what is in the way to L1.
pub async fn debit(
    account: &Account,
    deployment: &Deployment,
    batches: &[(SettledBatch, Vec<Usage>)],
) -> Result<(), L1Error> {
    let mut debits = Vec::with_capacity(batches.len());
    for (batch, usage) in batches {
        debits.push(Debit {
            number: batch.number.get(),
            batch: settled_of(account.client(), batch).await?,
            usage: packed_usage(usage).into(),
        });
    }
    account.execute(&Order::call(deployment.rollups, &IRollups::debitManyCall { debits })).await?;
    Ok(())
}

/// The batches that a call of [`debit`] with this input names, each with its packed usage.
#[cfg(test)]
pub(crate) fn named_by(input: &[u8]) -> Option<Vec<(u64, Bytes)>> {
    let call = IRollups::debitManyCall::abi_decode(input).ok()?;
    Some(call.debits.into_iter().map(|one| (one.number, one.usage)).collect())
}

/// Reports an offence. Returns the case's id.
///
/// # Errors
///
/// [`L1Error::Reverted`] when L1 does not accept the evidence or has it already, or what is in the way to L1.
pub async fn report(
    account: &Account,
    deployment: &Deployment,
    key: KeyReference,
    evidence: &Evidence,
) -> Result<B256, L1Error> {
    let order = Order::input(deployment.slasher, "report", report_input(key, evidence));
    let receipt = account.execute(&order).await?;
    super::actions::event::<ISlasher::Reported>(&receipt).map(|event| event.caseId)
}

/// The calldata of a report: what a reporter commits to.
pub fn report_input(key: KeyReference, evidence: &Evidence) -> Bytes {
    let key = key.to_word();
    match evidence {
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
            call.abi_encode().into()
        }
        Evidence::DoubleProposal { a, b, .. } => {
            let call = ISlasher::reportDoubleProposalCall {
                key,
                a: convert::sol_proposal(&a.0),
                signatureA: convert::sol_signature(&a.1),
                b: convert::sol_proposal(&b.0),
                signatureB: convert::sol_signature(&b.1),
            };
            call.abi_encode().into()
        }
        Evidence::DoubleAttestation { a, b, height, proof_a, proof_b, .. } => {
            let call = ISlasher::reportDoubleAttestationCall {
                key,
                height: height.get(),
                a: convert::sol_batch_header(&a.0),
                signatureA: convert::sol_signature(&a.1),
                proofA: sol_proof(proof_a),
                b: convert::sol_batch_header(&b.0),
                signatureB: convert::sol_signature(&b.1),
                proofB: sol_proof(proof_b),
            };
            call.abi_encode().into()
        }
    }
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

fn sol_proof(proof: &domain::BlockProof) -> BlockProof {
    BlockProof { blockHash: proof.block_hash, siblings: proof.siblings.clone() }
}

/// A settled batch as the ring holds the hash of it.
async fn settled_of(client: &Client, batch: &SettledBatch) -> Result<Settled, L1Error> {
    let (base_fee_wei, blob_base_fee_wei) = fees_of(client, batch.block.number).await?;
    Ok(Settled {
        header: convert::sol_batch_header(&batch.header),
        signers: batch.signers,
        poster: batch.poster,
        settledAt: batch.block.timestamp.get(),
        parentSettledAt: batch.parent_settled_at.get(),
        baseFeeWei: U256::from(base_fee_wei),
        blobBaseFeeWei: U256::from(blob_base_fee_wei),
        refundWei: batch.refund_wei,
        blobs: 0,
        late: batch.late,
        led: batch.led,
    })
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
