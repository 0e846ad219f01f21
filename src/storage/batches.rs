//! Batches: what settled on L1, as far as this agent has followed it, and the attestations gathered for what has not.
//!
//! Settled batches can be read from L1 again, and a reorg takes them back. Attestations are dropped once their heights
//! are settled at depth.

use super::pruning::STEP_ENTRIES;
use super::{Store, StoreError, decode, encode};
use crate::crypto::Signature;
use crate::domain::{Attestation, BatchHeader, BatchNumber, Height, SettledBatch};
use alloy::primitives::{Address, B256};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

const SETTLED: TableDefinition<u64, &[u8]> = TableDefinition::new("settled");
const HEIGHTS: TableDefinition<u64, u64> = TableDefinition::new("settled_heights");
const ATTESTED: TableDefinition<(u64, &[u8; 32]), &[u8]> = TableDefinition::new("attested");
const ATTESTATIONS: TableDefinition<(u64, &[u8; 32], &[u8; 20]), &[u8; 64]> =
    TableDefinition::new("attestations");

/// Headers that one height may have: members sign eight splits at most (R23).
const ATTESTED_AT: usize = 32;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(SETTLED)?;
    transaction.open_table(HEIGHTS)?;
    transaction.open_table(ATTESTED)?;
    transaction.open_table(ATTESTATIONS)?;
    Ok(())
}

/// Drops the attestations of batches that begin above `last`: they are of a generation that is over, and cannot settle.
pub(super) fn forget_above(transaction: &WriteTransaction, last: Height) -> Result<(), StoreError> {
    let first = last.next().get();
    let mut attested = transaction.open_table(ATTESTED)?;
    attested.retain_in((first, &[0; 32]).., |_, _| false)?;
    let mut attestations = transaction.open_table(ATTESTATIONS)?;
    attestations.retain_in((first, &[0; 32], &[0; 20]).., |_, _| false)?;
    Ok(())
}

/// Whether [`drop_before`] would drop something.
pub(super) fn is_before(
    transaction: &ReadTransaction,
    number: BatchNumber,
    kept_from: Height,
) -> Result<bool, StoreError> {
    match transaction.open_table(SETTLED)?.first()? {
        Some((first, batch)) => {
            Ok(first.value() < number.get()
                && is_over(&decode("settled", batch.value())?, kept_from))
        }
        None => Ok(false),
    }
}

/// Whether none of its blocks is kept. Nobody knows which they are of one that could not be read.
fn is_over(batch: &SettledBatch, kept_from: Height) -> bool {
    batch.is_unread() || batch.header.last_height < kept_from
}

/// Drops settled batches before `number` that end below the first height whose block is kept. Whether there may be more.
pub(super) fn drop_before(
    transaction: &WriteTransaction,
    number: BatchNumber,
    kept_from: Height,
) -> Result<bool, StoreError> {
    let mut settled = transaction.open_table(SETTLED)?;
    let mut heights = transaction.open_table(HEIGHTS)?;
    for _ in 0..STEP_ENTRIES {
        let Some((first, batch)) = settled.first()?.map(|(first, batch)| {
            (first.value(), decode::<SettledBatch>("settled", batch.value()))
        }) else {
            return Ok(false);
        };
        let batch = batch?;
        if first >= number.get() || !is_over(&batch, kept_from) {
            return Ok(false);
        }
        settled.remove(first)?;
        forget_height(&mut heights, &batch)?;
    }
    Ok(true)
}

fn last_settled(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<(u64, SettledBatch)>, StoreError> {
    let Some((number, batch)) = table.last()? else { return Ok(None) };
    Ok(Some((number.value(), decode("settled", batch.value())?)))
}

fn settle(
    settled: &mut Table<'_, u64, &'static [u8]>,
    heights: &mut Table<'_, u64, u64>,
    batch: &SettledBatch,
) -> Result<(), StoreError> {
    settled.insert(batch.number.get(), encode(batch).as_slice())?;
    // One that could not be read may hold no height that is known (R44).
    if batch.header.first_height <= batch.header.last_height {
        heights.insert(batch.header.last_height.get(), batch.number.get())?;
    }
    Ok(())
}

/// Forgets that a batch ends where it does, unless another one is known to by now.
fn forget_height(
    heights: &mut Table<'_, u64, u64>,
    batch: &SettledBatch,
) -> Result<(), StoreError> {
    let last = batch.header.last_height.get();
    let number = heights.get(last)?.map(|number| number.value());
    if number == Some(batch.number.get()) {
        heights.remove(last)?;
    }
    Ok(())
}

impl Store {
    /// Takes what L1 says now: everything from `first` on is forgotten, then `batches` are kept. One transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn settle_from(
        &self,
        first: BatchNumber,
        batches: &[SettledBatch],
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut settled = transaction.open_table(SETTLED)?;
            let mut heights = transaction.open_table(HEIGHTS)?;
            // Only what goes is looked at: this runs with every batch, while everybody else waits to write.
            while let Some((number, batch)) = last_settled(&settled)?
                && number >= first.get()
            {
                settled.remove(number)?;
                forget_height(&mut heights, &batch)?;
            }
            batches.iter().try_for_each(|batch| settle(&mut settled, &mut heights, batch))
        })
    }

    /// Keeps `batches` in the place of what has their numbers. Others stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn settle(&self, batches: &[SettledBatch]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut settled = transaction.open_table(SETTLED)?;
            let mut heights = transaction.open_table(HEIGHTS)?;
            for batch in batches {
                let before = settled.remove(batch.number.get())?;
                let before: Option<SettledBatch> =
                    before.map(|kept| decode("settled", kept.value())).transpose()?;
                before.iter().try_for_each(|batch| forget_height(&mut heights, batch))?;
                settle(&mut settled, &mut heights, batch)?;
            }
            Ok(())
        })
    }

    /// A settled batch by its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn settled(&self, number: BatchNumber) -> Result<Option<SettledBatch>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(SETTLED)?.get(number.get())?;
            found.map(|batch| decode("settled", batch.value())).transpose()
        })
    }

    /// The settled batches that are kept, the oldest and the newest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn settled_kept(&self) -> Result<Option<(BatchNumber, BatchNumber)>, StoreError> {
        self.view(|transaction| {
            let settled = transaction.open_table(SETTLED)?;
            let first = settled.first()?.map(|(first, _)| BatchNumber::new(first.value()));
            let last = settled.last()?.map(|(last, _)| BatchNumber::new(last.value()));
            Ok(first.zip(last))
        })
    }

    /// Number of the settled batch that holds a height, if it is settled and kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn settled_at_height(&self, height: Height) -> Result<Option<BatchNumber>, StoreError> {
        self.view(|transaction| {
            let heights = transaction.open_table(HEIGHTS)?;
            let next = heights.range(height.get()..)?.next().transpose()?;
            let Some((_, number)) = next else { return Ok(None) };
            let number = number.value();
            // The oldest one that is kept does not hold what was settled before it.
            let batch = transaction.open_table(SETTLED)?.get(number)?;
            let batch: Option<SettledBatch> =
                batch.map(|batch| decode("settled", batch.value())).transpose()?;
            let holds = batch.is_some_and(|batch| batch.header.first_height <= height);
            Ok(holds.then_some(BatchNumber::new(number)))
        })
    }

    /// Keeps attestations: a header, its EIP-712 digest, who signed it, and the signature. Known ones stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_attestations<'a>(
        &self,
        attestations: impl IntoIterator<Item = (&'a BatchHeader, B256, Address, Signature)>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut attested = transaction.open_table(ATTESTED)?;
            let mut kept = transaction.open_table(ATTESTATIONS)?;
            for (header, digest, signer, signature) in attestations {
                let first = header.first_height.get();
                if attested.get((first, &digest.0))?.is_none() {
                    attested.insert((first, &digest.0), encode(header).as_slice())?;
                }
                kept.insert((first, &digest.0, &signer.0.0), &signature.to_compact())?;
            }
            Ok(())
        })
    }

    /// All attestations of batches that begin at `first` or later, by first height.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn attestations_from(&self, first: Height) -> Result<Vec<Attestation>, StoreError> {
        self.view(|transaction| {
            let attested = transaction.open_table(ATTESTED)?;
            let attestations = transaction.open_table(ATTESTATIONS)?;
            let mut all = Vec::new();
            for entry in attested.range((first.get(), &[0; 32])..)? {
                let (key, header) = entry?;
                let (first, digest) = key.value();
                let header: BatchHeader = decode("attested", header.value())?;
                let range = (first, digest, &[0; 20])..=(first, digest, &[0xff; 20]);
                for entry in attestations.range(range)? {
                    let (key, signature) = entry?;
                    all.push(Attestation {
                        header: header.clone(),
                        signer: Address::new(*key.value().2),
                        signature: Signature::from_compact(*signature.value()),
                    });
                }
            }
            Ok(all)
        })
    }

    /// The batches that hold a height and are not settled for good, each with those who have attested to it: those that
    /// begin last come first, and at most [`ATTESTED_AT`] are looked at.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn attested_at(
        &self,
        height: Height,
    ) -> Result<Vec<(BatchHeader, Vec<Address>)>, StoreError> {
        self.view(|transaction| {
            let attested = transaction.open_table(ATTESTED)?;
            let attestations = transaction.open_table(ATTESTATIONS)?;
            let mut found = Vec::new();
            for entry in attested.range(..=(height.get(), &[0xff; 32]))?.rev().take(ATTESTED_AT) {
                let (key, header) = entry?;
                let (first, digest) = key.value();
                let header: BatchHeader = decode("attested", header.value())?;
                if header.last_height < height {
                    continue;
                }
                let mut signers = Vec::new();
                let range = (first, digest, &[0; 20])..=(first, digest, &[0xff; 20]);
                for entry in attestations.range(range)? {
                    signers.push(Address::new(*entry?.0.value().2));
                }
                found.push((header, signers));
            }
            Ok(found)
        })
    }

    /// Whether an attestation of this key is kept, of whichever batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn has_attested(&self, signer: Address) -> Result<bool, StoreError> {
        self.view(|transaction| {
            for entry in transaction.open_table(ATTESTATIONS)?.iter()? {
                if entry?.0.value().2 == &signer.0.0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Drops what is kept of blocks before `first` only until they are settled for good: attestations, and what it would
    /// take to undo them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn settled_for_good_before(&self, first: Height) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut attested = transaction.open_table(ATTESTED)?;
            attested.retain_in(..(first.get(), &[0; 32]), |_, _| false)?;
            let mut attestations = transaction.open_table(ATTESTATIONS)?;
            attestations.retain_in(..(first.get(), &[0; 32], &[0; 20]), |_, _| false)?;
            super::blocks::settle_before(transaction, first)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use crate::crypto::Signature;
    use crate::domain::{
        BatchHeader, BatchNumber, Epoch, Generation, Height, L1Block, Seconds, SettledBatch,
    };
    use crate::storage::Store;
    use alloy::primitives::{Address, B256};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        (folder, store)
    }

    fn header(first: u64, last: u64) -> BatchHeader {
        BatchHeader {
            generation: Generation::new(0),
            epoch: Epoch::new(1),
            first_height: Height::new(first),
            last_height: Height::new(last),
            parent_block_hash: B256::repeat_byte(1),
            blocks_root: B256::repeat_byte(2),
            last_block_hash: B256::repeat_byte(3),
            forced_through: 0,
            l1_origin_number: 4,
            l1_origin_hash: B256::repeat_byte(5),
            timestamp: Seconds::new(6),
            payload_hash: B256::repeat_byte(7),
            blobs_hash: B256::ZERO,
            usage_hash: B256::repeat_byte(8),
            state_root: B256::ZERO,
            regular_since: Seconds::new(0),
        }
    }

    fn settled(number: u64, first: u64, last: u64) -> SettledBatch {
        SettledBatch {
            number: BatchNumber::new(number),
            header: header(first, last),
            poster: Address::repeat_byte(9),
            signers: 7,
            block: L1Block {
                number: 100 + number,
                hash: B256::repeat_byte(10),
                timestamp: Seconds::new(11),
            },
            tx_hash: B256::repeat_byte(12),
            parent_settled_at: Seconds::new(10),
            payload_bytes: 13,
            refund_wei: 14,
            late: false,
            led: false,
        }
    }

    #[test]
    fn a_reorg_takes_settled_batches_back() {
        let (_folder, store) = store();
        let batches = [settled(1, 1, 4), settled(2, 5, 9), settled(3, 10, 12)];
        store.settle_from(BatchNumber::new(1), &batches).unwrap();
        assert_eq!(store.settled_at_height(Height::new(5)).unwrap(), Some(BatchNumber::new(2)));
        assert_eq!(store.settled_at_height(Height::new(13)).unwrap(), None);

        let other = settled(2, 5, 7);
        store.settle_from(BatchNumber::new(2), std::slice::from_ref(&other)).unwrap();
        assert_eq!(store.settled(BatchNumber::new(2)).unwrap(), Some(other));
        assert_eq!(store.settled(BatchNumber::new(3)).unwrap(), None);
        assert_eq!(store.settled_at_height(Height::new(8)).unwrap(), None);
        assert_eq!(store.settled_at_height(Height::new(4)).unwrap(), Some(BatchNumber::new(1)));
    }

    #[test]
    fn batches_that_are_read_again_take_the_place_of_what_had_their_numbers() {
        let (_folder, store) = store();
        let batches = [settled(1, 1, 4), settled(2, 5, 9), settled(3, 10, 12)];
        store.settle(&batches).unwrap();
        store.settle(&[settled(1, 1, 3), settled(2, 4, 9)]).unwrap();
        let at =
            |height| store.settled_at_height(Height::new(height)).unwrap().map(BatchNumber::get);
        assert_eq!([3, 4, 9, 10, 13].map(at), [Some(1), Some(2), Some(2), Some(3), None]);
        assert_eq!(store.settled(BatchNumber::new(3)).unwrap(), Some(batches[2].clone()));
    }

    #[test]
    fn attestations_are_kept_once_and_dropped_when_settled() {
        let (_folder, store) = store();
        let signature = Signature::from_compact([1; 64]);
        let (a, b) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (old, new) = (header(1, 4), header(5, 9));
        store.keep_attestations([(&old, B256::repeat_byte(1), a, signature)]).unwrap();
        store.keep_attestations([(&new, B256::repeat_byte(2), a, signature)]).unwrap();
        store
            .keep_attestations([a, b].map(|by| (&new, B256::repeat_byte(2), by, signature)))
            .unwrap();

        let signers = |from: u64| -> Vec<(u64, Address)> {
            let all = store.attestations_from(Height::new(from)).unwrap();
            all.iter().map(|a| (a.header.first_height.get(), a.signer)).collect()
        };
        assert_eq!(signers(1), [(1, a), (5, a), (5, b)]);
        store.settled_for_good_before(Height::new(5)).unwrap();
        assert_eq!(signers(0), [(5, a), (5, b)]);
    }
}
