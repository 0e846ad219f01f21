//! The batch header as a function of the blocks (R21), its epoch (R22), and the way back from L1.

use crate::batch::payload::{self, PayloadError};
use crate::batch::{usage, usage_hash};
use crate::crypto::merkle;
use crate::domain::{BatchHeader, Block, Epoch, Params, Seconds};
use alloy::primitives::{B256, keccak256};

/// Why a header does not stand for a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The payload is not the one that was signed.
    #[error("payload hashes to {actual}, the header says {expected}")]
    WrongPayload {
        /// What the header says.
        expected: B256,
        /// What the bytes hash to.
        actual: B256,
    },
    /// The payload does not decode.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The blocks are not those of the header.
    #[error("the payload's blocks give another {field}")]
    Mismatch {
        /// The first field that differs.
        field: &'static str,
    },
    /// What L1 took has no reading: nobody knows payload or header.
    #[error("the input that settled it cannot be read")]
    Unread,
}

/// The header of a batch of these blocks, attested in `epoch`, with these payload bytes, that does not say that it is
/// regular: blocks cannot. `None` without blocks.
pub fn build_header(blocks: &[Block], epoch: Epoch, payload: &[u8]) -> Option<BatchHeader> {
    let (first, last) = (&blocks.first()?.header, &blocks.last()?.header);
    let hashes: Vec<B256> = blocks.iter().map(|block| block.header.hash()).collect();
    let leaves: Vec<B256> = hashes.iter().copied().map(merkle::block_leaf).collect();
    Some(BatchHeader {
        generation: last.generation,
        epoch,
        first_height: first.height,
        last_height: last.height,
        parent_block_hash: first.parent_hash,
        blocks_root: merkle::root(&leaves),
        last_block_hash: *hashes.last()?,
        forced_through: last.forced_through,
        l1_origin_number: last.l1_origin_number,
        l1_origin_hash: last.l1_origin_hash,
        timestamp: last.timestamp.to_seconds(),
        payload_hash: keccak256(payload),
        blobs_hash: B256::ZERO,
        usage_hash: usage_hash(&usage(blocks)),
        state_root: B256::ZERO,
        regular_since: Seconds::new(0),
    })
}

/// The blocks of a batch, from its header and the payload that L1 carried. They are exactly those that were signed:
/// payload hash, block hashes and every field of the header are checked. `limit` bounds what is unpacked, in bytes.
///
/// # Errors
///
/// [`HeaderError`] names what does not fit; such a batch derives as forced entries only (R44).
pub fn open(header: &BatchHeader, payload: &[u8], limit: usize) -> Result<Vec<Block>, HeaderError> {
    let actual = keccak256(payload);
    if actual != header.payload_hash {
        return Err(HeaderError::WrongPayload { expected: header.payload_hash, actual });
    }
    let blocks = payload::decode(header, payload, limit)?;
    let built = build_header(&blocks, header.epoch, payload)
        .ok_or(PayloadError::BlockCount { count: 0 })?;
    match first_difference(&built, header) {
        None => Ok(blocks),
        Some(field) => Err(HeaderError::Mismatch { field }),
    }
}

/// The first field, in the order of the header, that the blocks determine otherwise than `header` says. Epoch, blobs, state
/// and whether the batch is regular are not theirs to determine.
fn first_difference(built: &BatchHeader, header: &BatchHeader) -> Option<&'static str> {
    [
        (built.blocks_root == header.blocks_root, "blocksRoot"),
        (built.last_block_hash == header.last_block_hash, "lastBlockHash"),
        (built.forced_through == header.forced_through, "forcedThrough"),
        (built.l1_origin_number == header.l1_origin_number, "l1OriginNumber"),
        (built.l1_origin_hash == header.l1_origin_hash, "l1OriginHash"),
        (built.timestamp == header.timestamp, "timestamp"),
        (built.usage_hash == header.usage_hash, "usageHash"),
    ]
    .into_iter()
    .find_map(|(same, field)| (!same).then_some(field))
}

/// The epoch in which a batch is attested unless somebody asks for another (R22). `last_block` is the epoch of its last
/// block; `before` that of the batch before, as settled or attested by a quorum: the larger of the two is the only one in
/// which the batch can be regular (R23); `at_head` and `at_depth` are the epochs
/// of the newest L1 block and of the one at depth.
///
/// It is as old as it may be, so that agents with different views of L1 arrive at the same, until that would be too old
/// to settle.
pub fn default_epoch(
    params: &Params,
    last_block: Epoch,
    before: Epoch,
    at_head: Epoch,
    at_depth: Epoch,
) -> Epoch {
    let oldest = last_block.max(before);
    if at_head.get() >= oldest.get().saturating_add(params.max_epoch_lag) {
        // Where L1 finalizes nothing for long, what is at depth is too old as well: the epoch before the newest is lawful always,
        // and the same for all but around its end.
        oldest.max(at_depth).max(Epoch::new(at_head.get().saturating_sub(1)))
    } else {
        oldest
    }
}

/// Whether a batch may be attested in `epoch` (R22), with the arguments of [`default_epoch`].
pub fn epoch_is_legal(
    params: &Params,
    epoch: Epoch,
    last_block: Epoch,
    before: Epoch,
    at_head: Epoch,
) -> bool {
    last_block <= epoch
        && before <= epoch
        && epoch <= at_head
        && epoch.get().saturating_add(params.max_epoch_lag) >= at_head.get()
}
