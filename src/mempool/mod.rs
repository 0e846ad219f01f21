//! Transactions that wait to be ordered.
//!
//! [`Mempool`] is pure: it decides what is admitted, what is ready and what a block takes. [`Pool`] shares it between the
//! tasks. [`Intake`] is the way in: it decodes, recovers senders and makes what a client was promised durable, on a thread of
//! its own.
//!
//! What an accepted transaction can count on: it stays until a decided block holds it, or it cannot be ordered any more, and
//! then [`DropReason`] says why. A full pool therefore refuses; it makes room only from what nobody here was promised: what
//! peers forwarded, of which the agent that forwarded keeps its own copy.
//!
//! Whose transactions are accepted at all is an [`AdmissionPolicy`]: by default those of open rollups.

mod arrival;
mod dropped;
mod feed;
mod forward;
mod intake;
mod lane;
mod limits;
mod order;
mod policy;
mod pool;
mod queue;
mod refusal;

pub use dropped::DropReason;
pub use feed::{Feed, Pending};
#[cfg(test)]
pub(crate) use forward::admit as admit_forwarded;
pub use forward::{Forwarder, receive};
pub use intake::Intake;
pub use limits::Limits;
pub use order::BASE_FEE_WEI;
pub use policy::{AdmissionPolicy, OpenRollups};
pub use pool::{Pool, Waiting};
pub use queue::{Admission, LaneContent, Mempool, Origin};
pub use refusal::Refusal;
