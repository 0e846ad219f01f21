//! The picture of L1 that a start goes on from, and an older one. What is in them is the reader's business.

use super::{Store, StoreError};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

const PICTURES: TableDefinition<u8, &[u8]> = TableDefinition::new("l1_pictures");
const NEWEST: u8 = 0;
const OLDER: u8 = 1;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(PICTURES)?;
    Ok(())
}

impl Store {
    /// Keeps a picture as the newest one. The newest so far becomes the older one, if it is to be put `aside`, or is
    /// overwritten.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_l1_picture(&self, picture: &[u8], aside: bool) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut pictures = transaction.open_table(PICTURES)?;
            if aside {
                let newest = pictures.get(NEWEST)?.map(|kept| kept.value().to_vec());
                if let Some(newest) = newest {
                    pictures.insert(OLDER, newest.as_slice())?;
                }
            }
            pictures.insert(NEWEST, picture)?;
            Ok(())
        })
    }

    /// The pictures that are kept, the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn l1_pictures(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.view(|transaction| {
            let pictures = transaction.open_table(PICTURES)?;
            let mut kept = Vec::new();
            for slot in [NEWEST, OLDER] {
                kept.extend(pictures.get(slot)?.map(|picture| picture.value().to_vec()));
            }
            Ok(kept)
        })
    }

    /// Drops the newest picture: what it stands on is not canonical any more. The older one is the newest then.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn drop_l1_picture(&self) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut pictures = transaction.open_table(PICTURES)?;
            let older = pictures.remove(OLDER)?.map(|kept| kept.value().to_vec());
            match older {
                Some(older) => drop(pictures.insert(NEWEST, older.as_slice())?),
                None => drop(pictures.remove(NEWEST)?),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::Store;

    #[test]
    fn the_newest_and_one_older_picture_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        assert!(store.l1_pictures().unwrap().is_empty());
        store.keep_l1_picture(b"one", true).unwrap();
        store.keep_l1_picture(b"two", true).unwrap();
        store.keep_l1_picture(b"three", false).unwrap();
        assert_eq!(store.l1_pictures().unwrap(), [b"three".to_vec(), b"one".to_vec()]);
        store.drop_l1_picture().unwrap();
        assert_eq!(store.l1_pictures().unwrap(), [b"one"]);
        store.drop_l1_picture().unwrap();
        assert!(store.l1_pictures().unwrap().is_empty());
    }
}
