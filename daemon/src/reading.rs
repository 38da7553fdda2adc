//! Files of a workspace that the daemon itself asks for. Hands read them: this process may have less rights than their user, or more.

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
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
    let workspace = origin.caller.workspace.clone();
    let ctx =
        CallCtx::new(cancel, most_bytes, Effect::Read, workspace, Arc::new(Nothing)).with_origin(origin);
    let answer = hands.run(&ctx, READER, &Canonical::from_map(input)?).await?;
    serde_json::from_slice(&answer).map_err(|err| Error::internal("hands read no file").with_source(err))
}

/// Rules of projects, for a daemon that is not their user.
pub(crate) struct ByHands(pub(crate) Arc<dyn Run>);

#[async_trait]
impl ProjectFile for ByHands {
    async fn read(&self, caller: &Caller) -> Result<Option<Vec<u8>>> {
        let origin = Origin { session: Uuid::nil(), owner: caller.owner(), caller: caller.clone() };
        let input = json!({ "path": PROJECT_FILE, "encoding": "base64" });
        let input = input.as_object().cloned().unwrap_or_default();
        let cancel = CancellationToken::new();
        let reading = read(&*self.0, origin, cancel.clone(), input, MOST_PROJECT_BYTES * 2);
        let found = timeout(ANSWERS, reading).await.unwrap_or_else(|_| {
            cancel.cancel();
            Err(Error::timed_out(format!("`{PROJECT_FILE}` cannot be read: the workspace does not answer")))
        });
        let found = match found {
            Ok(found) => found,
            Err(err) => {
                return match err.kind {
                    ErrorKind::NotFound => Ok(None),
                    // It is none, or none of his.
                    ErrorKind::Denied => Err(Error::invalid_input(err.message)),
                    _ => Err(err),
                };
            }
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
