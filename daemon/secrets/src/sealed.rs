//! Entries that are kept encrypted and can be forgotten for good: a directory per user, and a file per entry with a key of
//! its own.
//!
//! ```text
//! 8 bytes   magic: `SKYSEA`, and the version of the format, 16 bits, big-endian
//! 8 bytes   fingerprint of the key that the entry's key is sealed with
//! 72 bytes  XChaCha20-Poly1305 of the entry's key: nonce, key, tag
//! rest      the same of the entry, with the entry's key
//! ```
//!
//! The associated data is magic, fingerprint, owner (32 bits, big-endian) and name of the entry, so a file that is renamed, or put into
//! the directory of somebody else, cannot be decrypted. To forget an entry is to overwrite its key: what a disk or a
//! backup of later still has of the file says nothing then.

use crate::{Error, MasterKey, Result, at, cipher, cipher::OVERHEAD_BYTES, store::Readable};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use uuid::Uuid;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"SKYSEA\x00\x01";

/// Where the sealed key of an entry is.
const KEY_AT: usize = 16;
const KEY_BYTES: usize = 32;
const SEALED_KEY_BYTES: usize = KEY_BYTES + OVERHEAD_BYTES;

/// Of one entry, in bytes.
pub const LONGEST_ENTRY: usize = 1 << 20;

/// What files are called while they are written.
const TEMPORARY: &str = ".new-";

/// The name of an entry, and what it says.
pub type SealedEntry = (Uuid, Zeroizing<Vec<u8>>);

/// Entries of all users.
pub struct SealedEntries {
    directory: PathBuf,
    key: MasterKey,
}

impl SealedEntries {
    /// Those in `directory`, whose keys are sealed with `key`.
    ///
    /// # Errors
    /// `Io` when the directory cannot be made.
    pub fn open(directory: &Path, key: MasterKey) -> Result<Self> {
        make_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), key })
    }

    /// Keeps an entry, durably, in the place of one of that name.
    ///
    /// # Errors
    /// `Invalid` for one that is too long, `Io` when it cannot be written.
    pub fn put(&self, owner: u32, id: Uuid, entry: &[u8]) -> Result<()> {
        if entry.len() > LONGEST_ENTRY {
            return Err(Error::Invalid(format!("an entry has at most {LONGEST_ENTRY} bytes")));
        }
        let mut own = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut own[..]).map_err(Error::Random)?;
        let context = self.context(owner, id);
        let mut file = MAGIC.to_vec();
        file.extend(self.key.fingerprint());
        file.extend(cipher::seal(&self.key, &context, &own[..])?);
        file.extend(cipher::seal(&MasterKey::from_bytes(*own), &context, entry)?);
        let home = self.home(owner);
        make_directory(&home)?;
        let path = home.join(id.as_simple().to_string());
        let temporary = home.join(format!("{TEMPORARY}{}", Uuid::new_v4().as_simple()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(
            |mut new| {
                new.write_all(&file)?;
                new.sync_all()
            },
        );
        written
            .inspect_err(|_| {
                // Or a disk that is full would stay so.
                let _ = fs::remove_file(&temporary);
            })
            .map_err(at(&temporary))?;
        // The key of what was there is of no use to anybody from now on.
        let old = File::options().write(true).open(&path).ok();
        fs::rename(&temporary, &path).map_err(at(&path))?;
        sync_directory(&home)?;
        if let Some(old) = old {
            destroy_key(&old).map_err(at(&path))?;
        }
        Ok(())
    }

    /// All entries of a user that can be read, and what is wrong with the others.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn all(&self, owner: u32) -> Result<Readable<SealedEntry>> {
        let home = self.home(owner);
        let entries = match fs::read_dir(&home) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Ok(Readable { found: Vec::new(), damaged: Vec::new() });
            }
            Err(err) => return Err(at(home)(err)),
        };
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for entry in entries {
            let name = entry.map_err(at(&home))?.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) {
                // What a write that was cut short left: nobody was told that it is kept.
                fs::remove_file(home.join(&name)).map_err(at(&home))?;
                continue;
            }
            match Uuid::try_parse(&name).ok().map(|id| (id, self.read(owner, id))) {
                Some((id, Ok(entry))) => found.push((id, entry)),
                Some((_, Err(err))) => damaged.push(err),
                None => {
                    damaged.push(Error::Damaged { name, reason: "its name is none of an entry's".into() });
                }
            }
        }
        Ok(Readable { found, damaged })
    }

    fn read(&self, owner: u32, id: Uuid) -> Result<Zeroizing<Vec<u8>>> {
        let path = self.home(owner).join(id.as_simple().to_string());
        let damaged = |reason: &str| Error::Damaged { name: id.to_string(), reason: reason.to_owned() };
        let mut bytes = Vec::new();
        let most = (LONGEST_ENTRY + 2 * SEALED_KEY_BYTES) as u64;
        File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(at(&path))?;
        let (head, rest) = bytes.split_at_checked(KEY_AT).ok_or_else(|| damaged("its file is cut short"))?;
        if !head.starts_with(&MAGIC) {
            return Err(damaged("its file is none of this version"));
        }
        if !head.ends_with(&self.key.fingerprint()) {
            return Err(damaged("it was written with another key; restore the key file of then"));
        }
        let (sealed, entry) =
            rest.split_at_checked(SEALED_KEY_BYTES).ok_or_else(|| damaged("its file is cut short"))?;
        let context = self.context(owner, id);
        let own =
            cipher::open(&self.key, &context, sealed).and_then(|own| own.first_chunk::<KEY_BYTES>().copied());
        let own =
            own.map(MasterKey::from_bytes).ok_or_else(|| damaged("its key was destroyed or changed"))?;
        cipher::open(&own, &context, entry).ok_or_else(|| damaged("it was changed"))
    }

    /// Forgets an entry for good; whether there was one.
    ///
    /// # Errors
    /// `Io` when the disk refuses; then it may still be there.
    pub fn forget(&self, owner: u32, id: Uuid) -> Result<bool> {
        let home = self.home(owner);
        let path = home.join(id.as_simple().to_string());
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(err) => return Err(at(path)(err)),
        };
        destroy_key(&file).map_err(at(&path))?;
        fs::remove_file(&path).map_err(at(&path))?;
        sync_directory(&home)?;
        Ok(true)
    }

    fn home(&self, owner: u32) -> PathBuf {
        self.directory.join(owner.to_string())
    }

    fn context(&self, owner: u32, id: Uuid) -> Vec<u8> {
        [&MAGIC[..], &self.key.fingerprint(), &owner.to_be_bytes(), id.as_bytes()].concat()
    }
}

fn destroy_key(file: &File) -> io::Result<()> {
    file.write_all_at(&[0; SEALED_KEY_BYTES], KEY_AT as u64)?;
    file.sync_all()
}

fn make_directory(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(err)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_owners_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let entries = SealedEntries::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap();
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        entries.put(1, one, b"first").unwrap();
        entries.put(1, one, b"second").unwrap();
        entries.put(1, other, b"other").unwrap();
        let texts = |owner| {
            let Readable { found: all, damaged } = entries.all(owner).unwrap();
            let all: Vec<_> = all.into_iter().map(|(_, entry)| entry.to_vec()).collect();
            (all.len(), all.concat().len(), damaged.len())
        };
        assert_eq!((texts(1), texts(2)), ((2, 11, 0), (0, 0, 0)));
        let path =
            |owner: u32, id: Uuid| directory.path().join(owner.to_string()).join(id.as_simple().to_string());
        let sealed = fs::read(path(1, one)).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"second"));
        // Of somebody else it cannot be read.
        fs::create_dir(directory.path().join("2")).unwrap();
        fs::copy(path(1, one), path(2, one)).unwrap();
        assert_eq!(texts(2), (0, 0, 1));
        // An old copy of the file is worth nothing without the key.
        let kept = File::options().read(true).open(path(1, one)).unwrap();
        assert!(entries.forget(1, one).unwrap() && !entries.forget(1, one).unwrap());
        let mut left = [0; SEALED_KEY_BYTES];
        kept.read_exact_at(&mut left, KEY_AT as u64).unwrap();
        assert_eq!(left, [0; SEALED_KEY_BYTES]);
        assert_eq!(texts(1), (1, 5, 0));
    }
}
