//! Which rules of projects are trusted, by whom: a user, the path of a workspace, and the SHA-256 of the file there. Trust in a
//! file only ever narrows what may be done, so it is asked for to keep others from deciding what is forbidden, and no more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result, canonical::hex};
use skynet_store::{Table, Tables};
use std::{os::unix::ffi::OsStrExt as _, path::Path};

/// One file that is trusted, as stored and as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// By whom.
    pub uid: u32,
    /// The path of the workspace.
    pub workspace: String,
    /// Of the file, lower-case hex.
    pub sha256: String,
    /// How many rules are in it.
    pub rules: u64,
    /// Since when.
    pub trusted_at: Timestamp,
}

/// All of them.
#[derive(Clone)]
pub struct Trust {
    table: Table<Trusted>,
}

impl Trust {
    /// Opens the table.
    #[must_use]
    pub fn open(tables: &Tables) -> Self {
        Self { table: tables.table("trust") }
    }

    /// Trusts a file. A workspace may have several, like those of two branches.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be stored durably; then it is not trusted.
    pub fn add(&self, uid: u32, workspace: &Path, sha256: &str, rules: usize) -> Result<Trusted> {
        let trusted = Trusted {
            uid,
            workspace: workspace.display().to_string(),
            sha256: sha256.to_owned(),
            rules: u64::try_from(rules).unwrap_or(u64::MAX),
            trusted_at: Timestamp::now(),
        };
        self.table.put_durably(&key(uid, workspace, sha256), &trusted).map_err(|err| {
            Error::unavailable("the file is not trusted, because that cannot be stored").with_source(err)
        })?;
        Ok(trusted)
    }

    /// Whether a user trusts this file there.
    #[must_use]
    pub fn is_trusted(&self, uid: u32, workspace: &Path, sha256: &str) -> bool {
        // What cannot be read narrows nothing, as if it had never been trusted.
        self.table.get(&key(uid, workspace, sha256)).ok().flatten().is_some()
    }

    /// How many files a user trusts there.
    #[must_use]
    pub fn count(&self, uid: u32, workspace: &Path) -> usize {
        let prefix = key(uid, workspace, "");
        self.table.iter().filter(|(key, _)| key.starts_with(&prefix)).count()
    }

    /// What a user trusts, by workspace and time.
    #[must_use]
    pub fn list(&self, uid: u32) -> Vec<Trusted> {
        let mut all: Vec<_> =
            self.table.iter().map(|(_, trusted)| trusted).filter(|trusted| trusted.uid == uid).collect();
        all.sort_by(|a, b| (&a.workspace, a.trusted_at).cmp(&(&b.workspace, b.trusted_at)));
        all
    }

    /// Ends a user's trust in all files of a workspace, which may be gone; returns what was trusted.
    ///
    /// # Errors
    /// `NotFound` where he trusts none, `Unavailable` when that cannot be stored durably.
    pub fn remove(&self, uid: u32, workspace: &Path) -> Result<Vec<Trusted>> {
        let prefix = key(uid, workspace, "");
        let all: Vec<_> = self.table.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        if all.is_empty() {
            return Err(Error::not_found(format!(
                "no file of `{}` is trusted; see `skynetctl trust list`",
                workspace.display()
            )));
        }
        for (key, _) in &all {
            self.table.remove_durably(key).map_err(|err| {
                Error::unavailable("the trust ends now, but may be back after a restart").with_source(err)
            })?;
        }
        Ok(all.into_iter().map(|(_, trusted)| trusted).collect())
    }
}

/// The path by its digest: it may hold any byte, and no key begins with another's.
fn key(uid: u32, workspace: &Path, sha256: &str) -> String {
    format!("{uid}/{}/{sha256}", hex(&Sha256::digest(workspace.as_os_str().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_of_one_user_in_one_place() {
        let directory = tempfile::tempdir().unwrap();
        let trust = Trust::open(&Tables::open(directory.path()).unwrap());
        let (one, other) = (Path::new("/w"), Path::new("/w2"));
        trust.add(1, one, "aa", 2).unwrap();
        trust.add(1, one, "bb", 3).unwrap();
        trust.add(11, one, "cc", 3).unwrap();
        assert!(trust.is_trusted(1, one, "aa") && trust.is_trusted(1, one, "bb"));
        assert!(!trust.is_trusted(1, other, "aa") && !trust.is_trusted(11, one, "aa"));
        assert!(!trust.is_trusted(1, one, "a") && !trust.is_trusted(1, one, ""));
        assert_eq!((trust.list(1).len(), trust.count(1, one), trust.count(1, other)), (2, 2, 0));
        assert_eq!(trust.remove(1, one).unwrap().len(), 2);
        assert!(trust.remove(1, one).is_err() && trust.list(1).is_empty() && trust.list(11).len() == 1);
    }
}
