//! The decided chain, and where its transactions are.

use super::{Store, StoreError, decode, encode};
use crate::domain::{
    Authorization, Block, BlockHeader, Certificate, DecidedBlock, Epoch, Height, RollupId,
    RollupTransaction, SignedTransaction,
};
use alloy::primitives::{Address, B256};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;

pub(super) const HEADERS: TableDefinition<u64, &[u8]> = TableDefinition::new("headers");
pub(super) const BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("bodies");
pub(super) const CERTIFICATES: TableDefinition<u64, &[u8]> = TableDefinition::new("certificates");
pub(super) const HEIGHTS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("heights");
pub(super) const TRANSACTIONS: TableDefinition<(u64, &[u8; 32]), (u64, u32)> =
    TableDefinition::new("transactions");
pub(super) const NONCES: TableDefinition<(u64, &[u8; 20]), u64> = TableDefinition::new("nonces");
pub(super) const NONCES_BEFORE: TableDefinition<u64, &[u8]> = TableDefinition::new("nonces_before");

/// A rollup, a sender in it, and its next nonce before a block moved it.
pub(super) type NonceBefore = (u64, [u8; 20], Option<u64>);

/// A rollup, an account in it, and its next nonce.
pub type NextNonceOf = (RollupId, Address, u64);

/// What the index keeps of a transaction in a decided block. The caller has decoded it; the store does not do so again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedTransaction {
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// The nonce in it.
    pub nonce: u64,
    /// Whose nonces it spends beside its sender's.
    pub authorizations: Vec<Authorization>,
}

impl From<&SignedTransaction> for IncludedTransaction {
    fn from(signed: &SignedTransaction) -> Self {
        Self {
            hash: signed.hash,
            sender: signed.sender,
            nonce: signed.nonce,
            authorizations: signed.authorizations.clone(),
        }
    }
}

pub(super) fn decode_header(bytes: &[u8]) -> Result<(B256, BlockHeader), StoreError> {
    decode::<([u8; 32], BlockHeader)>("headers", bytes)
        .map(|(hash, header)| (B256::new(hash), header))
}

/// The next nonces of accounts in a block that is being appended, and what they were before it.
struct Counting<'t> {
    nonces: Table<'t, (u64, &'static [u8; 20]), u64>,
    moved: BTreeMap<(u64, [u8; 20]), Option<u64>>,
}

impl Counting<'_> {
    /// Moves the sender's next nonce past a transaction's if that is the next one, and then, in their order, those of its
    /// authorizations. An account that nothing was decided of begins at 0.
    fn count(
        &mut self,
        rollup: RollupId,
        included: &IncludedTransaction,
    ) -> Result<(), StoreError> {
        if self.spend(rollup, included.sender, included.nonce)? {
            for Authorization { authority, nonce } in &included.authorizations {
                self.spend(rollup, *authority, *nonce)?;
            }
        }
        Ok(())
    }

    /// Moves an account's next nonce past `nonce`, if that is it.
    fn spend(
        &mut self,
        rollup: RollupId,
        account: Address,
        nonce: u64,
    ) -> Result<bool, StoreError> {
        let key = (rollup.get(), &account.0.0);
        let next = self.nonces.get(key)?.map(|next| next.value());
        if next.unwrap_or(0) != nonce {
            return Ok(false);
        }
        self.nonces.insert(key, nonce.saturating_add(1))?;
        self.moved.entry((rollup.get(), account.0.0)).or_insert(next);
        Ok(true)
    }
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(HEADERS)?;
    transaction.open_table(BODIES)?;
    transaction.open_table(CERTIFICATES)?;
    transaction.open_table(HEIGHTS)?;
    transaction.open_table(TRANSACTIONS)?;
    transaction.open_table(NONCES)?;
    transaction.open_table(NONCES_BEFORE)?;
    Ok(())
}

/// The last decided height.
pub(super) fn last_height(transaction: &ReadTransaction) -> Result<Option<Height>, StoreError> {
    let headers = transaction.open_table(HEADERS)?;
    let last = headers.last()?;
    Ok(last.map(|(height, _)| Height::new(height.value())))
}

/// How far the block at a height has consumed the forced queue; 0 if its header is not kept.
pub(super) fn forced_through(
    transaction: &WriteTransaction,
    height: u64,
) -> Result<u64, StoreError> {
    let headers = transaction.open_table(HEADERS)?;
    let Some(record) = headers.get(height)? else { return Ok(0) };
    Ok(decode_header(record.value())?.1.forced_through)
}

/// Whether none of these transactions can be ordered any more.
pub(super) fn are_passed(
    store: &Store,
    transaction: &ReadTransaction,
    transactions: &[RollupTransaction],
) -> Result<bool, StoreError> {
    let nonces = transaction.open_table(NONCES)?;
    for one in transactions {
        let Ok(signed) = store.meaning_of(one) else { continue };
        let next = nonces.get((one.rollup.get(), &signed.sender.0.0))?;
        if next.is_none_or(|next| next.value() <= signed.nonce) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the blocks above `last` out of the chain, the newest first, and hands each to `undone`. Refuses if the chain does
/// not hold the block `hash` there.
pub(super) fn undo_above(
    transaction: &WriteTransaction,
    last: Height,
    hash: B256,
    mut undone: impl FnMut(&DecidedBlock) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut headers = transaction.open_table(HEADERS)?;
    let actual = match headers.get(last.get())? {
        Some(record) => Some(decode_header(record.value())?.0),
        None => None,
    };
    if actual != Some(hash) {
        return Err(StoreError::NotItsParent { height: last.get(), expected: hash, actual });
    }
    let mut bodies = transaction.open_table(BODIES)?;
    let mut certificates = transaction.open_table(CERTIFICATES)?;
    let mut heights = transaction.open_table(HEIGHTS)?;
    let mut places = transaction.open_table(TRANSACTIONS)?;
    let mut nonces = transaction.open_table(NONCES)?;
    let mut before = transaction.open_table(NONCES_BEFORE)?;
    let tip = headers.last()?.map_or(0, |(tip, _)| tip.value());
    for height in (last.next().get()..=tip).rev() {
        let header = headers.remove(height)?.map(|record| decode_header(record.value()));
        let Some((hash, header)) = header.transpose()? else { continue };
        let body = bodies.remove(height)?.map(|body| decode("bodies", body.value())).transpose()?;
        let certificate = certificates
            .remove(height)?
            .map(|certificate| decode("certificates", certificate.value()))
            .transpose()?;
        heights.remove(&hash.0)?;
        let block = Block { header, transactions: body.unwrap_or_default() };
        for (index, entry) in (0u32..).zip(&block.transactions) {
            let place = (entry.rollup.get(), &entry.hash().0);
            if places.get(place)?.is_some_and(|first| first.value() == (height, index)) {
                places.remove(place)?;
            }
        }
        let moved: Option<Vec<NonceBefore>> = before
            .remove(height)?
            .map(|moved| decode("nonces_before", moved.value()))
            .transpose()?;
        for (rollup, sender, next) in moved.unwrap_or_default() {
            match next {
                Some(next) => nonces.insert((rollup, &sender), next)?,
                None => nonces.remove((rollup, &sender))?,
            };
        }
        undone(&DecidedBlock { block, certificate: certificate.unwrap_or_default() })?;
    }
    super::views::undo_above(transaction, last)
}

/// Drops what undoing blocks before `first` would need: they are settled for good.
pub(super) fn settle_before(
    transaction: &WriteTransaction,
    first: Height,
) -> Result<(), StoreError> {
    transaction.open_table(NONCES_BEFORE)?.retain_in(..first.get(), |_, _| false)?;
    super::views::nonces_from(transaction, first)
}

impl Store {
    /// Writes block 0, which has no certificate: L1 fixed it. Does nothing when the store has a chain already; whether
    /// that starts with the same block is for the caller to compare.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn write_genesis(&self, header: &BlockHeader) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut headers = transaction.open_table(HEADERS)?;
            if headers.first()?.is_some() {
                return Ok(());
            }
            let (height, hash) = (header.height.get(), header.hash());
            headers.insert(height, encode(&(hash.0, header)).as_slice())?;
            transaction
                .open_table(BODIES)?
                .insert(height, encode(&Vec::<RollupTransaction>::new()).as_slice())?;
            transaction.open_table(HEIGHTS)?.insert(&hash.0, height)?;
            Ok(())
        })
    }

    /// Appends a decided block, its certificate and its index in one durable transaction, and forgets the candidates of
    /// its height.
    ///
    /// An account's next nonce begins at 0 and moves by the one that was expected: a gap is a no-op to its rollup (R17) and
    /// moves nothing. So do those of the accounts that a type 4 transaction takes along. Forced entries count before the
    /// block's own transactions; those that L1 has not shown here yet are counted with the next block, which cannot start
    /// without them. Of a transaction that stands in several places the first one is indexed.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotNext`], [`StoreError::NotChild`], [`StoreError::OtherGeneration`] or
    /// [`StoreError::IndexMismatch`] when the block does not fit; [`StoreError::Database`].
    pub fn append_decided(
        &self,
        decided: &DecidedBlock,
        included: &[IncludedTransaction],
    ) -> Result<(), StoreError> {
        let Block { header, transactions: body } = &decided.block;
        if included.len() != body.len() {
            return Err(StoreError::IndexMismatch { expected: body.len(), actual: included.len() });
        }
        let (height, hash) = (header.height.get(), header.hash());
        self.write(|transaction| {
            let running = super::generations::running(transaction)?;
            if header.generation != running {
                let (expected, actual) = (running.get(), header.generation.get());
                return Err(StoreError::OtherGeneration { expected, actual });
            }
            let mut headers = transaction.open_table(HEADERS)?;
            let tip = headers.last()?.map(|(tip, _)| tip.value());
            let expected = tip.map_or(0, |tip| tip.saturating_add(1));
            if height != expected {
                return Err(StoreError::NotNext { expected, actual: height });
            }
            let mut heights = transaction.open_table(HEIGHTS)?;
            let parent = heights.get(&header.parent_hash.0)?.map(|found| found.value());
            if parent != tip {
                return Err(StoreError::NotChild { height });
            }

            // Of a chain that begins later than at block 0, entries that its first block had passed count nowhere.
            let mut counted = None;
            for before in [height.checked_sub(2), height.checked_sub(1)].into_iter().flatten() {
                if counted.is_none()
                    && let Some(record) = headers.get(before)?
                {
                    counted = Some(decode_header(record.value())?.1.forced_through);
                }
            }
            let counted = counted.unwrap_or(0);
            headers.insert(height, encode(&(hash.0, header)).as_slice())?;
            heights.insert(&hash.0, height)?;
            transaction.open_table(BODIES)?.insert(height, encode(body).as_slice())?;
            transaction
                .open_table(CERTIFICATES)?
                .insert(height, encode(&decided.certificate).as_slice())?;

            let mut places = transaction.open_table(TRANSACTIONS)?;
            let nonces = transaction.open_table(NONCES)?;
            let mut counting = Counting { nonces, moved: BTreeMap::new() };
            for entry in super::forced::read(transaction, counted..header.forced_through)? {
                let Ok(signed) = self.meaning_of(&entry.transaction) else { continue };
                let rollup = entry.transaction.rollup;
                if places.get((rollup.get(), &signed.hash.0))?.is_none() {
                    counting.count(rollup, &IncludedTransaction::from(&signed))?;
                }
            }
            for ((index, entry), included) in (0u32..).zip(body).zip(included) {
                let place = (entry.rollup.get(), &included.hash.0);
                if places.get(place)?.is_some() {
                    continue;
                }
                places.insert(place, (height, index))?;
                counting.count(entry.rollup, included)?;
            }
            if !counting.moved.is_empty() {
                let moved: Vec<NonceBefore> = counting
                    .moved
                    .into_iter()
                    .map(|((rollup, by), next)| (rollup, by, next))
                    .collect();
                transaction.open_table(NONCES_BEFORE)?.insert(height, encode(&moved).as_slice())?;
            }
            if decided.certificate.signatures.is_empty() {
                super::pruning::is_uncertified(transaction, height)?;
            }
            super::views::keep(transaction, height, included)?;
            super::undecided::forget_through(transaction, header.height)
        })
    }

    /// The last decided block: its height and hash. `None` before block 0.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn decided_tip(&self) -> Result<Option<(Height, B256)>, StoreError> {
        self.view(|transaction| {
            let headers = transaction.open_table(HEADERS)?;
            let last = headers.last()?;
            last.map(|(height, record)| {
                decode_header(record.value()).map(|(hash, _)| (Height::new(height.value()), hash))
            })
            .transpose()
        })
    }

    /// The header at a height, and its hash.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn header(&self, height: Height) -> Result<Option<(B256, BlockHeader)>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(HEADERS)?.get(height.get())?;
            found.map(|record| decode_header(record.value())).transpose()
        })
    }

    /// The block at a height with its certificate; block 0 has an empty one. None if it was dropped, whether or not its
    /// header is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn block(&self, height: Height) -> Result<Option<DecidedBlock>, StoreError> {
        self.view(|transaction| {
            if height.get() < super::pruning::kept_from(transaction)? {
                return Ok(None);
            }
            let Some(header) = transaction.open_table(HEADERS)?.get(height.get())? else {
                return Ok(None);
            };
            let (_, header) = decode_header(header.value())?;
            let transactions = match transaction.open_table(BODIES)?.get(height.get())? {
                Some(body) => decode("bodies", body.value())?,
                None => Vec::new(),
            };
            let certificate = match transaction.open_table(CERTIFICATES)?.get(height.get())? {
                Some(certificate) => decode("certificates", certificate.value())?,
                None => Certificate::default(),
            };
            Ok(Some(DecidedBlock { block: Block { header, transactions }, certificate }))
        })
    }

    /// Whether this key signed a decided block of `first` or a later epoch, as far as the certificates tell that are kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn has_certified(&self, signer: Address, first: Epoch) -> Result<bool, StoreError> {
        self.view(|transaction| {
            let certificates = transaction.open_table(CERTIFICATES)?;
            for entry in transaction.open_table(HEADERS)?.iter()?.rev() {
                let (height, header) = entry?;
                if decode_header(header.value())?.1.epoch < first {
                    break;
                }
                let Some(found) = certificates.get(height.value())? else { continue };
                let certificate: Certificate = decode("certificates", found.value())?;
                if certificate.signatures.iter().any(|(by, _)| by.0 == signer.0.0) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// The height of a decided block, by its hash.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn height_of(&self, hash: B256) -> Result<Option<Height>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(HEIGHTS)?.get(&hash.0)?;
            Ok(found.map(|height| Height::new(height.value())))
        })
    }

    /// The accounts whose next nonces a block moved, with what these are now. `None` when that is not known any more: the
    /// block is settled for good, or none of its transactions counted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn moved_in(&self, height: Height) -> Result<Option<Vec<NextNonceOf>>, StoreError> {
        self.view(|transaction| {
            let before = transaction.open_table(NONCES_BEFORE)?;
            let Some(moved) = before.get(height.get())? else { return Ok(None) };
            let nonces = transaction.open_table(NONCES)?;
            let mut now = Vec::new();
            for (rollup, account, _) in decode::<Vec<NonceBefore>>("nonces_before", moved.value())?
            {
                let next = nonces.get((rollup, &account))?.map_or(0, |next| next.value());
                now.push((RollupId::new(rollup), Address::new(account), next));
            }
            Ok(Some(now))
        })
    }

    /// Where a transaction was decided first: its block and its index in it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn locate(
        &self,
        rollup: RollupId,
        hash: B256,
    ) -> Result<Option<(Height, u32)>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(TRANSACTIONS)?.get((rollup.get(), &hash.0))?;
            Ok(found.map(|place| {
                let (height, index) = place.value();
                (Height::new(height), index)
            }))
        })
    }

    /// The nonce that a sender's next transaction should carry, by what was decided. `None`: nothing of it was, and it is 0.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn next_nonce(&self, rollup: RollupId, sender: Address) -> Result<Option<u64>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(NONCES)?.get((rollup.get(), &sender.0.0))?;
            Ok(found.map(|next| next.value()))
        })
    }
}

#[cfg(test)]
mod tests;
