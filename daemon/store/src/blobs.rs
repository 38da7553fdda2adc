//! Content-addressed files: what a call changed, as it was before, and results too large for an answer. What is read is
//! what was stored or nothing: a file that does not have its digest is set aside.

use crate::{Result, aside, at};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Files, `<owner>/<digest>` below a directory. An owner says who may read it and what for: `result/<uid>`,
/// `before/<uid>`. The files are all there is, so what was stored survives whatever happens to anything else.
#[derive(Clone)]
pub struct Blobs {
    directory: PathBuf,
    capacity_bytes: u64,
    index: Arc<Mutex<Index>>,
}

/// What is in the directory.
#[derive(Default)]
struct Index {
    /// By path below the directory.
    entries: HashMap<PathBuf, Entry>,
    /// The sizes of all entries added up.
    stored_bytes: u64,
}

struct Entry {
    size_bytes: u64,
    /// When it was stored last; the file's own time after a restart.
    touched_at: SystemTime,
    /// Whether this daemon knows that the file has its digest.
    is_checked: bool,
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
    /// Opens the store in `directory`, which keeps at most `capacity_bytes`: the longest untouched go first. What lies in
    /// its place is set aside, and what below it cannot be looked at is passed over, both with a word in the log.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path, capacity_bytes: u64) -> Result<Self> {
        aside::unless_directory(directory)?;
        fs::create_dir_all(directory).map_err(at(directory))?;
        let mut index = Index::default();
        for entry in fs::read_dir(directory).map_err(at(directory))? {
            let path = entry.map_err(at(directory))?.path();
            if path.is_dir() {
                index.take_in(directory, &path);
            } else if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp")) {
                // What was not stored to its end when the last daemon died.
                fs::remove_file(&path).map_err(at(&path))?;
            } else {
                // Where a directory should be: it would keep what belongs below it from being stored.
                aside::or_say(&path, "a file where blobs have a directory");
            }
        }
        Ok(Self { directory: directory.to_owned(), capacity_bytes, index: Arc::new(Mutex::new(index)) })
    }

    /// Stores what `content` yields, durably, on behalf of `owner`.
    ///
    /// # Errors
    /// What the filesystem says, also when the content alone exceeds the capacity.
    pub fn put(&self, owner: &str, content: impl Read) -> Result<Stored> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(at(&self.directory))?;
        let stored = self.copy(content, &mut file)?;
        let place = Path::new(owner).join(&stored.digest);
        let path = self.directory.join(&place);
        if !self.is_whole(&place, &stored.digest) {
            file.as_file().sync_data().map_err(at(&path))?;
            let parent = self.directory.join(owner);
            make_directory(&parent).map_err(at(&parent))?;
            file.persist(&path).map_err(|err| at(&path)(err.error))?;
            File::open(&parent).and_then(|directory| directory.sync_all()).map_err(at(&parent))?;
        }
        let mut index = self.lock();
        let touched_at = SystemTime::now();
        // For the next daemon; only the order of what goes first is lost without it.
        let _ = File::open(&path).and_then(|file| file.set_modified(touched_at));
        let entry = Entry { size_bytes: stored.size_bytes, touched_at, is_checked: true };
        let before = index.entries.insert(place.clone(), entry).map_or(0, |entry| entry.size_bytes);
        index.stored_bytes = index.stored_bytes.saturating_sub(before) + stored.size_bytes;
        if index.stored_bytes > self.capacity_bytes {
            self.evict(&mut index, &place)?;
        }
        Ok(stored)
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
        let Some(file) = self.open_file(owner, digest)? else {
            return Ok(None);
        };
        let path = self.directory.join(owner).join(digest);
        let size_bytes = file.metadata().map_err(at(&path))?.len();
        let left = usize::try_from(size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        file.read_exact_at(&mut bytes, offset).map_err(at(&path))?;
        Ok(Some((bytes, size_bytes)))
    }

    /// Opens a blob that `owner` refers to for reading; `None` if there is none.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open_file(&self, owner: &str, digest: &str) -> Result<Option<File>> {
        let place = Path::new(owner).join(digest);
        // A name that is more than a digest could be the place of another owner's.
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest || !self.lock().entries.contains_key(&place) || !self.is_whole(&place, digest) {
            return Ok(None);
        }
        let path = self.directory.join(place);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(at(path)(err)),
        }
    }

    /// Whether there is a file that has its digest. What was checked once is looked at again only if its size changed; what
    /// turns out to be something else is set aside.
    fn is_whole(&self, place: &Path, digest: &str) -> bool {
        let path = self.directory.join(place);
        let Ok(found) = fs::symlink_metadata(&path) else { return false };
        let is_known = |entry: &Entry| entry.is_checked && found.is_file() && entry.size_bytes == found.len();
        if self.lock().entries.get(place).is_some_and(is_known) {
            return true;
        }
        let has_digest =
            || -> io::Result<bool> { Ok(self.copy(File::open(&path)?, &mut io::sink())?.digest == digest) };
        match has_digest() {
            Ok(true) => {
                if let Some(entry) = self.lock().entries.get_mut(place) {
                    entry.is_checked = true;
                }
                true
            }
            // It may be readable again later, and is replaced if the same is stored before.
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                tracing::error!(path = %path.display(), error = %err, "a blob cannot be read");
                false
            }
            Ok(false) | Err(_) => {
                let mut index = self.lock();
                let gone = index.entries.remove(place).map_or(0, |entry| entry.size_bytes);
                index.stored_bytes = index.stored_bytes.saturating_sub(gone);
                drop(index);
                aside::or_say(&path, "a damaged blob, which is not kept any more");
                false
            }
        }
    }

    /// Writes `content` to `file`; refuses more than the whole store takes.
    fn copy(&self, content: impl Read, file: &mut impl io::Write) -> Result<Stored> {
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
        Ok(Stored { digest: hex(&hasher.finalize()), size_bytes })
    }

    /// Deletes what was not touched for longest until the store fits, never `newest`.
    fn evict(&self, index: &mut Index, newest: &Path) -> Result<()> {
        let mut oldest_first: Vec<_> =
            index.entries.iter().map(|(place, entry)| (entry.touched_at, place.clone())).collect();
        oldest_first.sort();
        for (_, place) in oldest_first {
            if index.stored_bytes <= self.capacity_bytes {
                break;
            }
            if place == newest {
                continue;
            }
            let path = self.directory.join(&place);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(at(path)(err)),
            }
            let gone = index.entries.remove(&place).map_or(0, |entry| entry.size_bytes);
            index.stored_bytes -= gone;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // A panic between its changes leaves at worst a size too large.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Notes all files below `path` that can be looked at.
    fn take_in(&mut self, directory: &Path, path: &Path) {
        let unreadable = |err: io::Error| {
            tracing::error!(path = %path.display(), error = %err, "some blobs cannot be looked at, and count as not kept");
        };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // What is stored next must find a place; what is in it can be moved back.
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                return aside::or_say(path, "its blobs cannot be read, and count as not kept");
            }
            Err(err) => return unreadable(err),
        };
        for entry in entries {
            let found = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)));
            match found {
                Ok((below, metadata)) if metadata.is_dir() => self.take_in(directory, &below),
                Ok((file, metadata)) => {
                    let Ok(place) = file.strip_prefix(directory) else { continue };
                    let touched_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    self.stored_bytes += metadata.len();
                    let entry = Entry { size_bytes: metadata.len(), touched_at, is_checked: false };
                    self.entries.insert(place.to_owned(), entry);
                }
                Err(err) => unreadable(err),
            }
        }
    }
}

/// Makes a directory with those above it, so that they survive a power cut.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    aside::unless_directory(path)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(capacity: u64) -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&directory.path().join("blobs"), capacity).unwrap();
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
        assert_eq!(blobs.lock().stored_bytes, 6);
        blobs.put("b", &b"wxyz"[..]).unwrap();
        assert!(blobs.read("a", &second.digest, 0, 9).unwrap().is_some());
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_can_be_stored_again() {
        let (keep, blobs) = sample(100);
        let stored = blobs.put("a", &b"hello"[..]).unwrap();
        let directory = keep.path().join("blobs");
        let path = directory.join("a").join(&stored.digest);
        let damages: [&dyn Fn(); 3] =
            [&|| fs::write(&path, "jello").unwrap(), &|| fs::write(&path, "").unwrap(), &|| {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }];
        for damage in damages {
            damage();
            // Another daemon: this one knows what it stored.
            let again = Blobs::open(&directory, 100).unwrap();
            assert_eq!(again.read("a", &stored.digest, 0, 9).unwrap(), None);
            damage();
            let again = Blobs::open(&directory, 100).unwrap();
            assert_eq!(again.put("a", &b"hello"[..]).unwrap(), stored);
            assert_eq!(again.read("a", &stored.digest, 0, 9).unwrap(), Some((b"hello".to_vec(), 5)));
        }
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "no directory").unwrap();
        let again = Blobs::open(&directory, 100).unwrap();
        assert_eq!(again.put("a", &b"hello"[..]).unwrap(), stored);
    }

    #[test]
    fn what_was_stored_is_there_after_a_crash() {
        let (keep, blobs) = sample(100);
        let stored = blobs.put("before/7", &b"hello"[..]).unwrap();
        let directory = keep.path().join("blobs");
        fs::write(directory.join(".tmp-torn"), "hel").unwrap();
        // As it is for a daemon that was killed: nothing was closed.
        let again = Blobs::open(&directory, 100).unwrap();
        assert_eq!(again.read("before/7", &stored.digest, 0, 9).unwrap(), Some((b"hello".to_vec(), 5)));
        assert_eq!(again.read("before", &format!("7/{}", stored.digest), 0, 9).unwrap(), None);
        assert_eq!((again.lock().stored_bytes, directory.join(".tmp-torn").exists()), (5, false));
    }
}
