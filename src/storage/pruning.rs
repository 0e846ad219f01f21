//! What is not kept for good: blocks that settled long ago with all that was kept because of them, the settled batches below
//! them, and the guard's records of them.
//!
//! What goes is dropped height by height, in small steps, so that nobody who writes waits for long; a step is one transaction.
//! What stays, and why:
//!
//! - `nonces`: without them nobody knows which transaction of an account comes next. They grow with accounts, not with time.
//! - The header of the last block that goes, and of block 0: the next block names the one, the deployment is told by the other.
//! - Undone blocks with a transaction that can still be ordered: it was promised.
//! - Of the guard's records the height below which there are none, in their place: nothing is signed there any more. It
//!   changes in the transaction that drops them, so that no position is ever free that was not before.

use super::{Store, StoreError, batches, blocks, decode, forced, signed, views};
use crate::domain::{BatchNumber, Height, Millis};
use redb::{ReadTransaction, ReadableTable as _, TableDefinition, WriteTransaction};

const KEPT_FROM: TableDefinition<(), u64> = TableDefinition::new("kept_from");
/// First and last height of each row of blocks that came without certificates.
const UNCERTIFIED: TableDefinition<u64, u64> = TableDefinition::new("uncertified");

/// Blocks and transactions that one step drops, at most; the last block of a step may have more.
const STEP_BLOCKS: u64 = 64;
const STEP_TRANSACTIONS: usize = 512;
/// Entries of the forced queue, settled batches and undone blocks that one step drops.
pub(super) const STEP_ENTRIES: usize = 64;

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Blocks below this height may, if they are settled for good and nobody will ask for them.
    pub blocks: Height,
    /// And of those the ones that were made before this time.
    pub made_before: Millis,
    /// Settled batches before this one may, if all their blocks have gone.
    pub batches: BatchNumber,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(KEPT_FROM)?;
    transaction.open_table(UNCERTIFIED)?;
    Ok(())
}

/// Notes that a block came without a certificate: it was read from L1.
pub(super) fn is_uncertified(
    transaction: &WriteTransaction,
    height: u64,
) -> Result<(), StoreError> {
    let mut uncertified = transaction.open_table(UNCERTIFIED)?;
    let last = uncertified.last()?.map(|(first, last)| (first.value(), last.value()));
    let first = match last {
        Some((first, last)) if last.saturating_add(1) >= height => first.min(height),
        _ => height,
    };
    uncertified.insert(first, height)?;
    Ok(())
}

/// Forgets that blocks below a height had no certificates: they are not kept any more.
fn forget_uncertified(transaction: &WriteTransaction, first_kept: u64) -> Result<(), StoreError> {
    transaction.open_table(UNCERTIFIED)?.retain(|_, last| last >= first_kept)?;
    Ok(())
}

/// The first height from which on blocks are kept whole; 0 if none was dropped.
pub(super) fn kept_from(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    Ok(transaction.open_table(KEPT_FROM)?.get(())?.map_or(0, |height| height.value()))
}

/// The same, for who writes.
pub(super) fn kept_from_now(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    Ok(transaction.open_table(KEPT_FROM)?.get(())?.map_or(0, |height| height.value()))
}

/// Notes that blocks are kept from here on.
pub(super) fn keep_from(transaction: &WriteTransaction, first: u64) -> Result<(), StoreError> {
    transaction.open_table(KEPT_FROM)?.insert((), first)?;
    Ok(())
}

impl Store {
    /// The first height from which on blocks are kept with their bodies and certificates. 0 if nothing was dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn kept_from(&self) -> Result<Height, StoreError> {
        self.view(|transaction| Ok(Height::new(kept_from(transaction)?)))
    }

    /// The first block that is kept with its certificate: it can be shown to peers, and those after it but for the ones that came
    /// from L1.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn certified_from(&self) -> Result<Height, StoreError> {
        self.view(|transaction| {
            let kept = kept_from(transaction)?;
            let uncertified = transaction.open_table(UNCERTIFIED)?;
            // Nobody has a certificate of block 0.
            let first = kept.max(1);
            let from = match uncertified.range(..=first)?.next_back().transpose()? {
                Some((_, last)) if last.value() >= first => last.value().saturating_add(1),
                _ => kept,
            };
            Ok(Height::new(from))
        })
    }

    /// Drops a part of what lies beyond the horizon. Whether there may be more of it. Rides: what is lost in a crash is
    /// dropped again.
    ///
    /// The tip stays, whatever the horizon says.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`]; nothing was dropped.
    pub fn prune(&self, horizon: Horizon) -> Result<bool, StoreError> {
        // Most of the time there is nothing, and nobody waits for a writer that has nothing to write.
        if !self.view(|transaction| is_beyond(transaction, horizon))? {
            return Ok(false);
        }
        self.ride(|transaction| {
            let first = kept_from_now(transaction)?;
            let (next, more) = drop_blocks(transaction, first, horizon)?;
            if next > first {
                keep_from(transaction, next)?;
                forget_uncertified(transaction, next)?;
            }
            let last = next.saturating_sub(1);
            let passed = blocks::forced_through(transaction, last)?;
            let mut is_full = forced::drop_before(transaction, passed)?;
            is_full |= batches::drop_before(transaction, horizon.batches, Height::new(next))?;
            if next > first {
                is_full |= signed::drop_through(transaction, Height::new(last))?;
            }
            Ok(more || is_full)
        })
    }
}

/// Whether a step would drop something: a block or a batch. All else that goes follows one of them.
fn is_beyond(transaction: &ReadTransaction, horizon: Horizon) -> Result<bool, StoreError> {
    let first = kept_from(transaction)?;
    let headers = transaction.open_table(blocks::HEADERS)?;
    let tip = headers.last()?.map_or(0, |(tip, _)| tip.value());
    if first < horizon.blocks.get().min(tip)
        && let Some(record) = headers.get(first)?
        && blocks::decode_header(record.value())?.1.timestamp < horizon.made_before
    {
        return Ok(true);
    }
    batches::is_before(transaction, horizon.batches, Height::new(first))
}

/// Drops blocks from `first` on; returns the first one that stays, and whether it could go too.
fn drop_blocks(
    transaction: &WriteTransaction,
    first: u64,
    horizon: Horizon,
) -> Result<(u64, bool), StoreError> {
    let mut headers = transaction.open_table(blocks::HEADERS)?;
    let mut bodies = transaction.open_table(blocks::BODIES)?;
    let mut certificates = transaction.open_table(blocks::CERTIFICATES)?;
    let mut heights = transaction.open_table(blocks::HEIGHTS)?;
    let mut places = transaction.open_table(blocks::TRANSACTIONS)?;
    let mut senders = transaction.open_table(views::SENDERS)?;
    let tip = headers.last()?.map_or(0, |(tip, _)| tip.value());
    let end = horizon.blocks.get().min(tip);
    let mut dropped = 0_usize;
    let mut height = first;
    while height < end {
        if height.saturating_sub(first) >= STEP_BLOCKS || dropped >= STEP_TRANSACTIONS {
            return Ok((height, true));
        }
        let is_old = match headers.get(height)? {
            Some(record) => {
                blocks::decode_header(record.value())?.1.timestamp < horizon.made_before
            }
            None => true,
        };
        if !is_old {
            break;
        }
        let body = bodies.remove(height)?.map(|body| decode("bodies", body.value())).transpose()?;
        let body: Vec<crate::domain::RollupTransaction> = body.unwrap_or_default();
        for (index, one) in (0_u32..).zip(&body) {
            let place = (one.rollup.get(), &one.hash().0);
            if places.get(place)?.is_some_and(|first| first.value() == (height, index)) {
                places.remove(place)?;
            }
        }
        certificates.remove(height)?;
        senders.remove(height)?;
        // Its own header stays as long as it is the parent of the first one that is kept.
        if let Some(parent) = height.checked_sub(1).filter(|parent| *parent > 0) {
            let header = headers.remove(parent)?;
            let header = header.map(|record| blocks::decode_header(record.value())).transpose()?;
            if let Some((hash, _)) = header {
                heights.remove(&hash.0)?;
            }
        }
        dropped = dropped.saturating_add(body.len());
        height = height.saturating_add(1);
    }
    Ok((height, false))
}

#[cfg(test)]
mod tests;
