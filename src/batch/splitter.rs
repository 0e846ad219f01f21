//! Where batches end (R20).

use crate::batch::payload::{HEADER_BYTES, MAX_BLOCKS};
use crate::domain::{BlockHeader, Height, Millis, Params, Seconds};

/// The heights of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRange {
    /// Height of its first block.
    pub first: Height,
    /// Height of its last block.
    pub last: Height,
    /// Timestamp, rounded down, of the block that showed that it ends: its last one, or the one after it, which may come much
    /// later where agreement stood still in between.
    pub since: Seconds,
}

/// Why a block cannot come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Blocks come one by one, from the settled height on.
    #[error("block {actual} came, expected block {expected}")]
    NotNext {
        /// The only height that can come now.
        expected: Height,
        /// The height that came.
        actual: Height,
    },
}

/// Cuts the decided chain into batches. Consensus-critical: feed it the decided blocks above a settled height in order,
/// and it gives the same batches whenever they come and wherever it starts. Knows no clock, no price and no compressed
/// size.
#[derive(Clone, Debug)]
pub struct Splitter {
    max_bytes: usize,
    max_age_millis: u64,
    idle_age_millis: u64,
    next: Height,
    forced_through: u64,
    open: Option<Open>,
}

/// The batch that the next block may still join.
#[derive(Clone, Copy, Debug)]
struct Open {
    first: Height,
    last: Height,
    blocks: usize,
    bytes: usize,
    began: Millis,
    /// Timestamp of its first block with a transaction or a newly consumed entry.
    first_content: Option<Millis>,
}

impl Splitter {
    /// Starts above the last block of a settled batch, or above block 0.
    pub fn new(params: &Params, settled: &BlockHeader) -> Self {
        let millis = |seconds| Seconds::new(seconds).to_millis().get();
        Self {
            max_bytes: usize::try_from(params.max_batch_bytes).unwrap_or(usize::MAX),
            max_age_millis: millis(params.max_batch_age_seconds).max(1),
            idle_age_millis: millis(params.idle_batch_age_seconds).max(1),
            next: settled.height.next(),
            forced_through: settled.forced_through,
            open: None,
        }
    }

    /// The only height that [`Splitter::push`] takes now.
    pub const fn next_height(&self) -> Height {
        self.next
    }

    /// First height of the batch that is still open, if it has a block yet.
    pub fn open_since(&self) -> Option<Height> {
        self.open.map(|open| open.first)
    }

    /// Timestamp of the first block of the batch that is still open, if it has a block yet.
    pub fn open_began(&self) -> Option<Millis> {
        self.open.map(|open| open.began)
    }

    /// Takes the next decided block, given the bytes of its body, and gives the batch that is now known to end: before this
    /// block, because the block does not fit, or with it, because the batch is old enough. Never both: a batch that
    /// begins with this block is no time old.
    ///
    /// # Errors
    ///
    /// [`SplitError::NotNext`]; the splitter stays as it was.
    pub fn push(
        &mut self,
        header: &BlockHeader,
        body_bytes: usize,
    ) -> Result<Option<BatchRange>, SplitError> {
        if header.height != self.next {
            return Err(SplitError::NotNext { expected: self.next, actual: header.height });
        }
        let bytes = body_bytes.saturating_add(HEADER_BYTES);
        let has_content = header.tx_count > 0 || header.forced_through > self.forced_through;
        self.next = header.height.next();
        self.forced_through = header.forced_through;

        let full = self.open.take_if(|open| {
            open.bytes.saturating_add(bytes) > self.max_bytes || open.blocks >= MAX_BLOCKS
        });
        let open = self.open.get_or_insert(Open {
            first: header.height,
            last: header.height,
            blocks: 0,
            bytes: 0,
            began: header.timestamp,
            first_content: None,
        });
        open.last = header.height;
        open.blocks = open.blocks.saturating_add(1);
        open.bytes = open.bytes.saturating_add(bytes);
        if has_content {
            open.first_content.get_or_insert(header.timestamp);
        }

        let age = |since: Millis| header.timestamp.get().saturating_sub(since.get());
        let due = open.first_content.is_some_and(|since| age(since) >= self.max_age_millis)
            || age(open.began) >= self.idle_age_millis;
        let old = self.open.take_if(|_| due);
        Ok(full.or(old).map(|batch| BatchRange {
            first: batch.first,
            last: batch.last,
            since: header.timestamp.to_seconds(),
        }))
    }
}

#[cfg(test)]
mod tests;
