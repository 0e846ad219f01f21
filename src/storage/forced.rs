//! The forced queue as L1 shows it: the entries with their bytes, and who was let in by escape.
//!
//! Follows L1 through reorgs; which decided block consumed an entry is told by the headers. Nothing is ever dropped here
//! otherwise: each entry has cost its sender a burned fee.

use super::pruning::STEP_ENTRIES;
use super::{Store, StoreError, decode, encode};
use crate::domain::{BlockHeader, ForcedEntry, ForcedEscape, Height, Place, RollupId};
use alloy::primitives::B256;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::ops::Range;

pub(super) const FORCED: TableDefinition<u64, &[u8]> = TableDefinition::new("forced");
pub(super) const FORCED_HASHES: TableDefinition<(u64, &[u8; 32], u64), ()> =
    TableDefinition::new("forced_hashes");
const ESCAPES: TableDefinition<u64, &[u8]> = TableDefinition::new("escapes");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(FORCED)?;
    transaction.open_table(FORCED_HASHES)?;
    transaction.open_table(ESCAPES)?;
    Ok(())
}

/// The entries with these numbers, as far as L1 was followed.
pub(super) fn read(
    transaction: &WriteTransaction,
    entries: Range<u64>,
) -> Result<Vec<ForcedEntry>, StoreError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let table = transaction.open_table(FORCED)?;
    table.range(entries)?.map(|found| decode("forced", found?.1.value())).collect()
}

/// Drops entries before `passed`, which blocks that were dropped have consumed, and the escapes that end with them. Whether
/// there may be more.
pub(super) fn drop_before(transaction: &WriteTransaction, passed: u64) -> Result<bool, StoreError> {
    let mut forced = transaction.open_table(FORCED)?;
    let mut hashes = transaction.open_table(FORCED_HASHES)?;
    let mut escapes = transaction.open_table(ESCAPES)?;
    for _ in 0..STEP_ENTRIES {
        let first = forced
            .first()?
            .map(|(index, entry)| (index.value(), decode::<ForcedEntry>("forced", entry.value())));
        let Some((index, entry)) = first.filter(|(index, _)| *index < passed) else {
            break;
        };
        let transaction = entry?.transaction;
        forced.remove(index)?;
        hashes.remove((transaction.rollup.get(), &transaction.hash().0, index))?;
    }
    let oldest = forced.first()?.map_or(passed, |(index, _)| index.value()).min(passed);
    for _ in 0..STEP_ENTRIES {
        let first = escapes.first()?.map(|(through, _)| through.value());
        let Some(through) = first.filter(|through| *through <= oldest) else { break };
        escapes.remove(through)?;
    }
    Ok(oldest < passed)
}

impl Store {
    /// Takes what L1 says of the forced queue now: everything from L1 block `first` on is forgotten, then `entries` and
    /// `escapes` are kept. One transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn force_from<'a>(
        &self,
        first: u64,
        entries: impl IntoIterator<Item = &'a ForcedEntry>,
        escapes: &[ForcedEscape],
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut forced = transaction.open_table(FORCED)?;
            let mut hashes = transaction.open_table(FORCED_HASHES)?;
            while let Some((index, entry)) = last_entry(&forced)?
                && entry.block.number >= first
            {
                forced.remove(index)?;
                let hash = entry.transaction.hash();
                hashes.remove((entry.transaction.rollup.get(), &hash.0, index))?;
            }
            for entry in entries {
                forced.insert(entry.index, encode(entry).as_slice())?;
                let hash = entry.transaction.hash();
                hashes.insert((entry.transaction.rollup.get(), &hash.0, entry.index), ())?;
            }
            let mut kept = transaction.open_table(ESCAPES)?;
            while let Some(escape) = last_escape(&kept)?
                && escape.block.number >= first
            {
                kept.remove(escape.through)?;
            }
            for escape in escapes {
                kept.insert(escape.through, encode(escape).as_slice())?;
            }
            Ok(())
        })
    }

    /// The entries with these numbers, as far as L1 was followed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn forced(&self, entries: Range<u64>) -> Result<Vec<ForcedEntry>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.view(|transaction| {
            let table = transaction.open_table(FORCED)?;
            table.range(entries)?.map(|found| decode("forced", found?.1.value())).collect()
        })
    }

    /// The first entry that holds a transaction of this rollup. What does not decode is none: it has no effect (R44).
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn forced_as(
        &self,
        rollup: RollupId,
        hash: B256,
    ) -> Result<Option<ForcedEntry>, StoreError> {
        self.view(|transaction| {
            let hashes = transaction.open_table(FORCED_HASHES)?;
            let (rollup, hash) = (rollup.get(), &hash.0);
            let first = hashes.range((rollup, hash, 0)..=(rollup, hash, u64::MAX))?.next();
            let Some(index) = first.transpose()?.map(|(key, _)| key.value().2) else {
                return Ok(None);
            };
            let entry = transaction.open_table(FORCED)?.get(index)?;
            let entry: Option<ForcedEntry> =
                entry.map(|entry| decode("forced", entry.value())).transpose()?;
            Ok(entry.filter(|entry| self.meaning_of(&entry.transaction).is_ok()))
        })
    }

    /// The escape that consumed an entry, if one was the first to.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn escape_of(&self, entry: u64) -> Result<Option<ForcedEscape>, StoreError> {
        self.view(|transaction| {
            let table = transaction.open_table(ESCAPES)?;
            let Some(found) = table.range(entry.saturating_add(1)..)?.next() else {
                return Ok(None);
            };
            let escape: ForcedEscape = decode("escapes", found?.1.value())?;
            Ok((escape.first <= entry).then_some(escape))
        })
    }

    /// The decided block that consumed an entry; `None` if none has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn forced_height(&self, entry: u64) -> Result<Option<Height>, StoreError> {
        let Some((tip, _)) = self.decided_tip()? else { return Ok(None) };
        // What is consumed only grows with the height: the first block that has passed the entry is found by halving.
        let (mut low, mut high) = (0, tip.get().saturating_add(1));
        while low < high {
            let middle = low.midpoint(high);
            match self.header(Height::new(middle))? {
                Some((_, header)) if header.forced_through > entry => high = middle,
                _ => low = middle.saturating_add(1),
            }
        }
        Ok((high <= tip.get()).then(|| Height::new(high)))
    }

    /// Where a transaction was decided first: in a block, or in the forced queue that a block consumed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn place_of(&self, rollup: RollupId, hash: B256) -> Result<Option<Place>, StoreError> {
        let own = self.locate(rollup, hash)?;
        let own = own.map(|(height, index)| Place::Block { height, index });
        let Some(entry) = self.forced_as(rollup, hash)? else { return Ok(own) };
        let height = self.forced_height(entry.index)?;
        let forced = height.map(|height| Place::Forced { height, entry: entry.index });
        Ok(match (own, forced) {
            (Some(own), Some(forced)) if own.height() < forced.height() => Some(own),
            (own, forced) => forced.or(own),
        })
    }

    /// The entries that a decided block consumed, as far as L1 was followed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn forced_in(&self, header: &BlockHeader) -> Result<Vec<ForcedEntry>, StoreError> {
        let parent = header.height.get().checked_sub(1).map(Height::new);
        let before = match parent.map(|parent| self.header(parent)).transpose()?.flatten() {
            Some((_, parent)) => parent.forced_through,
            None => header.forced_through,
        };
        self.forced(before..header.forced_through)
    }
}

fn last_entry(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<(u64, ForcedEntry)>, StoreError> {
    let Some((index, entry)) = table.last()? else { return Ok(None) };
    Ok(Some((index.value(), decode("forced", entry.value())?)))
}

fn last_escape(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<ForcedEscape>, StoreError> {
    table.last()?.map(|(_, escape)| decode("escapes", escape.value())).transpose()
}

#[cfg(test)]
mod tests {
    use crate::domain::{
        ForcedEntry, ForcedEscape, Height, L1Block, Place, RollupId, RollupTransaction, Seconds,
    };
    use crate::testing::{ROLLUP, Surroundings, forced, key, params, transaction};
    use alloy::primitives::{Address, B256, Bytes};

    /// Entry `index` with a transaction of `key(1)`.
    fn entry(index: u64, nonce: u64) -> ForcedEntry {
        forced(index, transaction(&key(1), nonce).transaction)
    }

    fn escape(first: u64, through: u64, block: u64) -> ForcedEscape {
        let block = L1Block { number: block, hash: B256::ZERO, timestamp: Seconds::new(1) };
        ForcedEscape { first, through, block, tx_hash: B256::repeat_byte(4) }
    }

    fn by() -> Address {
        Address::repeat_byte(1)
    }

    #[test]
    fn a_reorg_takes_entries_and_escapes_back() {
        let around = Surroundings::new(params());
        let store = &around.store;
        let entries = [entry(0, 0), entry(1, 1), entry(2, 2)];
        store.force_from(0, &entries, &[escape(0, 1, 101), escape(1, 2, 102)]).unwrap();
        assert_eq!(store.forced(0..9).unwrap(), entries);
        let of = |entry| store.escape_of(entry).unwrap().map(|escape| escape.first);
        assert_eq!((of(0), of(1), of(2)), (Some(0), Some(1), None));

        // Block 102 is another one now, which has entry 1 in it.
        let other = ForcedEntry { block: entries[2].block, ..entry(1, 3) };
        store.force_from(101, [&other], &[]).unwrap();
        assert_eq!(store.forced(0..9).unwrap(), [entries[0].clone(), other]);
        assert_eq!((of(0), of(1)), (None, None));
        assert_eq!(store.forced_as(ROLLUP, entries[1].transaction.hash()).unwrap(), None);
    }

    #[test]
    fn batches_and_escapes_share_the_queue() {
        let around = Surroundings::new(params());
        around.store.force_from(0, [], &[escape(3, 5, 100)]).unwrap();
        let of = |entry| around.store.escape_of(entry).unwrap().is_some();
        assert_eq!((of(2), of(3), of(4), of(5)), (false, true, true, false));
    }

    #[test]
    fn an_entry_is_found_in_the_block_that_consumed_it() {
        let around = Surroundings::new(params());
        let store = &around.store;
        store.force_from(0, &[entry(0, 0), entry(1, 1), entry(2, 2)], &[]).unwrap();
        let height = |entry| store.forced_height(entry).unwrap().map(Height::get);
        assert_eq!(height(0), None);
        around.decide(&[]);
        around.decide_consuming(2, by(), &[]);
        around.decide(&[]);
        assert_eq!((height(0), height(1), height(2)), (Some(2), Some(2), None));
        around.decide_consuming(1, by(), &[]);
        assert_eq!((height(1), height(2)), (Some(2), Some(4)));
        let (_, header) = store.header(Height::new(2)).unwrap().unwrap();
        assert_eq!(store.forced_in(&header).unwrap(), [entry(0, 0), entry(1, 1)]);
        let (_, header) = store.header(Height::new(3)).unwrap().unwrap();
        assert_eq!(store.forced_in(&header).unwrap(), []);
    }

    #[test]
    fn the_first_place_counts_wherever_it_is() {
        let around = Surroundings::new(params());
        let store = &around.store;
        let own = [transaction(&key(1), 0), transaction(&key(1), 1)];
        store.force_from(0, &[entry(0, 1), entry(1, 0), entry(2, 2)], &[]).unwrap();
        around.decide(&own[..1]);
        // Its first entry stands before its own transaction, its second one after block 1's.
        around.decide_consuming(2, by(), &own[1..]);
        let place = |nonce| store.place_of(ROLLUP, transaction(&key(1), nonce).hash).unwrap();
        assert_eq!(place(0), Some(Place::Block { height: Height::new(1), index: 0 }));
        assert_eq!(place(1), Some(Place::Forced { height: Height::new(2), entry: 0 }));
        assert_eq!(place(2), None);
    }

    #[test]
    fn what_does_not_decode_for_its_rollup_is_no_transaction() {
        let around = Surroundings::new(params());
        let store = &around.store;
        let misplaced =
            RollupTransaction { rollup: RollupId::new(7), ..transaction(&key(1), 0).transaction };
        let rubbish = RollupTransaction { rollup: ROLLUP, raw: Bytes::from_static(&[9]) };
        let entries = [forced(0, misplaced.clone()), forced(1, rubbish.clone())];
        store.force_from(0, &entries, &[]).unwrap();
        around.decide_consuming(2, by(), &[]);
        assert_eq!(store.place_of(RollupId::new(7), misplaced.hash()).unwrap(), None);
        assert_eq!(store.place_of(ROLLUP, rubbish.hash()).unwrap(), None);
        assert_eq!(store.next_nonce(ROLLUP, transaction(&key(1), 0).sender).unwrap(), None);
    }

    #[test]
    fn forced_transactions_move_nonces_before_the_blocks_own() {
        let around = Surroundings::new(params());
        let (store, sender) = (&around.store, transaction(&key(1), 0).sender);
        store.force_from(0, &[entry(0, 0)], &[]).unwrap();
        around.decide_consuming(1, by(), &[transaction(&key(1), 1)]);
        assert_eq!(store.next_nonce(ROLLUP, sender).unwrap(), Some(2));

        // L1 shows the next entry only after the block that consumes it: it counts with the block after.
        around.decide_consuming(1, by(), &[]);
        assert_eq!(store.next_nonce(ROLLUP, sender).unwrap(), Some(2));
        store.force_from(101, &[entry(1, 2)], &[]).unwrap();
        around.decide(&[transaction(&key(1), 3)]);
        assert_eq!(store.next_nonce(ROLLUP, sender).unwrap(), Some(4));
    }
}
