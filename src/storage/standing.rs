//! Whether the records that this store has of a key can be all of them (R46): they may not be if the store was made after the
//! key had signed, or if its file is a copy, of which nobody knows how old it is.

use super::{Store, StoreError, decode, encode};
use crate::storage::place::Place;
use alloy::primitives::Address;
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

const STANDINGS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("standings");

/// Whether what is recorded of a key is taken for all that it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Standing {
    /// It is.
    Trusted,
    /// It may not be.
    Doubted,
    /// It was, when it was exported so that another machine signs in this one's place.
    HandedOver,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    standing: Standing,
    place: Option<Place>,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(STANDINGS)?;
    Ok(())
}

/// Notes how a key stands, as part of a transaction.
pub(super) fn keep(
    transaction: &WriteTransaction,
    signer: Address,
    standing: Standing,
    place: Place,
) -> Result<(), StoreError> {
    let kept = encode(&Kept { standing, place: Some(place) });
    transaction.open_table(STANDINGS)?.insert(&signer.0.0, kept.as_slice())?;
    Ok(())
}

impl Store {
    /// How a key stood when it was last used, and whether the store is where it was then. `None` for a key that was never
    /// used with this store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn key_standing(&self, signer: Address) -> Result<Option<(Standing, bool)>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(STANDINGS)?.get(&signer.0.0)?;
            let kept: Option<Kept> =
                found.map(|kept| decode("standings", kept.value())).transpose()?;
            Ok(kept.map(|kept| (kept.standing, kept.place == Some(self.place))))
        })
    }

    /// The other keys that were used with this store where it is now, with all their records.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn trusted_besides(&self, signer: Address) -> Result<Vec<Address>, StoreError> {
        self.view(|transaction| {
            let mut found = Vec::new();
            for entry in transaction.open_table(STANDINGS)?.iter()? {
                let (key, kept) = entry?;
                let kept: Kept = decode("standings", kept.value())?;
                let trusted = kept.standing == Standing::Trusted && kept.place == Some(self.place);
                if trusted && *key.value() != signer.0.0 {
                    found.push(Address::new(*key.value()));
                }
            }
            Ok(found)
        })
    }

    /// Notes how a key stands, here and now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_standing(&self, signer: Address, standing: Standing) -> Result<(), StoreError> {
        self.write(|transaction| keep(transaction, signer, standing, self.place))
    }
}

#[cfg(test)]
mod tests {
    use super::{Standing, Store};
    use alloy::primitives::Address;

    const KEY: Address = Address::repeat_byte(1);

    #[test]
    fn a_key_follows_another_one_only_where_that_one_was_and_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("a.redb"), folder.path().join("b.redb"));
        let next = Address::repeat_byte(2);
        let store = Store::open(&here).unwrap();
        assert!(store.trusted_besides(next).unwrap().is_empty());
        for standing in [Standing::Doubted, Standing::HandedOver] {
            store.keep_standing(KEY, standing).unwrap();
            assert!(store.trusted_besides(next).unwrap().is_empty(), "{standing:?}");
        }
        store.keep_standing(KEY, Standing::Trusted).unwrap();
        assert_eq!(store.trusted_besides(next).unwrap(), [KEY]);
        assert!(store.trusted_besides(KEY).unwrap().is_empty(), "it is no other than itself");
        drop(store);
        std::fs::copy(&here, &there).unwrap();
        let copy = Store::open(&there).unwrap();
        assert!(copy.trusted_besides(next).unwrap().is_empty(), "nobody knows how old a copy is");
    }

    #[test]
    fn a_store_that_is_opened_again_is_where_it_was_and_a_copy_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("a.redb"), folder.path().join("b.redb"));
        let store = Store::open(&here).unwrap();
        assert_eq!(store.key_standing(KEY).unwrap(), None);
        store.keep_standing(KEY, Standing::Trusted).unwrap();
        drop(store);
        let store = Store::open(&here).unwrap();
        assert_eq!(store.key_standing(KEY).unwrap(), Some((Standing::Trusted, true)));
        assert_eq!(store.key_standing(Address::repeat_byte(2)).unwrap(), None);
        drop(store);

        std::fs::copy(&here, &there).unwrap();
        let copy = Store::open(&there).unwrap();
        assert_eq!(copy.key_standing(KEY).unwrap(), Some((Standing::Trusted, false)));
        copy.keep_standing(KEY, Standing::Doubted).unwrap();
        assert_eq!(copy.key_standing(KEY).unwrap(), Some((Standing::Doubted, true)));
        drop(copy);
        // As a restored backup comes to stand where the store was.
        std::fs::rename(&there, &here).unwrap();
        let restored = Store::open(&here).unwrap();
        assert_eq!(restored.key_standing(KEY).unwrap(), Some((Standing::Doubted, false)));
    }

    #[test]
    fn a_record_of_an_earlier_release_is_read_and_its_store_counts_as_moved() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("a.redb")).unwrap();
        // Whether the key's records are taken for all of them, then a digest of the file's inode, birth and machine.
        let kept = [&[0, 1][..], &[7; 32]].concat();
        let written = store.write(|transaction| {
            transaction.open_table(super::STANDINGS)?.insert(&KEY.0.0, kept.as_slice())?;
            Ok(())
        });
        written.unwrap();
        assert_eq!(store.key_standing(KEY).unwrap(), Some((Standing::Trusted, false)));
    }
}
