//! What clients were promised: an append-only log of accepted transactions, so that none is lost to a crash.
//!
//! A folder of numbered segments, each a run of [records](super::records). A record that is cut off at the end of its segment
//! was never acknowledged. One that is damaged is told in the log, and those behind it are found again. Appending costs one
//! write and one flush for any number of records; a log beside the store keeps that from queueing behind the store's
//! single writer. Segments whose transactions are all decided are deleted.

use super::records;
use super::trial::Trial;
use crate::domain::RollupTransaction;
use alloy::primitives::B256;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use tracing::warn;

/// A segment is closed once it is larger than this.
const SEGMENT_BYTES: u64 = 4 << 20;

/// With more closed segments than this, one that is needed for less than half of what it held moves to the newest.
const CLOSED_SEGMENTS: usize = 8;

/// The log of accepted transactions.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    open: Option<Segment>,
    closed: VecDeque<Closed>,
    next_number: u64,
    segment_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    bytes: u64,
    hashes: Vec<B256>,
}

#[derive(Debug)]
struct Closed {
    number: u64,
    /// Records that it held.
    held: usize,
    /// Those that were needed when it was last looked at.
    hashes: Vec<B256>,
}

/// Why the journal did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("journal {}: {source}", path.display())]
pub struct JournalError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

impl Journal {
    /// Opens or creates the journal in `folder`, and returns with it what it holds, in the order of acceptance.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the folder cannot be read or written, or holds a segment with the last number there is. Damaged
    /// records are no error.
    pub fn open(
        folder: impl Into<PathBuf>,
    ) -> Result<(Self, Vec<RollupTransaction>), JournalError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let name = entry.map_err(at(&folder))?.file_name();
            numbers.extend(name.to_str().and_then(number_of));
        }
        numbers.sort_unstable();

        let mut transactions = Vec::new();
        let mut closed = VecDeque::new();
        for number in &numbers {
            let path = path_of(&folder, *number);
            let (held, hashes) = read(&path)?;
            transactions.extend(held);
            closed.push_back(Closed { number: *number, held: hashes.len(), hashes });
        }
        let next_number = match numbers.last() {
            Some(last) => last.checked_add(1).ok_or_else(|| {
                at(&path_of(&folder, *last))(std::io::Error::other("no number comes after this"))
            })?,
            None => 0,
        };
        let journal =
            Self { folder, open: None, closed, next_number, segment_bytes: SEGMENT_BYTES };
        Ok((journal, transactions))
    }

    /// Appends transactions; all of them are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: none of them may be acknowledged. Whatever part was written stands alone in its segment.
    pub fn append(
        &mut self,
        transactions: &[(B256, &RollupTransaction)],
    ) -> Result<(), JournalError> {
        if transactions.is_empty() {
            return Ok(());
        }
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => self.create()?,
        };
        let mut bytes = Vec::new();
        for (hash, transaction) in transactions {
            records::write(&mut bytes, *hash, transaction);
        }
        let written = segment.file.write_all(&bytes).and_then(|()| segment.file.sync_data());
        segment.hashes.extend(transactions.iter().map(|(hash, _)| *hash));
        segment.bytes =
            segment.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if let Err(source) = written {
            // What follows a torn record would not be found again, so the segment ends here.
            let path = path_of(&self.folder, segment.number);
            self.close(segment);
            return Err(JournalError { path, source });
        }
        if segment.bytes > self.segment_bytes {
            self.close(segment);
        } else {
            self.open = Some(segment);
        }
        Ok(())
    }

    /// Begins to take in again what the journal holds.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the folder cannot be read or written.
    pub fn trial(&self) -> Result<Trial, JournalError> {
        Trial::begin(&self.folder)
    }

    /// Whether [`Journal::prune`] may have something to do: a segment was closed.
    pub fn wants_pruning(&self) -> bool {
        !self.closed.is_empty() && self.open.is_none()
    }

    /// Deletes closed segments of which nothing is needed any more; of many that are needed for little, folds one.
    ///
    /// # Errors
    ///
    /// The first [`JournalError`] when a file cannot be read, deleted or moved; nothing that is needed was lost, and what
    /// could not be done now is tried again the next time.
    pub fn prune(&mut self, is_needed: &dyn Fn(B256) -> bool) -> Result<(), JournalError> {
        let mut kept = VecDeque::new();
        let mut failed = Ok(());
        while let Some(mut segment) = self.closed.pop_front() {
            segment.hashes.retain(|hash| is_needed(*hash));
            if segment.hashes.is_empty() {
                if let Err(error) = self.delete(segment.number) {
                    kept.push_back(segment);
                    failed = failed.and(Err(error));
                }
            } else {
                kept.push_back(segment);
            }
        }
        self.closed = kept;
        failed?;
        if self.closed.len() <= CLOSED_SEGMENTS {
            return Ok(());
        }
        let sparse =
            self.closed.iter().position(|one| one.hashes.len().saturating_mul(2) < one.held);
        let Some(sparse) = sparse.and_then(|index| self.closed.remove(index)) else {
            return Ok(());
        };
        self.fold(&sparse, is_needed).inspect_err(|_| self.closed.push_front(sparse))
    }

    /// Moves what is needed of a segment to the newest one.
    fn fold(
        &mut self,
        sparse: &Closed,
        is_needed: &dyn Fn(B256) -> bool,
    ) -> Result<(), JournalError> {
        let (held, _) = read(&path_of(&self.folder, sparse.number))?;
        let needed: Vec<(B256, &RollupTransaction)> = held
            .iter()
            .map(|transaction| (transaction.hash(), transaction))
            .filter(|(hash, _)| is_needed(*hash))
            .collect();
        self.append(&needed)?;
        self.delete(sparse.number)
    }

    /// Takes back what was set aside ([`Trial`]), for a start that shall try it again: it is in the journal when this returns.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: some of it may be in the journal and set aside as well, and stays aside.
    pub fn offer_again(&mut self) -> Result<Vec<RollupTransaction>, JournalError> {
        let aside = super::trial::set_aside(&self.folder)?;
        let listed: Vec<_> = aside.iter().map(|(hash, transaction)| (*hash, transaction)).collect();
        self.append(&listed)?;
        super::trial::forget_aside(&self.folder)?;
        Ok(aside.into_iter().map(|(_, transaction)| transaction).collect())
    }

    fn create(&mut self) -> Result<Segment, JournalError> {
        let number = self.next_number;
        let path = path_of(&self.folder, number);
        // Whatever becomes of this one: a file that was created and then failed must not be in the way of the next.
        self.next_number = number.saturating_add(1);
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(at(&path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))?;
        Ok(Segment { number, file, bytes: 0, hashes: Vec::new() })
    }

    fn close(&mut self, segment: Segment) {
        let Segment { number, hashes, .. } = segment;
        self.closed.push_back(Closed { number, held: hashes.len(), hashes });
    }

    fn delete(&self, number: u64) -> Result<(), JournalError> {
        let path = path_of(&self.folder, number);
        fs::remove_file(&path).map_err(at(&path))
    }
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError { path: path.clone(), source }
}

/// The records of a segment.
fn read(path: &Path) -> Result<(Vec<RollupTransaction>, Vec<B256>), JournalError> {
    let bytes = fs::read(path).map_err(at(path))?;
    let length = bytes.len();
    let records = records::read(&bytes.into());
    for (from, to) in records.gaps {
        if to == length {
            warn!(file = %path.display(), from, to, "the journal's segment ends in bytes that are no record");
        } else {
            warn!(file = %path.display(), from, to, "an accepted transaction is damaged on disk, and lost");
        }
    }
    Ok(records.found.into_iter().map(|record| (record.transaction, record.hash)).unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RollupId;
    use crate::storage::records::HEADER_BYTES;

    fn transaction(n: u32, size: usize) -> RollupTransaction {
        let mut raw = vec![7; size];
        raw[..4].copy_from_slice(&n.to_be_bytes());
        RollupTransaction { rollup: RollupId::new(4242), raw: raw.into() }
    }

    fn append(journal: &mut Journal, transactions: &[RollupTransaction]) {
        let listed: Vec<_> = transactions.iter().map(|t| (t.hash(), t)).collect();
        journal.append(&listed).unwrap();
    }

    fn segments(folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn gives_back_what_was_appended_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..5).map(|n| transaction(n, 50)).collect();
        let (mut journal, held) = Journal::open(folder.path()).unwrap();
        assert!(held.is_empty());
        append(&mut journal, &all[..2]);
        append(&mut journal, &all[2..3]);
        drop(journal);
        let (mut journal, held) = Journal::open(folder.path()).unwrap();
        assert_eq!(held, all[..3]);
        append(&mut journal, &all[3..]);
        drop(journal);
        assert_eq!(Journal::open(folder.path()).unwrap().1, all);
    }

    #[test]
    fn a_cut_anywhere_loses_only_what_it_cuts() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..3).map(|n| transaction(n, 20)).collect();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        append(&mut journal, &all);
        drop(journal);
        let path = segments(folder.path()).remove(0);
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let (_, held) = Journal::open(folder.path()).unwrap();
            assert_eq!(held, all[..length / (HEADER_BYTES + 20)], "cut at {length}");
        }
    }

    #[test]
    fn what_follows_a_damaged_record_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..4).map(|n| transaction(n, 20)).collect();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        append(&mut journal, &all);
        drop(journal);
        let path = segments(folder.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 20] ^= 0x80;
        fs::write(&path, &bytes).unwrap();
        let (_, held) = Journal::open(folder.path()).unwrap();
        assert_eq!(held, [all[0].clone(), all[2].clone(), all[3].clone()]);
    }

    #[test]
    fn a_segment_that_could_not_be_created_is_not_in_the_way_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        // As one that was created, and whose folder could then not be flushed.
        fs::write(path_of(folder.path(), 0), []).unwrap();
        let one = transaction(1, 20);
        assert!(journal.append(&[(one.hash(), &one)]).is_err());
        append(&mut journal, std::slice::from_ref(&one));
        drop(journal);
        assert_eq!(Journal::open(folder.path()).unwrap().1, [one]);
    }

    #[test]
    fn a_segment_that_cannot_be_deleted_costs_no_other_one_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.segment_bytes = 1;
        let all: Vec<_> = (0..4).map(|n| transaction(n, 20)).collect();
        for one in &all {
            append(&mut journal, std::slice::from_ref(one));
        }
        // The second one's name is a folder's, which is not deleted like a file.
        let stuck = path_of(folder.path(), 1);
        fs::remove_file(&stuck).unwrap();
        fs::create_dir(&stuck).unwrap();
        let needed = all[3].hash();
        journal.prune(&|hash| hash == needed).unwrap_err();
        let left = [stuck.clone(), path_of(folder.path(), 3)];
        assert_eq!(segments(folder.path()), left, "the others went, what is needed stays");
        journal.prune(&|_| false).unwrap_err();
        assert_eq!(segments(folder.path()), std::slice::from_ref(&stuck), "all are known still");
        fs::remove_dir(&stuck).unwrap();
        fs::write(&stuck, []).unwrap();
        journal.prune(&|_| false).unwrap();
        assert!(segments(folder.path()).is_empty());
    }

    #[test]
    fn a_segment_that_cannot_be_folded_stays_with_what_is_needed_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.segment_bytes = 1;
        for n in 0..=u32::try_from(CLOSED_SEGMENTS).unwrap() {
            append(&mut journal, &[1, 2, 3].map(|i| transaction(n * 10 + i, 20)));
        }
        let needed = |hash| (0..=8).any(|n| transaction(n * 10 + 1, 20).hash() == hash);
        let first = path_of(folder.path(), 0);
        let bytes = fs::read(&first).unwrap();
        fs::remove_file(&first).unwrap();
        fs::create_dir(&first).unwrap();
        journal.prune(&needed).unwrap_err();
        fs::remove_dir(&first).unwrap();
        fs::write(&first, bytes).unwrap();
        journal.prune(&needed).unwrap();
        assert!(!first.exists(), "it was folded after all");
        let (_, held) = Journal::open(folder.path()).unwrap();
        assert!(held.contains(&transaction(1, 20)));
    }

    #[test]
    fn a_segment_with_the_last_number_of_all_is_an_error_and_not_an_endless_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path_of(folder.path(), u64::MAX), []).unwrap();
        let error = Journal::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("18446744073709551615.log"), "{error}");
    }

    #[test]
    fn a_damaged_record_is_not_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..2).map(|n| transaction(n, 20)).collect();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        append(&mut journal, &all);
        drop(journal);
        let path = segments(folder.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, all[..1]);
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
    fn deletes_what_nobody_needs_and_carries_on_what_somebody_does() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.segment_bytes = 4_096;
        let stuck = transaction(0, 100);
        append(&mut journal, std::slice::from_ref(&stuck));
        let needed = |hash| hash == stuck.hash();
        for n in 1..=12 {
            append(&mut journal, &[transaction(n, 5_000)]);
            assert!(journal.wants_pruning());
            journal.prune(&needed).unwrap();
        }
        assert_eq!(segments(folder.path()).len(), 1, "only the first one is needed");
        drop(journal);

        // Segments that are all needed for one small transaction each: the oldest are folded into the newest.
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.segment_bytes = 4_096;
        let small: Vec<_> = (100..120).map(|n| transaction(n, 100)).collect();
        for (n, one) in small.iter().enumerate() {
            let mut group = vec![one.clone()];
            group.extend((0..20).map(|i| transaction(n as u32 * 100 + i, 50)));
            group.push(transaction(n as u32, 5_000));
            append(&mut journal, &group);
            journal
                .prune(&|hash| hash == stuck.hash() || small.iter().any(|s| s.hash() == hash))
                .unwrap();
        }
        assert!(segments(folder.path()).len() <= CLOSED_SEGMENTS + 2);
        drop(journal);
        let (_, held) = Journal::open(folder.path()).unwrap();
        for one in small.iter().chain([&stuck]) {
            assert!(held.contains(one));
        }
    }
}
