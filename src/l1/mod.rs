//! L1, the one place that knows alloy's providers and the generated contract types.

mod account;
pub mod actions;
mod allowance;
mod audit;
mod bindings;
mod calldata;
mod chain;
mod client;
pub mod compensation;
mod convert;
mod deploy;
mod depth;
mod desk;
pub mod duties;
mod error;
mod facts;
mod fees;
mod flight_log;
pub mod flights;
pub mod follower;
pub mod force;
mod forced;
mod mirror;
mod nodes;
mod picture;
#[cfg(test)]
pub(crate) mod pool_model;
pub mod proven;
mod ranges;
mod raw_header;
mod reader;
mod refusal;
mod replay;
pub mod reports;
pub mod restart;
mod retry;
mod reverts;
pub mod rewards;
pub mod rights;
mod roster;
pub mod sealing;
mod settlement;
#[cfg(test)]
pub(crate) mod simulated;
mod span;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod unread;

pub use account::{Account, Order, Sent, State as AccountState};
pub use allowance::Allowance;
pub use client::Client;
pub use deploy::{deploy, read_params, require_seeds};
pub use desk::{Desk, keep};
pub use error::L1Error;
pub use fees::Fees;
pub use follower::kept_params;
pub use forced::ForcedQueue;
pub use mirror::{Mirror, MirrorHandle, Restart};
pub use refusal::Refusal;
pub use replay::{Derived, Replay, ReplayError};
pub use reverts::Resting;
pub use settlement::{
    Certified, SettledPayload, fitting, order as settle_order, payload_of as settled_payload,
};

/// What a transaction to settlement with this input settled, had it not been refused for another reason; `None` for what
/// the contract cannot read.
pub fn read_settlement(input: &alloy::primitives::Bytes) -> Option<Vec<SettledPayload>> {
    calldata::read(input)
}
