//! Sets aside what is damaged: renamed where it lies, never removed, so that somebody can look at it.

use crate::{Result, at};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Renames `path` to `<path>.damaged-<time>`, and says so.
///
/// # Errors
/// What the filesystem says.
pub fn set(path: &Path, what: &str) -> Result<PathBuf> {
    let aside = beside(path, "damaged");
    fs::rename(path, &aside).map_err(at(path))?;
    tracing::error!(path = %path.display(), moved_to = %aside.display(), "set aside: {what}");
    Ok(aside)
}

/// Like [`set`], where what was asked for goes on without it.
pub(crate) fn or_say(path: &Path, what: &str) {
    if let Err(err) = set(path, what) {
        tracing::error!(path = %path.display(), error = %err, "cannot be set aside: {what}");
    }
}

/// Sets aside what is at `path`, unless that is a directory or nothing.
///
/// # Errors
/// What the filesystem says.
pub fn unless_directory(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        // A link too: a state may lie elsewhere.
        Ok(_) if path.is_dir() => Ok(()),
        Ok(_) => set(path, "it is no directory, as it should be").map(drop),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(at(path)(err)),
    }
}

/// A name that nothing has.
pub(crate) fn beside(path: &Path, why: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{why}-{}", jiff::Timestamp::now().as_microsecond()));
    PathBuf::from(name)
}
