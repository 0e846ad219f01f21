//! The peer link: how agents hand each other transactions and attestations.
//!
//! libp2p over TCP with noise and yamux; each message is one request, acknowledged once the receiver has room for it. Who
//! may connect, and where to, follows from the endpoints in the registry ([`crate::l1::Mirror::peers`]) and changes with
//! them; everybody else is refused at the handshake. The identity is the one of the agreement engine.
//!
//! The registry takes anybody's word for a peer id, so both sides greet first: a signature of a key of their sequencer over
//! the peer id by which they are connected. Nothing is taken from a peer, and nothing sent to it, before its greeting fits
//! what the registry shows; from then on it is that sequencer, whichever of its keys a message is for.
//!
//! | bound | value | when it is reached |
//! |---|---|---|
//! | bytes of a message | [`MAX_MESSAGE_BYTES`] | sender: not encodable; receiver: the connection's stream fails |
//! | messages that wait for a peer, per lane | [`LANE_MESSAGES`] | the oldest is dropped, `send` says so |
//! | messages under way to a peer, per lane | 1 | the next waits for the acknowledgement: a lane keeps its order |
//! | messages of a peer that its consumer has not finished, per lane | [`INBOX_PER_PEER`] | no acknowledgement until it has |
//! | streams of a connection | [`MAX_STREAMS`] | further ones fail |
//! | connections of a peer | 2 | further ones are refused |
//! | handshakes under way | 8 of an address and 1,024 in all; of addresses in the registry 64 each, beside those | further ones are refused |
//! | a handshake | 3 s | it is given up |
//! | greetings of a peer that are looked at | 8 a second | others are not acknowledged; it greets again |
//!
//! So a peer that floods fills its own places, and nobody else's. One that sends what does not decode, or whose content a
//! consumer reports ([`Link::report`]), is barred for [`BAR`].

mod book;
mod codec;
mod door;
mod link;
mod message;
#[cfg(test)]
pub(crate) mod simulated;
mod task;

pub(crate) use door::{Door, ListedIps};
pub use link::{Link, PeerState, Sent};
pub use message::{LinkMessage, MessageError};
pub use task::{Delivery, Incoming, Network, NetworkConfig, NetworkError, SignedBatchMessage};

use std::time::Duration;

/// Bytes of a message on the wire, at most.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Transactions in one message, at most.
pub const MAX_TRANSACTIONS: usize = 2_048;

/// Messages of one lane that wait for one peer, at most.
pub const LANE_MESSAGES: usize = 64;

/// Messages of one lane of one peer that wait for or are with their consumer, at most.
pub const INBOX_PER_PEER: usize = 2;

/// Streams of one connection at a time, at most.
pub const MAX_STREAMS: usize = 8;

/// How long a peer that misbehaved is kept out.
pub const BAR: Duration = Duration::from_secs(30);
