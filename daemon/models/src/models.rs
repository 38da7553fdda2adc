//! All models of a daemon.

use crate::{
    Embedder, Language, Model, Reranker, Settings, Use,
    local::Local,
    manifest::{Entry, Manifest, Task},
    pool::Pool,
    process::Files,
    protocol::Load,
    remote::{Endpoint, Keys, Provider, Shared, Usage},
    store::{MODEL, RUNTIME, Record, Store, TOKENIZER},
};
use skynet_core::{Error, Result};
use skynet_sandbox::Slots;
use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// What installs everything.
const INSTALL: &str = "skynetctl models install";

/// The models that are installed below one directory.
pub struct Models {
    store: Store,
    manifest: Manifest,
    pool: Arc<Pool>,
    embedder: Option<Arc<Provider>>,
    reranker: Option<Arc<Provider>>,
    keys: Arc<OnceLock<Box<Keys>>>,
    /// One at a time.
    installing: tokio::sync::Mutex<()>,
}

/// How fast a model reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Texts that were read.
    pub texts: usize,
    /// Tokens in them.
    pub tokens: u64,
    /// All of them together.
    pub took: Duration,
    /// The first one of them, with what it takes to start and load.
    pub first: Duration,
}

impl Models {
    /// Those below `directory`, run in `slots`. Nothing is started before it is needed.
    ///
    /// # Errors
    /// When the directory cannot be made, or the settings make no sense.
    pub fn open(slots: Arc<Slots>, directory: &Path, settings: Settings) -> Result<Arc<Self>> {
        settings.check()?;
        let store = Store::open(directory)?.with_hub(settings.hub.clone());
        let keys: Arc<OnceLock<Box<Keys>>> = Arc::default();
        let provider = |endpoint: &Option<Endpoint>| {
            let keys = keys.clone();
            let read = move |name: &str| {
                let keys = keys.get().ok_or_else(|| Error::internal("keys of providers are not kept here"));
                keys.and_then(|keys| keys(name))
            };
            endpoint.clone().map(|endpoint| Provider::new(endpoint, Arc::new(read))).transpose()
        };
        let (embedder, reranker) =
            (provider(&settings.remote.embedder)?, provider(&settings.remote.reranker)?);
        let pool = Pool::new(slots, store.clone(), settings);
        let (manifest, installing) = (Manifest::own()?, tokio::sync::Mutex::default());
        Ok(Arc::new(Self { store, manifest, pool, embedder, reranker, keys, installing }))
    }

    /// Says how the keys of providers are read: by the name of a secret. The first who says it counts.
    pub fn read_keys_with(&self, keys: impl Fn(&str) -> Result<String> + Send + Sync + 'static) {
        self.keys.get_or_init(|| Box::new(keys));
    }

    /// What providers were asked.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.embedder.iter().chain(&self.reranker).map(|provider| provider.usage()).collect()
    }

    /// How many questions and how many batches of passages wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.pool.waiting()
    }

    /// The model for texts of that language; `None` if it is not installed, or what runs it is not.
    #[must_use]
    pub fn embedder(&self, language: Language) -> Option<Arc<dyn Embedder>> {
        if let Some(provider) = &self.embedder {
            return Some(Arc::new(Shared(provider.clone())));
        }
        let local = match language {
            // One for all languages knows English too.
            Language::English => self.local(&[Task::EmbedEnglish, Task::EmbedOther]),
            Language::Other => self.local(&[Task::EmbedOther]),
        };
        Some(Arc::new(local?))
    }

    /// The re-ranker, if one is installed.
    #[must_use]
    pub fn reranker(&self) -> Option<Arc<dyn Reranker>> {
        if let Some(provider) = &self.reranker {
            return Some(Arc::new(Shared(provider.clone())));
        }
        Some(Arc::new(self.local(&[Task::RerankOther, Task::RerankEnglish])?))
    }

    /// What is missing and the command that installs it, in one sentence.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        if self.embedder.is_some() {
            return None;
        }
        let is_there = |task| self.store.first(self.of(task)).is_some();
        let missing = [
            (self.pool.library().is_none(), "ONNX Runtime"),
            (!is_there(Task::EmbedEnglish), "the embedding model for English and code"),
            (!is_there(Task::EmbedOther), "the embedding model for other languages"),
        ];
        let missing: Vec<&str> =
            missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, what)| what).collect();
        match missing.as_slice() {
            [] => None,
            [one] => Some(format!("{one} is not installed: run `{INSTALL}`")),
            _ => Some(format!("{} are not installed: run `{INSTALL}`", missing.join(" and "))),
        }
    }

    /// What is installed where.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// What can be installed.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The library that runs models, if there is one: installed here or the system's.
    #[must_use]
    pub fn runtime(&self) -> Option<String> {
        self.pool.library().map(|library| library.path.display().to_string())
    }

    /// The process ids of the workers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.pool.pids()
    }

    /// What is installed if nobody says what: ONNX Runtime unless the host has it, and the embedding models.
    #[must_use]
    pub fn usual(&self) -> Vec<String> {
        let runtime = self.pool.library().is_none().then(|| RUNTIME.to_owned());
        let models = self.manifest.models.iter().filter(|model| model.task.is_embedding());
        let models = models.filter(|model| !matches!(self.store.find(&model.id), Ok(Some(_))));
        runtime.into_iter().chain(models.map(|model| model.id.clone())).collect()
    }

    /// Does something to what is installed while nobody else does.
    ///
    /// # Errors
    /// What it says.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _alone = self.installing.lock().await;
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || change(&store))
            .await
            .map_err(|err| Error::internal("a model was not installed").with_source(err))?
    }

    /// Has an installed model read these texts.
    ///
    /// # Errors
    /// `NotFound` when it is not installed, and those of [`Embedder::embed`].
    pub async fn measure(
        &self,
        id: &str,
        texts: &[String],
        question: Option<&str>,
    ) -> Result<(Vec<Vec<f32>>, Speed)> {
        let model = self.manifest.find(id)?;
        let record = self.store.find(id)?;
        let record = record
            .ok_or_else(|| Error::not_found(format!("`{id}` is not installed; run `{INSTALL} {id}`")))?;
        let local = self.local_of(model, &record);
        let begun = Instant::now();
        let one = texts.get(..1).unwrap_or_default();
        local.read(one, question, Use::Query).await?;
        let first = begun.elapsed();
        let begun = Instant::now();
        let (results, tokens) = local.read(texts, question, Use::Passage).await?;
        Ok((results, Speed { texts: texts.len(), tokens, took: begun.elapsed(), first }))
    }

    fn of(&self, task: Task) -> impl Iterator<Item = &Entry> {
        self.manifest.models.iter().filter(move |model| model.task == task)
    }

    /// The first of these that is installed.
    fn local(&self, tasks: &[Task]) -> Option<Local> {
        self.pool.library()?;
        let (model, record) = self.store.first(tasks.iter().flat_map(|task| self.of(*task)))?;
        Some(self.local_of(model, &record))
    }

    fn local_of(&self, model: &Entry, record: &Record) -> Local {
        let hash = |file| record.sha256(file).unwrap_or_default().to_owned();
        let number = |number: usize| u32::try_from(number).unwrap_or_default();
        let load = Load {
            id: model.id.clone(),
            model_sha256: hash(MODEL),
            tokenizer_sha256: hash(TOKENIZER),
            max_tokens: number(model.max_tokens),
            dimensions: number(model.dimensions),
        };
        Local {
            model: Model { id: model.id.clone(), sha256: hash(MODEL), dimensions: model.dimensions },
            files: Arc::new(Files {
                load,
                model: self.store.path(&model.id, MODEL),
                tokenizer: self.store.path(&model.id, TOKENIZER),
            }),
            pool: self.pool.clone(),
            query: model.query.clone(),
            passage: model.passage.clone(),
        }
    }
}
