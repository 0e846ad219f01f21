//! A WebSocket connection: messages in, answers and subscriptions out.

use crate::rpc::RpcError;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::gate::{Bounds, Gate, LONG, MessageRoom, PIECE};
use crate::rpc::message::{self, Id};
use crate::rpc::rooms::{Own, Room};
use crate::rpc::service::{Caller, Shared, Text};
use crate::rpc::visitors::Guest;
use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// Messages of one connection that are answered at a time; nothing more is read from it meanwhile.
const IN_FLIGHT: usize = 32;

/// Answers and notifications that wait to be written.
const WAITING: usize = 16;

/// How often a client is pinged.
const PING: Duration = Duration::from_secs(15);

/// A client from which nothing came for this long is gone.
const SILENCE: Duration = Duration::from_secs(40);

/// How long a connection that ends may take for what is answered already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes that the library reads into at once.
const READ_BUFFER: usize = 4 << 10;

/// Bytes of notifications that each connection has for itself, whatever others hold: some forty headers.
const OWN_NOTICES: usize = 64 << 10;

/// How long a client may take to make room for a notification before it is cut.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection's subscriptions and answers share.
pub(super) struct Socket {
    out: mpsc::Sender<Outgoing>,
    subscriptions: Mutex<HashMap<String, CancellationToken>>,
    most: usize,
    guest: Arc<Guest>,
    notices: Own,
    end: Arc<End>,
}

/// The end of a connection, and why.
struct End {
    ended: CancellationToken,
    reason: Mutex<Option<Cut>>,
}

impl End {
    /// What a client is told at the end.
    fn frame(&self) -> CloseFrame {
        match &*self.reason.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(cut) => CloseFrame { code: cut.code(), reason: cut.to_string().into() },
            None => CloseFrame { code: CloseCode::Away, reason: "".into() },
        }
    }
}

/// Why a client is not told any more. The words fit a close frame: 123 bytes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// It does not read.
    #[error("a subscriber takes nothing for {} s", PATIENCE.as_secs())]
    Stalled,
    /// Notifications to all clients of its address, or to everybody, take all the room that there is for them.
    #[error("no room for notifications for {} s: too many wait for slow subscribers", PATIENCE.as_secs())]
    NoRoom,
    /// It missed some.
    #[error("a subscriber is {0} transactions behind")]
    Behind(u64),
    /// The agent failed.
    #[error("{0}")]
    Failed(#[from] RpcError),
}

impl Cut {
    const fn code(&self) -> CloseCode {
        match self {
            Self::Stalled | Self::Behind(_) => CloseCode::Policy,
            Self::NoRoom => CloseCode::Again,
            Self::Failed(_) => CloseCode::Error,
        }
    }
}

/// What is written to the client.
struct Outgoing(Text);

impl Socket {
    fn new(
        out: mpsc::Sender<Outgoing>,
        shared: &Shared,
        guest: Arc<Guest>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            out,
            subscriptions: Mutex::default(),
            most: usize::try_from(shared.limits.subscriptions).unwrap_or(usize::MAX),
            guest,
            notices: Own::new(OWN_NOTICES),
            end: Arc::new(End { ended, reason: Mutex::default() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a subscription; what is returned says when it has ended.
    pub(super) fn keep(&self, id: &str) -> Result<CancellationToken, RpcError> {
        let mut subscriptions = self.lock();
        if subscriptions.len() >= self.most {
            return Err(RpcError::TooMany {
                what: "subscriptions of this connection",
                limit: self.most,
            });
        }
        let ended = self.end.ended.child_token();
        subscriptions.insert(id.to_owned(), ended.clone());
        Ok(ended)
    }

    /// Ends a subscription, and says whether there was one.
    pub(super) fn forget(&self, id: &str) -> bool {
        let ended = self.lock().remove(id);
        if let Some(ended) = &ended {
            ended.cancel();
        }
        ended.is_some()
    }

    /// Ends the connection.
    pub(super) fn cut(&self, why: Cut) {
        self.end.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.end.ended.cancel();
    }

    /// Waits for room for a notification of so many bytes. Before it is made: what waits takes no memory.
    pub(super) async fn notice_room(&self, bytes: usize) -> Result<Room, Cut> {
        let room = timeout(PATIENCE, self.guest.notice_room(&self.notices, bytes)).await;
        Ok(room.map_err(|_| Cut::NoRoom)??)
    }

    /// Tells a client something for which there is room.
    pub(super) async fn tell(&self, text: String, mut room: Room) -> Result<(), Cut> {
        room.shrink(text.len());
        let notice = Outgoing(Text::in_room(text, room));
        self.out.send_timeout(notice, PATIENCE).await.map_err(|_| Cut::Stalled)
    }
}

/// Serves a connection until it ends, or until `stop`.
pub(super) async fn serve(
    upgraded: TokioIo<Upgraded>,
    shared: Arc<Shared>,
    guest: Arc<Guest>,
    endpoint: Endpoint,
    stop: CancellationToken,
) {
    let ended = stop.child_token();
    let _guard = ended.clone().drop_guard();
    let most = usize::try_from(shared.limits.request_bytes).unwrap_or(usize::MAX);
    let patience = shared.limits.request_timeout;
    let room = MessageRoom::default();
    let bounds = Bounds { most, patience };
    let gate = Gate::new(upgraded, Arc::clone(&guest), bounds, Arc::clone(&room));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(most))
        .max_frame_size(Some(PIECE));
    let socket = WebSocketStream::from_raw_socket(gate, Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let (out, waiting) = mpsc::channel(WAITING);
    let session = Arc::new(Socket::new(out, &shared, Arc::clone(&guest), ended.clone()));
    let writer = tokio::spawn(write(sink, waiting, Arc::clone(&session.end), patience));
    let endpoint = Arc::new(endpoint);
    // Bytes of messages that are being answered.
    let in_flight = Own::new(LONG);
    let mut answering = JoinSet::new();
    loop {
        while answering.len() >= IN_FLIGHT {
            tokio::select! {
                () = ended.cancelled() => break,
                _ = answering.join_next() => {}
            }
        }
        let message = tokio::select! {
            () = ended.cancelled() => break,
            Some(_) = answering.join_next() => continue,
            message = timeout(SILENCE, stream.next()) => message,
        };
        let bytes = match message {
            Ok(Some(Ok(Message::Text(text)))) => Bytes::from(text),
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => continue,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a WebSocket connection ends");
                // The rest of a message that is too long cannot be told from the next one.
                if matches!(error, Error::Capacity(_)) {
                    let limit = shared.limits.request_bytes;
                    let error = RpcError::RequestTooLarge { limit };
                    let text = Text::small(message::answer(&Id::NULL, Err(error)));
                    let _ = session.out.try_send(Outgoing(text));
                }
                break;
            }
            Ok(Some(Ok(Message::Close(_))) | None) | Err(_) => break,
        };
        let room = room.lock().unwrap_or_else(PoisonError::into_inner).take();
        let turn = tokio::select! {
            () = ended.cancelled() => break,
            turn = in_flight.take(bytes.len(), LONG) => turn,
        };
        let (shared, session) = (Arc::clone(&shared), Arc::clone(&session));
        let caller = Caller {
            guest: Arc::clone(&guest),
            endpoint: Arc::clone(&endpoint),
            socket: Some(Arc::clone(&session)),
            beginning: Mutex::default(),
        };
        answering.spawn(async move {
            let answer = shared.answer(&caller, &bytes).await;
            drop((bytes, room));
            let Some(answer) = answer else { return };
            if session.out.send(Outgoing(answer)).await.is_ok() {
                let beginning = std::mem::take(
                    &mut *caller.beginning.lock().unwrap_or_else(PoisonError::into_inner),
                );
                for start in beginning {
                    let _ = start.send(());
                }
            }
            drop(turn);
        });
    }
    // What was asked is not answered any more; what is answered already may still be written.
    drop(answering);
    drop(session);
    ended.cancel();
    let _ = writer.await;
}

type Sink = SplitSink<WebSocketStream<Gate<TokioIo<Upgraded>>>, Message>;

/// Writes what there is until the connection ends, then what is left, and closes.
async fn write(
    mut sink: Sink,
    mut waiting: mpsc::Receiver<Outgoing>,
    end: Arc<End>,
    patience: Duration,
) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            () = end.ended.cancelled() => break,
            _ = pings.tick() => None,
            next = waiting.recv() => match next {
                Some(next) => Some(next),
                None => break,
            },
        };
        // The stream below cuts a client that takes too little, for a long answer too.
        let written = match next {
            None => timeout(patience, sink.send(Message::Ping(Bytes::new()))).await,
            Some(next) => Ok(put(&mut sink, next).await),
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                end.ended.cancel();
                return;
            }
        }
    }
    waiting.close();
    let last = async {
        while let Ok(next) = waiting.try_recv() {
            put(&mut sink, next).await?;
        }
        sink.send(Message::Close(Some(end.frame()))).await
    };
    let _ = timeout(LAST_WORDS, last).await;
}

/// Writes a message, a long one in several frames: what the library writes from keeps the size of the longest frame that
/// it ever held. The message's room is given back once all of it is written.
async fn put(sink: &mut Sink, outgoing: Outgoing) -> Result<(), Error> {
    let (text, _room) = outgoing.0.into_parts();
    if text.len() <= PIECE {
        return sink.send(Message::text(text)).await;
    }
    let mut rest = Bytes::from(text);
    let mut kind = Data::Text;
    loop {
        let piece = rest.split_to(rest.len().min(PIECE));
        let frame = Frame::message(piece, OpCode::Data(kind), rest.is_empty());
        sink.send(Message::Frame(frame)).await?;
        if rest.is_empty() {
            return Ok(());
        }
        kind = Data::Continue;
    }
}
