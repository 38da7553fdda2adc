//! One collection: what it is of, its indexes, and how far they are.

use crate::{
    analysis::ENGLISH,
    languages::Languages,
    lexical::{Hit, Lexical},
    ranking::{self, Candidate, Kind, Legs, Ranked},
    stored::StoredPassage,
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
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::timeout,
};
use uuid::Uuid;

/// Passages that words, and vectors, put forward. With a filter more, as some of them do not fit.
const CANDIDATES: usize = 200;
const CANDIDATES_TO_FILTER: usize = 2000;

/// Of one text that vectors found, so many of the places in which it stands.
const PLACES_OF_TEXT: usize = 4;

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
    fn is_empty(&self) -> bool {
        let Self { path, elsewhere: _, formats, code, author, since, until, tags } = self;
        let is_about_text = path.is_none() && formats.is_empty() && code.is_none();
        is_about_text && author.is_none() && since.is_none() && until.is_none() && tags.is_empty()
    }

    fn holds(&self, passage: &StoredPassage) -> bool {
        let is_at = |glob: &GlobMatcher| {
            let whole = self.elsewhere.as_ref().map(|workspace| workspace.join(&passage.path));
            glob.is_match(&passage.path) || whole.is_some_and(|path| glob.is_match(path))
        };
        self.path.as_ref().is_none_or(is_at)
            && (self.formats.is_empty() || self.formats.contains(&passage.format))
            && self.code.as_ref().is_none_or(|code| passage.code.as_ref() == Some(code))
            && self.holds_about(&passage.about)
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
        let directory = directory.join(record.id.as_simple().to_string());
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
                let aside = directory.join("words.damaged");
                let moved = match fs::remove_dir_all(&aside) {
                    Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
                    _ => fs::rename(&words, &aside),
                };
                moved.map_err(|err| {
                    Error::unavailable("a damaged index cannot be set aside").with_source(err)
                })?;
                Lexical::open(&words).map_err(cannot)?
            }
        };
        Ok(Self {
            languages: Mutex::new(lexical.languages()),
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

    /// The vectors of a model; opened when first asked for, which reads all of them.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn vectors(&self, model: &Model) -> Result<Arc<Vectors>> {
        let mut all = lock(&self.vectors);
        if let Some(vectors) = all.get(&model.id).filter(|vectors| vectors.model() == model) {
            return Ok(vectors.clone());
        }
        let vectors = Arc::new(Vectors::open(&self.directory.join("vectors"), model)?);
        all.insert(model.id.clone(), vectors.clone());
        Ok(vectors)
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

    /// The passages that answer a question best. `asked` is the question's vector by each model.
    ///
    /// # Errors
    /// `Unavailable` when an index cannot be read.
    pub(crate) fn search(
        &self,
        question: &str,
        filter: &Filter,
        asked: &[Asked],
        most: usize,
    ) -> Result<(Kind, Vec<Ranked>)> {
        let languages = lock(&self.languages).clone();
        let counts = languages.counts();
        let kind = Kind::of(question, |language| {
            counts.is_empty() || counts.iter().any(|(known, _)| known == language)
        });
        let candidates = if filter.is_empty() { CANDIDATES } else { CANDIDATES_TO_FILTER };
        let by_words = self.lexical.search(
            &languages.without_common_code(question),
            &languages.of_question(question),
            candidates,
        )?;
        let mut nearest: HashMap<u64, f32> = HashMap::new();
        let opened = asked.iter().map(|(model, vector)| Ok((self.vectors(model)?, vector)));
        let asked: Vec<(Arc<Vectors>, &Vec<f32>)> = opened.collect::<Result<_>>()?;
        for (vectors, vector) in &asked {
            nearest.extend(vectors.search(vector, candidates)?);
        }
        let found = self.gather(&by_words, &nearest, filter)?;
        let keys = || found.iter().map(|(passage, _)| passage.key);
        let mut known: HashMap<u64, (Vec<f32>, f32)> = HashMap::new();
        for (vectors, asked) in &asked {
            for (key, vector) in vectors.vectors_of(keys()) {
                let cosine = ranking::cosine(asked, &vector);
                known.insert(key, (vector, cosine));
            }
        }
        let candidates = found.into_iter().map(|(passage, words)| {
            let (vector, cosine) = known.get(&passage.key).cloned().unzip();
            let is_near = nearest.contains_key(&passage.key);
            Candidate { legs: Legs { words, vector: cosine, reranker: None }, passage, vector, is_near }
        });
        let terms: Vec<String> = question
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|term| !term.is_empty())
            .map(str::to_lowercase)
            .collect();
        let is_foreign = skynet_documents::language(question).is_some_and(|language| language != ENGLISH);
        let names = ranking::names(question);
        let asked = ranking::Asked { kind, is_foreign, terms: &terms, names: &names };
        Ok((kind, ranking::rank(candidates.collect(), &asked, most)))
    }

    /// The passages that either leg found, with what words say of them.
    fn gather(
        &self,
        by_words: &[Hit],
        nearest: &HashMap<u64, f32>,
        filter: &Filter,
    ) -> Result<Vec<(StoredPassage, Option<f32>)>> {
        let searcher = self.lexical.searcher();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        // Each leg has as many places, whatever the other found: a filter may leave one of them little.
        for hit in by_words {
            let passage = self.lexical.passage(&searcher, hit.address)?;
            if filter.holds(&passage) && seen.insert(hit.address) {
                found.push((passage, Some(hit.score)));
            }
            if found.len() == CANDIDATES {
                break;
            }
        }
        let most = found.len() + CANDIDATES;
        let places = self.lexical.locate(nearest.keys().copied())?;
        let mut nearest: Vec<(&u64, &f32)> = nearest.iter().collect();
        nearest.sort_by(|(a, near), (b, nearer)| nearer.total_cmp(near).then(a.cmp(b)));
        for (key, _) in nearest {
            // One text may stand in a thousand places.
            for address in places.get(key).into_iter().flatten().take(PLACES_OF_TEXT) {
                if found.len() == most {
                    return Ok(found);
                }
                if seen.contains(address) {
                    continue;
                }
                let passage = self.lexical.passage(&searcher, *address)?;
                if filter.holds(&passage) && seen.insert(*address) {
                    found.push((passage, None));
                }
            }
        }
        Ok(found)
    }
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
