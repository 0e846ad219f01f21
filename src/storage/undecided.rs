//! Blocks that were proposed and are not decided yet: a vote for a block leaves only after the block is here, so that a
//! restarted agent can still commit what it voted for (R16, R18).

use super::{Store, StoreError, decode, encode};
use crate::domain::{Block, Generation, Height, Round};
use alloy::primitives::B256;
use redb::{TableDefinition, WriteTransaction};

const UNDECIDED: TableDefinition<(u64, &[u8; 32]), &[u8]> = TableDefinition::new("undecided");
const OWN_PROPOSALS: TableDefinition<(u32, u64, u32), &[u8; 32]> =
    TableDefinition::new("own_proposals");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(UNDECIDED)?;
    transaction.open_table(OWN_PROPOSALS)?;
    Ok(())
}

/// Drops the candidates up to a decided height. What this agent proposed at it stays on record until the next height.
pub(super) fn forget_through(
    transaction: &WriteTransaction,
    height: Height,
) -> Result<(), StoreError> {
    let end = height.get().saturating_add(1);
    let mut candidates = transaction.open_table(UNDECIDED)?;
    candidates.retain_in(..(end, &[0; 32]), |_, _| false)?;
    let mut own = transaction.open_table(OWN_PROPOSALS)?;
    own.retain(|(_, at, _), _| at >= height.get())?;
    Ok(())
}

/// Drops all candidates, and what this agent proposed: they are of a generation that is over.
pub(super) fn forget_all(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(UNDECIDED)?.retain(|_, _| false)?;
    transaction.open_table(OWN_PROPOSALS)?.retain(|_, _| false)?;
    Ok(())
}

impl Store {
    /// Keeps a valid candidate. It rides: a vote for it has a record of its own, which comes to the disk no earlier.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_undecided(&self, block: &Block) -> Result<(), StoreError> {
        let hash = block.header.hash();
        self.ride(|transaction| {
            let key = (block.header.height.get(), &hash.0);
            transaction.open_table(UNDECIDED)?.insert(key, encode(block).as_slice())?;
            Ok(())
        })
    }

    /// Keeps a block of this agent's own together with the round it is proposed in (R18). It goes to disk with the next
    /// write, which has to be before anyone hears of it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_own_proposal(&self, round: Round, block: &Block) -> Result<(), StoreError> {
        let header = &block.header;
        let hash = header.hash();
        self.ride(|transaction| {
            let key = (header.height.get(), &hash.0);
            transaction.open_table(UNDECIDED)?.insert(key, encode(block).as_slice())?;
            let place = (header.generation.get(), header.height.get(), round.get());
            transaction.open_table(OWN_PROPOSALS)?.insert(place, &hash.0)?;
            Ok(())
        })
    }

    /// A candidate that was kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn undecided(&self, height: Height, hash: B256) -> Result<Option<Block>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(UNDECIDED)?.get((height.get(), &hash.0))?;
            found.map(|block| decode("undecided", block.value())).transpose()
        })
    }

    /// All candidates kept for a height.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn undecided_at(&self, height: Height) -> Result<Vec<(B256, Block)>, StoreError> {
        self.view(|transaction| {
            let table = transaction.open_table(UNDECIDED)?;
            let range = (height.get(), &[0; 32])..=(height.get(), &[0xff; 32]);
            let mut blocks = Vec::new();
            for entry in table.range(range)? {
                let (key, block) = entry?;
                blocks.push((B256::new(*key.value().1), decode("undecided", block.value())?));
            }
            Ok(blocks)
        })
    }

    /// The blocks that this agent proposed at a height, by round.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn own_proposals(
        &self,
        generation: Generation,
        height: Height,
    ) -> Result<Vec<(Round, B256)>, StoreError> {
        self.view(|transaction| {
            let table = transaction.open_table(OWN_PROPOSALS)?;
            let (generation, height) = (generation.get(), height.get());
            let range = (generation, height, 0)..=(generation, height, u32::MAX);
            let mut proposals = Vec::new();
            for entry in table.range(range)? {
                let (place, hash) = entry?;
                proposals.push((Round::new(place.value().2), B256::new(*hash.value())));
            }
            Ok(proposals)
        })
    }
}
