//! The end of the protocol that runs tools.

use crate::{
    channel::{self, Receiver, Sender},
    protocol::{Before, Blob, Call, Done, FromHands, Kept, Open, Progress, Reply, Request, ToHands, VERSION},
};
use futures_util::FutureExt as _;
use skynet_core::{CallCtx, Canonical, Error, Registry, Result, Workspace, ctx::Outgoing};
use std::{
    collections::HashMap,
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::UnixStream,
    sync::{Semaphore, mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

/// Threads of the process. Parked ones cost next to nothing.
pub const THREADS: usize = 16;

/// Calls under way, and what they wait for.
type Running = Arc<Mutex<HashMap<u64, RunningCall>>>;

struct RunningCall {
    cancel: CancellationToken,
    /// A call waits for one descriptor at a time.
    kept: Option<oneshot::Sender<Result<String>>>,
}

/// Serves calls from `stream` until it closes.
///
/// # Errors
/// When the first message is not `Open` with a workspace, or the socket fails.
pub async fn serve(stream: UnixStream, registry: Registry) -> io::Result<()> {
    let (sender, mut receiver): (Sender<FromHands>, Receiver<ToHands>) = channel::split(stream);
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some((ToHands { request: Some(Request::Open(open)) }, Some(root))) = receiver.receive().await? else {
        return Err(invalid("the first message must be `Open` with a workspace"));
    };
    if open.version != VERSION {
        return Err(invalid("daemon and hands are of different versions"));
    }
    let workspace = Arc::new(Workspace::from_descriptor(root).map_err(io::Error::other)?);
    send(&sender, Reply::Ready(Open { version: VERSION }), None).await?;

    let registry = Arc::new(registry);
    let running = Running::default();
    let places = Arc::new(Semaphore::new(THREADS - 1));
    while let Some((message, _)) = receiver.receive().await? {
        match message.request {
            Some(Request::Call(call)) => {
                let cancel = CancellationToken::new();
                lock(&running).insert(call.id, RunningCall { cancel: cancel.clone(), kept: None });
                let (registry, running, workspace, sender) =
                    (registry.clone(), running.clone(), workspace.clone(), sender.clone());
                let places = places.clone();
                tokio::spawn(async move {
                    // Never closed, so there is always a permit.
                    let _place = places.acquire_owned().await;
                    run(call, &registry, &running, workspace, cancel, sender).await;
                });
            }
            Some(Request::Cancel(id)) => {
                if let Some(call) = lock(&running).get(&id) {
                    call.cancel.cancel();
                }
            }
            Some(Request::Kept(kept)) => settle(&running, kept),
            Some(Request::Open(_)) | None => return Err(invalid("an unexpected message")),
        }
    }
    // The daemon is gone: nobody wants the rest.
    lock(&running).values().for_each(|call| call.cancel.cancel());
    Ok(())
}

fn settle(running: &Running, kept: Kept) {
    let waiting = lock(running).get_mut(&kept.id).and_then(|call| call.kept.take());
    if let Some(waiting) = waiting {
        let result = kept.failure.map_or(Ok(kept.uri), |failure| Err(failure.into()));
        // The tool may have stopped waiting because it was canceled.
        let _ = waiting.send(result);
    }
}

async fn run(
    call: Call,
    registry: &Registry,
    running: &Running,
    workspace: Arc<Workspace>,
    cancel: CancellationToken,
    sender: Sender<FromHands>,
) {
    let id = call.id;
    let (outgoing, mut messages) = mpsc::channel(16);
    let relay = {
        let (running, sender, cancel) = (running.clone(), sender.clone(), cancel.clone());
        async move {
            while let Some(message) = messages.recv().await {
                if relay(id, message, &running, &cancel, &sender).await.is_err() {
                    return;
                }
            }
        }
    };
    let tool = async move {
        if cancel.is_cancelled() {
            return Err(Error::canceled("the call was given up before it began"));
        }
        let entry = registry.find(&call.tool)?;
        let input = Canonical::parse(&call.input)?;
        let max_bytes = usize::try_from(call.max_bytes).unwrap_or(usize::MAX);
        let effect = entry.effect_of(&input)?;
        let ctx = CallCtx::new(cancel, max_bytes, effect, Some(workspace), outgoing);
        entry.run(&ctx, &input).await
    };
    // The tool owns its channel, so the relay ends with it, also by a panic.
    let (result, ()) = tokio::join!(AssertUnwindSafe(tool).catch_unwind(), relay);
    let result = result.unwrap_or_else(|_| Err(Error::internal("the tool failed by a defect of Skynet")));
    lock(running).remove(&id);
    let done = match result {
        Ok(output) => Done { id, output, failure: None },
        Err(err) => Done { id, output: bytes::Bytes::new(), failure: Some(err.into()) },
    };
    // Without a daemon there is nobody to tell, and the receive loop ends as well.
    let _ = send(&sender, Reply::Done(done), None).await;
}

async fn relay(
    id: u64,
    message: Outgoing,
    running: &Running,
    cancel: &CancellationToken,
    sender: &Sender<FromHands>,
) -> io::Result<()> {
    let wait = |kept: oneshot::Sender<Result<String>>| {
        if let Some(call) = lock(running).get_mut(&id) {
            call.kept = Some(kept);
        }
    };
    match message {
        Outgoing::Progress(progress) => {
            let progress =
                Progress { id, done: progress.done, total: progress.total, message: progress.message };
            send(sender, Reply::Progress(progress), None).await
        }
        Outgoing::BeforeImage { path, file, kept } => {
            let (answer, answered) = oneshot::channel();
            wait(answer);
            send(sender, Reply::Before(Before { id, path }), file).await?;
            // The tool may have stopped waiting because it was canceled.
            let _ = kept.send(received(answered, cancel).await.map(|_| ()));
            Ok(())
        }
        Outgoing::Blob { file, name, media_type, stored } => {
            let (answer, answered) = oneshot::channel();
            wait(answer);
            send(sender, Reply::Blob(Blob { id, name, media_type }), Some(file)).await?;
            // As above.
            let _ = stored.send(received(answered, cancel).await);
            Ok(())
        }
    }
}

/// Waits for the daemon's answer. A daemon that gave the call up answers nothing, but it has canceled.
async fn received(answer: oneshot::Receiver<Result<String>>, cancel: &CancellationToken) -> Result<String> {
    tokio::select! {
        biased;
        answer = answer => answer.unwrap_or_else(|_| Err(Error::canceled("the daemon did not answer"))),
        () = cancel.cancelled() => Err(Error::canceled("the call was given up")),
    }
}

async fn send(
    sender: &Sender<FromHands>,
    reply: Reply,
    descriptor: Option<std::os::fd::OwnedFd>,
) -> io::Result<()> {
    sender.send(&FromHands { reply: Some(reply) }, descriptor).await
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<u64, RunningCall>> {
    // Each change is one insert or remove, so a panic leaves it whole.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
