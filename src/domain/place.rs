//! Where transactions stand.

use crate::domain::Height;

/// Where a transaction stands in the derived order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the own transactions of a block.
    Block {
        /// The block.
        height: Height,
        /// Its place among them.
        index: u32,
    },
    /// In the forced queue: before the own transactions of the block that is the first to consume it.
    Forced {
        /// That block; the last settled one before an escape; the batch's last where the payload is flawed.
        height: Height,
        /// Its number in the queue.
        entry: u64,
    },
}

impl Place {
    /// Its height.
    pub const fn height(&self) -> Height {
        match self {
            Self::Block { height, .. } | Self::Forced { height, .. } => *height,
        }
    }
}
