//! Whether the daemon can do what a call needs of it.

use skynet_store::{Ledger, Table, Tables};

/// The row that is written to see whether one can be.
const ROW: &str = "beat";

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Health {
    beats: Table<u64>,
    audit: Ledger,
}

impl Health {
    pub(crate) fn new(tables: &Tables, audit: Ledger) -> Self {
        Self { beats: tables.table("health"), audit }
    }

    /// Goes where calls go: onto the runtime, onto a thread for what blocks, into the state database and to the audit log. That
    /// a disk is full is no illness, another daemon would have no more room; so what counts is that there is an answer. Waits
    /// for ever where something hangs.
    ///
    /// # Errors
    /// In words, what does not work and will not by itself.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let here = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            // Full or not, it answers.
            let _ = here.beats.offer(ROW, &here.audit.len());
            here.audit.is_working()
        });
        match looked.await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the audit log can no longer be written for good".into()),
            Err(err) => Err(format!("looking after itself failed: {err}")),
        }
    }
}
