//! The secrets of all users, and what looks for their values in what is written to them.

use crate::{
    Environment, Error, Existing, Held, Metadata, Name, Named, Purpose, Renewal, Result, Scanner, Secrets,
    Variable, environment::Edit, store::Readable,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// A store with a scanner for each user, which is made anew when his secrets change.
pub struct Keyring {
    secrets: Secrets,
    scanners: Mutex<HashMap<u32, Kept>>,
    /// Held while values are learned, until they are looked for.
    learning: Mutex<()>,
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
        Self { secrets, scanners: Mutex::default(), learning: Mutex::default() }
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

    /// [`Secrets::link`].
    ///
    /// # Errors
    /// Its.
    pub fn link(
        &self,
        owner: u32,
        name: &Name,
        link: &str,
        hosts: &[String],
        existing: Existing,
    ) -> Result<Metadata> {
        let linked = self.secrets.link(owner, name, link, hosts, existing);
        self.forget(owner);
        linked
    }

    /// [`Secrets::admit`]. Its tokens are looked for from now on.
    ///
    /// # Errors
    /// Its.
    pub fn admit(&self, owner: u32, name: &Name, held: Held, existing: Existing) -> Result<Metadata> {
        let admitted = self.secrets.admit(owner, name, held, existing);
        self.forget(owner);
        admitted
    }

    /// [`Secrets::held`].
    ///
    /// # Errors
    /// Its.
    pub fn held(&self, owner: u32, name: &Name) -> Result<Option<Held>> {
        let held = self.secrets.held(owner, name)?;
        // It may be one that could not be read when the scanner was made.
        if self.is_partial(owner) {
            self.forget(owner);
        }
        Ok(held)
    }

    /// [`Secrets::renew`]. The new tokens are looked for from now on.
    ///
    /// # Errors
    /// Its.
    pub fn renew(&self, owner: u32, name: &Name, renewal: &Renewal) -> Result<Metadata> {
        let renewed = self.secrets.renew(owner, name, renewal);
        self.forget(owner);
        renewed
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
        if self.is_partial(owner) {
            self.forget(owner);
        }
        Ok(value)
    }

    /// [`Secrets::reveal`].
    ///
    /// # Errors
    /// Its.
    pub fn reveal(&self, owner: u32, name: &Name) -> Result<(Metadata, Option<Zeroizing<Vec<u8>>>)> {
        let revealed = self.secrets.reveal(owner, name)?;
        // As with `value`.
        if self.is_partial(owner) {
            self.forget(owner);
        }
        Ok(revealed)
    }

    /// The values of these variables, in their order. They are looked for from now on, as `env:` and the name.
    ///
    /// # Errors
    /// `Sealed` for the first that cannot be decrypted: none is better than some, for a program that runs with them. `Io` when
    /// they cannot be remembered.
    pub fn variables(&self, owner: u32, variables: &[&Variable]) -> Result<Vec<Named>> {
        let key = self.secrets.key();
        let open = |one: &&Variable| Ok((format!("env:{}", one.name), one.decrypt(key, owner)?));
        let named = variables.iter().map(open).collect::<Result<Vec<_>>>()?;
        self.learn(owner, &named)?;
        let names = variables.iter().map(|one| one.name.clone());
        Ok(names.zip(named).map(|(name, (_, value))| (name, value)).collect())
    }

    /// Changes an encrypted file of variables; says of each what keeps it from being given out, if anything does.
    ///
    /// # Errors
    /// Those of [`Environment::parse`], and of each change.
    pub fn edit(&self, owner: u32, text: &str, edit: &Edit) -> Result<(Environment, Vec<Option<Error>>)> {
        let key = self.secrets.key();
        let mut environment = Environment::parse(text)?;
        environment.apply(edit, key, owner)?;
        let faults = environment.variables().map(|one| one.decrypt(key, owner).err()).collect();
        Ok((environment, faults))
    }

    /// [`Secrets::learn`]; from now on they are looked for.
    ///
    /// # Errors
    /// Its.
    pub fn learn(&self, owner: u32, values: &[Named]) -> Result<()> {
        // Whoever gives out the same value must not go on before it is looked for. A panic leaves nothing half done here.
        let _turn = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        if self.secrets.learn(owner, values)? || self.is_partial(owner) {
            self.forget(owner);
            // Ready before the command starts, so that what it writes can be shown while it runs.
            self.scanner(owner)?;
        }
        Ok(())
    }

    /// Whether there is a scanner that does not look for all values, because some could not be read when it was made.
    fn is_partial(&self, owner: u32) -> bool {
        self.lock().get(&owner).is_some_and(|kept| kept.scanner.is_some() && !kept.is_complete)
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
        // The same for who asks for both at once.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, "damaged").unwrap();
        keyring.forget(1);
        assert!(keyring.reveal(1, &name).is_err() && !is_found());
        fs::write(&path, whole).unwrap();
        keyring.reveal(1, &name).unwrap();
        assert!(is_found());
    }

    #[test]
    fn what_was_learned_is_looked_for_at_once_and_when_it_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap();
        let keyring = Keyring::new(secrets);
        let value = b"correct horse battery";
        let named = [("env:A".to_owned(), Zeroizing::new(value.to_vec()))];
        let is_found = || {
            let scanner = keyring.ready_scanner(1).unwrap();
            scanner.redact(value).bytes.as_ref() == b"[redacted:env:A]"
        };
        keyring.scanner(1).unwrap();
        assert!(!is_found());
        keyring.learn(1, &named).unwrap();
        assert!(is_found());
        // A scanner that was made while it could not be read.
        let path = directory.path().join("1/.learned");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, "damaged").unwrap();
        keyring.forget(1);
        keyring.scanner(1).unwrap();
        assert!(!is_found());
        fs::write(&path, whole).unwrap();
        keyring.learn(1, &named).unwrap();
        assert!(is_found());
    }

    #[test]
    fn a_file_of_variables_is_edited_and_opened() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap();
        let keyring = Keyring::new(secrets);
        let set = vec![("TOKEN".to_owned(), Zeroizing::new(b"correct horse".to_vec()))];
        let plain = Zeroizing::new("MODE=fast".to_owned());
        let edit = Edit { set, plain, hosts: vec!["h".into()], delete: Vec::new() };
        let (environment, faults) = keyring.edit(1, "", &edit).unwrap();
        assert_eq!((environment.variables().count(), faults.iter().flatten().count()), (2, 0));
        let text = environment.to_string();
        let wanted: Vec<_> = environment.variables().collect();
        let values = keyring.variables(1, &wanted).unwrap();
        let values: Vec<_> = values.iter().map(|(name, value)| (&**name, &***value)).collect();
        assert_eq!(values, [("MODE", &b"fast"[..]), ("TOKEN", b"correct horse")]);
        let (_, faults) = keyring.edit(2, &text, &Edit::default()).unwrap();
        assert!(
            faults.iter().all(|fault| fault.as_ref().is_some_and(|err| err.to_string().contains("user 1")))
        );
        let gone = Edit { delete: vec!["TOKEN".into()], ..Edit::default() };
        let (environment, _) = keyring.edit(1, &text, &gone).unwrap();
        assert_eq!(environment.variables().map(|one| &*one.name).collect::<Vec<_>>(), ["MODE"]);
        let err = keyring.edit(1, &environment.to_string(), &gone).unwrap_err().to_string();
        assert!(err.contains("no variable `TOKEN`"), "{err}");
    }
}
