//! The payload of a batch: its blocks in bytes, as L1 carries them (R24).
//!
//! ```text
//! payload  = version ‖ content                   version 0: content as it is; 1: content in one zstd frame,
//!                                                 whose form is in frame.rs
//! content  = row of each block ‖ body of each block
//! row      = epoch ‖ proposer ‖ timestamp ‖ origin ‖ forced ‖ transactions
//!   epoch        number: minus that of the row before
//!   proposer     number: 0 that of the row before; k > 0: entry k - 1 of the list of proposers in this payload, or, if the
//!                list ends there, 20 bytes that are appended to it
//!   timestamp    number: milliseconds since the row before
//!   origin       0 that of the row before; 1 that of the batch header; 2 ‖ number minus the row before's ‖ 32-byte hash
//!   forced       number: forcedThrough minus that of the row before
//!   transactions number of own transactions
//! ```
//!
//! Numbers are LEB128; before the first row everything is zero, and there is no proposer and no origin. The first code
//! that fits is the only one allowed. Generation, heights, parent hashes and roots are left out: with the batch header
//! they follow, and the header's `lastBlockHash` proves them.

use crate::batch::body;
use crate::batch::frame::{self, FrameError};
use crate::batch::wire::{Reader, WireError, put_number};
use crate::domain::{
    BatchHeader, Block, BlockHeader, Epoch, Generation, Height, Millis, Params, tx_root,
};
use alloy::primitives::{Address, B256, Bytes};

/// What a block's header counts for in the size of a batch: the most that its row can take, with the version byte, rounded
/// up. Sizes are the same whatever blocks stand beside it (R20).
pub const HEADER_BYTES: usize = 128;

/// The most blocks that L1 takes in a batch (R26).
pub const MAX_BLOCKS: usize = 1 << 14;

/// How the content is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// As it is.
    Raw = 0,
    /// One zstd frame, made at [`ZSTD_LEVEL`].
    Zstd = 1,
}

/// The level by which all agents compress, so that they arrive at the same bytes (vectors: `test/vectors/payload.json`).
/// Readers do not judge it.
pub const ZSTD_LEVEL: i32 = 9;

/// The version of libzstd by which all agents compress, as 10,000 × major + 100 × minor + patch. What others make of the
/// same content at the same level may be other bytes, just as readable, that no other member would sign.
pub const LIBZSTD: u32 = 10_507;

/// This build compresses by another libzstd than [`LIBZSTD`]: it was linked against a system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this build compresses by libzstd {actual}, all other agents by {LIBZSTD}: none would sign its batches, nor it theirs; \
     build with the libzstd that Cargo.lock names (no ZSTD_SYS_USE_PKG_CONFIG)"
)]
pub struct OtherCompressor {
    /// Its version.
    pub actual: u32,
}

/// Refuses a build whose compressed payloads might not be those of the other agents. Readers need not ask: frames are read
/// alike by all versions.
///
/// # Errors
///
/// [`OtherCompressor`] names the version.
pub fn check_compressor() -> Result<(), OtherCompressor> {
    match zstd::zstd_safe::version_number() {
        LIBZSTD => Ok(()),
        actual => Err(OtherCompressor { actual }),
    }
}

/// Why a payload cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// There is no batch without blocks, and none with more than L1 takes.
    #[error("{count} blocks, expected 1 to {MAX_BLOCKS}")]
    BlockCount {
        /// How many there were.
        count: u64,
    },
    /// A block does not extend the one before it.
    #[error("block {height} does not extend the one before: {field}")]
    NotConsecutive {
        /// Its height.
        height: Height,
        /// What goes back, or does not link.
        field: &'static str,
    },
    /// The first byte is no version.
    #[error("payload version {version:?} is not known")]
    UnknownVersion {
        /// The byte that was there, if any.
        version: Option<u8>,
    },
    /// The content could not be compressed.
    #[error("compressing {size} bytes of content failed")]
    Pack {
        /// How many bytes there were.
        size: usize,
    },
    /// The frame is not of the one form that is taken, is damaged, or holds more than a batch may.
    #[error("the payload's zstd frame: {0}")]
    Frame(#[from] FrameError),
    /// The raw content is larger than a batch may be.
    #[error("payload holds {actual} bytes, at most {limit}")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
        /// What it holds.
        actual: usize,
    },
    /// The content is not as described above.
    #[error("payload: {0}")]
    Wire(#[from] WireError),
    /// A number grows past its type.
    #[error("block {height}: {field} overflows")]
    Overflow {
        /// The block's height.
        height: Height,
        /// What overflows.
        field: &'static str,
    },
}

/// What a block adds to the size of a batch (R20). An upper bound of what it adds to the raw payload.
pub fn block_bytes(block: &Block) -> usize {
    body::body_bytes(&block.transactions).saturating_add(HEADER_BYTES)
}

/// The most bytes that the body of a block may have, so that one block always fits a batch.
pub fn max_body_bytes(params: &Params) -> usize {
    usize::try_from(params.max_batch_bytes).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES)
}

/// Encodes the blocks of a batch in the version that L1 charges less for; what an agent proposes unless it was asked for
/// the other one.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_cheapest(blocks: &[Block]) -> Result<Bytes, PayloadError> {
    let raw = encode(blocks, Version::Raw)?;
    let packed = pack(raw.get(1..).unwrap_or_default(), Version::Zstd)?;
    let smaller = packed.len() <= raw.len() && tokens(&packed) < tokens(&raw);
    Ok(if smaller { packed } else { raw })
}

/// Encodes the blocks of a batch.
///
/// # Errors
///
/// [`PayloadError::BlockCount`]; [`PayloadError::NotConsecutive`] when a block does not extend the one before it.
pub fn encode(blocks: &[Block], version: Version) -> Result<Bytes, PayloadError> {
    let origin = match blocks {
        [.., last] if blocks.len() <= MAX_BLOCKS => origin_of(&last.header),
        _ => return Err(PayloadError::BlockCount { count: blocks.len() as u64 }),
    };
    let mut content = Vec::with_capacity(blocks.iter().map(block_bytes).sum());
    let mut rows = Rows::new(origin);
    for block in blocks {
        rows.write(&mut content, &block.header)?;
    }
    for block in blocks {
        body::write(&mut content, &block.transactions);
    }
    pack(&content, version)
}

/// Decodes the blocks of the batch that `header` describes, of which it uses generation, heights, parent and origin. It
/// does not compare the result with the rest of the header: [`crate::batch::open`] does. Unpacks no more than `limit`
/// bytes.
///
/// # Errors
///
/// [`PayloadError`] says what the bytes do wrong.
pub fn decode(
    header: &BatchHeader,
    payload: &[u8],
    limit: usize,
) -> Result<Vec<Block>, PayloadError> {
    let count = header
        .last_height
        .get()
        .checked_sub(header.first_height.get())
        .map_or(0, |more| more.saturating_add(1));
    let blocks = usize::try_from(count)
        .ok()
        .filter(|blocks| (1..=MAX_BLOCKS).contains(blocks))
        .ok_or(PayloadError::BlockCount { count })?;

    let content = unpack(payload, limit)?;
    let mut reader = Reader::new(&content);
    let mut rows = Rows::new((header.l1_origin_number, header.l1_origin_hash));
    rows.generation = header.generation;
    rows.next = header.first_height;
    let mut headers = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        headers.push(rows.read(&mut reader)?);
    }

    let mut parent_hash = header.parent_block_hash;
    let mut decoded = Vec::with_capacity(blocks);
    for mut header in headers {
        let transactions = body::read(&mut reader, header.tx_count)?;
        header.parent_hash = parent_hash;
        header.tx_root = tx_root(&transactions);
        parent_hash = header.hash();
        decoded.push(Block { header, transactions });
    }
    reader.finish()?;
    Ok(decoded)
}

fn pack(content: &[u8], version: Version) -> Result<Bytes, PayloadError> {
    let mut payload = vec![version as u8];
    match version {
        Version::Raw => payload.extend_from_slice(content),
        Version::Zstd => {
            let frame = zstd::bulk::compress(content, ZSTD_LEVEL)
                .map_err(|_| PayloadError::Pack { size: content.len() })?;
            payload.extend_from_slice(&frame);
        }
    }
    Ok(payload.into())
}

/// The content of a payload, rows and bodies, of no more than `limit` bytes.
///
/// # Errors
///
/// [`PayloadError::UnknownVersion`], [`PayloadError::TooLarge`] or [`PayloadError::Frame`].
pub fn unpack(payload: &[u8], limit: usize) -> Result<Vec<u8>, PayloadError> {
    match payload.split_first() {
        Some((0, content)) if content.len() > limit => {
            Err(PayloadError::TooLarge { limit, actual: content.len() })
        }
        Some((0, content)) => Ok(content.to_vec()),
        Some((1, frame)) => Ok(frame::unpack(frame, limit)?),
        other => Err(PayloadError::UnknownVersion { version: other.map(|(version, _)| *version) }),
    }
}

/// What L1 charges calldata by (EIP-7623): one for a zero byte, four for any other.
fn tokens(payload: &[u8]) -> usize {
    payload.iter().map(|byte| if *byte == 0 { 1 } else { 4 }).sum()
}

const fn origin_of(header: &BlockHeader) -> (u64, B256) {
    (header.l1_origin_number, header.l1_origin_hash)
}

/// The rows of a payload, one after the other: what the next is written or read relative to.
struct Rows {
    batch_origin: (u64, B256),
    generation: Generation,
    next: Height,
    parent: Option<B256>,
    epoch: Epoch,
    proposers: Vec<Address>,
    proposer: Option<Address>,
    timestamp: Millis,
    origin: Option<(u64, B256)>,
    forced_through: u64,
}

impl Rows {
    const fn new(batch_origin: (u64, B256)) -> Self {
        Self {
            batch_origin,
            generation: Generation::new(0),
            next: Height::new(0),
            parent: None,
            epoch: Epoch::new(0),
            proposers: Vec::new(),
            proposer: None,
            timestamp: Millis::new(0),
            origin: None,
            forced_through: 0,
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, header: &BlockHeader) -> Result<(), PayloadError> {
        let height = header.height;
        let wrong = |field| PayloadError::NotConsecutive { height, field };
        if let Some(parent) = self.parent {
            if header.height != self.next {
                return Err(wrong("height"));
            }
            if header.generation != self.generation {
                return Err(wrong("generation"));
            }
            if header.parent_hash != parent {
                return Err(wrong("parent hash"));
            }
        }
        let since = |new: u64, old: u64, field| new.checked_sub(old).ok_or_else(|| wrong(field));

        put_number(out, since(header.epoch.get(), self.epoch.get(), "epoch")?);
        if self.proposer == Some(header.proposer) {
            out.push(0);
        } else if let Some(place) = self.proposers.iter().position(|p| *p == header.proposer) {
            put_number(out, (place as u64).saturating_add(1));
        } else {
            put_number(out, (self.proposers.len() as u64).saturating_add(1));
            out.extend_from_slice(header.proposer.as_slice());
            self.proposers.push(header.proposer);
        }
        put_number(out, since(header.timestamp.get(), self.timestamp.get(), "timestamp")?);
        let origin = origin_of(header);
        let origin_before = self.origin.map_or(0, |(number, _)| number);
        let later = since(origin.0, origin_before, "L1 origin")?;
        if self.origin == Some(origin) {
            out.push(0);
        } else if origin == self.batch_origin {
            out.push(1);
        } else {
            out.push(2);
            put_number(out, later);
            out.extend_from_slice(origin.1.as_slice());
        }
        put_number(out, since(header.forced_through, self.forced_through, "forcedThrough")?);
        put_number(out, header.tx_count.into());

        self.parent = Some(header.hash());
        self.follow(header);
        Ok(())
    }

    /// Reads a row; parent hash and root of the transactions are still missing in the result.
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<BlockHeader, PayloadError> {
        let height = self.next;
        let sum = |old: u64, more: u64, field| {
            old.checked_add(more).ok_or(PayloadError::Overflow { height, field })
        };

        let epoch = sum(self.epoch.get(), reader.number("epoch")?, "epoch")?;
        let proposer = self.read_proposer(reader)?;
        let timestamp = sum(self.timestamp.get(), reader.number("timestamp")?, "timestamp")?;
        let origin = self.read_origin(reader)?;
        let forced = sum(self.forced_through, reader.number("forcedThrough")?, "forcedThrough")?;
        let count_at = reader.at();
        let tx_count = u32::try_from(reader.number("transaction count")?)
            .map_err(|_| WireError::BadNumber { field: "transaction count", at: count_at })?;

        let header = BlockHeader {
            generation: self.generation,
            height,
            epoch: Epoch::new(epoch),
            proposer,
            timestamp: Millis::new(timestamp),
            parent_hash: B256::ZERO,
            l1_origin_number: origin.0,
            l1_origin_hash: origin.1,
            forced_through: forced,
            tx_count,
            tx_root: B256::ZERO,
        };
        self.follow(&header);
        Ok(header)
    }

    fn read_proposer(&mut self, reader: &mut Reader<'_>) -> Result<Address, PayloadError> {
        let field = "proposer";
        let at = reader.at();
        let code = reader.number(field)?;
        let not_canonical = WireError::NotCanonical { field, at, value: code };
        let Some(place) = code.checked_sub(1) else {
            return self.proposer.ok_or_else(|| not_canonical.into());
        };
        let listed = usize::try_from(place).ok().and_then(|place| self.proposers.get(place));
        let proposer = match listed {
            Some(proposer) if Some(*proposer) != self.proposer => *proposer,
            None if place == self.proposers.len() as u64 => {
                let proposer = reader.address(field)?;
                if self.proposers.contains(&proposer) {
                    return Err(not_canonical.into());
                }
                self.proposers.push(proposer);
                proposer
            }
            _ => return Err(not_canonical.into()),
        };
        Ok(proposer)
    }

    fn read_origin(&self, reader: &mut Reader<'_>) -> Result<(u64, B256), PayloadError> {
        let field = "L1 origin";
        let at = reader.at();
        let code = reader.number(field)?;
        let before = self.origin.map_or(0, |(number, _)| number);
        let origin = match code {
            0 => return self.origin.ok_or(WireError::NotCanonical { field, at, value: 0 }.into()),
            1 => self.batch_origin,
            2 => {
                let later = reader.number(field)?;
                let number = before
                    .checked_add(later)
                    .ok_or(PayloadError::Overflow { height: self.next, field })?;
                (number, reader.hash(field)?)
            }
            _ => return Err(WireError::NotCanonical { field, at, value: code }.into()),
        };
        let has_shorter_code =
            self.origin == Some(origin) || (code == 2 && origin == self.batch_origin);
        if has_shorter_code || origin.0 < before {
            return Err(WireError::NotCanonical { field, at, value: code }.into());
        }
        Ok(origin)
    }

    fn follow(&mut self, header: &BlockHeader) {
        self.generation = header.generation;
        self.next = header.height.next();
        self.epoch = header.epoch;
        self.proposer = Some(header.proposer);
        self.timestamp = header.timestamp;
        self.origin = Some(origin_of(header));
        self.forced_through = header.forced_through;
    }
}

#[cfg(test)]
mod tests;
