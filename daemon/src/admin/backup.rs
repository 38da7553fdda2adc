//! A backup on its way to one client.

use super::Office;
use crate::backup;
use bytes::Bytes;
use skynet_proto::BackupPart;
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Of one message.
const PART_BYTES: usize = 256 << 10;

/// Parts that wait for the client.
const BUFFERED_PARTS: usize = 4;

pub(super) type Parts = ReceiverStream<Result<BackupPart, Status>>;

/// Begins to send one.
pub(super) fn send(office: Office) -> Parts {
    let (to, parts) = mpsc::channel(BUFFERED_PARTS);
    tokio::task::spawn_blocking(move || {
        let out = BufWriter::with_capacity(PART_BYTES, Sender(to.clone()));
        match backup::create(&office.state, &office.services.tables, out) {
            Ok(()) => {
                // A client that left has no use for it.
                let _ = to.blocking_send(Ok(BackupPart { content: Bytes::new(), is_last: true }));
                tracing::info!("a backup was made");
            }
            Err(_) if to.is_closed() => tracing::warn!("a backup was given up by whom it was for"),
            Err(err) => {
                let reason = format!("{err:#}");
                tracing::error!(error = reason, "a backup could not be made");
                // A client that left does not need the reason.
                let _ = to.blocking_send(Err(Status::internal(reason)));
            }
        }
    });
    ReceiverStream::new(parts)
}

struct Sender(mpsc::Sender<Result<BackupPart, Status>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = BackupPart { content: Bytes::copy_from_slice(bytes), is_last: false };
        self.0.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
