//! A connection's bytes. While a client does not take its answers, nothing more is read from it: what it asks for would
//! pile up here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A TCP stream that fails once the client has taken nothing for as long as `patience`, though something was there.
pub(super) struct Stream {
    inner: TcpStream,
    patience: Duration,
    /// Since the client takes nothing: when that becomes too long.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Who wants to read meanwhile.
    reader: Option<Waker>,
}

impl Stream {
    pub(super) const fn new(inner: TcpStream, patience: Duration) -> Self {
        Self { inner, patience, stalled: None, reader: None }
    }

    /// Notes whether a write went on; a stall that lasts too long is an error.
    fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let patience = self.patience;
        if written.is_ready() {
            self.stalled = None;
        } else {
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
            ready!(stalled.as_mut().poll(context));
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
        if let Some(stalled) = &self.stalled {
            if stalled.deadline() <= Instant::now() {
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
