//! A rollup's derived order as Ethereum blocks: rules X1 to X4 of [the protocol](../../../docs/PROTOCOL.md).
//!
//! Nothing here asks a network, a disk or a clock. What comes out is a function of the genesis file and the heights, equal
//! on every machine: no floating point, no configuration, and maps with an order of their own are only ever asked for a key.
//! The EVM, the system calls and the receipts are revm's and alloy's; what is decided here is which transactions a block
//! holds, what its header says, and what its state root is. Any Ethereum client takes the blocks and comes to the same state.
//!
//! In reading order: [`Genesis`] reads the file; [`Prepared`] is a transaction before it meets a state; [`Executor`] takes
//! heights and gives blocks, and [`SkipReason`]s for what no block can hold; [`State`] is what it changes, [`MemoryState`]
//! one in memory.

mod block;
mod call;
mod executor;
mod forks;
mod genesis;
mod memory;
mod open;
mod overlay;
mod skip;
mod state;
mod system;
mod transaction;
mod trie;

pub use block::{Block, Executed, Fate, Height, Pending};
pub use call::{Call, CallOutcome};
pub use executor::{ExecutionError, Executor};
pub use forks::Forks;
pub use genesis::{Genesis, GenesisError};
pub use memory::{MemoryState, Proof};
pub use skip::SkipReason;
pub use state::{Account, AccountChange, Changes, State};
pub use system::{SINCE_CANCUN, SINCE_PRAGUE, SystemContract};
pub use transaction::Prepared;
