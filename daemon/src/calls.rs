//! Calls under way. A call runs in a task of its own, so that a lost connection does not stop it and a resent
//! frame finds it again.

use crate::{
    purse::Purse,
    shelf::{self, Shelf},
};
use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use skynet_core::{
    Answer, Call, CallId, Caller, CommandLine, Error, Pipeline, Registry, Result,
    call::{Ask, Notes, Slot},
    ctx::Progress,
};
use skynet_memory::Habits;
use skynet_policy::{Factor, Services};
use skynet_secrets::Keyring;
use skynet_store::{Blobs, Ledger};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How much answer a call gets that does not ask for more, in bytes.
const DEFAULT_MAX_BYTES: usize = 64 << 10;

/// Calls that may read the log for what was changed at the same time.
const READERS: usize = 2;

/// A reader that is further behind than that looks at everything again.
const RECORDED_KEPT: usize = 256;

/// What a client asks for.
pub(crate) struct Request {
    pub(crate) id: CallId,
    pub(crate) name: String,
    pub(crate) caller: Caller,
    pub(crate) raw: Bytes,
    /// The name that the client used, if it is another one of the tool's.
    pub(crate) alias: Option<&'static str>,
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
            alias: None,
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

/// How a command ended, where the answer tells.
#[derive(Default, Deserialize)]
struct Ended {
    exit_code: Option<i32>,
}

/// A command that did its work, from which something may be learnt.
struct Done {
    uid: u32,
    workspace: PathBuf,
    /// What makes an occasion: the session, or the day of who comes with a session for each call.
    occasion: String,
    command: CommandLine,
}

impl Done {
    fn of(call: &Call, answer: &Answer) -> Option<Self> {
        let workspace = call.caller.workspace.as_ref()?.path().to_owned();
        let command = call.tool.command_of(call.input().ok()?).ok()??;
        let ended: Ended = serde_json::from_slice(&answer.json).unwrap_or_default();
        let is_lasting = call.caller.token.is_none() && !call.caller.client.starts_with("skynetctl");
        let occasion = if is_lasting {
            call.id.session.to_string()
        } else {
            Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
        };
        (ended.exit_code == Some(0)).then_some(Self { uid: call.caller.uid, workspace, occasion, command })
    }

    async fn note(self, habits: &Habits) {
        let noted = habits.note(self.uid, &self.workspace, &self.occasion, &self.command).await;
        if let Err(err) = noted {
            tracing::warn!(error = %err, "nothing is learnt from a command");
        }
    }
}

/// All calls under way.
pub(crate) struct Calls {
    factor: Factor,
    pipeline: Pipeline,
    registry: Arc<Registry>,
    blobs: Blobs,
    audit: Ledger,
    keyring: Arc<Keyring>,
    purse: Arc<Purse>,
    habits: Arc<Habits>,
    readers: Arc<Semaphore>,
    running: Mutex<HashMap<CallId, Running>>,
    /// The newest sessions that got something recorded.
    recorded: broadcast::Sender<Uuid>,
}

impl Calls {
    pub(crate) fn new(
        pipeline: Pipeline,
        registry: Arc<Registry>,
        services: &Services,
        purse: Arc<Purse>,
        habits: Arc<Habits>,
        factor: Factor,
    ) -> Arc<Self> {
        let recorded = broadcast::Sender::new(RECORDED_KEPT);
        let readers = Arc::new(Semaphore::new(READERS));
        Arc::new(Self {
            factor,
            pipeline,
            registry,
            blobs: services.blobs.clone(),
            audit: services.audit.clone(),
            keyring: services.keyring.clone(),
            purse,
            habits,
            readers,
            running: Mutex::default(),
            recorded,
        })
    }

    /// The session of each call, once it has ended and is in the audit log.
    pub(crate) fn recorded(&self) -> broadcast::Receiver<Uuid> {
        self.recorded.subscribe()
    }

    pub(crate) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) const fn purse(&self) -> &Arc<Purse> {
        &self.purse
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
        let via = inner.is_some().then_some(outer).or(request.alias);
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
            audit: self.audit.clone(),
            keyring: self.keyring.clone(),
            purse: self.purse.clone(),
            cancel: cancel.clone(),
            session: id.session,
            caller: request.caller.clone(),
            notes: notes.clone(),
            progress,
            readers: self.readers.clone(),
        };
        let mut call = Call {
            id,
            effect: tool.effect,
            program: None,
            program_before: None,
            has_lent_engine: false,
            is_listed: false,
            asked_by: None,
            tool,
            caller: request.caller,
            raw: request.raw,
            input: None,
            resend: request.resend,
            cancel,
            max_bytes: DEFAULT_MAX_BYTES,
            jobs: None,
            slots: request.slots,
            ask: request.ask.filter(|_| self.factor.counts_dialogs()),
            outbox: Arc::new(outbox),
            notes,
        };
        let calls = self.clone();
        tokio::spawn(async move {
            let result = calls.pipeline.run(&mut call).await;
            let done = result.as_ref().ok().and_then(|answer| Done::of(&call, answer));
            drop(call);
            outcome.send_replace(Some(Arc::new(result)));
            calls.lock().remove(&id);
            // Nobody may be interested.
            let _ = calls.recorded.send(id.session);
            if let Some(done) = done {
                done.note(&calls.habits).await;
            }
        });
        Ok(running)
    }

    /// What is told to a user, without his secrets.
    ///
    /// # Errors
    /// `Unavailable` when they cannot be read.
    pub(crate) async fn without_secrets(&self, uid: u32, content: Vec<u8>) -> Result<Vec<u8>> {
        let keyring = self.keyring.clone();
        let looked = tokio::task::spawn_blocking(move || shelf::redact(&keyring, uid, &content)).await;
        looked.map_err(|err| Error::internal("looking for secrets failed").with_source(err))?
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
