//! Changes parts of a file.

use crate::{
    content::{check_expected, digest, read_all},
    difference::unified,
};
use rustix::fs::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool,
    error::IoContext as _,
    target::{Existing, Target},
};
use std::time::{Duration, Instant};

/// Larger files are no source code.
const MOST_BYTES: u64 = 16 << 20;

/// What is shown; what is not compared by then is shown as one block for another.
const COMPARE_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct FilesEdit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file.
    path: String,
    /// Replacements in order, or `diff`.
    #[serde(default)]
    #[schemars(length(max = 200))]
    edits: Vec<Edit>,
    /// A unified diff of this file.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    diff: Option<String>,
    /// Refuse unless the file still has this digest of `files_read`.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    expected_sha256: Option<String>,
    /// Only show what would change.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// Text to replace, exactly as in the file, with enough context to be unique.
    #[schemars(length(min = 1), extend("writeOnly" = true))]
    old: String,
    /// What to put in its place.
    #[schemars(extend("writeOnly" = true))]
    new: String,
    /// Replace every occurrence.
    #[serde(default)]
    all: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What changed, as a unified diff.
    diff: String,
    /// Of the new content.
    sha256: String,
    /// Whether the file was written; false with `dry_run` and where nothing changes.
    written: bool,
}

impl Tool for FilesEdit {
    const NAME: &'static str = "files_edit";
    const SUMMARY: &'static str = "Change parts of a text file: exact replacements, or a unified diff. All or nothing; answers with the diff. Try it with `dry_run`.";
    const KEYWORDS: &'static str = "modify edit change replace word patch source fix typo substitute update line text refactor rename variable file | modifier changer remplacer mot corriger faute ligne texte fichier appliquer patch correctif";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.dry_run { Effect::Read } else { Self::EFFECT }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.path.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let target = Target::file(workspace, &path)?;
        let Some(mut file) = target.open()? else {
            return Err(Error::not_found(format!("`{path}` does not exist; create it with `files_write`")));
        };
        let content = read_all(&mut file, MOST_BYTES, &path)?;
        check_expected(input.expected_sha256.as_deref(), Some(&content), &target.path)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&file).on(&path)?.st_mode);
        let old = String::from_utf8(content).map_err(|_| {
            Error::invalid_input(format!("`{path}` is not UTF-8; only UTF-8 files can be edited"))
        })?;
        let new = match (&input.edits[..], &input.diff) {
            ([], None) => return Err(Error::invalid_input("give `edits` or `diff`")),
            ([], Some(diff)) => apply_diff(&old, diff)?,
            (edits, None) => apply_edits(&old, edits)?,
            (_, Some(_)) => return Err(Error::invalid_input("give either `edits` or `diff`, not both")),
        };
        let written = !input.dry_run && new != old;
        // Before anything is written: it may take a while.
        let diff = unified(&old, &new, &target.path.to_string(), Instant::now() + COMPARE_WITHIN);
        if written {
            target.keep_before(ctx).await?;
            ctx.check_canceled()?;
            target.replace(new.as_bytes(), mode, Existing::Replace)?;
        }
        Ok(Output { diff, sha256: digest(new.as_bytes()), written })
    }
}

fn apply_edits(old: &str, edits: &[Edit]) -> Result<String> {
    let is_crlf = old.contains("\r\n") && old.matches('\n').count() == old.matches("\r\n").count();
    let mut text = old.to_owned();
    for (number, edit) in (1..).zip(edits) {
        // A model writes plain line feeds, also for a file of Windows.
        let adapt = |text: &str| {
            if is_crlf && !text.contains('\r') { text.replace('\n', "\r\n") } else { text.to_owned() }
        };
        let (from, to) = (adapt(&edit.old), adapt(&edit.new));
        let count = text.matches(&from).count();
        let grown =
            text.len().saturating_sub(count * from.len()).saturating_add(count.saturating_mul(to.len()));
        if grown as u64 > MOST_BYTES {
            return Err(Error::invalid_input(format!(
                "edit {number}: the file would have {grown} bytes; {MOST_BYTES} are the most that can be edited"
            )));
        }
        match count {
            0 => {
                return Err(Error::conflict(format!(
                    "edit {number}: `old` is not in the file; read it again and copy the text exactly, white space included"
                )));
            }
            1 => text = text.replacen(&from, &to, 1),
            _ if edit.all => text = text.replace(&from, &to),
            count => {
                return Err(Error::conflict(format!(
                    "edit {number}: `old` is in the file {count} times; add context to make it unique, or set `all`"
                )));
            }
        }
    }
    Ok(text)
}

fn apply_diff(old: &str, diff: &str) -> Result<String> {
    let patch = diffy::Patch::from_str(diff)
        .map_err(|err| Error::invalid_input(format!("`diff` is no unified diff: {err}")))?;
    if patch.hunks().is_empty() {
        return Err(Error::invalid_input("`diff` has no hunk (`@@ -1,3 +1,4 @@`)"));
    }
    diffy::apply(old, &patch)
        .map_err(|err| Error::conflict(format!("the diff does not apply: {err}; read the file again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(old: &str, new: &str, all: bool) -> Edit {
        Edit { old: old.into(), new: new.into(), all }
    }

    #[test]
    fn edits_are_exact_or_refused() {
        assert_eq!(apply_edits("a b a", &[edit("b", "c", false), edit("a", "x", true)]).unwrap(), "x c x");
        assert_eq!(apply_edits("a\r\nb\r\n", &[edit("a\nb", "c\nd", false)]).unwrap(), "c\r\nd\r\n");
        for (edits, expected) in
            [([edit("z", "", false)], "is not in the file"), ([edit("a", "", false)], "2 times")]
        {
            assert!(apply_edits("a b a", &edits).unwrap_err().message.contains(expected));
        }
    }

    #[test]
    fn what_is_shown_is_taken_as_a_diff() {
        let (old, new) = ("one\ntwo\nthree\n", "one\n2\nthree\nfour\n");
        let diff = unified(old, new, "f", Instant::now() + COMPARE_WITHIN);
        assert_eq!(apply_diff(old, &diff).unwrap(), new);
        assert!(apply_diff("else\n", &diff).is_err());
        assert!(apply_diff(old, "nonsense").is_err());
    }
}
