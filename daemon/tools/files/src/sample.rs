//! A call for tests of what goes on within one. It has nobody to tell anything, and keeps nothing.

use async_trait::async_trait;
use skynet_core::{CallCtx, Effect, Outbox, Result, Workspace, change::Extent, ctx::Progress};
use std::{os::fd::OwnedFd, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

struct Nobody;

#[async_trait]
impl Outbox for Nobody {
    fn progress(&self, _progress: Progress) {}

    async fn keep_before(&self, _path: &str, _file: Option<OwnedFd>, _extent: Extent) -> Result<()> {
        Ok(())
    }

    async fn store_blob(&self, _file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        Ok(String::new())
    }
}

/// In the workspace `root`.
pub(crate) fn call_in(root: &Path) -> CallCtx {
    let workspace = Some(Arc::new(Workspace::open(root).unwrap()));
    CallCtx::new(CancellationToken::new(), 64 << 10, Effect::Read, workspace, Arc::new(Nobody))
}
