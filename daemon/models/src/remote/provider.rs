//! What each kind of provider is asked, and how it answers. Sources: the references of OpenAI (`POST /v1/embeddings`),
//! text-embeddings-inference (`POST /rerank`), Cohere (`POST /v2/embed`, `POST /v2/rerank`) and Cloudflare
//! (`POST /accounts/{id}/ai/run/{model}`).

use super::settings::{Endpoint, Kind};
use crate::Use;
use serde_json::{Value, json};

/// What is asked.
pub(super) enum Ask<'a> {
    Embed { texts: &'a [String], used_as: Use },
    Score { query: &'a str, passages: &'a [String] },
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// A vector per text, or a score.
    pub(super) values: Vec<Vec<f32>>,
    pub(super) tokens: u64,
}

impl Ask<'_> {
    pub(super) fn url(&self, endpoint: &Endpoint) -> String {
        let base = endpoint.url.trim_end_matches('/');
        match (endpoint.kind, self) {
            (Kind::Openai, Self::Embed { .. }) => format!("{base}/embeddings"),
            // Beside the interface of OpenAI, which has none.
            (Kind::Openai, Self::Score { .. }) => format!("{}/rerank", base.trim_end_matches("/v1")),
            (Kind::Cohere, Self::Embed { .. }) => format!("{base}/embed"),
            (Kind::Cohere, Self::Score { .. }) => format!("{base}/rerank"),
            (Kind::Cloudflare, _) => format!("{base}/{}", endpoint.model),
        }
    }

    pub(super) fn body(&self, endpoint: &Endpoint) -> Value {
        let model = &endpoint.model;
        match (endpoint.kind, self) {
            (Kind::Openai, Self::Embed { texts, .. }) => {
                json!({ "model": model, "input": texts, "encoding_format": "float" })
            }
            (Kind::Openai, Self::Score { query, passages }) => {
                json!({ "model": model, "query": query, "texts": passages, "truncate": true })
            }
            (Kind::Cohere, Self::Embed { texts, used_as }) => {
                let input_type = match used_as {
                    Use::Query => "search_query",
                    Use::Passage => "search_document",
                };
                json!({ "model": model, "texts": texts, "input_type": input_type, "embedding_types": ["float"] })
            }
            (Kind::Cohere, Self::Score { query, passages }) => {
                json!({ "model": model, "query": query, "documents": passages })
            }
            (Kind::Cloudflare, Self::Embed { texts, .. }) => json!({ "text": texts }),
            (Kind::Cloudflare, Self::Score { query, passages }) => {
                let contexts: Vec<_> = passages.iter().map(|text| json!({ "text": text })).collect();
                json!({ "query": query, "contexts": contexts, "top_k": passages.len() })
            }
        }
    }

    /// `None` for what is no answer of such a provider.
    pub(super) fn read(&self, endpoint: &Endpoint, answer: &Value) -> Option<Answer> {
        let tokens = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        Some(match (endpoint.kind, self) {
            (Kind::Openai, Self::Embed { texts, .. }) => Answer {
                values: by_index(answer.get("data")?, "index", texts.len(), |one| {
                    floats(one.get("embedding")?)
                })?,
                tokens: tokens("/usage/total_tokens"),
            },
            (Kind::Openai, Self::Score { passages, .. }) => Answer {
                values: by_index(answer, "index", passages.len(), |one| score(one, "score"))?,
                tokens: 0,
            },
            (Kind::Cohere, Self::Embed { .. }) => Answer {
                values: answer
                    .pointer("/embeddings/float")?
                    .as_array()?
                    .iter()
                    .map(floats)
                    .collect::<Option<_>>()?,
                tokens: tokens("/meta/billed_units/input_tokens"),
            },
            (Kind::Cohere, Self::Score { passages, .. }) => Answer {
                values: by_index(answer.get("results")?, "index", passages.len(), |one| {
                    score(one, "relevance_score")
                })?,
                tokens: tokens("/meta/billed_units/search_units"),
            },
            (Kind::Cloudflare, Self::Embed { .. }) => Answer {
                values: answer
                    .pointer("/result/data")?
                    .as_array()?
                    .iter()
                    .map(floats)
                    .collect::<Option<_>>()?,
                tokens: tokens("/result/usage/total_tokens"),
            },
            (Kind::Cloudflare, Self::Score { passages, .. }) => Answer {
                values: by_index(answer.pointer("/result/response")?, "id", passages.len(), |one| {
                    score(one, "score")
                })?,
                tokens: tokens("/result/usage/total_tokens"),
            },
        })
    }
}

/// In the order of the texts, whatever the order of the answer; `None` unless each is there once.
fn by_index(
    list: &Value,
    index: &str,
    count: usize,
    read: impl Fn(&Value) -> Option<Vec<f32>>,
) -> Option<Vec<Vec<f32>>> {
    let mut found: Vec<Option<Vec<f32>>> = vec![None; count];
    for one in list.as_array()? {
        let place = found.get_mut(usize::try_from(one.get(index)?.as_u64()?).ok()?)?;
        if place.replace(read(one)?).is_some() {
            return None;
        }
    }
    found.into_iter().collect()
}

/// What is no number, `null` among them, is not one here either, and refused where vectors are checked.
#[expect(clippy::cast_possible_truncation, reason = "models compute in 32 bits and less")]
fn floats(list: &Value) -> Option<Vec<f32>> {
    Some(list.as_array()?.iter().map(|value| value.as_f64().map_or(f32::NAN, |value| value as f32)).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "as above")]
fn score(one: &Value, name: &str) -> Option<Vec<f32>> {
    Some(vec![one.get(name)?.as_f64()? as f32])
}

/// Why a provider refuses, in its words.
pub(super) fn reason(answer: &Value) -> String {
    let places = ["/error/message", "/message", "/error", "/errors/0/message", "/detail"];
    let found = places.iter().find_map(|place| answer.pointer(place)?.as_str());
    found.unwrap_or("it gives no reason").chars().take(300).collect()
}
