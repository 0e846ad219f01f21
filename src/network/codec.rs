//! Frames on a stream: four bytes of length, then the message; one byte acknowledges it.

use crate::network::MAX_MESSAGE_BYTES;
use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use std::io;

/// Name and version of the protocol, as both sides must speak it.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/rota/link/2");

/// Says that a message was taken.
const TAKEN: u8 = 1;

/// Reads and writes frames; a frame that announces more than [`MAX_MESSAGE_BYTES`] is not read, and comes out empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames;

#[async_trait::async_trait]
impl libp2p::request_response::Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Bytes;
    type Response = ();

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Bytes>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE_BYTES {
            // libp2p keeps errors of this function to itself. An empty frame is no message either, and is judged.
            return Ok(Bytes::new());
        }
        let mut frame = vec![0; length];
        io.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut answer = [0; 1];
        io.read_exact(&mut answer).await?;
        if answer == [TAKEN] {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "not an acknowledgement"))
        }
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        frame: Bytes,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(&frame).await?;
        io.flush().await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[TAKEN]).await?;
        io.flush().await
    }
}
