//! Models that run elsewhere, behind the same traits: texts leave the host, so an administrator names the provider.

mod provider;
mod settings;

pub use settings::{Endpoint, Kind, Remote};

use crate::{
    Embedder, Model, Reranker, Use,
    install::{hex, trusted},
};
use async_trait::async_trait;
use provider::{Answer, Ask};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, ErrorKind, Result};
use skynet_web::tls;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;
use ureq::{Agent, http::header};

/// An answer takes a second or two; a model that is being loaded at the provider's, up to a minute.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Requests at the same time, over all callers.
const MOST_REQUESTS: usize = 4;

/// Of an answer: 100 vectors of 4,096 numbers are 8 MB of text.
const MOST_ANSWER_BYTES: u64 = 64 << 20;

/// How often a request is sent that may succeed later, and the first wait between two; the next ones are twice as long.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Nobody is kept waiting longer, whatever the provider says.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Reads the value of a secret by its name.
pub(crate) type Keys = dyn Fn(&str) -> Result<String> + Send + Sync;

/// What a provider was asked, since the daemon started.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// As it is called there.
    pub model: String,
    /// Where that is.
    pub url: String,
    /// Those that were answered.
    pub requests: u64,
    /// As the provider counts them; 0 where it does not say.
    pub tokens: u64,
    /// What they cost, in dollars, as far as the configuration says.
    pub dollars: f64,
}

/// A model at a provider.
pub(crate) struct Provider {
    endpoint: Endpoint,
    model: Model,
    agent: Agent,
    keys: Arc<Keys>,
    places: Arc<Semaphore>,
    requests: AtomicU64,
    tokens: AtomicU64,
}

/// Why a request was in vain.
enum Refusal {
    /// It may succeed later, after that time if it was told.
    Later(Error, Option<Duration>),
    Never(Error),
}

impl Provider {
    /// # Errors
    /// `InvalidInput` for certificates that cannot be used.
    pub(crate) fn new(endpoint: Endpoint, keys: Arc<Keys>) -> Result<Arc<Self>> {
        let is_encrypted = endpoint.url.starts_with("https:");
        let trusted = if is_encrypted { trusted(endpoint.ca_file.as_deref())? } else { None };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // A key goes nowhere else than to the address that was named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls(trusted.as_ref()));
        let named = format!("{}\n{}\n{}", endpoint.url, endpoint.model, endpoint.dimensions);
        let model = Model {
            id: endpoint.model.clone(),
            sha256: hex(&Sha256::digest(named.as_bytes())),
            dimensions: endpoint.dimensions,
        };
        Ok(Arc::new(Self {
            endpoint,
            model,
            agent: config.build().new_agent(),
            keys,
            places: Arc::new(Semaphore::new(MOST_REQUESTS)),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        }))
    }

    pub(crate) fn usage(&self) -> Usage {
        let tokens = self.tokens.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
        let dollars = tokens as f64 * self.endpoint.dollars_per_million / 1e6;
        Usage {
            dollars,
            model: self.endpoint.model.clone(),
            url: self.endpoint.url.clone(),
            requests: self.requests.load(Ordering::Relaxed),
            tokens,
        }
    }

    /// Asks until there is an answer, or no hope for one.
    async fn ask(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Answer> {
        let url = ask.url(&self.endpoint);
        let body = ask.body(&self.endpoint).to_string();
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        let answer = loop {
            let _place = self.places.acquire().await;
            let (provider, url, body) = (self.clone(), url.clone(), body.clone());
            let asked = tokio::task::spawn_blocking(move || provider.send(&url, &body)).await;
            match asked.map_err(|err| Error::internal("a provider was not asked").with_source(err))? {
                Ok(answer) => break answer,
                Err(Refusal::Never(err)) => return Err(err),
                Err(Refusal::Later(err, _)) if attempt == ATTEMPTS => return Err(err),
                Err(Refusal::Later(err, told)) => {
                    let pause = told.unwrap_or_else(|| with_chance(wait)).min(LONGEST_WAIT);
                    tracing::debug!(error = %err, ?pause, "a provider of models is asked again");
                    drop(_place);
                    tokio::time::sleep(pause).await;
                    wait *= 2;
                    attempt += 1;
                }
            }
        };
        let answer = ask.read(&self.endpoint, &answer).ok_or_else(|| {
            Error::unavailable(format!(
                "what `{}` answers is nothing that a provider of kind `{}` answers; check `kind` and `url`",
                self.endpoint.url,
                self.endpoint.kind.name()
            ))
        })?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(answer.tokens, Ordering::Relaxed);
        Ok(answer)
    }

    /// Sends one request, and waits.
    fn send(&self, url: &str, body: &str) -> std::result::Result<Value, Refusal> {
        let mut request = self.agent.post(url).content_type("application/json");
        if !self.endpoint.key.is_empty() {
            let key = (self.keys)(&self.endpoint.key).map_err(Refusal::Never)?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let address = &self.endpoint.url;
        let mut response = request.send(body).map_err(|err| {
            let silent = Error::unavailable(format!("the provider of models at `{address}` does not answer"));
            Refusal::Later(silent.with_source(err), None)
        })?;
        let status = response.status().as_u16();
        let told = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let told = told.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let read = response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_vec();
        let body = read.map_err(|err| {
            let broken = Error::unavailable(format!("the provider of models at `{address}` broke off"));
            Refusal::Later(broken.with_source(err), None)
        })?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status == 200 {
            return Ok(value);
        }
        let reason = provider::reason(&value);
        let said = |kind, what: &str| {
            Error::new(kind, format!("the provider of models at `{address}` {what}: {reason}"))
        };
        Err(match status {
            429 => Refusal::Later(said(ErrorKind::QuotaExceeded, "has had enough requests for now"), told),
            408 | 500..=599 => {
                Refusal::Later(said(ErrorKind::Unavailable, &format!("fails with {status}")), told)
            }
            401 | 403 => Refusal::Never(said(
                ErrorKind::Denied,
                "refuses the key; set the secret that `key` names by `skynetctl secret set`",
            )),
            _ => Refusal::Never(said(ErrorKind::Unavailable, &format!("refuses with {status}"))),
        })
    }

    /// Vectors that are what they should be, with length 1.
    fn checked(&self, vectors: Vec<Vec<f32>>, count: usize) -> Result<Vec<Vec<f32>>> {
        let wrong = |what: String| {
            Error::unavailable(format!("`{}` at `{}` {what}", self.endpoint.model, self.endpoint.url))
        };
        if vectors.len() != count {
            return Err(wrong(format!("makes {} vectors of {count} texts", vectors.len())));
        }
        let unit = |mut vector: Vec<f32>| {
            if vector.len() != self.model.dimensions {
                return Err(wrong(format!(
                    "makes vectors of {} dimensions, and `dimensions` says {}",
                    vector.len(),
                    self.model.dimensions
                )));
            }
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|value| *value /= length);
            if vector.iter().all(|value| value.is_finite()) {
                Ok(vector)
            } else {
                Err(wrong("makes vectors that are none".into()))
            }
        };
        vectors.into_iter().map(unit).collect()
    }
}

/// Up to half as long again, so that many who wait do not come back together.
fn with_chance(wait: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    wait + wait / 2 * (now.subsec_nanos() % 1000) / 1000
}

/// Shared, because requests outlive whoever gave up waiting for them.
pub(crate) struct Shared(pub(crate) Arc<Provider>);

#[async_trait]
impl Embedder for Shared {
    fn model(&self) -> &Model {
        &self.0.model
    }

    async fn embed(&self, texts: &[String], used_as: Use) -> Result<Vec<Vec<f32>>> {
        let endpoint = &self.0.endpoint;
        let prefix = match used_as {
            Use::Query => &endpoint.query_prefix,
            Use::Passage => &endpoint.passage_prefix,
        };
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(endpoint.kind.most_texts()) {
            let batch: Vec<String> = batch.iter().map(|text| format!("{prefix}{text}")).collect();
            let answer = self.0.ask(&Ask::Embed { texts: &batch, used_as }).await?;
            vectors.extend(self.0.checked(answer.values, batch.len())?);
        }
        Ok(vectors)
    }
}

#[async_trait]
impl Reranker for Shared {
    async fn score(&self, query: &str, passages: &[String]) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(passages.len());
        for batch in passages.chunks(self.0.endpoint.kind.most_texts()) {
            let answer = self.0.ask(&Ask::Score { query, passages: batch }).await?;
            let found = answer.values.into_iter().flatten().collect::<Vec<_>>();
            if found.len() != batch.len() || found.iter().any(|score| !score.is_finite()) {
                return Err(Error::unavailable(format!(
                    "`{}` at `{}` makes {} scores of {} texts",
                    self.0.endpoint.model,
                    self.0.endpoint.url,
                    found.len(),
                    batch.len()
                )));
            }
            scores.extend(found);
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests;
