//! All collections of a daemon: whose they are, and which are open.

use crate::{
    collection::{Record, directory_of, lock},
    gathering::Runners,
    indexing::{self, Refreshed},
    opened::{self, Open},
    views::place_of,
};
use async_trait::async_trait;
use jiff::Timestamp;
use skynet_core::{CallCtx, Caller, Error, Result};
use skynet_documents::SourceKind;
use skynet_models::{Embedder, Language, Models};
use skynet_secrets::Keyring;
use skynet_store::{Table, Tables};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};
use uuid::Uuid;

/// Names are shown in tables.
const LONGEST_NAME: usize = 64;

/// Of one user. Each takes descriptors and memory while it is used.
const MOST_COLLECTIONS: usize = 64;

/// What a new collection is of.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name; that of the directory if absent.
    pub name: Option<String>,
    /// What it is of.
    pub source: SourceKind,
    /// A directory or file, relative to the workspace.
    pub path: String,
    /// [`Record::include`].
    pub include: Vec<String>,
    /// [`Record::exclude`].
    pub exclude: Vec<String>,
    /// [`Record::max_file_bytes`].
    pub max_file_bytes: u64,
}

/// Says what a caller may see of what is found: an index may be older than a rule.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Whether he may call a tool, with these members of its input, without anybody being asked.
    async fn may_call(&self, caller: &Caller, tool: &str, members: &[(&str, &str)]) -> Result<bool>;

    /// Whether some rule could keep a file of his own workspace from him, whichever that is: if none could, nobody asks about each.
    async fn may_hide(&self, caller: &Caller) -> Result<bool>;

    /// Whether rules let him read each of some files of his own workspace, by `files_read` and without anybody being asked.
    async fn may_read(&self, caller: &Caller, paths: &[String]) -> Result<Vec<bool>>;

    /// Whether rules let him read each of some files of another workspace than his, by either of its names: where it is in that workspace,
    /// and its whole path, which is what he calls it. His own workspace, and what he makes there, has no say in it but by the rules that he
    /// trusts for it.
    async fn may_read_elsewhere(
        &self,
        caller: &Caller,
        relative: &[String],
        whole: &[String],
    ) -> Result<Vec<bool>>;
}

/// All collections.
pub struct Knowledge {
    pub(crate) directory: PathBuf,
    pub(crate) table: Table<Record>,
    pub(crate) models: Arc<Models>,
    pub(crate) runners: Runners,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) judge: OnceLock<Arc<dyn Judge>>,
    pub(crate) open: Mutex<HashMap<Uuid, Open>>,
    /// Held while a name is looked for and taken.
    pub(crate) naming: Mutex<()>,
}

impl Knowledge {
    /// Those in `directory`, whose documents `runners` list and read, without the secrets of `keyring`.
    ///
    /// # Errors
    /// `Unavailable` when the directory cannot be made.
    pub fn open(
        directory: &Path,
        tables: &Tables,
        models: Arc<Models>,
        runners: Runners,
        keyring: Arc<Keyring>,
    ) -> Result<Arc<Self>> {
        let cannot = |err| Error::unavailable("the directory of indexes cannot be made").with_source(err);
        fs::create_dir_all(directory).map_err(cannot)?;
        let table: Table<Record> = tables.table("collections");
        // What a removal left that was cut short.
        for entry in fs::read_dir(directory).map_err(cannot)?.flatten() {
            let id = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
            if let Some(id) = id
                && matches!(table.get(&id.to_string()), Ok(None))
                && let Err(err) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(%id, error = %err, "the index of a collection that was removed is still there");
            }
        }
        Ok(Arc::new(Self {
            directory: directory.to_owned(),
            table,
            models,
            runners,
            keyring,
            judge: OnceLock::new(),
            open: Mutex::default(),
            naming: Mutex::default(),
        }))
    }

    /// Says who judges what is found; the first stays, and nothing is shown before.
    pub fn judge_with(&self, judge: Arc<dyn Judge>) {
        // Told twice only by a daemon that is wired wrong, and then the same.
        let _ = self.judge.set(judge);
    }

    pub(crate) fn judge(&self) -> Result<&Arc<dyn Judge>> {
        self.judge.get().ok_or_else(|| Error::unavailable("nobody says yet what may be seen"))
    }

    /// Makes a collection, and tells whether it is new: one of pages may be told again, and is what it was until they are fetched. Its documents are read by [`Knowledge::refresh_record`].
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none; `Conflict` for one that is in use; `QuotaExceeded` for too many.
    pub fn add(&self, ctx: &CallCtx, wanted: Wanted) -> Result<(Record, bool)> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&wanted.path)?;
        let caller = &ctx.origin()?.caller;
        let _naming = lock(&self.naming);
        let own = self.own(caller);
        let named = path.as_path().file_name().or_else(|| workspace.path().file_name());
        let name = wanted
            .name
            .unwrap_or_else(|| named.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        let name = name.trim().to_owned();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(Error::invalid_input(format!(
                "a collection's name has 1 to {LONGEST_NAME} printable bytes"
            )));
        }
        let twin = own.iter().find(|record| record.name == name);
        if let Some(twin) = twin
            && matches!((&twin.source, &wanted.source), (SourceKind::Pages(_), SourceKind::Pages(_)))
        {
            // Pages are fetched again when they are named again.
            let again = Record {
                source: wanted.source,
                include: wanted.include,
                exclude: wanted.exclude,
                max_file_bytes: wanted.max_file_bytes,
                ..twin.clone()
            };
            return Ok((again, false));
        }
        if twin.is_some() {
            return Err(Error::conflict(format!(
                "there is a collection `{name}` already; refresh or remove it, or give another `name`"
            )));
        }
        if self.table.iter().filter(|(_, record)| record.uid == caller.uid).count() >= MOST_COLLECTIONS {
            return Err(Error::quota_exceeded(format!(
                "{MOST_COLLECTIONS} collections are the most; remove one"
            )));
        }
        let record = Record {
            id: Uuid::now_v7(),
            name,
            uid: caller.uid,
            workspace: workspace.path().to_owned(),
            place: place_of(workspace),
            source: wanted.source,
            path: path.to_string(),
            include: wanted.include,
            exclude: wanted.exclude,
            max_file_bytes: wanted.max_file_bytes,
            created_at: Timestamp::now(),
            shared_as: None,
            is_open: false,
        };
        self.store(&record)?;
        Ok((record, true))
    }

    /// Changes what is kept of a collection, if it is there.
    pub(crate) fn amend(&self, id: Uuid, change: impl FnOnce(&mut Record)) -> Result<()> {
        let cannot = |err| Error::unavailable("the collection cannot be read").with_source(err);
        let _naming = lock(&self.naming);
        match self.table.get(&id.to_string()).map_err(cannot)? {
            Some(before) => {
                let mut record = before.clone();
                change(&mut record);
                if record == before { Ok(()) } else { self.store(&record) }
            }
            None => Ok(()),
        }
    }

    pub(crate) fn store(&self, record: &Record) -> Result<()> {
        let cannot = |err| Error::unavailable("the collection cannot be stored").with_source(err);
        self.table.put_durably(&record.id.to_string(), record).map_err(cannot)
    }

    /// Makes a collection as its files are now, and begins to make the vectors that it lacks.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, and those of hands.
    pub async fn refresh(self: &Arc<Self>, ctx: &CallCtx, name: &str) -> Result<Refreshed> {
        let record = self.record(ctx, name)?;
        if matches!(record.source, SourceKind::Pages(_)) {
            return Err(Error::invalid_input(format!(
                "`{name}` is of pages of the web: add it again by `knowledge_add_source`, which fetches them"
            )));
        }
        self.refresh_record(ctx, record).await
    }

    /// The same for a collection that was just made.
    ///
    /// # Errors
    /// Those of hands.
    pub async fn refresh_record(self: &Arc<Self>, ctx: &CallCtx, record: Record) -> Result<Refreshed> {
        let collection = self.opened(record.clone()).await?;
        self.watch(&collection, ctx);
        let end = lock(&self.open).get(&collection.record.id).map(|open| open.end.clone());
        let end = end.ok_or_else(|| Error::not_found("the collection was just removed"))?;
        let refreshed = tokio::select! {
            refreshed = indexing::refresh(&collection, record.clone(), &self.runners, &self.keyring, ctx) => {
                refreshed?
            }
            () = end.cancelled() => return Err(Error::canceled("the collection was removed meanwhile")),
        };
        if record.source != collection.record.source {
            self.amend(record.id, |kept| {
                kept.source.clone_from(&record.source);
                kept.max_file_bytes = record.max_file_bytes;
            })?;
        }
        self.note_look(&record);
        self.embed(&collection);
        Ok(refreshed)
    }

    /// Forgets a collection and everything that was made of it.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, `Unavailable` when the disk refuses.
    pub async fn remove(&self, ctx: &CallCtx, name: &str) -> Result<Record> {
        let record = self.record(ctx, name)?;
        self.remove_record(&record).await?;
        Ok(record)
    }

    /// Removes what the caller has of a directory that was in the place of his workspace and is gone: nobody sees it any more, and
    /// its text should not outlive it. What was shared is for an administrator to end.
    ///
    /// # Errors
    /// Those of [`Knowledge::remove_record`].
    pub async fn remove_replaced(&self, ctx: &CallCtx) -> Result<()> {
        let caller = &ctx.origin()?.caller;
        let workspace = ctx.workspace()?;
        let place = place_of(workspace);
        let is_replaced = |record: &Record| {
            record.uid == caller.uid
                && record.workspace == workspace.path()
                && record.place != place
                && record.shared_as.is_none()
        };
        let replaced: Vec<Record> = self.table.iter().map(|(_, record)| record).filter(is_replaced).collect();
        for record in &replaced {
            self.remove_record(record).await?;
        }
        Ok(())
    }

    /// The same for a collection that was just made.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub async fn remove_record(&self, record: &Record) -> Result<()> {
        let cannot = |err| Error::unavailable("the collection cannot be removed").with_source(err);
        let opened = {
            let _naming = lock(&self.naming);
            // Whoever opens one looks whether it is there with this held.
            let mut open = lock(&self.open);
            self.table.remove_durably(&record.id.to_string()).map_err(cannot)?;
            open.remove(&record.id)
        };
        let directory = directory_of(&self.directory, record.id);
        // Goes on when the call is over; what is cut short is finished at the next start.
        let removing = tokio::spawn(async move {
            if let Some(Open { cell, end, .. }) = opened {
                end.cancel();
                // Whoever opens it just now is waited for, and whoever would open it after that finds that it is over.
                let opened = cell.get_or_try_init(|| std::future::ready(Err(()))).await;
                if let Ok(collection) = opened {
                    // Whoever writes to it stops first.
                    let _writing = collection.writing.lock().await;
                    let _embedding = collection.embedding.lock().await;
                }
            }
            opened::remove(directory, fs::remove_dir_all).await
        });
        removing.await.map_err(|err| Error::internal("removing a collection failed").with_source(err))?
    }

    pub(crate) fn embedders(&self) -> Vec<(Language, Arc<dyn Embedder>)> {
        let languages = [Language::English, Language::Other].into_iter();
        languages.filter_map(|language| Some((language, self.models.embedder(language)?))).collect()
    }
}
