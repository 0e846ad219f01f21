//! The agent's library against the contracts on Anvil, with random inputs.
//!
//! What exists in both languages is asked of both here: leader sets and draws, trees and proofs, digests and signatures,
//! penalties and fees; and the arithmetic of a pool, of which the agent has no copy, is held against a model. A few calls
//! take all the cases of a test to `Harness.sol`, which runs the contracts' libraries; where a deployed contract has a view
//! or an entry of its own, that one is asked. Each test prints its seed when it fails; `DIFFERENTIAL_SEED` repeats it.
//!
//! A run has 64 sets with 16 turns each and 2,048 turns of a deployed schedule; 768 proofs; 512 each of domains, block
//! headers, votes, proposals, receipts and batch headers; 768 reports; 512 penalties and 64 queues;
//! 64 pools of 48 steps; and 3,000 inputs of settlements, most of them mutated.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test fails where it stands"
)]

mod attestations;
mod chain;
mod digests;
mod draws;
mod harness;
mod inputs;
mod pools;
mod reports;
mod rules;
mod settlements;
mod trees;
