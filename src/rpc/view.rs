//! Decided blocks and transactions in the shapes that Ethereum's clients know.
//!
//! A rollup's view of a block lists its own transactions alone, those that were forced first, and counts indices among
//! them. Nothing is executed here:
//! what only execution tells is answered with the constants below (docs/RPC.md says which).

use crate::domain::{BatchNumber, BlockHeader, Height, RollupId, SignedTransaction};
use crate::l1::MirrorHandle;
use crate::rpc::arguments::BlockReference;
use crate::rpc::methods::Call;
use crate::rpc::{RpcContext, RpcError};
use crate::storage::{Listed, RollupView, Store};
use alloy::consensus::transaction::Recovered;
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom,
    Transaction as _, TxEnvelope, TxType,
};
use alloy::eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use alloy::primitives::{B256, Bloom, Bytes, U256};
use alloy::rpc::types::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

/// Base fee that blocks show, in wei.
pub(super) const BASE_FEE_WEI: u128 = crate::mempool::BASE_FEE_WEI;

/// Priority fee that is suggested, in wei.
pub(super) const PRIORITY_FEE_WEI: u128 = 1_000_000_000;

/// Blob base fee, in wei: what it is as long as no block has blobs.
pub(super) const BLOB_BASE_FEE_WEI: u128 = 1;

/// Gas limit that blocks show. Not a bound of the order.
pub(super) const GAS_LIMIT: u64 = 30_000_000;

/// The height of a block, as a client names it; `None` when there is no such block.
pub(super) fn resolve(
    context: &RpcContext,
    block: BlockReference,
) -> Result<Option<Height>, RpcError> {
    let Some((tip, _)) = context.store.decided_tip()? else { return Ok(None) };
    Ok(match block {
        BlockReference::Earliest => Some(Height::new(0)),
        BlockReference::Latest | BlockReference::Pending => Some(tip),
        BlockReference::Safe => Some(settled(&context.mirror).min(tip)),
        BlockReference::Finalized => Some(finalized(&context.store, &context.mirror)?.min(tip)),
        BlockReference::Height(height) => Some(height).filter(|height| *height <= tip),
        BlockReference::Hash(hash) => context.store.height_of(hash)?,
    })
}

/// Refuses a block that was dropped.
pub(super) fn must_be_kept(store: &Store, block: Height) -> Result<(), RpcError> {
    let first = store.kept_from()?;
    if block < first { Err(RpcError::BlockNotKept { block, first }) } else { Ok(()) }
}

/// The last settled height.
pub(super) fn settled(mirror: &MirrorHandle) -> Height {
    mirror.read().tip.as_ref().map_or(Height::new(0), |tip| tip.last_height)
}

/// The last height whose settlement is final. Batches settle in the order of L1 blocks, so the last final one is found by
/// halving.
pub(super) fn finalized(store: &Store, mirror: &MirrorHandle) -> Result<Height, RpcError> {
    let mut high = mirror.read().tip.as_ref().map_or(0, |tip| tip.number.get());
    // Batches that are not kept any more are final, all of them.
    let oldest = store.settled_kept()?.map(|(oldest, _)| oldest);
    let mut low = oldest.map_or(0, |oldest| oldest.get().saturating_sub(1)).min(high);
    let mut last = match oldest.map(|oldest| store.settled(oldest)).transpose()?.flatten() {
        Some(batch) => batch.header.first_height.previous().unwrap_or_default(),
        None => Height::new(0),
    };
    while low < high {
        let middle = high.saturating_sub(high.saturating_sub(low) / 2);
        // A batch that the store does not hold yet is newer than all final ones.
        match store.settled(BatchNumber::new(middle))? {
            Some(batch) if mirror.read().is_final(&batch) => {
                last = batch.header.last_height;
                low = middle;
            }
            _ => high = middle.saturating_sub(1),
        }
    }
    Ok(last)
}

/// What has no counterpart is zero or empty; the hash is that of the Rota header, not of these fields.
fn to_header(
    hash: B256,
    header: &BlockHeader,
    transactions_root: B256,
    receipts_root: B256,
) -> Header {
    let inner = alloy::consensus::Header {
        parent_hash: header.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: header.proposer,
        state_root: B256::ZERO,
        transactions_root,
        receipts_root,
        number: header.height.get(),
        gas_limit: GAS_LIMIT,
        timestamp: header.timestamp.to_seconds().get(),
        base_fee_per_gas: u64::try_from(BASE_FEE_WEI).ok(),
        ..Default::default()
    };
    Header { hash, inner, total_difficulty: None, size: None }
}

/// A decided block as one rollup sees it.
pub(super) struct RollupBlock {
    rollup: RollupId,
    view: RollupView,
}

impl RollupBlock {
    /// Reads the block at a height.
    pub(super) fn read(
        store: &Store,
        rollup: RollupId,
        height: Height,
    ) -> Result<Option<Self>, RpcError> {
        must_be_kept(store, height)?;
        Ok(store.rollup_view(rollup, height)?.map(|view| Self { rollup, view }))
    }

    /// Names this view: the rollup and the block's hash.
    pub(super) const fn name(&self) -> (RollupId, B256) {
        (self.rollup, self.view.hash)
    }

    /// The header of the rollup's view: the roots are over its own transactions, and over their receipts as they are shown.
    pub(super) fn header(&self) -> Header {
        let listed = &self.view.transactions;
        let raw: Vec<&[u8]> = listed.iter().map(|one| one.transaction.raw.as_ref()).collect();
        let receipts: Vec<Vec<u8>> = raw.iter().map(|raw| shown_receipt(raw)).collect();
        to_header(
            self.view.hash,
            &self.view.header,
            alloy_trie::root::ordered_trie_root_encoded(&raw),
            alloy_trie::root::ordered_trie_root_encoded(&receipts),
        )
    }

    /// The whole block under this header, its transactions in full or as hashes.
    pub(super) fn to_block(&self, header: &Header, full: bool) -> Result<Block, RpcError> {
        let transactions = if full {
            let all = (0..self.len()).map(|index| self.transaction(index));
            BlockTransactions::Full(all.collect::<Result<_, _>>()?)
        } else {
            BlockTransactions::Hashes(self.view.transactions.iter().map(|one| one.hash).collect())
        };
        let bytes: usize = self.view.transactions.iter().map(|one| one.transaction.raw.len()).sum();
        let mut header = header.clone();
        header.size = Some(U256::from(bytes));
        Ok(Block { header, uncles: Vec::new(), transactions, withdrawals: None })
    }

    /// How many transactions the rollup has in it.
    pub(super) fn len(&self) -> usize {
        self.view.transactions.len()
    }

    /// Place of a transaction among the rollup's own.
    pub(super) fn index_of(&self, hash: B256) -> Option<usize> {
        self.view.transactions.iter().position(|one| one.hash == hash)
    }

    /// The bytes of one of its transactions.
    pub(super) fn raw(&self, index: usize) -> Option<Bytes> {
        self.view.transactions.get(index).map(|one| one.transaction.raw.clone())
    }

    fn listed(&self, index: usize) -> Result<(&Listed, TxEnvelope), RpcError> {
        let listed = self.view.transactions.get(index);
        let listed = listed.ok_or_else(|| RpcError::internal("no such place in the block"))?;
        let envelope = TxEnvelope::decode_2718(&mut listed.transaction.raw.as_ref());
        Ok((listed, envelope.map_err(RpcError::internal)?))
    }

    /// One of its transactions.
    pub(super) fn transaction(&self, index: usize) -> Result<Transaction, RpcError> {
        let (listed, envelope) = self.listed(index)?;
        let header = &self.view.header;
        Ok(Transaction {
            effective_gas_price: Some(price(&envelope)),
            inner: Recovered::new_unchecked(envelope, listed.sender),
            block_hash: Some(self.view.hash),
            block_number: Some(header.height.get()),
            transaction_index: u64::try_from(index).ok(),
            block_timestamp: Some(header.timestamp.to_seconds().get()),
        })
    }

    /// All receipts, in order.
    pub(super) fn receipts(&self) -> Result<Vec<TransactionReceipt>, RpcError> {
        (0..self.len()).map(|index| self.receipt(index)).collect()
    }

    /// The receipt of one of its transactions: ordered, not executed.
    pub(super) fn receipt(&self, index: usize) -> Result<TransactionReceipt, RpcError> {
        let (listed, envelope) = self.listed(index)?;
        let from = listed.sender;
        let creates = envelope.to().is_none();
        Ok(TransactionReceipt {
            inner: ReceiptEnvelope::from_typed(envelope.tx_type(), ordered::<Log>()),
            transaction_hash: listed.hash,
            transaction_index: u64::try_from(index).ok(),
            block_hash: Some(self.view.hash),
            block_number: Some(self.view.header.height.get()),
            gas_used: 0,
            effective_gas_price: price(&envelope),
            blob_gas_used: None,
            blob_gas_price: None,
            from,
            to: envelope.to(),
            contract_address: creates.then(|| from.create(envelope.nonce())),
        })
    }
}

/// What each receipt says: ordered, without logs and without gas.
fn ordered<L>() -> ReceiptWithBloom<Receipt<L>> {
    let receipt =
        Receipt { status: Eip658Value::Eip658(true), cumulative_gas_used: 0, logs: Vec::new() };
    ReceiptWithBloom { receipt, logs_bloom: Bloom::ZERO }
}

/// The receipt of a transaction as it stands in the trie of receipts. Only its type matters.
fn shown_receipt(raw: &[u8]) -> Vec<u8> {
    let kind = raw.first().and_then(|first| TxType::try_from(*first).ok());
    let receipt: ReceiptEnvelope<alloy::primitives::Log> =
        ReceiptEnvelope::from_typed(kind.unwrap_or(TxType::Legacy), ordered());
    receipt.encoded_2718()
}

/// What a transaction would pay for a unit of gas under the base fee that blocks show, in wei.
fn price(envelope: &TxEnvelope) -> u128 {
    let tip = envelope.priority_fee_or_price();
    envelope.max_fee_per_gas().min(BASE_FEE_WEI.saturating_add(tip))
}

/// A transaction that no decided block holds: it waits here, or stands in the forced queue.
pub(super) fn waiting(call: &Call<'_>) -> Result<Option<SignedTransaction>, RpcError> {
    let (hash, rollup) = (call.arguments.hash(0, "hash")?, call.rollup()?);
    let context = call.context();
    let pooled = context.pool.get(hash).filter(|one| one.transaction.rollup == rollup);
    match pooled {
        None => queued(&context.store, rollup, hash),
        pooled => Ok(pooled),
    }
}

/// A transaction of the forced queue.
fn queued(
    store: &Store,
    rollup: RollupId,
    hash: B256,
) -> Result<Option<SignedTransaction>, RpcError> {
    let entry = store.forced_as(rollup, hash)?;
    Ok(entry.and_then(|entry| store.meaning_of(&entry.transaction).ok()))
}

/// A transaction that no decided block holds.
pub(super) fn pending(signed: &SignedTransaction) -> Result<Transaction, RpcError> {
    let raw: Bytes = signed.transaction.raw.clone();
    let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).map_err(RpcError::internal)?;
    Ok(Transaction {
        effective_gas_price: Some(price(&envelope)),
        inner: Recovered::new_unchecked(envelope, signed.sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        block_timestamp: None,
    })
}
