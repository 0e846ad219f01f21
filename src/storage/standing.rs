//! Whether the records that this store has of a key can be all of them (R46): they may not be if the store was made after the
//! key had signed, or if its file is a copy, of which nobody knows how old it is.

use super::{Store, StoreError, decode, encode};
use alloy::primitives::{Address, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

const STANDINGS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("standings");

/// Whether what is recorded of a key is taken for all that it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Standing {
    /// It is.
    Trusted,
    /// It may not be.
    Doubted,
}

/// Which file a store is: it changes when the file is copied, restored or moved to another disk, and with the machine. An
/// image of a whole machine, put back, is the same file to all that can be asked: then what others have decided tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Place([u8; 32]);

impl Place {
    /// The place of a file; `None` when the system does not say.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let made = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let made = made.map(|time| time.as_nanos()).unwrap_or_default();
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let text = [&file.ino().to_be_bytes()[..], &made.to_be_bytes()[..], &machine[..]].concat();
        Some(Self(keccak256(text).0))
    }
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
            Ok(kept.map(|kept| (kept.standing, kept.place == self.place)))
        })
    }

    /// Whether another key than this one was used with this store where it is now, with all its records.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn is_trusted_with_another(&self, signer: Address) -> Result<bool, StoreError> {
        self.view(|transaction| {
            for entry in transaction.open_table(STANDINGS)?.iter()? {
                let (key, kept) = entry?;
                let kept: Kept = decode("standings", kept.value())?;
                let trusted = kept.standing == Standing::Trusted && kept.place == self.place;
                if trusted && *key.value() != signer.0.0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Notes how a key stands, here and now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_standing(&self, signer: Address, standing: Standing) -> Result<(), StoreError> {
        let kept = encode(&Kept { standing, place: self.place });
        self.write(|transaction| {
            transaction.open_table(STANDINGS)?.insert(&signer.0.0, kept.as_slice())?;
            Ok(())
        })
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
        assert!(!store.is_trusted_with_another(next).unwrap());
        store.keep_standing(KEY, Standing::Doubted).unwrap();
        assert!(!store.is_trusted_with_another(next).unwrap());
        store.keep_standing(KEY, Standing::Trusted).unwrap();
        assert!(store.is_trusted_with_another(next).unwrap());
        assert!(!store.is_trusted_with_another(KEY).unwrap(), "it is no other than itself");
        drop(store);
        std::fs::copy(&here, &there).unwrap();
        let copy = Store::open(&there).unwrap();
        assert!(!copy.is_trusted_with_another(next).unwrap(), "nobody knows how old a copy is");
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
        assert_eq!(restored.key_standing(KEY).unwrap(), Some((Standing::Doubted, true)));
    }
}
