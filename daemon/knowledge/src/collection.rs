//! One collection: what it is of, its indexes, and how far they are.

use crate::{
    aside,
    languages::Languages,
    lexical::Lexical,
    stored::{FileState, StoredPassage},
    vectors::Vectors,
};
use globset::GlobMatcher;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use skynet_documents::{About, Format, SourceKind};
use skynet_models::{Embedder, Language, Model, Use};
use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::timeout,
};
use uuid::Uuid;

/// A question waits for its vector for so long; then words are all there is.
pub(crate) const EMBED_FOR: Duration = Duration::from_secs(3);

/// What a collection is: kept until it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names its directory.
    pub id: Uuid,
    /// Unique in its workspace.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// Where its files are: nobody who works elsewhere sees it.
    pub workspace: PathBuf,
    /// Which directory that was: its inode, and when that was made (statx(2), `stx_btime`, 0 where it is not told). Another directory of
    /// the same path is another workspace.
    pub place: (u64, i64),
    /// What it is of.
    #[serde(default)]
    pub source: SourceKind,
    /// The directory or file, relative to the workspace; of a repository any directory.
    pub path: String,
    /// Globs of what is in it; empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of what is not.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Larger files are left out, in bytes.
    pub max_file_bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// What others call it, if an administrator shared it with all users of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_as: Option<String>,
    /// Whether a look since then left nothing in it but what all of them may read: before that they do not see it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_open: bool,
}

/// How far a collection is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What happens now; absent if nothing does.
    pub doing: Option<&'static str>,
    /// Files or passages of that which are done, and all of them.
    pub done: (u64, u64),
    /// Passages that have a vector by now, and all, while vectors are made.
    pub vectors: Option<(u64, u64)>,
    /// When its files were last looked at.
    pub checked_at: Option<Timestamp>,
    /// What went wrong the last time.
    pub failure: Option<String>,
    /// Why changes are not heard of as they happen.
    pub unwatched: Option<String>,
}

/// What a question may be answered with.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of paths relative to the workspace, or whole ones.
    pub path: Option<GlobMatcher>,
    /// The workspace of a shared collection, whose files the caller calls by their whole path.
    pub elsewhere: Option<PathBuf>,
    /// Ways of writing; empty for all.
    pub formats: Vec<Format>,
    /// A programming language.
    pub code: Option<String>,
    /// A part of the name or address of who wrote it, in lower case.
    pub author: Option<String>,
    /// Written at that time or later, in seconds since 1970.
    pub since: Option<i64>,
    /// Written before that.
    pub until: Option<i64>,
    /// Words that it is filed under, in lower case; all of them.
    pub tags: Vec<String>,
}

impl Filter {
    pub(crate) fn is_empty(&self) -> bool {
        self.path.is_none() && self.is_of_paths()
    }

    /// Whether it says nothing but where documents are.
    pub(crate) fn is_of_paths(&self) -> bool {
        let Self { path: _, elsewhere: _, formats, code, author, since, until, tags } = self;
        let is_about_text = formats.is_empty() && code.is_none();
        is_about_text && author.is_none() && since.is_none() && until.is_none() && tags.is_empty()
    }

    /// Whether documents at that path may be found.
    pub(crate) fn holds_path(&self, path: &str) -> bool {
        let is_at = |glob: &GlobMatcher| {
            let whole = self.elsewhere.as_ref().map(|workspace| workspace.join(path));
            glob.is_match(path) || whole.is_some_and(|path| glob.is_match(path))
        };
        self.path.as_ref().is_none_or(is_at)
    }

    /// Whether passages of a file may be found.
    pub(crate) fn holds_file(&self, file: &FileState) -> bool {
        let FileState { path, format, code, about, .. } = file;
        format.is_some_and(|format| self.holds_document(path, format, code.as_ref(), about))
    }

    pub(crate) fn holds(&self, passage: &StoredPassage) -> bool {
        let StoredPassage { path, format, code, about, .. } = passage;
        self.holds_document(path, *format, code.as_ref(), about)
    }

    fn holds_document(&self, path: &str, format: Format, code: Option<&String>, about: &About) -> bool {
        self.holds_path(path)
            && (self.formats.is_empty() || self.formats.contains(&format))
            && self.code.as_ref().is_none_or(|wanted| code == Some(wanted))
            && self.holds_about(about)
    }

    /// Of what is not known, nothing can be said.
    fn holds_about(&self, about: &About) -> bool {
        let is_by =
            |author: &String| about.author.as_ref().is_some_and(|by| by.to_lowercase().contains(author));
        self.author.as_ref().is_none_or(is_by)
            && self.since.is_none_or(|since| about.at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| about.at.is_some_and(|at| at < until))
            && self.tags.iter().all(|tag| about.tags.contains(tag))
    }
}

/// A collection that is open.
pub(crate) struct Collection {
    pub(crate) record: Record,
    pub(crate) lexical: Arc<Lexical>,
    pub(crate) languages: Mutex<Languages>,
    directory: PathBuf,
    vectors: Mutex<HashMap<String, Arc<Vectors>>>,
    /// Held by whoever changes it.
    pub(crate) writing: AsyncMutex<()>,
    pub(crate) embedding: AsyncMutex<()>,
    /// Whoever holds it is next to do so.
    pub(crate) embedding_next: AsyncMutex<()>,
    pub(crate) progress: watch::Sender<Progress>,
    /// Passages that a model refused.
    pub(crate) unembeddable: Mutex<HashSet<u64>>,
}

impl Collection {
    /// Opens the indexes of a collection. Damaged ones are set aside; they are built anew.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn open(record: Record, directory: &Path) -> Result<Self> {
        let directory = directory_of(directory, record.id);
        let words = directory.join("words");
        let cannot =
            |err| Error::unavailable("the index of the collection cannot be opened").with_source(err);
        let opened = match Lexical::open(&words).and_then(|lexical| Ok((lexical.is_whole()?, lexical))) {
            Ok((true, lexical)) => Ok(lexical),
            Ok((false, _)) => Err("a checksum is wrong".to_owned()),
            Err(err) if is_damage(&err) => Err(err.to_string()),
            // Such as too many open files: it may be better in a moment.
            Err(err) => return Err(cannot(err)),
        };
        let lexical = match opened {
            Ok(lexical) => lexical,
            Err(why) => {
                tracing::warn!(
                    collection = record.name,
                    "its index is damaged ({why}); it is set aside and built anew"
                );
                aside::set(&words).map_err(|err| {
                    Error::unavailable("a damaged index cannot be set aside").with_source(err)
                })?;
                Lexical::open(&words).map_err(cannot)?
            }
        };
        Ok(Self {
            languages: Mutex::new(lexical.languages()?),
            lexical: Arc::new(lexical),
            record,
            directory,
            vectors: Mutex::default(),
            writing: AsyncMutex::default(),
            embedding: AsyncMutex::default(),
            embedding_next: AsyncMutex::default(),
            progress: watch::Sender::default(),
            unembeddable: Mutex::default(),
        })
    }

    /// Where it is kept.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The vectors of a model; opened when first asked for, which reads all of them. Damaged ones are set aside then.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses; the next who asks tries again.
    pub(crate) fn vectors(&self, model: &Model) -> Result<Arc<Vectors>> {
        let mut all = lock(&self.vectors);
        if let Some(vectors) = all.get(&model.id).filter(|vectors| vectors.model() == model) {
            return Ok(vectors.clone());
        }
        let vectors = Arc::new(Vectors::open(&vectors_in(&self.directory), model)?);
        all.insert(model.id.clone(), vectors.clone());
        Ok(vectors)
    }

    /// Forgets vectors of passages that are there no more, if these are most of them and the files are known to be as they are here: an
    /// index that is being built anew has few of its passages yet.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn compact(&self, vectors: &Vectors) -> Result<()> {
        let is_as_its_files = {
            let progress = self.progress.borrow();
            progress.checked_at.is_some() && progress.failure.is_none() && progress.doing.is_none()
        };
        if !is_as_its_files {
            return Ok(());
        }
        let used: HashSet<u64> = self.lexical.keys()?.into_iter().map(|(key, ..)| key).collect();
        vectors.compact(|key| used.contains(&key))
    }

    /// What of it has no vector yet by the model for its language, in order of place.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn without_vector(
        &self,
        vectors: &Vectors,
        language: Language,
    ) -> Result<Vec<(u64, tantivy::DocAddress)>> {
        let mut seen = HashSet::new();
        let refused = lock(&self.unembeddable).clone();
        let keys = self.lexical.keys()?.into_iter();
        let of_language = keys.filter(|(_, is_foreign, _)| *is_foreign == (language == Language::Other));
        let mut missing: Vec<_> = of_language
            .filter(|(key, _, _)| !vectors.contains(*key) && !refused.contains(key) && seen.insert(*key))
            .map(|(key, _, address)| (key, address))
            .collect();
        missing.sort_by_key(|(_, address)| *address);
        Ok(missing)
    }
}

/// Where a collection is kept, in the directory of all.
pub(crate) fn directory_of(all: &Path, id: Uuid) -> PathBuf {
    all.join(id.as_simple().to_string())
}

/// Where the vectors of a collection are, in its directory.
pub(crate) fn vectors_in(directory: &Path) -> PathBuf {
    directory.join("vectors")
}

/// Whether the files are not what they were, and not only out of reach.
fn is_damage(err: &tantivy::TantivyError) -> bool {
    use tantivy::{TantivyError, directory::error::OpenReadError};
    match err {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_) => true,
        TantivyError::OpenReadError(
            OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_),
        ) => true,
        TantivyError::IoError(err) => {
            matches!(err.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// A question's vector, and the model that made it.
pub(crate) type Asked = (Model, Vec<f32>);

/// A question's vector by each model that is for what is in one of the collections, in time or not at all.
///
/// # Errors
/// Those of a model, `TimedOut` when one takes too long.
pub(crate) async fn vectors_of(
    collections: &[Arc<Collection>],
    embedders: &[(Language, Arc<dyn Embedder>)],
    question: &str,
    patience: Duration,
) -> Result<Vec<Asked>> {
    let mut asked: Vec<Asked> = Vec::new();
    for (language, embedder) in embedders {
        // A model that is not needed is not even loaded.
        if !collections.iter().any(|collection| lock(&collection.languages).is_for(*language)) {
            continue;
        }
        let model = embedder.model();
        // One model may be for all languages.
        if asked.iter().any(|(known, _)| known == model) {
            continue;
        }
        let text = [question.to_owned()];
        let made = timeout(patience, embedder.embed(&text, Use::Query)).await;
        let made =
            made.map_err(|_| Error::timed_out(format!("`{}` takes too long for a question", model.id)))??;
        asked.extend(made.into_iter().next().map(|vector| (model.clone(), vector)));
    }
    Ok(asked)
}

/// Does what takes time, or waits for the disk, beside the runtime.
///
/// # Errors
/// Those of `work`, and `Internal` when it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|err| Error::internal("work on a collection failed").with_source(err))?
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
