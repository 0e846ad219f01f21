//! A connection's bytes. While a client does not take its answers, nothing more is read from it: what it asks for would
//! pile up here. And it must take them at a pace: an answer holds memory until all of it is taken, so a client that takes a
//! few bytes now and then would hold it for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes a second that a client has to take in the long run while something waits for it.
const PACE: u64 = 64 << 10;

/// A TCP stream that fails once the client has kept what it should take waiting for as long as `patience`. Each byte that
/// it takes gives a little of that back, as [`PACE`] says.
pub(super) struct Stream {
    inner: TcpStream,
    patience: Duration,
    /// How much longer the client may keep bytes waiting.
    left: Duration,
    /// Since the client takes nothing: since when, and when that becomes too long.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Who wants to read meanwhile.
    reader: Option<Waker>,
}

impl Stream {
    pub(super) const fn new(inner: TcpStream, patience: Duration) -> Self {
        Self { inner, patience, left: patience, stalled: None, reader: None }
    }

    /// Notes that so many bytes were taken after a stall, if there was one.
    fn went_on(&mut self, bytes: usize) {
        if let Some((since, _)) = self.stalled.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let nanos = bytes.saturating_mul(1_000_000_000).checked_div(PACE).unwrap_or_default();
        self.left = self.left.saturating_add(Duration::from_nanos(nanos)).min(self.patience);
    }

    /// Notes whether a write went on; a stall that lasts too long is an error.
    fn watch(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(result) => self.went_on(*result.as_ref().unwrap_or(&0)),
            Poll::Pending => {
                let left = self.left;
                let (_, late) =
                    self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
                ready!(late.as_mut().poll(context));
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if written.is_ready() {
            return written;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answers")))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((_, late)) = &self.stalled {
            if late.deadline() <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_not_read_and_then_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) =
            tokio::io::split(Stream::new(served, Duration::from_millis(300)));

        client.write_all(b"a").await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), b'a');
        let answers = tokio::spawn(async move {
            let chunk = vec![0; 1 << 20];
            loop {
                writer.write_all(&chunk).await?;
            }
        });
        // Far more than the buffers between the two hold: until the stall ends nothing of this is read.
        client.write_all(b"b").await.unwrap();
        let cut: std::io::Result<()> = answers.await.unwrap();
        assert_eq!(cut.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(reader.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }

    /// Loopback takes some megabytes by itself before anything waits.
    #[tokio::test]
    async fn a_client_that_takes_a_little_now_and_then_is_cut_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let (_reader, mut writer) =
            tokio::io::split(Stream::new(served, Duration::from_millis(600)));
        let answers = tokio::spawn(async move {
            let chunk = vec![0; 1 << 20];
            loop {
                writer.write_all(&chunk).await?;
            }
        });
        let drips = async {
            let mut drop = vec![0; 4_096];
            loop {
                tokio::time::sleep(Duration::from_millis(150)).await;
                if client.read(&mut drop).await.unwrap_or(0) == 0 {
                    std::future::pending::<()>().await;
                }
            }
        };
        let cut: std::io::Result<()> = tokio::select! {
            cut = answers => cut.unwrap(),
            () = drips => unreachable!(),
            () = tokio::time::sleep(Duration::from_secs(120)) => panic!("served for ever"),
        };
        assert_eq!(cut.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn reading_goes_on_once_the_client_takes_its_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) =
            tokio::io::split(Stream::new(served, Duration::from_secs(60)));
        let bytes = 32 << 20;
        let answers = tokio::spawn(async move { writer.write_all(&vec![7; bytes]).await });
        client.write_all(b"b").await.unwrap();
        let asked = tokio::spawn(async move { reader.read_u8().await });
        client.read_exact(&mut vec![0; bytes]).await.unwrap();
        answers.await.unwrap().unwrap();
        assert_eq!(asked.await.unwrap().unwrap(), b'b');
    }
}
