//! Walking what is worth reading: as ripgrep does, and without what `.skynetignore` names or what is known to hold keys.
//!
//! The walk goes by path. A directory that is swapped for a link in mid-walk could show names from elsewhere, never
//! content: files are opened beneath the workspace's descriptor.

use crate::list::List;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{
    Walk, WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
};
use rustix::fs::OFlags;
use skynet_core::{Error, RelativePath, Result, Workspace, reserved::TRASH_PREFIX};
use std::{os::fd::AsFd as _, path::Path};

/// As `.gitignore`, for what is not to be found.
pub const IGNORE_FILE: &str = ".skynetignore";

/// Keys and certificates, and what packers and lock files of package managers write: nobody looks for anything in them.
const NEVER: [&str; 22] = [
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "id_rsa*",
    "id_ed25519*",
    "id_ecdsa*",
    "*.ppk",
    "*.min.js",
    "*.min.css",
    "*.map",
    "Cargo.lock",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "composer.lock",
    "go.sum",
];

/// Which documents of a source are listed.
pub struct Scope {
    start: String,
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Scope {
    /// # Errors
    /// `InvalidInput` for what is no glob.
    pub(crate) fn new(list: &List) -> Result<Self> {
        let never = NEVER.iter().map(|glob| (*glob).to_owned());
        let exclude: Vec<String> = list.exclude.iter().cloned().chain(never).collect();
        Ok(Self {
            start: list
                .path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect::<Vec<_>>()
                .join("/"),
            include: (!list.include.is_empty()).then(|| globs(&list.include)).transpose()?,
            exclude: globs(&exclude)?,
        })
    }

    /// Whether a document of that path is listed.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.start).and_then(|below| below.strip_prefix('/'));
        // A walk that starts at a file is about just that.
        let below = below.unwrap_or(path);
        self.include.as_ref().is_none_or(|include| include.is_match(below)) && !self.exclude.is_match(below)
    }
}

/// What an [`IGNORE_FILE`] names, where there is no directory to walk.
#[derive(Default)]
pub struct Ignored(Option<Gitignore>);

impl Ignored {
    /// # Errors
    /// `InvalidInput` for patterns that are too large.
    pub fn new(text: &str) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        for line in text.lines() {
            // As Git passes over what is no pattern.
            let _ = builder.add_line(None, line);
        }
        let built = builder.build();
        built
            .map(|ignored| Self(Some(ignored)))
            .map_err(|err| Error::invalid_input(format!("`{IGNORE_FILE}` cannot be used: {err}")))
    }

    /// Whether a file of that path, or a directory above it, is named.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        self.0.as_ref().is_some_and(|ignored| ignored.matched_path_or_any_parents(path, false).is_ignore())
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
        let glob = GlobBuilder::new(&anywhere).literal_separator(true).build();
        set.add(glob.map_err(|err| Error::invalid_input(format!("`{pattern}` is no glob: {}", err.kind())))?);
    }
    set.build().map_err(|err| Error::invalid_input(format!("these globs are too many or too large: {err}")))
}

/// Walks below `path` in order of name.
///
/// # Errors
/// `Denied` when it leads out of the workspace, `NotFound` when there is nothing.
pub(crate) fn walk(workspace: &Workspace, path: &RelativePath) -> Result<Walk> {
    let start = workspace.open_at(path, OFlags::PATH, rustix::fs::Mode::empty())?;
    let real = workspace
        .locate(start.as_fd())
        .ok_or_else(|| Error::conflict(format!("`{path}` was moved out of the workspace")))?;
    Ok(WalkBuilder::new(workspace.path().join(real.as_path()))
        .git_global(false)
        .require_git(false)
        // A `.gitignore` above the workspace, such as that of a home under version control, is not about it.
        .parents(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| !is_left_out(entry.path()))
        .build())
}

fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name == ".git" || name.starts_with(TRASH_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_below_the_start() {
        let of = |path: &str, include: &[&str], exclude: &[&str]| {
            let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
            let list = List {
                path: path.into(),
                include: owned(include),
                exclude: owned(exclude),
                ..List::default()
            };
            Scope::new(&list).unwrap()
        };
        assert!(!of(".", &[], &[".env"]).holds(".env"));
        assert!(of(".", &["*.md"], &[]).holds("docs/a.md"));
        assert!(of("./src/", &["net/**"], &[]).holds("src/net/a.rs"));
        assert!(!of("src", &["net/**"], &[]).holds("srcs/net/a.rs"));
        assert!(of("src/a.rs", &["a.rs"], &[]).holds("src/a.rs"));
    }

    #[test]
    fn what_is_ignored_is_with_all_below_it() {
        let ignored = Ignored::new("# kept out\nvault/\n*.draft.md\n!good.draft.md\n").unwrap();
        for (path, is_ignored) in [
            ("vault/a/b.md", true),
            ("x.draft.md", true),
            ("a/good.draft.md", false),
            ("src/vault.rs", false),
        ] {
            assert_eq!(ignored.holds(path), is_ignored, "{path}");
        }
        assert!(!Ignored::default().holds("vault/a"));
    }
}
