//! Content-addressed files: what a call changed, as it was before, and results too large for an answer.

use crate::{Result, Table, Tables, at};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Files beside a table of who refers to them.
#[derive(Clone)]
pub struct Blobs {
    directory: PathBuf,
    capacity_bytes: u64,
    entries: Table<Entry>,
    /// The sizes of all entries added up.
    stored_bytes: Arc<Mutex<u64>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Entry {
    size_bytes: u64,
    /// Milliseconds since 1970, of the newest reference.
    touched_at: i64,
    /// Who may read it, and what for: `result/<uid>`, `before/<uid>`. Not who asked for it each time: the same content
    /// may come with every call, and this is written anew each time.
    owners: BTreeSet<String>,
}

/// What `put` stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of the content, lower-case hex.
    pub digest: String,
    /// Of the content.
    pub size_bytes: u64,
}

impl Blobs {
    /// Opens the store in `directory`, which keeps at most `capacity_bytes`: the longest untouched go first.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path, tables: &Tables, capacity_bytes: u64) -> Result<Self> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let entries: Table<Entry> = tables.table("blobs");
        let stored_bytes = entries.iter().map(|(_, entry)| entry.size_bytes).sum();
        let stored_bytes = Arc::new(Mutex::new(stored_bytes));
        Ok(Self { directory: directory.to_owned(), capacity_bytes, entries, stored_bytes })
    }

    /// Stores what `content` yields, durably, on behalf of `owner`.
    ///
    /// # Errors
    /// What the filesystem says, also when the content alone exceeds the capacity.
    pub fn put(&self, owner: &str, content: impl Read) -> Result<Stored> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(at(&self.directory))?;
        // One byte more than fits tells a content that is too large.
        let mut content = content.take(self.capacity_bytes + 1);
        let mut hasher = Sha256::new();
        let mut size_bytes = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = content.read(&mut buffer).map_err(at(&self.directory))?;
            let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
                break;
            };
            hasher.update(chunk);
            size_bytes += count as u64;
            file.write_all(chunk).map_err(at(&self.directory))?;
        }
        if size_bytes > self.capacity_bytes {
            let limit = self.capacity_bytes;
            return Err(at(&self.directory)(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("the content is larger than the whole store of {limit} bytes"),
            )));
        }
        let digest = hex(&hasher.finalize());
        let path = self.path(&digest);
        if !path.exists() {
            file.as_file().sync_data().map_err(at(&path))?;
            file.persist(&path).map_err(|err| at(&path)(err.error))?;
            File::open(&self.directory).and_then(|dir| dir.sync_all()).map_err(at(&self.directory))?;
        }
        let mut stored_bytes = self.stored_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries.get(&digest)?.is_none() {
            *stored_bytes += size_bytes;
        }
        self.entries.update(&digest, |old| {
            let mut entry = old.unwrap_or_default();
            entry.size_bytes = size_bytes;
            entry.touched_at = jiff::Timestamp::now().as_millisecond();
            entry.owners.insert(owner.to_owned());
            Some(entry)
        })?;
        if *stored_bytes > self.capacity_bytes {
            *stored_bytes = self.evict(&digest)?;
        }
        Ok(Stored { digest, size_bytes })
    }

    /// Reads up to `length` bytes from `offset` of a blob that `owner` refers to; `None` if there is none.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn read(
        &self,
        owner: &str,
        digest: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<(Vec<u8>, u64)>> {
        let Some((file, entry)) = self.find(owner, digest)? else {
            return Ok(None);
        };
        let path = self.path(digest);
        let left = usize::try_from(entry.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        file.read_exact_at(&mut bytes, offset).map_err(at(&path))?;
        Ok(Some((bytes, entry.size_bytes)))
    }

    /// Opens a blob that `owner` refers to for reading; `None` if there is none.
    ///
    /// # Errors
    /// What the table says.
    pub fn open_file(&self, owner: &str, digest: &str) -> Result<Option<File>> {
        Ok(self.find(owner, digest)?.map(|(file, _)| file))
    }

    fn find(&self, owner: &str, digest: &str) -> Result<Option<(File, Entry)>> {
        let entry = self.entries.get(digest)?.filter(|entry| entry.owners.contains(owner));
        Ok(entry.and_then(|entry| Some((File::open(self.path(digest)).ok()?, entry))))
    }

    /// Deletes what was not touched for longest until the store fits, never `newest`; returns what is left, in bytes.
    fn evict(&self, newest: &str) -> Result<u64> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        let mut total: u64 = entries.iter().map(|(_, entry)| entry.size_bytes).sum();
        entries.sort_by_key(|(_, entry)| entry.touched_at);
        for (digest, entry) in entries {
            if total <= self.capacity_bytes {
                break;
            }
            if digest != newest {
                self.delete(&digest)?;
                total -= entry.size_bytes;
            }
        }
        Ok(total)
    }

    fn delete(&self, digest: &str) -> Result<()> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(at(path)(err)),
        }
        self.entries.remove(digest)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory.join(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(capacity: u64) -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(&directory.path().join("state")).unwrap();
        let blobs = Blobs::open(&directory.path().join("blobs"), &tables, capacity).unwrap();
        (directory, blobs)
    }

    #[test]
    fn only_owners_read() {
        let (_keep, blobs) = sample(100);
        let stored = blobs.put("a", &b"hello"[..]).unwrap();
        assert_eq!(blobs.put("b", &b"hello"[..]).unwrap(), stored);
        assert_eq!(blobs.read("a", &stored.digest, 1, 3).unwrap(), Some((b"ell".to_vec(), 5)));
        assert_eq!(blobs.read("c", &stored.digest, 0, 9).unwrap(), None);
        assert_eq!(blobs.read("b", &stored.digest, 9, 9).unwrap(), Some((vec![], 5)));
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let (_keep, blobs) = sample(10);
        let first = blobs.put("a", &b"123456"[..]).unwrap();
        let second = blobs.put("a", &b"abcdef"[..]).unwrap();
        assert_eq!(blobs.read("a", &first.digest, 0, 9).unwrap(), None);
        assert_eq!(blobs.read("a", &second.digest, 0, 9).unwrap(), Some((b"abcdef".to_vec(), 6)));
        assert!(blobs.put("a", &b"0123456789a"[..]).is_err());
        // The same again takes no room, and what is kept is counted once.
        for _ in 0..5 {
            blobs.put("a", &b"abcdef"[..]).unwrap();
        }
        assert_eq!(*blobs.stored_bytes.lock().unwrap(), 6);
        blobs.put("b", &b"wxyz"[..]).unwrap();
        assert!(blobs.read("a", &second.digest, 0, 9).unwrap().is_some());
    }
}
