//! Lines from stdin and to stdout, without blocking where they are pipes or sockets.

use crate::scan::Scanner;
use bytes::{Bytes, BytesMut};
use skynet_proto::MAX_FRAME_BYTES;
use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixStream, unix::pipe},
};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// Of the pipe to the client: the most that an ordinary user may ask for.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// A line of the client.
pub(crate) enum Line {
    /// With what was found in it.
    Whole(Bytes, Scanner),
    /// Longer than a frame may be; its bytes are gone.
    TooLong(Scanner),
}

/// Stdin, line by line.
pub(crate) struct Lines {
    source: Pin<Box<dyn AsyncRead>>,
    buffer: BytesMut,
    /// Of the buffer, already searched for a line feed.
    searched: usize,
    scanner: Scanner,
    is_skipping: bool,
}

impl Lines {
    pub(crate) fn stdin() -> io::Result<Self> {
        let source = open_source(io::stdin().as_fd().try_clone_to_owned()?)?;
        Ok(Self {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            scanner: Scanner::default(),
            is_skipping: false,
        })
    }

    /// The next line that is not blank; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.next_buffered() {
                return Ok(Some(line));
            }
            self.buffer.reserve(READ_BYTES);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                // A last line without line feed counts.
                let rest = self.buffer.split();
                self.searched = 0;
                return Ok(self.finish(rest.freeze()));
            }
        }
    }

    fn next_buffered(&mut self) -> Option<Line> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(end) = fresh.iter().position(|&byte| byte == b'\n') else {
                self.scanner.feed(fresh);
                self.searched = self.buffer.len();
                if self.buffer.len() > MAX_FRAME_BYTES || self.is_skipping {
                    self.is_skipping = true;
                    self.buffer.clear();
                    self.searched = 0;
                }
                return None;
            };
            let line = self.buffer.split_to(self.searched + end + 1).freeze();
            let line = line.slice(..line.len() - 1);
            let unscanned = line.slice(self.searched..);
            self.searched = 0;
            self.scanner.feed(&unscanned);
            if let Some(line) = self.finish_scanned(line) {
                return Some(line);
            }
        }
    }

    fn finish(&mut self, rest: Bytes) -> Option<Line> {
        // What is left was scanned when it arrived.
        self.finish_scanned(rest)
    }

    fn finish_scanned(&mut self, line: Bytes) -> Option<Line> {
        let scanner = std::mem::take(&mut self.scanner);
        if std::mem::take(&mut self.is_skipping) || line.len() > MAX_FRAME_BYTES {
            return Some(Line::TooLong(scanner));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(Line::Whole(line, scanner))
    }
}

/// Stdout.
pub(crate) struct Output(Pin<Box<dyn AsyncWrite>>);

impl Output {
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self(open_sink(io::stdout().as_fd().try_clone_to_owned()?)?))
    }

    /// Writes whole lines, each with its line feed: in one piece, so that the client is woken once.
    pub(crate) async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.0.write_all(lines).await?;
        self.0.flush().await
    }
}

/// Text of the shim itself, before the relay starts.
pub(crate) fn print(text: &str) {
    // A closed stdout means that nobody reads it.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn open_source(fd: OwnedFd) -> io::Result<Pin<Box<dyn AsyncRead>>> {
    use rustix::fs::FileType;
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        // Opened anew, so that `O_NONBLOCK` is ours alone and not set for whoever shares the pipe. A pipe that
        // another user made, such as a client that changed its uid for us, can only be used as it is.
        FileType::Fifo => match pipe::OpenOptions::new().open_receiver(proc_path(&fd)) {
            Ok(receiver) => Box::pin(receiver),
            Err(_) => Box::pin(pipe::Receiver::from_owned_fd(fd)?),
        },
        FileType::Socket => Box::pin(socket(fd)?),
        _ => Box::pin(tokio::fs::File::from_std(File::from(fd))),
    })
}

fn open_sink(fd: OwnedFd) -> io::Result<Pin<Box<dyn AsyncWrite>>> {
    use rustix::fs::FileType;
    // A large answer then needs no turn of the client for every 64 KiB. Only speed is lost if the user's share of
    // pipe memory is used up (pipe(7), `pipe-user-pages-soft`). Other systems than Linux have no such call.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&fd, PIPE_BYTES);
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::Fifo => match pipe::OpenOptions::new().open_sender(proc_path(&fd)) {
            Ok(sender) => Box::pin(sender),
            Err(_) => Box::pin(pipe::Sender::from_owned_fd(fd)?),
        },
        FileType::Socket => Box::pin(socket(fd)?),
        _ => Box::pin(tokio::fs::File::from_std(File::from(fd))),
    })
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn proc_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
