//! What a running call hands out is put on a shelf, and what was kept of earlier ones is taken from it.

use crate::{
    credentials,
    purse::{Purse, Wanting},
    standing,
};
use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;
use skynet_core::{
    CallId, Caller, Error, Outbox, Result, Usage,
    call::Notes,
    change::{Changed, Extent, Recorded},
    ctx::{Credential, Keep, Origin, Progress, Remote, Standing},
};
use skynet_secrets::{Keyring, has_mark};
use skynet_store::{Blobs, Ledger};
use std::{
    borrow::Cow,
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    sync::{Arc, PoisonError},
};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a path held before a change is kept up to that size.
const MOST_BEFORE_BYTES: u64 = 64 << 20;

/// A result is looked through for secrets as one piece.
const MOST_RESULT_BYTES: u64 = 64 << 20;

/// What a client is shown of a message of progress.
const MOST_MESSAGE_BYTES: usize = 200;

/// Of the audit log, read for one question: the newest.
const MOST_SEEN_BYTES: usize = 1 << 30;

/// Of the answer to one question.
const MOST_TOLD_BYTES: usize = 16 << 20;

/// Of the calls that changed something, told at once.
const MOST_RECORDED: usize = 5000;

/// What the audit log calls the SSH agent: no secret has a space in its name.
const AGENT: &str = "SSH agent";

/// Keeps what a running call hands out.
pub(crate) struct Shelf {
    pub(crate) blobs: Blobs,
    pub(crate) audit: Ledger,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) purse: Arc<Purse>,
    pub(crate) cancel: CancellationToken,
    pub(crate) session: Uuid,
    pub(crate) caller: Caller,
    pub(crate) notes: Notes,
    pub(crate) progress: watch::Sender<Option<Progress>>,
    /// Places of those who read the log for what was changed.
    pub(crate) readers: Arc<Semaphore>,
}

#[async_trait]
impl Outbox for Shelf {
    fn progress(&self, mut progress: Progress) {
        // It was made before the call began; if it is just being made anew, the numbers have to do.
        let message = self.keyring.ready_scanner(self.caller.uid).map(|scanner| {
            let message = scanner.redact(progress.message.as_bytes()).bytes;
            String::from_utf8_lossy(&message).into_owned()
        });
        // Cut only now, so that no part of a secret is left that nobody knows for one.
        progress.message = tail(message.unwrap_or_default(), MOST_MESSAGE_BYTES);
        self.progress.send_replace(Some(progress));
    }

    async fn keep_before(&self, path: &str, file: Option<OwnedFd>, _extent: Extent) -> Result<()> {
        let kept = match file {
            Some(file) => Some(self.keep(path, File::from(file)).await?),
            None => None,
        };
        let mut before = self.notes.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.push((path.to_owned(), kept));
        Ok(())
    }

    fn note_changes(&self, changes: Vec<Changed>) {
        self.notes.changes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
    }

    fn charge(&self, usage: Usage) {
        *self.notes.usage.lock().unwrap_or_else(PoisonError::into_inner) += usage;
    }

    async fn store_blob(&self, file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        let (keyring, uid) = (self.keyring.clone(), self.caller.uid);
        let clean = spawn_blocking(move || without_secrets(&keyring, uid, File::from(file))).await;
        let clean = clean.map_err(|err| Error::internal("looking for secrets failed").with_source(err))??;
        let digest = self.put(format!("result/{}", self.caller.owner()), io::Cursor::new(clean)).await?;
        Ok(format!("skynet://result/{digest}"))
    }

    async fn keep_preview(&self, file: OwnedFd) -> Result<String> {
        self.put(format!("preview/{}", self.caller.owner()), File::from(file)).await
    }

    async fn secret(&self, name: &str, audience: &[String]) -> Result<Vec<u8>> {
        let value = self.purse.one(&self.wanting(audience)?, name).await?;
        self.note_secret(name);
        Ok(value)
    }

    async fn standing_secret(&self, name: &str, audience: &[String]) -> Result<Arc<dyn Standing>> {
        let standing = standing::open(&self.purse, &self.wanting(audience)?, name).await?;
        self.note_secret(name);
        Ok(standing)
    }

    async fn check_secret(&self, name: &str) -> Result<()> {
        self.check_secrets()?;
        self.purse.check(self.caller.uid, name).await
    }

    async fn secrets(&self, file: &str, audience: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        let values = self.purse.all(&self.wanting(audience)?, file).await?;
        self.note_secret(file);
        Ok(values)
    }

    async fn credential(&self, remote: &Remote) -> Result<Credential> {
        self.check_secrets()?;
        let (keyring, uid, remote) = (self.keyring.clone(), self.caller.uid, remote.clone());
        let found = spawn_blocking(move || credentials::find(&keyring, uid, &remote)).await;
        let found = found.map_err(|err| Error::internal("reading a secret failed").with_source(err))??;
        self.note_secret(&found.secret);
        Ok(found)
    }

    async fn agent(&self, is_confirmed: bool) -> Result<OwnedFd> {
        self.check_secrets()?;
        let lent = self.purse.agents().lend(&self.caller, is_confirmed).await?;
        self.note_secret(AGENT);
        Ok(lent)
    }

    async fn open_kept(&self, what: Keep, name: &str) -> Result<OwnedFd> {
        let owner = match what {
            Keep::Preview => format!("preview/{}", self.caller.owner()),
            Keep::Before => format!("before/{}", self.caller.uid),
            Keep::Changes => return self.changes(name).await,
            // Who may have one is told by the process that has a way to the remote.
            Keep::Credential | Keep::Agent => return Err(Error::internal("no credential is kept here")),
        };
        let (blobs, digest) = (self.blobs.clone(), name.to_owned());
        match spawn_blocking(move || blobs.open_file(&owner, &digest)).await {
            Ok(Ok(Some(file))) => Ok(file.into()),
            Ok(Ok(None)) => Err(Error::not_found(format!("this {} is not kept (any more)", what.as_str()))),
            Ok(Err(err)) => Err(Error::unavailable("what is kept cannot be read").with_source(err)),
            Err(err) => Err(Error::internal("reading a blob failed").with_source(err)),
        }
    }
}

impl Shelf {
    /// For the audit log.
    fn note_secret(&self, name: &str) {
        let mut secrets = self.notes.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secrets.iter().any(|known| known == name) {
            secrets.push(name.to_owned());
        }
    }

    /// # Errors
    /// `Denied` for a token.
    fn wanting<'call>(&self, audience: &'call [String]) -> Result<Wanting<'call>> {
        self.check_secrets()?;
        let caller = self.caller.clone();
        let origin = Origin { session: self.session, owner: caller.owner(), caller };
        Ok(Wanting { origin, cancel: self.cancel.clone(), audience })
    }

    fn check_secrets(&self) -> Result<()> {
        self.caller.token.as_ref().map_or(Ok(()), |token| {
            Err(Error::denied(format!("the token `{}` may use no secrets; its user may", token.name)))
        })
    }

    async fn keep(&self, path: &str, file: File) -> Result<String> {
        let metadata = spawn_blocking(move || file.metadata().map(|metadata| (file, metadata))).await;
        let metadata =
            metadata.map_err(|err| Error::internal("looking at a file failed").with_source(err))?;
        let (file, metadata) = metadata
            .map_err(|err| Error::unavailable(format!("`{path}` cannot be examined")).with_source(err))?;
        if !metadata.is_file() {
            return Err(Error::internal("what was handed over is no file"));
        }
        if metadata.len() > MOST_BEFORE_BYTES {
            // Recorded as such: this change cannot be taken back.
            return Ok(format!("not kept: {} bytes", metadata.len()));
        }
        // It may grow while it is read.
        self.put(format!("before/{}", self.caller.uid), file.take(MOST_BEFORE_BYTES)).await
    }

    async fn put(&self, owner: String, file: impl io::Read + Send + 'static) -> Result<String> {
        let blobs = self.blobs.clone();
        let stored = spawn_blocking(move || blobs.put(&owner, file)).await;
        let stored = stored.map_err(|err| Error::internal("storing a blob failed").with_source(err))?;
        stored.map(|stored| stored.digest).map_err(|err| {
            Error::unavailable("the daemon has no room to keep what this call changes or returns")
                .with_source(err)
        })
    }

    /// The calls that changed something, as far as this caller may know: in his workspace, and on his behalf.
    async fn changes(&self, name: &str) -> Result<OwnedFd> {
        let scope = Scope {
            uid: self.caller.uid,
            token: self.caller.token.as_ref().map(|token| token.id.clone()),
            workspace: self
                .caller
                .workspace
                .as_ref()
                .map(|workspace| workspace.path().to_string_lossy().into_owned()),
            only: Only::from_name(name, self.session)?,
        };
        // Reading much of a large log is not for everybody at once.
        let _turn = self.readers.acquire().await;
        let audit = self.audit.clone();
        let unreadable = |err: io::Error| {
            Error::unavailable("the audit log cannot be read for what was changed").with_source(err)
        };
        let listed = spawn_blocking(move || list(&audit, &scope)).await;
        listed
            .map_err(|err| Error::internal("reading the audit log failed").with_source(err))?
            .map_err(unreadable)
    }
}

/// The end of a text.
fn tail(text: String, most_bytes: usize) -> String {
    match text.len().checked_sub(most_bytes) {
        None => text,
        Some(start) => text.get(text.ceil_char_boundary(start)..).unwrap_or_default().to_owned(),
    }
}

/// What a client may read later is as free of secrets as what it reads at once.
fn without_secrets(keyring: &Keyring, uid: u32, mut file: File) -> Result<Vec<u8>> {
    let unreadable = |err: io::Error| Error::unavailable("a result cannot be read").with_source(err);
    let mut content = Vec::new();
    file.rewind().map_err(unreadable)?;
    file.take(MOST_RESULT_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > MOST_RESULT_BYTES {
        return Err(Error::unavailable(format!(
            "the result has more than the {MOST_RESULT_BYTES} bytes that are kept"
        )));
    }
    redact(keyring, uid, &content)
}

/// A text without the secrets of a user. Takes its time.
///
/// # Errors
/// `Unavailable` when they cannot be read.
pub(crate) fn redact(keyring: &Keyring, uid: u32, content: &[u8]) -> Result<Vec<u8>> {
    let scanner = keyring.scanner(uid).map_err(|err| {
        Error::unavailable("secrets cannot be read, so nothing can be kept free of them").with_source(err)
    })?;
    Ok(scanner.redact(content).bytes.into_owned())
}

/// Outcomes of calls that did not come to their tool.
const REFUSALS: [&str; 6] =
    ["denied", "invalid_input", "needs_confirmation", "quota_exceeded", "not_found", "conflict"];

/// Which calls are told of.
struct Scope {
    uid: u32,
    token: Option<String>,
    workspace: Option<String>,
    only: Only,
}

enum Only {
    All,
    Session(String),
    Call(String),
}

impl Only {
    /// See [`Keep::Changes`]; `this` is the session of the call that asks.
    fn from_name(name: &str, own: Uuid) -> Result<Self> {
        Ok(match name {
            "" => Self::All,
            "this" => Self::Session(own.as_simple().to_string()),
            call if call.contains('.') => Self::Call(call.parse::<CallId>()?.to_string()),
            session => Self::Session(session.to_owned()),
        })
    }

    fn fits(&self, call: &str) -> bool {
        match self {
            Self::All => true,
            Self::Session(session) => call.split('.').next() == Some(session),
            Self::Call(only) => only == call,
        }
    }
}

/// What is read of a line of the audit log.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    effect: Cow<'a, str>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    token_id: Option<Cow<'a, str>>,
    #[serde(default)]
    workspace: Option<Cow<'a, str>>,
    #[serde(flatten)]
    recorded: Recorded,
}

impl Scope {
    fn holds(&self, line: &Line<'_>) -> bool {
        // A call that was refused before it began changed nothing; of any other that may write, nobody knows.
        let has_begun = !REFUSALS.contains(&line.recorded.outcome.as_str());
        let has_changed = !line.recorded.changes.is_empty() || (line.effect != "read" && has_begun);
        has_changed
            && line.uid == self.uid
            // Without a token it is the user himself, who may know what his tokens did.
            && (self.token.is_none() || line.token_id.as_deref() == self.token.as_deref())
            && line.workspace.as_deref() == self.workspace.as_deref()
            && self.only.fits(&line.recorded.call)
    }
}

/// A name that the log holds with a mark in it is not the name.
fn as_it_was(mut recorded: Recorded) -> Recorded {
    for change in &mut recorded.changes {
        let targets = [&change.before, &change.after].into_iter().flatten().map(|entry| &entry.target);
        if targets.chain([&change.path]).any(|name| has_mark(name.as_bytes())) {
            change.lost = Some("its name tells a secret, so the log does not hold it".into());
        }
    }
    recorded
}

/// Whether it is of a call that only read, as most are: `effect` comes before anything that a caller wrote.
fn is_read(json: &[u8]) -> bool {
    const EFFECT: &[u8] = b"\"effect\":";
    let place = memchr::memmem::find(json, EFFECT);
    place.and_then(|place| json.get(place + EFFECT.len()..)).is_some_and(|rest| rest.starts_with(b"\"read\""))
}

/// Writes what fits, the newest first.
fn list(audit: &Ledger, scope: &Scope) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("changes", MemfdFlags::CLOEXEC)?);
    let (mut count, mut seen_bytes, mut told_bytes) = (0, 0, 0);
    for segment in audit.segments_back()? {
        let mut lines = VecDeque::new();
        for record in segment {
            seen_bytes += record.json.len();
            if is_read(&record.json) {
                continue;
            }
            // Other kinds of records have no call.
            let Ok(line) = serde_json::from_slice::<Line<'_>>(&record.json) else { continue };
            if scope.holds(&line) {
                let mut json = serde_json::to_vec(&as_it_was(line.recorded))?;
                json.push(b'\n');
                lines.push_front(json);
                lines.truncate(MOST_RECORDED);
            }
        }
        for line in lines {
            count += 1;
            told_bytes += line.len();
            file.write_all(&line)?;
            if count == MOST_RECORDED || told_bytes > MOST_TOLD_BYTES {
                seen_bytes = MOST_SEEN_BYTES;
                break;
            }
        }
        let is_found = count > 0 && matches!(scope.only, Only::Call(_));
        if is_found || seen_bytes >= MOST_SEEN_BYTES {
            break;
        }
    }
    file.rewind()?;
    Ok(file.into())
}
