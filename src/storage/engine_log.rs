//! The agreement engine's log: what it must find again of the height that it was at when the process ended.

use super::signed::{Ballot, BallotRecord, keep_ballot};
use super::{Store, StoreError};
use crate::domain::{Generation, Height};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

const ENTRIES: TableDefinition<(u32, u64, u64), &[u8]> = TableDefinition::new("engine_log");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(ENTRIES)?;
    Ok(())
}

impl Store {
    /// The entries of a height, in order. Drops those of all others: the engine never goes back.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn begin_engine_log(
        &self,
        generation: Generation,
        height: Height,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let (generation, height) = (generation.get(), height.get());
        self.ride(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            table.retain(|(of, at, _), _| (of, at) == (generation, height))?;
            let mut entries = Vec::new();
            for entry in table.iter()? {
                entries.push(entry?.1.value().to_vec());
            }
            Ok(entries)
        })
    }

    /// All entries with the height that they are of, for tests that compare them with the guard's records.
    #[cfg(test)]
    pub(crate) fn engine_log(&self) -> Vec<(Generation, Height, Vec<u8>)> {
        let entries = self.view(|transaction| {
            let mut entries = Vec::new();
            for entry in transaction.open_table(ENTRIES)?.iter()? {
                let (key, entry) = entry?;
                let (generation, height, _) = key.value();
                let at = (Generation::new(generation), Height::new(height));
                entries.push((at.0, at.1, entry.value().to_vec()));
            }
            Ok(entries)
        });
        entries.unwrap()
    }

    /// Drops all entries.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn clear_engine_log(&self) -> Result<(), StoreError> {
        self.ride(|transaction| {
            transaction.open_table(ENTRIES)?.retain(|_, _| false)?;
            Ok(())
        })
    }

    /// Appends entries, of which the first gets number `first`, and in the same transaction the guard's records of what they
    /// hold. They and all that rode before are on disk when this returns; nothing is written when there is none of it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn append_engine_log(
        &self,
        generation: Generation,
        height: Height,
        first: u64,
        entries: &[Vec<u8>],
        records: &[(Ballot, BallotRecord)],
    ) -> Result<(), StoreError> {
        if entries.is_empty() && records.is_empty() {
            return self.flush();
        }
        self.write(|transaction| {
            for (ballot, record) in records {
                keep_ballot(transaction, ballot, record)?;
            }
            let mut table = transaction.open_table(ENTRIES)?;
            for (number, entry) in (first..).zip(entries) {
                table.insert((generation.get(), height.get(), number), entry.as_slice())?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::domain::{Generation, Height};

    #[test]
    fn a_height_finds_its_own_entries_in_order_and_drops_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        let (generation, height) = (Generation::new(2), Height::new(7));
        store.append_engine_log(generation, height, 0, &[vec![1], vec![2]], &[]).unwrap();
        store.append_engine_log(generation, height, 2, &[vec![3]], &[]).unwrap();
        drop(store);

        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        let entries = store.begin_engine_log(generation, height).unwrap();
        assert_eq!(entries, [vec![1], vec![2], vec![3]]);
        assert!(store.begin_engine_log(Generation::new(3), height).unwrap().is_empty());
        assert!(store.begin_engine_log(generation, height).unwrap().is_empty());
    }
}
