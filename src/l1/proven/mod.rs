//! L1 as a verifier reads it: what a node says is believed only if it follows from one block hash.
//!
//! **What is taken from a node unproven: the hash of one recent block, the *anchor*, and nothing else** (not even that if it
//! is given to the command). From there on:
//!
//! - each header hashes to what the header above it names as its parent, down to the deployment's block;
//! - a header's bloom says where our contracts may have said something, so that nothing can be left out; there the receipts
//!   give the header's `receiptsRoot`, and events are read from those receipts and from nowhere else;
//! - the transactions that settle give the header's `transactionsRoot`;
//! - the code of a frozen set, and the parameters (by their hash in the settlement's code), are proven against the anchor's
//!   `stateRoot` by `eth_getProof`. Where no node has that proof any more, because the anchor is old, the code is taken as
//!   told and [`Proven::unproven`] says so.
//!
//! What does not fit is a [`Lie`]: it names the node, the place and what should have been there. What fits and still breaks
//! the rules is the settlers' fault ([`Violation`]) or that of the contracts ([`ReplayError`](super::ReplayError)).

mod check;
mod cuts;
mod kept;
mod memory;
mod nodes;
mod pins;
mod reader;
mod rules;
#[cfg(test)]
mod tests;
mod verifier;

pub use check::Lie;
pub(super) use check::logs as logs_of_receipts;
pub use kept::KeptAnswers;
pub use nodes::{Failure, Http, Nodes, Wire};
pub use reader::{Anchor, Progress, Proven, ProvenBlock, ProvenError};
pub use rules::Violation;
pub use verifier::{Verified, Verifier};
