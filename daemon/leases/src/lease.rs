//! One lease, who holds it, and what an administrator decides about all of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skynet_core::Caller;
use std::path::Path;
use uuid::Uuid;

/// What an administrator decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What happens to commands of other sessions while something in their workspace is leased: `warn` or `refuse`.
    pub commands: Commands,
}

/// What happens to a command, which may write anywhere in its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Commands {
    /// It runs, and its answer says what is leased.
    #[default]
    Warn,
    /// It does not run; `exec_preview` does.
    Refuse,
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A session, as long as it lasts.
    Session(Uuid),
    /// A token, whose calls by HTTP each stand for themselves.
    Token {
        /// Of the token.
        id: String,
        /// What its maker called it.
        name: String,
    },
}

impl Holder {
    /// Whether a call of that session and caller is one of the holder's own.
    #[must_use]
    pub fn is(&self, session: Uuid, caller: &Caller) -> bool {
        match self {
            Self::Session(own) => *own == session,
            Self::Token { id, .. } => caller.token.as_ref().is_some_and(|token| token.id == *id),
        }
    }
}

/// A path that is leased, as stored and as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names it.
    pub id: String,
    /// Whose session or token it is that holds it.
    pub uid: u32,
    /// The name of that uid.
    pub user: String,
    /// What the client calls itself, with its version.
    pub client: String,
    /// Who may renew it and give it back.
    pub holder: Holder,
    /// A file or a directory with all that it holds: absolute, links resolved. It need not exist.
    pub path: String,
    /// What for, in the words of the holder.
    pub purpose: String,
    /// Since when.
    pub acquired_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl Lease {
    /// Who holds it, in words.
    #[must_use]
    pub fn owner(&self) -> String {
        let holder = match &self.holder {
            Holder::Session(id) => {
                // The beginning of an id is the time, which sessions that begin together share.
                let id = id.as_simple().to_string();
                format!("session {}", id.get(24..).unwrap_or_default())
            }
            Holder::Token { name, .. } => format!("token {}", name.escape_debug()),
        };
        // A client calls itself what it likes.
        let client: String = self.client.escape_debug().take(80).collect();
        format!("`{client}` of `{}`, {holder}", self.user)
    }

    /// Its path as whoever works in `root` calls it.
    #[must_use]
    pub fn path_in(&self, root: &Path) -> String {
        match Path::new(&self.path).strip_prefix(root) {
            Ok(own) if own.as_os_str().is_empty() => ".".into(),
            Ok(own) => own.display().to_string(),
            Err(_) => self.path.clone(),
        }
    }

    /// Whether `place` is leased by it.
    #[must_use]
    pub fn covers(&self, place: &Path) -> bool {
        place.starts_with(&self.path)
    }

    /// Whether `place`, or something that it holds, is leased by it.
    #[must_use]
    pub fn touches(&self, place: &Path) -> bool {
        self.covers(place) || Path::new(&self.path).starts_with(place)
    }
}
