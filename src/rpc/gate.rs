//! The bytes of a WebSocket client on their way in, frame by frame: what an unfinished message takes is bounded.
//!
//! The library below the service makes room for a whole frame as soon as it has read its head, and keeps that room for as
//! long as the connection lives: 14 bytes would hold the largest message, on each connection and for ever. So a frame passes
//! here first. A longer one is handed on in short ones, as if the client had cut it; a message beyond 64 KiB takes room of
//! the budget before any more of it is read; and a message that is not complete in time ends the connection.

use crate::rpc::RpcError;
use crate::rpc::rooms::Room;
use crate::rpc::visitors::Guest;
use bytes::{Buf as _, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The longest frame that is handed on: a multiple of the mask's four bytes, so that each piece begins with its first.
pub(super) const PIECE: usize = 16 << 10;

/// A longer message takes room of the budget.
pub(super) const LONG: usize = 64 << 10;

/// Bytes that are read at once.
const READ: usize = 4 << 10;

/// Bits of a frame's first two bytes.
const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Where the room of the message that is being read lies until the message is taken.
pub(super) type MessageRoom = Arc<Mutex<Option<Room>>>;

/// Bounds of a client's messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of a message.
    pub(super) most: usize,
    /// Time for a message, from its first byte to its last.
    pub(super) patience: Duration,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    first: u8,
    length: u64,
    mask: Option<[u8; 4]>,
}

impl Head {
    /// Reads a head from the front, if it is there, and how many bytes it takes.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [first, second] = *bytes.first_chunk::<2>()?;
        let rest = bytes.get(2..)?;
        let (length, size) = match second & LENGTH {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2_usize),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
            short => (u64::from(short), 0),
        };
        let rest = rest.get(size..)?;
        let (mask, masked) = match second & MASKED {
            0 => (None, 0_usize),
            _ => (Some(*rest.first_chunk()?), 4),
        };
        Some((Self { first, length, mask }, size.saturating_add(masked).saturating_add(2)))
    }

    fn write(self, into: &mut BytesMut) {
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        into.extend_from_slice(&[self.first]);
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length), _) if length < 126 => into.extend_from_slice(&[masked | length]),
            (_, Ok(length)) => {
                into.extend_from_slice(&[masked | 126]);
                into.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                into.extend_from_slice(&[masked | 127]);
                into.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            into.extend_from_slice(&mask);
        }
    }

    const fn is_control(self) -> bool {
        self.first & CONTROL != 0
    }

    const fn is_final(self) -> bool {
        self.first & FINAL != 0
    }

    const fn begins_a_message(self) -> bool {
        self.first & OPCODE != 0
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<Room, RpcError>> + Send>>;

/// A WebSocket client's bytes.
pub(super) struct Gate<S> {
    inner: S,
    guest: Arc<Guest>,
    bounds: Bounds,
    /// What was read and not looked at.
    input: BytesMut,
    /// What may be handed on before anything else: a head.
    output: BytesMut,
    /// Bytes of the piece that is being handed on which are still to come.
    piece: u64,
    /// The frame that is being handed on in pieces, with the bytes that are left of it beyond the piece.
    frame: Option<Head>,
    /// Bytes of the message so far, control frames aside, and whether it is complete when the piece is.
    message: u64,
    is_last: bool,
    taking: Option<Taking>,
    has_room: bool,
    room: MessageRoom,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    pub(super) fn new(inner: S, guest: Arc<Guest>, bounds: Bounds, room: MessageRoom) -> Self {
        Self {
            inner,
            guest,
            bounds,
            input: BytesMut::new(),
            output: BytesMut::new(),
            piece: 0,
            frame: None,
            message: 0,
            is_last: false,
            taking: None,
            has_room: false,
            room,
            deadline: None,
        }
    }

    /// Whether more is read of something that is not complete.
    fn is_within(&self) -> bool {
        self.piece > 0 || self.frame.is_some() || self.message > 0 || !self.input.is_empty()
    }

    /// When what is not complete must be.
    fn watch(&mut self) -> Pin<&mut Sleep> {
        let patience = self.bounds.patience;
        self.deadline.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut()
    }

    /// Hands on what is there. Whether that was anything.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if !self.output.is_empty() {
            let count = self.output.len().min(buffer.remaining());
            buffer.put_slice(&self.output.split_to(count));
            return true;
        }
        let count = self.input.len().min(buffer.remaining());
        let count = count.min(usize::try_from(self.piece).unwrap_or(usize::MAX));
        if count == 0 {
            return false;
        }
        buffer.put_slice(self.input.get(..count).unwrap_or_default());
        self.input.advance(count);
        self.piece = self.piece.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        true
    }

    /// Looks at the next frame, or the next piece of one, if its head is there: what it needs, in bytes.
    fn next_frame(&mut self) -> Option<Option<usize>> {
        if self.frame.is_some() {
            return Some(None);
        }
        let (head, size) = Head::read(&self.input)?;
        self.input.advance(size);
        if head.is_control() {
            self.pass(head);
            return Some(None);
        }
        if head.begins_a_message() {
            self.message = 0;
        }
        let before = self.message;
        self.message = before.saturating_add(head.length);
        let most = u64::try_from(self.bounds.most).unwrap_or(u64::MAX);
        if self.message > most {
            // Told as it is: who reads it says that it is too long.
            self.pass(head);
            return Some(None);
        }
        self.frame = Some(head);
        let long = u64::try_from(LONG).unwrap_or(u64::MAX);
        if self.message <= long || self.has_room {
            return Some(None);
        }
        // How long a message of several frames becomes is not known.
        let is_whole = before == 0 && head.is_final();
        Some(Some(if is_whole {
            usize::try_from(self.message).unwrap_or(self.bounds.most)
        } else {
            self.bounds.most
        }))
    }

    /// Hands on a frame as it is.
    fn pass(&mut self, head: Head) {
        head.write(&mut self.output);
        self.piece = head.length;
    }

    /// Begins the next piece of the frame.
    fn next_piece(&mut self) {
        let Some(mut frame) = self.frame.take() else { return };
        let piece = u64::try_from(PIECE).unwrap_or(u64::MAX);
        if frame.length <= piece {
            self.is_last = frame.is_final();
            self.pass(frame);
            return;
        }
        Head { first: frame.first & !FINAL, length: piece, mask: frame.mask }
            .write(&mut self.output);
        self.piece = piece;
        frame.length = frame.length.saturating_sub(piece);
        frame.first &= !OPCODE;
        self.frame = Some(frame);
    }

    /// Notes that the piece is handed on: with it perhaps the message.
    fn piece_done(&mut self) {
        if self.piece == 0 && self.output.is_empty() && self.is_last {
            (self.message, self.is_last, self.has_room) = (0, false, false);
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(taking) = &mut this.taking {
                if let Some(deadline) = &mut this.deadline
                    && deadline.as_mut().poll(context).is_ready()
                {
                    return Poll::Ready(Err(late()));
                }
                let room = ready!(taking.as_mut().poll(context)).map_err(io::Error::other)?;
                *this.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
                (this.taking, this.has_room) = (None, true);
            }
            // One piece at a time: what comes behind a message stays here until it was taken.
            if this.hand_on(buffer) {
                this.piece_done();
                return Poll::Ready(Ok(()));
            }
            if this.piece == 0
                && let Some(needed) = this.next_frame()
            {
                if let Some(bytes) = needed {
                    this.watch();
                    let guest = Arc::clone(&this.guest);
                    this.taking = Some(Box::pin(async move { guest.request_room(bytes).await }));
                    continue;
                }
                this.next_piece();
                continue;
            }
            if !this.is_within() {
                this.deadline = None;
            } else if this.watch().poll(context).is_ready() {
                return Poll::Ready(Err(late()));
            }
            this.input.reserve(READ);
            let mut fresh = [0; READ];
            let mut fresh = ReadBuf::new(&mut fresh);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut fresh))?;
            if fresh.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(fresh.filled());
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "a message was not complete in time")
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
