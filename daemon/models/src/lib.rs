//! Embedding models and re-rankers: where they come from, how they are installed, and the worker that alone runs them.
//!
//! Nothing here loads a model into the daemon: that is for `skynet-models`, a program of its own in a slot that reaches
//! nothing. What runs elsewhere, at a provider of models, is behind the same traits.

mod convert;
mod install;
mod library;
mod local;
pub mod manifest;
mod models;
mod pool;
mod process;
mod protocol;
pub mod remote;
mod settings;
pub mod store;
#[cfg(feature = "worker")]
pub mod worker;

pub use install::{Progress, Source};
pub use models::{Models, Speed};
pub use settings::Settings;
pub use store::{RUNTIME, Store};

use async_trait::async_trait;

/// What a text is to a model that tells a question from what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Somebody looks for it, and waits: it goes first.
    Query,
    /// Something that is found.
    Passage,
}

/// Which weights make the vectors: those of two models, or of two versions of one, are not comparable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// Its name in the manifest, or at the provider.
    pub id: String,
    /// Of the weights, in hexadecimal; of what names them where they are a provider's.
    pub sha256: String,
    /// Of one vector.
    pub dimensions: usize,
}

/// Makes vectors of texts, so that what means the same lies close.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// What makes them.
    fn model(&self) -> &Model;

    /// One vector of length 1 per text, in their order. A text longer than the model's limit counts up to there.
    ///
    /// # Errors
    /// `Unavailable` when the model cannot be run, `QuotaExceeded` when too much waits already, `Internal` for vectors
    /// that are none.
    async fn embed(&self, texts: &[String], used_as: Use) -> skynet_core::Result<Vec<Vec<f32>>>;
}

/// Reads a question together with what may answer it, which tells more than two vectors do.
#[async_trait]
pub trait Reranker: Send + Sync {
    /// One score per passage, in their order; higher is better, and only the order means something.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    async fn score(&self, query: &str, passages: &[String]) -> skynet_core::Result<Vec<f32>>;
}

/// Which model reads a text best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Code counts as English.
    English,
    /// Any other, or none that is known.
    Other,
}
