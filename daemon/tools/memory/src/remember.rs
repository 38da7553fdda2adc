//! Keeps something.

use crate::{Mind, shown};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_memory::{Kind, State, Wanted};
use std::sync::Arc;

pub(crate) struct MemoryRemember(pub(crate) Arc<Mind>);

/// Whom something is about.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// This workspace: seen only by sessions that work in it.
    #[default]
    Project,
    /// The person: seen in all of his sessions.
    User,
}

const fn default_kind() -> Kind {
    Kind::Fact
}

const fn default_confidence() -> f32 {
    0.8
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What is to be remembered, in a sentence or a few.
    #[schemars(length(min = 1, max = 8192), extend("writeOnly" = true))]
    text: String,
    /// What it is; a fact by default.
    #[serde(default = "default_kind")]
    kind: Kind,
    /// Whom it is about; this project by default.
    #[serde(default)]
    scope: Scope,
    /// Words to find it by.
    #[serde(default)]
    #[schemars(length(max = 20), extend("writeOnly" = true))]
    tags: Vec<String>,
    /// Where it comes from: a person, a file, a URL.
    #[serde(default)]
    #[schemars(length(max = 200), extend("writeOnly" = true))]
    source: Option<String>,
    /// How sure that is, from 0 to 1.
    #[serde(default = "default_confidence")]
    #[schemars(range(min = 0, max = 1))]
    confidence: f32,
    /// Of a conversation: ids of its turns that this sums up. A summary is kept until it is forgotten.
    #[serde(default)]
    #[schemars(length(max = 100))]
    summarizes: Vec<String>,
    /// True for what you concluded yourself, such as a habit: it counts once a human accepts it.
    #[serde(default)]
    proposed: bool,
    /// Forget it after so many days; by default conversations after 90, and all else never.
    #[serde(default)]
    #[schemars(range(min = 1, max = 36500))]
    days: Option<u32>,
}

/// Without any text: what a call that changes something answers is kept in the call journal, which is not encrypted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Names it for other tools of this family.
    id: String,
    /// Whether it counts already.
    state: State,
    /// Whether the same was known already; then it was told again.
    was_known: bool,
    /// Ids of what is about the same and may say otherwise: read them with memory_list, and update or forget what is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    close: Vec<String>,
    /// Of a conversation: turns that no summary sums up yet, which will be forgotten in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsummarized: Option<usize>,
}

impl Tool for MemoryRemember {
    const NAME: &'static str = "memory_remember";
    const SUMMARY: &'static str = "Remember a fact, preference or decision beyond this session, for this project or this user. Kept encrypted.";
    const KEYWORDS: &'static str = "remember store save note keep in mind memorize learn fact preference decision | retenir mémoriser se souvenir noter garder en mémoire préférence décision fait";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let is_conversation = input.kind == Kind::Conversation;
        let wanted = Wanted {
            text: input.text,
            kind: input.kind,
            is_personal: input.scope == Scope::User,
            tags: input.tags,
            source: input.source,
            confidence: input.confidence,
            state: if input.proposed { State::Proposed } else { State::Accepted },
            summarizes: input.summarizes.iter().map(|id| shown::id(id)).collect::<Result<_>>()?,
            lives_for: input.days.map(|days| SignedDuration::from_hours(i64::from(days) * 24)),
        };
        let remembered = self.0.open()?.remember(ctx, wanted).await?;
        Ok(Output {
            id: remembered.entry.id.to_string(),
            state: remembered.entry.state,
            was_known: remembered.was_known,
            unsummarized: is_conversation.then_some(remembered.unsummarized),
            close: remembered.close.into_iter().map(|entry| entry.id.to_string()).collect(),
        })
    }
}
