//! The secrets of all users, and what looks for their values in what is written to them.

use crate::{Existing, Metadata, Name, Result, Scanner, Secrets};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// A store with a scanner for each user, which is made anew when his secrets change.
pub struct Keyring {
    secrets: Secrets,
    scanners: Mutex<HashMap<u32, Arc<Scanner>>>,
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
        self.secrets.value(owner, name)
    }

    /// What looks for the values of this user. A value that cannot be read can be in no output of Skynet's, so it is left
    /// out.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn scanner(&self, owner: u32) -> Result<Arc<Scanner>> {
        if let Some(scanner) = self.lock().get(&owner) {
            return Ok(scanner.clone());
        }
        // Under the lock, so that no value that is set meanwhile is missed by a scanner that is kept.
        let mut scanners = self.lock();
        let values = self.secrets.all_values(owner)?.found;
        let scanner =
            Arc::new(Scanner::new(values.into_iter().map(|(name, value)| (name.to_string(), value)))?);
        scanners.insert(owner, scanner.clone());
        Ok(scanner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Scanner>>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.scanners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
