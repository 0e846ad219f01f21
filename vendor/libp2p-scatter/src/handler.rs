//! One connection: a stream for each message, and an end to what waits for one.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, OneShotHandlerConfig,
    SubstreamProtocol,
};
use libp2p::swarm::{OneShotHandler, StreamUpgradeError};

use crate::protocol::{Config, Message};
use crate::HandlerEvent;

/// Messages that wait for a peer to read, at most.
pub const MAX_WAITING: usize = 1_024;

/// Their bytes, at most.
pub const MAX_WAITING_BYTES: usize = 16 << 20;

/// Streams that are being opened or written at a time.
const AT_ONCE: u32 = 8;

type Inner = OneShotHandler<Config, Message, HandlerEvent>;

/// Whether more was to be sent than may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    None,
    ToTell,
    Told,
}

/// The handler of one connection.
pub struct Handler {
    inner: Inner,
    waiting: VecDeque<Message>,
    bytes: usize,
    overflow: Overflow,
}

impl Handler {
    pub(crate) fn new(config: Config) -> Self {
        let handler =
            OneShotHandlerConfig { max_dial_negotiated: AT_ONCE, ..OneShotHandlerConfig::default() };
        Self {
            inner: OneShotHandler::new(SubstreamProtocol::new(config, ()), handler),
            waiting: VecDeque::new(),
            bytes: 0,
            overflow: Overflow::None,
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Message;
    type ToBehaviour = Result<HandlerEvent, StreamUpgradeError<io::Error>>;
    type InboundProtocol = Config;
    type OutboundProtocol = Message;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        self.inner.listen_protocol()
    }

    fn on_behaviour_event(&mut self, message: Message) {
        if self.overflow != Overflow::None {
            return;
        }
        self.bytes = self.bytes.saturating_add(message.len());
        self.waiting.push_back(message);
        if self.waiting.len() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES {
            self.waiting = VecDeque::new();
            self.overflow = Overflow::ToTell;
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Message, (), Self::ToBehaviour>> {
        if self.overflow == Overflow::ToTell {
            self.overflow = Overflow::Told;
            let error = io::Error::other("the peer does not read what is sent to it");
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Err(
                StreamUpgradeError::Io(error),
            )));
        }
        while self.inner.pending_requests() < AT_ONCE {
            let Some(message) = self.waiting.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(message.len());
            self.inner.send_request(message);
        }
        self.inner.poll(cx)
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Config, Message>) {
        self.inner.on_connection_event(event);
    }
}
