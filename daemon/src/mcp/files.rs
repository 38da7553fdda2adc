//! Files of the workspace whose changes a client is told of. Hands watch them; whether a client may know of a file is
//! asked of the pipeline, as a call of `files_stat`, so that every rule for calls holds.

use super::{handler::Handler, resources, retry, wire::RawRequest};
use serde_json::json;
use skynet_core::{Caller, Error, ErrorKind, Workspace};
use skynet_hands::{Pool, Watching};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// One client hears of so many files.
pub(super) const MOST_FILES: usize = 64;

/// News on their way to a client; hands say the same thing once until it was heard.
const NEWS: usize = 16;

/// What is told of a file, by its URI.
pub(super) enum FileNews {
    Changed(String),
    /// It cannot be watched any more, and that does not pass.
    Ended(String),
}

/// That a client has as many as it may.
pub(super) fn too_many() -> Error {
    Error::invalid_input(format!("{MOST_FILES} files are subscribed to already; unsubscribe from some"))
}

/// The files that one client hears of, by URI.
pub(super) struct Files {
    tell: mpsc::Sender<FileNews>,
    news: Mutex<Option<mpsc::Receiver<FileNews>>>,
    followed: Mutex<HashMap<String, AbortOnDropHandle<()>>>,
}

impl Default for Files {
    fn default() -> Self {
        let (tell, news) = mpsc::channel(NEWS);
        Self { tell, news: Mutex::new(Some(news)), followed: Mutex::default() }
    }
}

impl Files {
    /// What happens to them; for the first who asks.
    pub(super) fn news(&self) -> Option<mpsc::Receiver<FileNews>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hears of a file from now on.
    ///
    /// # Errors
    /// What the call answers that asks for it, when too many are followed, or when hands cannot watch it.
    pub(super) async fn follow(&self, handler: &Handler, raw: &RawRequest, uri: &str) -> Result<(), Error> {
        {
            let followed = self.followed();
            if followed.contains_key(uri) {
                return Ok(());
            }
            if followed.len() >= MOST_FILES {
                return Err(too_many());
            }
        }
        let path = resources::workspace_path(uri)?;
        match handler.call_inside(raw, "files_stat", &json!({ "path": path })).await {
            Ok(_) => {}
            // It may be made later.
            Err(err) if err.kind == ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        let caller = handler.caller.clone();
        let workspace = caller.workspace.clone();
        let workspace = workspace.ok_or_else(|| Error::invalid_input("this session has no workspace"))?;
        let pool = handler.desk.hands.clone();
        let watching = pool.watch(&caller, &workspace, &path).await?;
        let mut followed = self.followed();
        // Others may have come first while this one was asked about.
        if followed.len() >= MOST_FILES && !followed.contains_key(uri) {
            return Err(too_many());
        }
        let task = tell(pool, caller, workspace, path, uri.to_owned(), watching, self.tell.clone());
        followed.insert(uri.to_owned(), AbortOnDropHandle::new(tokio::spawn(task)));
        Ok(())
    }

    /// Hears no more of it.
    pub(super) fn forget(&self, uri: &str) {
        self.followed().remove(uri);
    }

    /// Those that are watched, or will be again.
    fn followed(&self) -> MutexGuard<'_, HashMap<String, AbortOnDropHandle<()>>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, task| !task.is_finished());
        followed
    }
}

/// Passes on the changes of one file, also when its hands are replaced, for as long as it can be watched.
async fn tell(
    pool: Arc<Pool>,
    caller: Caller,
    workspace: Arc<Workspace>,
    path: String,
    uri: String,
    mut watching: Watching,
    tell: mpsc::Sender<FileNews>,
) {
    loop {
        while watching.changed().await.is_some() {
            if tell.send(FileNews::Changed(uri.clone())).await.is_err() {
                return;
            }
        }
        let mut failures = 0_u32;
        watching = loop {
            match pool.watch(&caller, &workspace, &path).await {
                Ok(watching) => break watching,
                Err(err) if retry::passes(err.kind) => {
                    tracing::warn!(uri, error = %err, "a file that a client hears of is not watched for now");
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(retry::wait(failures)).await;
                }
                Err(err) => {
                    tracing::info!(uri, error = %err, "a file that a client heard of is not watched any more");
                    // A client that is gone need not know.
                    let _ = tell.send(FileNews::Ended(uri)).await;
                    return;
                }
            }
        };
        // What happened meanwhile nobody saw.
        if tell.send(FileNews::Changed(uri.clone())).await.is_err() {
            return;
        }
    }
}
