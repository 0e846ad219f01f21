//! The settled chain, batch by batch.

use crate::batch::payload::max_body_bytes;
use crate::batch::{HeaderError, open};
use crate::derive::window::{RecentTransactions, Window};
use crate::domain::{
    BatchHeader, BatchNumber, Block, BlockHeader, Generation, Height, Params, RollupId,
    RollupTransaction, SignedTransaction, TransactionError,
};
use alloy::primitives::B256;
use std::ops::Range;

/// Heights after which a transaction is no longer known: its rollup's nonces decide from then on.
const WINDOW_HEIGHTS: u64 = 1 << 18;

/// Where derivation stands. Begins at block 0 and takes the settled batches in order.
#[derive(Clone, Debug)]
pub struct Derivation<W = RecentTransactions> {
    max_payload_bytes: usize,
    max_transaction_bytes: usize,
    window_heights: u64,
    generation: Generation,
    number: BatchNumber,
    height: Height,
    block_hash: B256,
    consumed: u64,
    window: W,
}

/// What a settled batch means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedBatch {
    /// Its number.
    pub number: BatchNumber,
    /// What is executed, in order.
    pub items: Vec<Item>,
    /// What is not, in order.
    pub noops: Vec<Noop>,
    /// Its blocks; none if the payload is not what the header says.
    pub blocks: Vec<Block>,
    /// Why the payload counts for nothing, if so: more than 2/3 of a set signed what they should not have.
    pub flaw: Option<HeaderError>,
}

/// One thing to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An entry of the forced queue on L1.
    Forced {
        /// The block that consumed it.
        height: Height,
        /// Its number in the queue.
        entry: u64,
    },
    /// A transaction of a block.
    Transaction {
        /// The block.
        height: Height,
        /// Its place among the block's own transactions.
        index: u32,
        /// The transaction.
        transaction: SignedTransaction,
    },
}

/// A transaction that is in a block and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noop {
    /// The block.
    pub height: Height,
    /// Its place among the block's own transactions.
    pub index: u32,
    /// What stands there.
    pub transaction: RollupTransaction,
    /// Why it has no effect.
    pub reason: NoopReason,
}

/// Why a transaction in a settled block has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoopReason {
    /// It was there before.
    Duplicate {
        /// Where.
        first: Height,
    },
    /// It is no transaction that can be ordered, or not for the rollup it is listed under.
    Invalid(TransactionError),
    /// Nobody registered its rollup by the block's origin.
    Unregistered,
}

/// Why a batch cannot be the next one that L1 settled: the reader left something out, or follows another deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// Batches come one by one.
    #[error("batch {actual} came, expected batch {expected}")]
    NumberNotNext {
        /// The only number that can come now.
        expected: BatchNumber,
        /// The number that came.
        actual: BatchNumber,
    },
    /// Heights have no gap.
    #[error("batch {number} begins at height {actual}, expected {expected}")]
    HeightNotNext {
        /// The batch.
        number: BatchNumber,
        /// The height after the last settled one.
        expected: Height,
        /// The height in its header.
        actual: Height,
    },
    /// It holds at least one block.
    #[error("batch {number} ends at height {last}, before it begins")]
    Empty {
        /// The batch.
        number: BatchNumber,
        /// The last height in its header.
        last: Height,
    },
    /// It builds on another chain.
    #[error("batch {number} builds on block {actual}, the settled chain ends in {expected}")]
    ParentMismatch {
        /// The batch.
        number: BatchNumber,
        /// The last settled block.
        expected: B256,
        /// The parent in its header.
        actual: B256,
    },
    /// Generations are only ever raised.
    #[error("batch {number} is of generation {actual}, after generation {before}")]
    GenerationBack {
        /// The batch.
        number: BatchNumber,
        /// That of the batch before.
        before: Generation,
        /// The one in its header.
        actual: Generation,
    },
}

impl Derivation<RecentTransactions> {
    /// Begins at block 0, with a window in memory.
    pub fn new(params: &Params, genesis: &BlockHeader) -> Self {
        Self::with_window(params, genesis, RecentTransactions::default())
    }
}

impl<W: Window> Derivation<W> {
    /// Begins at block 0, with an empty window of the caller's kind.
    pub fn with_window(params: &Params, genesis: &BlockHeader, window: W) -> Self {
        Self {
            max_payload_bytes: usize::try_from(params.max_batch_bytes).unwrap_or(usize::MAX),
            max_transaction_bytes: max_body_bytes(params),
            window_heights: WINDOW_HEIGHTS,
            generation: genesis.generation,
            number: BatchNumber::new(0),
            height: genesis.height,
            block_hash: genesis.hash(),
            consumed: genesis.forced_through,
            window,
        }
    }

    /// The last height that was derived.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Hash of the block at that height.
    pub const fn block_hash(&self) -> B256 {
        self.block_hash
    }

    /// Takes the next settled batch. `is_registered` answers for a rollup and the number of an L1 origin.
    ///
    /// A payload that is not what the header says leaves the entries that the header consumes, and the reason as
    /// [`DerivedBatch::flaw`]; heights go on.
    ///
    /// # Errors
    ///
    /// [`DeriveError`], and nothing changes: this cannot be what L1 settled next.
    pub fn settle(
        &mut self,
        number: BatchNumber,
        header: &BatchHeader,
        payload: &[u8],
        is_registered: &dyn Fn(RollupId, u64) -> bool,
    ) -> Result<DerivedBatch, DeriveError> {
        self.check_extends(number, header)?;

        let (mut items, mut noops) = (Vec::new(), Vec::new());
        let opened = open(header, payload, self.max_payload_bytes);
        let (blocks, flaw) = match opened {
            Ok(blocks) => {
                for block in &blocks {
                    let height = block.header.height;
                    items.extend(self.consume(height, block.header.forced_through));
                    self.derive_block(block, is_registered, &mut items, &mut noops);
                }
                (blocks, None)
            }
            Err(flaw) => {
                items.extend(self.consume(header.last_height, header.forced_through));
                (Vec::new(), Some(flaw))
            }
        };

        self.generation = header.generation;
        self.number = number;
        self.height = header.last_height;
        self.block_hash = header.last_block_hash;
        Ok(DerivedBatch { number, items, noops, blocks, flaw })
    }

    /// Takes an escape that consumed entries up to `through` (exclusive) on L1, between two batches (R32). Gives those
    /// that nobody consumed before.
    pub fn escape(&mut self, through: u64) -> Range<u64> {
        let first = self.consumed;
        self.consumed = self.consumed.max(through);
        first..self.consumed
    }

    fn check_extends(&self, number: BatchNumber, header: &BatchHeader) -> Result<(), DeriveError> {
        let (next, next_height) = (self.number.next(), self.height.next());
        if number != next {
            return Err(DeriveError::NumberNotNext { expected: next, actual: number });
        }
        if header.generation < self.generation {
            let (before, actual) = (self.generation, header.generation);
            return Err(DeriveError::GenerationBack { number, before, actual });
        }
        if header.first_height != next_height {
            let (expected, actual) = (next_height, header.first_height);
            return Err(DeriveError::HeightNotNext { number, expected, actual });
        }
        if header.last_height < header.first_height {
            return Err(DeriveError::Empty { number, last: header.last_height });
        }
        if header.parent_block_hash != self.block_hash {
            let (expected, actual) = (self.block_hash, header.parent_block_hash);
            return Err(DeriveError::ParentMismatch { number, expected, actual });
        }
        Ok(())
    }

    /// Entries that a block is the first to consume.
    fn consume(&mut self, height: Height, through: u64) -> impl Iterator<Item = Item> {
        self.escape(through).map(move |entry| Item::Forced { height, entry })
    }

    fn derive_block(
        &mut self,
        block: &Block,
        is_registered: &dyn Fn(RollupId, u64) -> bool,
        items: &mut Vec<Item>,
        noops: &mut Vec<Noop>,
    ) {
        let height = block.header.height;
        let oldest = height.get().saturating_sub(self.window_heights.saturating_sub(1));
        self.window.forget_below(Height::new(oldest));
        for (index, transaction) in (0..).zip(&block.transactions) {
            let registered = is_registered(transaction.rollup, block.header.l1_origin_number);
            match self.judge(transaction, registered) {
                Ok(signed) => {
                    self.window.keep(height, transaction.rollup, signed.hash);
                    items.push(Item::Transaction { height, index, transaction: signed });
                }
                Err(reason) => {
                    noops.push(Noop { height, index, transaction: transaction.clone(), reason });
                }
            }
        }
    }

    /// Decodes a transaction, or says why it is a no-op.
    fn judge(
        &self,
        transaction: &RollupTransaction,
        is_registered: bool,
    ) -> Result<SignedTransaction, NoopReason> {
        if !is_registered {
            return Err(NoopReason::Unregistered);
        }
        if let Some(first) = self.window.kept_at(transaction.rollup, transaction.hash()) {
            return Err(NoopReason::Duplicate { first });
        }
        transaction.decode(self.max_transaction_bytes).map_err(NoopReason::Invalid)
    }
}

impl DerivedBatch {
    /// The transactions of one rollup, in order. Forced entries are not among them: their bytes are in the queue on L1.
    pub fn transactions_of(&self, rollup: RollupId) -> impl Iterator<Item = &SignedTransaction> {
        self.items.iter().filter_map(move |item| match item {
            Item::Transaction { transaction, .. } if transaction.transaction.rollup == rollup => {
                Some(transaction)
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
