//! Batches: where they end, how they are written, and the header that members sign (R20-R24, R43). Pure and
//! consensus-critical: every agent computes the same from the same decided blocks.

pub mod body;
mod frame;
mod header;
pub mod payload;
mod splitter;
mod usage;
mod wire;

pub use frame::FrameError;
pub use header::{HeaderError, build_header, default_epoch, epoch_is_legal, open};
pub use splitter::{BatchRange, SplitError, Splitter};
pub use usage::{Usage, packed_usage, usage, usage_hash};
pub use wire::WireError;

#[cfg(test)]
mod tests;
