//! What a command writes: read as long as it writes, up to a limit.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::Notify, task::JoinHandle, time::timeout};

/// Of the last line that is shown while a command runs; it is cut when nothing secret is in it.
const LONGEST_LINE: usize = 64 << 10;

/// Of stdout or stderr. A command that writes more is ended: what is kept of both must fit a message to the client.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// After the end of a command its pipes are closed, unless it handed them to somebody outside.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One stream that is read in the background.
pub(crate) struct Capture {
    shared: Arc<Shared>,
    reader: JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct Shared {
    bytes: Mutex<Vec<u8>>,
    is_full: AtomicBool,
}

impl Capture {
    /// Reads up to `most` bytes from a new pipe, whose other end is returned. `changed` is told when something came.
    pub(crate) fn start(changed: &Arc<Notify>, most: usize) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        let mut read = pipe::Receiver::from_owned_fd(read)?;
        let shared = Arc::new(Shared::default());
        let (into, changed) = (shared.clone(), changed.clone());
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let length = read.read(&mut buffer).await?;
                if length == 0 {
                    return Ok(());
                }
                let mut bytes = into.bytes();
                let room = most.saturating_sub(bytes.len()).min(length);
                bytes.extend_from_slice(buffer.get(..room).unwrap_or_default());
                if room < length {
                    into.is_full.store(true, Ordering::Relaxed);
                }
                drop(bytes);
                changed.notify_one();
            }
        });
        Ok((Self { shared, reader }, write))
    }

    /// Whether it wrote more than is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    /// How much came, and the last line of it.
    pub(crate) fn last_line(&self) -> (usize, String) {
        let bytes = self.shared.bytes();
        let tail = bytes.get(bytes.len().saturating_sub(LONGEST_LINE)..).unwrap_or_default();
        let tail = String::from_utf8_lossy(tail);
        (bytes.len(), tail.trim_end().lines().next_back().unwrap_or_default().to_owned())
    }

    /// Whether it wrote more than is kept, and what is, once the command has ended.
    pub(crate) async fn finish(mut self) -> (bool, Vec<u8>) {
        // What could not be read is not there.
        let _ = timeout(LAST_WORDS, &mut self.reader).await;
        self.reader.abort();
        let bytes = std::mem::take(&mut *self.shared.bytes());
        (self.is_full(), bytes)
    }
}

impl Shared {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // Bytes are added, so a panic leaves them whole.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
