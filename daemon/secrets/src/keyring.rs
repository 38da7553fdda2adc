//! The secrets of all users, and what looks for their values in what is written to them.

use crate::{Existing, Metadata, Name, Result, Scanner, Secrets, store::Readable};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// A store with a scanner for each user, which is made anew when his secrets change.
pub struct Keyring {
    secrets: Secrets,
    scanners: Mutex<HashMap<u32, Made>>,
}

/// A scanner, and whether it looks for all values that there are.
struct Made {
    scanner: Arc<Scanner>,
    is_complete: bool,
}

impl Keyring {
    /// Over this store.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self { secrets, scanners: Mutex::default() }
    }

    /// The store, for what changes no value.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// [`Secrets::set`].
    ///
    /// # Errors
    /// Its.
    pub fn set(
        &self,
        owner: u32,
        name: &Name,
        value: &[u8],
        hosts: &[String],
        existing: Existing,
    ) -> Result<Metadata> {
        let set = self.secrets.set(owner, name, value, hosts, existing);
        self.lock().remove(&owner);
        set
    }

    /// [`Secrets::rotate`].
    ///
    /// # Errors
    /// Its.
    pub fn rotate(&self, owner: u32, name: &Name, value: &[u8]) -> Result<Metadata> {
        let rotated = self.secrets.rotate(owner, name, value);
        self.lock().remove(&owner);
        rotated
    }

    /// [`Secrets::delete`]. Its value is no longer looked for: who deletes one means it to be used no more.
    ///
    /// # Errors
    /// Its.
    pub fn delete(&self, owner: u32, name: &Name) -> Result<()> {
        let deleted = self.secrets.delete(owner, name);
        self.lock().remove(&owner);
        deleted
    }

    /// [`Secrets::value`].
    ///
    /// # Errors
    /// Its.
    pub fn value(&self, owner: u32, name: &Name) -> Result<Zeroizing<Vec<u8>>> {
        let value = self.secrets.value(owner, name)?;
        let mut scanners = self.lock();
        // It may be one that could not be read when the scanner was made.
        if scanners.get(&owner).is_some_and(|made| !made.is_complete) {
            scanners.remove(&owner);
        }
        Ok(value)
    }

    /// What looks for the values of this user. A value that cannot be read can be in no output of Skynet's, so it is left
    /// out until it is read.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn scanner(&self, owner: u32) -> Result<Arc<Scanner>> {
        if let Some(made) = self.lock().get(&owner) {
            return Ok(made.scanner.clone());
        }
        // Under the lock, so that no value that is set meanwhile is missed by a scanner that is kept.
        let mut scanners = self.lock();
        let Readable { found, damaged } = self.secrets.all_values(owner)?;
        let scanner =
            Arc::new(Scanner::new(found.into_iter().map(|(name, value)| (name.to_string(), value)))?);
        let made = Made { scanner: scanner.clone(), is_complete: damaged.is_empty() };
        scanners.insert(owner, made);
        Ok(scanner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Made>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.scanners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;
    use std::fs;

    #[test]
    fn a_secret_that_can_be_read_again_is_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap();
        let name = Name::parse("deploy").unwrap();
        secrets.set(1, &name, b"correct horse battery", &[], Existing::Fail).unwrap();
        let path = directory.path().join("1/deploy");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, "damaged").unwrap();
        let keyring = Keyring::new(secrets);
        let is_found = || {
            let scanner = keyring.scanner(1).unwrap();
            scanner.redact(b"it is correct horse battery").bytes.as_ref() != b"it is correct horse battery"
        };
        assert!(keyring.value(1, &name).is_err() && !is_found());
        fs::write(&path, whole).unwrap();
        keyring.value(1, &name).unwrap();
        assert!(is_found());
    }
}
