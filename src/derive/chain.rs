//! The settled chain, batch by batch.

use crate::batch::payload::max_body_bytes;
use crate::batch::{HeaderError, open};
use crate::derive::window::{RecentTransactions, Window};
use crate::domain::{
    BatchHeader, BatchNumber, Block, BlockHeader, ForcedEntry, Generation, Height, Params, Place,
    RollupId, RollupTransaction, SignedTransaction, TransactionError,
};
use alloy::primitives::B256;
use std::collections::VecDeque;

/// Heights after which a transaction is no longer known: its rollup's nonces decide from then on.
pub const WINDOW_HEIGHTS: u64 = 1 << 18;

/// Where derivation stands. Begins at block 0 and takes what L1 shows in its order: forced entries, settled batches,
/// escapes. Holds the forced entries that nobody has consumed; each has burned a
/// fee that doubles with their number, up to a bound.
#[derive(Clone, Debug)]
pub struct Derivation<W = RecentTransactions> {
    max_payload_bytes: usize,
    max_transaction_bytes: usize,
    window_heights: u64,
    generation: Generation,
    number: BatchNumber,
    height: Height,
    block_hash: B256,
    /// Whether the last batch could be read, or nobody proved where it ends.
    is_end_known: bool,
    /// Entries of the forced queue that were consumed, by batches or by escape.
    consumed: u64,
    /// The entries after those, each with whether its rollup was registered.
    queue: VecDeque<(ForcedEntry, bool)>,
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

/// What an escape means: forced entries that were consumed without a batch (R32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedEscape {
    /// The first entry that it consumed.
    pub first: u64,
    /// The entry after the last one.
    pub through: u64,
    /// What is executed, in order.
    pub items: Vec<Item>,
    /// What is not, in order.
    pub noops: Vec<Noop>,
}

/// A transaction to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it stands.
    pub place: Place,
    /// The transaction.
    pub transaction: SignedTransaction,
}

/// A transaction that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noop {
    /// Where it stands.
    pub place: Place,
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
    /// Nobody had registered its rollup by the block's origin, or when it was forced.
    Unregistered,
}

/// What a run of transactions means.
#[derive(Debug, Default)]
struct Meaning {
    items: Vec<Item>,
    noops: Vec<Noop>,
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
    /// Forced entries come one by one.
    #[error("forced entry {actual} came, expected entry {expected}")]
    EntryNotNext {
        /// The only entry that can come now.
        expected: u64,
        /// The entry that came.
        actual: u64,
    },
    /// What is consumed is in the queue.
    #[error("forced entries up to {through} are consumed, {length} came")]
    EntryMissing {
        /// Entries that came.
        length: u64,
        /// The entry after the last that is consumed.
        through: u64,
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
            is_end_known: true,
            consumed: genesis.forced_through,
            queue: VecDeque::new(),
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

    /// Forced entries that came.
    fn queue_length(&self) -> u64 {
        let waiting = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.consumed.saturating_add(waiting)
    }

    /// Takes the next entry of the forced queue. `is_registered` says whether its rollup was registered before it.
    ///
    /// # Errors
    ///
    /// [`DeriveError::EntryNotNext`], and nothing changes.
    pub fn enqueue(&mut self, entry: ForcedEntry, is_registered: bool) -> Result<(), DeriveError> {
        let (expected, actual) = (self.queue_length(), entry.index);
        if actual != expected {
            return Err(DeriveError::EntryNotNext { expected, actual });
        }
        self.queue.push_back((entry, is_registered));
        Ok(())
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
        self.check_queue(header.forced_through)?;

        let mut meaning = Meaning::default();
        let opened = open(header, payload, self.max_payload_bytes);
        let (blocks, flaw) = match opened {
            Ok(blocks) => {
                let mut decoded = decode_all(&blocks, self.max_transaction_bytes).into_iter();
                for block in &blocks {
                    self.forget_before(block.header.height);
                    // The last block has what the header says, and a payload that goes back does not decode.
                    self.consume(block.header.height, block.header.forced_through, &mut meaning);
                    self.derive_block(block, &mut decoded, is_registered, &mut meaning);
                }
                (blocks, None)
            }
            Err(flaw) => {
                self.forget_before(header.last_height);
                self.consume(header.last_height, header.forced_through, &mut meaning);
                (Vec::new(), Some(flaw))
            }
        };

        self.generation = header.generation;
        self.number = number;
        self.height = header.last_height;
        self.block_hash = header.last_block_hash;
        self.is_end_known = true;
        let Meaning { items, noops } = meaning;
        Ok(DerivedBatch { number, items, noops, blocks, flaw })
    }

    /// Takes a settled batch whose input nobody can read, with what L1 tells of its end beside the input; its last height is
    /// below its first one where that is nothing. It counts as one whose payload does not decode: the chain goes on, and the
    /// next batch that can be read says where it begins.
    ///
    /// # Errors
    ///
    /// [`DeriveError::NumberNotNext`], and nothing changes.
    pub fn pass(
        &mut self,
        number: BatchNumber,
        header: &BatchHeader,
    ) -> Result<DerivedBatch, DeriveError> {
        let expected = self.number.next();
        if number != expected {
            return Err(DeriveError::NumberNotNext { expected, actual: number });
        }
        if header.last_height > self.height {
            (self.height, self.block_hash) = (header.last_height, header.last_block_hash);
        }
        let mut meaning = Meaning::default();
        self.forget_before(self.height);
        let through = header.forced_through.min(self.queue_length());
        self.consume(self.height, through, &mut meaning);
        (self.number, self.is_end_known) = (number, false);
        self.generation = self.generation.max(header.generation);
        let Meaning { items, noops } = meaning;
        Ok(DerivedBatch {
            number,
            items,
            noops,
            blocks: Vec::new(),
            flaw: Some(HeaderError::Unread),
        })
    }

    /// Takes an escape that consumed entries up to `through` (exclusive), at its place among the batches (R32). What was
    /// consumed before stays where it was.
    ///
    /// # Errors
    ///
    /// [`DeriveError::EntryMissing`], and nothing changes.
    pub fn escape(&mut self, through: u64) -> Result<DerivedEscape, DeriveError> {
        self.check_queue(through)?;
        let (first, mut meaning) = (self.consumed, Meaning::default());
        self.consume(self.height, through, &mut meaning);
        let Meaning { items, noops } = meaning;
        Ok(DerivedEscape { first, through: self.consumed, items, noops })
    }

    fn check_queue(&self, through: u64) -> Result<(), DeriveError> {
        let length = self.queue_length();
        if through > length {
            return Err(DeriveError::EntryMissing { length, through });
        }
        Ok(())
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
        let is_gap = !self.is_end_known && header.first_height >= next_height;
        if header.first_height != next_height && !is_gap {
            let (expected, actual) = (next_height, header.first_height);
            return Err(DeriveError::HeightNotNext { number, expected, actual });
        }
        if header.last_height < header.first_height {
            return Err(DeriveError::Empty { number, last: header.last_height });
        }
        if header.parent_block_hash != self.block_hash && self.is_end_known {
            let (expected, actual) = (self.block_hash, header.parent_block_hash);
            return Err(DeriveError::ParentMismatch { number, expected, actual });
        }
        Ok(())
    }

    fn forget_before(&mut self, height: Height) {
        let oldest = height.get().saturating_sub(self.window_heights.saturating_sub(1));
        self.window.forget_below(Height::new(oldest));
    }

    /// Derives the entries up to `through` (exclusive) that nobody consumed before.
    fn consume(&mut self, height: Height, through: u64, meaning: &mut Meaning) {
        while self.consumed < through {
            let Some((entry, is_registered)) = self.queue.pop_front() else { return };
            self.consumed = self.consumed.saturating_add(1);
            let place = Place::Forced { height, entry: entry.index };
            self.derive(place, &entry.transaction, None, is_registered, meaning);
        }
    }

    fn derive_block(
        &mut self,
        block: &Block,
        decoded: &mut impl Iterator<Item = Decoded>,
        is_registered: &dyn Fn(RollupId, u64) -> bool,
        meaning: &mut Meaning,
    ) {
        let height = block.header.height;
        for (index, transaction) in (0..).zip(&block.transactions) {
            let registered = is_registered(transaction.rollup, block.header.l1_origin_number);
            let place = Place::Block { height, index };
            let decoded = decoded.next();
            self.derive(place, transaction, decoded, registered, meaning);
        }
    }

    fn derive(
        &mut self,
        place: Place,
        transaction: &RollupTransaction,
        decoded: Option<Decoded>,
        is_registered: bool,
        meaning: &mut Meaning,
    ) {
        match self.judge(transaction, decoded, is_registered) {
            Ok(signed) => {
                self.window.keep(place.height(), transaction.rollup, signed.hash);
                meaning.items.push(Item { place, transaction: signed });
            }
            Err(reason) => {
                meaning.noops.push(Noop { place, transaction: transaction.clone(), reason });
            }
        }
    }

    /// Decodes a transaction, unless that was done before, or says why it is a no-op.
    fn judge(
        &self,
        transaction: &RollupTransaction,
        decoded: Option<Decoded>,
        is_registered: bool,
    ) -> Result<SignedTransaction, NoopReason> {
        if !is_registered {
            return Err(NoopReason::Unregistered);
        }
        if let Some(first) = self.window.kept_at(transaction.rollup, transaction.hash()) {
            return Err(NoopReason::Duplicate { first });
        }
        decoded
            .unwrap_or_else(|| transaction.decode(self.max_transaction_bytes))
            .map_err(NoopReason::Invalid)
    }
}

type Decoded = Result<SignedTransaction, TransactionError>;

/// Transactions below which threads cost more than they save.
const WORTH_A_THREAD: usize = 32;

/// Decodes the transactions of all blocks, in order, on all cores: recovery of senders is what derivation takes its time for.
/// The result does not depend on how the work is cut.
fn decode_all(blocks: &[Block], limit: usize) -> Vec<Decoded> {
    let all: Vec<&RollupTransaction> =
        blocks.iter().flat_map(|block| &block.transactions).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = all.len().div_ceil(cores).max(WORTH_A_THREAD);
    let decode = |part: &[&RollupTransaction]| -> Vec<Decoded> {
        part.iter().map(|transaction| transaction.decode(limit)).collect()
    };
    if all.len() <= part {
        return decode(&all);
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            all.chunks(part).map(|part| scope.spawn(move || decode(part))).collect();
        let mut decoded = Vec::with_capacity(all.len());
        for (part, transactions) in parts.into_iter().zip(all.chunks(part)) {
            // A thread that could not finish is made up for here.
            decoded.extend(part.join().unwrap_or_else(|_| decode(transactions)));
        }
        decoded
    })
}

impl DerivedBatch {
    /// The transactions of one rollup, in order.
    pub fn transactions_of(&self, rollup: RollupId) -> impl Iterator<Item = &SignedTransaction> {
        let all = self.items.iter().map(|item| &item.transaction);
        all.filter(move |signed| signed.transaction.rollup == rollup)
    }
}

#[cfg(test)]
mod tests;
