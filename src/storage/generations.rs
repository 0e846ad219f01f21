//! Restarts (R33): how each generation began, and the blocks that it undid.
//!
//! A switch is one transaction: the chain ends at the last settled block, what stood above it moves to `undone`, and the
//! generation runs. A process that is killed finds either all of it or nothing, and in the second case does it again.
//! Undone blocks stay: they hold transactions that have to be ordered again, and signatures that may be evidence.

use super::pruning::STEP_ENTRIES;
use super::{Store, StoreError, batches, blocks, decode, encode, undecided};
use crate::domain::{DecidedBlock, Generation, GenerationStart, Height};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

const GENERATIONS: TableDefinition<u32, &[u8]> = TableDefinition::new("generations");
const UNDONE: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("undone");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(GENERATIONS)?;
    transaction.open_table(UNDONE)?;
    Ok(())
}

/// The generation of the next block.
pub(super) fn running(transaction: &WriteTransaction) -> Result<Generation, StoreError> {
    let generations = transaction.open_table(GENERATIONS)?;
    let last = generations.last()?.map(|(generation, _)| generation.value());
    Ok(Generation::new(last.unwrap_or_default()))
}

impl Store {
    /// The running generation and the last decided height; cheaper than reading either from its record.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn standing(&self) -> Result<(Generation, Height), StoreError> {
        self.view(|transaction| {
            let generations = transaction.open_table(GENERATIONS)?;
            let last = generations.last()?.map(|(generation, _)| generation.value());
            let height = blocks::last_height(transaction)?;
            Ok((Generation::new(last.unwrap_or_default()), height.unwrap_or_default()))
        })
    }

    /// Goes over to a generation: undoes the blocks above the last settled one, and forgets candidates and attestations
    /// that were about them. Does nothing when the generation, or a later one, runs already.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotItsParent`] when the chain does not hold the block on which the generation begins, and nothing
    /// changes; [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn begin_generation(&self, start: &GenerationStart) -> Result<(), StoreError> {
        self.write(|transaction| {
            if running(transaction)? >= start.generation {
                return Ok(());
            }
            let mut undone = transaction.open_table(UNDONE)?;
            blocks::undo_above(transaction, start.last_height, start.last_block_hash, |decided| {
                let header = &decided.block.header;
                let key = (header.generation.get(), header.height.get());
                undone.insert(key, encode(decided).as_slice())?;
                Ok(())
            })?;
            batches::forget_above(transaction, start.last_height)?;
            undecided::forget_all(transaction)?;
            transaction
                .open_table(GENERATIONS)?
                .insert(start.generation.get(), encode(start).as_slice())?;
            Ok(())
        })
    }

    /// How the running generation began; `None` while there was no restart.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn generation_start(&self) -> Result<Option<GenerationStart>, StoreError> {
        self.view(|transaction| {
            let generations = transaction.open_table(GENERATIONS)?;
            let last = generations.last()?;
            last.map(|(_, start)| decode("generations", start.value())).transpose()
        })
    }

    /// Where blocks stood that restarts undid, ascending.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn undone(&self) -> Result<Vec<(Generation, Height)>, StoreError> {
        self.view(|transaction| {
            let mut places = Vec::new();
            for entry in transaction.open_table(UNDONE)?.iter()? {
                let (generation, height) = entry?.0.value();
                places.push((Generation::new(generation), Height::new(height)));
            }
            Ok(places)
        })
    }

    /// Drops undone blocks that stood below the first height whose block is kept, and of whose transactions none can be ordered
    /// any more: the next nonce of its sender has passed it, or it means nothing. How many went. Who writes waits only while
    /// they go.
    ///
    /// What passed it may be undone in its turn; then that one is kept here, and was promised as well.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn prune_undone(&self) -> Result<usize, StoreError> {
        let (generation, _) = self.standing()?;
        let over = self.view(|transaction| {
            let kept_from = super::pruning::kept_from(transaction)?;
            let mut over = Vec::new();
            for entry in transaction.open_table(UNDONE)?.iter()? {
                let (key, block) = entry?;
                if key.value().1 >= kept_from || over.len() >= STEP_ENTRIES {
                    continue;
                }
                let decided: DecidedBlock = decode("undone", block.value())?;
                if blocks::are_passed(self, transaction, &decided.block.transactions)? {
                    over.push(key.value());
                }
            }
            Ok(over)
        })?;
        if over.is_empty() {
            return Ok(0);
        }
        self.ride(|transaction| {
            // Nonces go back with a restart alone.
            if running(transaction)? != generation {
                return Ok(0);
            }
            let mut undone = transaction.open_table(UNDONE)?;
            for key in &over {
                undone.remove(key)?;
            }
            Ok(over.len())
        })
    }

    /// A block that a restart undid.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn undone_block(
        &self,
        generation: Generation,
        height: Height,
    ) -> Result<Option<DecidedBlock>, StoreError> {
        self.view(|transaction| {
            let key = (generation.get(), height.get());
            let found = transaction.open_table(UNDONE)?.get(key)?;
            found.map(|block| decode("undone", block.value())).transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::Signature;
    use crate::domain::{
        Block, BlockHeader, Certificate, DecidedBlock, Epoch, Generation, GenerationStart, Height,
        L1Block, Round, Seconds, SignedTransaction,
    };
    use crate::storage::{Store, StoreError};
    use crate::testing::{ROLLUP, Surroundings, batch_header, header, key, params, transaction};
    use alloy::primitives::{Address, B256};

    fn start(number: u32, last: u64, store: &Store) -> GenerationStart {
        let last_height = Height::new(last);
        let last_block_hash =
            store.header(last_height).unwrap().map_or(B256::ZERO, |(hash, _)| hash);
        let finished_in =
            L1Block { number: 50, hash: B256::repeat_byte(5), timestamp: Seconds::new(60) };
        let (generation, epoch) = (Generation::new(number), Epoch::new(7));
        GenerationStart { generation, epoch, last_height, last_block_hash, finished_in }
    }

    fn tip(store: &Store) -> u64 {
        store.decided_tip().unwrap().unwrap().0.get()
    }

    fn place(store: &Store, one: &SignedTransaction) -> Option<(u64, u32)> {
        store.locate(ROLLUP, one.hash).unwrap().map(|(height, index)| (height.get(), index))
    }

    #[test]
    fn what_did_not_settle_leaves_the_chain_and_is_kept_aside() {
        let around = Surroundings::new(params());
        let (store, sender) = (&around.store, key(1));
        let txs: Vec<_> = (0..4).map(|nonce| transaction(&sender, nonce)).collect();
        around.decide(&txs[..1]);
        around.decide(&txs[1..3]);
        // The second time a transaction is a no-op; it was ordered first by a block that settled.
        around.decide(&[txs[0].clone(), txs[3].clone()]);
        let undone = store.block(Height::new(3)).unwrap().unwrap();
        assert_eq!(store.next_nonce(ROLLUP, sender.address()).unwrap(), Some(4));

        store.begin_generation(&start(1, 1, store)).unwrap();
        assert_eq!(tip(store), 1);
        assert_eq!(store.block(Height::new(2)).unwrap(), None);
        assert_eq!(store.height_of(undone.block.header.hash()).unwrap(), None);
        assert_eq!(place(store, &txs[0]), Some((1, 0)));
        assert_eq!(place(store, &txs[1]), None);
        assert_eq!(store.next_nonce(ROLLUP, sender.address()).unwrap(), Some(1));
        let first = Generation::new(0);
        assert_eq!(store.undone().unwrap(), [(first, Height::new(2)), (first, Height::new(3))]);
        assert_eq!(store.undone_block(first, Height::new(3)).unwrap(), Some(undone));
    }

    #[test]
    fn a_sender_that_nothing_settled_of_is_unknown_again() {
        let around = Surroundings::new(params());
        around.decide(&[transaction(&key(1), 0)]);
        around.decide(&[transaction(&key(1), 1)]);
        around.store.begin_generation(&start(1, 0, &around.store)).unwrap();
        assert_eq!(around.store.next_nonce(ROLLUP, key(1).address()).unwrap(), None);
    }

    #[test]
    fn the_chain_goes_on_in_the_new_generation_alone() {
        let around = Surroundings::new(params());
        let store = &around.store;
        for _ in 0..3 {
            around.decide(&[]);
        }
        let began = start(1, 1, store);
        store.begin_generation(&began).unwrap();
        assert_eq!(store.generation_start().unwrap(), Some(began.clone()));

        let block = |generation: u32| DecidedBlock {
            block: Block {
                header: BlockHeader {
                    generation: Generation::new(generation),
                    ..header(2, began.last_block_hash)
                },
                transactions: Vec::new(),
            },
            certificate: Certificate::default(),
        };
        let refused = store.append_decided(&block(0), &[]);
        assert!(matches!(refused, Err(StoreError::OtherGeneration { expected: 1, actual: 0 })));
        store.append_decided(&block(1), &[]).unwrap();
        // Asked again, as after a crash, it undoes nothing of the generation that runs.
        store.begin_generation(&began).unwrap();
        assert_eq!(store.standing().unwrap(), (Generation::new(1), Height::new(2)));
        assert_eq!(store.undone().unwrap().len(), 2);
    }

    #[test]
    fn a_generation_that_begins_elsewhere_changes_nothing() {
        let around = Surroundings::new(params());
        let store = &around.store;
        around.decide(&[]);
        let foreign = GenerationStart { last_block_hash: B256::ZERO, ..start(1, 1, store) };
        let beyond = start(1, 9, store);
        for elsewhere in [foreign, beyond] {
            let refused = store.begin_generation(&elsewhere);
            assert!(matches!(refused, Err(StoreError::NotItsParent { .. })), "{refused:?}");
        }
        assert_eq!((tip(store), store.generation_start().unwrap()), (1, None));
        assert_eq!(store.standing().unwrap(), (Generation::new(0), Height::new(1)));
    }

    #[test]
    fn candidates_and_attestations_of_the_old_generation_are_dropped() {
        let around = Surroundings::new(params());
        let store = &around.store;
        let height = around.decide(&[]);
        around.decide(&[]);
        let candidate = Block { header: header(3, B256::ZERO), transactions: Vec::new() };
        store.keep_own_proposal(Round::new(0), &candidate).unwrap();
        let batch = batch_header(2);
        let signature = Signature::from_compact([1; 64]);
        let by = Address::repeat_byte(1);
        store.keep_attestations([(&batch, B256::ZERO, by, signature)]).unwrap();

        store.begin_generation(&start(1, 0, store)).unwrap();
        assert!(store.attested_at(height).unwrap().is_empty());
        assert!(store.undecided_at(Height::new(3)).unwrap().is_empty());
        assert!(store.own_proposals(Generation::new(0), Height::new(3)).unwrap().is_empty());
    }

    #[test]
    fn a_store_that_is_opened_again_is_where_it_was() {
        let around = Surroundings::new(params());
        for _ in 0..3 {
            around.decide(&[]);
        }
        let began = start(1, 2, &around.store);
        around.store.begin_generation(&began).unwrap();
        let Surroundings { folder, store, .. } = around;
        drop(store);
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        assert_eq!((tip(&store), store.generation_start().unwrap()), (2, Some(began)));
        assert_eq!(store.undone().unwrap(), [(Generation::new(0), Height::new(3))]);
    }
}
