//! The memory family: what agents keep of a person and of projects.

mod accept;
mod export;
mod forget;
mod import;
mod list;
mod recall;
mod remember;
mod shown;
mod update;

use skynet_core::{Error, Result, Toolset};
use skynet_memory::Memory;
use std::sync::{Arc, OnceLock};

/// What a daemon remembers, once it has opened it.
#[derive(Default)]
pub struct Mind(OnceLock<Arc<Memory>>);

impl Mind {
    /// Gives it what is remembered; the first stays.
    pub fn fill(&self, memory: Arc<Memory>) {
        // Filled twice only by a daemon that is wired wrong, and then with the same.
        let _ = self.0.set(memory);
    }

    fn open(&self) -> Result<&Arc<Memory>> {
        self.0.get().ok_or_else(|| Error::unavailable("what is remembered is not open yet"))
    }
}

/// All of it.
#[must_use]
pub fn toolset(mind: &Arc<Mind>) -> Toolset {
    Toolset::new(
        "memory",
        "facts, preferences and decisions that last beyond a session, of the person and of the project",
    )
    .altering(&[])
    .with(accept::MemoryAccept(mind.clone()))
    .with(export::MemoryExport(mind.clone()))
    .with(forget::MemoryForget(mind.clone()))
    .with(import::MemoryImport(mind.clone()))
    .with(list::MemoryList(mind.clone()))
    .with(recall::MemoryRecall(mind.clone()))
    .with(remember::MemoryRemember(mind.clone()))
    .with(update::MemoryUpdate(mind.clone()))
}
