//! Whether the daemon can do what a call needs of it.

use skynet_store::{Ledger, Table, Tables};
use std::io;
use tokio::sync::{mpsc, oneshot};

/// The row that is written to see whether one can be.
const ROW: &str = "beat";

/// Somebody to look after the daemon, who is never too busy.
pub(crate) struct Health(mpsc::Sender<oneshot::Sender<bool>>);

impl Health {
    /// Looks on a thread of its own: however many calls wait for threads, the answer does not wait behind them.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub(crate) fn new(tables: &Tables, audit: Ledger) -> io::Result<Self> {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<bool>>(1);
        let beats: Table<u64> = tables.table("health");
        std::thread::Builder::new().name("health".into()).spawn(move || {
            while let Some(reply) = asked.blocking_recv() {
                // That a disk is full is no illness, another daemon would have no more room: what counts is an answer.
                let _ = beats.offer(ROW, &audit.len());
                // Who asked may have given up.
                let _ = reply.send(audit.is_working());
            }
        })?;
        Ok(Self(ask))
    }

    /// Goes where calls go: onto the runtime, into the state database and to the audit log. Waits for as long as something hangs.
    ///
    /// # Errors
    /// In words, what does not work and will not by itself.
    pub(crate) async fn check(&self) -> Result<(), &'static str> {
        let (reply, answer) = oneshot::channel();
        if self.0.send(reply).await.is_ok() && answer.await == Ok(true) {
            return Ok(());
        }
        Err("the audit log can no longer be written for good")
    }
}
