//! Draws a directory tree.

use crate::walk::{self, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};

pub(crate) struct FilesTree;

fn default_path() -> String {
    ".".into()
}

const fn default_depth() -> u32 {
    3
}

const fn default_limit() -> u32 {
    500
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Directory to start at.
    #[serde(default = "default_path")]
    path: String,
    /// How many levels to descend.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 1, max = 32))]
    depth: u32,
    /// Include hidden names.
    #[serde(default)]
    hidden: bool,
    /// Include what .gitignore leaves out.
    #[serde(default)]
    ignored: bool,
    /// Most lines to draw.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// One entry per line, indented by two spaces a level; directories end in `/`, links in `@`.
    tree: String,
    /// Directories drawn.
    directories: u32,
    /// Other entries drawn.
    files: u32,
    /// Whether lines were left out at the end.
    truncated: bool,
}

impl Tool for FilesTree {
    const NAME: &'static str = "files_tree";
    const SUMMARY: &'static str = "Show a directory as an indented tree, respecting .gitignore. The quickest way to see how a project is laid out.";
    const KEYWORDS: &'static str = "layout structure overview hierarchy project recursive outline | arborescence structure arbre projet hiérarchie vue ensemble";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        // That it is a directory is said before anything is drawn.
        workspace.open_directory(&path)?;
        let scope = Scope {
            with_hidden: input.hidden,
            with_ignored: input.ignored,
            max_depth: Some(input.depth as usize),
        };
        let mut output = Output { tree: String::new(), directories: 0, files: 0, truncated: false };
        for entry in walk::walk(ctx, &path, scope)? {
            ctx.check_canceled()?;
            // A directory that may not be entered is drawn, and nothing below it.
            let Ok(entry) = entry else { continue };
            if entry.depth() == 0 {
                continue;
            }
            if output.directories + output.files >= input.limit {
                output.truncated = true;
                break;
            }
            let kind = entry.file_type();
            let is_directory = kind.is_some_and(|kind| kind.is_dir());
            let mark = match kind {
                Some(kind) if kind.is_dir() => "/",
                Some(kind) if kind.is_symlink() => "@",
                _ => "",
            };
            let indent = "  ".repeat(entry.depth() - 1);
            output.tree.push_str(&format!("{indent}{}{mark}\n", entry.file_name().to_string_lossy()));
            if is_directory {
                output.directories += 1;
            } else {
                output.files += 1;
            }
        }
        ctx.check_canceled()?;
        Ok(output)
    }
}
