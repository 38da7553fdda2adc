//! Content-addressed files: what a call changed, as it was before, and results too large for an answer. What is read is
//! what was stored or nothing: a file that does not have its digest is set aside.

use crate::{Result, aside, at};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use std::{
    cmp::Reverse,
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// What the names begin with of files that are being stored.
const TEMPORARY: &[u8] = b".tmp";

/// Files, `<owner>/<digest>` below a directory. An owner says who may read it and what for: `result/<uid>`,
/// `before/<uid>`, and `result/<uid>/<token>` for one token of a user. The files are all there is, so what was stored survives whatever happens to anything else.
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
    /// The part of that of each user, by the second name of the owner.
    by_user: HashMap<String, u64>,
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
            } else if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY)) {
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
        let is_known = self.is_whole(&place, &stored.digest);
        if !is_known {
            // What takes long is not done under the lock.
            file.as_file().sync_data().map_err(at(&path))?;
        }
        let mut index = self.lock();
        // Under the lock to the end: what is found there must not be evicted before it is touched.
        if !is_known || !index.entries.contains_key(&place) {
            file.as_file().sync_data().map_err(at(&path))?;
            let parent = self.directory.join(owner);
            make_directory(&parent).map_err(at(&parent))?;
            file.persist(&path).map_err(|err| at(&path)(err.error))?;
            File::open(&parent).and_then(|directory| directory.sync_all()).map_err(at(&parent))?;
        }
        let touched_at = SystemTime::now();
        // For the next daemon; only the order of what goes first is lost without it.
        let _ = File::open(&path).and_then(|file| file.set_modified(touched_at));
        index.remove(&place);
        index.add(place.clone(), Entry { size_bytes: stored.size_bytes, touched_at, is_checked: true });
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

    /// How much is stored, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.lock().stored_bytes
    }

    /// How much is stored for the user of that number, in bytes: all of what owners like `result/<uid>` have.
    #[must_use]
    pub fn bytes_of_user(&self, uid: u32) -> u64 {
        self.lock().by_user.get(&uid.to_string()).copied().unwrap_or_default()
    }

    /// Deletes what was not touched for longest of what is stored for that user, until it is at most `most_bytes`; never
    /// the newest.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn shrink_user(&self, uid: u32, most_bytes: u64) -> Result<()> {
        let user = uid.to_string();
        let mut index = self.lock();
        let mut oldest_first = index.oldest_first(|place| user_of(place) == Some(&user));
        oldest_first.pop();
        for place in oldest_first {
            if index.by_user.get(&user).is_none_or(|bytes| *bytes <= most_bytes) {
                break;
            }
            self.remove(&mut index, &place)?;
        }
        Ok(())
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
                index.remove(place);
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

    /// Deletes what was not touched for longest until there is some room again, never `newest`; of the user first who has
    /// most, so that nobody loses what is his to another's.
    fn evict(&self, index: &mut Index, newest: &Path) -> Result<()> {
        // A tenth more than must be, so that this is not done for each that comes.
        let wanted = self.capacity_bytes - self.capacity_bytes / 10;
        for place in index.most_held_first(newest) {
            if index.stored_bytes <= wanted {
                break;
            }
            self.remove(index, &place)?;
        }
        Ok(())
    }

    fn remove(&self, index: &mut Index, place: &Path) -> Result<()> {
        let path = self.directory.join(place);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(at(path)(err)),
        }
        index.remove(place);
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
                    let entry = Entry { size_bytes: metadata.len(), touched_at, is_checked: false };
                    self.add(place.to_owned(), entry);
                }
                Err(err) => unreadable(err),
            }
        }
    }

    /// Notes a file; one that is noted already has only been touched.
    fn add(&mut self, place: PathBuf, entry: Entry) {
        let size_bytes = entry.size_bytes;
        let user = user_of(&place).map(str::to_owned);
        if self.entries.insert(place, entry).is_some() {
            return;
        }
        self.stored_bytes += size_bytes;
        if let Some(user) = user {
            *self.by_user.entry(user).or_default() += size_bytes;
        }
    }

    /// Forgets a file.
    fn remove(&mut self, place: &Path) {
        let gone = self.entries.remove(place).map_or(0, |entry| entry.size_bytes);
        self.stored_bytes -= gone;
        if let Some(bytes) = user_of(place).and_then(|user| self.by_user.get_mut(user)) {
            *bytes -= gone;
        }
    }

    /// All but one, those of the user first who has most, and of his what was not touched for longest.
    fn most_held_first(&self, newest: &Path) -> Vec<PathBuf> {
        let held =
            |place: &Path| user_of(place).and_then(|user| self.by_user.get(user)).copied().unwrap_or(0);
        let others = self.entries.iter().filter(|(place, _)| *place != newest);
        let mut others: Vec<_> =
            others.map(|(place, entry)| (Reverse(held(place)), entry.touched_at, place.clone())).collect();
        others.sort();
        others.into_iter().map(|(_, _, place)| place).collect()
    }

    /// Those of these places, what was not touched for longest first.
    fn oldest_first(&self, is_meant: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let meant = self.entries.iter().filter(|(place, _)| is_meant(place));
        let mut meant: Vec<_> = meant.map(|(place, entry)| (entry.touched_at, place.clone())).collect();
        meant.sort();
        meant.into_iter().map(|(_, place)| place).collect()
    }
}

/// The second name of its owner: `7` of `result/7/<digest>` and of `result/7/<token>/<digest>`.
fn user_of(place: &Path) -> Option<&str> {
    let mut names = place.iter();
    let user = names.nth(1)?.to_str();
    names.next().and(user)
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
    fn what_is_kept_for_a_user_is_counted_and_his_oldest_go() {
        let (keep, blobs) = sample(100);
        let first = blobs.put("before/7", &b"123456"[..]).unwrap();
        let other = blobs.put("before/8", &b"123456"[..]).unwrap();
        let second = blobs.put("result/7/token", &b"abcd"[..]).unwrap();
        blobs.put("result/7/token", &b"abcd"[..]).unwrap();
        blobs.put("nobody", &b"x"[..]).unwrap();
        assert_eq!([7, 8, 9].map(|uid| blobs.bytes_of_user(uid)), [10, 6, 0]);
        let again = Blobs::open(&keep.path().join("blobs"), 100).unwrap();
        assert_eq!([7, 8, 9].map(|uid| again.bytes_of_user(uid)), [10, 6, 0]);

        blobs.shrink_user(7, 9).unwrap();
        assert_eq!(blobs.read("before/7", &first.digest, 0, 9).unwrap(), None);
        assert!(blobs.read("before/8", &other.digest, 0, 9).unwrap().is_some());
        // The newest stays, however little is allowed.
        blobs.shrink_user(7, 1).unwrap();
        assert!(blobs.read("result/7/token", &second.digest, 0, 9).unwrap().is_some());
        assert_eq!((blobs.bytes_of_user(7), blobs.lock().stored_bytes), (4, 11));
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_can_be_stored_again() {
        let (keep, blobs) = sample(100);
        let stored = blobs.put("a", &b"hello"[..]).unwrap();
        let directory = keep.path().join("blobs");
        let path = directory.join("a").join(&stored.digest);
        let damages: [&dyn Fn(); 3] =
            [&|| fs::write(&path, "jello").unwrap(), &|| fs::write(&path, "").unwrap(), &|| {
                // The second time there is the directory already.
                let _ = fs::remove_file(&path);
                fs::create_dir_all(&path).unwrap();
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
