//! JSON-RPC for users: HTTP and WebSocket on one port.
//!
//! `/` speaks for the default rollup, `/rollup/<chain id>` for any other that is registered. `eth_*` is what a wallet
//! needs to submit and track a transaction; `rota_*` tells where the network stands. Methods, error codes and bounds:
//! docs/RPC.md.
//!
//! A call passes [`connection::Door`] (HTTP: path, content type, time-out), [`gate::Gate`] (rate, rollup, method) and
//! reaches a function of [`eth`] or [`rota`] with its [`arguments::Arguments`]. Functions read the store and the mirror and
//! hold no state of their own.

mod arguments;
mod connection;
mod endpoint;
mod error;
mod eth;
mod gate;
mod limits;
mod methods;
mod rota;
mod server;
mod stream;
mod subscription;
mod view;

pub use error::RpcError;
pub use limits::RpcLimits;
pub use server::{RpcContext, serve};

#[cfg(test)]
mod tests;

/// What `web3_clientVersion` says.
pub const CLIENT_VERSION: &str = concat!("rota/v", env!("CARGO_PKG_VERSION"));
