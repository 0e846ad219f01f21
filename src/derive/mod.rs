//! From L1 back to transactions (R44). Pure: feed it what L1 settled, in order, and it gives what each rollup executes.
//!
//! Forced entries are transactions like any other: they stand where they were consumed first, and what does not decode, was
//! there before or is of no registered rollup has no effect.
//!
//! Nothing is believed: payload hash, block hashes, transaction roots and every field of the batch header are checked on
//! the way. Certificates are not; L1 settled nothing without one.

mod chain;
mod window;

pub use chain::{
    Derivation, DeriveError, DerivedBatch, DerivedEscape, Item, Noop, NoopReason, WINDOW_HEIGHTS,
};
pub use window::{RecentTransactions, Window};
