//! Which directories may be a workspace. A client claims one; this decides.

use anyhow::Result;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use skynet_core::Workspace;
use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Never a workspace, whatever the globs say.
const NEVER: [&str; 5] = ["/etc", "/proc", "/sys", "/run", "/dev"];

/// The policy's globs, ready to judge.
pub(crate) struct Claims {
    home: PathBuf,
    globs: GlobSet,
    patterns: Vec<String>,
}

impl Claims {
    pub(crate) fn new(patterns: &[String], home: &Path) -> Result<Self> {
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            let absolute = match pattern.strip_prefix('~') {
                Some(rest) => format!("{}{rest}", globset::escape(&home.to_string_lossy())),
                None => pattern.clone(),
            };
            globs.add(GlobBuilder::new(&absolute).literal_separator(true).build()?);
        }
        Ok(Self { home: home.to_owned(), globs: globs.build()?, patterns: patterns.to_vec() })
    }

    /// Opens the claimed directory.
    ///
    /// # Errors
    /// In words, why it is not a workspace.
    pub(crate) fn open(&self, claim: &str) -> Result<Arc<Workspace>, String> {
        let workspace = Workspace::open(Path::new(claim)).map_err(|err| err.to_string())?;
        // Judged is where the descriptor is, not how the claim spelled it: a link may lead anywhere.
        let path = workspace.path();
        if path == Path::new("/") || path == self.home || NEVER.iter().any(|never| path.starts_with(never)) {
            return Err(format!("`{}` is never a workspace; use a project directory", path.display()));
        }
        let hidden = path.strip_prefix(&self.home).is_ok_and(|below| {
            below.components().any(
                |part| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b".")),
            )
        });
        if hidden {
            return Err(format!("`{}` lies in a hidden directory of your home", path.display()));
        }
        if !self.globs.is_match(path) {
            return Err(format!(
                "`{}` matches none of `policy.workspaces`: {}",
                path.display(),
                self.patterns.join(", ")
            ));
        }
        Ok(Arc::new(workspace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_below_the_globs() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().to_owned();
        for directory in ["home/project/deep", "home/.hidden/x", "elsewhere"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::os::unix::fs::symlink("/etc", root.join("home/link")).unwrap();
        let claims = Claims::new(&["~/*".into(), "~/**/*".into()], &root.join("home")).unwrap();
        for (claim, is_valid) in [
            ("home/project", true),
            ("home/project/deep", true),
            ("home", false),
            ("home/.hidden/x", false),
            ("home/link", false),
            ("home/missing", false),
            ("elsewhere", false),
        ] {
            let found = claims.open(root.join(claim).to_str().unwrap());
            assert_eq!(found.is_ok(), is_valid, "{claim}: {:?}", found.err());
        }
        assert!(claims.open("/").is_err() && claims.open("relative").is_err());
    }
}
