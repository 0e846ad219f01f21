//! What readers of decided blocks ask for again and again, kept so that asking stays cheap: who signed each transaction
//! (recovering that costs more than all the rest of an answer), and what nonces were a few blocks ago.

use super::{Store, StoreError, blocks, decode, encode};
use crate::domain::{BlockHeader, ForcedEntry, Height, RollupId, RollupTransaction};
use crate::storage::IncludedTransaction;
use alloy::primitives::{Address, B256};
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

pub(super) const SENDERS: TableDefinition<u64, &[u8]> = TableDefinition::new("senders");
const NONCES_FROM: TableDefinition<(), u64> = TableDefinition::new("nonces_from");

/// Blocks back from the newest one at which a nonce is told.
const NONCE_BLOCKS: u64 = 4_096;

/// A decided block as one rollup has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupView {
    /// Its hash.
    pub hash: B256,
    /// Its header.
    pub header: BlockHeader,
    /// The rollup's transactions that have their first place in it, those that were forced first.
    pub transactions: Vec<Listed>,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As the block holds it.
    pub transaction: RollupTransaction,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
}

/// A nonce at a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceAt {
    /// The sender's next one, once the block was decided.
    Next(u64),
    /// It is not kept: nonces are, from this block on.
    From(Height),
    /// There is no such block.
    NoBlock,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(SENDERS)?;
    transaction.open_table(NONCES_FROM)?;
    Ok(())
}

/// Keeps who signed the transactions of a block.
pub(super) fn keep(
    transaction: &WriteTransaction,
    height: u64,
    included: &[IncludedTransaction],
) -> Result<(), StoreError> {
    if included.is_empty() {
        return Ok(());
    }
    let senders: Vec<[u8; 20]> = included.iter().map(|one| one.sender.0.0).collect();
    transaction.open_table(SENDERS)?.insert(height, encode(&senders).as_slice())?;
    Ok(())
}

/// Forgets those of the blocks above `last`: they are undone.
pub(super) fn undo_above(transaction: &WriteTransaction, last: Height) -> Result<(), StoreError> {
    transaction.open_table(SENDERS)?.retain_in(last.next().get().., |_, _| false)?;
    Ok(())
}

/// Notes that nonces before those of the blocks from `first` on are not kept any more.
pub(super) fn nonces_from(transaction: &WriteTransaction, first: Height) -> Result<(), StoreError> {
    let mut table = transaction.open_table(NONCES_FROM)?;
    let known = table.get(())?.map_or(0, |known| known.value());
    table.insert((), known.max(first.get().saturating_sub(1)))?;
    Ok(())
}

impl Store {
    /// The block at a height as one rollup has it. A transaction is listed at its first place only (R44), and what does not
    /// decode for its rollup is not. None if there is no such block, or none any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn rollup_view(
        &self,
        rollup: RollupId,
        height: Height,
    ) -> Result<Option<RollupView>, StoreError> {
        self.view(|transaction| {
            if height.get() < super::pruning::kept_from(transaction)? {
                return Ok(None);
            }
            let headers = transaction.open_table(blocks::HEADERS)?;
            let Some(record) = headers.get(height.get())? else { return Ok(None) };
            let (hash, header) = blocks::decode_header(record.value())?;
            let parent = match height.get().checked_sub(1).map(|parent| headers.get(parent)) {
                Some(found) => found?.map(|parent| blocks::decode_header(parent.value())),
                None => None,
            };
            let parent = parent.transpose()?.map(|(_, parent)| parent.forced_through);
            let consumed = parent.unwrap_or(header.forced_through);
            let places = transaction.open_table(blocks::TRANSACTIONS)?;
            let place = |hash: B256| -> Result<Option<(u64, u32)>, StoreError> {
                Ok(places.get((rollup.get(), &hash.0))?.map(|place| place.value()))
            };
            let queue = transaction.open_table(super::forced::FORCED_HASHES)?;
            let queue_is_empty = queue.is_empty()?;
            let entry_of = |hash: B256| -> Result<Option<u64>, StoreError> {
                if queue_is_empty {
                    return Ok(None);
                }
                let range = (rollup.get(), &hash.0, 0)..=(rollup.get(), &hash.0, u64::MAX);
                let first = queue.range(range)?.next().transpose()?;
                Ok(first.map(|(key, _)| key.value().2))
            };

            let mut transactions = Vec::new();
            if consumed < header.forced_through {
                let entries = transaction.open_table(super::forced::FORCED)?;
                for found in entries.range(consumed..header.forced_through)? {
                    let entry: ForcedEntry = decode("forced", found?.1.value())?;
                    if entry.transaction.rollup != rollup {
                        continue;
                    }
                    let Ok(signed) = self.meaning_of(&entry.transaction) else { continue };
                    let earlier = place(signed.hash)?.is_some_and(|(at, _)| at < height.get());
                    if !earlier && entry_of(signed.hash)? == Some(entry.index) {
                        let (hash, sender) = (signed.hash, signed.sender);
                        transactions.push(Listed { transaction: entry.transaction, hash, sender });
                    }
                }
            }
            let body = transaction.open_table(blocks::BODIES)?.get(height.get())?;
            let body: Vec<RollupTransaction> = match body {
                Some(body) => decode("bodies", body.value())?,
                None => Vec::new(),
            };
            let senders = transaction.open_table(SENDERS)?.get(height.get())?;
            let senders: Vec<[u8; 20]> = match senders {
                Some(senders) => decode("senders", senders.value())?,
                None => Vec::new(),
            };
            for (index, one) in (0_u32..).zip(body) {
                if one.rollup != rollup {
                    continue;
                }
                let hash = one.hash();
                if place(hash)? != Some((height.get(), index)) {
                    continue;
                }
                // All entries of one hash decode alike, and those that this block has passed stand before it.
                let forced = entry_of(hash)?.is_some_and(|entry| entry < header.forced_through);
                if forced && self.meaning_of(&one).is_ok() {
                    continue;
                }
                let known = usize::try_from(index).ok().and_then(|index| senders.get(index));
                let sender = match known {
                    Some(sender) => Address::from(*sender),
                    // A block that was stored before senders were.
                    None => match self.meaning_of(&one) {
                        Ok(signed) => signed.sender,
                        Err(_) => continue,
                    },
                };
                transactions.push(Listed { transaction: one, hash, sender });
            }
            Ok(Some(RollupView { hash, header, transactions }))
        })
    }

    /// A sender's next nonce once the block at a height was decided: kept for the newest blocks, back to the last final one
    /// and at most 4,096; and for block 0, before which nothing was.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn nonce_at(
        &self,
        rollup: RollupId,
        sender: Address,
        height: Height,
    ) -> Result<NonceAt, StoreError> {
        self.view(|transaction| {
            let tip = blocks::last_height(transaction)?.unwrap_or_default();
            if height > tip {
                return Ok(NonceAt::NoBlock);
            }
            let kept = transaction.open_table(NONCES_FROM)?.get(())?.map_or(0, |kept| kept.value());
            let first = kept.max(tip.get().saturating_sub(NONCE_BLOCKS));
            if height.get() == 0 {
                return Ok(NonceAt::Next(0));
            }
            if height.get() < first {
                return Ok(NonceAt::From(Height::new(first)));
            }
            let before = transaction.open_table(blocks::NONCES_BEFORE)?;
            for found in before.range(height.next().get()..)? {
                let moved: Vec<blocks::NonceBefore> = decode("nonces_before", found?.1.value())?;
                let of = |one: &&blocks::NonceBefore| (one.0, one.1) == (rollup.get(), sender.0.0);
                if let Some((_, _, next)) = moved.iter().find(of) {
                    return Ok(NonceAt::Next(next.unwrap_or(0)));
                }
            }
            let nonces = transaction.open_table(blocks::NONCES)?;
            let next = nonces.get((rollup.get(), &sender.0.0))?.map(|next| next.value());
            Ok(NonceAt::Next(next.unwrap_or(0)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::NonceAt;
    use crate::domain::SignedTransaction;
    use crate::domain::{Epoch, Generation, GenerationStart, Height, L1Block, RollupId, Seconds};
    use crate::testing::{ROLLUP, Surroundings, forced, key, params, raw_priced, transaction};
    use alloy::primitives::{Address, B256};

    fn listed(around: &Surroundings, rollup: RollupId, height: u64) -> Vec<(B256, Address)> {
        let view = around.store.rollup_view(rollup, Height::new(height)).unwrap().unwrap();
        view.transactions.iter().map(|one| (one.hash, one.sender)).collect()
    }

    fn of(transactions: &[SignedTransaction]) -> Vec<(B256, Address)> {
        transactions.iter().map(|one| (one.hash, one.sender)).collect()
    }

    #[test]
    fn a_rollup_sees_its_own_transactions_at_their_first_place_with_their_senders() {
        let around = Surroundings::new(params());
        let own: Vec<_> = (0..3).map(|nonce| transaction(&key(1), nonce)).collect();
        let other = RollupId::new(7);
        let foreign = SignedTransaction::decode(raw_priced(&key(2), 0, other, 5), 1 << 16).unwrap();
        around.decide(&[own[0].clone(), foreign.clone(), own[1].clone()]);
        around.decide(&[own[1].clone(), own[2].clone()]);
        assert_eq!(listed(&around, ROLLUP, 1), of(&own[..2]));
        assert_eq!(listed(&around, other, 1), of(&[foreign]));
        assert_eq!(listed(&around, ROLLUP, 2), of(&own[2..]));
        assert_eq!(listed(&around, ROLLUP, 0), []);
        assert_eq!(around.store.rollup_view(ROLLUP, Height::new(3)).unwrap(), None);
    }

    #[test]
    fn what_was_forced_comes_first_and_nothing_comes_twice() {
        let around = Surroundings::new(params());
        let own: Vec<_> = (0..4).map(|nonce| transaction(&key(1), nonce)).collect();
        let entry = |index, nonce: usize| forced(index, own[nonce].transaction.clone());
        // 1 is forced twice, 0 stood in a block before its entry, 3 only after its own.
        let queue = [entry(0, 1), entry(1, 0), entry(2, 1), entry(3, 3)];
        around.store.force_from(0, &queue, &[]).unwrap();
        let by = Address::repeat_byte(1);
        around.decide(&own[..1]);
        around.decide_consuming(3, by, &[own[1].clone(), own[2].clone()]);
        around.decide(&own[3..]);
        around.decide_consuming(1, by, &[]);
        assert_eq!(listed(&around, ROLLUP, 1), of(&own[..1]));
        assert_eq!(listed(&around, ROLLUP, 2), of(&own[1..3]));
        assert_eq!(listed(&around, ROLLUP, 3), of(&own[3..]));
        assert_eq!(listed(&around, ROLLUP, 4), []);
        // The same as asking for each transaction's place.
        for one in &own {
            let place = around.store.place_of(ROLLUP, one.hash).unwrap().unwrap();
            let at = listed(&around, ROLLUP, place.height().get());
            assert!(at.iter().any(|(hash, _)| *hash == one.hash));
        }
    }

    #[test]
    fn a_nonce_above_the_first_one_is_told_as_0_until_0_was_there() {
        let around = Surroundings::new(params());
        let by = key(3);
        around.decide(&[transaction(&by, 5)]);
        around.decide(&[transaction(&by, 0)]);
        around.decide(&[transaction(&by, 2), transaction(&by, 1)]);
        let at = |height| around.store.nonce_at(ROLLUP, by.address(), Height::new(height)).unwrap();
        assert_eq!((0..4).map(at).collect::<Vec<_>>(), [0, 0, 1, 2].map(NonceAt::Next));
    }

    #[test]
    fn nonces_are_told_at_each_block_that_is_kept() {
        let around = Surroundings::new(params());
        let (store, sender) = (&around.store, key(1).address());
        around.decide(&[transaction(&key(1), 0), transaction(&key(1), 1)]);
        around.decide(&[transaction(&key(2), 0)]);
        around.decide(&[transaction(&key(1), 2)]);
        let at = |height| store.nonce_at(ROLLUP, sender, Height::new(height)).unwrap();
        let all = || (0..5).map(at).collect::<Vec<_>>();
        let next = NonceAt::Next;
        assert_eq!(all(), [next(0), next(2), next(2), next(3), NonceAt::NoBlock]);

        let hash = store.header(Height::new(2)).unwrap().unwrap().0;
        store
            .begin_generation(&GenerationStart {
                generation: Generation::new(1),
                epoch: Epoch::new(7),
                last_height: Height::new(2),
                last_block_hash: hash,
                finished_in: L1Block { number: 5, hash: B256::ZERO, timestamp: Seconds::new(6) },
            })
            .unwrap();
        assert_eq!(all()[..4], [next(0), next(2), next(2), NonceAt::NoBlock]);

        store
            .write(|change| crate::storage::blocks::settle_before(change, Height::new(3)))
            .unwrap();
        assert_eq!(all()[..3], [next(0), NonceAt::From(Height::new(2)), next(2)]);
    }
}
