//! The connected socket as both ends use it.
//!
//! tokio asks the kernel to be woken for reading and writing alike, and a Unix socket becomes "writable" whenever the
//! other end has read something. So each message would wake its sender a second time, to nothing, and the reader pays
//! for waking it: on an idle processor that costs more than the message. A [`QuietStream`] waits for writability only
//! while its buffer is full.

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixStream, unix::pipe},
};

/// A connected Unix socket that wakes its task for nothing else than what the task waits for.
#[derive(Debug)]
pub struct QuietStream {
    socket: OwnedFd,
    /// The same socket, registered for reading. tokio's pipe is the type that can be registered for one direction; of
    /// what makes it a pipe nothing is used.
    readable: pipe::Receiver,
    /// The same socket, registered for writing while its buffer is full.
    writable: Option<pipe::Sender>,
}

impl QuietStream {
    /// Takes a stream over. Must be called in a runtime.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let socket = OwnedFd::from(stream.into_std()?);
        let readable = pipe::Receiver::from_owned_fd_unchecked(socket.try_clone()?)?;
        Ok(Self { socket, readable, writable: None })
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
    }
}

impl AsyncRead for QuietStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.readable).poll_read(context, buffer)
    }
}

impl AsyncWrite for QuietStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(writable) = &self.writable {
                ready!(writable.poll_write_ready(context))?;
            }
            let written = match &self.writable {
                Some(writable) => writable.try_io(|| self.write(parts)),
                None => self.write(parts),
            };
            match written {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    if self.writable.is_none() {
                        let socket = self.socket.try_clone()?;
                        self.writable = Some(pipe::Sender::from_owned_fd_unchecked(socket)?);
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    self.writable = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&self.socket, Shutdown::Write) {
            // The other end is gone already.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(err) => Poll::Ready(Err(err.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn more_than_a_buffer_passes_whole_both_ways() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut here, mut there) = (QuietStream::new(here).unwrap(), QuietStream::new(there).unwrap());
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let echo = tokio::spawn(async move {
            let mut received = Vec::new();
            there.read_to_end(&mut received).await.unwrap();
            there.write_all(&received).await.unwrap();
        });
        here.write_all(&sent).await.unwrap();
        here.shutdown().await.unwrap();
        let mut back = Vec::new();
        here.read_to_end(&mut back).await.unwrap();
        echo.await.unwrap();
        assert!(back == sent, "{} bytes came back", back.len());
    }

    #[tokio::test]
    async fn a_closed_end_is_an_error_and_no_signal() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut here = QuietStream::new(here).unwrap();
        drop(there);
        assert_eq!(here.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
