//! The daemon's end: for each user one process per workspace and one for what is asked about the host, each in a slot of
//! the sandbox, started when first needed and replaced when it dies.

use crate::process::{Process, Watching};
use async_trait::async_trait;
use bytes::Bytes;
use skynet_core::{CallCtx, Caller, Canonical, Error, Result, Run, Workspace};
use skynet_sandbox::Slots;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::Mutex as AsyncMutex;

/// How often idle ones are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What a process was started for: whose it is, the device and inode of its workspace, if it has one, and the connection
/// that stands for a token, if he came with one. It ends with that, and takes nobody else's calls with it.
type Room = (u32, Option<(u64, u64)>, Option<u64>);

/// All running hands. As a runner it is for the tools of workspaces; see [`Pool::host`] for the others.
pub struct Pool {
    pub(crate) slots: Arc<Slots>,
    // Held while a process starts, so that two calls do not start two.
    processes: AsyncMutex<HashMap<Room, Arc<Process>>>,
}

/// Runs the tools that ask about the host.
struct Host(Arc<Pool>);

impl Pool {
    /// A pool that starts hands in `slots`.
    #[must_use]
    pub fn new(slots: Arc<Slots>) -> Arc<Self> {
        Arc::new(Self { slots, processes: AsyncMutex::default() })
    }

    /// The process ids of all running hands.
    pub async fn pids(&self) -> Vec<u32> {
        let processes = self.processes.lock().await;
        processes.values().filter(|process| process.is_alive()).map(|process| process.pid).collect()
    }

    /// Lets idle hands go, for as long as it is polled.
    pub async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            self.processes.lock().await.retain(|_, process| process.is_alive() && !process.is_idle());
        }
    }

    /// Runs the tools that need no workspace.
    #[must_use]
    pub fn host(self: &Arc<Self>) -> Arc<dyn Run> {
        Arc::new(Host(self.clone()))
    }

    /// Hears of the changes of a file from now on.
    ///
    /// # Errors
    /// When it is outside of the workspace, when too many are watched, or when hands do not start.
    pub async fn watch(&self, caller: &Caller, workspace: &Workspace, path: &str) -> Result<Watching> {
        let process = self.process(caller, Some(workspace)).await?;
        process.watch(path).await.unwrap_or_else(|| {
            Err(Error::unavailable("the process that was to watch the file died; try again"))
        })
    }

    async fn process(&self, caller: &Caller, workspace: Option<&Workspace>) -> Result<Arc<Process>> {
        let bearer = caller.token.as_ref().map(|_| caller.connection.number()).filter(|number| *number != 0);
        let room = (caller.uid, workspace.map(Workspace::place), bearer);
        let mut processes = self.processes.lock().await;
        if let Some(process) = processes.get(&room).filter(|process| process.is_alive()) {
            return Ok(process.clone());
        }
        let process = Process::start(&self.slots, caller, workspace, None).await?;
        processes.insert(room, process.clone());
        Ok(process)
    }

    pub(crate) async fn call(
        &self,
        workspace: Option<&Workspace>,
        ctx: &CallCtx,
        name: &str,
        input: &Canonical,
    ) -> Result<Bytes> {
        let mut is_retry = false;
        loop {
            let process = self.process(&ctx.origin()?.caller, workspace).await?;
            match process.call(ctx, name, input).await {
                Some(result) => return result,
                // Reading twice does no harm; but hands that die twice on the same call will die again.
                None if !ctx.effect.is_mutating() && !is_retry => is_retry = true,
                None if ctx.effect.is_mutating() => {
                    return Err(Error::interrupted(format!(
                        "the process that ran `{name}` died, so it may or may not have happened; look before you call it again"
                    )));
                }
                None => {
                    return Err(Error::unavailable(format!(
                        "the process that ran `{name}` died, twice; it read only"
                    )));
                }
            }
        }
    }
}

#[async_trait]
impl Run for Pool {
    async fn run(&self, ctx: &CallCtx, name: &'static str, input: &Canonical) -> Result<Bytes> {
        self.call(Some(ctx.workspace()?), ctx, name, input).await
    }
}

#[async_trait]
impl Run for Host {
    async fn run(&self, ctx: &CallCtx, name: &'static str, input: &Canonical) -> Result<Bytes> {
        self.0.call(None, ctx, name, input).await
    }
}
