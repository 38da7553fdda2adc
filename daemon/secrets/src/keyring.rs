//! The secrets of all users, and what looks for their values in what is written to them.

use crate::{Existing, Metadata, Name, Purpose, Result, Scanner, Secrets, store::Readable};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// A store with a scanner for each user, which is made anew when his secrets change.
pub struct Keyring {
    secrets: Secrets,
    scanners: Mutex<HashMap<u32, Kept>>,
}

/// Of one user.
#[derive(Default)]
struct Kept {
    /// How often his secrets have changed.
    changes: u64,
    scanner: Option<Arc<Scanner>>,
    /// Whether it looks for all values that there are.
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
        purpose: &Purpose,
        existing: Existing,
    ) -> Result<Metadata> {
        let set = self.secrets.set(owner, name, value, purpose, existing);
        self.forget(owner);
        set
    }

    /// [`Secrets::rotate`].
    ///
    /// # Errors
    /// Its.
    pub fn rotate(&self, owner: u32, name: &Name, value: &[u8]) -> Result<Metadata> {
        let rotated = self.secrets.rotate(owner, name, value);
        self.forget(owner);
        rotated
    }

    /// [`Secrets::delete`]. Its value is no longer looked for: who deletes one means it to be used no more.
    ///
    /// # Errors
    /// Its.
    pub fn delete(&self, owner: u32, name: &Name) -> Result<()> {
        let deleted = self.secrets.delete(owner, name);
        self.forget(owner);
        deleted
    }

    /// [`Secrets::value`].
    ///
    /// # Errors
    /// Its.
    pub fn value(&self, owner: u32, name: &Name) -> Result<Zeroizing<Vec<u8>>> {
        let value = self.secrets.value(owner, name)?;
        // It may be one that could not be read when the scanner was made.
        let is_partial =
            self.lock().get(&owner).is_some_and(|kept| kept.scanner.is_some() && !kept.is_complete);
        if is_partial {
            self.forget(owner);
        }
        Ok(value)
    }

    /// What looks for the values of this user, if it is there.
    #[must_use]
    pub fn ready_scanner(&self, owner: u32) -> Option<Arc<Scanner>> {
        self.lock().get(&owner)?.scanner.clone()
    }

    /// What looks for the values of this user; made if it is not there, which reads all of them and takes a while. A value
    /// that cannot be read is left out until it is read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn scanner(&self, owner: u32) -> Result<Arc<Scanner>> {
        if let Some(scanner) = self.ready_scanner(owner) {
            return Ok(scanner);
        }
        let changes = self.lock().entry(owner).or_default().changes;
        let Readable { found, damaged } = self.secrets.all_values(owner)?;
        let found = found.into_iter().map(|(name, value)| (name.to_string(), value));
        let scanner = Arc::new(Scanner::new(found)?);
        let mut kept = self.lock();
        let kept = kept.entry(owner).or_default();
        // Otherwise it serves those who asked before, and no others.
        if kept.changes == changes {
            kept.scanner = Some(scanner.clone());
            kept.is_complete = damaged.is_empty();
        }
        Ok(scanner)
    }

    fn forget(&self, owner: u32) {
        let mut kept = self.lock();
        let kept = kept.entry(owner).or_default();
        kept.changes += 1;
        kept.scanner = None;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Kept>> {
        // A panic between two changes leaves no scanner, which is made again.
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
        secrets.set(1, &name, b"correct horse battery", &Purpose::default(), Existing::Fail).unwrap();
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
