//! How many of something each user has under way. It knows no login, and makes nobody wait.

use super::lock;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Of all users; those who have none are not in it.
#[derive(Clone, Default)]
pub(super) struct Counts(Arc<Mutex<HashMap<u32, usize>>>);

/// One of them, until it is dropped.
pub(super) struct Counted {
    counts: Counts,
    owner: u32,
}

impl Counts {
    /// One more, unless there are `most`.
    pub(super) fn one_more(&self, owner: u32, most: usize) -> Option<Counted> {
        let mut counts = lock(&self.0);
        let count = counts.get(&owner).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(owner, count + 1);
        Some(Counted { counts: self.clone(), owner })
    }

    /// How many there are.
    pub(super) fn of(&self, owner: u32) -> usize {
        lock(&self.0).get(&owner).copied().unwrap_or_default()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts.0);
        let left = counts.get(&self.owner).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            counts.remove(&self.owner);
        } else {
            counts.insert(self.owner, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many_and_what_ended_counts_no_more() {
        let counts = Counts::default();
        let first = counts.one_more(1, 2).unwrap();
        let second = counts.one_more(1, 2).unwrap();
        assert!(counts.one_more(1, 2).is_none() && counts.one_more(2, 2).is_some());
        drop(first);
        assert_eq!((counts.of(1), counts.of(2)), (1, 0));
        let third = counts.one_more(1, 2);
        assert!(third.is_some() && counts.one_more(1, 2).is_none());
        drop((second, third));
        assert!(lock(&counts.0).is_empty());
    }
}
