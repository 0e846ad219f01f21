//! The settled chain from L1 alone: what a rollup node runs, and `rota verify`.
//!
//! Reads events and the inputs of settling transactions in order, checks the certificate of each batch against the set
//! that L1 had frozen, and derives its transactions. Needs no agent and no store. Give it blocks that L1 will not take
//! back.

use super::client::Client;
use super::error::L1Error;
use super::facts::{self, Fact};
use super::mirror::Mirror;
use super::ranges::{self, Span};
use super::settlement::{self, SettledPayload};
use super::unread;
use crate::crypto::SigningDomain;
use crate::derive::{Derivation, DeriveError, DerivedBatch, DerivedEscape};
use crate::domain::{
    BatchNumber, Deployment, ForcedEscape, Generation, L1Block, LeaderSet, Params, RollupId,
    SettledBatch,
};
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::rpc::types::Log;
use std::sync::Arc;

/// Why L1 does not derive.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// L1 did not tell.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// What L1 told does not form a chain.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// A batch settled before block 0 was fixed, or in an epoch without a set.
    #[error("batch {number} settled without a leader set")]
    NoSet {
        /// Its number.
        number: BatchNumber,
    },
    /// A batch settled in another generation than the running one (R33).
    #[error("batch {number} of generation {actual} settled in generation {expected}")]
    OtherGeneration {
        /// Its number.
        number: BatchNumber,
        /// The generation that ran.
        expected: Generation,
        /// The one in its header.
        actual: Generation,
    },
    /// A batch settled without the signatures of a quorum.
    #[error("batch {number} settled with {signed} of a weight of {total}")]
    NoQuorum {
        /// Its number.
        number: BatchNumber,
        /// Weight of the members whose signatures are good.
        signed: u64,
        /// Weight of the set.
        total: u64,
    },
}

/// What L1 did to the derived order, in the order in which it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Derived {
    /// A batch settled.
    Batch(Arc<SettledBatch>, DerivedBatch),
    /// Forced entries were consumed without one.
    Escape(ForcedEscape, DerivedEscape),
}

/// Reads the settled chain in order.
pub struct Replay {
    client: Client,
    deployment: Deployment,
    mirror: Mirror,
    derivation: Option<Derivation>,
    /// What was forced and escaped before block 0 was fixed: derived right after it.
    early: Vec<Fact>,
    next_block: u64,
    span: Span,
    /// What was derived of blocks that are read, and not given to the caller yet.
    ready: Vec<Derived>,
    /// Where the chain stands, for batches that cannot be read.
    end: unread::End,
}

impl Replay {
    /// Begins at the deployment.
    pub fn new(client: Client, deployment: Deployment, params: Params) -> Self {
        let next_block = deployment.block;
        let mirror = Mirror::new(params);
        let (derivation, early, ready) = (None, Vec::new(), Vec::new());
        let span = Span::default();
        let end = unread::End::default();
        Self { client, deployment, mirror, derivation, early, next_block, span, ready, end }
    }

    /// What was read so far.
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Reads on up to and including L1 block `to`; returns the batches that settled on the way, and the escapes.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]. After [`ReplayError::L1`] the next call goes on where this one ended, and nothing is lost; after
    /// any other nothing can be read on.
    pub async fn advance(&mut self, to: u64) -> Result<Vec<Derived>, ReplayError> {
        while self.next_block <= to {
            let filter = facts::filter(&self.deployment);
            let (logs, end) =
                ranges::next(&self.client, &filter, self.next_block, to, &mut self.span).await?;
            for (number, logs) in facts::by_block(logs) {
                let (block, _) = self
                    .client
                    .block(BlockNumberOrTag::Number(number))
                    .await?
                    .ok_or(L1Error::BadAnswer { what: "block" })?;
                let client = self.client.clone();
                let derived = self.take_block(&client, &block, &logs).await?;
                self.ready.extend(derived);
                self.next_block = number.saturating_add(1);
            }
            let Some(next) = end.checked_add(1) else { break };
            self.next_block = next;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    /// Takes the events of the next L1 block that has any; what they only point to is asked of `client`, all of it before any
    /// of it counts.
    pub(super) async fn take_block(
        &mut self,
        client: &Client,
        block: &L1Block,
        logs: &[Log],
    ) -> Result<Vec<Derived>, ReplayError> {
        let mut read = facts::read(client, &self.deployment, block, logs, None).await?;
        self.end.clone().complete(&mut read);
        let mut facts = Vec::with_capacity(read.len());
        for fact in read {
            let carried = match &fact {
                Fact::Settled(batch) if !batch.is_unread() => {
                    Some(self.carried(client, batch).await?)
                }
                _ => None,
            };
            facts.push((fact, carried));
        }
        let mut derived = Vec::new();
        for (fact, carried) in facts {
            self.mirror.apply(block, &fact);
            self.end.note(&fact);
            derived.extend(self.take(fact, carried)?);
        }
        Ok(derived)
    }

    /// What the settling transaction carries for a batch.
    async fn carried(
        &self,
        client: &Client,
        batch: &SettledBatch,
    ) -> Result<SettledPayload, ReplayError> {
        let digest = SigningDomain::new(self.deployment.chain_id, self.deployment.settlement)
            .batch(&batch.header);
        settlement::fetch_with(client, &self.deployment, batch.tx_hash, digest)
            .await?
            .batches
            .into_iter()
            .find(|carried| carried.header == batch.header)
            .ok_or(ReplayError::L1(L1Error::BadAnswer { what: "settlement input" }))
    }

    /// Takes a fact; one of a settled batch comes with what its transaction carries.
    fn take(
        &mut self,
        fact: Fact,
        carried: Option<SettledPayload>,
    ) -> Result<Vec<Derived>, ReplayError> {
        let mut derived = Vec::new();
        match fact {
            Fact::Genesis(header) => {
                let begun = self.derivation.insert(Derivation::new(&self.mirror.params, &header));
                for fact in std::mem::take(&mut self.early) {
                    derived.extend(take_forced(begun, &self.mirror, fact)?);
                }
            }
            // Nobody can read what settled: the chain goes on from what L1 tells besides (R44).
            Fact::Settled(batch) if batch.is_unread() => {
                let number = batch.number;
                let derivation = self.derivation.as_mut().ok_or(ReplayError::NoSet { number })?;
                let meaning = derivation.pass(number, &batch.header)?;
                derived.push(Derived::Batch(batch, meaning));
            }
            Fact::Settled(batch) => {
                let carried = carried.ok_or(L1Error::BadAnswer { what: "settlement input" })?;
                let meaning = self.settle(&batch, &carried)?;
                derived.push(Derived::Batch(batch, meaning));
            }
            fact @ (Fact::Forced(_) | Fact::Escaped(_)) => match &mut self.derivation {
                Some(derivation) => derived.extend(take_forced(derivation, &self.mirror, fact)?),
                None => self.early.push(fact),
            },
            _ => {}
        }
        Ok(derived)
    }

    fn settle(
        &mut self,
        batch: &SettledBatch,
        carried: &SettledPayload,
    ) -> Result<DerivedBatch, ReplayError> {
        let number = batch.number;
        let (expected, actual) = (self.mirror.generation(), batch.header.generation);
        if expected != actual {
            return Err(ReplayError::OtherGeneration { number, expected, actual });
        }
        let set = self
            .mirror
            .set_for(batch.header.generation, batch.header.epoch)
            .ok_or(ReplayError::NoSet { number })?;
        let digest = SigningDomain::new(self.deployment.chain_id, self.deployment.settlement)
            .batch(&batch.header);
        let signed = signed_weight(&set, carried, digest);
        if !set.is_quorum(signed) {
            return Err(ReplayError::NoQuorum { number, signed, total: set.total() });
        }

        let derivation = self.derivation.as_mut().ok_or(ReplayError::NoSet { number })?;
        let is_registered = |rollup: RollupId, origin| self.mirror.is_registered(rollup, origin);
        Ok(derivation.settle(number, &batch.header, &carried.payload, &is_registered)?)
    }
}

/// What an event of the forced queue means. L1 lets nobody force for a rollup that is not registered.
fn take_forced(
    derivation: &mut Derivation,
    mirror: &Mirror,
    fact: Fact,
) -> Result<Option<Derived>, DeriveError> {
    match fact {
        Fact::Forced(entry) => {
            let is_registered = mirror.rollups.contains_key(&entry.transaction.rollup);
            derivation.enqueue(Arc::unwrap_or_clone(entry), is_registered).map(|()| None)
        }
        Fact::Escaped(escape) => {
            let meaning = derivation.escape(escape.through)?;
            Ok(Some(Derived::Escape(escape, meaning)))
        }
        _ => Ok(None),
    }
}

/// Weight of the members whose signatures over `digest` stand where the bitmap says.
fn signed_weight(set: &Arc<LeaderSet>, carried: &SettledPayload, digest: B256) -> u64 {
    let bits = (0..u128::BITS).map(|bit| carried.signers >> bit & 1 == 1);
    let marked = set.members().iter().zip(bits).filter(|(_, signed)| *signed);
    marked
        .zip(&carried.signatures)
        .filter(|((member, _), signature)| signature.recover(digest) == Ok(member.signer))
        .fold(0, |sum, ((member, _), _)| sum.saturating_add(member.weight))
}
