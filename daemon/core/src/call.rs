//! One call on its way through the pipeline, who makes it, and what comes back.

use crate::{
    Canonical, Effect, Entry, Error, JobLimit, Outbox, Result, Usage, Workspace, change::Changed,
    process::Process,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Names a call for good: the session and the number of the frame that asked for it. A resent frame keeps
/// both, which is how a call is recognized after a restart. A call of a batch adds its place in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// The session.
    pub session: Uuid,
    /// The frame, from 1.
    pub sequence: u64,
    /// 0 unless the frame is a batch.
    pub index: u32,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session.as_simple(), self.sequence)?;
        if self.index > 0 {
            write!(f, ".{}", self.index)?;
        }
        Ok(())
    }
}

impl FromStr for CallId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid_input(format!("`{text}` is not a call id"));
        let mut parts = text.split('.');
        let session = parts.next().and_then(|part| Uuid::parse_str(part).ok()).ok_or_else(wrong)?;
        let sequence = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
        let index = parts.next().map_or(Ok(0), str::parse).map_err(|_| wrong())?;
        Ok(Self { session, sequence, index })
    }
}

/// On whose behalf a call runs.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the kernel told it.
    pub uid: u32,
    /// The name of that uid, or the number.
    pub user: Arc<str>,
    /// Those he is in, looked up once per connection.
    pub groups: Arc<[Group]>,
    /// The process that connected.
    pub pid: u32,
    /// What the client calls itself, with its version.
    pub client: Arc<str>,
    /// Where it works.
    pub workspace: Option<Arc<Workspace>>,
    /// Why it works nowhere, if it claimed a workspace that is none.
    pub no_workspace: Option<Arc<str>>,
    /// The token it showed, if it came without a process of its own.
    pub token: Option<Arc<Token>>,
    /// The home directory of that uid.
    pub home: Arc<Path>,
    /// What the sandbox knows it by.
    pub connection: Arc<Connection>,
    /// Where his client says that his SSH agent listens. Nobody's word but his, so it is opened as he.
    pub ssh_agent: Option<Arc<Path>>,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// The name of that number, or the number.
    pub name: Arc<str>,
}

/// A client. What is done for one that the broker of the whole host noted cites the number, as its user; it is known there
/// until the last of those who may still act for it is gone.
pub struct Connection {
    number: u64,
    process: Process,
    release: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl Connection {
    /// Of a daemon that has one user, as whom everything is done, with nobody in particular.
    #[must_use]
    pub fn own() -> Arc<Self> {
        Self::of(Process::Numbered)
    }

    /// The same, with a process of that user's.
    #[must_use]
    pub fn of(process: Process) -> Arc<Self> {
        Arc::new(Self { number: 0, process, release: None })
    }

    /// The one of that number, with that process; at its end `release` is called with the number.
    #[must_use]
    pub fn noted(number: u64, process: Process, release: impl Fn(u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { number, process, release: Some(Box::new(release)) })
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// What requests cite; 0 if everything is done as the daemon's own user.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(release) = &self.release {
            release(self.number);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.number).finish()
    }
}

impl Caller {
    /// Whose answers, approvals and jobs are kept apart from others': a user, or one token of a user.
    #[must_use]
    pub fn owner(&self) -> String {
        match &self.token {
            Some(token) => format!("{}/{}", self.uid, token.id),
            None => self.uid.to_string(),
        }
    }

    /// What is found out about the process that connected, by its number. `None` if there is no such process, or not any more:
    /// then the number may be another one's.
    pub fn look_at_process<T>(&self, look: impl FnOnce(u32) -> T) -> Option<T> {
        let process = self.connection.process();
        if self.pid == 0 || !process.is_there() {
            return None;
        }
        let seen = look(self.pid);
        process.is_there().then_some(seen)
    }
}

/// What somebody may do who shows a token: never more than its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names it in the log; not secret.
    pub id: String,
    /// What its maker called it.
    pub name: String,
    /// What its calls may do.
    pub effects: Vec<Effect>,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The output, as JSON that follows the tool's output schema.
    pub json: Bytes,
    /// What is too large for it.
    pub links: Vec<Link>,
    /// What layers have to say about the call, in words.
    pub notices: Vec<String>,
}

impl Answer {
    /// An answer and nothing besides.
    #[must_use]
    pub const fn new(json: Bytes) -> Self {
        Self { json, links: Vec::new(), notices: Vec::new() }
    }
}

/// A result kept by the daemon, for a client to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Like `skynet://result/<digest>`.
    pub uri: String,
    /// A file name.
    pub name: String,
    /// Like `application/json`.
    pub media_type: String,
    /// Of the whole content.
    pub size_bytes: u64,
}

/// A place in a limited set, which a call can step out of while it waits for a human.
#[derive(Debug)]
pub struct Slot {
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// A slot already taken.
    #[must_use]
    pub const fn new(semaphore: Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self { semaphore, permit: Some(permit) }
    }

    /// Lets another call in.
    pub fn release(&mut self) {
        self.permit = None;
    }

    /// Waits to be let in again.
    pub async fn reacquire(&mut self) {
        if self.permit.is_none() {
            // The semaphores of slots are never closed, so an error cannot come; without a permit the call
            // would only be uncounted.
            self.permit = self.semaphore.clone().acquire_owned().await.ok();
        }
    }
}

/// A path that was about to change, and the digest of what it held; `None` where there was nothing.
pub type Before = (String, Option<String>);

/// By what a question about a call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// The dialog of the client that made the call.
    Client,
    /// `skynetctl approvals`.
    Skynetctl,
    /// The same, and polkit(8) vouched for who said yes.
    Polkit,
    /// A notification on the user's desktop.
    Desktop,
    /// What was approved for always before, by the id of the grant: this time nobody was asked.
    Grant(String),
}

impl Means {
    /// The name in the audit log.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Skynetctl => "skynetctl",
            Self::Polkit => "polkit",
            Self::Desktop => "desktop",
            Self::Grant(_) => "grant",
        }
    }

    /// The id of the grant that answered.
    #[must_use]
    pub fn grant(&self) -> Option<&str> {
        match self {
            Self::Grant(id) => Some(id),
            Self::Client | Self::Skynetctl | Self::Polkit | Self::Desktop => None,
        }
    }
}

/// Who answered whether a call may run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respondent {
    /// How.
    pub means: Means,
    /// The user whose word it was: of a dialog the caller, of a grant who gave it.
    pub uid: u32,
    /// The name of that uid, where it was known.
    pub user: Option<Arc<str>>,
}

/// What the pipeline notes about a call for the audit log.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Which rule decided, with its verdict.
    pub rule: Option<String>,
    /// Who confirmed it, and how.
    pub confirmed_by: Option<Respondent>,
    /// The tool through which it was called, if it was not called by its own name.
    pub via: Option<&'static str>,
    /// The trace it is a part of, as the client told it (W3C Trace Context, `traceparent`).
    pub trace_parent: Option<String>,
    /// Whether the answer came from the cache.
    pub from_cache: bool,
    /// Filled by whoever keeps what is about to change.
    pub before: Arc<Mutex<Vec<Before>>>,
    /// What became of it.
    pub changes: Arc<Mutex<Vec<Changed>>>,
    /// What it used, as far as its tool has told by now.
    pub usage: Arc<Mutex<Usage>>,
    /// The names of the secrets that it was given.
    pub secrets: Arc<Mutex<Vec<String>>>,
}

impl Notes {
    /// Whether a human said yes to this very call; what a grant answers nobody was asked about.
    #[must_use]
    pub fn is_confirmed_by_human(&self) -> bool {
        self.confirmed_by.as_ref().is_some_and(|one| one.means.grant().is_none())
    }
}

/// What a human is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// In words.
    pub text: &'a str,
    /// Names exactly this call of exactly this caller, whoever shows it.
    pub digest: &'a str,
}

/// What wants a human to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedBy {
    /// The names of the rules and entries that ask; the first is the one that is told. Never empty.
    pub rules: Vec<String>,
    /// In words, what an administrator could change so that nobody is asked.
    pub remedy: String,
    /// Whether who is asked may answer for all such calls to come.
    pub is_grantable: bool,
}

impl AskedBy {
    /// The one that is told.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rules.first().map_or("", String::as_str)
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The human agrees.
    Yes,
    /// The human does not.
    No,
    /// This client has no way to ask.
    Cannot,
    /// The client has the question now, and makes the call again with the answer.
    Later,
}

/// Asks the human at the client.
#[async_trait::async_trait]
pub trait Ask: Send + Sync {
    /// Shows a question.
    async fn ask(&self, question: Question<'_>) -> Asked;

    /// Takes a question back that is still shown, because nobody waits for its answer any more.
    async fn withdraw(&self) {}
}

/// A call on its way inward.
pub struct Call {
    /// Its name.
    pub id: CallId,
    /// Which tool.
    pub tool: Arc<Entry>,
    /// On whose behalf.
    pub caller: Caller,
    /// The input as it came.
    pub raw: Bytes,
    /// The input once the Validate layer has passed it.
    pub input: Option<Canonical>,
    /// What it does: of the tool at first, of the input after Validate.
    pub effect: Effect,
    /// The program it starts, once a list of commands has allowed it: this file, and no other of its name.
    pub program: Option<PathBuf>,
    /// The same of what it starts before that.
    pub program_before: Option<PathBuf>,
    /// Whether a list of commands judged what it starts.
    pub is_listed: bool,
    /// Whether an administrator lends the container engine for it, once the input is valid.
    pub has_lent_engine: bool,
    /// What wants a human to be asked, once the input is valid.
    pub asked_by: Option<AskedBy>,
    /// Whether the client sent it before, to a daemon that is gone.
    pub resend: bool,
    /// Set when the client cancels.
    pub cancel: CancellationToken,
    /// How many bytes of answer to return at most.
    pub max_bytes: usize,
    /// How many background jobs its user may have, once the Quota layer has looked; `None` without a limit.
    pub jobs: Option<JobLimit>,
    /// Limited places it holds.
    pub slots: Vec<Slot>,
    /// How to ask the human at the client.
    pub ask: Option<Arc<dyn Ask>>,
    /// Where progress, blobs and before-images go.
    pub outbox: Arc<dyn Outbox>,
    /// For the audit log.
    pub notes: Notes,
}

impl Call {
    /// The validated input.
    ///
    /// # Errors
    /// `Internal` before the Validate layer has run.
    pub fn input(&self) -> Result<&Canonical> {
        self.input.as_ref().ok_or_else(|| Error::internal("the input was not validated"))
    }

    /// Notes that one more wants a human to be asked. What one of them does not leave to a grant, none does.
    pub fn ask_by(&mut self, more: AskedBy) {
        match &mut self.asked_by {
            Some(asked) => {
                asked.rules.extend(more.rules);
                asked.is_grantable &= more.is_grantable;
            }
            None => self.asked_by = Some(more),
        }
    }

    /// Notes that a human must be asked, whatever else is said of the call: the answer counts for this call alone.
    pub fn must_be_asked(&mut self, why: &str) {
        let others = self.asked_by.take().map(|asked| asked.rules).unwrap_or_default();
        self.asked_by = Some(AskedBy {
            rules: [format!("always asked, as it {why}")].into_iter().chain(others).collect(),
            remedy: "nothing".into(),
            is_grantable: false,
        });
    }

    /// Steps out of every limited set.
    pub fn release_slots(&mut self) {
        self.slots.iter_mut().for_each(Slot::release);
    }

    /// Waits to be let into all of them again.
    pub async fn reacquire_slots(&mut self) {
        for slot in &mut self.slots {
            slot.reacquire().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_no_human() {
        let by = |means| Notes {
            confirmed_by: Some(Respondent { means, uid: 0, user: None }),
            ..Notes::default()
        };
        for means in [Means::Client, Means::Skynetctl, Means::Polkit, Means::Desktop] {
            assert!(by(means.clone()).is_confirmed_by_human(), "{means:?}");
        }
        assert!(!by(Means::Grant("5f1c22d0".into())).is_confirmed_by_human());
        assert!(!Notes::default().is_confirmed_by_human());
    }

    #[test]
    fn call_ids_survive_their_text() {
        for index in [0, 3] {
            let id = CallId { session: Uuid::from_u128(7), sequence: 42, index };
            assert_eq!(id.to_string().parse::<CallId>().unwrap(), id);
        }
        assert!("nonsense".parse::<CallId>().is_err());
    }
}
