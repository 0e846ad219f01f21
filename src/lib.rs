//! Rota: decentralized sequencing that settles on L1.
//!
//! A table of contents, in reading order. `domain`, `crypto`, `rota`, `batch` and `economics` are pure: no clock, no disk, no network.

pub mod agreement;
pub mod attest;
pub mod batch;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod derive;
pub mod devnet;
pub mod domain;
pub mod economics;
pub mod guard;
pub mod l1;
pub mod mempool;
pub mod network;
pub mod node;
pub mod ports;
pub mod poster;
pub mod rota;
pub mod rpc;
pub mod rpc_client;
pub mod storage;
pub mod telemetry;
pub mod watch;

mod blocking;
#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
