//! Writes a whole file.

use crate::{
    content::{check_expected, digest, read_all},
    text::Written,
};
use rustix::fs::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool,
    target::{Existing, Target, make_parents, new_file_mode},
};

/// The most that is compared with an expected digest.
const MOST_COMPARED_BYTES: u64 = 64 << 20;

pub(crate) struct FilesWrite;

/// What to do with a file that exists.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfExists {
    #[default]
    Replace,
    Fail,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file; missing directories are made.
    path: String,
    /// The whole new content.
    #[schemars(extend("writeOnly" = true))]
    content: String,
    /// Refuse unless the file still has this digest of `files_read`.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    expected_sha256: Option<String>,
    /// What to do with a file that exists.
    #[serde(default)]
    if_exists: IfExists,
    /// How to write `content`; `base64` is of bytes.
    #[serde(default)]
    encoding: Written,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it was written, links resolved.
    path: String,
    /// Of the new content.
    sha256: String,
    /// Of the new content.
    size_bytes: u64,
    /// Whether the file is new.
    created: bool,
}

impl Tool for FilesWrite {
    const NAME: &'static str = "files_write";
    const SUMMARY: &'static str = "Create a file or replace its whole content, atomically. Permissions are kept. For part of a file use `files_edit`.";
    const KEYWORDS: &'static str = "create new save overwrite store put file content | écrire créer nouveau enregistrer sauver fichier contenu";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.path.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        // Before anything is made.
        let content = input.encoding.encode(&input.content)?;
        make_parents(ctx, workspace, &path).await?;
        let target = Target::file(workspace, &path)?;
        let existing = target.open()?;
        if existing.is_some() && input.if_exists == IfExists::Fail {
            return Err(Error::conflict(format!("`{}` exists already", target.path)));
        }
        let created = existing.is_none();
        let mode = match &existing {
            Some(file) => Mode::from_raw_mode(
                rustix::fs::fstat(file)
                    .map_err(std::io::Error::from)
                    .map_err(|err| Error::from_io(err, &input.path))?
                    .st_mode,
            ),
            None => new_file_mode(),
        };
        let old = match (existing, &input.expected_sha256) {
            (Some(mut file), Some(_)) => Some(read_all(&mut file, MOST_COMPARED_BYTES, &path)?),
            _ => None,
        };
        check_expected(input.expected_sha256.as_deref(), old.as_deref(), &target.path)?;
        target.keep_before(ctx).await?;
        ctx.check_canceled()?;
        let existing = if created { Existing::Fail } else { Existing::Replace };
        target.replace(&content, mode, existing)?;
        Ok(Output {
            path: target.path.to_string(),
            sha256: digest(&content),
            size_bytes: content.len() as u64,
            created,
        })
    }
}
