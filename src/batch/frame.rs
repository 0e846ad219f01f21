//! The one form of a zstd frame that a payload may have (R24, [A5]), looked at before anything is unpacked.
//!
//! zstd has many ways to say the same, and its decoders differ in which they take: several frames, frames to be skipped,
//! windows up to any size, checksums, dictionaries. Whoever derives must come to the same answer, so exactly one form is
//! taken, the one that all writers of it give for content whose length they know:
//!
//! ```text
//! frame      = magic 28 b5 2f fd ‖ descriptor ‖ size ‖ block of content, one or more
//! descriptor = size's width in its top two bits (0: 1 byte, 1: 2, 2: 4), then 1, then five zero bits: one segment, no
//!              checksum, no dictionary
//! size       = length of the content, little-endian, in the fewest bytes; less 256 where it has two
//! block      = 3 bytes, little-endian: 1 if it is the last ‖ kind (2 bits; 3 is none) ‖ length (21 bits), then what it
//!              holds: a byte if its kind is 1, else as many as its length
//! ```
//!
//! One segment means that the window is the content itself: unpacking needs no memory but for the result and what a
//! decoder needs for itself. The last block ends the payload. How well the content is packed is nobody's business.
//!
//! [A5]: ../../../docs/PROTOCOL.md

/// The most that one block of a frame may hold.
const MAX_BLOCK_BYTES: usize = 128 * 1024;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of the descriptor: all bits but the width of the size, and what they must be.
const FORM: u8 = 0b0011_1111;
const ONE_SEGMENT: u8 = 0b0010_0000;
/// What the size is less where it has two bytes.
const TWO_BYTES_FROM: usize = 256;
/// From here on the size has four bytes.
const FOUR_BYTES_FROM: usize = 65_536 + TWO_BYTES_FROM;
/// A block of this kind repeats the one byte that it holds.
const REPEATED: usize = 1;
/// No block is of this kind.
const RESERVED: usize = 3;

/// Why bytes are no frame as described above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It begins otherwise: another format, a frame to be skipped, or nothing.
    #[error("its first four bytes are not those of a zstd frame")]
    Magic,
    /// It ends too early.
    #[error("it ends within its {part}")]
    Short {
        /// What is missing or cut off.
        part: &'static str,
    },
    /// The descriptor asks for something else than one segment of a known size without checksum and dictionary.
    #[error(
        "its descriptor is {actual:#04x}: expected one segment with its size, no checksum and no dictionary"
    )]
    Descriptor {
        /// The byte.
        actual: u8,
    },
    /// The size would fit fewer bytes.
    #[error("its size, {size}, takes more bytes than it needs")]
    LongSize {
        /// The size that it says.
        size: usize,
    },
    /// It says that it holds more than a batch may.
    #[error("it says that it holds {size} bytes, at most {limit}")]
    TooLarge {
        /// The size that it says.
        size: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// A block is of no kind that there is.
    #[error("its block {index} is of the reserved kind")]
    BlockKind {
        /// Which block, from 0.
        index: usize,
    },
    /// A block is longer than the content or than any block may be.
    #[error("its block {index} has {length} bytes, at most {limit}")]
    BlockTooLarge {
        /// Which block, from 0.
        index: usize,
        /// The length that it says.
        length: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Something follows the last block.
    #[error("{count} bytes follow it")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Its form is right, and what its blocks hold is damaged or not as long as it says.
    #[error("its content does not unpack to the {size} bytes that it says")]
    Content {
        /// The size that it says.
        size: usize,
    },
}

/// The content of a frame. Takes no more memory than `limit` for it, whatever the bytes are.
///
/// # Errors
///
/// [`FrameError`] names the first part, in the order of the bytes, that is not as described above.
pub(super) fn unpack(frame: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
    let size = check(frame, limit)?;
    let content = zstd::bulk::decompress(frame, size).map_err(|_| FrameError::Content { size })?;
    if content.len() != size {
        return Err(FrameError::Content { size });
    }
    Ok(content)
}

/// Looks at the form of a frame; returns the size of its content.
fn check(frame: &[u8], limit: usize) -> Result<usize, FrameError> {
    let rest = frame.strip_prefix(&MAGIC).ok_or(FrameError::Magic)?;
    let (descriptor, rest) = rest.split_first().ok_or(FrameError::Short { part: "descriptor" })?;
    let (width, smallest, added) = match descriptor >> 6 {
        _ if descriptor & FORM != ONE_SEGMENT => (0, 0, 0),
        0 => (1, 0, 0),
        1 => (2, 0, TWO_BYTES_FROM),
        2 => (4, FOUR_BYTES_FROM, 0),
        // Eight bytes are for what no batch holds.
        _ => (0, 0, 0),
    };
    if width == 0 {
        return Err(FrameError::Descriptor { actual: *descriptor });
    }
    let (size, mut rest) = number(rest, width).ok_or(FrameError::Short { part: "size" })?;
    let size = size.saturating_add(added);
    if size < smallest {
        return Err(FrameError::LongSize { size });
    }
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }

    let most = size.min(MAX_BLOCK_BYTES);
    for index in 0_usize.. {
        let (block, after) = number(rest, 3).ok_or(FrameError::Short { part: "blocks" })?;
        let (is_last, kind, length) = (block & 1 == 1, block >> 1 & 3, block >> 3);
        if kind == RESERVED {
            return Err(FrameError::BlockKind { index });
        }
        if length > most {
            return Err(FrameError::BlockTooLarge { index, length, limit: most });
        }
        let held = if kind == REPEATED { 1 } else { length };
        rest = after.get(held..).ok_or(FrameError::Short { part: "blocks" })?;
        if is_last {
            break;
        }
    }
    match rest.len() {
        0 => Ok(size),
        count => Err(FrameError::Trailing { count }),
    }
}

/// A little-endian number of so many bytes, at most four, and what follows it.
fn number(bytes: &[u8], width: usize) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_at_checked(width)?;
    let number = number.iter().rev().fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte));
    Some((number, rest))
}

#[cfg(test)]
mod tests;
