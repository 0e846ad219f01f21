//! The records of the journal's files: `length u32 ‖ rollup u64 ‖ keccak256(raw) ‖ raw`, big-endian.
//!
//! A record is known by its hash. Where one is damaged, those behind it are found again: behind it if its length is whole,
//! else at the next place from which a record can be read. What a transaction says may look like a record too; the worst that
//! comes of it is a transaction that its sender has signed and that anybody could have submitted.

use crate::domain::{RollupId, RollupTransaction};
use alloy::primitives::{B256, Bytes, keccak256};

/// Length, rollup and hash in front of the raw bytes.
pub(super) const HEADER_BYTES: usize = 4 + 8 + 32;

/// No record is taken for longer while others are looked for; no transaction that an agent takes is.
const LONGEST: usize = 1 << 20;

/// Bytes hashed in one file to find records again. A file that wants more is damaged beyond what is worth a start's time.
const SEARCHED_BYTES: usize = 256 << 20;

/// A record, and the hash that it was written with.
pub(super) struct Record {
    pub(super) hash: B256,
    pub(super) transaction: RollupTransaction,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Records {
    pub(super) found: Vec<Record>,
    /// Where bytes begin and end that are no record. At the end of the file that is what was being written when the process
    /// ended; before it, damage.
    pub(super) gaps: Vec<(usize, usize)>,
}

/// Appends a record.
pub(super) fn write(to: &mut Vec<u8>, hash: B256, transaction: &RollupTransaction) {
    to.extend(u32::try_from(transaction.raw.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(transaction.rollup.get().to_be_bytes());
    to.extend(hash.0);
    to.extend(&transaction.raw);
}

/// Reads all records that can be found.
pub(super) fn read(bytes: &Bytes) -> Records {
    let mut records = Records::default();
    let mut budget = SEARCHED_BYTES;
    let mut start: usize = 0;
    while start < bytes.len() {
        if let Some(record) = whole(bytes, start) {
            start = end_of(start, &record);
            records.found.push(record);
            continue;
        }
        let next = behind(bytes, start)
            .filter(|next| *next == bytes.len() || whole(bytes, *next).is_some())
            .or_else(|| search(bytes, start.saturating_add(1), &mut budget))
            .unwrap_or(bytes.len());
        records.gaps.push((start, next));
        start = next;
    }
    records
}

/// The first place from `from` on at which a record begins.
fn search(bytes: &Bytes, from: usize, budget: &mut usize) -> Option<usize> {
    for start in from..bytes.len().saturating_sub(HEADER_BYTES) {
        let Some((_, _, raw)) = parts(bytes, start).filter(|(.., raw)| raw.len() <= LONGEST) else {
            continue;
        };
        *budget = budget.checked_sub(raw.len().saturating_add(HEADER_BYTES))?;
        if whole(bytes, start).is_some() {
            return Some(start);
        }
    }
    None
}

/// The record at `start`, if it is what it was when it was written.
fn whole(bytes: &Bytes, start: usize) -> Option<Record> {
    let (rollup, hash, raw) = parts(bytes, start)?;
    (keccak256(&raw) == hash)
        .then_some(Record { hash, transaction: RollupTransaction { rollup, raw } })
}

/// Where the record at `start` ends if its length is right.
fn behind(bytes: &Bytes, start: usize) -> Option<usize> {
    let (.., raw) = parts(bytes, start)?;
    start.checked_add(HEADER_BYTES)?.checked_add(raw.len())
}

fn end_of(start: usize, record: &Record) -> usize {
    start.saturating_add(HEADER_BYTES).saturating_add(record.transaction.raw.len())
}

fn parts(bytes: &Bytes, start: usize) -> Option<(RollupId, B256, Bytes)> {
    let (length, rest) = bytes.get(start..)?.split_first_chunk::<4>()?;
    let (rollup, rest) = rest.split_first_chunk::<8>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let raw = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((RollupId::new(u64::from_be_bytes(*rollup)), hash.into(), bytes.slice_ref(raw)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{HEADER_BYTES, read, write};
    use crate::domain::{RollupId, RollupTransaction};
    use alloy::primitives::Bytes;
    use proptest::prelude::{any, prop, proptest};

    fn transaction(n: u8, size: usize) -> RollupTransaction {
        RollupTransaction { rollup: RollupId::new(4242), raw: vec![n; size].into() }
    }

    fn file(transactions: &[RollupTransaction]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for transaction in transactions {
            write(&mut bytes, transaction.hash(), transaction);
        }
        bytes
    }

    fn found(bytes: Vec<u8>) -> Vec<RollupTransaction> {
        read(&bytes.into()).found.into_iter().map(|record| record.transaction).collect()
    }

    #[test]
    fn a_damaged_byte_anywhere_costs_only_the_record_that_it_is_in() {
        let all = [transaction(1, 40), transaction(2, 300), transaction(3, 7)];
        let bytes = file(&all);
        let ends = [HEADER_BYTES + 40, 2 * HEADER_BYTES + 340, 3 * HEADER_BYTES + 347];
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            let hit = ends.iter().position(|end| at < *end).unwrap();
            let mut expected = all.to_vec();
            // The rollup is not hashed: an entry that names another one is refused when it is taken in.
            let start = if hit == 0 { 0 } else { ends[hit - 1] };
            if (start + 4..start + 12).contains(&at) {
                assert_eq!(found(damaged).len(), 3, "byte {at}");
                continue;
            }
            expected.remove(hit);
            assert_eq!(found(damaged), expected, "byte {at}");
        }
    }

    #[test]
    fn what_is_torn_at_the_end_is_told_apart_from_damage_before_it() {
        let bytes = file(&[transaction(1, 40), transaction(2, 40)]);
        let torn = read(&bytes[..bytes.len() - 1].to_vec().into());
        assert_eq!(torn.gaps, [(HEADER_BYTES + 40, bytes.len() - 1)]);
        let mut damaged = bytes;
        damaged[HEADER_BYTES] ^= 1;
        assert_eq!(read(&damaged.into()).gaps, [(0, HEADER_BYTES + 40)]);
    }

    #[test]
    fn a_file_made_to_be_searched_is_given_up_in_bounded_time() {
        // Each place reads as a record of a mebibyte almost: hashing them all would take hours.
        let bytes: Vec<u8> = [0, 15, 0, 15].repeat(1 << 20);
        let read = read(&bytes.into());
        assert!(read.found.is_empty() && read.gaps.len() == 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_between_records_hide_none_of_them(
            noise in prop::collection::vec(any::<u8>(), 0..120), cut in any::<prop::sample::Index>(),
        ) {
            let all = [transaction(1, 50), transaction(2, 90), transaction(3, 60)];
            let mut bytes = file(&all[..1]);
            bytes.extend(&noise[..cut.index(noise.len() + 1)]);
            bytes.extend(file(&all[1..]));
            assert_eq!(found(bytes), all);
        }

        #[test]
        fn arbitrary_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let length = bytes.len();
            let read = read(&Bytes::from(bytes));
            assert!(read.gaps.last().is_none_or(|(_, end)| *end <= length));
        }
    }
}
