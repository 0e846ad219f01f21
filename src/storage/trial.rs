//! Taking in again what the journal holds, so that an entry on which the process ends does not end it at every start.
//!
//! Before an entry is taken in, a file says which one it is. If the file is still there at the next start, that entry was
//! being taken in when the process ended: it comes first then, and if the process ends on it once more, and again, five times
//! in a row, it is set aside: into a file of its own, for people to look at, and not taken in until they ask for it.
//!
//! A process that ends in order, or with an error, while it takes entries in, ends the trial as well: only what kills it counts
//! (a panic, a signal, the watchdog). The mark is in the system's hands before the entry is touched, and so outlasts the
//! process. That of a suspect is on disk before its attempt counts, so that who is killed while the disk is slow, and has not
//! touched the entry, counts nothing against it.

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

/// So often in a row may the process end on an entry. Machines are also switched off twice, and operators impatient.
const ATTEMPTS: u8 = 5;

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
        let set_aside = set_aside(folder)?.into_iter().map(|(hash, _)| hash).collect();
        let mark = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mark = mark.map_err(at(&path))?;
        flush(folder)?;
        Ok(Self { folder: folder.to_owned(), mark, suspect, set_aside })
    }

    /// What is to be taken in of `held`, in order and once: first the entry on which the process ended, if there is one. One
    /// on which it ended too often is set aside.
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
        let mut seen = HashSet::new();
        for transaction in held {
            let hash = transaction.hash();
            if self.set_aside.contains(&hash) || !seen.insert(hash) {
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
        let path = self.folder.join(MARK);
        let suspect = self.suspect.filter(|(suspect, _)| *suspect == hash);
        let attempts = suspect.map_or(0, |(_, attempts)| attempts);
        if suspect.is_some() {
            self.write(hash, attempts).and_then(|()| self.mark.sync_data()).map_err(at(&path))?;
        }
        self.write(hash, attempts.saturating_add(1)).map_err(at(&path))
    }

    fn write(&mut self, hash: B256, attempts: u8) -> std::io::Result<()> {
        self.mark.seek(SeekFrom::Start(0))?;
        self.mark.write_all(&[&hash.0[..], &[attempts]].concat())
    }

    /// Says that all was taken in, or that no more is for now.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: the last entry would be suspected if the process ended now.
    pub fn end(self) -> Result<(), JournalError> {
        let path = self.folder.join(MARK);
        fs::remove_file(&path).map_err(at(&path))?;
        flush(&self.folder)
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
        flush(&self.folder)?;
        self.set_aside.insert(hash);
        error!(
            transaction = %hash, rollup = %transaction.rollup, kept = %path.display(), attempts = ATTEMPTS,
            "the process ended each time that it took this accepted transaction in: it is set aside and will not be \
             ordered, unless a start with --retry-set-aside can take it"
        );
        Ok(())
    }
}

/// What was set aside.
pub(super) fn set_aside(folder: &Path) -> Result<Vec<(B256, RollupTransaction)>, JournalError> {
    let path = folder.join(SET_ASIDE);
    match fs::read(&path) {
        Ok(bytes) => {
            let found = records::read(&bytes.into()).found;
            Ok(found.into_iter().map(|record| (record.hash, record.transaction)).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Sets nothing aside any more.
pub(super) fn forget_aside(folder: &Path) -> Result<(), JournalError> {
    let path = folder.join(SET_ASIDE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&path)(error)),
        _ => flush(folder),
    }
}

fn flush(folder: &Path) -> Result<(), JournalError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
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

    fn journal_of(folder: &Path, all: &[RollupTransaction]) {
        let (mut journal, _) = Journal::open(folder).unwrap();
        let listed: Vec<_> = all.iter().map(|one| (one.hash(), one)).collect();
        journal.append(&listed).unwrap();
    }

    #[test]
    fn an_entry_on_which_the_process_ends_five_times_is_set_aside_and_kept_until_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (1..=4).map(transaction).collect();
        let hashes: Vec<B256> = all.iter().map(RollupTransaction::hash).collect();
        journal_of(folder.path(), &all);

        let fatal = Some(hashes[2]);
        assert_eq!(run(folder.path(), fatal), hashes[..2]);
        for _ in 1..super::ATTEMPTS {
            assert!(run(folder.path(), fatal).is_empty(), "the suspect comes first");
        }
        for _ in 0..3 {
            assert_eq!(run(folder.path(), fatal), [hashes[0], hashes[1], hashes[3]]);
        }
        let kept = std::fs::read(folder.path().join(super::SET_ASIDE)).unwrap();
        assert!(kept.ends_with(&all[2].raw));

        // Its segment may be gone by now.
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.prune(&|_| false).unwrap();
        assert_eq!(journal.offer_again().unwrap(), all[2..3]);
        assert_eq!(journal.offer_again().unwrap(), []);
        drop(journal);
        for _ in 0..super::ATTEMPTS {
            assert!(run(folder.path(), fatal).is_empty(), "it has all its attempts again");
        }
        assert!(run(folder.path(), None).is_empty(), "it is set aside again");
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.offer_again().unwrap();
        drop(journal);
        assert_eq!(run(folder.path(), None), [hashes[2]], "a release that can take it does");
    }

    #[test]
    fn who_is_killed_before_the_entry_is_touched_counts_nothing_against_it() {
        let folder = tempfile::tempdir().unwrap();
        let suspect = transaction(1);
        journal_of(folder.path(), std::slice::from_ref(&suspect));
        run(folder.path(), Some(suspect.hash()));
        for _ in 0..20 {
            // What is on disk once the mark is flushed, and before the attempt counts.
            let (mut trial, ordered) = start(folder.path());
            assert_eq!(ordered.len(), 1);
            let (hash, attempts) = trial.suspect.unwrap();
            trial.write(hash, attempts).unwrap();
        }
        assert_eq!(run(folder.path(), None), [suspect.hash()]);
    }

    #[test]
    fn a_start_that_ends_in_order_counts_nothing_however_often() {
        let folder = tempfile::tempdir().unwrap();
        let innocent = transaction(1);
        journal_of(folder.path(), std::slice::from_ref(&innocent));
        for _ in 0..20 {
            let (mut trial, ordered) = start(folder.path());
            assert_eq!(ordered.len(), 1);
            trial.mark(innocent.hash()).unwrap();
            trial.end().unwrap();
            assert!(!folder.path().join(super::MARK).exists());
        }
        assert_eq!(run(folder.path(), None), [innocent.hash()]);
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
