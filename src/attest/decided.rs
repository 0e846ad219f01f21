//! The decided blocks that a header names: their hashes, and the payload that it commits to. Blocks on the store.

use crate::batch::build_header;
use crate::batch::payload::{self, Version};
use crate::domain::{BatchHeader, Block, Height};
use crate::storage::{Store, StoreError};
use alloy::primitives::{B256, Bytes};

/// The most blocks of a header that somebody else made: reading them costs time.
pub(super) const MAX_READ_BLOCKS: u64 = 4_096;

/// Hashes of the decided blocks at the heights of a batch, if all of them are here and not too many.
pub(super) fn hashes_of(
    store: &Store,
    header: &BatchHeader,
) -> Result<Option<Vec<B256>>, StoreError> {
    let (first, last) = (header.first_height.get(), header.last_height.get());
    if last.saturating_sub(first) >= MAX_READ_BLOCKS {
        return Ok(None);
    }
    let mut hashes = Vec::new();
    for height in first..=last {
        let Some((hash, _)) = store.header(Height::new(height))? else { return Ok(None) };
        hashes.push(hash);
    }
    Ok(Some(hashes))
}

/// Decided blocks of a range, as far as there are any.
pub(super) fn read_blocks(
    store: &Store,
    first: Height,
    last: Height,
) -> Result<Vec<Block>, StoreError> {
    let mut blocks = Vec::new();
    let mut height = first;
    while height <= last {
        let Some(decided) = store.block(height)? else { break };
        blocks.push(decided.block);
        height = height.next();
    }
    Ok(blocks)
}

/// The same, of blocks that are all here and have at most `max_bytes` together, or are one; `None` if not. Nothing is read
/// beyond that.
pub(super) fn read_blocks_within(
    store: &Store,
    first: Height,
    last: Height,
    max_bytes: usize,
) -> Result<Option<Vec<Block>>, StoreError> {
    let mut blocks = Vec::new();
    let mut bytes = 0_usize;
    let mut height = first;
    while height <= last {
        let Some(decided) = store.block(height)? else { return Ok(None) };
        bytes = bytes.saturating_add(payload::block_bytes(&decided.block));
        blocks.push(decided.block);
        if bytes > max_bytes && (blocks.len() > 1 || first < last) {
            return Ok(None);
        }
        height = height.next();
    }
    Ok(Some(blocks))
}

/// Hash of the payload of these blocks in the version that `header` does not have, if there is another.
pub(super) fn other_payload(header: &BatchHeader, blocks: &[Block]) -> Option<B256> {
    [Version::Zstd, Version::Raw].into_iter().find_map(|version| {
        let payload = payload::encode(blocks, version).ok()?;
        let built = build_header(blocks, header.epoch, &payload)?;
        (built.payload_hash != header.payload_hash).then_some(built.payload_hash)
    })
}

/// The payload that a header commits to, if the header is that of these blocks: raw or packed (R24).
pub(super) fn payload_of(header: &BatchHeader, blocks: &[Block]) -> Option<Bytes> {
    [Version::Zstd, Version::Raw].into_iter().find_map(|version| {
        let payload = payload::encode(blocks, version).ok()?;
        let built = build_header(blocks, header.epoch, &payload)?;
        // Whether it is regular is not the blocks' to say.
        let built = BatchHeader { regular_since: header.regular_since, ..built };
        (built == *header).then_some(payload)
    })
}

/// The payload of a batch of decided blocks.
///
/// # Errors
///
/// [`StoreError`] when the store fails; a header that does not fit the decided blocks has no payload.
pub(crate) fn payload_for(
    store: &Store,
    header: &BatchHeader,
) -> Result<Option<Bytes>, StoreError> {
    let blocks = read_blocks(store, header.first_height, header.last_height)?;
    Ok(payload_of(header, &blocks))
}
