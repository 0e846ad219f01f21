//! Transactions that wait to be ordered.
//!
//! [`Mempool`] is pure: it decides what is admitted, what is ready and what a block takes. [`Pool`] shares it between the
//! tasks. [`Intake`] is the way in: it decodes, recovers senders and makes what a client was promised durable, on a thread of
//! its own.
//!
//! What an accepted transaction can count on: it stays until a decided block holds it, or holds another one of the same
//! sender and nonce. A full pool therefore refuses; it makes room only from what nobody here was promised: transactions
//! behind a nonce gap, then those that peers forwarded (the agent that forwarded keeps its own copy).
//!
//! Whose transactions are accepted at all is an [`AdmissionPolicy`]: by default those of open rollups.

mod forward;
mod intake;
mod lane;
mod limits;
mod policy;
mod pool;
mod queue;
mod refusal;

pub use forward::{Forwarder, receive};
pub use intake::Intake;
pub use limits::Limits;
pub use policy::{AdmissionPolicy, OpenRollups};
pub use pool::{Pool, Waiting};
pub use queue::{Admission, LaneContent, Mempool, NextNonce, Origin};
pub use refusal::Refusal;
