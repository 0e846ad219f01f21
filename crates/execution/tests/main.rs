//! What `rota-execution` promises, through its public interface.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails where it stands"
)]

mod calls;
mod differential;
mod fixtures;
mod genesis;
mod header;
mod order;
mod properties;
mod skips;
mod support;
mod traffic;
