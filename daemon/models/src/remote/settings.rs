//! What an administrator says of a provider.

use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::path::PathBuf;

/// `[models.remote]` of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Remote {
    /// Makes vectors of texts in any language, in place of the models of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<Endpoint>,
    /// Scores, in place of those of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reranker: Option<Endpoint>,
}

/// A model of a provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// How it is asked.
    pub kind: Kind,
    /// Up to where the paths of the interface begin, like `https://api.openai.com/v1`.
    pub url: String,
    /// As the provider calls it.
    pub model: String,
    /// Of one vector; for what makes vectors.
    #[serde(default)]
    pub dimensions: usize,
    /// The name of the secret that has the key; none if it is empty.
    #[serde(default)]
    pub key: String,
    /// Stands before a text that somebody looks for, where the model wants that.
    #[serde(default)]
    pub query_prefix: String,
    /// Stands before a text that is found.
    #[serde(default)]
    pub passage_prefix: String,
    /// What a million of its tokens costs, in dollars: adds up to what it was asked for so far. What the provider counts is what it charges
    /// for: of some re-rankers searches, and not tokens.
    #[serde(default)]
    pub dollars_per_million: f64,
    /// Who vouches for the provider, if not whom the host trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// OpenAI, and all that offer its interface: Ollama, vLLM, text-embeddings-inference.
    Openai,
    /// Cohere, version 2 of its interface.
    Cohere,
    /// Cloudflare Workers AI.
    Cloudflare,
}

impl Kind {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Cohere => "cohere",
            Self::Cloudflare => "cloudflare",
        }
    }

    /// Of one request: text-embeddings-inference takes 32 unless it is told otherwise (`--max-client-batch-size`), Cohere 96,
    /// Cloudflare 100.
    pub(super) const fn most_texts(self) -> usize {
        match self {
            Self::Openai => 32,
            Self::Cohere => 96,
            Self::Cloudflare => 100,
        }
    }
}

impl Remote {
    /// # Errors
    /// `InvalidInput` when they make no sense.
    pub fn check(&self) -> Result<()> {
        for (role, endpoint) in [("embedder", &self.embedder), ("reranker", &self.reranker)] {
            let Some(endpoint) = endpoint else { continue };
            let wrong = |what: &str| Err(Error::invalid_input(format!("`models.remote.{role}.{what}")));
            if endpoint.model.is_empty() {
                return wrong("model` is empty");
            }
            if role == "embedder" && !(1..=16_384).contains(&endpoint.dimensions) {
                return wrong("dimensions` says how long a vector of the model is, like 1536");
            }
            if !(0.0..=1e9).contains(&endpoint.dollars_per_million) {
                return wrong("dollars_per_million` is what a million tokens cost, like 0.02");
            }
            if !endpoint.is_private() && !endpoint.url.starts_with("https://") {
                return wrong(
                    "url` begins with `https://`: texts, and the key, are nobody else's; `http://` is for this host",
                );
            }
        }
        Ok(())
    }
}

impl Endpoint {
    /// Whether it is on this host.
    fn is_private(&self) -> bool {
        let rest = self.url.strip_prefix("http://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        ["127.0.0.1", "localhost", "[::1]"].contains(&host)
    }
}
