//! What a tool sees of its call. In hands this is exactly what the socketpair protocol carries.

use crate::{Effect, Error, Result, Workspace};
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What a running tool sends to the daemon.
#[derive(Debug)]
pub enum Outgoing {
    /// How far it is.
    Progress(Progress),
    /// What is about to be changed, kept by the daemon before the change.
    BeforeImage {
        /// Relative to the workspace.
        path: String,
        /// The file as it is now, open for reading; `None` where there is none yet.
        file: Option<OwnedFd>,
        /// Answered once the copy is durable.
        kept: oneshot::Sender<Result<()>>,
    },
    /// A result too large to be part of the answer.
    Blob {
        /// The content, open for reading from offset 0.
        file: OwnedFd,
        /// A file name to show.
        name: String,
        /// Like `text/plain`.
        media_type: String,
        /// Answered with the URI under which a client reads it.
        stored: oneshot::Sender<Result<String>>,
    },
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Units done, increasing.
    pub done: f64,
    /// Units in all, where known.
    pub total: Option<f64>,
    /// What is being done.
    pub message: String,
}

/// The context of one call.
#[derive(Clone, Debug)]
pub struct CallCtx {
    /// Set when the client no longer wants the answer; checked in loops.
    pub cancel: CancellationToken,
    /// How many bytes of answer the caller wants at most.
    pub max_bytes: usize,
    /// What this input does.
    pub effect: Effect,
    workspace: Option<Arc<Workspace>>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl CallCtx {
    /// A context whose messages arrive at `outgoing`.
    #[must_use]
    pub const fn new(
        cancel: CancellationToken,
        max_bytes: usize,
        effect: Effect,
        workspace: Option<Arc<Workspace>>,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Self {
        Self { cancel, max_bytes, effect, workspace, outgoing }
    }

    /// The directory the caller works in.
    ///
    /// # Errors
    /// `InvalidInput` when the session has none.
    pub fn workspace(&self) -> Result<&Arc<Workspace>> {
        self.workspace.as_ref().ok_or_else(|| {
            Error::invalid_input(
                "this session has no workspace; start the shim in a project directory or with `--workspace DIR`",
            )
        })
    }

    /// Stops the call if the client canceled it.
    ///
    /// # Errors
    /// `Canceled`.
    pub fn check_canceled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::canceled("the client canceled the call")) } else { Ok(()) }
    }

    /// Reports progress; dropped if the daemon is slow to take it.
    pub fn progress(&self, done: f64, total: Option<f64>, message: impl Into<String>) {
        // A full or closed channel loses one report, which the next one replaces.
        let _ = self.outgoing.try_send(Outgoing::Progress(Progress { done, total, message: message.into() }));
    }

    /// Passes on a message that came from another process.
    ///
    /// # Errors
    /// `Canceled` when the daemon no longer listens.
    pub async fn forward(&self, message: Outgoing) -> Result<()> {
        self.outgoing.send(message).await.map_err(|_| gone())
    }

    /// Hands over what `path` holds before it is changed, and waits until it is kept.
    ///
    /// # Errors
    /// What the daemon says when it cannot keep it; then nothing may be changed.
    pub async fn keep_before(&self, path: &str, file: Option<OwnedFd>) -> Result<()> {
        let (kept, answer) = oneshot::channel();
        self.forward(Outgoing::BeforeImage { path: path.to_owned(), file, kept }).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Stores a large result; returns its URI.
    ///
    /// # Errors
    /// What the daemon says when it cannot store it.
    pub async fn store_blob(&self, file: OwnedFd, name: &str, media_type: &str) -> Result<String> {
        let (stored, answer) = oneshot::channel();
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        self.forward(Outgoing::Blob { file, name, media_type, stored }).await?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::canceled("the daemon no longer listens to this call")
}
