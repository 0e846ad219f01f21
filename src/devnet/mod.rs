//! `rota devnet`: a whole network on one machine. Anvil as L1, the contracts, agents as separate processes of this same
//! binary, users who send real transactions, and a view of it all.
//!
//! What is counted as settled is derived from L1, never taken from an agent's word.

mod announce;
mod anvil;
pub mod bench;
mod child;
mod ledger;
mod network;
mod observer;
mod options;
mod ports;
mod report;
mod run;
mod traffic;
mod view;
mod wallet;

pub use announce::{LINES, announcement};
pub use anvil::find as find_anvil;
pub use ledger::Percentiles;
pub use network::{DevnetError, Network, Plan, ROLLUP};
pub use options::Options;
pub use report::Report;
pub use run::{Session, run};
