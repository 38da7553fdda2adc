//! Files of a workspace that the daemon itself asks for. Hands read them: this process may have less rights than their user, or more.

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use skynet_core::{
    CallCtx, Caller, Canonical, Effect, Error, ErrorKind, Outbox, Result,
    change::Extent,
    ctx::{Origin, Progress},
    registry::Run,
};
use skynet_policy::{MOST_PROJECT_BYTES, PROJECT_FILE, ProjectFile};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Reads a file with the rights of a user.
const READER: &str = "files_read";

/// Says what is at a path.
const STAT: &str = "files_stat";

/// A workspace that does not answer within that time has no rules that could be known.
const ANSWERS: Duration = Duration::from_secs(10);

/// What [`READER`] answers.
#[derive(Deserialize)]
pub(crate) struct Read {
    /// Text, or base64.
    pub(crate) content: String,
    /// Where to go on, if that was not all.
    pub(crate) next: Option<u64>,
}

/// Reads a file as `input` says, as far as an answer of so many bytes takes it.
///
/// # Errors
/// Those of [`READER`].
pub(crate) async fn read(
    hands: &dyn Run,
    origin: Origin,
    cancel: CancellationToken,
    input: Map<String, Value>,
    most_bytes: usize,
) -> Result<Read> {
    parsed(&ask(hands, origin, cancel, READER, input, most_bytes).await?)
}

async fn ask(
    hands: &dyn Run,
    origin: Origin,
    cancel: CancellationToken,
    tool: &'static str,
    input: Map<String, Value>,
    most_bytes: usize,
) -> Result<Bytes> {
    let workspace = origin.caller.workspace.clone();
    let ctx =
        CallCtx::new(cancel, most_bytes, Effect::Read, workspace, Arc::new(Nothing)).with_origin(origin);
    hands.run(&ctx, tool, &Canonical::from_map(input)?).await
}

fn parsed<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T> {
    serde_json::from_slice(answer).map_err(|err| Error::internal("hands read no file").with_source(err))
}

/// What [`STAT`] answers.
#[derive(Deserialize)]
struct About {
    kind: String,
}

/// Rules of projects, for a daemon that is not their user.
pub(crate) struct ByHands(pub(crate) Arc<dyn Run>);

#[async_trait]
impl ProjectFile for ByHands {
    async fn read(&self, caller: &Caller) -> Result<Option<Vec<u8>>> {
        let origin = Origin { session: Uuid::nil(), owner: caller.owner(), caller: caller.clone() };
        let cancel = CancellationToken::new();
        let found = timeout(ANSWERS, self.find(origin, cancel.clone())).await.unwrap_or_else(|_| {
            cancel.cancel();
            Err(Error::timed_out(format!("`{PROJECT_FILE}` cannot be read: the workspace does not answer")))
        });
        let found = match found {
            Ok(found) => found,
            Err(err) if err.kind == ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        let text = BASE64_STANDARD.decode(&found.content);
        let text = text.map_err(|err| Error::internal("hands read no file").with_source(err))?;
        if found.next.is_some() || text.len() > MOST_PROJECT_BYTES {
            return Err(skynet_policy::too_long());
        }
        Ok(Some(text))
    }

    fn is_far(&self) -> bool {
        true
    }
}

impl ByHands {
    async fn find(&self, origin: Origin, cancel: CancellationToken) -> Result<Read> {
        let stat = input(json!({ "path": PROJECT_FILE }));
        let about = ask(&*self.0, origin.clone(), cancel.clone(), STAT, stat, MOST_PROJECT_BYTES).await?;
        let About { kind } = parsed(&about)?;
        // A link could lead to what is not protected as this name is.
        if kind != "file" {
            return Err(Error::invalid_input(format!(
                "`{PROJECT_FILE}` of the workspace is no regular file"
            )));
        }
        let read = input(json!({ "path": PROJECT_FILE, "encoding": "base64" }));
        parsed(&ask(&*self.0, origin, cancel, READER, read, MOST_PROJECT_BYTES * 2).await?)
    }
}

fn input(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Takes nothing: a file that is read hands out nothing else.
struct Nothing;

#[async_trait]
impl Outbox for Nothing {
    fn progress(&self, _progress: Progress) {}

    async fn keep_before(&self, _path: &str, _file: Option<OwnedFd>, _extent: Extent) -> Result<()> {
        Err(Error::internal("reading changes nothing"))
    }

    async fn store_blob(&self, _file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        Err(Error::internal("a file that the daemon reads is no result"))
    }
}
