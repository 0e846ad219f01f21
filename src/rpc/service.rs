//! From a message to its answer: the rate, the path, the name of the method, and how the method runs.

use crate::blocking::blocking;
use crate::rpc::arguments::Arguments;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::filters::{self, Filters};
use crate::rpc::heads::Heads;
use crate::rpc::limits::RpcLimits;
use crate::rpc::message::{self, Entry, Id, Message};
use crate::rpc::methods::{self, Answer, Call, Method, Run};
use crate::rpc::rooms::Room;
use crate::rpc::socket::Socket;
use crate::rpc::visitors::{Guest, Visitors};
use crate::rpc::{RpcContext, RpcError, submit, subscription};
use bytes::Bytes;
use futures::future::join_all;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

/// Dear calls that run at a time, of all clients.
pub(super) const DEAR_AT_A_TIME: usize = 2;

/// Submissions of one batch that share a flush of the disk.
const SUBMISSIONS_AT_ONCE: usize = 256;

/// Bytes of a request or an answer that cost one unit.
const BYTES_PER_UNIT: usize = 4_096;

/// What all connections share.
pub(super) struct Shared {
    pub(super) context: RpcContext,
    pub(super) limits: RpcLimits,
    pub(super) visitors: Arc<Visitors>,
    pub(super) heads: Arc<Heads>,
    pub(super) filters: Filters,
    methods: HashMap<&'static str, &'static Method>,
    dear: Arc<Semaphore>,
}

/// Who sent a message.
pub(super) struct Caller {
    pub(super) guest: Arc<Guest>,
    pub(super) endpoint: Arc<Endpoint>,
    /// The connection, if it stays.
    pub(super) socket: Option<Arc<Socket>>,
    /// Subscriptions that begin once the answer is on its way.
    pub(super) beginning: Mutex<Vec<oneshot::Sender<()>>>,
}

/// An answer, and the room that it takes until the client has taken it.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    room: Option<Room>,
}

impl Text {
    pub(super) const fn small(text: String) -> Self {
        Self { text, room: None }
    }

    /// A text with room of its own.
    pub(super) const fn in_room(text: String, room: Room) -> Self {
        Self { text, room: Some(room) }
    }

    /// The text, and what is to be dropped once it is written.
    pub(super) fn into_parts(self) -> (String, Option<Room>) {
        (self.text, self.room)
    }

    /// The bytes. What they take is given back when the last of them is gone.
    pub(super) fn into_bytes(self) -> Bytes {
        struct Owned(
            String,
            #[expect(dead_code, reason = "lives as long as the text")] Option<Room>,
        );
        impl AsRef<[u8]> for Owned {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }
        Bytes::from_owner(Owned(self.text, self.room))
    }
}

impl Shared {
    pub(super) fn new(context: RpcContext) -> Arc<Self> {
        let limits = context.limits.clone();
        Arc::new(Self {
            visitors: Visitors::new(limits.clone(), Instant::now()),
            limits,
            heads: Arc::default(),
            filters: Filters::default(),
            methods: methods::all(),
            dear: Arc::new(Semaphore::new(DEAR_AT_A_TIME)),
            context,
        })
    }

    fn response_bytes(&self) -> usize {
        usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX)
    }

    /// Answers a message; `None` when it wants no answer.
    pub(super) async fn answer(self: &Arc<Self>, caller: &Caller, bytes: &[u8]) -> Option<Text> {
        let size = u32::try_from(bytes.len() / BYTES_PER_UNIT).unwrap_or(u32::MAX);
        let failed = |error| Some(Text::small(message::answer(&Id::NULL, Err(error))));
        // Before it is read: who owes units is not read at all.
        if let Err(error) = caller.guest.take(size, Instant::now()) {
            return failed(error);
        }
        match message::read(bytes, self.limits.batch_calls) {
            Err(error) => failed(caller.guest.take(1, Instant::now()).err().unwrap_or(error)),
            Ok(Message::One(entry)) => {
                let mut room = None;
                if self.is_dear(&entry) {
                    match caller.guest.room().await {
                        Ok(some) => room = Some(some),
                        Err(error) => return failed(error),
                    }
                }
                let text = self.entry(caller, entry, self.response_bytes()).await?;
                if let Some(room) = &mut room {
                    room.shrink(text.len());
                }
                Some(Text { text, room })
            }
            Ok(Message::Batch(entries)) => {
                let mut room = match caller.guest.room().await {
                    Ok(room) => room,
                    Err(error) => return failed(error),
                };
                let text = self.batch(caller, &entries).await?;
                room.shrink(text.len());
                Some(Text { text, room: Some(room) })
            }
        }
    }

    fn method(&self, entry: &Entry) -> Option<&'static Method> {
        match entry {
            Entry::Call(_, call) | Entry::Notification(call) => {
                self.methods.get(call.method.as_str()).copied()
            }
            Entry::Invalid(..) => None,
        }
    }

    fn is_dear(&self, entry: &Entry) -> bool {
        self.method(entry).is_some_and(Method::is_dear)
    }

    fn is_submission(&self, entry: &Entry) -> bool {
        self.method(entry).is_some_and(|method| matches!(method.run, Run::Submit))
    }

    /// Answers a batch in its order, one entry after the other, but for submissions: those that follow each other wait for
    /// the disk together.
    async fn batch(
        self: &Arc<Self>,
        caller: &Caller,
        entries: &[&serde_json::value::RawValue],
    ) -> Option<String> {
        let limit = self.response_bytes();
        let mut written = String::new();
        let mut next = 0_usize;
        while let Some(text) = entries.get(next) {
            let mut together = vec![message::entry(text)];
            next = next.saturating_add(1);
            if together.first().is_some_and(|one| self.is_submission(one)) {
                while together.len() < SUBMISSIONS_AT_ONCE
                    && let Some(text) = entries.get(next)
                    && let one = message::entry(text)
                    && self.is_submission(&one)
                {
                    together.push(one);
                    next = next.saturating_add(1);
                }
            }
            let room = limit.saturating_sub(written.len());
            let mut answers = Vec::with_capacity(together.len());
            for entry in together {
                answers.push(self.entry(caller, entry, room));
            }
            for answer in join_all(answers).await.into_iter().flatten() {
                let length = written.len().saturating_add(answer.len());
                if length.saturating_add(2) > limit {
                    let error = RpcError::AnswerTooLarge { limit };
                    return Some(message::answer(&Id::NULL, Err(error)));
                }
                written.push(if written.is_empty() { '[' } else { ',' });
                written.push_str(&answer);
            }
            // A batch of quick calls does not keep a thread from the other connections.
            tokio::task::yield_now().await;
        }
        if written.is_empty() {
            return None;
        }
        written.push(']');
        Some(written)
    }

    async fn entry(self: &Arc<Self>, caller: &Caller, entry: Entry, room: usize) -> Option<String> {
        match entry {
            Entry::Call(id, call) => {
                let outcome = self.call(caller, &call, room).await;
                Some(message::answer(&id, outcome))
            }
            Entry::Notification(call) => {
                if let Err(error) = self.call(caller, &call, room).await {
                    tracing::debug!(%error, "a notification has no effect");
                }
                None
            }
            Entry::Invalid(id, error) => {
                let error = caller.guest.take(1, Instant::now()).err().unwrap_or(error);
                Some(message::answer(&id, Err(error)))
            }
        }
    }

    async fn call(self: &Arc<Self>, caller: &Caller, asked: &message::Call, room: usize) -> Answer {
        let method = self.methods.get(asked.method.as_str()).copied();
        caller.guest.take(method.map_or(1, Method::units), Instant::now())?;
        match &*caller.endpoint {
            Endpoint::Rollup(rollup)
                if !self.context.mirror.read().rollups.contains_key(rollup) =>
            {
                let is_read = self.context.mirror.read().is_ready();
                return Err(RpcError::unknown_rollup(*rollup, is_read));
            }
            Endpoint::Unknown(path) => return Err(RpcError::InvalidPath { path: path.clone() }),
            _ => {}
        }
        let Some(method) = method else {
            return Err(RpcError::UnknownMethod {
                method: asked.method.chars().take(80).collect(),
            });
        };
        let arguments = Arguments::read(asked.params.as_deref(), method.params)?;
        let answer = self.run(caller, method, arguments, room).await?;
        let cost = u32::try_from(answer.len() / BYTES_PER_UNIT).unwrap_or(u32::MAX);
        caller.guest.charge(cost, Instant::now());
        Ok(answer)
    }

    async fn run(
        self: &Arc<Self>,
        caller: &Caller,
        method: &'static Method,
        arguments: Arguments,
        room: usize,
    ) -> Answer {
        match method.run {
            Run::Now(run) => self.charged(caller, arguments, room, run),
            Run::Dear(run) => self.dear(caller, arguments, room, run).await,
            Run::Unexecuted => Err(RpcError::NotExecuted { method: method.name }),
            Run::Submit => {
                let (_, hash) = submit::submit(self, caller, &arguments).await?;
                methods::encode(&hash, room)
            }
            Run::SubmitAndWait => submit::submit_and_wait(self, caller, &arguments, room).await,
            Run::Filter(read) => {
                let kind = self.charged(caller, arguments, room, read)?;
                let now = Instant::now();
                self.filters.expire(now);
                let held = caller.guest.hold()?;
                methods::encode(&self.filters.add(kind, held, now), room)
            }
            Run::Subscribe => {
                let socket = on_socket(caller, method)?;
                let kind = self.charged(caller, arguments, room, subscription::wanted)?;
                let held = caller.guest.hold()?;
                let (start, started) = oneshot::channel();
                let id = subscription::begin(self, socket, kind, held, started)?;
                caller.beginning.lock().unwrap_or_else(PoisonError::into_inner).push(start);
                methods::encode(&id, room)
            }
            Run::Unsubscribe => {
                let socket = on_socket(caller, method)?;
                let id = filters::id(&arguments, "subscription")?;
                methods::encode(&socket.forget(&filters::shown(id)), room)
            }
        }
    }

    fn charged<T>(
        &self,
        caller: &Caller,
        arguments: Arguments,
        room: usize,
        run: impl FnOnce(&Call<'_>) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let endpoint = &caller.endpoint;
        let call = Call { shared: self, arguments, endpoint, room, cost: Cell::new(0) };
        let result = run(&call);
        caller.guest.charge(call.cost.get(), Instant::now());
        result
    }

    /// Runs a call where it may block. Its turn comes after those of its own address, then after everybody's.
    async fn dear(
        self: &Arc<Self>,
        caller: &Caller,
        arguments: Arguments,
        room: usize,
        run: fn(&Call<'_>) -> Answer,
    ) -> Answer {
        let closed = |_| RpcError::internal("the service stops");
        let own = Arc::clone(&caller.guest.visitor.dear).acquire_owned().await.map_err(closed)?;
        let all = Arc::clone(&self.dear).acquire_owned().await.map_err(closed)?;
        let (shared, endpoint) = (Arc::clone(self), Arc::clone(&caller.endpoint));
        let (answer, cost) = blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _turn = (own, all);
            let call =
                Call { shared: &shared, arguments, endpoint: &endpoint, room, cost: Cell::new(0) };
            let answer = run(&call);
            (answer, call.cost.get())
        })
        .await;
        caller.guest.charge(cost, Instant::now());
        answer
    }
}

fn on_socket<'a>(caller: &'a Caller, method: &'static Method) -> Result<&'a Arc<Socket>, RpcError> {
    caller.socket.as_ref().ok_or(RpcError::WebSocketOnly { method: method.name })
}
