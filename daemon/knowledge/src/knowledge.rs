//! All collections of a daemon: who may ask which, and what keeps them fresh.

use crate::{
    collection::{self, Collection, Filter, Progress, Record, blocking, lock},
    indexing::{self, Refreshed},
    ranking::{Kind, Ranked},
    stored::{FileState, StoredPassage},
    watching,
};
use jiff::Timestamp;
use skynet_core::{CallCtx, Caller, Error, Result, Run};
use skynet_models::{Embedder, Language, Models};
use skynet_store::{Table, Tables};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Names are shown in tables.
const LONGEST_NAME: usize = 64;

/// Of one user. Each takes descriptors and memory while it is used.
const MOST_COLLECTIONS: usize = 64;

/// A search waits for changes that are being read up to that time, and then answers without them.
const WAIT_FOR_CHANGES: Duration = Duration::from_millis(1500);

/// A collection whose files are not watched is looked through at a search, unless it was within that time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Passages that a re-ranker reads, and how long it may take.
const RERANKED: usize = 30;
const RERANK_FOR: Duration = Duration::from_millis(1500);

/// What a new collection is of.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name; that of the directory if absent.
    pub name: Option<String>,
    /// A directory or file, relative to the workspace.
    pub path: String,
    /// [`Record::include`].
    pub include: Vec<String>,
    /// [`Record::exclude`].
    pub exclude: Vec<String>,
    /// [`Record::max_file_bytes`].
    pub max_file_bytes: u64,
}

/// A collection as it is now.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is.
    pub record: Record,
    /// How far it is.
    pub progress: Progress,
    /// Files that were looked at.
    pub files: u64,
    /// Passages of them.
    pub passages: u64,
    /// Passages that differ, and that have a vector, by each model that is installed.
    pub vectors: Vec<(String, u64)>,
    /// Languages of its prose, ISO 639-3, with passages of each.
    pub languages: Vec<(String, u64)>,
    /// What its index takes of the disk.
    pub size_bytes: u64,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is looked for.
    pub text: String,
    /// Names of collections; empty for all that the caller may ask.
    pub collections: Vec<String>,
    /// What may be found.
    pub filter: Filter,
    /// How many passages.
    pub most: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Best first, each with the name of its collection.
    pub found: Vec<(String, Ranked)>,
    /// What the question was taken for.
    pub kind: Kind,
    /// What the answer lacks, and why: in sentences.
    pub notes: Vec<String>,
}

/// A collection that is in use.
struct Open {
    collection: Arc<Collection>,
    /// Ends what keeps it fresh.
    end: CancellationToken,
    watch: watching::Watch,
    looked_at: Option<Instant>,
}

/// All collections.
pub struct Knowledge {
    directory: PathBuf,
    table: Table<Record>,
    models: Arc<Models>,
    hands: Arc<dyn Run>,
    open: Mutex<HashMap<Uuid, Open>>,
}

impl Knowledge {
    /// Those in `directory`, whose files `hands` list and read.
    ///
    /// # Errors
    /// `Unavailable` when the directory cannot be made.
    pub fn open(
        directory: &Path,
        tables: &Tables,
        models: Arc<Models>,
        hands: Arc<dyn Run>,
    ) -> Result<Arc<Self>> {
        fs::create_dir_all(directory)
            .map_err(|err| Error::unavailable("the directory of indexes cannot be made").with_source(err))?;
        let table = tables.table("collections");
        Ok(Arc::new(Self { directory: directory.to_owned(), table, models, hands, open: Mutex::default() }))
    }

    /// Makes a collection. Its files are read by [`Knowledge::refresh`].
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none, or in use; `QuotaExceeded` for too many.
    pub fn add(&self, ctx: &CallCtx, wanted: Wanted) -> Result<Record> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&wanted.path)?;
        let caller = &ctx.origin()?.caller;
        let own = self.of(caller);
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
        if own.iter().any(|record| record.name == name) {
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
            path: path.to_string(),
            include: wanted.include,
            exclude: wanted.exclude,
            max_file_bytes: wanted.max_file_bytes,
            created_at: Timestamp::now(),
        };
        let cannot = |err| Error::unavailable("the collection cannot be stored").with_source(err);
        self.table.put_durably(&record.id.to_string(), &record).map_err(cannot)?;
        Ok(record)
    }

    /// Makes a collection as its files are now, and begins to make the vectors that it lacks.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, and those of hands.
    pub async fn refresh(self: &Arc<Self>, ctx: &CallCtx, name: &str) -> Result<Refreshed> {
        let collection = self.find(ctx, name).await?;
        self.watch(&collection, ctx);
        let refreshed = indexing::refresh(&collection, &*self.hands, ctx).await?;
        self.note_look(&collection);
        self.embed(&collection);
        Ok(refreshed)
    }

    /// Forgets a collection and everything that was made of it.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, `Unavailable` when the disk refuses.
    pub async fn remove(&self, ctx: &CallCtx, name: &str) -> Result<Record> {
        let record = self.record(ctx, name)?;
        let cannot = |err| Error::unavailable("the collection cannot be removed").with_source(err);
        self.table.remove_durably(&record.id.to_string()).map_err(cannot)?;
        let opened = lock(&self.open).remove(&record.id);
        if let Some(Open { collection, end, .. }) = opened {
            end.cancel();
            // Whoever writes to it stops first.
            let _writing = collection.writing.lock().await;
        }
        let directory = self.directory.join(record.id.as_simple().to_string());
        blocking(move || match fs::remove_dir_all(&directory) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::unavailable("the index of the collection cannot be removed").with_source(err))
            }
            _ => Ok(()),
        })
        .await?;
        Ok(record)
    }

    /// The collections that the caller may ask, by name.
    ///
    /// # Errors
    /// `Unavailable` when an index cannot be read.
    pub async fn list(self: &Arc<Self>, ctx: &CallCtx) -> Result<Vec<Status>> {
        let mut all = Vec::new();
        for record in self.of(&ctx.origin()?.caller) {
            let collection = self.opened(record).await?;
            all.push(self.status(collection).await?);
        }
        Ok(all)
    }

    async fn status(self: &Arc<Self>, collection: Arc<Collection>) -> Result<Status> {
        let models: Vec<_> =
            self.embedders().into_iter().map(|(_, embedder)| embedder.model().clone()).collect();
        blocking(move || {
            let (files, passages) = collection.lexical.count()?;
            let vectors =
                models.iter().map(|model| Ok((model.id.clone(), collection.vectors(model)?.len() as u64)));
            Ok(Status {
                vectors: vectors.collect::<Result<_>>()?,
                languages: lock(&collection.languages).counts(),
                progress: collection.progress.borrow().clone(),
                size_bytes: size_of(collection.directory()),
                record: collection.record.clone(),
                files,
                passages,
            })
        })
        .await
    }

    /// Answers a question, by words alone where there is no model. Progress tells what words found, before vectors are asked.
    ///
    /// # Errors
    /// `NotFound` when there is no collection, or none of a name; `Unavailable` when an index cannot be read.
    pub async fn search(self: &Arc<Self>, ctx: &CallCtx, question: Question) -> Result<Answer> {
        let mut answer = Answer { found: Vec::new(), kind: Kind::Prose, notes: Vec::new() };
        let collections = self.asked(ctx, &question.collections).await?;
        for collection in &collections {
            answer.notes.extend(self.freshen(collection, ctx).await);
        }
        let embedders: Vec<Arc<dyn Embedder>> =
            self.embedders().into_iter().map(|(_, embedder)| embedder).collect();
        if embedders.is_empty() {
            answer.notes.push(format!(
                "found by words alone: {}",
                self.models.why_not().unwrap_or_else(|| "no embedding model can be used".into())
            ));
        }
        for collection in &collections {
            ctx.check_canceled()?;
            let asked = match collection::vectors_of(collection, &embedders, &question.text).await {
                Ok(asked) => asked,
                Err(err) => {
                    answer.notes.push(format!("found by words alone: {err}"));
                    Vec::new()
                }
            };
            let (searched, text, filter) =
                (collection.clone(), question.text.clone(), question.filter.clone());
            let most = question.most.max(RERANKED);
            let (kind, found) = blocking(move || searched.search(&text, &filter, &asked, most)).await?;
            answer.kind = kind;
            answer.found.extend(found.into_iter().map(|ranked| (collection.record.name.clone(), ranked)));
            ctx.check_canceled()?;
        }
        self.rerank(&question.text, &mut answer).await;
        answer.found.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        answer.found.truncate(question.most);
        Ok(answer)
    }

    /// Has a cross-encoder, where one is installed, read the best with the question. It has its time, and is not waited for longer.
    async fn rerank(&self, question: &str, answer: &mut Answer) {
        let Some(reranker) = self.models.reranker() else { return };
        answer.found.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        let best: Vec<String> = answer
            .found
            .iter()
            .take(RERANKED)
            .map(|(_, ranked)| ranked.passage.passage.in_context())
            .collect();
        match timeout(RERANK_FOR, reranker.score(question, &best)).await {
            Ok(Ok(scores)) => {
                for ((_, ranked), score) in answer.found.iter_mut().zip(scores) {
                    // A logit: the odds that it answers.
                    let likelihood = 1.0 / (1.0 + (-score).exp());
                    ranked.legs.reranker = Some(likelihood);
                    ranked.score = f32::midpoint(ranked.score, likelihood);
                }
            }
            Ok(Err(err)) => answer.notes.push(format!("not re-ranked: {err}")),
            Err(_) => answer.notes.push("not re-ranked: the re-ranker took too long".into()),
        }
    }

    /// Passages that mean the same as one, by its id, itself left out.
    ///
    /// # Errors
    /// `NotFound` for an id that is none, or has no vector yet.
    pub async fn similar(
        self: &Arc<Self>,
        ctx: &CallCtx,
        name: &str,
        id: &str,
        most: usize,
    ) -> Result<Vec<(StoredPassage, f32)>> {
        let collection = self.find(ctx, name).await?;
        let passage = self.passage(ctx, name, id).await?;
        let embedders = self.embedders();
        let wanted = if passage.is_foreign() { Language::Other } else { Language::English };
        let embedder = embedders.into_iter().find(|(language, _)| *language == wanted);
        let Some((_, embedder)) = embedder else {
            let why =
                self.models.why_not().unwrap_or_else(|| "no model for its language is installed".into());
            return Err(Error::unavailable(format!("passages cannot be compared: {why}")));
        };
        let model = embedder.model().clone();
        blocking(move || {
            let vectors = collection.vectors(&model)?;
            let own = vectors.vectors_of([passage.key]).remove(&passage.key).ok_or_else(|| {
                Error::not_found(
                    "this passage has no vector yet; `knowledge_list_collections` tells how far they are",
                )
            })?;
            let nearest = vectors.search(&own, most + 1)?;
            let places = collection.lexical.locate(nearest.iter().map(|(key, _)| *key))?;
            let searcher = collection.lexical.searcher();
            let mut found = Vec::new();
            for (key, cosine) in nearest {
                for address in places.get(&key).into_iter().flatten() {
                    let stored = collection.lexical.passage(&searcher, *address)?;
                    if stored.id() != passage.id() {
                        found.push((stored, cosine));
                    }
                }
            }
            found.truncate(most);
            Ok(found)
        })
        .await
    }

    /// A passage by its id.
    ///
    /// # Errors
    /// `NotFound` for an id that is none.
    pub async fn passage(self: &Arc<Self>, ctx: &CallCtx, name: &str, id: &str) -> Result<StoredPassage> {
        let passages = self.passages_around(ctx, name, id, 0).await?;
        passages.into_iter().next().ok_or_else(|| no_passage(id))
    }

    /// A passage by its id, with so many before and after it.
    ///
    /// # Errors
    /// `NotFound` for an id that is none.
    pub async fn passages_around(
        self: &Arc<Self>,
        ctx: &CallCtx,
        name: &str,
        id: &str,
        around: u32,
    ) -> Result<Vec<StoredPassage>> {
        let collection = self.find(ctx, name).await?;
        let (path, sequence) = id.rsplit_once('#').ok_or_else(|| no_passage(id))?;
        let sequence: u32 = sequence.parse().map_err(|_| no_passage(id))?;
        let path = path.to_owned();
        let passages = blocking(move || collection.lexical.passages_of(&path)).await?;
        if !passages.iter().any(|passage| passage.sequence == sequence) {
            return Err(no_passage(id));
        }
        let is_near = |passage: &StoredPassage| passage.sequence.abs_diff(sequence) <= around;
        Ok(passages.into_iter().filter(is_near).collect())
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// `NotFound` for a file that is in no collection.
    pub async fn file(
        self: &Arc<Self>,
        ctx: &CallCtx,
        collections: &[String],
        path: &str,
    ) -> Result<(String, FileState)> {
        let clean = ctx.workspace()?.relative(path)?.to_string();
        for collection in self.asked(ctx, collections).await? {
            let name = collection.record.name.clone();
            let path = clean.clone();
            if let Some(file) = blocking(move || collection.lexical.file(&path)).await? {
                return Ok((name, file));
            }
        }
        Err(Error::not_found(format!("`{path}` is in no collection; see `knowledge_list_collections`")))
    }

    /// Where a name is defined, exact ones first: collection, file and its outline entry.
    ///
    /// # Errors
    /// `NotFound` when there is no collection; `Unavailable` when an index cannot be read.
    pub async fn definitions(
        self: &Arc<Self>,
        ctx: &CallCtx,
        collections: &[String],
        name: &str,
        most: usize,
    ) -> Result<Vec<(String, String, skynet_documents::Definition)>> {
        let mut all = Vec::new();
        for collection in self.asked(ctx, collections).await? {
            // What is not told is told by searches.
            drop(self.freshen(&collection, ctx).await);
            let named = collection.record.name.clone();
            let wanted = name.to_lowercase();
            let found = blocking(move || {
                let mut found = Vec::new();
                let mut seen = std::collections::HashSet::new();
                for passage in collection.lexical.defining(&wanted, most * 4)? {
                    if !seen.insert(passage.path.clone()) {
                        continue;
                    }
                    let Some(file) = collection.lexical.file(&passage.path)? else { continue };
                    let matching = file
                        .outline
                        .into_iter()
                        .filter(|definition| definition.name.to_lowercase().contains(&wanted));
                    found.extend(matching.map(|definition| (file.path.clone(), definition)));
                }
                Ok(found)
            })
            .await?;
            all.extend(found.into_iter().map(|(path, definition)| (named.clone(), path, definition)));
        }
        let exactness = |definition: &skynet_documents::Definition| {
            if definition.name == name {
                0
            } else if definition.name.eq_ignore_ascii_case(name) {
                1
            } else {
                2
            }
        };
        all.sort_by_key(|(_, path, definition)| (exactness(definition), path.clone(), definition.first_line));
        all.truncate(most);
        Ok(all)
    }

    /// Waits a little for changes that are being read. What an answer may lack then, in sentences.
    async fn freshen(self: &Arc<Self>, collection: &Arc<Collection>, ctx: &CallCtx) -> Vec<String> {
        self.watch(collection, ctx);
        let is_due = {
            let open = lock(&self.open);
            open.get(&collection.record.id).is_some_and(|open| {
                !open.watch.is_on() && open.looked_at.is_none_or(|at| at.elapsed() > LOOK_AGAIN_AFTER)
            })
        };
        if is_due {
            self.note_look(collection);
            self.refresh_in_background(collection, ctx);
        }
        // Whoever refreshes it holds this.
        let mut progress = collection.progress.subscribe();
        let is_quiet = timeout(WAIT_FOR_CHANGES, async {
            // A task that was just started has its turn first.
            tokio::task::yield_now().await;
            drop(collection.writing.lock().await);
        });
        let is_quiet = is_quiet.await.is_ok();
        let progress = progress.borrow_and_update().clone();
        let mut notes = Vec::new();
        let name = &collection.record.name;
        if !is_quiet && let Some(doing) = progress.doing {
            let (done, all) = progress.done;
            notes.push(format!("`{name}` is not complete: {doing}, {done} of {all}"));
        }
        if let Some(failure) = progress.failure {
            notes.push(format!("`{name}` may be out of date: {failure}"));
        }
        notes
    }

    fn refresh_in_background(self: &Arc<Self>, collection: &Arc<Collection>, ctx: &CallCtx) {
        let (knowledge, collection) = (self.clone(), collection.clone());
        let Some(ctx) = self.of_its_own(&collection, ctx) else { return };
        tokio::spawn(async move {
            if let Err(err) = indexing::refresh(&collection, &*knowledge.hands, &ctx).await {
                tracing::warn!(collection = collection.record.name, error = %err, "a collection is out of date");
            }
            knowledge.note_look(&collection);
            knowledge.embed(&collection);
        });
    }

    /// Begins to make the vectors that are missing, unless that is under way.
    fn embed(self: &Arc<Self>, collection: &Arc<Collection>) {
        let embedders = self.embedders();
        if embedders.is_empty() {
            return;
        }
        let collection = collection.clone();
        let end = lock(&self.open).get(&collection.record.id).map(|open| open.end.clone());
        let Some(end) = end else { return };
        tokio::spawn(async move {
            let made = tokio::select! {
                made = indexing::embed(&collection, &embedders) => made,
                () = end.cancelled() => return,
            };
            if let Err(err) = made {
                tracing::warn!(collection = collection.record.name, error = %err, "vectors are missing");
            }
        });
    }

    /// Hears of changes from now on, for as long as somebody asks now and then.
    fn watch(self: &Arc<Self>, collection: &Arc<Collection>, ctx: &CallCtx) {
        let Some(ctx) = self.of_its_own(collection, ctx) else { return };
        let mut open = lock(&self.open);
        let Some(open) = open.get_mut(&collection.record.id) else { return };
        let (knowledge, watched) = (Arc::downgrade(self), collection.clone());
        let changed = move |ctx: &CallCtx| {
            if let Some(knowledge) = knowledge.upgrade() {
                knowledge.refresh_in_background(&watched, ctx);
            }
        };
        open.watch.keep(collection, &self.hands, ctx, changed);
    }

    /// The context of what goes on after a call has ended, on behalf of the same caller.
    fn of_its_own(&self, collection: &Collection, ctx: &CallCtx) -> Option<CallCtx> {
        let open = lock(&self.open);
        watching::context(ctx, open.get(&collection.record.id)?.end.child_token())
    }

    fn note_look(&self, collection: &Collection) {
        if let Some(open) = lock(&self.open).get_mut(&collection.record.id) {
            open.looked_at = Some(Instant::now());
        }
    }

    fn embedders(&self) -> Vec<(Language, Arc<dyn Embedder>)> {
        let languages = [Language::English, Language::Other].into_iter();
        languages.filter_map(|language| Some((language, self.models.embedder(language)?))).collect()
    }

    /// Those of the caller's uid and workspace, by name.
    fn of(&self, caller: &Caller) -> Vec<Record> {
        let Some(workspace) = &caller.workspace else { return Vec::new() };
        let is_own = |record: &Record| record.uid == caller.uid && record.workspace == workspace.path();
        let mut own: Vec<Record> = self.table.iter().map(|(_, record)| record).filter(is_own).collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        own
    }

    fn record(&self, ctx: &CallCtx, name: &str) -> Result<Record> {
        ctx.workspace()?;
        let own = self.of(&ctx.origin()?.caller);
        let names: Vec<String> = own.iter().map(|record| format!("`{}`", record.name)).collect();
        own.into_iter().find(|record| record.name == name).ok_or_else(|| {
            let there = if names.is_empty() { none_yet() } else { format!("there are {}", names.join(", ")) };
            Error::not_found(format!("there is no collection `{name}` in this workspace; {there}"))
        })
    }

    async fn find(self: &Arc<Self>, ctx: &CallCtx, name: &str) -> Result<Arc<Collection>> {
        let record = self.record(ctx, name)?;
        self.opened(record).await
    }

    /// The collections of these names, or all.
    async fn asked(self: &Arc<Self>, ctx: &CallCtx, names: &[String]) -> Result<Vec<Arc<Collection>>> {
        ctx.workspace()?;
        let records = match names {
            [] => self.of(&ctx.origin()?.caller),
            names => names.iter().map(|name| self.record(ctx, name)).collect::<Result<_>>()?,
        };
        if records.is_empty() {
            return Err(Error::not_found(format!(
                "there is no collection in this workspace; {}",
                none_yet()
            )));
        }
        let mut opened = Vec::new();
        for record in records {
            opened.push(self.opened(record).await?);
        }
        Ok(opened)
    }

    async fn opened(self: &Arc<Self>, record: Record) -> Result<Arc<Collection>> {
        if let Some(open) = lock(&self.open).get(&record.id) {
            return Ok(open.collection.clone());
        }
        let knowledge = self.clone();
        blocking(move || {
            // Held while it is opened, so that two calls do not open it twice.
            let mut open = lock(&knowledge.open);
            if let Some(open) = open.get(&record.id) {
                return Ok(open.collection.clone());
            }
            let id = record.id;
            let collection = Arc::new(Collection::open(record, &knowledge.directory)?);
            let watch = watching::Watch::default();
            open.insert(
                id,
                Open {
                    collection: collection.clone(),
                    end: CancellationToken::new(),
                    watch,
                    looked_at: None,
                },
            );
            Ok(collection)
        })
        .await
    }
}

fn none_yet() -> String {
    "make one with `knowledge_add_collection`".into()
}

fn no_passage(id: &str) -> Error {
    Error::not_found(format!(
        "there is no passage `{id}`; ids are those that `knowledge_search` answers, and end with their file"
    ))
}

fn size_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            // It was just removed.
            Err(_) => 0,
        })
        .sum()
}
