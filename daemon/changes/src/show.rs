//! Changes as an agent and its human read them.

use schemars::JsonSchema;
use serde::Serialize;
use similar::TextDiff;
use skynet_core::canonical::hex;
use skynet_sandbox::preview::{Change, Kind, Reader, State};
use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _},
    time::{Duration, Instant},
};

/// Of the changes in an answer.
pub const MOST_SHOWN: usize = 200;

/// Of all diffs in an answer together, in bytes.
const MOST_DIFF_BYTES: usize = 48 << 10;

/// Files up to here are compared line by line.
const MOST_COMPARED_BYTES: u64 = 256 << 10;

/// All of them; what is not compared by then is shown as one block for another.
const COMPARE_WITHIN: Duration = Duration::from_millis(500);

/// What happens to an entry.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Happens {
    Created,
    Changed,
    Deleted,
}

/// What an entry is, or was.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    File,
    Directory,
    Link,
}

impl From<Kind> for What {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Link => Self::Link,
        }
    }
}

/// One change.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Shown {
    /// From the workspace.
    path: String,
    /// What would happen to it.
    happens: Happens,
    /// What it is.
    what: What,
    /// Its new permissions, octal, if they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// SHA-256 of its new content.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Where a link would lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Of a text, unified; left out where all diffs become too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

/// What a list of changes says.
pub struct List {
    /// At most 200.
    pub changes: Vec<Shown>,
    /// How many there are.
    pub changes_count: u64,
    /// Sockets, pipes and devices that are not among them.
    pub left_out: u64,
}

/// Reads a file of [`skynet_sandbox::preview`], and leaves it at its beginning.
///
/// # Errors
/// What the file says.
pub fn show(mut file: &File) -> io::Result<List> {
    file.rewind()?;
    let mut reader = Reader::new(BufReader::new(file));
    let until = Instant::now() + COMPARE_WITHIN;
    let (mut changes, mut changes_count, mut left_for_diffs) = (Vec::new(), 0, MOST_DIFF_BYTES);
    while let Some(change) = reader.next_change()? {
        changes_count += 1;
        if changes.len() == MOST_SHOWN {
            continue;
        }
        let is_text = |size_bytes: u64| size_bytes <= MOST_COMPARED_BYTES;
        let after = match &change.after {
            Some(after) if after.kind() == Kind::File && is_text(after.size_bytes) => {
                let mut content = Vec::new();
                reader.content().read_to_end(&mut content)?;
                Some(content)
            }
            _ => None,
        };
        let diff = diff(&change, after, until).filter(|diff| diff.len() <= left_for_diffs);
        left_for_diffs -= diff.as_ref().map_or(0, String::len);
        changes.push(shown(&change, diff));
    }
    let left_out = reader.end().map_or(0, |end| end.left_out);
    reader.into_inner().into_inner().rewind()?;
    Ok(List { changes, changes_count, left_out })
}

/// A change as it is shown, with a diff if there is one.
#[must_use]
pub fn shown(change: &Change, diff: Option<String>) -> Shown {
    let happens = match (&change.before, &change.after) {
        (None, _) => Happens::Created,
        (Some(_), Some(_)) => Happens::Changed,
        (Some(_), None) => Happens::Deleted,
    };
    let none = State::default();
    let before = change.before.as_ref();
    let state = change.after.as_ref().or(before).unwrap_or(&none);
    let (is_file, is_link) = (state.kind() == Kind::File, state.kind() == Kind::Link);
    let is_other_mode = change.after.is_some() && !is_link && before.is_none_or(|old| old.mode != state.mode);
    Shown {
        path: String::from_utf8_lossy(&change.path).into_owned(),
        happens,
        what: state.kind().into(),
        mode: is_other_mode.then(|| format!("{:04o}", state.mode)),
        size_bytes: is_file.then_some(state.size_bytes),
        sha256: (is_file && change.after.is_some()).then(|| hex(&state.sha256)),
        target: is_link.then(|| String::from_utf8_lossy(&state.target).into_owned()),
        diff,
    }
}

/// Between two texts, or nothing and a text.
fn diff(change: &Change, after: Option<Vec<u8>>, until: Instant) -> Option<String> {
    let is_file = |state: &Option<State>| state.as_ref().is_some_and(|state| state.kind() == Kind::File);
    let before = match (&change.before, &change.text_before) {
        (None, _) => Vec::new(),
        (before, Some(text)) if is_file(before) => text.clone(),
        _ => return None,
    };
    diff_of(&String::from_utf8_lossy(&change.path), before, after?, until)
}

/// A unified diff of two texts; `None` if they are the same, or no texts. What is not compared at `until` is shown as one
/// block for another.
#[must_use]
pub fn diff_of(path: &str, before: Vec<u8>, after: Vec<u8>, until: Instant) -> Option<String> {
    let (before, after) = (String::from_utf8(before).ok()?, String::from_utf8(after).ok()?);
    if before == after || before.contains('\0') || after.contains('\0') {
        return None;
    }
    let compared = TextDiff::configure().deadline(until).diff_lines(&before, &after);
    let (from, to) = (format!("a/{path}"), format!("b/{path}"));
    Some(compared.unified_diff().header(&from, &to).to_string())
}
