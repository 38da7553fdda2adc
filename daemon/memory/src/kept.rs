//! What is remembered of each user as it lies on the disk: entry by entry, sealed, and no more than he has room for.

use crate::entry::Entry;
use jiff::Timestamp;
use skynet_core::{Error, Result};
use skynet_secrets::SealedEntries;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Of one user.
const MOST_ENTRIES: usize = 5000;

/// A vector, and the weights that made it.
pub(crate) type Vector = (String, Vec<f32>);

/// The entries of all users.
pub(crate) struct Kept {
    sealed: SealedEntries,
    /// What the entries of one user may say together.
    most_bytes: u64,
    /// Of each user that was asked for.
    users: Mutex<HashMap<u32, Arc<Mutex<Vec<Entry>>>>>,
    /// Users for whom vectors are being made.
    completing: Mutex<HashSet<u32>>,
}

/// Vectors of one user are made, until this is dropped.
pub(crate) struct Completing<'a> {
    kept: &'a Kept,
    uid: u32,
}

impl Kept {
    pub(crate) fn new(sealed: SealedEntries, most_bytes: u64) -> Self {
        Self { sealed, most_bytes, users: Mutex::default(), completing: Mutex::default() }
    }

    /// The entries of a user; read when first asked for. What is over is forgotten for good.
    pub(crate) fn of(&self, uid: u32) -> Result<Arc<Mutex<Vec<Entry>>>> {
        let all = {
            let mut users = lock(&self.users);
            match users.get(&uid) {
                Some(all) => all.clone(),
                None => {
                    let all = Arc::new(Mutex::new(self.read(uid)?));
                    users.insert(uid, all.clone());
                    all
                }
            }
        };
        let now = Timestamp::now();
        let mut entries = lock(&all);
        entries.retain(|entry| {
            let is_over = entry.is_over(now);
            if is_over && let Err(err) = self.sealed.forget(uid, entry.id) {
                // It is found again, and tried again, by the next daemon; what counts can be read meanwhile.
                tracing::warn!(uid, error = %err, "something remembered that is over could not be removed");
            }
            !is_over
        });
        drop(entries);
        Ok(all)
    }

    fn read(&self, uid: u32) -> Result<Vec<Entry>> {
        let sealed = self.sealed.all(uid).map_err(cannot)?;
        for err in sealed.damaged {
            tracing::error!(uid, "something remembered cannot be read: {err}");
        }
        let mut entries = Vec::new();
        for (id, json) in sealed.found {
            match serde_json::from_slice(&json) {
                Ok(entry) => entries.push(entry),
                Err(err) => tracing::error!(uid, %id, "something remembered is of another version: {err}"),
            }
        }
        Ok(entries)
    }

    /// Keeps an entry on the disk.
    pub(crate) fn keep(&self, uid: u32, entry: &Entry) -> Result<()> {
        let json = serde_json::to_vec(entry)
            .map_err(|err| Error::internal("an entry cannot be written").with_source(err))?;
        self.sealed.put(uid, entry.id, &json).map_err(cannot)
    }

    pub(crate) fn forget(&self, uid: u32, id: Uuid) -> Result<()> {
        self.sealed.forget(uid, id).map_err(cannot)?;
        Ok(())
    }

    /// Whether there is room for some entries more among these.
    ///
    /// # Errors
    /// `QuotaExceeded` when there is not.
    pub(crate) fn check_room(&self, all: &[Entry], more: &[Entry]) -> Result<()> {
        if all.len() + more.len() > MOST_ENTRIES {
            return Err(Error::quota_exceeded(format!(
                "{MOST_ENTRIES} entries are the most, and {} are kept; forget some",
                all.len()
            )));
        }
        self.check_growth(all, 0, more.iter().map(Entry::size_bytes).sum())
    }

    /// Whether one of these entries may become another. One that does not grow always may.
    ///
    /// # Errors
    /// `QuotaExceeded` when it may not.
    pub(crate) fn check_change(&self, all: &[Entry], old: &Entry, new: &Entry) -> Result<()> {
        self.check_growth(all, old.size_bytes(), new.size_bytes())
    }

    fn check_growth(&self, all: &[Entry], old: u64, new: u64) -> Result<()> {
        let used: u64 = all.iter().map(Entry::size_bytes).sum();
        let growth = new.saturating_sub(old);
        if growth == 0 || used.saturating_add(growth) <= self.most_bytes {
            return Ok(());
        }
        Err(Error::quota_exceeded(format!(
            "what is remembered of one user has at most `{}` bytes (`memory.max_bytes`), of which `{used}` are used, and this takes `{growth}` more; forget something, with `memory_list` and `memory_forget`",
            self.most_bytes
        )))
    }

    /// Says that vectors of a user are made from now on; `None` if somebody does that already.
    pub(crate) fn begin_completing(&self, uid: u32) -> Option<Completing<'_>> {
        // Not `then_some`: one that is not wanted would be dropped, which takes the same lock.
        lock(&self.completing).insert(uid).then(|| Completing { kept: self, uid })
    }

    /// The texts that have no vector by these weights, the newest first, and no more than so many.
    pub(crate) fn without_vector(&self, uid: u32, weights: &str, most: usize) -> Result<Vec<(Uuid, String)>> {
        let all = self.of(uid)?;
        let all = lock(&all);
        let lacks = |entry: &&Entry| entry.vector.as_ref().is_none_or(|(made_by, _)| made_by != weights);
        let mut missing: Vec<&Entry> = all.iter().filter(lacks).collect();
        missing.sort_by_key(|entry| std::cmp::Reverse(entry.updated_at));
        Ok(missing.into_iter().take(most).map(|entry| (entry.id, entry.text.clone())).collect())
    }

    /// Keeps the vector of a text with its entry, if that still says so.
    pub(crate) fn add_vector(&self, uid: u32, id: Uuid, text: &str, vector: Vector) -> Result<()> {
        let all = self.of(uid)?;
        let mut all = lock(&all);
        let Some(place) = all.iter_mut().find(|entry| entry.id == id && entry.text == text) else {
            return Ok(());
        };
        let entry = Entry { vector: Some(vector), ..place.clone() };
        self.keep(uid, &entry)?;
        *place = entry;
        Ok(())
    }
}

impl Drop for Completing<'_> {
    fn drop(&mut self) {
        lock(&self.kept.completing).remove(&self.uid);
    }
}

fn cannot(err: skynet_secrets::Error) -> Error {
    Error::unavailable("what is remembered cannot be kept or read").with_source(err)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
