//! What an agent must not forget: one redb file, written in durable transactions, and beside it the [`Journal`] of
//! transactions that were accepted and are not yet decided.
//!
//! Each area is a file of this module with its own tables; none writes another's, but [`pruning`], which drops what
//! blocks leave behind; and [`views`] reads those of [`blocks`] and [`forced`].
//!
//! | area | table | key | value |
//! |---|---|---|---|
//! | [`blocks`] | `headers` | height | block hash, header |
//! | | `bodies` | height | transactions, in order |
//! | | `certificates` | height | certificate |
//! | | `heights` | block hash | height |
//! | | `transactions` | (rollup, transaction hash) | (height, index) of the first place |
//! | | `nonces` | (rollup, sender) | next nonce |
//! | | `nonces_before` | height | (rollup, sender, next nonce before the block), of those that it moved |
//! | [`generations`] | `generations` | generation | how it began |
//! | | `undone` | (generation, height) | block that was decided and did not settle before a restart, certificate |
//! | [`batches`] | `settled` | batch number | settled batch |
//! | | `settled_heights` | last height | batch number |
//! | | `attested` | (first height, digest) | batch header |
//! | | `attestations` | (first height, digest, signer) | signature |
//! | [`undecided`] | `undecided` | (height, block hash) | block |
//! | | `own_proposals` | (generation, height, round) | block hash |
//! | [`engine_log`] | `engine_log` | (generation, height, number) | entry |
//! | [`signed`] | `signed_ballots` | (signer, kind, generation, height, round) | block hash, signature |
//! | | `attested_blocks` | (signer, generation, height) | block hash |
//! | | `signed_batches` | (signer, digest) | signature |
//! | | `signed_batch_ends` | (last height, signer, digest) | |
//! | | `signs_above` | signer, or nobody for all | height through which there are no records any more, and nothing is signed |
//! | [`standing`] | `standings` | signer | whether its records are taken for all of them, and where the store was |
//! | [`place`] | `places` | 0 | where the store is, and its seals |
//! | [`evidence`] | `evidence` | (offender, position) | evidence |
//! | [`forced`] | `forced` | number in the queue | entry |
//! | | `forced_hashes` | (rollup, transaction hash, number) | |
//! | | `escapes` | first number after it | escape |
//! | [`views`] | `senders` | height | who signed each transaction of the block |
//! | | `nonces_from` | | first height at which nonces are told |
//! | [`pruning`] | `kept_from` | | first height of which the block is kept whole |
//! | | `uncertified` | first height | last height of a row of blocks that came without certificates, from L1 |
//! | [`picture`] | `l1_pictures` | 0 the newest, 1 an older one | picture of L1 |
//!
//! Values are borsh, but the engine's entries. A commit returns once the disk has it: a few milliseconds, so callers on
//! async tasks go through `spawn_blocking`. What need only be on disk together with something later may ride until then
//! ([`Store::ride`]). redb admits one writer at a time; readers never wait.
//!
//! To add an area: a file here with its `TableDefinition`s, a `pub(super) fn create` that opens each of them, its line in
//! `AREAS` and in the table above, and `impl Store` with functions over [`Store::write`] and [`Store::view`].

mod batches;
mod blocks;
mod engine_log;
mod evidence;
mod forced;
mod generations;
mod journal;
mod picture;
mod place;
mod pruning;
mod records;
mod signed;
mod standing;
mod trial;
mod undecided;
mod views;

pub use blocks::{IncludedTransaction, NextNonceOf};
pub use journal::{Journal, JournalError};
pub use place::RENEWAL;
pub use pruning::Horizon;
pub use signed::{Attested, Ballot, BallotKind, BallotRecord};
pub use standing::Standing;
pub use trial::Trial;
pub use views::{Listed, NonceAt, RollupView};

use crate::domain::{RollupTransaction, SignedTransaction, TransactionError};
use alloy::primitives::B256;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Opens the tables of an area.
type Create = fn(&WriteTransaction) -> Result<(), StoreError>;

/// Tables come into being when the store is opened, so that a reader never meets a missing one.
const AREAS: [Create; 13] = [
    blocks::create,
    batches::create,
    undecided::create,
    signed::create,
    evidence::create,
    forced::create,
    generations::create,
    engine_log::create,
    views::create,
    picture::create,
    standing::create,
    place::create,
    pruning::create,
];

/// What the store keeps in memory of its file if nothing else is asked for.
pub const DEFAULT_CACHE_BYTES: usize = 128 * 1_024 * 1_024;

/// The store of one agent. Cheap to clone; all clones are the same file.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    path: Arc<Path>,
    /// Whether something rides that is not on disk. Changes only while its changer is the one writer.
    rides: Arc<AtomicBool>,
    place: place::Place,
    sealing: Arc<place::Sealing>,
    /// See [`Store::bound_transactions`].
    largest_transaction: Arc<AtomicUsize>,
    /// Whether the process is to die, see [`Store::die_after`].
    #[cfg(test)]
    life: Arc<std::sync::Mutex<Life>>,
}

/// The death of a process, for tests.
#[cfg(test)]
#[derive(Default)]
enum Life {
    #[default]
    Endless,
    /// After so many more writes; the disk is copied then.
    Left { writes: usize, file: PathBuf, remains: PathBuf },
    /// Nothing is written any more, so that nothing leaves that what remains does not know of.
    Over,
}

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened: missing folder, no permission, another process holds it, or it is no store.
    #[error("cannot open the store at {}: {source}", path.display())]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// What redb says.
        source: Box<redb::Error>,
    },
    /// The file that tells the store from its copies cannot be read or written.
    #[error("cannot seal the store, {}: {source}", path.display())]
    Seal {
        /// Where it lies.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The disk or the file failed; nothing of the transaction was kept.
    #[error("store: {0}")]
    Database(Box<redb::Error>),
    /// A record does not decode: the file is damaged or of another version.
    #[error("store: record in {table} does not decode: {reason}")]
    Damaged {
        /// The table it stands in.
        table: &'static str,
        /// What the decoder met.
        reason: String,
    },
    /// Blocks are appended one height after the other.
    #[error("store: block of height {actual} appended, expected {expected}")]
    NotNext {
        /// The only height that can be appended.
        expected: u64,
        /// The height that was offered.
        actual: u64,
    },
    /// The block does not name the tip as its parent.
    #[error("store: block {height} does not extend the decided chain")]
    NotChild {
        /// Its height.
        height: u64,
    },
    /// A generation can only go on from a block that is stored.
    #[error("store: the generation begins on block {expected} at height {height}, {}", match actual {
        Some(actual) => format!("block {actual} stands there"),
        None => "no block stands there".to_owned(),
    })]
    NotItsParent {
        /// The last settled height.
        height: u64,
        /// The block that settled there.
        expected: B256,
        /// The block that is stored.
        actual: Option<B256>,
    },
    /// A block of an earlier generation can no longer be decided.
    #[error("store: block of generation {actual} appended, generation {expected} runs")]
    OtherGeneration {
        /// The generation that runs.
        expected: u32,
        /// The block's.
        actual: u32,
    },
    /// One entry per transaction of the block is needed to index it.
    #[error("store: {actual} index entries for {expected} transactions")]
    IndexMismatch {
        /// Transactions in the block.
        expected: usize,
        /// Entries that were given.
        actual: usize,
    },
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store, or makes an empty one. A file that a killed process left behind is repaired first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`], [`StoreError::Seal`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with_cache(path, DEFAULT_CACHE_BYTES)
    }

    /// The same, with a cache of so many bytes at most.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`], [`StoreError::Seal`].
    pub fn open_with_cache(path: impl AsRef<Path>, cache_bytes: usize) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let database =
            Database::builder().set_cache_size(cache_bytes).create(path).map_err(|error| {
                StoreError::Open { path: path.to_owned(), source: Box::new(error.into()) }
            })?;
        let (sealing, place) = place::Sealing::begin(path, |seal| {
            let transaction = database.begin_write()?;
            AREAS.iter().try_for_each(|create| create(&transaction))?;
            let place = seal(&transaction)?;
            transaction.commit()?;
            Ok(place)
        })?;
        Ok(Self {
            database: Arc::new(database),
            path: Arc::from(path),
            rides: Arc::default(),
            place,
            sealing: Arc::new(sealing),
            largest_transaction: Arc::new(AtomicUsize::new(usize::MAX)),
            #[cfg(test)]
            life: Arc::default(),
        })
    }

    /// Says how large a transaction may be that has an effect: no larger than the body of a block of this deployment (R44). An
    /// entry of the forced queue can be, and counts for nothing then, here as where it is derived.
    pub fn bound_transactions(&self, bytes: usize) {
        self.largest_transaction.store(bytes, Ordering::SeqCst);
    }

    /// What a decided transaction means, from a block or from the forced queue.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]: nothing.
    pub fn meaning_of(
        &self,
        transaction: &RollupTransaction,
    ) -> Result<SignedTransaction, TransactionError> {
        transaction.decode(self.largest_transaction.load(Ordering::SeqCst))
    }

    /// Whether nobody else holds the store: dropping it closes the file.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.database) == 1
    }

    /// Bytes of the file.
    ///
    /// # Errors
    ///
    /// Whatever the system has against looking.
    pub fn size(&self) -> std::io::Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    /// Runs `change` in one transaction: all of it is on disk when this returns, or nothing ever was.
    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.begin_write()?;
        let result = change(&transaction)?;
        self.commit(transaction)?;
        Ok(result)
    }

    /// Runs `change` in a transaction that rides: readers see it when this returns, the disk has it when the next
    /// [`Store::write`] or [`Store::flush`] returns. A crash before that undoes it, with all that rode later.
    fn ride<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut transaction = self.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let result = change(&transaction)?;
        self.rides.store(true, Ordering::SeqCst);
        transaction.commit()?;
        Ok(result)
    }

    /// Puts on disk what rides. Costs nothing when nothing does.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`]: what rides may be lost.
    pub fn flush(&self) -> Result<(), StoreError> {
        // Waits for a transaction that is on its way to the disk with what rode before.
        let transaction = self.begin_write()?;
        if self.rides.load(Ordering::SeqCst) {
            return self.commit(transaction);
        }
        transaction.abort()?;
        Ok(())
    }

    /// Waits until nobody else writes.
    fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let transaction = self.database.begin_write()?;
        #[cfg(test)]
        if self.is_dead() {
            let reason = "the process has died".to_owned();
            return Err(StoreError::Damaged { table: "every table", reason });
        }
        Ok(transaction)
    }

    /// Commits, and with it all that rides: there is one writer, so nothing boards meanwhile.
    fn commit(&self, transaction: WriteTransaction) -> Result<(), StoreError> {
        let rode = self.rides.swap(false, Ordering::SeqCst);
        transaction.commit().inspect_err(|_| self.rides.store(rode, Ordering::SeqCst))?;
        #[cfg(test)]
        self.approach_death();
        Ok(())
    }

    /// Once so many more writes are on the disk, what is on it is copied to `remains`, and nothing is written any more: as if
    /// the process had been killed.
    #[cfg(test)]
    pub(crate) fn die_after(&self, writes: usize, file: PathBuf, remains: PathBuf) {
        *self.life.lock().unwrap() = Life::Left { writes, file, remains };
    }

    /// Whether that has happened.
    #[cfg(test)]
    pub(crate) fn is_dead(&self) -> bool {
        matches!(*self.life.lock().unwrap(), Life::Over)
    }

    /// Copies what is on the disk while nobody changes it, as a backup of a running machine does.
    #[cfg(test)]
    pub(crate) fn back_up(&self, remains: &Path) {
        let writer = self.database.begin_write().unwrap();
        std::fs::copy(&self.path, remains).unwrap();
        writer.abort().unwrap();
    }

    /// How many rows the tables have that grow with time, for tests of what is dropped.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
        use redb::{ReadableTableMetadata as _, TableHandle as _};
        let transaction = self.database.begin_read().unwrap();
        let tables = transaction.list_tables().unwrap();
        let rows = tables.map(|table| {
            let name = table.name().to_owned();
            (name, transaction.open_untyped_table(table).unwrap().len().unwrap())
        });
        rows.collect()
    }

    #[cfg(test)]
    fn approach_death(&self) {
        // While this is the writer, nobody changes the file.
        let writer = self.database.begin_write().unwrap();
        let mut life = self.life.lock().unwrap();
        if let Life::Left { writes, file, remains } = &mut *life {
            *writes = writes.saturating_sub(1);
            if *writes == 0 {
                std::fs::copy(file, remains).unwrap();
                *life = Life::Over;
            }
        }
        writer.abort().unwrap();
    }

    /// Reads a consistent picture of the store.
    fn view<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        look(&self.database.begin_read()?)
    }
}

/// Lets `?` take each of redb's errors.
macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })+
    };
}

from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// Encodes a record. Writing to memory does not fail.
fn encode(value: &impl borsh::BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory does not fail")
}

/// Decodes a record of `table`.
fn decode<T: borsh::BorshDeserialize>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes)
        .map_err(|error| StoreError::Damaged { table, reason: error.to_string() })
}
