//! A WebSocket connection: messages in, answers and subscriptions out.

use crate::rpc::RpcError;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::message::{self, Id};
use crate::rpc::service::{Caller, Shared, Text};
use crate::rpc::visitors::Guest;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Messages of one connection that are answered at a time; nothing more is read from it meanwhile.
const IN_FLIGHT: usize = 32;

/// Answers and notifications that wait to be written.
const WAITING: usize = 64;

/// How often a client is pinged.
const PING: Duration = Duration::from_secs(15);

/// A client from which nothing came for this long is gone.
const SILENCE: Duration = Duration::from_secs(40);

/// How long a connection that ends may take for what is answered already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A longer message is answered before the next one is read.
const LONG: usize = 64 << 10;

/// What a connection's subscriptions and answers share.
pub(super) struct Socket {
    pub(super) out: mpsc::Sender<Outgoing>,
    subscriptions: Mutex<HashMap<String, CancellationToken>>,
    most: usize,
    ended: CancellationToken,
}

/// What is written to the client.
pub(super) struct Outgoing(Text);

impl Outgoing {
    /// A notification.
    pub(super) const fn told(text: String) -> Self {
        Self(Text::small(text))
    }
}

impl Socket {
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
        let ended = self.ended.child_token();
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
    pub(super) fn cut(&self) {
        self.ended.cancel();
    }
}

/// Serves a connection until it ends, or until `stop`.
pub(super) async fn serve(
    socket: WebSocket,
    shared: Arc<Shared>,
    guest: Arc<Guest>,
    endpoint: Endpoint,
    stop: CancellationToken,
) {
    let ended = stop.child_token();
    let _guard = ended.clone().drop_guard();
    let (sink, mut stream) = socket.split();
    let (out, waiting) = mpsc::channel(WAITING);
    let most = usize::try_from(shared.limits.subscriptions).unwrap_or(usize::MAX);
    let session =
        Arc::new(Socket { out, subscriptions: Mutex::default(), most, ended: ended.clone() });
    let writer = tokio::spawn(write(sink, waiting, ended.clone(), shared.limits.request_timeout));
    let endpoint = Arc::new(endpoint);
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
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a WebSocket connection ends");
                // The rest of a message that is too long cannot be told from the next one.
                if error.to_string().contains("too long") {
                    let limit = shared.limits.request_bytes;
                    let error = RpcError::RequestTooLarge { limit };
                    let text = Text::small(message::answer(&Id::NULL, Err(error)));
                    let _ = session.out.try_send(Outgoing(text));
                }
                break;
            }
            Ok(Some(Ok(Message::Close(_))) | None) | Err(_) => break,
        };
        let is_long = bytes.len() > LONG;
        let (shared, session) = (Arc::clone(&shared), Arc::clone(&session));
        let caller = Caller {
            guest: Arc::clone(&guest),
            endpoint: Arc::clone(&endpoint),
            socket: Some(Arc::clone(&session)),
            beginning: Mutex::default(),
        };
        answering.spawn(async move {
            let Some(answer) = shared.answer(&caller, &bytes).await else { return };
            if session.out.send(Outgoing(answer)).await.is_ok() {
                let beginning = std::mem::take(
                    &mut *caller.beginning.lock().unwrap_or_else(PoisonError::into_inner),
                );
                for start in beginning {
                    let _ = start.send(());
                }
            }
        });
        if is_long {
            tokio::select! {
                () = ended.cancelled() => break,
                () = async { while answering.join_next().await.is_some() {} } => {}
            }
        }
    }
    // What was asked is not answered any more; what is answered already may still be written.
    answering.abort_all();
    drop(session);
    ended.cancel();
    let _ = writer.await;
}

/// Writes what there is until the connection ends, then what is left, and closes.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<Outgoing>,
    ended: CancellationToken,
    patience: Duration,
) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            () = ended.cancelled() => break,
            _ = pings.tick() => Message::Ping(Bytes::new()),
            next = waiting.recv() => match next {
                Some(next) => text(next),
                None => break,
            },
        };
        // The stream below cuts a client that takes nothing for as long.
        match timeout(patience, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                ended.cancel();
                return;
            }
        }
    }
    waiting.close();
    let last = async {
        while let Ok(next) = waiting.try_recv() {
            sink.send(text(next)).await?;
        }
        let frame = CloseFrame { code: close_code::AWAY, reason: Utf8Bytes::from_static("") };
        sink.send(Message::Close(Some(frame))).await
    };
    let _ = timeout(LAST_WORDS, last).await;
}

fn text(outgoing: Outgoing) -> Message {
    match Utf8Bytes::try_from(outgoing.0.into_bytes()) {
        Ok(text) => Message::Text(text),
        // An answer is written as text.
        Err(_) => Message::Close(None),
    }
}
