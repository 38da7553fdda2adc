//! Which directories may be a workspace. A client claims one; this decides.

use anyhow::Result;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use skynet_sandbox::places::NEVER_A_WORKSPACE;
use std::path::{Component, Path};

/// The policy's globs, in which `~` is the home of whoever claims.
pub(crate) struct Claims {
    patterns: Vec<String>,
}

impl Claims {
    /// # Errors
    /// When a pattern is none.
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let claims = Self { patterns: patterns.to_vec() };
        claims.globs(Path::new("/home"))?;
        Ok(claims)
    }

    fn globs(&self, home: &Path) -> Result<GlobSet> {
        let mut globs = GlobSetBuilder::new();
        for pattern in &self.patterns {
            let absolute = match pattern.strip_prefix('~') {
                Some(rest) => format!("{}{rest}", globset::escape(&home.to_string_lossy())),
                None => pattern.clone(),
            };
            globs.add(GlobBuilder::new(&absolute).literal_separator(true).build()?);
        }
        Ok(globs.build()?)
    }

    /// Whether the directory at `path` may be a workspace of somebody with that home. Judged is where a descriptor is, not
    /// how the claim spelled it: a link may lead anywhere.
    ///
    /// # Errors
    /// In words, why it is not one.
    pub(crate) fn judge(&self, path: &Path, home: &Path) -> Result<(), String> {
        let is_never = NEVER_A_WORKSPACE.iter().any(|never| path.starts_with(never));
        if path == Path::new("/") || path == home || is_never {
            return Err(format!("`{}` is never a workspace; use a project directory", path.display()));
        }
        let hidden = path.strip_prefix(home).is_ok_and(|below| {
            below.components().any(
                |part| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b".")),
            )
        });
        if hidden {
            return Err(format!("`{}` lies in a hidden directory of your home", path.display()));
        }
        let globs = self.globs(home).map_err(|err| err.to_string())?;
        if !globs.is_match(path) {
            return Err(format!(
                "`{}` matches none of `policy.workspaces`: {}",
                path.display(),
                self.patterns.join(", ")
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_core::Workspace;

    #[test]
    fn only_directories_below_the_globs() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().to_owned();
        for directory in ["home/project/deep", "home/.hidden/x", "elsewhere"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::os::unix::fs::symlink("/etc", root.join("home/link")).unwrap();
        let claims = Claims::new(&["~/*".into(), "~/**/*".into()]).unwrap();
        for (claim, is_valid) in [
            ("home/project", true),
            ("home/project/deep", true),
            ("home", false),
            ("home/.hidden/x", false),
            ("home/link", false),
            ("elsewhere", false),
        ] {
            let found = Workspace::open(&root.join(claim)).unwrap();
            let judged = claims.judge(found.path(), &root.join("home"));
            assert_eq!(judged.is_ok(), is_valid, "{claim}: {judged:?}");
        }
        assert!(claims.judge(Path::new("/"), &root).is_err());
    }
}
