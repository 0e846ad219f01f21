//! Decided blocks and transactions in the shapes that Ethereum's clients know.
//!
//! A rollup's view of a block lists its own transactions alone, those that were forced first, and counts indices among
//! them. Nothing is executed here:
//! what only execution tells is answered with the constants below (docs/RPC.md says which).

use crate::domain::{
    BatchNumber, BlockHeader, DecidedBlock, Height, Place, RollupId, RollupTransaction,
    SignedTransaction,
};
use crate::l1::MirrorHandle;
use crate::rpc::arguments::BlockReference;
use crate::rpc::{RpcContext, RpcError};
use crate::storage::Store;
use alloy::consensus::transaction::Recovered;
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom,
    Transaction as _, TxEnvelope,
};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{B256, Bloom, Bytes, U256};
use alloy::rpc::types::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

/// Base fee that blocks show, in wei.
pub(super) const BASE_FEE_WEI: u128 = 1_000_000_000;

/// Priority fee that is suggested, in wei.
pub(super) const PRIORITY_FEE_WEI: u128 = 1_000_000_000;

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

/// The last settled height.
pub(super) fn settled(mirror: &MirrorHandle) -> Height {
    mirror.read().tip.as_ref().map_or(Height::new(0), |tip| tip.last_height)
}

/// The last height whose settlement is final. Batches settle in the order of L1 blocks, so the last final one is found by
/// halving.
pub(super) fn finalized(store: &Store, mirror: &MirrorHandle) -> Result<Height, RpcError> {
    let mut low = 0;
    let mut high = mirror.read().tip.as_ref().map_or(0, |tip| tip.number.get());
    let mut last = Height::new(0);
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

/// The header of a decided block as a block header of Ethereum.
pub(super) fn head(store: &Store, height: Height) -> Result<Option<Header>, RpcError> {
    Ok(store.header(height)?.map(|(hash, header)| to_header(hash, &header)))
}

/// What has no counterpart is zero or empty; the hash is that of the Rota header, not of these fields.
fn to_header(hash: B256, header: &BlockHeader) -> Header {
    let inner = alloy::consensus::Header {
        parent_hash: header.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: header.proposer,
        state_root: B256::ZERO,
        transactions_root: header.tx_root,
        receipts_root: B256::ZERO,
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
    hash: B256,
    header: BlockHeader,
    transactions: Vec<RollupTransaction>,
}

impl RollupBlock {
    /// Reads the block at a height.
    pub(super) fn read(
        store: &Store,
        rollup: RollupId,
        height: Height,
    ) -> Result<Option<Self>, RpcError> {
        let Some(DecidedBlock { block, .. }) = store.block(height)? else { return Ok(None) };
        let forced = store
            .forced_in(&block.header)?
            .into_iter()
            .map(|entry| (Place::Forced { height, entry: entry.index }, entry.transaction));
        let own = (0..).zip(block.transactions);
        let own = own.map(|(index, transaction)| (Place::Block { height, index }, transaction));
        let mut transactions = Vec::new();
        for (place, transaction) in forced.chain(own) {
            // At a second place a transaction is a no-op (R44), and so is what does not decode.
            if transaction.rollup == rollup
                && store.place_of(rollup, transaction.hash())? == Some(place)
            {
                transactions.push(transaction);
            }
        }
        Ok(Some(Self { hash: block.header.hash(), header: block.header, transactions }))
    }

    /// The whole block, its transactions in full or as hashes.
    pub(super) fn to_block(&self, full: bool) -> Result<Block, RpcError> {
        let transactions = if full {
            let all = (0..self.transactions.len()).map(|index| self.transaction(index));
            BlockTransactions::Full(all.collect::<Result<_, _>>()?)
        } else {
            let hashes = self.transactions.iter().map(RollupTransaction::hash);
            BlockTransactions::Hashes(hashes.collect())
        };
        let bytes: usize = self.transactions.iter().map(|one| one.raw.len()).sum();
        let mut header = to_header(self.hash, &self.header);
        header.size = Some(U256::from(bytes));
        Ok(Block { header, uncles: Vec::new(), transactions, withdrawals: None })
    }

    /// How many transactions the rollup has in it.
    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Place of a transaction among the rollup's own.
    pub(super) fn index_of(&self, hash: B256) -> Option<usize> {
        self.transactions.iter().position(|one| one.hash() == hash)
    }

    /// One of its transactions.
    pub(super) fn transaction(&self, index: usize) -> Result<Transaction, RpcError> {
        let listed = self.transactions.get(index);
        let listed = listed.ok_or_else(|| RpcError::internal("no such place in the block"))?;
        let signed = listed.decode(usize::MAX).map_err(RpcError::internal)?;
        Ok(Transaction {
            block_hash: Some(self.hash),
            block_number: Some(self.header.height.get()),
            transaction_index: u64::try_from(index).ok(),
            block_timestamp: Some(self.header.timestamp.to_seconds().get()),
            ..pending(&signed)?
        })
    }

    /// All receipts, in order.
    pub(super) fn receipts(&self) -> Result<Vec<TransactionReceipt>, RpcError> {
        (0..self.transactions.len()).map(|index| self.receipt(index)).collect()
    }

    /// The receipt of one of its transactions: ordered, not executed.
    pub(super) fn receipt(&self, index: usize) -> Result<TransactionReceipt, RpcError> {
        let transaction = self.transaction(index)?;
        let from = transaction.inner.signer();
        let envelope: &TxEnvelope = transaction.inner.inner();
        let creates = envelope.to().is_none();
        let receipt = ReceiptWithBloom {
            receipt: Receipt::<Log> {
                status: Eip658Value::Eip658(true),
                cumulative_gas_used: 0,
                logs: Vec::new(),
            },
            logs_bloom: Bloom::ZERO,
        };
        Ok(TransactionReceipt {
            inner: ReceiptEnvelope::from_typed(envelope.tx_type(), receipt),
            transaction_hash: *envelope.tx_hash(),
            transaction_index: transaction.transaction_index,
            block_hash: transaction.block_hash,
            block_number: transaction.block_number,
            gas_used: 0,
            effective_gas_price: transaction.effective_gas_price.unwrap_or(BASE_FEE_WEI),
            blob_gas_used: None,
            blob_gas_price: None,
            from,
            to: envelope.to(),
            contract_address: creates.then(|| from.create(envelope.nonce())),
        })
    }
}

/// A transaction of the forced queue.
pub(super) fn queued(
    store: &Store,
    rollup: RollupId,
    hash: B256,
) -> Result<Option<SignedTransaction>, RpcError> {
    let entry = store.forced_as(rollup, hash)?;
    Ok(entry.and_then(|entry| entry.transaction.decode(usize::MAX).ok()))
}

/// A transaction that no decided block holds.
pub(super) fn pending(signed: &SignedTransaction) -> Result<Transaction, RpcError> {
    let raw: Bytes = signed.transaction.raw.clone();
    let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).map_err(RpcError::internal)?;
    let with_priority = BASE_FEE_WEI.saturating_add(signed.priority_fee_wei);
    let price = signed.max_fee_wei.min(with_priority);
    Ok(Transaction {
        inner: Recovered::new_unchecked(envelope, signed.sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: Some(price),
        block_timestamp: None,
    })
}
