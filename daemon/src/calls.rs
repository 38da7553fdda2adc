//! Calls under way. A call runs in a task of its own, so that a lost connection does not stop it and a resent
//! frame finds it again.

use async_trait::async_trait;
use bytes::Bytes;
use skynet_core::{
    Answer, Call, CallId, Caller, Error, Outbox, Pipeline, Registry, Result,
    call::{Ask, Before, Notes, Slot},
    ctx::Progress,
};
use skynet_store::Blobs;
use std::{
    collections::HashMap,
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How much answer a call gets that does not ask for more, in bytes.
const DEFAULT_MAX_BYTES: usize = 64 << 10;

/// A reader that is further behind than that looks at everything again.
const RECORDED_KEPT: usize = 256;

/// What a path held before a change is kept up to that size.
const MOST_BEFORE_BYTES: u64 = 64 << 20;

/// What a client asks for.
pub(crate) struct Request {
    pub(crate) id: CallId,
    pub(crate) name: String,
    pub(crate) caller: Caller,
    pub(crate) raw: Bytes,
    pub(crate) resend: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) ask: Option<Arc<dyn Ask>>,
    /// W3C Trace Context.
    pub(crate) trace_parent: Option<String>,
}

impl Request {
    /// A call that nobody can be asked about, and that holds no place.
    pub(crate) fn new(id: CallId, name: &str, caller: Caller, raw: Bytes) -> Self {
        Self {
            id,
            name: name.to_owned(),
            caller,
            raw,
            resend: false,
            slots: Vec::new(),
            ask: None,
            trace_parent: None,
        }
    }
}

/// A call under way; clones see the same one.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) tool: &'static str,
    outcome: watch::Receiver<Option<Arc<Result<Answer>>>>,
    pub(crate) progress: watch::Receiver<Option<Progress>>,
    pub(crate) cancel: CancellationToken,
    /// Whether somebody will ask for its answer after its session has ended.
    pub(crate) is_kept: Arc<AtomicBool>,
}

impl Running {
    /// Waits for the end. Cancel-safe.
    pub(crate) async fn outcome(&mut self) -> Arc<Result<Answer>> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }
}

fn lost() -> Arc<Result<Answer>> {
    Arc::new(Err(Error::internal("the task of this call ended without an outcome")))
}

/// Whose word counts when a call needs approval.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// That of the client's user, in its dialog or by skynetctl.
    Clients,
    /// That of an administrator, by skynetctl alone.
    Administrators,
}

/// All calls under way.
pub(crate) struct Calls {
    asking: Asking,
    pipeline: Pipeline,
    registry: Arc<Registry>,
    blobs: Blobs,
    running: Mutex<HashMap<CallId, Running>>,
    /// The newest sessions that got something recorded.
    recorded: broadcast::Sender<Uuid>,
}

impl Calls {
    pub(crate) fn new(
        pipeline: Pipeline,
        registry: Arc<Registry>,
        blobs: Blobs,
        asking: Asking,
    ) -> Arc<Self> {
        let recorded = broadcast::Sender::new(RECORDED_KEPT);
        Arc::new(Self { asking, pipeline, registry, blobs, running: Mutex::default(), recorded })
    }

    /// The session of each call, once it has ended and is in the audit log.
    pub(crate) fn recorded(&self) -> broadcast::Receiver<Uuid> {
        self.recorded.subscribe()
    }

    pub(crate) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) const fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Starts a call, or joins the one of the same id that is under way.
    ///
    /// # Errors
    /// `NotFound` for a name that is no tool.
    pub(crate) fn start(self: &Arc<Self>, mut request: Request) -> Result<Running> {
        let outer = self.registry.find(&request.name)?.name;
        let inner = skynet_catalog::unwrap(&self.registry, outer, &request.raw);
        let via = inner.is_some().then_some(outer);
        if let Some((name, raw)) = inner {
            (request.name, request.raw) = (name, raw);
        }
        let tool = self.registry.find(&request.name)?.clone();
        let mut all = self.lock();
        if let Some(same) = all.get(&request.id) {
            return Ok(same.clone());
        }
        let (outcome, outcome_seen) = watch::channel(None);
        let (progress, progress_seen) = watch::channel(None);
        let cancel = CancellationToken::new();
        let running = Running {
            tool: tool.name,
            outcome: outcome_seen,
            progress: progress_seen,
            cancel: cancel.clone(),
            is_kept: Arc::default(),
        };
        all.insert(request.id, running.clone());
        drop(all);

        let id = request.id;
        let notes = Notes { via, trace_parent: request.trace_parent, ..Notes::default() };
        let outbox = Shelf {
            blobs: self.blobs.clone(),
            uid: request.caller.uid,
            owner: request.caller.owner(),
            before: notes.before.clone(),
            progress,
        };
        let mut call = Call {
            id,
            effect: tool.effect,
            program: None,
            asked_by: None,
            tool,
            caller: request.caller,
            raw: request.raw,
            input: None,
            resend: request.resend,
            cancel,
            max_bytes: DEFAULT_MAX_BYTES,
            slots: request.slots,
            ask: request.ask.filter(|_| self.asking == Asking::Clients),
            outbox: Arc::new(outbox),
            notes,
        };
        let calls = self.clone();
        tokio::spawn(async move {
            let result = calls.pipeline.run(&mut call).await;
            drop(call);
            outcome.send_replace(Some(Arc::new(result)));
            calls.lock().remove(&id);
            // Nobody may be interested.
            let _ = calls.recorded.send(id.session);
        });
        Ok(running)
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Cancels every call of a session, but for those that became jobs.
    pub(crate) fn cancel_session(&self, session: Uuid) {
        let all = self.lock();
        let own =
            all.iter().filter(|(id, call)| id.session == session && !call.is_kept.load(Ordering::Relaxed));
        own.for_each(|(_, call)| call.cancel.cancel());
    }

    /// Waits until no call is under way.
    pub(crate) async fn finished(&self) {
        loop {
            let Some(mut one) = self.lock().values().next().cloned() else {
                return;
            };
            one.outcome().await;
            // Its task removes it right after; let it.
            tokio::task::yield_now().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Running>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what a running call hands out.
struct Shelf {
    blobs: Blobs,
    uid: u32,
    owner: String,
    before: Arc<Mutex<Vec<Before>>>,
    progress: watch::Sender<Option<Progress>>,
}

#[async_trait]
impl Outbox for Shelf {
    fn progress(&self, progress: Progress) {
        self.progress.send_replace(Some(progress));
    }

    async fn keep_before(&self, path: &str, file: Option<OwnedFd>) -> Result<()> {
        let kept = match file {
            Some(file) => Some(self.keep(path, File::from(file)).await?),
            None => None,
        };
        self.before.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_owned(), kept));
        Ok(())
    }

    async fn store_blob(&self, file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        let digest = self.put(format!("result/{}", self.owner), File::from(file)).await?;
        Ok(format!("skynet://result/{digest}"))
    }

    async fn keep_preview(&self, file: OwnedFd) -> Result<String> {
        self.put(format!("preview/{}", self.owner), File::from(file)).await
    }

    async fn open_preview(&self, digest: &str) -> Result<OwnedFd> {
        let (blobs, owner, digest) =
            (self.blobs.clone(), format!("preview/{}", self.owner), digest.to_owned());
        let found = tokio::task::spawn_blocking(move || blobs.open_file(&owner, &digest)).await;
        match found {
            Ok(Ok(Some(file))) => Ok(file.into()),
            Ok(Ok(None)) => Err(Error::not_found("this preview is not kept (any more); make it again")),
            Ok(Err(err)) => Err(Error::unavailable("what is kept cannot be read").with_source(err)),
            Err(err) => Err(Error::internal("reading a blob failed").with_source(err)),
        }
    }
}

impl Shelf {
    async fn keep(&self, path: &str, file: File) -> Result<String> {
        let size = file
            .metadata()
            .map_err(|err| Error::unavailable(format!("`{path}` cannot be examined")).with_source(err))?
            .len();
        if size > MOST_BEFORE_BYTES {
            // Recorded as such: this change cannot be taken back.
            return Ok(format!("not kept: {size} bytes"));
        }
        self.put(format!("before/{}", self.uid), file).await
    }

    async fn put(&self, owner: String, file: File) -> Result<String> {
        let blobs = self.blobs.clone();
        let stored = tokio::task::spawn_blocking(move || blobs.put(&owner, file)).await;
        let stored = stored.map_err(|err| Error::internal("storing a blob failed").with_source(err))?;
        stored.map(|stored| stored.digest).map_err(|err| {
            Error::unavailable("the daemon has no room to keep what this call changes or returns")
                .with_source(err)
        })
    }
}
