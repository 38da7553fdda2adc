//! One sled database that may stop taking writes and comes back. After a failed write sled refuses everything that
//! needs the disk until it is opened again; from then on what is written is kept in memory, and it is opened again as
//! soon as there is room. What was synced is never lost by that, and what is kept in memory is never called synced.

use crate::{
    Error, Result, aside, at,
    promises::{PROMISES, Promises},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

/// How often it is looked whether the database can be opened again.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Opening takes room for a snapshot and for segments of 512 KiB.
const NEEDED_BYTES: u64 = 4 << 20;

/// How much of what cannot be stored is kept in memory.
const MOST_KEPT_BYTES: usize = 8 << 20;

/// What becomes of a value while it cannot be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unstored {
    Kept,
    Dropped,
}

/// Which opening of the database a write went to: counts its failures.
pub(crate) type Epoch = u64;

pub(crate) struct Database {
    directory: PathBuf,
    state: RwLock<State>,
    promises: Promises,
    /// How many changes were promised to last.
    promised: Mutex<u64>,
}

struct State {
    /// After a failure it serves reads, which sled answers from memory mostly; absent where opening it again failed.
    db: Option<sled::Db>,
    epoch: Epoch,
    failure: Option<Failure>,
    /// Cloned by everything that still reads and so holds the lock of the database.
    in_use: Arc<()>,
}

struct Failure {
    reason: sled::Error,
    tried_at: Instant,
    /// By table and key; `None` is removed.
    kept: BTreeMap<(String, String), Option<Vec<u8>>>,
    kept_bytes: usize,
}

impl Database {
    /// Opens the database in `directory`. A damaged one is renamed to `<directory>.corrupt-<time>` and replaced by an
    /// empty one.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let state = State { db: Some(open(directory)?), epoch: 0, failure: None, in_use: Arc::default() };
        let (kept, promises) = (state.get(PROMISES, PROMISES)?, Promises::beside(directory));
        let promised = promises.compare(kept.as_deref());
        let (directory, state) = (directory.to_owned(), RwLock::new(state));
        Ok(Self { directory, state, promises, promised: Mutex::new(promised) })
    }

    /// Like [`Database::sync`], of what must not be lost unnoticed: the next opening says so if it was.
    pub(crate) fn promise(&self, epoch: Epoch) -> Result<()> {
        // A panic while holding it leaves a number that was promised.
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let next = promised.saturating_add(1);
        self.write(PROMISES, PROMISES, Some(&next.to_le_bytes()), Unstored::Kept)?;
        self.sync(Some(epoch))?;
        *promised = next;
        self.promises.note(next);
        Ok(())
    }

    pub(crate) fn read(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>> {
        self.repair_if_due();
        self.reading().get(table, key)
    }

    /// Stores or removes a value; returns where it went, for [`Database::sync`].
    pub(crate) fn write(
        &self,
        table: &str,
        key: &str,
        value: Option<&[u8]>,
        unstored: Unstored,
    ) -> Result<Epoch> {
        self.repair_if_due();
        let (epoch, failed) = {
            let state = self.reading();
            (state.epoch, state.failure.is_none().then(|| state.store(table, key, value)))
        };
        match failed {
            Some(Ok(())) => return Ok(epoch),
            Some(Err(reason)) => self.fail(epoch, reason),
            None => {}
        }
        if unstored == Unstored::Kept { self.writing().keep(table, key, value) } else { Ok(epoch) }
    }

    /// Changes a value atomically; returns the new one.
    pub(crate) fn update(
        &self,
        table: &str,
        key: &str,
        change: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        self.repair_if_due();
        let (epoch, failed) = {
            let state = self.reading();
            let changed = || state.tree(table)?.update_and_fetch(key, &change);
            (state.epoch, state.failure.is_none().then(changed))
        };
        match failed {
            Some(Ok(after)) => return Ok(after.map(|bytes| bytes.to_vec())),
            Some(Err(reason)) => self.fail(epoch, reason),
            None => {}
        }
        let mut state = self.writing();
        let after = change(state.get(table, key)?.as_deref());
        state.keep(table, key, after.as_deref())?;
        Ok(after)
    }

    /// The tables there are, also those that could not be stored yet.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.repair_if_due();
        let state = self.reading();
        // sled's own tree is nobody's.
        let stored = state.db.iter().flat_map(sled::Db::tree_names);
        let stored = stored.filter_map(|name| String::from_utf8(name.to_vec()).ok());
        let kept =
            state.failure.iter().flat_map(|failure| failure.kept.keys()).map(|(table, _)| table.clone());
        stored.filter(|name| name != "__sled__default").chain(kept).collect()
    }

    /// All entries of a table, in order of key.
    pub(crate) fn iter(&self, table: &str) -> impl Iterator<Item = (String, Vec<u8>)> + use<> {
        self.repair_if_due();
        let state = self.reading();
        // What cannot be read is not there.
        let stored = state.tree(table).ok().map(|tree| tree.iter()).into_iter().flatten();
        let in_use = state.in_use.clone();
        let stored = stored.filter_map(move |entry| {
            let _still_in_use = &in_use;
            let (key, bytes) = entry.ok()?;
            Some((String::from_utf8(key.to_vec()).ok()?, bytes.to_vec()))
        });
        let Some(failure) = &state.failure else { return Entries::Stored(stored) };
        let mut merged: BTreeMap<String, Vec<u8>> = stored.collect();
        for ((_, key), value) in failure.kept.iter().filter(|((kept_in, _), _)| kept_in == table) {
            match value {
                Some(bytes) => drop(merged.insert(key.clone(), bytes.clone())),
                None => drop(merged.remove(key)),
            }
        }
        Entries::Merged(merged.into_iter())
    }

    /// Makes what was written in `epoch` survive a power cut; what was written in whichever, without one. sled's own
    /// `flush` is `sync_file_range` on Linux, which promises nothing about the disk's cache, so the file is synced too.
    pub(crate) fn sync(&self, epoch: Option<Epoch>) -> Result<()> {
        let (current, synced) = {
            let state = self.reading();
            (state.epoch, state.failure.is_none().then(|| state.sync(&self.directory)))
        };
        match synced {
            // Written before a failure, it may have been lost with it.
            _ if epoch.is_some_and(|epoch| epoch != current) => Err(self.failed_before()),
            Some(Ok(())) => Ok(()),
            Some(Err(reason)) => {
                self.fail(current, reason.clone());
                Err(reason.into())
            }
            None => self.writing().repair(&self.directory),
        }
    }

    fn failed_before(&self) -> Error {
        let reason = self.reading().failure.as_ref().map(|failure| failure.reason.clone());
        reason.map_or_else(|| io_error("the state database failed in between").into(), Error::Table)
    }

    /// Serves from memory from now on.
    pub(crate) fn fail(&self, epoch: Epoch, reason: sled::Error) {
        let mut state = self.writing();
        if state.epoch != epoch || state.failure.is_some() {
            return;
        }
        tracing::error!(error = %reason, "the state database takes no writes; they stay in memory until it does");
        let kept = BTreeMap::new();
        state.failure = Some(Failure { reason, tried_at: Instant::now(), kept, kept_bytes: 0 });
        state.epoch += 1;
    }

    fn repair_if_due(&self) {
        let is_due = |state: &State| {
            state.failure.as_ref().is_some_and(|failure| failure.tried_at.elapsed() >= TRY_EVERY)
        };
        if is_due(&self.reading()) {
            let mut state = self.writing();
            // Said when it began; another thread may have tried just now.
            let _ = is_due(&state).then(|| state.repair(&self.directory));
        }
    }

    fn reading(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tree(&self, table: &str) -> sled::Result<sled::Tree> {
        let absent =
            || self.failure.as_ref().map_or_else(|| io_error("closed"), |failure| failure.reason.clone());
        self.db.as_ref().ok_or_else(absent)?.open_tree(table)
    }

    fn get(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let kept =
            self.failure.as_ref().and_then(|failure| failure.kept.get(&(table.to_owned(), key.to_owned())));
        match kept {
            Some(value) => Ok(value.clone()),
            None => Ok(self.tree(table)?.get(key)?.map(|bytes| bytes.to_vec())),
        }
    }

    fn store(&self, table: &str, key: &str, value: Option<&[u8]>) -> sled::Result<()> {
        let tree = self.tree(table)?;
        match value {
            Some(bytes) => tree.insert(key, bytes)?,
            None => tree.remove(key)?,
        };
        Ok(())
    }

    fn sync(&self, directory: &Path) -> sled::Result<()> {
        if let Some(db) = &self.db {
            db.flush()?;
        }
        File::open(directory.join("db"))?.sync_all()?;
        Ok(())
    }

    /// Keeps a value in memory, or stores it where the database was opened again meanwhile.
    fn keep(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<Epoch> {
        let Some(failure) = &mut self.failure else {
            self.store(table, key, value)?;
            return Ok(self.epoch);
        };
        let size = |value: Option<&[u8]>| table.len() + key.len() + value.map_or(0, <[u8]>::len);
        let name = (table.to_owned(), key.to_owned());
        let before = failure.kept.get(&name).map_or(0, |old| size(old.as_deref()));
        let after = failure.kept_bytes - before + size(value);
        if after > MOST_KEPT_BYTES && after > failure.kept_bytes {
            return Err(failure.reason.clone().into());
        }
        failure.kept_bytes = after;
        failure.kept.insert(name, value.map(<[u8]>::to_vec));
        Ok(self.epoch)
    }

    /// Opens the database again, and stores what was kept.
    fn repair(&mut self, directory: &Path) -> Result<()> {
        let Some(failure) = &mut self.failure else { return Ok(()) };
        failure.tried_at = Instant::now();
        if !has_room(directory) || Arc::strong_count(&self.in_use) > 1 {
            return Err(failure.reason.clone().into());
        }
        // Its lock must go before it is opened again; that what it holds cannot be written is known.
        self.db = None;
        wait_until_unlocked(directory);
        self.db = match open(directory) {
            Ok(db) => Some(db),
            Err(err) => {
                tracing::error!(error = %err, "the state database cannot be opened again yet");
                return Err(err);
            }
        };
        let kept = self.failure.as_ref().map(|failure| &failure.kept).into_iter().flatten();
        let stored = kept
            .map(|((table, key), value)| self.store(table, key, value.as_deref()))
            .chain(std::iter::once_with(|| self.sync(directory)))
            .find_map(Result::err);
        if let Some(reason) = stored {
            if let Some(failure) = &mut self.failure {
                failure.reason = reason.clone();
            }
            return Err(reason.into());
        }
        tracing::info!("the state database takes writes again");
        self.failure = None;
        Ok(())
    }
}

/// Either what sled yields, or that with what could not be stored.
enum Entries<S, M> {
    Stored(S),
    Merged(M),
}

impl<T, S: Iterator<Item = T>, M: Iterator<Item = T>> Iterator for Entries<S, M> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Stored(entries) => entries.next(),
            Self::Merged(entries) => entries.next(),
        }
    }
}

fn io_error(what: &str) -> sled::Error {
    sled::Error::Io(io::Error::other(what))
}

fn has_room(directory: &Path) -> bool {
    // Where the filesystem does not say, opening tells.
    rustix::fs::statvfs(directory).map_or(true, |stat| stat.f_bavail * stat.f_frsize >= NEEDED_BYTES)
}

/// Waits until no thread of a database that was closed holds its lock: some still write for moments.
fn wait_until_unlocked(directory: &Path) {
    if let Ok(file) = File::open(directory.join("db")) {
        // Where this fails, opening says what is wrong.
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
    }
}

fn open(directory: &Path) -> Result<sled::Db> {
    aside::unless_directory(directory)?;
    fs::create_dir_all(directory).map_err(at(directory))?;
    remove_unfinished(directory)?;
    let open =
        || sled::Config::new().path(directory).cache_capacity(4 << 20).flush_every_ms(Some(500)).open();
    // sled 0.34 can also panic on a damaged log; either way the content is rebuildable.
    let reason = match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => return Ok(db),
        Ok(Err(err)) if !is_damage(&err) => return Err(err.into()),
        Ok(Err(err)) => err.to_string(),
        Err(_) => "panic".to_owned(),
    };
    let aside = aside::beside(directory, "corrupt");
    tracing::error!(reason, moved_to = %aside.display(), "the state database is damaged; starting with an empty one");
    fs::rename(directory, &aside).map_err(at(directory))?;
    Ok(open()?)
}

/// A full disk, a lock, a missing right say nothing about what is stored.
fn is_damage(err: &sled::Error) -> bool {
    let sled::Error::Io(err) = err else { return true };
    let kinds = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::InvalidData,
        io::ErrorKind::IsADirectory,
        io::ErrorKind::NotADirectory,
    ];
    kinds.contains(&err.kind())
}

/// sled takes a snapshot that it could not write to its end for the newest one, and then for a damaged one.
fn remove_unfinished(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}
