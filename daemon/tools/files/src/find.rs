//! Finds files by name.

use crate::{
    entry::Kind,
    walk::{self, Scope},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct FilesFind;

fn default_path() -> String {
    ".".into()
}

const fn default_limit() -> u32 {
    500
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Glob on the path below `path`; without a `/` it matches at any depth: `*.rs`, `src/**/mod.rs`.
    #[schemars(length(min = 1, max = 4096))]
    pattern: String,
    /// Directory to search.
    #[serde(default = "default_path")]
    path: String,
    /// Only entries of this kind.
    #[serde(default)]
    kind: Option<Kind>,
    /// Most paths.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10000))]
    limit: u32,
    /// Find hidden entries too.
    #[serde(default)]
    hidden: bool,
    /// Find what .gitignore leaves out too.
    #[serde(default)]
    ignored: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Relative to the workspace, in order.
    paths: Vec<String>,
    /// Whether the limit ended the search.
    truncated: bool,
}

impl Tool for FilesFind {
    const NAME: &'static str = "files_find";
    const SUMMARY: &'static str =
        "Find files and directories by name or path with a glob, respecting .gitignore.";
    const KEYWORDS: &'static str = "locate find file named extension glob matching pattern path | trouver localiser où chercher fichier nommé extension nom motif";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        workspace.open_directory(&path)?;
        let glob = walk::glob(&input.pattern)?;
        let scope = Scope { with_hidden: input.hidden, with_ignored: input.ignored, max_depth: None };
        let mut paths = Vec::new();
        let mut root = None;
        for entry in walk::walk(ctx, &path, scope)? {
            ctx.check_canceled()?;
            // A directory that may not be entered is passed over.
            let Ok(entry) = entry else { continue };
            if entry.depth() == 0 {
                root = Some(entry.path().to_owned());
                continue;
            }
            let Some(below) = root.as_ref().and_then(|root| entry.path().strip_prefix(root).ok()) else {
                continue;
            };
            let is_kind = input.kind.is_none_or(|wanted| match entry.file_type() {
                Some(kind) if kind.is_file() => wanted == Kind::File,
                Some(kind) if kind.is_dir() => wanted == Kind::Directory,
                Some(kind) if kind.is_symlink() => wanted == Kind::Symlink,
                _ => false,
            });
            if !is_kind || !glob.is_match(below) {
                continue;
            }
            if paths.len() >= input.limit as usize {
                return Ok(Output { paths, truncated: true });
            }
            paths.extend(walk::below(workspace, entry.path()).map(|(_, shown)| shown));
        }
        ctx.check_canceled()?;
        Ok(Output { paths, truncated: false })
    }
}
