//! The daemon's end: for each user one process per workspace and one for what is asked about the host, each in a slot of
//! the sandbox, started when first needed and replaced when it dies.

use crate::process::{Process, Watching, Way};
use async_trait::async_trait;
use bytes::Bytes;
use skynet_core::{CallCtx, Caller, Canonical, Error, Result, Run, Workspace};
use skynet_sandbox::Slots;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

/// How often idle ones are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Hands that are not ready by then are given up: what keeps them may be a file server that is gone.
const START_WITHIN: Duration = Duration::from_secs(20);

/// What a process was started for: whose it is, the device and inode of its workspace, if it has one, and the connection
/// that stands for a token, if he came with one. It ends with that, and takes nobody else's calls with it.
type Room = (u32, Option<(u64, u64)>, Option<u64>);

/// All running hands. As a runner it is for the tools of workspaces; see [`Pool::host`] for the others.
pub struct Pool {
    slots: Arc<Slots>,
    seats: Mutex<HashMap<Room, Arc<Seat>>>,
}

/// Where the process of a room is. What waits for the one of a room keeps no other room waiting.
#[derive(Default)]
struct Seat {
    /// Held while a process starts, so that two calls do not start two.
    starting: AsyncMutex<()>,
    process: Mutex<Option<Arc<Process>>>,
}

impl Seat {
    /// The process, if it lives.
    fn living(&self) -> Option<Arc<Process>> {
        lock(&self.process).as_ref().filter(|process| process.is_alive()).cloned()
    }
}

/// Runs the tools that ask about the host.
struct Host(Arc<Pool>);

impl Pool {
    /// A pool that starts hands in `slots`.
    #[must_use]
    pub fn new(slots: Arc<Slots>) -> Arc<Self> {
        Arc::new(Self { slots, seats: Mutex::default() })
    }

    /// The process ids of all running hands.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        lock(&self.seats).values().filter_map(|seat| Some(seat.living()?.pid)).collect()
    }

    /// Lets idle hands go, for as long as it is polled.
    pub async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            // Whoever waits for a seat, or starts something there, has another hold of it.
            lock(&self.seats).retain(|_, seat| {
                Arc::strong_count(seat) > 1 || seat.living().is_some_and(|process| !process.is_idle())
            });
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
        let seat = lock(&self.seats).entry(room).or_default().clone();
        if let Some(process) = seat.living() {
            return Ok(process);
        }
        let _starting = timeout(START_WITHIN, seat.starting.lock()).await.map_err(|_| too_slow())?;
        // Meanwhile another call may have started it.
        if let Some(process) = seat.living() {
            return Ok(process);
        }
        let process = self.start(caller, workspace, None).await?;
        *lock(&seat.process) = Some(process.clone());
        Ok(process)
    }

    /// Starts one. With a way it is for one call.
    pub(crate) async fn start(
        &self,
        caller: &Caller,
        workspace: Option<&Workspace>,
        way: Option<Way>,
    ) -> Result<Arc<Process>> {
        let started = timeout(START_WITHIN, Process::start(&self.slots, caller, workspace, way)).await;
        started.unwrap_or_else(|_| Err(too_slow()))
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

fn too_slow() -> Error {
    Error::unavailable(format!("`skynet-hands` did not start within {} s; try again", START_WITHIN.as_secs()))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert or remove, so a panic leaves it whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
