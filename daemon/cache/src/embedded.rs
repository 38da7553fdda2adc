//! Answers in the memory of the daemon: as many bytes as the configuration allows, gone with it.

use bytes::Bytes;
use lru::LruCache;
use skynet_core::Kind;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What an answer takes beside its text and its key, about.
const OVERHEAD_BYTES: usize = 256;

struct Kept {
    kind: Kind,
    json: Bytes,
    /// Of its kind, before it was made.
    generation: u64,
    until: Instant,
}

struct Shelf {
    answers: LruCache<String, Kept>,
    bytes: usize,
}

pub(crate) struct Embedded {
    shelf: Mutex<Shelf>,
    max_bytes: usize,
}

fn size(key: &str, json: &Bytes) -> usize {
    key.len() + json.len() + OVERHEAD_BYTES
}

impl Embedded {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { shelf: Mutex::new(Shelf { answers: LruCache::unbounded(), bytes: 0 }), max_bytes }
    }

    /// The answer, if it is of this generation and still young enough.
    pub(crate) fn find(&self, key: &str, generation: u64) -> Option<Bytes> {
        let mut shelf = self.lock();
        let kept = shelf.answers.get(key)?;
        if kept.generation == generation && kept.until > Instant::now() {
            return Some(kept.json.clone());
        }
        shelf.remove(key);
        None
    }

    /// Keeps an answer; returns the kinds of those that had to go for it.
    pub(crate) fn keep(
        &self,
        kind: Kind,
        key: &str,
        json: &Bytes,
        generation: u64,
        until: Instant,
    ) -> Vec<Kind> {
        let wanted = size(key, json);
        if wanted > self.max_bytes {
            return Vec::new();
        }
        let mut shelf = self.lock();
        shelf.remove(key);
        let mut gone = Vec::new();
        while shelf.bytes + wanted > self.max_bytes
            && let Some((old_key, old)) = shelf.answers.pop_lru()
        {
            shelf.bytes = shelf.bytes.saturating_sub(size(&old_key, &old.json));
            gone.push(old.kind);
        }
        shelf.bytes += wanted;
        shelf.answers.put(key.to_owned(), Kept { kind, json: json.clone(), generation, until });
        gone
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // At worst bytes are counted that are gone, so a panic leaves it usable.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn remove(&mut self, key: &str) {
        if let Some(old) = self.answers.pop(key) {
            self.bytes = self.bytes.saturating_sub(size(key, &old.json));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_nobody_asked_for_longest_goes_first_and_is_told() {
        let embedded = Embedded::new(3 * (OVERHEAD_BYTES + 11));
        let until = Instant::now() + Duration::from_secs(3600);
        let json = Bytes::from_static(b"0123456789");
        for key in ["a", "b", "c"] {
            assert!(embedded.keep(Kind::Units, key, &json, 0, until).is_empty());
        }
        assert!(embedded.find("a", 0).is_some());
        assert_eq!(embedded.keep(Kind::Images, "d", &json, 0, until), [Kind::Units]);
        let found = ["a", "b", "c", "d"].map(|key| embedded.find(key, 0).is_some());
        assert_eq!(found, [true, false, true, true]);
        // Kept again, it takes no more room.
        assert!(embedded.keep(Kind::Images, "d", &json, 0, until).is_empty());
        // What is longer than all there may be is not kept, and takes nobody's place.
        assert!(embedded.keep(Kind::Units, "e", &Bytes::from(vec![0; 1000]), 0, until).is_empty());
        assert!(embedded.find("e", 0).is_none() && embedded.find("a", 0).is_some());
    }

    #[test]
    fn neither_another_generation_nor_an_old_answer_is_found() {
        let embedded = Embedded::new(1 << 20);
        let now = Instant::now();
        let json = Bytes::from_static(b"{}");
        embedded.keep(Kind::Units, "old", &json, 0, now);
        assert!(embedded.find("old", 0).is_none());
        embedded.keep(Kind::Units, "other", &json, 0, now + Duration::from_secs(3600));
        assert!(embedded.find("other", 1).is_none());
        assert_eq!(embedded.lock().bytes, 0);
    }
}
