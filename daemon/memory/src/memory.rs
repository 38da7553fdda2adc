//! All that is remembered of all users.

use crate::{
    completing,
    entry::{Changes, Entry, Filter, Kind, MOST_TAGS, State, Wanted},
    kept::{Kept, Vector, lock},
    recall::{self, CLOSE, SAME},
};
use jiff::Timestamp;
use skynet_core::{CallCtx, Error, ErrorKind, Result};
use skynet_models::{Embedder, Language, Models, Use};
use skynet_secrets::SealedEntries;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

/// Entries that are told to be about the same.
const MOST_CLOSE: usize = 5;

/// What became of something that was to be remembered.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// As it is now.
    pub entry: Entry,
    /// Whether the same was known already.
    pub was_known: bool,
    /// What is about the same, and may say otherwise.
    pub close: Vec<Entry>,
    /// Of a conversation: turns here that no summary sums up.
    pub unsummarized: usize,
}

/// All that is remembered.
pub struct Memory {
    kept: Arc<Kept>,
    models: Arc<Models>,
}

/// Who asks, and from where.
struct Asker {
    uid: u32,
    workspace: Option<PathBuf>,
}

impl Memory {
    /// What `sealed` has; the entries of one user say at most so many bytes.
    #[must_use]
    pub fn new(sealed: SealedEntries, models: Arc<Models>, most_bytes: u64) -> Arc<Self> {
        Arc::new(Self { kept: Arc::new(Kept::new(sealed, most_bytes)), models })
    }

    /// Keeps something. What is known already is told again; what is about the same is shown, and stays.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be kept, `QuotaExceeded` for too much, `Unavailable` when the disk refuses.
    pub async fn remember(&self, ctx: &CallCtx, wanted: Wanted) -> Result<Remembered> {
        let asker = Asker::of(ctx)?;
        let uid = asker.uid;
        let remembered = self.take(asker, wanted).await?;
        self.complete_later(uid);
        Ok(remembered)
    }

    /// Keeps what was learnt from use, for a human to decide on, unless as many wait for him already; whether it is kept.
    ///
    /// # Errors
    /// Those of [`Memory::remember`].
    pub(crate) async fn propose(
        &self,
        uid: u32,
        workspace: &Path,
        wanted: Wanted,
        most_waiting: usize,
    ) -> Result<bool> {
        let is_waiting =
            |entry: &&Entry| entry.state == State::Proposed && entry.project.as_deref() == Some(workspace);
        {
            let all = self.kept.of(uid)?;
            let all = lock(&all);
            if all.iter().filter(is_waiting).count() >= most_waiting {
                return Ok(false);
            }
        }
        match self.take(Asker { uid, workspace: Some(workspace.to_owned()) }, wanted).await {
            Ok(_) => Ok(true),
            Err(err) if err.kind == ErrorKind::QuotaExceeded => Ok(false),
            Err(err) => Err(err),
        }
    }

    async fn take(&self, asker: Asker, wanted: Wanted) -> Result<Remembered> {
        let mut entry = Entry::new(wanted, asker.workspace.as_deref(), Timestamp::now())?;
        entry.vector = self.vector(&entry.text, Use::Passage).await?;
        let all = self.kept.of(asker.uid)?;
        let mut all = lock(&all);
        let is_seen = |other: &&Entry| other.is_seen_from(asker.workspace.as_deref());
        let is_turn = |other: &&Entry| other.kind == Kind::Conversation && is_seen(other);
        if let Some(id) =
            entry.summarizes.iter().find(|id| !all.iter().filter(is_turn).any(|one| one.id == **id))
        {
            return Err(Error::not_found(format!(
                "`summarizes` names `{id}`, which is no conversation that is remembered here; see `memory_list`"
            )));
        }
        let is_of_same_scope = |other: &&Entry| other.project == entry.project && other.kind == entry.kind;
        let likeness = |other: &Entry| {
            let is_same_text = other.text.to_lowercase() == entry.text.to_lowercase();
            let cosine = entry.vector.as_ref().and_then(|vector| recall::cosine(other, vector));
            if is_same_text { 1.0 } else { cosine.unwrap_or_default().min(SAME) }
        };
        if let Some(known) = all.iter().position(|other| is_of_same_scope(&other) && likeness(other) > SAME) {
            let mut same = all.get(known).cloned().ok_or_else(|| Error::internal("an entry vanished"))?;
            same.tags.extend(entry.tags);
            same.tags.sort();
            same.tags.dedup();
            // What is told again and again under other tags can still be brought in again.
            same.tags.truncate(MOST_TAGS);
            same.vector = entry.vector.or(same.vector);
            same.confidence = same.confidence.max(entry.confidence);
            same.updated_at = entry.updated_at;
            same.expires_at = entry.expires_at;
            same.summarizes.extend(entry.summarizes);
            same.summarizes.sort();
            same.summarizes.dedup();
            if entry.state == State::Accepted {
                same.state = State::Accepted;
            }
            self.kept.check_change(&all, all.get(known).unwrap_or(&same), &same)?;
            self.kept.keep(asker.uid, &same)?;
            if let Some(place) = all.get_mut(known) {
                place.clone_from(&same);
            }
            let unsummarized = unsummarized(&all, asker.workspace.as_deref());
            return Ok(Remembered { entry: same, was_known: true, close: Vec::new(), unsummarized });
        }
        self.kept.check_room(&all, std::slice::from_ref(&entry))?;
        let mut close: Vec<(f32, Entry)> = all
            .iter()
            .filter(is_seen)
            .map(|other| (likeness(other), other.clone()))
            .filter(|(likeness, _)| *likeness > CLOSE)
            .collect();
        close.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        close.truncate(MOST_CLOSE);
        self.kept.keep(asker.uid, &entry)?;
        all.push(entry.clone());
        Ok(Remembered {
            unsummarized: unsummarized(&all, asker.workspace.as_deref()),
            entry,
            was_known: false,
            close: close.into_iter().map(|(_, entry)| entry).collect(),
        })
    }

    /// What a question is about, best first, with how well it fits. What is only proposed is left out.
    ///
    /// # Errors
    /// `Unavailable` when entries cannot be read.
    pub async fn recall(
        &self,
        ctx: &CallCtx,
        question: &str,
        filter: &Filter,
        most: usize,
    ) -> Result<Vec<(Entry, f32)>> {
        let filter = Filter { state: Some(State::Accepted), ..filter.clone() };
        let entries = self.list(ctx, &filter)?;
        self.complete_later(Asker::of(ctx)?.uid);
        let asked = self.vector(question, Use::Query).await?;
        let question = question.to_owned();
        // Thousands of long ones take a while, and others wait for this thread.
        let ranked = tokio::task::spawn_blocking(move || {
            recall::rank(entries, &question, asked.as_ref(), Timestamp::now(), most)
        });
        ranked.await.map_err(|err| Error::internal("recalling failed").with_source(err))
    }

    /// What may be known here, newest first.
    ///
    /// # Errors
    /// `Unavailable` when entries cannot be read.
    pub fn list(&self, ctx: &CallCtx, filter: &Filter) -> Result<Vec<Entry>> {
        let asker = Asker::of(ctx)?;
        let all = self.kept.of(asker.uid)?;
        let mut entries: Vec<Entry> = lock(&all)
            .iter()
            .filter(|entry| entry.is_seen_from(asker.workspace.as_deref()) && filter.holds(entry))
            .cloned()
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.updated_at));
        Ok(entries)
    }

    /// Changes an entry; what it said before is kept with it.
    ///
    /// # Errors
    /// `NotFound` for none that may be known here, `InvalidInput` for what cannot be kept.
    pub async fn update(&self, ctx: &CallCtx, id: Uuid, changes: Changes) -> Result<Entry> {
        let asker = Asker::of(ctx)?;
        let vector = match &changes.text {
            Some(text) => self.vector(text, Use::Passage).await?,
            None => None,
        };
        let all = self.kept.of(asker.uid)?;
        let mut all = lock(&all);
        let place = all
            .iter()
            .position(|entry| entry.id == id && entry.is_seen_from(asker.workspace.as_deref()))
            .ok_or_else(|| unknown(id))?;
        let before = all.get(place).cloned().ok_or_else(|| unknown(id))?;
        let mut entry = before.clone();
        entry.change(changes, Timestamp::now())?;
        if entry.vector.is_none() {
            entry.vector = vector;
        }
        self.kept.check_change(&all, &before, &entry)?;
        self.kept.keep(asker.uid, &entry)?;
        if let Some(place) = all.get_mut(place) {
            place.clone_from(&entry);
        }
        Ok(entry)
    }

    /// Forgets an entry for good.
    ///
    /// # Errors
    /// `NotFound` for none that may be known here, `Unavailable` when the disk refuses.
    pub fn forget(&self, ctx: &CallCtx, id: Uuid) -> Result<Entry> {
        let asker = Asker::of(ctx)?;
        let all = self.kept.of(asker.uid)?;
        let mut all = lock(&all);
        let place =
            all.iter().position(|entry| entry.id == id && entry.is_seen_from(asker.workspace.as_deref()));
        let place = place.ok_or_else(|| unknown(id))?;
        self.kept.forget(asker.uid, id)?;
        Ok(all.remove(place))
    }

    /// Takes entries that were exported. Those that are known by id or text stay; how many were new.
    ///
    /// # Errors
    /// `InvalidInput` for one that cannot be kept, and then none is; `QuotaExceeded` for too many.
    pub fn import(&self, ctx: &CallCtx, entries: Vec<Entry>) -> Result<usize> {
        let asker = Asker::of(ctx)?;
        let mut checked = Vec::new();
        for entry in entries {
            let mut entry = entry.check()?;
            if entry.project.is_some() {
                // It is about this project now.
                let workspace = asker.workspace.as_ref().ok_or_else(|| {
                    Error::invalid_input(
                        "this session has no workspace, so it takes no entries about a project",
                    )
                })?;
                entry.project = Some(workspace.clone());
            }
            checked.push(entry);
        }
        let all = self.kept.of(asker.uid)?;
        let mut all = lock(&all);
        let is_known = |entry: &Entry, all: &[Entry]| {
            all.iter().any(|other| {
                other.id == entry.id || (other.text == entry.text && other.project == entry.project)
            })
        };
        checked.retain(|entry| !is_known(entry, &all) && !entry.is_over(Timestamp::now()));
        self.kept.check_room(&all, &checked)?;
        let count = checked.len();
        for entry in checked {
            self.kept.keep(asker.uid, &entry)?;
            all.push(entry);
        }
        Ok(count)
    }

    /// Makes the vectors that entries of a user lack, if a model is there by now; nobody waits for that.
    fn complete_later(&self, uid: u32) {
        let Some(embedder) = self.embedder() else { return };
        // What keeps that from being said is told where it is done.
        if self.kept.without_vector(uid, &embedder.model().sha256, 1).is_ok_and(|missing| missing.is_empty())
        {
            return;
        }
        let kept = self.kept.clone();
        tokio::spawn(async move {
            match completing::complete(&kept, uid, &*embedder).await {
                Ok(count) => tracing::debug!(uid, count, "entries that were kept without a vector have one"),
                Err(err) => tracing::warn!(uid, error = %err, "something is recalled by its words alone"),
            }
        });
    }

    /// The model that reads all languages, if it is there: a question may be in another one.
    fn embedder(&self) -> Option<Arc<dyn Embedder>> {
        self.models.embedder(Language::Other).or_else(|| self.models.embedder(Language::English))
    }

    /// Without a model, words are all there is.
    async fn vector(&self, text: &str, used_as: Use) -> Result<Option<Vector>> {
        let Some(embedder) = self.embedder() else { return Ok(None) };
        match embedder.embed(&[text.to_owned()], used_as).await {
            Ok(made) => Ok(made.into_iter().next().map(|vector| (embedder.model().sha256.clone(), vector))),
            Err(err) => {
                tracing::warn!(error = %err, "something is remembered or recalled by its words alone");
                Ok(None)
            }
        }
    }
}

impl Asker {
    fn of(ctx: &CallCtx) -> Result<Self> {
        let caller = &ctx.origin()?.caller;
        let workspace = caller.workspace.as_ref().map(|workspace| workspace.path().to_owned());
        Ok(Self { uid: caller.uid, workspace })
    }
}

/// Turns of conversations that may be known there and that no summary sums up.
fn unsummarized(all: &[Entry], workspace: Option<&Path>) -> usize {
    let of_conversations =
        || all.iter().filter(|entry| entry.kind == Kind::Conversation && entry.is_seen_from(workspace));
    let summed_up: HashSet<Uuid> = of_conversations().flat_map(|entry| entry.summarizes.clone()).collect();
    of_conversations().filter(|entry| entry.summarizes.is_empty() && !summed_up.contains(&entry.id)).count()
}

fn unknown(id: Uuid) -> Error {
    Error::not_found(format!("nothing with the id `{id}` is remembered here; see `memory_list`"))
}
