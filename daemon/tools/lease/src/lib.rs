//! The lease family: an agent says which path it works on and for how long, and calls of other sessions do not change that. What
//! is refused is for a layer to say.

mod acquire;
mod list;
mod release;
mod renew;
mod shown;

use skynet_core::{Error, Result, Toolset};
use skynet_leases::Leases;
use std::sync::{Arc, OnceLock, Weak};

/// The leases of a daemon, once it has opened them. They are not kept by it: the tools are in a catalog, which is one of them.
#[derive(Default)]
pub struct Board(OnceLock<Weak<Leases>>);

impl Board {
    /// Gives it what is leased; the first stays.
    pub fn fill(&self, leases: &Arc<Leases>) {
        // Filled twice only by a daemon that is wired wrong, and then with the same.
        let _ = self.0.set(Arc::downgrade(leases));
    }

    fn open(&self) -> Result<Arc<Leases>> {
        self.0
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| Error::unavailable("what is leased is not known yet"))
    }
}

/// All of it.
#[must_use]
pub fn toolset(board: &Arc<Board>) -> Toolset {
    Toolset::new("lease", "take a file or directory for a while, so that no other session changes it")
        .with(acquire::LeaseAcquire(board.clone()))
        .with(list::LeaseList(board.clone()))
        .with(release::LeaseRelease(board.clone()))
        .with(renew::LeaseRenew(board.clone()))
        .altering(&[])
}
