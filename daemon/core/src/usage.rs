//! What is used on behalf of a user besides the calls themselves, as whoever uses it tells. Nothing is decided here, and
//! whoever tells knows of no limit.

use std::{num::NonZeroU32, ops::AddAssign, sync::Arc, time::Duration};

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of commands, user and system, of all their processes.
    pub cpu: Duration,
    /// Content written to files, in bytes, besides what is noted as changes.
    pub written_bytes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.cpu = self.cpu.saturating_add(more.cpu);
        self.written_bytes = self.written_bytes.saturating_add(more.written_bytes);
    }
}

/// Takes what is used while no call runs: by a background job, whose end nobody may have waited for.
pub trait Meter: Send + Sync {
    /// Adds to what the user with this number has used.
    fn charge(&self, uid: u32, usage: Usage);
}

/// How many background jobs of a user may run at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLimit {
    /// That many.
    pub most: NonZeroU32,
    /// What the limit is called.
    pub name: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_up_and_never_wraps() {
        let mut all = Usage { cpu: Duration::from_secs(1), written_bytes: u64::MAX - 1 };
        all += Usage { cpu: Duration::MAX, written_bytes: 1 };
        all += Usage { cpu: Duration::from_secs(1), written_bytes: 7 };
        assert_eq!(all, Usage { cpu: Duration::MAX, written_bytes: u64::MAX });
    }
}
