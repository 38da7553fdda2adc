//! The end of the protocol that runs tools.
//!
//! Every thread waits for the next message, and the one that gets a call runs it: a call crosses from one thread to
//! another only between the processes. Before a thread turns to a call it makes sure that another one listens,
//! so that cancels are always heard.

use crate::{
    changes::Changes,
    protocol::{
        Before, Blob, Call, Done, Fetch, FromHands, Kept, Open, Progress, Reply, Request, ToHands, VERSION,
        Watch, Watched,
    },
    watches::{self, News, Todo},
};
use async_trait::async_trait;
use skynet_core::{
    CallCtx, Canonical, Error, Outbox, Registry, Result, Workspace,
    change::{Elsewhere, Entry, Extent},
    ctx::{self, Keep},
};
use skynet_sandbox::channel::{BlockingSocket, Buffer};
use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{UnboundedSender, unbounded_channel},
        oneshot,
    },
};
use tokio_util::sync::CancellationToken;

/// At most; one of them always listens. They are started when needed and then stay.
const THREADS: usize = 16;

/// What may take longer only waits, for as long as somebody wants to know: it has a thread besides those, of which a
/// workspace with many watched collections would leave none.
const WAITS: Duration = Duration::from_secs(24 * 3600);

/// The thread that got the call has it in the table within microseconds, so few are enough.
const EARLY_CANCELS: usize = 64;

/// Serves calls from `socket` until the daemon closes it. Calls that are still under way then are canceled, not
/// waited for: the caller ends the process. `runtime` drives what tools wait for.
///
/// # Errors
/// When the first message is not `Open`, or the socket fails.
pub fn serve(socket: OwnedFd, registry: Registry, runtime: Handle) -> io::Result<()> {
    let socket = BlockingSocket::new(socket);
    let first = socket.receive(&mut Buffer::default())?;
    let Some((ToHands { request: Some(Request::Open(open)) }, _)) = first else {
        return Err(unexpected());
    };
    if open.version != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "daemon and hands are of different versions"));
    }
    let workspace = if open.has_workspace {
        // It was started there.
        let root = std::env::current_dir()?;
        Some(Arc::new(Workspace::open(&root).map_err(io::Error::other)?))
    } else {
        None
    };
    let (ended, end) = mpsc::channel();
    let state = State { threads: 1, listening: 1, ..State::default() };
    let hands = Arc::new(Hands {
        socket,
        registry,
        workspace,
        runtime,
        state: Mutex::new(state),
        watches: OnceLock::new(),
        ended,
    });
    hands.send(Reply::Ready(Open { version: VERSION, has_workspace: hands.workspace.is_some() }), None)?;
    hands.start_thread()?;
    let result = end.recv().map_err(io::Error::other)?;
    // The daemon is gone: nobody wants the rest.
    hands.lock().calls.values().for_each(|call| call.cancel.cancel());
    result
}

struct Hands {
    socket: BlockingSocket,
    registry: Registry,
    workspace: Option<Arc<Workspace>>,
    runtime: Handle,
    state: Mutex<State>,
    /// The task that watches files, once there is one to watch. The daemon limits how much it is asked.
    watches: OnceLock<UnboundedSender<Todo>>,
    ended: mpsc::Sender<io::Result<()>>,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// How many of them run no call.
    listening: usize,
    calls: HashMap<u64, RunningCall>,
    /// Calls for which there was no thread.
    waiting: VecDeque<Call>,
    /// The newest cancels of unknown calls: of ones that have ended, or that another thread is just taking.
    early_cancels: VecDeque<u64>,
}

impl State {
    fn begin(&mut self, id: u64) {
        let call = RunningCall::default();
        if self.early_cancels.contains(&id) {
            call.cancel.cancel();
        }
        self.calls.insert(id, call);
    }

    fn cancel(&mut self, id: u64) {
        match self.calls.get(&id) {
            Some(call) => call.cancel.cancel(),
            None => {
                self.early_cancels.push_back(id);
                if self.early_cancels.len() > EARLY_CANCELS {
                    self.early_cancels.pop_front();
                }
            }
        }
    }
}

#[derive(Default)]
struct RunningCall {
    cancel: CancellationToken,
    /// A call waits for one descriptor at a time.
    kept: Option<oneshot::Sender<Result<Answer>>>,
    changes: Changes,
}

impl Hands {
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let hands = self.clone();
        thread::Builder::new().spawn(move || {
            let result = hands.listen();
            // Whoever is first ends the process.
            let _ = hands.ended.send(result);
        })?;
        Ok(())
    }

    fn listen(self: &Arc<Self>) -> io::Result<()> {
        let mut buffer = Buffer::default();
        while let Some((message, mut descriptors)) = self.socket.receive::<ToHands>(&mut buffer)? {
            match message.request {
                Some(Request::Call(call)) => self.take(call)?,
                Some(Request::Cancel(id)) => self.lock().cancel(id),
                Some(Request::Kept(kept)) => self.settle(kept, descriptors.pop()),
                Some(Request::Watch(Watch { id, path })) => self.watch(id, path)?,
                // A task that has failed watches nothing.
                Some(Request::Unwatch(id)) => {
                    drop(self.watches.get().map(|task| task.send(Todo::Unwatch { id })));
                }
                Some(Request::Open(_)) | None => return Err(unexpected()),
            }
        }
        Ok(())
    }

    /// Runs a call, and those that came to wait meanwhile; or lets it wait, if nobody else would listen.
    fn take(self: &Arc<Self>, call: Call) -> io::Result<()> {
        if self.registry.find(&call.tool).is_ok_and(|entry| entry.timeout > WAITS) {
            self.lock().begin(call.id);
            let hands = self.clone();
            self.runtime.spawn_blocking(move || {
                let result = hands.run(call);
                if result.is_err() {
                    let _ = hands.ended.send(result);
                }
            });
            return Ok(());
        }
        {
            let mut state = self.lock();
            state.begin(call.id);
            if state.listening == 1 {
                if state.threads < THREADS && self.start_thread().is_ok() {
                    state.threads += 1;
                    state.listening += 1;
                } else if state.threads > 1 {
                    state.waiting.push_back(call);
                    return Ok(());
                }
                // The only thread, on a host that gives no second one, runs it all the same: its cancel waits.
            }
            state.listening -= 1;
        }
        let mut next = Some(call);
        while let Some(call) = next {
            self.run(call)?;
            let mut state = self.lock();
            next = state.waiting.pop_front();
            if next.is_none() {
                state.listening += 1;
            }
        }
        Ok(())
    }

    fn run(self: &Arc<Self>, call: Call) -> io::Result<()> {
        let id = call.id;
        let result = catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(self.perform(call))));
        let result = result.unwrap_or_else(|_| Err(Error::internal("the tool failed by a defect of Skynet")));
        let changes = self.lock().calls.remove(&id).map(|call| call.changes).unwrap_or_default();
        let changes = self.workspace.as_ref().map(|workspace| changes.end(workspace)).unwrap_or_default();
        let changes = if changes.is_empty() { Vec::new() } else { serde_json::to_vec(&changes)? };
        let (output, failure) = match result {
            Ok(output) => (output, None),
            Err(err) => (bytes::Bytes::new(), Some(err.into())),
        };
        let done = Done { id, output, failure, changes: changes.into() };
        self.send(Reply::Done(done), None)
    }

    async fn perform(self: &Arc<Self>, call: Call) -> Result<bytes::Bytes> {
        let cancel = self.lock().calls.get(&call.id).map(|call| call.cancel.clone()).unwrap_or_default();
        if cancel.is_cancelled() {
            return Err(Error::canceled("the call was given up before it began"));
        }
        let entry = self.registry.find(&call.tool)?;
        let input = Canonical::parse(&call.input)?;
        let max_bytes = usize::try_from(call.max_bytes).unwrap_or(usize::MAX);
        let effect = entry.effect_of(&input)?;
        let outbox = ToDaemon { hands: self.clone(), id: call.id, cancel: cancel.clone() };
        let ctx = CallCtx::new(cancel, max_bytes, effect, self.workspace.clone(), Arc::new(outbox));
        entry.run(&ctx, &input).await
    }

    fn watch(self: &Arc<Self>, id: u64, path: String) -> io::Result<()> {
        let Some(workspace) = &self.workspace else {
            return self.tell(News::Begun(id, Err(Error::invalid_input("there is no workspace to watch"))));
        };
        let task = self.watches.get_or_init(|| {
            let (task, todo) = unbounded_channel();
            let (hands, workspace) = (Arc::downgrade(self), workspace.clone());
            self.runtime.spawn(async move {
                let tell = |news| {
                    // Without a daemon there is nobody to tell, and the threads that listen notice as well.
                    let _ = hands.upgrade().map(|hands| hands.tell(news));
                };
                if let Err(err) = watches::run(workspace, todo, tell).await {
                    tracing::error!(error = %err, "files can no longer be watched");
                }
            });
            task
        });
        if task.send(Todo::Watch { id, path }).is_err() {
            return self
                .tell(News::Begun(id, Err(Error::unavailable("files cannot be watched on this host"))));
        }
        Ok(())
    }

    fn tell(&self, news: News) -> io::Result<()> {
        let reply = match news {
            News::Begun(id, begun) => Reply::Watched(Watched { id, failure: begun.err().map(Into::into) }),
            News::Changed(id) => Reply::Changed(id),
        };
        self.send(reply, None)
    }

    fn settle(&self, kept: Kept, descriptor: Option<OwnedFd>) {
        let waiting = self.lock().calls.get_mut(&kept.id).and_then(|call| call.kept.take());
        if let Some(waiting) = waiting {
            let result = kept.failure.map_or(Ok((kept.uri, descriptor)), |failure| Err(failure.into()));
            // The tool may have stopped waiting because it was canceled.
            let _ = waiting.send(result);
        }
    }

    fn send(&self, reply: Reply, descriptor: Option<&OwnedFd>) -> io::Result<()> {
        let descriptors: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_fd()).collect();
        self.socket.send(&FromHands { reply: Some(reply) }, &descriptors)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the daemon says to what a call hands out: the URI of a blob, the descriptor of what is kept.
type Answer = (String, Option<OwnedFd>);

/// What one call hands out, on its way to the daemon.
struct ToDaemon {
    hands: Arc<Hands>,
    id: u64,
    cancel: CancellationToken,
}

impl ToDaemon {
    /// Sends what the daemon answers with [`Kept`], and waits for that.
    async fn ask(&self, reply: Reply, descriptor: Option<&OwnedFd>) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        if let Some(call) = self.hands.lock().calls.get_mut(&self.id) {
            call.kept = Some(answer);
        }
        self.hands
            .send(reply, descriptor)
            .map_err(|err| Error::canceled("the daemon cannot be told").with_source(err))?;
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(|_| Err(Error::canceled("the daemon did not answer"))),
            // A daemon that gave the call up answers nothing, but it has canceled.
            () = self.cancel.cancelled() => Err(Error::canceled("the call was given up")),
        }
    }
}

#[async_trait]
impl Outbox for ToDaemon {
    fn progress(&self, progress: ctx::Progress) {
        let ctx::Progress { done, total, message } = progress;
        // Without a daemon there is nobody to tell, and the threads that listen notice as well.
        let _ = self.hands.send(Reply::Progress(Progress { id: self.id, done, total, message }), None);
    }

    fn note_after(&self, path: &str, after: Option<Entry>) {
        if let Some(call) = self.hands.lock().calls.get_mut(&self.id) {
            call.changes.settle(path, after);
        }
    }

    fn note_tree(&self, path: &str, elsewhere: Elsewhere) {
        if let Some(call) = self.hands.lock().calls.get_mut(&self.id) {
            call.changes.place(path, elsewhere);
        }
    }

    async fn keep_before(&self, path: &str, file: Option<OwnedFd>, extent: Extent) -> Result<()> {
        if let Some(workspace) = &self.hands.workspace {
            // Files are read meanwhile, so not under the lock that every call needs.
            let changes = |taken: Changes| {
                let mut hands = self.hands.lock();
                let call = hands.calls.get_mut(&self.id);
                call.map(|call| std::mem::replace(&mut call.changes, taken)).unwrap_or_default()
            };
            let mut own = changes(Changes::default());
            own.begin(workspace, path, extent);
            drop(changes(own));
        }
        let before =
            Reply::Before(Before { id: self.id, path: path.to_owned(), is_tree: extent == Extent::Tree });
        self.ask(before, file.as_ref()).await.map(drop)
    }

    async fn store_blob(&self, file: OwnedFd, name: &str, media_type: &str) -> Result<String> {
        let blob = Blob { id: self.id, name: name.to_owned(), media_type: media_type.to_owned() };
        self.ask(Reply::Blob(blob), Some(&file)).await.map(|(uri, _)| uri)
    }

    async fn open_kept(&self, what: Keep, name: &str) -> Result<OwnedFd> {
        let fetch = Fetch { id: self.id, what: what.as_str().to_owned(), name: name.to_owned() };
        let (_, file) = self.ask(Reply::Fetch(fetch), None).await?;
        file.ok_or_else(|| Error::internal("the daemon sent what is kept without descriptor"))
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_that_overtakes_its_call_counts() {
        let mut state = State::default();
        state.cancel(7);
        (8..20).for_each(|id| state.begin(id));
        state.begin(7);
        state.cancel(8);
        let canceled: Vec<u64> = (7..20).filter(|id| state.calls[id].cancel.is_cancelled()).collect();
        assert_eq!(canceled, [7, 8]);
    }
}
