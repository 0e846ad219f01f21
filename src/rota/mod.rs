//! Whose turn it is: draws, the order of proposers and the epoch of a height (R10-R12, R15). Pure and consensus-critical;
//! L1 computes the same draws (vectors: `test/vectors/draw.json`).

mod draw;
mod order;
mod schedule;

pub use draw::{draw, draw_order};
pub use order::{beginning_after, epoch_of_next, holder, order, proposer};
pub use schedule::{Expected, expected_term, upcoming};
