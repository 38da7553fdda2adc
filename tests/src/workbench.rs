//! The pipeline in this process, on a workspace of its own: what a call passes, without sockets.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use skynet_catalog::Catalog;
use skynet_core::{
    Answer, Call, CallCtx, CallId, Caller, Canonical, Connection, Effect, Outbox, Pipeline, Registry, Result,
    Toolset, Usage, Workspace,
    call::{Ask, Notes},
    change::{Changed, Extent},
    ctx::Progress,
    registry::Entry,
};
use skynet_lease_tools::Board;
use skynet_leases::Leases;
use skynet_policy::{
    Approvals, CommandRule, Commands, Factor, Grants, Limits, Metrics, OfWorkspace, Plan, Projects, Quotas,
    Roles, Rule, Rules, Services, Trust, Verdict,
};
use skynet_secrets::{Keyring, MasterKey, Secrets};
use skynet_store::{Blobs, Journal, Ledger, Tables};
use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A pipeline with its services.
pub struct Workbench {
    pub services: Services,
    pub registry: Registry,
    pub pipeline: Pipeline,
    pub root: PathBuf,
    pub workspace: Arc<Workspace>,
    /// By how many seconds the clock of leases is ahead.
    pub ahead: Arc<AtomicI64>,
    keep: tempfile::TempDir,
}

/// Every tool of the product, run in this process.
///
/// # Panics
/// When two tools share a name.
#[must_use]
pub fn product() -> Registry {
    product_with(&Arc::default())
}

fn product_with(board: &Arc<Board>) -> Registry {
    let catalog = Catalog::new(vec!["exec".into(), "files".into(), "git".into(), "skynet".into()]);
    let state = std::env::temp_dir().join("skynet-state");
    let slots =
        skynet_sandbox::Slots::new(crate::programs::program("skynet-sandbox"), 0, state.join("homes"));
    let engine = skynet_engine::Engine::new(slots.clone(), Vec::new());
    let commands = skynet_exec::Host::new(slots, Some(Path::new("/root")), &state, Vec::new());
    let mut toolsets = skynet_hands::toolsets();
    toolsets.extend([
        skynet_env::toolset(&commands),
        skynet_exec::toolset(&commands),
        skynet_exec::more(&commands),
    ]);
    toolsets.push(skynet_docker::toolset(&engine));
    toolsets.push(skynet_knowledge_tools::toolset(&Arc::default()));
    toolsets.push(skynet_memory_tools::toolset(&Arc::default()));
    toolsets.push(skynet_lease_tools::toolset(board));
    let registry = skynet_catalog::product(&catalog, toolsets).unwrap();
    catalog.fill(&registry).unwrap();
    registry
}

/// What a test varies.
pub struct Setup {
    pub rules: Vec<Rule>,
    pub commands: Vec<CommandRule>,
    pub unlisted_commands: Verdict,
    pub limits: Limits,
    pub toolsets: Vec<Toolset>,
    pub confirm_wait: Duration,
    pub cache: skynet_cache::Settings,
}

impl Default for Setup {
    fn default() -> Self {
        let confirm_wait = Duration::from_millis(50);
        Self {
            rules: Vec::new(),
            commands: Vec::new(),
            unlisted_commands: Verdict::Deny,
            limits: Limits::default(),
            toolsets: Vec::new(),
            confirm_wait,
            cache: skynet_cache::Settings::default(),
        }
    }
}

/// How one call is made.
#[derive(Clone, Default)]
pub struct Manner {
    pub id: Option<CallId>,
    pub resend: bool,
    pub ask: Option<Arc<dyn Ask>>,
    pub cancel: CancellationToken,
    /// Instead of [`Workbench::caller`].
    pub caller: Option<Caller>,
}

impl Workbench {
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self::over(tempfile::tempdir().unwrap(), Arc::default(), setup)
    }

    /// The same as a daemon finds it that is started after this one was stopped: its workspace and its state.
    #[must_use]
    pub async fn restarted(self, setup: Setup) -> Self {
        let Self { services, registry, pipeline, workspace, ahead, keep, .. } = self;
        drop((services, registry, pipeline, workspace));
        // Threads of sled hold the lock for moments, and so do tasks of calls that have their answer.
        let file = File::open(keep.path().join("state/db")).unwrap();
        while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            tokio::task::yield_now().await;
        }
        drop(file);
        Self::over(keep, ahead, setup)
    }

    fn over(keep: tempfile::TempDir, ahead: Arc<AtomicI64>, setup: Setup) -> Self {
        let root = keep.path().canonicalize_in_proc();
        let work = root.join("work");
        fs::create_dir_all(&work).unwrap();
        let tables = Tables::open(&root.join("state")).unwrap();
        let blobs = Blobs::open(&root.join("blobs"), 1 << 30).unwrap();
        let plan = Plan::new(&setup.limits, &Roles::new()).unwrap();
        let (journal, _) = Journal::open(&root.join("journal")).unwrap();
        let commands = Commands::new(setup.commands, setup.unlisted_commands, &root).unwrap();
        let audit = Ledger::open(&root.join("audit"), 1 << 30).unwrap();
        let keyring = keyring(&root.join("secrets"));
        let clock = ahead.clone();
        let leases = Leases::open_with_clock(&tables, move || {
            Timestamp::now() + SignedDuration::from_secs(clock.load(Ordering::SeqCst))
        });
        let services = Services {
            rules: Rules::new(setup.rules, &Roles::new()).unwrap().with_commands(commands).in_force(),
            projects: Arc::new(Projects::new(Box::new(OfWorkspace), Trust::open(&tables))),
            leases,
            quotas: Arc::new(Quotas::new(plan, &tables, blobs.clone())),
            confirm_wait: setup.confirm_wait,
            factor: Factor::Client,
            approvals: Arc::new(Approvals::default()),
            grants: Arc::new(Grants::open(&tables, audit.clone(), keyring.clone())),
            audit,
            journal: Arc::new(journal),
            blobs,
            tables,
            keyring,
            cache: skynet_cache::Cache::open(setup.cache).unwrap(),
            metrics: Arc::new(Metrics::default()),
        };
        let board = Arc::<Board>::default();
        board.fill(&services.leases);
        let registry = if setup.toolsets.is_empty() {
            product_with(&board)
        } else {
            Registry::new(setup.toolsets).unwrap()
        };
        let pipeline = skynet_policy::pipeline(&registry, &services).unwrap();
        let workspace = Arc::new(Workspace::open(&work).unwrap());
        Self { services, registry, pipeline, root: work, workspace, ahead, keep }
    }

    /// The same state after a restart, with rules that an administrator may have changed meanwhile.
    ///
    /// # Panics
    /// When the rules are wrong.
    pub fn restart(&mut self, rules: Vec<Rule>) {
        let on = &mut self.services;
        on.rules = Rules::new(rules, &Roles::new()).unwrap().in_force();
        on.approvals = Arc::new(Approvals::default());
        on.grants = Arc::new(Grants::open(&on.tables, on.audit.clone(), on.keyring.clone()));
        self.pipeline = skynet_policy::pipeline(&self.registry, on).unwrap();
    }

    /// Writes a file of the workspace.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the workspace.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    /// Whoever calls in a test.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            uid: rustix::process::getuid().as_raw(),
            user: "tester".into(),
            groups: Arc::default(),
            pid: std::process::id(),
            client: "test 1".into(),
            no_workspace: None,
            workspace: Some(self.workspace.clone()),
            token: None,
            home: Path::new("/nonexistent").into(),
            connection: Connection::own(),
            ssh_agent: None,
        }
    }

    /// Calls a tool with raw input.
    pub async fn call_raw(&self, tool: &str, raw: &[u8], manner: Manner) -> Result<Answer> {
        let tool = self.registry.find(tool)?.clone();
        let notes = Notes::default();
        let id = manner.id.unwrap_or(CallId { session: Uuid::new_v4(), sequence: 1, index: 0 });
        let mut call = Call {
            id,
            effect: tool.effect,
            program: None,
            program_before: None,
            has_lent_engine: false,
            is_listed: false,
            asked_by: None,
            tool,
            caller: manner.caller.unwrap_or_else(|| self.caller()),
            raw: Bytes::copy_from_slice(raw),
            input: None,
            resend: manner.resend,
            cancel: manner.cancel,
            max_bytes: 64 << 10,
            jobs: None,
            slots: Vec::new(),
            ask: manner.ask,
            outbox: Arc::new(Shelf { blobs: self.services.blobs.clone(), notes: notes.clone() }),
            notes,
        };
        self.pipeline.run(&mut call).await
    }

    /// Runs a tool past the pipeline.
    pub async fn run_alone(&self, tool: &Entry, input: &Canonical) -> Result<Bytes> {
        let outbox = Shelf { blobs: self.services.blobs.clone(), notes: Notes::default() };
        let (cancel, workspace) = (CancellationToken::new(), Some(self.workspace.clone()));
        tool.run(&CallCtx::new(cancel, 64 << 10, tool.effect, workspace, Arc::new(outbox)), input).await
    }

    /// Calls a tool; the answer as JSON, or `kind: message`.
    pub async fn call(&self, tool: &str, input: Value) -> std::result::Result<Value, String> {
        let answer = self.call_raw(tool, input.to_string().as_bytes(), Manner::default()).await;
        answer
            .map(|answer| serde_json::from_slice(&answer.json).unwrap())
            .map_err(|err| format!("{}: {}", err.kind, err.message))
    }

    /// Calls a tool and compares the whole answer.
    ///
    /// # Panics
    /// When it differs.
    pub async fn check(&self, tool: &str, input: Value, expected: Value) {
        let found = self.call(tool, input.clone()).await;
        assert_eq!(found, Ok(expected), "{tool} {input}");
    }

    /// Calls a tool and wants an error that starts with `kind` and contains `part`.
    ///
    /// # Panics
    /// When there is none, or another.
    pub async fn check_refused(&self, tool: &str, input: Value, kind: &str, part: &str) {
        let found = self.call(tool, input.clone()).await.expect_err(&format!("{tool} {input}"));
        assert!(found.starts_with(&format!("{kind}: ")) && found.contains(part), "{tool} {input}: {found}");
    }

    /// The audit records so far.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        self.services
            .audit
            .records()
            .unwrap()
            .map(|record| serde_json::from_slice(&record.json).unwrap())
            .collect()
    }
}

/// Keeps what calls hand out as the daemon does.
struct Shelf {
    blobs: Blobs,
    notes: Notes,
}

#[async_trait]
impl Outbox for Shelf {
    fn progress(&self, _progress: Progress) {}

    async fn keep_before(&self, path: &str, file: Option<OwnedFd>, _extent: Extent) -> Result<()> {
        let kept = file.map(|file| self.blobs.put("before", File::from(file)).unwrap().digest);
        self.notes.before.lock().unwrap().push((path.to_owned(), kept));
        Ok(())
    }

    fn note_changes(&self, changes: Vec<Changed>) {
        self.notes.changes.lock().unwrap().extend(changes);
    }

    fn charge(&self, usage: Usage) {
        *self.notes.usage.lock().unwrap() += usage;
    }

    async fn store_blob(&self, file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        Ok(format!("skynet://result/{}", self.blobs.put("result", File::from(file)).unwrap().digest))
    }
}

/// Without any secrets.
fn keyring(directory: &Path) -> Arc<Keyring> {
    Arc::new(Keyring::new(Secrets::open(directory, MasterKey::from_bytes([7; 32])).unwrap()))
}

/// A rule.
#[must_use]
pub fn rule(name: &str, verdict: Verdict, tools: &[&str], effects: &[Effect]) -> Rule {
    let tools = tools.iter().map(|&tool| tool.to_owned()).collect();
    Rule { tools, effects: effects.to_vec(), ..Rule::new(name, verdict) }
}

trait CanonicalizeInProc {
    fn canonicalize_in_proc(&self) -> PathBuf;
}

impl CanonicalizeInProc for Path {
    /// Where a directory really is: `/tmp` may be a link.
    fn canonicalize_in_proc(&self) -> PathBuf {
        Workspace::open(self).unwrap().path().to_owned()
    }
}
