//! Walking what is worth reading: as ripgrep does, and without what `.skynetignore` names or what is known to hold keys.
//!
//! The walk goes by path. A directory that is swapped for a link in mid-walk could show names from elsewhere, never
//! content: files are opened beneath the workspace's descriptor.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{Walk, WalkBuilder};
use rustix::fs::OFlags;
use skynet_core::{Error, RelativePath, Result, Workspace, reserved::TRASH_PREFIX};
use std::{os::fd::AsFd as _, path::Path};

/// As `.gitignore`, for what is not to be found.
const IGNORE_FILE: &str = ".skynetignore";

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

/// What is listed of what is walked.
pub(crate) struct Scope {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Scope {
    /// # Errors
    /// `InvalidInput` for what is no glob.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let never = NEVER.iter().map(|glob| (*glob).to_owned());
        let exclude: Vec<String> = exclude.iter().cloned().chain(never).collect();
        Ok(Self {
            include: (!include.is_empty()).then(|| globs(include)).transpose()?,
            exclude: globs(&exclude)?,
        })
    }

    /// Whether a path of the workspace is listed, for a walk that starts at `start`.
    pub(crate) fn holds(&self, start: &str, path: &str) -> bool {
        let start = start.trim_start_matches("./").trim_end_matches('/');
        let below = path.strip_prefix(start).map_or(path, |below| below.trim_start_matches('/'));
        // A walk that starts at a file is about just that.
        let below = if below.is_empty() { path } else { below };
        self.include.as_ref().is_none_or(|include| include.is_match(below)) && !self.exclude.is_match(below)
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
