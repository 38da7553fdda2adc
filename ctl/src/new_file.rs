//! A file that is this user's alone, and there under its name once it is whole.

use crate::output::Failure;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::NamedTempFile;

pub(crate) struct NewFile {
    path: PathBuf,
    unfinished: NamedTempFile,
}

impl NewFile {
    /// One of that name, or of a name with the time in the current directory.
    ///
    /// # Errors
    /// When it exists, or cannot be made.
    pub(crate) fn begin(named: Option<PathBuf>, what: &str) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = named.unwrap_or_else(|| format!("{what}-{now}.tar.gz").into());
        if path.exists() {
            return Err(Failure::refused(format!("`{}` exists; name another file", path.display())));
        }
        let path = std::path::absolute(path)?;
        let unfinished = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
        Ok(Self { path, unfinished })
    }

    pub(crate) fn file(&self) -> &File {
        self.unfinished.as_file()
    }

    /// Gives it its name, and says which.
    pub(crate) fn finish(self) -> Result<PathBuf, Failure> {
        self.unfinished.as_file().sync_all()?;
        self.unfinished.persist_noclobber(&self.path).map_err(io::Error::from)?;
        Ok(self.path)
    }
}
