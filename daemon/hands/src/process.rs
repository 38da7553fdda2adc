//! One process of hands, seen from the daemon.

use crate::protocol::{Call, FromHands, Kept, Open, Reply, Request, ToHands, VERSION, Watch};
use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use skynet_core::{
    CallCtx, Caller, Canonical, Error, Result, Workspace,
    change::{Changed, Extent},
    ctx::{Keep, Remote, Transport},
    tool::PROXY_PORT,
};
use skynet_egress::Gateway;
use skynet_sandbox::{
    Command, Running, Slots,
    channel::{self, AsyncSocket, Buffer},
    environment::MEMORY,
    protocol::{Kind, Limits},
};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Seek as _},
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Hands that did nothing for so long are let go.
const IDLE: Duration = Duration::from_secs(300);

/// A call that was given up and still runs after that time blocks its hands: they are killed and replaced.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What is taken of what hands say of one call's changes: a line of the log.
const MOST_CHANGES_BYTES: usize = 1 << 20;

/// Entries that one call may change: as many as a preview (`skynet_sandbox::preview::MOST_CHANGES`) and a few for it.
const MOST_KEPT: usize = 20_100;

/// A path in bytes (limits.h, `PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// The variables of the daemon that its hands see; the others are their user's. The broker lets through no more than these
/// ([`skynet_sandbox::environment`]).
const KEPT: [&str; 3] = ["PATH", "LANG", "TZ"];

/// What the tools of one workspace may use together.
const LIMITS: Limits = Limits {
    wall_ms: 0,
    memory_bytes: 4 << 30,
    processes: 256,
    scratch_bytes: 256 << 20,
    cpu_ms: 0,
    disk_bytes: 0,
};

pub(crate) struct Process {
    /// One that it does not outlive.
    pub(crate) pid: u32,
    socket: Arc<AsyncSocket>,
    next: AtomicU64,
    calls: Arc<Mutex<Calls>>,
    /// Set when it must end at once.
    is_stuck: CancellationToken,
    /// What it has a way to.
    remote: Option<Remote>,
}

/// A way out.
pub(crate) struct Way {
    pub(crate) gateway: Arc<Gateway>,
    /// Where it leads.
    pub(crate) remote: Remote,
}

/// Where the replies to one call go, with their descriptors.
type Inbox = mpsc::Sender<(Reply, Option<OwnedFd>)>;

struct Calls {
    /// `None` once the process is gone.
    waiting: Option<HashMap<u64, Inbox>>,
    /// Whom to tell of the changes of a file, by watch.
    watches: HashMap<u64, mpsc::Sender<()>>,
    last_used: Instant,
}

/// A file that is watched, until this is dropped.
pub struct Watching {
    process: Arc<Process>,
    id: u64,
    changes: mpsc::Receiver<()>,
}

impl Watching {
    /// Waits for the next change; `None` when the process that watches died. Cancel-safe.
    pub async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        lock(&self.process.calls).watches.remove(&self.id);
        let (process, id) = (self.process.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Hands that are gone watch nothing.
            runtime.spawn(async move { drop(process.send(Request::Unwatch(id)).await) });
        }
    }
}

impl Process {
    /// With a way they are for one call.
    pub(crate) async fn start(
        slots: &Slots,
        caller: &Caller,
        workspace: Option<&Workspace>,
        way: Option<Way>,
    ) -> Result<Arc<Self>> {
        let cannot = |err: io::Error| Error::unavailable("`skynet-hands` cannot be started").with_source(err);
        let (ours, theirs) = channel::pair().map_err(cannot)?;
        let kind = match (workspace, &way) {
            (None, _) => Kind::Host,
            (Some(_), None) => Kind::Hands,
            (Some(_), Some(_)) => Kind::Remote,
        };
        let mut running = begin(slots, caller, workspace, kind, &theirs).await?;
        // Whoever holds an end keeps the reader waiting.
        drop(theirs);
        let pid = running.pid().await?;
        let mut served = JoinSet::new();
        let (gateway, remote) = way.map(|Way { gateway, remote }| (gateway, remote)).unzip();
        if let Some(gateway) = gateway {
            let socket = running.network().await?.pop();
            let listener =
                TcpListener::from(socket.ok_or_else(|| Error::internal("a slot without its socket"))?);
            listener.set_nonblocking(true).map_err(cannot)?;
            served.spawn(gateway.serve(tokio::net::TcpListener::from_std(listener).map_err(cannot)?));
        }
        let socket = Arc::new(AsyncSocket::new(ours).map_err(cannot)?);
        let buffer = shake_hands(&socket, workspace).await.map_err(cannot)?;
        let calls = Arc::new(Mutex::new(Calls {
            waiting: Some(HashMap::new()),
            watches: HashMap::new(),
            last_used: Instant::now(),
        }));
        let (receiver, waiting, is_stuck) = (socket.clone(), calls.clone(), CancellationToken::new());
        let must_end = is_stuck.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = pump(&receiver, buffer, &waiting) => reason,
                () = must_end.cancelled() => Ok(()),
            };
            {
                let mut calls = lock(&waiting);
                calls.waiting = None;
                calls.watches.clear();
            }
            // Dropped, they are ended where they did not end by themselves.
            drop((running, served));
            tracing::info!(pid, ?reason, "hands ended");
        });
        let place = workspace.map(|workspace| workspace.path().display().to_string());
        tracing::info!(pid, place = place.as_deref().unwrap_or("host"), user = %caller.user, "hands started");
        Ok(Arc::new(Self { pid, socket, next: AtomicU64::new(1), calls, is_stuck, remote }))
    }

    pub(crate) fn is_alive(&self) -> bool {
        lock(&self.calls).waiting.is_some()
    }

    pub(crate) fn is_idle(&self) -> bool {
        let calls = lock(&self.calls);
        calls.last_used.elapsed() > IDLE
            && calls.waiting.as_ref().is_none_or(HashMap::is_empty)
            && calls.watches.is_empty()
    }

    /// Begins a watch; `None` when the process died under it.
    pub(crate) async fn watch(self: &Arc<Self>, path: &str) -> Option<Result<Watching>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (replies, mut inbox) = mpsc::channel(1);
        // One that was not heard of yet says all there is to say.
        let (tell, changes) = mpsc::channel(1);
        {
            let mut calls = lock(&self.calls);
            calls.last_used = Instant::now();
            calls.waiting.as_mut()?.insert(id, replies);
            calls.watches.insert(id, tell);
        }
        let watching = Watching { process: self.clone(), id, changes };
        let _begun = WatchGuard { process: self, id };
        self.send(Request::Watch(Watch { id, path: path.to_owned() })).await.ok()?;
        match inbox.recv().await?.0 {
            Reply::Watched(watched) => {
                Some(watched.failure.map_or(Ok(watching), |failure| Err(failure.into())))
            }
            Reply::Ready(_)
            | Reply::Progress(_)
            | Reply::Before(_)
            | Reply::Blob(_)
            | Reply::Fetch(_)
            | Reply::Done(_)
            | Reply::Changed(_) => Some(Err(Error::internal("hands answered something else than a watch"))),
        }
    }

    /// Runs one call; `None` when the process died under it.
    pub(crate) async fn call(&self, ctx: &CallCtx, name: &str, input: &Canonical) -> Option<Result<Bytes>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (replies, mut inbox) = mpsc::channel(16);
        {
            let mut calls = lock(&self.calls);
            calls.last_used = Instant::now();
            calls.waiting.as_mut()?.insert(id, replies);
        }
        let mut guard = CallGuard { process: self, id, is_done: false };
        let call =
            Call { id, tool: name.to_owned(), input: input.bytes().clone(), max_bytes: ctx.max_bytes as u64 };
        self.send(Request::Call(call)).await.ok()?;
        let mut is_canceled = false;
        let mut kept_count = 0;
        loop {
            let (reply, descriptor) = tokio::select! {
                reply = inbox.recv() => reply?,
                () = ctx.cancel.cancelled(), if !is_canceled => {
                    is_canceled = true;
                    self.send(Request::Cancel(id)).await.ok()?;
                    continue;
                }
            };
            match reply {
                Reply::Done(done) => {
                    guard.is_done = true;
                    note_changes(ctx, &done.changes);
                    return Some(
                        done.failure.map_or_else(|| one_line(done.output), |failure| Err(failure.into())),
                    );
                }
                Reply::Progress(progress) => ctx.progress(progress.done, progress.total, progress.message),
                Reply::Before(before) => {
                    kept_count += 1;
                    if kept_count > MOST_KEPT || before.path.len() > LONGEST_PATH {
                        let refused = Err(Error::quota_exceeded("a call changes at most 20,000 entries"));
                        self.send(Request::Kept(answer(id, refused))).await.ok()?;
                        continue;
                    }
                    let extent = if before.is_tree { Extent::Tree } else { Extent::Entry };
                    let kept = ctx.keep_before(&before.path, descriptor, extent).await;
                    let kept = kept.map(|()| String::new());
                    self.send(Request::Kept(answer(id, kept))).await.ok()?;
                }
                Reply::Blob(blob) => {
                    let stored = match descriptor {
                        Some(file) => ctx.store_blob(file, &blob.name, &blob.media_type).await,
                        None => Err(Error::internal("hands sent a blob without descriptor")),
                    };
                    self.send(Request::Kept(answer(id, stored))).await.ok()?;
                }
                Reply::Fetch(fetch) => {
                    let opened = match Keep::from_name(&fetch.what) {
                        Some(Keep::Credential) => self.credential(ctx).await,
                        Some(Keep::Agent) => self.agent(ctx).await,
                        Some(what) => ctx.open_kept(what, &fetch.name).await,
                        None => Err(Error::internal("hands asked for something unknown")),
                    };
                    let (said, file) = match opened {
                        Ok(file) => (Ok(String::new()), Some(file)),
                        Err(err) => (Err(err), None),
                    };
                    let request = Some(Request::Kept(answer(id, said)));
                    let file: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
                    self.socket.send(&ToHands { request }, &file).await.ok()?;
                }
                Reply::Ready(_) | Reply::Watched(_) | Reply::Changed(_) => {}
            }
        }
    }

    /// For the remote that this process was started for, whichever it asks for.
    async fn credential(&self, ctx: &CallCtx) -> Result<OwnedFd> {
        let remote = self.remote.as_ref();
        let remote =
            remote.ok_or_else(|| Error::internal("hands without a remote asked for its credential"))?;
        let credential = ctx.credential(remote).await?;
        let cannot = |err: io::Error| Error::internal("a credential cannot be handed over").with_source(err);
        let file = memfd_create("credential", MemfdFlags::CLOEXEC).map_err(|err| cannot(err.into()))?;
        let mut file = File::from(file);
        serde_json::to_writer(&mut file, &credential).map_err(|err| cannot(err.into()))?;
        file.rewind().map_err(cannot)?;
        Ok(file.into())
    }

    async fn agent(&self, ctx: &CallCtx) -> Result<OwnedFd> {
        if self.remote.as_ref().is_none_or(|remote| remote.transport != Transport::Ssh) {
            return Err(Error::internal("hands without a remote by SSH asked for the agent"));
        }
        ctx.agent().await
    }

    async fn send(&self, request: Request) -> io::Result<()> {
        self.socket.send(&ToHands { request: Some(request) }, &[]).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The task that reads keeps the socket open; hands must see the end all the same.
        self.socket.close();
    }
}

/// Has hands started, with `socket` as their stdin.
async fn begin(
    slots: &Slots,
    caller: &Caller,
    workspace: Option<&Workspace>,
    kind: Kind,
    socket: &OwnedFd,
) -> Result<Running> {
    let null = OpenOptions::new().write(true).open("/dev/null");
    let null = null.map_err(|err| Error::unavailable("/dev/null is needed").with_source(err))?;
    let mut environment = vec![
        format!("HOME={}", caller.home.display()).into_bytes(),
        format!("USER={}", caller.user).into_bytes(),
        format!("LOGNAME={}", caller.user).into_bytes(),
        format!("{}={}", MEMORY.0, MEMORY.1).into_bytes(),
    ];
    environment.extend(KEPT.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some([name.as_bytes(), b"=", value.as_encoded_bytes()].concat())
    }));
    let stderr = io::stderr();
    let command = Command {
        kind,
        connection: caller.connection.number(),
        // The broker knows where they are.
        argv: Vec::new(),
        environment,
        workspace,
        directory: Path::new("."),
        home: &caller.home,
        private_home: "",
        limits: LIMITS,
        listen: if kind == Kind::Remote { vec![PROXY_PORT] } else { Vec::new() },
        is_published: false,
        preview: None,
        is_apart: false,
        certificates: None,
    };
    slots.run(command, [socket.as_fd(), null.as_fd(), stderr.as_fd()]).await
}

/// Opens the conversation, and waits until they are ready.
async fn shake_hands(socket: &AsyncSocket, workspace: Option<&Workspace>) -> io::Result<Buffer> {
    let open = Open { version: VERSION, has_workspace: workspace.is_some() };
    socket.send(&ToHands { request: Some(Request::Open(open)) }, &[]).await?;
    let mut buffer = Buffer::default();
    match socket.receive(&mut buffer).await? {
        Some((FromHands { reply: Some(Reply::Ready(_)) }, _)) => Ok(buffer),
        _ => Err(io::Error::other("hands did not report ready")),
    }
}

/// What hands say of their changes is what the caller's own process says: it is recorded, and decides nothing.
fn note_changes(ctx: &CallCtx, changes: &[u8]) {
    if changes.is_empty() {
        return;
    }
    let told =
        serde_json::from_slice::<Vec<Changed>>(changes).ok().filter(|_| changes.len() <= MOST_CHANGES_BYTES);
    ctx.note_changes(told.unwrap_or_else(|| {
        let lost = Some("more was told of its changes than the log takes".to_owned());
        vec![Changed { path: ".".to_owned(), before: None, after: None, lost, tree: None }]
    }));
}

/// An output is spliced into a line for the client as it is, so hands must not be able to end that line.
fn one_line(output: Bytes) -> Result<Bytes> {
    // Piece by piece and not byte by byte, so that the compiler looks at many bytes at once.
    let has_control = |piece: &[u8]| piece.iter().fold(false, |found, byte| found | (*byte < 0x20));
    if std::str::from_utf8(&output).is_err() || output.chunks(64).any(has_control) {
        return Err(Error::internal("the tool's answer is not one line of JSON"));
    }
    Ok(output)
}

fn answer(id: u64, result: Result<String>) -> Kept {
    match result {
        Ok(uri) => Kept { id, uri, failure: None },
        Err(err) => Kept { id, uri: String::new(), failure: Some(err.into()) },
    }
}

/// Waits until a call that was given up has ended, or its process has.
async fn ended(mut inbox: mpsc::Receiver<(Reply, Option<OwnedFd>)>) {
    while let Some((reply, _)) = inbox.recv().await {
        if matches!(reply, Reply::Done(_)) {
            return;
        }
    }
}

/// Waits no longer for the beginning of a watch.
struct WatchGuard<'a> {
    process: &'a Process,
    id: u64,
}

impl Drop for WatchGuard<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = lock(&self.process.calls).waiting.as_mut() {
            waiting.remove(&self.id);
        }
    }
}

/// Forgets a call, and stops it if it is given up before its end.
struct CallGuard<'a> {
    process: &'a Process,
    id: u64,
    is_done: bool,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let id = self.id;
        let was_alive =
            lock(&self.process.calls).waiting.as_mut().and_then(|waiting| waiting.remove(&id)).is_some();
        if was_alive && !self.is_done {
            let socket = self.process.socket.clone();
            let (replies, inbox) = mpsc::channel(1);
            if let Some(waiting) = lock(&self.process.calls).waiting.as_mut() {
                waiting.insert(id, replies);
            }
            let (calls, pid, is_stuck) =
                (self.process.calls.clone(), self.process.pid, self.process.is_stuck.clone());
            tokio::spawn(async move {
                // Hands that are gone need no cancel.
                let _ = socket.send(&ToHands { request: Some(Request::Cancel(id)) }, &[]).await;
                let has_ended = tokio::time::timeout(STUCK_AFTER, ended(inbox)).await.is_ok();
                if let Some(waiting) = lock(&calls).waiting.as_mut() {
                    waiting.remove(&id);
                }
                if !has_ended {
                    tracing::warn!(pid, "hands do not let go of a call that was given up; they are replaced");
                    is_stuck.cancel();
                }
            });
        }
    }
}

/// Hands each reply to the call it belongs to, until the process closes its end.
async fn pump(socket: &AsyncSocket, mut buffer: Buffer, calls: &Mutex<Calls>) -> io::Result<()> {
    while let Some((message, mut descriptors)) = socket.receive::<FromHands>(&mut buffer).await? {
        let Some(reply) = message.reply else { continue };
        if let Reply::Changed(id) = reply {
            // One that was told and has not listened yet hears of it all the same.
            let _ = lock(calls).watches.get(&id).map(|watch| watch.try_send(()));
            continue;
        }
        let inbox = reply.call().and_then(|id| lock(calls).waiting.as_ref()?.get(&id).cloned());
        if let Some(inbox) = inbox {
            // A call that is no longer waiting does not want it.
            let _ = inbox.send((reply, descriptors.pop())).await;
        }
    }
    Ok(())
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    // Each change is one insert or remove, so a panic leaves it whole.
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cannot_end_the_line_it_is_put_into() {
        let json = Bytes::from_static(br#"{"text":"a\nb \u00e9"}"#);
        assert_eq!(one_line(json.clone()).unwrap(), json);
        for wrong in [&b"{}\n{\"jsonrpc\":\"2.0\"}"[..], b"{\"a\":\"\xff\"}"] {
            assert!(one_line(Bytes::from_static(wrong)).is_err(), "{wrong:?}");
        }
    }
}
