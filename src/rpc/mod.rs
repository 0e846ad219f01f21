//! JSON-RPC for users: HTTP and WebSocket on one port.
//!
//! `/` speaks for the default rollup, `/rollup/<chain id>` for any other that is registered. `eth_*` is what a wallet
//! needs to submit and track a transaction; `rota_*` tells where the network stands. Methods, error codes and bounds:
//! docs/RPC.md.
//!
//! A message passes [`http::Connection`] (path, content type, time-out) or [`socket`], is read by [`message`], and each
//! call in it passes [`service::Shared`] (rate, rollup, method) and reaches a function of [`chain`], [`state`], [`blocks`],
//! [`pool`], [`filters`] or [`rota`] with its [`arguments::Arguments`]. Functions read the store, the mirror and the pool.
//!
//! Nothing that a client does may slow agreement down. The service has threads of its own, few and of low priority; calls
//! that may read much run a few at a time; [`visitors`] bounds what one address and all of them together use: connections,
//! subscriptions and work; [`rooms`] the memory of requests, answers and notifications. [`stream`] and [`gate`] see to it that
//! nobody holds any of that for long: a client has to take its answers, and to finish its messages.

mod arguments;
mod blocks;
mod chain;
mod endpoint;
mod error;
mod filters;
mod gate;
mod heads;
mod http;
mod limits;
mod message;
mod methods;
mod pool;
mod rooms;
mod rota;
mod server;
mod service;
mod socket;
mod state;
mod stream;
mod submit;
mod subscription;
mod view;
mod visitors;

pub use error::RpcError;
pub use limits::RpcLimits;
pub use server::{PeerCount, RpcContext, serve, serve_apart};

#[cfg(test)]
mod tests;

/// What `web3_clientVersion` says.
pub const CLIENT_VERSION: &str = concat!("rota/v", env!("CARGO_PKG_VERSION"));
