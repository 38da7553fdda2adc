//! What a tool sees of its call. In hands this is exactly what the socketpair protocol carries.

use crate::{
    Caller, Effect, Error, JobLimit, Result, Usage, Workspace,
    change::{Changed, Elsewhere, Entry, Extent},
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Takes what a running call hands out besides its answer.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Shows how far the call is. A report may be lost; the next one replaces it.
    fn progress(&self, progress: Progress);

    /// Keeps what is about to be changed: `file`, open for reading, is what `path` (relative to the workspace)
    /// holds now, `None` where there is nothing yet. Returns once the copy is durable.
    async fn keep_before(&self, path: &str, file: Option<OwnedFd>, extent: Extent) -> Result<()>;

    /// Notes what a path that was handed over before is now, for who knows it better than whoever looks at the end.
    fn note_after(&self, _path: &str, _after: Option<Entry>) {}

    /// Notes where a path that was handed over with all it holds is now, if it went, or was before, if it came. Of what is no
    /// directory nothing is noted.
    fn note_tree(&self, _path: &str, _elsewhere: Elsewhere) {}

    /// Notes what a call did to the paths that it handed over before.
    fn note_changes(&self, _changes: Vec<Changed>) {}

    /// Notes what the call used, however it ends; what is told more than once is added up. Tools in hands have their
    /// changes noted instead.
    fn charge(&self, _usage: Usage) {}

    /// Stores a result too large for the answer, from offset 0 of `file`; returns the URI under which a client
    /// reads it. `name` is a file name to show, `media_type` like `text/plain`.
    async fn store_blob(&self, file: OwnedFd, name: &str, media_type: &str) -> Result<String>;

    /// Keeps what a preview found, from offset 0 of `file`; returns its SHA-256 in hexadecimal, under which
    /// [`Outbox::open_kept`] finds it.
    async fn keep_preview(&self, _file: OwnedFd) -> Result<String> {
        Err(Error::internal("no previews are kept here"))
    }

    /// The value of a secret of the caller's (`deploy`) or of a variable of an encrypted file of the workspace
    /// (`.env.skynet#TOKEN`), for what is started on his behalf and for nothing else. `audience` are the
    /// hosts, as names or `*.` and a name, that what is started can reach.
    async fn secret(&self, _name: &str, _audience: &[String]) -> Result<Vec<u8>> {
        Err(Error::internal("no secrets are given out here"))
    }

    /// The same for who asks for the value again and again, also when the call has ended. Whoever is refused it now is told so now.
    async fn standing_secret(&self, _name: &str, _audience: &[String]) -> Result<Arc<dyn Standing>> {
        Err(Error::internal("no secrets are given out here"))
    }

    /// Whether [`Outbox::secret`] could give that one to this caller, as far as that is known without reading his files.
    async fn check_secret(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    /// The names and values of all variables of an encrypted file of the workspace, as [`Outbox::secret`].
    async fn secrets(&self, _file: &str, _audience: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        Err(Error::internal("no secrets are given out here"))
    }

    /// What the caller has for Git at this remote.
    async fn credential(&self, _remote: &Remote) -> Result<Credential> {
        Err(Error::internal("no credentials are given out here"))
    }

    /// A connection to the caller's SSH agent, for what is started on his behalf by a call that a human confirmed.
    async fn agent(&self, _is_confirmed: bool) -> Result<OwnedFd> {
        Err(Error::internal("no agent is lent here"))
    }

    /// Opens for reading what was kept for the same caller: nothing of one kind is found as another.
    async fn open_kept(&self, _what: Keep, _name: &str) -> Result<OwnedFd> {
        Err(Error::internal("nothing is kept here"))
    }
}

/// A secret for which somebody may ask more than once: it may be rotated, deleted or for other hosts meanwhile.
#[async_trait]
pub trait Standing: Send + Sync {
    /// The value as it is now.
    ///
    /// # Errors
    /// Those of [`CallCtx::secret`].
    async fn value(&self) -> Result<Vec<u8>>;
}

/// What is kept for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What a preview found, by its SHA-256.
    Preview,
    /// What a file held before a call changed it, by its SHA-256.
    Before,
    /// What calls did in this workspace, one JSON object ([`crate::change::Recorded`]) per line, newest first: of the session or the call
    /// of that name, or all if it is empty.
    Changes,
    /// JSON, a [`Credential`] for the remote that the call may reach: what [`Outbox::credential`] says of it.
    Credential,
    /// No file, but [`Outbox::agent`], for a call that a human confirmed and a remote by SSH.
    Agent,
}

impl Keep {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Before => "before",
            Self::Changes => "changes",
            Self::Credential => "credential",
            Self::Agent => "agent",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Preview, Self::Before, Self::Changes, Self::Credential, Self::Agent];
        all.into_iter().find(|kept| kept.as_str() == name)
    }
}

/// How Git talks to a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Without encryption.
    Http,
    /// With it.
    Https,
    /// Through a shell of the remote's host.
    Ssh,
}

/// Where a remote of a repository is, as its URL says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remote {
    /// How it is reached.
    pub transport: Transport,
    /// A name or an address, as the URL has it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whom the URL names; absent if it names nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// What Git is given for a remote. Is not shown, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credential {
    /// What it is for.
    pub remote: Remote,
    /// The name of the secret.
    pub secret: String,
    /// Who one is there.
    pub username: String,
    /// A password; for [`Transport::Ssh`] a private key.
    pub value: String,
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

/// Where a call comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its session.
    pub session: Uuid,
    /// [`Caller::owner`].
    pub owner: String,
    /// Who makes it.
    pub caller: Caller,
}

/// The context of one call.
#[derive(Clone)]
pub struct CallCtx {
    /// Set when the client no longer wants the answer; checked in loops.
    pub cancel: CancellationToken,
    /// How many bytes of answer the caller wants at most.
    pub max_bytes: usize,
    /// What this input does.
    pub effect: Effect,
    /// Whose call it is; known only to tools that run in the daemon.
    pub origin: Option<Origin>,
    /// What a list of commands allowed to be started: this file, whatever the input calls it. `None` where there is no
    /// list; known only to tools that run in the daemon.
    pub program: Option<PathBuf>,
    /// The same of what the call starts before that, as [`Tool::command_before`](crate::Tool::command_before) says.
    pub program_before: Option<PathBuf>,
    /// How many background jobs of the caller may run, the one included that is started; `None` where nobody said.
    pub jobs: Option<JobLimit>,
    /// Whether a human was asked about just this call, and said yes; known only to tools that run in the daemon.
    pub is_confirmed: bool,
    /// Whether a list of commands judged what this call starts; known only to tools that run in the daemon.
    pub is_listed: bool,
    /// Whether an administrator lends the container engine for this call to a caller who may not use it himself; known only to tools
    /// that run in the daemon.
    pub has_lent_engine: bool,
    workspace: Option<Arc<Workspace>>,
    outbox: Arc<dyn Outbox>,
}

impl CallCtx {
    /// A context that hands out to `outbox`.
    #[must_use]
    pub const fn new(
        cancel: CancellationToken,
        max_bytes: usize,
        effect: Effect,
        workspace: Option<Arc<Workspace>>,
        outbox: Arc<dyn Outbox>,
    ) -> Self {
        Self {
            cancel,
            max_bytes,
            effect,
            origin: None,
            program: None,
            program_before: None,
            jobs: None,
            is_confirmed: false,
            is_listed: false,
            has_lent_engine: false,
            workspace,
            outbox,
        }
    }

    /// The same context, of a call from `origin`.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// The same context, of a call that may start this program.
    #[must_use]
    pub fn with_program(mut self, program: Option<PathBuf>) -> Self {
        self.program = program;
        self
    }

    /// The same context, of a call that may start this one before that.
    #[must_use]
    pub fn with_program_before(mut self, program: Option<PathBuf>) -> Self {
        self.program_before = program;
        self
    }

    /// The same context, of a call that a list of commands judged or not.
    #[must_use]
    pub const fn with_list(mut self, is_listed: bool) -> Self {
        self.is_listed = is_listed;
        self
    }

    /// The same context, of a caller who may have so many background jobs.
    #[must_use]
    pub fn with_jobs(mut self, jobs: Option<JobLimit>) -> Self {
        self.jobs = jobs;
        self
    }

    /// The same context, of a call that a human has confirmed or not.
    #[must_use]
    pub const fn with_confirmation(mut self, is_confirmed: bool) -> Self {
        self.is_confirmed = is_confirmed;
        self
    }

    /// The same context, of a call that the engine is lent for or not.
    #[must_use]
    pub const fn with_lent_engine(mut self, has_lent_engine: bool) -> Self {
        self.has_lent_engine = has_lent_engine;
        self
    }

    /// Whose call it is.
    ///
    /// # Errors
    /// `Internal` in a process that is not told.
    pub fn origin(&self) -> Result<&Origin> {
        self.origin.as_ref().ok_or_else(|| Error::internal("this tool runs in the daemon only"))
    }

    /// The directory the caller works in.
    ///
    /// # Errors
    /// `InvalidInput` when the session has none.
    pub fn workspace(&self) -> Result<&Arc<Workspace>> {
        self.workspace.as_ref().ok_or_else(|| {
            let reason = self.origin.as_ref().and_then(|origin| origin.caller.no_workspace.as_deref());
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            Error::invalid_input(format!(
                "this session has no workspace{reason}; start the shim in a project directory or with `--workspace DIR`",
            ))
        })
    }

    /// Stops the call if the client canceled it.
    ///
    /// # Errors
    /// `Canceled`.
    pub fn check_canceled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::canceled("the client canceled the call")) } else { Ok(()) }
    }

    /// Reports progress.
    pub fn progress(&self, done: f64, total: Option<f64>, message: impl Into<String>) {
        self.outbox.progress(Progress { done, total, message: message.into() });
    }

    /// Hands over what `path` holds before it is changed, and waits until it is kept.
    ///
    /// # Errors
    /// What the daemon says when it cannot keep it; then nothing may be changed.
    pub async fn keep_before(&self, path: &str, file: Option<OwnedFd>, extent: Extent) -> Result<()> {
        self.outbox.keep_before(path, file, extent).await
    }

    /// [`Outbox::note_after`].
    pub fn note_after(&self, path: &str, after: Option<Entry>) {
        self.outbox.note_after(path, after);
    }

    /// [`Outbox::note_tree`].
    pub fn note_tree(&self, path: &str, elsewhere: Elsewhere) {
        self.outbox.note_tree(path, elsewhere);
    }

    /// [`Outbox::note_changes`].
    pub fn note_changes(&self, changes: Vec<Changed>) {
        self.outbox.note_changes(changes);
    }

    /// [`Outbox::charge`].
    pub fn charge(&self, usage: Usage) {
        self.outbox.charge(usage);
    }

    /// [`Outbox::keep_preview`].
    ///
    /// # Errors
    /// What the daemon says when it cannot keep it.
    pub async fn keep_preview(&self, file: OwnedFd) -> Result<String> {
        self.outbox.keep_preview(file).await
    }

    /// [`Outbox::open_kept`].
    ///
    /// # Errors
    /// `NotFound` when there is none (any more).
    pub async fn open_kept(&self, what: Keep, name: &str) -> Result<OwnedFd> {
        self.outbox.open_kept(what, name).await
    }

    /// [`Outbox::secret`].
    ///
    /// # Errors
    /// `NotFound` when there is none of that name, `Denied` when this caller may not use it, or not for this audience.
    pub async fn secret(&self, name: &str, audience: &[String]) -> Result<Vec<u8>> {
        self.outbox.secret(name, audience).await
    }

    /// [`Outbox::standing_secret`].
    ///
    /// # Errors
    /// Those of [`CallCtx::secret`].
    pub async fn standing_secret(&self, name: &str, audience: &[String]) -> Result<Arc<dyn Standing>> {
        self.outbox.standing_secret(name, audience).await
    }

    /// [`Outbox::secrets`].
    ///
    /// # Errors
    /// Those of [`CallCtx::secret`], for any of them.
    pub async fn secrets(&self, file: &str, audience: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        self.outbox.secrets(file, audience).await
    }

    /// [`Outbox::credential`].
    ///
    /// # Errors
    /// `NotFound` when there is none, `Conflict` when there is more than one, `Denied` when this caller may use none, or not
    /// by this transport; each says what would work.
    pub async fn credential(&self, remote: &Remote) -> Result<Credential> {
        self.outbox.credential(remote).await
    }

    /// [`Outbox::agent`].
    ///
    /// # Errors
    /// `NotFound` when none is lent, `Denied` when this call gets none, `Unavailable` when it does not listen.
    pub async fn agent(&self) -> Result<OwnedFd> {
        self.outbox.agent(self.is_confirmed).await
    }

    /// Stores a large result; returns its URI.
    ///
    /// # Errors
    /// What the daemon says when it cannot store it.
    pub async fn store_blob(&self, file: OwnedFd, name: &str, media_type: &str) -> Result<String> {
        self.outbox.store_blob(file, name, media_type).await
    }
}
