//! What a call did to the entries of its workspace, as it is recorded so that it can be shown and taken back.

use serde::{Deserialize, Serialize};

/// A call that may have changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its id.
    pub call: String,
    /// When it ended, RFC 3339, UTC.
    pub at: String,
    /// Which tool.
    pub tool: String,
    /// How it ended: `ok`, or a kind of error.
    pub outcome: String,
    /// Name and version of the client.
    #[serde(default)]
    pub client: String,
    /// In the order in which they were done. Empty where nothing was changed, or nobody can tell what.
    #[serde(default)]
    pub changes: Vec<Changed>,
}

/// One entry, before a call and after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// From the workspace.
    pub path: String,
    /// `None` if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Entry>,
    /// `None` if there is nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Entry>,
    /// Why what is recorded is not enough to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Of a directory that came or went with all it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
}

/// A directory that came or went as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// What [`crate::seal::seal`] says of it where it is now.
    pub seal: String,
    /// Where it is now, if it went, or was before, if it came.
    pub elsewhere: Elsewhere,
}

/// Another place of a directory than the path that it came to or went from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// This path of the workspace.
    Path(String),
    /// In the trash, under this id.
    Trash(String),
    /// None: it was made.
    Nowhere,
}

/// All about an entry that a change can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permissions; 0 of a link.
    pub mode: u32,
    /// Of a file, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// Of a file's content, lower-case hexadecimal; empty of anything else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// Where a link leads; empty of anything else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// `None` of a link, and where nobody here can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Rights>,
}

impl Entry {
    /// Whether both are the same to whoever looks at kind, mode and content: what an undo compares.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let look = |entry: &Self| (entry.kind, entry.mode, entry.size_bytes);
        look(self) == look(other) && self.sha256 == other.sha256 && self.target == other.target
    }
}

/// [`Entry::is_like`] of what may be nothing.
#[must_use]
pub fn alike(one: Option<&Entry>, other: Option<&Entry>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_like(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Whom the permissions of an entry are for, besides its owner and everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Its group.
    pub group: u32,
    /// SHA-256 of its access lists without what is part of the mode, lower-case hexadecimal; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub list: String,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// How much of what is at a path a call is about to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// That entry; what a directory holds is told by itself.
    Entry,
    /// All that it holds, if it is a directory.
    Tree,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
