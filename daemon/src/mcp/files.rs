//! Files of the workspace whose changes a client is told of. Hands watch them; whether a client may know of a file is
//! asked of the pipeline, as a call of `files_stat`, so that every rule for calls holds.

use super::{handler::Handler, resources, wire::RawRequest};
use rmcp::ErrorData;
use serde_json::json;
use skynet_core::{Caller, Error, ErrorKind, Workspace};
use skynet_hands::{Pool, Watching};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// One client hears of so many files.
pub(super) const MOST_FILES: usize = 64;

/// News on their way to a client; hands say the same thing once until it was heard.
const NEWS: usize = 16;

/// After its hands died, a file is watched again; when that fails, again after that time.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The files that one client hears of, by URI.
pub(super) struct Files {
    tell: mpsc::Sender<String>,
    news: Mutex<Option<mpsc::Receiver<String>>>,
    followed: Mutex<HashMap<String, AbortOnDropHandle<()>>>,
}

impl Default for Files {
    fn default() -> Self {
        let (tell, news) = mpsc::channel(NEWS);
        Self { tell, news: Mutex::new(Some(news)), followed: Mutex::default() }
    }
}

impl Files {
    /// The URIs of those that changed; for the first who asks.
    pub(super) fn news(&self) -> Option<mpsc::Receiver<String>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hears of a file from now on.
    pub(super) async fn follow(
        &self,
        handler: &Handler,
        raw: &RawRequest,
        uri: &str,
    ) -> Result<(), ErrorData> {
        if self.lock().contains_key(uri) {
            return Ok(());
        }
        let refusal = |err| resources::refusal(uri, err);
        if self.lock().len() >= MOST_FILES {
            let message = format!("{MOST_FILES} files are subscribed to already; unsubscribe from some");
            return Err(refusal(Error::invalid_input(message)));
        }
        let path = resources::workspace_path(uri)?;
        match handler.call_inside(raw, "files_stat", &json!({ "path": path })).await {
            Ok(_) => {}
            // It may be made later.
            Err(err) if err.kind == ErrorKind::NotFound => {}
            Err(err) => return Err(refusal(err)),
        }
        let caller = handler.caller.clone();
        let Some(workspace) = caller.workspace.clone() else {
            return Err(refusal(Error::invalid_input("this session has no workspace")));
        };
        let pool = handler.desk.hands.clone();
        let watching = pool.watch(&caller, &workspace, &path).await.map_err(refusal)?;
        let task = tell(pool, caller, workspace, path, uri.to_owned(), watching, self.tell.clone());
        self.lock().insert(uri.to_owned(), AbortOnDropHandle::new(tokio::spawn(task)));
        Ok(())
    }

    /// Hears no more of it.
    pub(super) fn forget(&self, uri: &str) {
        self.lock().remove(uri);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, AbortOnDropHandle<()>>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on the changes of one file, also when its hands are replaced.
async fn tell(
    pool: Arc<Pool>,
    caller: Caller,
    workspace: Arc<Workspace>,
    path: String,
    uri: String,
    mut watching: Watching,
    tell: mpsc::Sender<String>,
) {
    loop {
        while watching.changed().await.is_some() {
            if tell.send(uri.clone()).await.is_err() {
                return;
            }
        }
        watching = loop {
            match pool.watch(&caller, &workspace, &path).await {
                Ok(watching) => break watching,
                Err(err) => tracing::warn!(error = %err, "a file that a client hears of is not watched"),
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        };
        // What happened meanwhile nobody saw.
        if tell.send(uri.clone()).await.is_err() {
            return;
        }
    }
}
