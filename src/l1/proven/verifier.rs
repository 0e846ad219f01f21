//! Proven blocks in, what they mean out.

use super::memory::Memory;
use super::reader::{ProvenBlock, ProvenError};
use super::rules::{Rules, View, Violation};
use crate::domain::{Deployment, L1Block, Params};
use crate::l1::bindings::IBatchInbox;
use crate::l1::error::L1Error;
use crate::l1::replay::{Derived, Replay, ReplayError};
use crate::l1::{Client, Mirror};
use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::primitives::{Address, B256};
use alloy::sol_types::SolEvent as _;

/// What an L1 block means.
#[derive(Debug, Default)]
pub struct Verified {
    /// What it did to the derived order.
    pub derived: Vec<Derived>,
    /// Rules that it, or the batches in it, break.
    pub violations: Vec<Violation>,
}

/// Derives, and checks every rule that can be checked from L1 alone.
pub struct Verifier {
    memory: Memory,
    client: Client,
    replay: Replay,
    rules: Rules,
}

impl Verifier {
    /// Begins at the deployment.
    pub fn new(deployment: Deployment, params: Params) -> Self {
        let memory = Memory::default();
        let client = memory.client(deployment.chain_id);
        let replay = Replay::new(client.clone(), deployment, params);
        Self { memory, client, replay, rules: Rules::default() }
    }

    /// What was read so far.
    pub const fn mirror(&self) -> &Mirror {
        self.replay.mirror()
    }

    /// Takes the next block. `l1` gives proven L1 blocks by number.
    ///
    /// # Errors
    ///
    /// [`ProvenError::Replay`] when what is proven does not derive. Nothing can be taken after it.
    pub async fn take(
        &mut self,
        block: &ProvenBlock,
        l1: &(dyn Fn(u64) -> Option<L1Block> + Sync),
    ) -> Result<Verified, ProvenError> {
        self.memory.know(block.transactions.iter().cloned(), block.codes.iter().cloned());
        let mut verified = Verified::default();
        self.rules.see(block, &self.replay.mirror().params, &mut verified.violations);
        let taken = self.replay.take_block(&self.client, &block.block, &block.logs).await;
        verified.derived = taken.map_err(|error| match error {
            // All that it could ask for is here and proven.
            ReplayError::L1(reason) => unreadable(block, reason),
            error => error.into(),
        })?;
        // Nothing that is proven says where such a batch ends: nobody can vouch for what comes behind it.
        let is_unread =
            |step: &Derived| matches!(step, Derived::Batch(batch, _) if batch.is_unread());
        if verified.derived.iter().any(is_unread) {
            return Err(unreadable(block, L1Error::BadAnswer { what: "settlement input" }));
        }
        for step in &verified.derived {
            if let Derived::Batch(batch, derived) = step {
                let sender = sender_of(block, batch.tx_hash);
                let view = View { mirror: self.replay.mirror(), l1, sender };
                self.rules.settled(batch, derived, &view, &mut verified.violations);
            }
        }
        Ok(verified)
    }
}

fn unreadable(block: &ProvenBlock, reason: L1Error) -> ProvenError {
    let settled: Vec<String> = block
        .logs
        .iter()
        .filter_map(|log| {
            let event = IBatchInbox::BatchSettled::decode_log(&log.inner).ok()?;
            let transaction = log.transaction_hash.unwrap_or_default();
            Some(format!("batch {} in transaction {transaction}", event.number))
        })
        .collect();
    let what = if settled.is_empty() { "no batch".to_owned() } else { settled.join(", ") };
    ProvenError::Unreadable { l1_block: block.block.number, reason, what }
}

fn sender_of(block: &ProvenBlock, hash: B256) -> Option<Address> {
    let (_, transaction) = block.transactions.iter().find(|(known, _)| *known == hash)?;
    transaction.inner.inner().recover_signer().ok()
}
