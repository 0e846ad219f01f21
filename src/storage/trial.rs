//! Taking in again what the journal holds, so that an entry on which the process ends does not end it at every start.
//!
//! Before an entry is taken in, a file says which one it is. If the file is still there at the next start, that entry was
//! being taken in when the process ended: it comes first then, and if the process ends on it a second time, it is set aside:
//! into a file of its own, for people to look at, and never taken in again.
//!
//! The mark is in the system's hands before the entry is touched, and so outlasts the process; the second one is on disk.

use super::journal::{JournalError, at};
use super::records;
use crate::domain::RollupTransaction;
use alloy::primitives::B256;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tracing::error;

/// Where the entry is named that is being taken in: its hash, then how often that was tried.
const MARK: &str = "taking-in";

/// Entries that were set aside, as records.
const SET_ASIDE: &str = "set-aside.records";

/// So often may the process end on an entry.
const ATTEMPTS: u8 = 2;

/// The taking in of what a journal holds.
#[derive(Debug)]
pub struct Trial {
    folder: PathBuf,
    mark: File,
    suspect: Option<(B256, u8)>,
    set_aside: HashSet<B256>,
}

impl Trial {
    pub(super) fn begin(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(MARK);
        let suspect = match fs::read(&path) {
            Ok(bytes) => read_mark(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&path)(error)),
        };
        let aside = folder.join(SET_ASIDE);
        let set_aside = match fs::read(&aside) {
            Ok(bytes) => {
                records::read(&bytes.into()).found.into_iter().map(|one| one.hash).collect()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(at(&aside)(error)),
        };
        let mark = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mark = mark.map_err(at(&path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
        Ok(Self { folder: folder.to_owned(), mark, suspect, set_aside })
    }

    /// What is to be taken in of `held`, in order: first the entry on which the process ended, if there is one. One on which
    /// it ended twice is set aside.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when an entry cannot be set aside.
    pub fn order(
        &mut self,
        held: Vec<RollupTransaction>,
    ) -> Result<Vec<(B256, RollupTransaction)>, JournalError> {
        let mut ordered = Vec::with_capacity(held.len());
        let mut first = None;
        for transaction in held {
            let hash = transaction.hash();
            if self.set_aside.contains(&hash) {
                continue;
            }
            match self.suspect {
                Some((suspect, attempts)) if suspect == hash => {
                    if attempts >= ATTEMPTS {
                        self.put_aside(hash, &transaction)?;
                    } else {
                        first = Some((hash, transaction));
                    }
                }
                _ => ordered.push((hash, transaction)),
            }
        }
        if let Some(first) = first {
            ordered.insert(0, first);
        }
        Ok(ordered)
    }

    /// Says that an entry is about to be taken in.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: it must not be, since nobody would know on what the process ended.
    pub fn mark(&mut self, hash: B256) -> Result<(), JournalError> {
        let before = self.suspect.filter(|(suspect, _)| *suspect == hash);
        let attempts = before.map_or(0, |(_, attempts)| attempts).saturating_add(1);
        let bytes = [&hash.0[..], &[attempts]].concat();
        let written = self.mark.seek(SeekFrom::Start(0)).and_then(|_| self.mark.write_all(&bytes));
        let written =
            written.and_then(|()| if attempts > 1 { self.mark.sync_data() } else { Ok(()) });
        written.map_err(at(&self.folder.join(MARK)))
    }

    /// Says that all was taken in.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: the last entry would be suspected if the process ended now.
    pub fn end(self) -> Result<(), JournalError> {
        let path = self.folder.join(MARK);
        fs::remove_file(&path).map_err(at(&path))
    }

    fn put_aside(
        &mut self,
        hash: B256,
        transaction: &RollupTransaction,
    ) -> Result<(), JournalError> {
        let path = self.folder.join(SET_ASIDE);
        let mut bytes = Vec::new();
        records::write(&mut bytes, hash, transaction);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let written = opened.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(at(&path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))?;
        self.set_aside.insert(hash);
        error!(
            transaction = %hash, rollup = %transaction.rollup, kept = %path.display(),
            "the process ended twice while it took this accepted transaction in: it is set aside and will not be ordered"
        );
        Ok(())
    }
}

fn read_mark(bytes: &[u8]) -> Option<(B256, u8)> {
    let (hash, rest) = bytes.split_first_chunk::<32>()?;
    Some((hash.into(), *rest.first()?))
}

#[cfg(test)]
mod tests {
    use crate::domain::{RollupId, RollupTransaction};
    use crate::storage::{Journal, Trial};
    use alloy::primitives::B256;
    use std::path::Path;

    fn transaction(n: u8) -> RollupTransaction {
        RollupTransaction { rollup: RollupId::new(4242), raw: vec![n; 50].into() }
    }

    fn start(folder: &Path) -> (Trial, Vec<(B256, RollupTransaction)>) {
        let (journal, held) = Journal::open(folder).unwrap();
        let mut trial = journal.trial().unwrap();
        let ordered = trial.order(held).unwrap();
        (trial, ordered)
    }

    /// Takes entries in until the process ends on `fatal`; the order in which they came.
    fn run(folder: &Path, fatal: Option<B256>) -> Vec<B256> {
        let (mut trial, ordered) = start(folder);
        let mut taken = Vec::new();
        for (hash, _) in ordered {
            trial.mark(hash).unwrap();
            if Some(hash) == fatal {
                return taken;
            }
            taken.push(hash);
        }
        trial.end().unwrap();
        taken
    }

    #[test]
    fn an_entry_on_which_the_process_ends_is_set_aside_after_the_second_time_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (1..=4).map(transaction).collect();
        let hashes: Vec<B256> = all.iter().map(RollupTransaction::hash).collect();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        let listed: Vec<_> = all.iter().map(|one| (one.hash(), one)).collect();
        journal.append(&listed).unwrap();
        drop(journal);

        let fatal = Some(hashes[2]);
        assert_eq!(run(folder.path(), fatal), hashes[..2]);
        assert!(run(folder.path(), fatal).is_empty(), "the suspect comes first");
        for _ in 0..3 {
            assert_eq!(run(folder.path(), fatal), [hashes[0], hashes[1], hashes[3]]);
        }
        let kept = std::fs::read(folder.path().join(super::SET_ASIDE)).unwrap();
        assert!(kept.ends_with(&all[2].raw));
    }

    #[test]
    fn who_is_killed_on_different_entries_loses_none() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (1..=4).map(transaction).collect();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        let listed: Vec<_> = all.iter().map(|one| (one.hash(), one)).collect();
        journal.append(&listed).unwrap();
        drop(journal);
        for round in 0..3 {
            for victim in &all {
                run(folder.path(), Some(victim.hash()));
            }
            assert_eq!(run(folder.path(), None).len(), 4, "round {round}");
        }
    }
}
