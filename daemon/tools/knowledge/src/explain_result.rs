//! Says why a passage has its place in an answer.

use crate::{Library, answer::Parts, search};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::sync::Arc;

/// Passages that are ranked; further ones have no place.
const MOST: usize = 200;

pub(crate) struct KnowledgeExplainResult(pub(crate) Arc<Library>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The passage, as `knowledge_search` names it.
    id: String,
    /// The query of that search.
    #[schemars(length(min = 1, max = 2000))]
    query: String,
    /// The collection that it is in.
    collection: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its place in the answer, from 1.
    place: usize,
    /// What orders it.
    score: f32,
    /// What was said of it.
    parts: Parts,
    /// What the query was taken for, which decides how much words and vectors count.
    kind: &'static str,
    /// What changed its score besides.
    rules: Vec<Rule>,
}

#[derive(Serialize, JsonSchema)]
struct Rule {
    /// `definition` adds; all others multiply.
    name: &'static str,
    /// By how much.
    by: f32,
}

impl Tool for KnowledgeExplainResult {
    const NAME: &'static str = "knowledge_explain_result";
    const SUMMARY: &'static str = "Say why a passage has its place among the results of a search: its word score, vector similarity, and ranking rules.";
    const KEYWORDS: &'static str = "why ranked score explain relevance result debug search ranking | pourquoi classement score expliquer pertinence résultat";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let asked = search::Input::plain(&input.query, &input.collection);
        let answer = self.0.open()?.search(ctx, asked.question(MOST)?).await?;
        let place = answer.found.iter().position(|(_, ranked)| ranked.passage.id() == input.id);
        let found = place.and_then(|place| Some((place, answer.found.get(place)?)));
        let Some((place, (_, ranked))) = found else {
            return Err(Error::not_found(format!(
                "`{}` is not among the first {MOST} passages for this query; a passage that says the same may be",
                input.id
            )));
        };
        let rules = ranked.rules.iter().map(|(name, by)| Rule { name, by: *by }).collect();
        Ok(Output {
            place: place + 1,
            score: ranked.score,
            parts: ranked.legs.into(),
            kind: answer.kind.as_str(),
            rules,
        })
    }
}
