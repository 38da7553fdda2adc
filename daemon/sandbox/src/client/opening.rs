//! What is opened as the user of a connection: directories, the container engine, and his SSH agent.

use super::{Broker, Slots, Source, Waiter, refusal};
use crate::{
    agent, engine,
    protocol::{Engine, Open, Reply, Request},
};
use skynet_core::{Error, Result, Workspace};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
};

impl Slots {
    /// Opens a directory as the user of a connection.
    ///
    /// # Errors
    /// What that user would be told, or `Unavailable` when there is no broker.
    pub async fn open(&self, connection: u64, path: &Path) -> Result<Workspace> {
        let path = path.as_os_str().as_encoded_bytes().to_vec();
        let opened = self.ask(|id| Request::Open(Open { id, connection, path })).await?;
        Workspace::from_descriptor(opened)
    }

    /// Connects to the container engine as the user of a connection, or if it `is_lent` to him as one of those who may. The broker of the whole host knows itself where that
    /// listens; for a daemon's own user, who is the same to the kernel as this process, it is at the first of `own` that is there.
    ///
    /// # Errors
    /// `Denied` when that user may not, `Unavailable` when there is no engine or no broker.
    pub async fn connect_engine(
        &self,
        connection: u64,
        own: &Arc<[PathBuf]>,
        is_lent: bool,
    ) -> Result<OwnedFd> {
        match &self.source {
            Source::Own { .. } => {
                let own = own.clone();
                let connected = tokio::task::spawn_blocking(move || engine::connect(&own)).await;
                connected.map_err(|err| Error::internal("the connection failed").with_source(err))?
            }
            Source::Host { .. } => self.ask(|id| Request::Engine(Engine { id, connection, is_lent })).await,
        }
    }

    /// Lends the SSH agent at `path` as the user of a connection, for as long as somebody has what is returned open: see
    /// [`agent`]. For a host, a process of that user's stands between.
    ///
    /// # Errors
    /// `Denied` when it is not that user's own, `Unavailable` when no agent answers there, or there is no broker.
    pub async fn lend_agent(&self, connection: u64, path: &Path) -> Result<OwnedFd> {
        match &self.source {
            Source::Own { .. } => {
                let path = path.to_owned();
                let lent = tokio::task::spawn_blocking(move || agent::lend(&path)).await;
                let (loan, lent) =
                    lent.map_err(|err| Error::internal("the connection failed").with_source(err))??;
                // A human may be asked for as long as the call takes, and the end of the daemon waits for no such thread.
                let serving = thread::Builder::new().name("ssh-agent".into()).spawn(move || {
                    if let Err(err) = loan.serve() {
                        tracing::debug!(error = %err, "the SSH agent is no longer lent");
                    }
                });
                serving.map_err(|err| Error::unavailable("the SSH agent cannot be lent").with_source(err))?;
                Ok(lent)
            }
            Source::Host { .. } => {
                let path = path.as_os_str().as_encoded_bytes().to_vec();
                self.ask(|id| Request::Agent(Open { id, connection, path })).await
            }
        }
    }

    /// What a request opens.
    async fn ask(&self, request: impl FnOnce(u64) -> Request) -> Result<OwnedFd> {
        match self.request(request).await? {
            (_, Reply::Opened(_), Some(opened)) => Ok(opened),
            (_, Reply::Refused(refused), _) => Err(refusal(refused)),
            _ => Err(Error::internal("the sandbox answered something else")),
        }
    }

    /// What the broker answers to a request, and which broker.
    pub(super) async fn request(
        &self,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<(Arc<Broker>, Reply, Option<OwnedFd>)> {
        let broker = self.reach().await?;
        let id = broker.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, _early, replied) = Waiter::new();
        broker.expect(id, waiter)?;
        broker
            .send(request(id), &[])
            .await
            .map_err(|err| Error::unavailable("the sandbox cannot be asked").with_source(err))?;
        let (reply, opened) =
            replied.await.map_err(|_| Error::unavailable("the sandbox has just died; call again"))?;
        Ok((broker, reply, opened))
    }
}
