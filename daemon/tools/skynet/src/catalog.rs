//! Which tools there are, and who is shown which of them.

use crate::{Job, index::Index};
use async_trait::async_trait;
use skynet_core::{Alias, Entry, Error, Registry, Result};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// The only tool that cannot work where lists must not vary by connection.
const ENABLE: &str = "skynet_enable_toolset";

/// Whose list a choice changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every client of a user.
    User(u32),
    /// Every client that shows a token, by its id.
    Token(String),
    /// One connection of a revision that has connections.
    Session(Uuid),
}

/// Who asks for the list.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Whose rights it has.
    pub uid: u32,
    /// The token it showed, if it came by HTTP.
    pub token: Option<String>,
    /// Its session, if the revision it speaks has sessions.
    pub session: Option<Uuid>,
}

/// Calls that outlived the patience of their client.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// The job, once it has ended or `wait` is over.
    async fn look(&self, owner: &str, id: &str, wait: Duration) -> Result<Job>;

    /// Asks it to stop.
    ///
    /// # Errors
    /// `NotFound` for what this owner has no job of.
    fn cancel(&self, owner: &str, id: &str) -> Result<()>;
}

/// Where the choices of sessions outlive the daemon.
pub trait Memory: Send + Sync {
    /// What was chosen for a session that may have been here before.
    fn recall(&self, session: Uuid) -> Choices;

    /// Keeps what was chosen for it.
    fn keep(&self, session: Uuid, choices: Choices);
}

/// Toolsets that somebody switched on or off.
pub type Choices = BTreeMap<String, bool>;

/// Everything known about tools and lists.
pub struct Catalog {
    defaults: Vec<String>,
    known: OnceLock<Known>,
    jobs: OnceLock<Arc<dyn Jobs>>,
    memory: OnceLock<Arc<dyn Memory>>,
    choices: Mutex<HashMap<Scope, Choices>>,
    changed: watch::Sender<u64>,
}

struct Known {
    registry: Registry,
    index: Index,
}

impl Catalog {
    /// A catalog in which the toolsets of `defaults` are listed, without tools yet.
    #[must_use]
    pub fn new(defaults: Vec<String>) -> Arc<Self> {
        let changed = watch::Sender::new(0);
        Arc::new(Self {
            defaults,
            known: OnceLock::new(),
            jobs: OnceLock::new(),
            memory: OnceLock::new(),
            choices: Mutex::default(),
            changed,
        })
    }

    /// Takes in the tools, once.
    ///
    /// # Errors
    /// `InvalidInput` when a default is no toolset.
    pub fn fill(&self, registry: &Registry) -> Result<()> {
        let known = Known { registry: registry.clone(), index: Index::new(registry) };
        for name in &self.defaults {
            known.check(name)?;
        }
        self.known.set(known).map_err(|_| Error::internal("the catalog was filled twice"))
    }

    /// Says where jobs are kept, once.
    pub fn keep_jobs_in(&self, jobs: Arc<dyn Jobs>) {
        // A second shelf would only hide the jobs of the first.
        self.jobs.get_or_init(|| jobs);
    }

    /// Says where the choices of sessions are kept, once.
    pub fn remember_in(&self, memory: Arc<dyn Memory>) {
        // A second memory would only hide what the first knows.
        self.memory.get_or_init(|| memory);
    }

    /// Where jobs are kept.
    pub(crate) fn jobs(&self) -> Result<&Arc<dyn Jobs>> {
        self.jobs.get().ok_or_else(|| Error::internal("no jobs are kept here"))
    }

    /// The tools in the list of `viewer`, in order of name.
    #[must_use]
    pub fn listed(&self, viewer: &Viewer) -> Vec<Arc<Entry>> {
        let Some(known) = self.known.get() else { return Vec::new() };
        let listed = self.toolsets(viewer);
        let is_listed = |entry: &&Arc<Entry>| {
            listed.get(entry.toolset) == Some(&true) && (entry.name != ENABLE || viewer.session.is_some())
        };
        known.registry.iter().filter(is_listed).cloned().collect()
    }

    /// Other names of tools that are in the list of `viewer`, in order of name.
    #[must_use]
    pub fn aliases(&self, viewer: &Viewer) -> Vec<Alias> {
        let Some(known) = self.known.get() else { return Vec::new() };
        let listed = self.toolsets(viewer).into_iter().filter(|(_, is_listed)| *is_listed);
        listed.flat_map(|(toolset, _)| known.registry.aliases(toolset)).cloned().collect()
    }

    /// What `name` means to `viewer`, if it is another name of a tool that is in his list.
    #[must_use]
    pub fn alias(&self, viewer: &Viewer, name: &str) -> Option<&Alias> {
        let mut named = self.known.get()?.registry.aliases_named(name);
        // Most calls end here, without a look at lists.
        let first = named.next()?;
        let listed = self.toolsets(viewer);
        let mut all = [first].into_iter().chain(named);
        all.find(|(toolset, _)| listed.get(toolset) == Some(&true)).map(|(_, alias)| alias)
    }

    /// Every toolset, and whether `viewer` is shown its tools.
    #[must_use]
    pub fn toolsets(&self, viewer: &Viewer) -> BTreeMap<&'static str, bool> {
        let scopes = [
            Some(Scope::User(viewer.uid)),
            viewer.token.clone().map(Scope::Token),
            viewer.session.map(Scope::Session),
        ];
        let choices = self.lock();
        let chosen: Vec<&Choices> = scopes.iter().flatten().filter_map(|scope| choices.get(scope)).collect();
        let is_listed = |name: &str| {
            let last = chosen.iter().rev().find_map(|choices| choices.get(name));
            last.copied().unwrap_or_else(|| self.defaults.iter().any(|default| default == name))
        };
        let names = self.known.get().into_iter().flat_map(|known| known.registry.toolsets());
        names.map(|(name, _)| (name, is_listed(name))).collect()
    }

    /// Switches a toolset on or off for a scope; whoever is concerned is told. True if that changed something.
    ///
    /// # Errors
    /// `NotFound` naming the toolsets there are; `InvalidInput` for a session that has no list of its own.
    pub fn choose(&self, scope: Scope, toolset: &str, is_listed: bool) -> Result<bool> {
        self.known()?.check(toolset)?;
        {
            let mut choices = self.lock();
            let own = match &scope {
                Scope::Session(_) => choices.get_mut(&scope).ok_or_else(|| {
                    Error::invalid_input(format!(
                        "this client's protocol has no list per connection; call tools of `{toolset}` through `skynet_call_tool`, or ask the user to run `skynetctl toolset enable {toolset}`"
                    ))
                })?,
                Scope::User(_) | Scope::Token(_) => choices.entry(scope).or_default(),
            };
            if own.insert(toolset.to_owned(), is_listed) == Some(is_listed) {
                return Ok(false);
            }
        }
        self.changed.send_modify(|version| *version += 1);
        Ok(true)
    }

    /// What was chosen for a scope.
    #[must_use]
    pub fn choices(&self, scope: &Scope) -> Choices {
        self.lock().get(scope).cloned().unwrap_or_default()
    }

    /// A session of a revision that has sessions begins: from now on it has a list of its own.
    pub fn begin_session(&self, session: Uuid) {
        let recall = || self.memory.get().map(|memory| memory.recall(session)).unwrap_or_default();
        self.lock().entry(Scope::Session(session)).or_insert_with(recall);
    }

    /// Switches a toolset on or off for one session, and remembers it for when the session comes back.
    ///
    /// # Errors
    /// As [`Catalog::choose`].
    pub(crate) fn choose_for_session(&self, session: Uuid, toolset: &str, is_listed: bool) -> Result<()> {
        let scope = Scope::Session(session);
        if self.choose(scope.clone(), toolset, is_listed)?
            && let Some(memory) = self.memory.get()
        {
            memory.keep(session, self.choices(&scope));
        }
        Ok(())
    }

    /// Forgets a session.
    pub fn end_session(&self, session: Uuid) {
        self.lock().remove(&Scope::Session(session));
    }

    /// Changes when any list may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The tools.
    pub(crate) fn registry(&self) -> Result<&Registry> {
        Ok(&self.known()?.registry)
    }

    /// Names of the tools that fit `query` best, best first.
    pub(crate) fn search(&self, query: &str, limit: usize) -> Result<Vec<&'static str>> {
        Ok(self.known()?.index.search(query, limit))
    }

    fn known(&self) -> Result<&Known> {
        self.known.get().ok_or_else(|| Error::internal("the catalog is empty"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, Choices>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn check(&self, toolset: &str) -> Result<()> {
        if self.registry.toolsets().any(|(name, _)| name == toolset) {
            return Ok(());
        }
        let names: Vec<_> = self.registry.toolsets().map(|(name, _)| format!("`{name}`")).collect();
        Err(Error::not_found(format!("no toolset is named `{toolset}`; there are {}", names.join(", "))))
    }
}
