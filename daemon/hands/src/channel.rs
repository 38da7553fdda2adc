//! Frames over a stream socket: length (u32, little-endian), number of descriptors (u8), message. Descriptors
//! ride on the first byte of their frame (unix(7), `SCM_RIGHTS`).

use crate::protocol::MAX_MESSAGE_BYTES;
use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};
use tokio::{io::Interest, net::UnixStream, sync::Mutex};

const HEADER_BYTES: usize = 5;
const READ_BYTES: usize = 64 << 10;
/// No message carries more.
const MOST_DESCRIPTORS: usize = 4;

/// The sending end. Clones share it; a frame is never interleaved with another.
#[derive(Clone)]
pub(crate) struct Sender<M> {
    pen: Pen,
    message: PhantomData<fn(M)>,
}

/// The receiving end.
pub(crate) struct Receiver<M> {
    stream: Arc<UnixStream>,
    buffer: BytesMut,
    descriptors: VecDeque<OwnedFd>,
    message: PhantomData<fn() -> M>,
}

/// Both ends of a connected socket.
pub(crate) fn split<S, R>(stream: UnixStream) -> (Sender<S>, Receiver<R>) {
    let stream = Arc::new(stream);
    let pen = Pen { stream: stream.clone(), turn: Arc::default() };
    let sender = Sender { pen, message: PhantomData };
    let receiver =
        Receiver { stream, buffer: BytesMut::new(), descriptors: VecDeque::new(), message: PhantomData };
    (sender, receiver)
}

impl<M: Message> Sender<M> {
    /// Sends one message with its descriptor, if it has one.
    pub(crate) async fn send(&self, message: &M, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let length = message.encoded_len();
        let header = u32::try_from(length).map_err(io::Error::other)?.to_le_bytes();
        let mut frame = Vec::with_capacity(length + HEADER_BYTES);
        frame.extend_from_slice(&header);
        frame.push(u8::from(descriptor.is_some()));
        message.encode(&mut frame).map_err(io::Error::other)?;

        // In a task of its own: a caller that is given up in the middle must not leave half a frame.
        let pen = self.pen.clone();
        tokio::spawn(async move { pen.write(&frame, descriptor).await }).await.map_err(io::Error::other)?
    }

    /// Tells the other end that nothing more comes.
    pub(crate) fn close(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&*self.pen.stream, rustix::net::Shutdown::Write);
    }
}

/// Writes whole frames, one at a time.
#[derive(Clone)]
struct Pen {
    stream: Arc<UnixStream>,
    turn: Arc<Mutex<()>>,
}

impl Pen {
    async fn write(&self, frame: &[u8], descriptor: Option<OwnedFd>) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let mut rest = frame;
        let mut descriptor = descriptor;
        while !rest.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    let borrowed = descriptor.as_ref().map(|fd| [fd.as_fd()]);
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if let Some(fds) = &borrowed {
                        control.push(SendAncillaryMessage::ScmRights(fds));
                    }
                    let sent =
                        sendmsg(&self.stream, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL)?;
                    Ok(sent)
                })
                .await?;
            descriptor = None;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }
}

impl<M: Message + Default> Receiver<M> {
    /// The next message and its descriptor; `None` once the other end is closed.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<(M, Option<OwnedFd>)>> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(Some(frame));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<Option<(M, Option<OwnedFd>)>> {
        let Some(&[a, b, c, d, count]) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let body: Bytes = self.buffer.split_to(length).freeze();
        let descriptor = if count > 0 {
            let missing = || io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing");
            Some(self.descriptors.pop_front().ok_or_else(missing)?)
        } else {
            None
        };
        Ok(Some((M::decode(body).map_err(io::Error::other)?, descriptor)))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let Self { stream, buffer, descriptors, .. } = self;
        let start = buffer.len();
        let room = (buffer.capacity() - start).max(READ_BYTES);
        buffer.resize(start + room, 0);
        let read = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let target = buffer.get_mut(start..).unwrap_or_default();
                let got = recvmsg(
                    &**stream,
                    &mut [IoSliceMut::new(target)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        descriptors.extend(fds);
                    }
                }
                Ok(got.bytes)
            })
            .await;
        buffer.truncate(start + read.as_ref().map_or(0, |count| *count));
        read
    }
}
