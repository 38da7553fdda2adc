//! A collection of documents that are given, for measuring: the same indexes and the same ranking, without hands and without
//! anybody whose files these were.

use crate::{
    collection::{Collection, Filter, Record, blocking, directory_of, vectors_of},
    embedding,
    indexing::Draft,
    languages::Languages,
    searching::{self, Place},
};
use jiff::Timestamp;
use skynet_core::{Error, Result};
use skynet_documents::{Entry, Reading, SourceKind};
use skynet_models::{Embedder, Language, Model};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Measures wait for vectors, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which part of a search answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Words alone, in the order of BM25.
    Words,
    /// Vectors alone, in the order of their cosines.
    Vectors,
    /// What users get.
    Both,
}

/// What a collection is that is nobody's.
pub(crate) fn record(id: Uuid) -> Record {
    Record {
        id,
        name: "sample".into(),
        uid: 0,
        workspace: PathBuf::new(),
        place: (0, 0),
        source: SourceKind::Files,
        path: ".".into(),
        include: Vec::new(),
        exclude: Vec::new(),
        max_file_bytes: 0,
        created_at: Timestamp::now(),
        shared_as: None,
        is_open: false,
    }
}

/// A collection of given documents.
pub struct Sample(Arc<Collection>);

impl Sample {
    /// Indexes the words of documents, by the names that answers give them. Vectors that were made in this directory before are
    /// used again.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub async fn of(directory: &Path, documents: Vec<(String, Reading)>) -> Result<Self> {
        let id = Uuid::nil();
        match fs::remove_dir_all(directory_of(directory, id).join("words")) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(Error::unavailable("an old index cannot be removed").with_source(err));
            }
            _ => {}
        }
        let collection = Arc::new(Collection::open(record(id), directory)?);
        let opened = collection.clone();
        blocking(move || {
            let read = documents.into_iter().map(|(path, reading)| (Entry::of_digest(path, 0, ""), reading));
            let writer = opened.lexical.write()?;
            let mut draft = Draft {
                writer,
                languages: Languages::of(std::iter::empty()),
                cursor: None,
                topics: HashMap::new(),
                scanner: None,
            };
            draft.write(&opened, read.collect())?;
            draft.commit(&opened)?;
            draft.writer.finish()
        })
        .await?;
        Ok(Self(collection))
    }

    /// Makes the vectors.
    ///
    /// # Errors
    /// Those of the model.
    pub async fn embed(&self, embedders: &[(Language, Arc<dyn Embedder>)]) -> Result<()> {
        embedding::embed(&self.0, embedders, &[]).await
    }

    /// How many passages there are.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub fn passages(&self) -> Result<u64> {
        Ok(self.0.lexical.count()?.1)
    }

    /// The cosines of the passages that are nearest to a vector, nearest first.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub fn nearest(&self, model: &Model, vector: &[f32], most: usize) -> Result<Vec<f32>> {
        let found = self.0.vectors(model)?.search(vector, most)?;
        Ok(found.into_iter().map(|(_, cosine)| cosine).collect())
    }

    /// The names of the documents that answer a question, best first.
    ///
    /// # Errors
    /// Those of the model, and `Unavailable` when an index cannot be read.
    pub async fn ask(
        &self,
        question: &str,
        embedders: &[(Language, Arc<dyn Embedder>)],
        leg: Leg,
        most: usize,
    ) -> Result<Vec<String>> {
        let asked = match leg {
            Leg::Words => Vec::new(),
            Leg::Vectors | Leg::Both => {
                vectors_of(std::slice::from_ref(&self.0), embedders, question, PATIENCE).await?
            }
        };
        let place = Place { collection: self.0.clone(), filter: Filter::default(), bounds: None };
        let question = question.to_owned();
        let found = blocking(move || searching::search(&[place], &question, &asked, most * 4)).await?;
        let mut best: HashMap<String, f32> = HashMap::new();
        for (_, ranked) in found.ranked {
            let score = match leg {
                Leg::Words => ranked.legs.words,
                Leg::Vectors => ranked.legs.vector,
                Leg::Both => Some(ranked.score),
            };
            let Some(score) = score else { continue };
            let known = best.entry(ranked.passage.path).or_insert(score);
            *known = known.max(score);
        }
        let mut best: Vec<(String, f32)> = best.into_iter().collect();
        best.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
        best.truncate(most);
        Ok(best.into_iter().map(|(name, _)| name).collect())
    }
}

/// Documents that tests give, and collections of them.
#[cfg(test)]
pub(crate) mod given {
    use super::*;
    use crate::collection::lock;
    use skynet_documents::{About, Document, Format, Passage};

    /// A document of one passage.
    pub(crate) fn text(text: &str) -> Document {
        let passage = Passage {
            text: text.to_owned(),
            first_line: 1,
            last_line: 1,
            language: Some("eng".into()),
            ..Passage::default()
        };
        Document {
            format: Format::Text,
            code: None,
            title: None,
            hash: String::new(),
            about: About::default(),
            passages: vec![passage],
            outline: Vec::new(),
            secrets: 0,
        }
    }

    /// A change of a collection that begins.
    pub(crate) fn draft(collection: &Collection) -> Draft {
        Draft {
            writer: collection.lexical.write().unwrap(),
            languages: lock(&collection.languages).clone(),
            cursor: None,
            topics: HashMap::new(),
            scanner: None,
        }
    }

    /// A collection of these documents, by their paths.
    pub(crate) fn collection(directory: &Path, documents: Vec<(String, Document)>) -> Arc<Collection> {
        let collection = Arc::new(Collection::open(record(Uuid::now_v7()), directory).unwrap());
        let mut draft = draft(&collection);
        let read = documents
            .into_iter()
            .map(|(path, document)| (Entry::of_digest(path, 0, ""), Reading::Document(document)));
        draft.write(&collection, read.collect()).unwrap();
        draft.commit(&collection).unwrap();
        draft.writer.finish().unwrap();
        collection
    }
}
