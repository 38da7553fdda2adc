//! The secrets of all users, and what looks for their values in what is written to them.

use crate::{Error, Existing, Metadata, Name, Result, Scanner, Secrets};
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
        self.secrets.value(owner, name)
    }

    /// What looks for the values of this user, if it is there.
    #[must_use]
    pub fn ready_scanner(&self, owner: u32) -> Option<Arc<Scanner>> {
        self.lock().get(&owner)?.scanner.clone()
    }

    /// What looks for the values of this user; made if it is not there, which reads all of them and takes a while. One
    /// that is damaged cannot be looked for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn scanner(&self, owner: u32) -> Result<Arc<Scanner>> {
        if let Some(scanner) = self.ready_scanner(owner) {
            return Ok(scanner);
        }
        let changes = self.lock().entry(owner).or_default().changes;
        let mut values = self.secrets.all_values(owner)?;
        // What could not be read now can be read at another time: without it a scanner would not be whole.
        if let Some(place) = values.damaged.iter().position(|err| matches!(err, Error::Io { .. })) {
            return Err(values.damaged.swap_remove(place));
        }
        let found = values.found.into_iter().map(|(name, value)| (name.to_string(), value));
        let scanner = Arc::new(Scanner::new(found)?);
        let mut kept = self.lock();
        let kept = kept.entry(owner).or_default();
        // Otherwise it serves those who asked before, and no others.
        if kept.changes == changes {
            kept.scanner = Some(scanner.clone());
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
