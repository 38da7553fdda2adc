//! One entry, and what may be asked about it.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Bytes of a text.
const LONGEST_TEXT: usize = 8192;

/// Tags of an entry, and bytes of a tag or source.
pub(crate) const MOST_TAGS: usize = 20;
const LONGEST_WORD: usize = 200;

/// Of one that came from outside.
const LONGEST_SOURCE: usize = 1000;
const MOST_SUMMARIZED: usize = 5000;

/// Earlier texts that are kept.
const MOST_PAST: usize = 20;

/// Turns of a conversation are kept for that time, unless something else is wanted.
const CONVERSATIONS_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something that is so.
    Fact,
    /// How somebody likes things done.
    Preference,
    /// What was decided, and why.
    Decision,
    /// A turn of a conversation, kept for 90 days unless said otherwise, or a summary of some.
    Conversation,
}

/// Whether an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Accepted,
    /// An agent concluded it from what it saw; it counts once a human accepts it.
    Proposed,
}

/// What an entry said before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    /// The text of then.
    pub text: String,
    /// Until when it stood, RFC 3339, UTC.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// Something remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: Uuid,
    /// What it says.
    pub text: String,
    /// What it is.
    pub kind: Kind,
    /// The workspace it is about; absent if it is about the person.
    pub project: Option<PathBuf>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Where it comes from.
    pub source: Option<String>,
    /// How sure that is, from 0 to 1.
    pub confidence: f32,
    /// Whether it counts.
    pub state: State,
    /// When it was first told.
    pub created_at: Timestamp,
    /// When it was last told or changed.
    pub updated_at: Timestamp,
    /// From then on it is forgotten.
    pub expires_at: Option<Timestamp>,
    /// What it said before, newest first.
    pub past: Vec<Past>,
    /// The turns of a conversation that it sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summarizes: Vec<Uuid>,
    /// The weights that made its vector, and the vector.
    pub vector: Option<(String, Vec<f32>)>,
}

/// What is to be remembered.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// [`Entry::text`].
    pub text: String,
    /// [`Entry::kind`].
    pub kind: Kind,
    /// Whether it is about the person and not about the project.
    pub is_personal: bool,
    /// [`Entry::tags`].
    pub tags: Vec<String>,
    /// [`Entry::source`].
    pub source: Option<String>,
    /// [`Entry::confidence`].
    pub confidence: f32,
    /// [`Entry::state`].
    pub state: State,
    /// For how long it is kept.
    pub lives_for: Option<SignedDuration>,
    /// [`Entry::summarizes`].
    pub summarizes: Vec<Uuid>,
}

/// What is to be changed; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// [`Entry::text`].
    pub text: Option<String>,
    /// [`Entry::tags`].
    pub tags: Option<Vec<String>>,
    /// [`Entry::confidence`].
    pub confidence: Option<f32>,
    /// [`Entry::state`].
    pub state: Option<State>,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// In this state.
    pub state: Option<State>,
}

impl Filter {
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| kind == entry.kind)
            && self.state.is_none_or(|state| state == entry.state)
            && self.tags.iter().all(|tag| entry.tags.contains(tag))
    }
}

impl Entry {
    /// # Errors
    /// `InvalidInput` for what cannot be kept.
    pub(crate) fn new(wanted: Wanted, workspace: Option<&Path>, now: Timestamp) -> Result<Self> {
        let project = match (wanted.is_personal, workspace) {
            (true, _) => None,
            (false, Some(workspace)) => Some(workspace.to_owned()),
            (false, None) => {
                return Err(Error::invalid_input(
                    "this session has no workspace, so it can remember only what is about the person: `scope` `user`",
                ));
            }
        };
        if !wanted.summarizes.is_empty() && wanted.kind != Kind::Conversation {
            return Err(Error::invalid_input(
                "only a `conversation` is summed up: give that `kind` with `summarizes`",
            ));
        }
        // A summary is there to outlive what it sums up.
        let is_turn = wanted.kind == Kind::Conversation && wanted.summarizes.is_empty();
        let conversation = is_turn.then_some(CONVERSATIONS_FOR);
        let expires_at = wanted.lives_for.or(conversation).map(|time| now.saturating_add(time)).transpose();
        let entry = Self {
            id: Uuid::now_v7(),
            text: text(&wanted.text)?,
            kind: wanted.kind,
            project,
            tags: tags(wanted.tags)?,
            source: wanted.source,
            confidence: confidence(wanted.confidence)?,
            state: wanted.state,
            created_at: now,
            updated_at: now,
            expires_at: expires_at.map_err(|_| Error::invalid_input("this is too long a time"))?,
            past: Vec::new(),
            summarizes: wanted.summarizes,
            vector: None,
        };
        if entry.source.as_ref().is_some_and(|source| source.len() > LONGEST_WORD) {
            return Err(Error::invalid_input(format!("a source has at most {LONGEST_WORD} bytes")));
        }
        Ok(entry)
    }

    /// # Errors
    /// `InvalidInput` for what cannot be kept.
    pub(crate) fn change(&mut self, changes: Changes, now: Timestamp) -> Result<()> {
        let new_text = changes.text.as_deref().map(text).transpose()?;
        let new_tags = changes.tags.map(tags).transpose()?;
        let new_confidence = changes.confidence.map(confidence).transpose()?;
        if let Some(new) = new_text.filter(|new| *new != self.text) {
            let old = std::mem::replace(&mut self.text, new);
            self.past.insert(0, Past { text: old, until: now });
            self.past.truncate(MOST_PAST);
            self.vector = None;
        }
        self.tags = new_tags.unwrap_or_else(|| std::mem::take(&mut self.tags));
        self.confidence = new_confidence.unwrap_or(self.confidence);
        self.state = changes.state.unwrap_or(self.state);
        self.updated_at = now;
        Ok(())
    }

    /// Whether a session that works there may know of it.
    pub(crate) fn is_seen_from(&self, workspace: Option<&Path>) -> bool {
        self.project.as_deref().is_none_or(|project| Some(project) == workspace)
    }

    /// What it says, in bytes, with what it said before: of that a user has so much.
    pub(crate) fn size_bytes(&self) -> u64 {
        let texts = self.past.iter().map(|past| past.text.len());
        let words = self.tags.iter().chain(&self.source).map(String::len);
        let summarized = self.summarizes.len() * size_of::<Uuid>();
        (self.text.len() + texts.sum::<usize>() + words.sum::<usize>() + summarized) as u64
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Checks what came from outside.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be kept.
    pub(crate) fn check(mut self) -> Result<Self> {
        self.text = text(&self.text)?;
        self.tags = tags(self.tags)?;
        self.confidence = confidence(self.confidence)?;
        if self.source.as_ref().is_some_and(|source| source.len() > LONGEST_SOURCE) {
            return Err(Error::invalid_input(format!("a source has at most {LONGEST_SOURCE} bytes")));
        }
        if self.summarizes.len() > MOST_SUMMARIZED {
            return Err(Error::invalid_input(format!(
                "at most {MOST_SUMMARIZED} turns are summed up at once"
            )));
        }
        self.past.truncate(MOST_PAST);
        self.vector = None;
        Ok(self)
    }
}

fn text(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_TEXT {
        return Err(Error::invalid_input(format!("what is remembered has 1 to {LONGEST_TEXT} bytes")));
    }
    Ok(text.to_owned())
}

fn tags(tags: Vec<String>) -> Result<Vec<String>> {
    let mut tags: Vec<String> =
        tags.into_iter().map(|tag| tag.trim().to_lowercase()).filter(|tag| !tag.is_empty()).collect();
    tags.sort();
    tags.dedup();
    if tags.len() > MOST_TAGS || tags.iter().any(|tag| tag.len() > LONGEST_WORD) {
        return Err(Error::invalid_input(format!(
            "there are at most {MOST_TAGS} tags, of at most {LONGEST_WORD} bytes"
        )));
    }
    Ok(tags)
}

fn confidence(confidence: f32) -> Result<f32> {
    if (0.0..=1.0).contains(&confidence) {
        Ok(confidence)
    } else {
        Err(Error::invalid_input("`confidence` is from 0 to 1"))
    }
}
