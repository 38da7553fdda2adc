//! Which layout the state has. A daemon brings an older one up to its own when it starts, and leaves a newer one alone.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::{fs, io, io::Write as _, path::Path};

/// The file that says it.
pub(crate) const FILE: &str = "format.json";

/// The layout of this release.
pub(crate) const CURRENT: u32 = 1;

/// Brings a state up by one: that of index 0 turns format 0 into 1.
const MIGRATIONS: [fn(&Path) -> Result<()>; CURRENT as usize] = [
    // Format 0 is that of 2.0.0-alpha.1, which did not say so: the same layout, without the file.
    |_| Ok(()),
];

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    /// Counts the layouts.
    pub(crate) format: u32,
    /// The release that wrote it.
    pub(crate) version: String,
}

impl Format {
    pub(crate) fn current() -> Self {
        Self { format: CURRENT, version: env!("CARGO_PKG_VERSION").into() }
    }

    /// # Errors
    /// When it is of a later release.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.format > CURRENT {
            bail!(
                "{what} has format {} and was written by skynetd {}; this is skynetd {}, which knows formats up to {CURRENT}: install that release again, or restore a backup that was made before the upgrade",
                self.format,
                self.version,
                env!("CARGO_PKG_VERSION")
            );
        }
        Ok(())
    }
}

/// What the state in that directory says of itself; format 0 where it says nothing.
pub(crate) fn read(directory: &Path) -> Result<Format> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` is damaged; restore it from a backup", path.display())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            Ok(Format { format: 0, version: "2.0.0-alpha.1".into() })
        }
        Err(err) => Err(err).with_context(|| format!("`{}`", path.display())),
    }
}

/// Brings the state in that directory to the layout of this release. Each step is noted once it is done, so that a start
/// which is cut off goes on where it was.
///
/// # Errors
/// When it is of a later release, and nothing was touched; or what the filesystem says.
pub(crate) fn migrate(directory: &Path) -> Result<()> {
    let found = read(directory)?;
    found.check(&format!("the state in `{}`", directory.display()))?;
    for (format, migration) in (0..).zip(MIGRATIONS).skip(found.format as usize) {
        migration(directory)
            .with_context(|| format!("bringing the state from format {format} to the next"))?;
        note(directory, &Format { format: format + 1, ..Format::current() })?;
    }
    Ok(())
}

fn note(directory: &Path, format: &Format) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(format)?)?;
        file.as_file().sync_all()?;
        file.persist(directory.join(FILE))?;
        fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("writing `{}`", directory.join(FILE).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_brought_up_and_a_newer_one_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        migrate(directory.path()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Format::current());
        let newer = r#"{"format":999,"version":"9.1.0"}"#;
        fs::write(directory.path().join(FILE), newer).unwrap();
        let refused = migrate(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("9.1.0") && refused.contains("install that release again"), "{refused}");
        assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), newer);
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(migrate(directory.path()).unwrap_err().to_string().contains("damaged"));
    }
}
