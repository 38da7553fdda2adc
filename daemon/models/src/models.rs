//! All models of a daemon.

use crate::{Embedder, Language, Reranker, Settings};
use skynet_core::{Error, Result};
use skynet_sandbox::Slots;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The models that are installed below one directory.
pub struct Models {
    directory: PathBuf,
    _slots: Arc<Slots>,
    _settings: Settings,
}

impl Models {
    /// Those below `directory`, run in `slots`. Nothing is started before it is needed.
    ///
    /// # Errors
    /// When the directory cannot be made, or the settings make no sense.
    pub fn open(slots: Arc<Slots>, directory: &Path, settings: Settings) -> Result<Arc<Self>> {
        fs::create_dir_all(directory)
            .map_err(|err| Error::unavailable("the directory of models cannot be made").with_source(err))?;
        Ok(Arc::new(Self { directory: directory.to_owned(), _slots: slots, _settings: settings }))
    }

    /// The model for texts of that language; `None` if it is not installed, or what runs it is not.
    #[must_use]
    pub fn embedder(&self, _language: Language) -> Option<Arc<dyn Embedder>> {
        None
    }

    /// The re-ranker, if one is installed.
    #[must_use]
    pub fn reranker(&self) -> Option<Arc<dyn Reranker>> {
        None
    }

    /// What is missing and the command that installs it, in one sentence.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        Some(format!(
            "no embedding model is installed in `{}`; run `skynetctl models install`",
            self.directory.display()
        ))
    }
}
