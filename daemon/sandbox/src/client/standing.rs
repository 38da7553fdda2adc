//! How many slots there are, and how many commands got none.

use super::Slots;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of all brokers, one after the other.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) warm: AtomicU64,
    pub(super) in_use: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// How slots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Those that waited for a command when the broker last said something.
    pub warm: u64,
    /// Those with a command or hands in them; jobs are their keepers'.
    pub in_use: u64,
    /// Commands that could not begin for lack of a layer, since the daemon started.
    pub refused: u64,
}

impl Slots {
    /// How they stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { warm, in_use, refused } = &*self.counts;
        Standing { warm: read(warm), in_use: read(in_use), refused: read(refused) }
    }
}
