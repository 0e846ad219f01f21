//! Which file a store is (R46): whether what is opened is what was written last, in the same place, or a copy of which nobody
//! knows how old it is.
//!
//! Beside the store lies a small file, its seal, with a random number in it. The store's record holds that number, and which
//! files the seal and the store are (inode and time of birth). The seal is made anew and renamed into its place at each
//! opening, at each orderly end and every [`RENEWAL`] while an agent runs. So a backup differs from what is there:
//!
//! - of the store alone, also if its bytes are put into the file that is there: the seal has changed since;
//! - of the whole folder: the seal is another file than the one that was written down.
//!
//! What nothing inside of a file system shows is an image of all of it (a volume's or a machine's snapshot) that is put
//! back, or one that runs twice. Neither does a copy of the store's bytes over its file that is younger than the last seal,
//! nor, on a file system that does not tell when a file was made, a folder whose seal comes to have its old number of inode.
//! There the rules for everybody are left: nobody votes at a height that has settled or that others have decided.
//!
//! A crash at any moment leaves the seal as it was, or as it was to be: the record that is written before it is renamed
//! holds both.

use super::{Store, StoreError, decode, encode};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

const PLACES: TableDefinition<u8, &[u8]> = TableDefinition::new("places");

/// The one record of the table.
const HERE: u8 = 0;

/// How often an agent makes the seal anew: a backup that is older than this, and put back over the file of a store whose
/// agent crashed, is seen.
pub const RENEWAL: Duration = Duration::from_secs(20);

/// Where a store is: a random number that is kept as long as it is found where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Place([u8; 32]);

/// A file, as far as the system tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Which {
    inode: u64,
    /// Nanoseconds; 0 where the system does not say.
    born: u128,
}

impl Which {
    fn of(file: &fs::Metadata) -> Self {
        let born = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { inode: file.ino(), born: born.map(|time| time.as_nanos()).unwrap_or_default() }
    }
}

/// A seal as it is, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Seal {
    number: [u8; 32],
    file: Which,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    place: Place,
    store: Which,
    /// The seal that lies there, and the one that comes in its stead.
    seals: Vec<Seal>,
}

/// The seal of an open store.
pub(super) struct Sealing {
    path: PathBuf,
    store: Which,
    current: Mutex<Seal>,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(PLACES)?;
    Ok(())
}

/// Where the seal of the store at `store` lies.
fn path_of(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".seal");
    name.into()
}

/// A seal that is made and not in its place yet.
struct Fresh {
    from: PathBuf,
    seal: Seal,
}

impl Fresh {
    fn make(path: &Path) -> std::io::Result<Self> {
        let mut from = path.as_os_str().to_owned();
        from.push(".new");
        let from = PathBuf::from(from);
        // One that a crash left behind is another file: its inode must not be taken over.
        match fs::remove_file(&from) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let number = rand::random::<[u8; 32]>();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&from)?;
        file.write_all(alloy::hex::encode(number).as_bytes())?;
        file.sync_all()?;
        let file = Which::of(&file.metadata()?);
        Ok(Self { from, seal: Seal { number, file } })
    }

    fn put(self, path: &Path) -> std::io::Result<Seal> {
        fs::rename(&self.from, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.seal)
    }
}

/// The seal that lies at `path`, if one does.
fn found(path: &Path) -> std::io::Result<Option<Seal>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // What is no text is no seal.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut number = [0; 32];
    if alloy::hex::decode_to_slice(text.trim(), &mut number).is_err() {
        return Ok(None);
    }
    Ok(Some(Seal { number, file: Which::of(&fs::metadata(path)?) }))
}

impl Sealing {
    /// Looks where the store at `store` is, and seals it anew. `write` runs a change in a transaction that is on disk when it
    /// returns.
    pub(super) fn begin(
        store: &Path,
        write: impl FnOnce(
            &dyn Fn(&WriteTransaction) -> Result<Place, StoreError>,
        ) -> Result<Place, StoreError>,
    ) -> Result<(Self, Place), StoreError> {
        let path = path_of(store);
        let failed = |source| StoreError::Seal { path: path.clone(), source };
        let which = Which::of(&fs::metadata(store).map_err(failed)?);
        let lies = found(&path).map_err(failed)?;
        let fresh = Fresh::make(&path).map_err(failed)?;
        let newer = fresh.seal;
        let place = write(&|transaction| {
            let mut table = transaction.open_table(PLACES)?;
            let kept = table.get(HERE)?.map(|kept| decode::<Kept>("places", kept.value()));
            let kept = kept.transpose()?;
            let here = kept.filter(|kept| {
                kept.store == which && lies.is_some_and(|seal| kept.seals.contains(&seal))
            });
            let place = here.map_or_else(|| Place(rand::random()), |kept| kept.place);
            let seals = lies.into_iter().chain([newer]).collect();
            let record = encode(&Kept { place, store: which, seals });
            table.insert(HERE, record.as_slice())?;
            Ok(place)
        })?;
        let current = Mutex::new(fresh.put(&path).map_err(failed)?);
        Ok((Self { path, store: which, current }, place))
    }
}

impl Store {
    /// Seals the store anew, see [`RENEWAL`]. For a running agent now and then, and at its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] or [`StoreError::Database`]: the seal that lies there stays good.
    pub fn renew_seal(&self) -> Result<(), StoreError> {
        let Sealing { path, store, current } = &*self.sealing;
        let failed = |source| StoreError::Seal { path: path.clone(), source };
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Fresh::make(path).map_err(failed)?;
        let seals = vec![*current, fresh.seal];
        let record = encode(&Kept { place: self.place, store: *store, seals });
        self.write(|transaction| {
            transaction.open_table(PLACES)?.insert(HERE, record.as_slice())?;
            Ok(())
        })?;
        *current = fresh.put(path).map_err(failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;
    use crate::storage::{Standing, Store};
    use alloy::primitives::Address;
    use std::fs;
    use std::path::{Path, PathBuf};

    const KEY: Address = Address::repeat_byte(1);

    fn standing(path: &Path) -> Option<(Standing, bool)> {
        Store::open(path).unwrap().key_standing(KEY).unwrap()
    }

    /// A store in use whose agent has run for a while, closed in order.
    fn used(folder: &Path) -> PathBuf {
        let path = folder.join("rota.redb");
        let store = Store::open(&path).unwrap();
        store.keep_standing(KEY, Standing::Trusted).unwrap();
        store.renew_seal().unwrap();
        path
    }

    /// Puts bytes into the file that is there, as cp, tar and rsync --inplace do.
    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn is_where_it_was_after_any_number_of_orderly_ends_and_kills() {
        let folder = tempfile::tempdir().unwrap();
        let path = used(folder.path());
        for _ in 0..3 {
            assert_eq!(standing(&path), Some((Standing::Trusted, true)));
            let store = Store::open(&path).unwrap();
            store.renew_seal().unwrap();
            store.renew_seal().unwrap();
        }
        // A folder that is renamed, in its file system, has its files as they were.
        let moved = folder.path().join("moved");
        fs::create_dir(&moved).unwrap();
        fs::rename(&path, moved.join("rota.redb")).unwrap();
        fs::rename(path_of(&path), path_of(&moved.join("rota.redb"))).unwrap();
        assert_eq!(standing(&moved.join("rota.redb")), Some((Standing::Trusted, true)));
    }

    #[test]
    fn a_crash_between_the_record_and_the_seal_leaves_it_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = used(folder.path());
        let seal = path_of(&path);
        // Before the rename: the record holds the seal that was to be, and the one that lies there is the older one.
        let aside = folder.path().join("aside");
        fs::rename(&seal, &aside).unwrap();
        fs::hard_link(&aside, &seal).unwrap();
        let store = Store::open(&path).unwrap();
        drop(store);
        fs::rename(&aside, &seal).unwrap();
        assert_eq!(standing(&path), Some((Standing::Trusted, true)));
        // A seal that was begun and not renamed is in nobody's way.
        fs::write(folder.path().join("rota.redb.seal.new"), "half").unwrap();
        assert_eq!(standing(&path), Some((Standing::Trusted, true)));
    }

    #[test]
    fn an_older_copy_put_into_the_same_file_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = used(folder.path());
        let backup = fs::read(&path).unwrap();
        let store = Store::open(&path).unwrap();
        store.renew_seal().unwrap();
        drop(store);
        overwrite(&path, &backup);
        assert_eq!(standing(&path), Some((Standing::Trusted, false)));
        assert_eq!(standing(&path), Some((Standing::Trusted, false)), "nor at the next start");
    }

    #[test]
    fn a_copy_of_a_running_store_put_back_after_a_crash_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = used(folder.path());
        let store = Store::open(&path).unwrap();
        let backup = folder.path().join("backup");
        store.back_up(&backup);
        // It goes on for longer than a renewal, and ends without a word.
        store.renew_seal().unwrap();
        store.renew_seal().unwrap();
        drop(store);
        overwrite(&path, &fs::read(&backup).unwrap());
        assert_eq!(standing(&path), Some((Standing::Trusted, false)));
    }

    #[test]
    fn a_whole_folder_that_is_put_back_file_by_file_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = used(folder.path());
        let (store, seal) = (fs::read(&path).unwrap(), fs::read(path_of(&path)).unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("rota.redb");
        fs::write(&copy, &store).unwrap();
        fs::write(path_of(&copy), &seal).unwrap();
        assert_eq!(standing(&copy), Some((Standing::Trusted, false)), "in another folder");

        drop(Store::open(&path).unwrap());
        overwrite(&path, &store);
        overwrite(&path_of(&path), &seal);
        assert_eq!(standing(&path), Some((Standing::Trusted, false)), "over what is there");
    }

    #[test]
    fn a_seal_that_is_missing_or_none_is_not_trusted_and_no_error() {
        for content in [None, Some(&b""[..]), Some(&[0xff; 64][..]), Some(&[b'0'; 64][..])] {
            let folder = tempfile::tempdir().unwrap();
            let path = used(folder.path());
            match content {
                None => fs::remove_file(path_of(&path)).unwrap(),
                Some(bytes) => overwrite(&path_of(&path), bytes),
            }
            assert_eq!(standing(&path), Some((Standing::Trusted, false)), "{content:?}");
        }
    }
}
