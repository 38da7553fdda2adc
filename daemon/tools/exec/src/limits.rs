//! What a command may use.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_sandbox::protocol::Limits;

/// What is seldom given, besides time and memory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(crate) struct More {
    /// Processor time.
    #[schemars(range(min = 1))]
    cpu_seconds: Option<u32>,
    /// Processes and threads.
    #[schemars(range(min = 1))]
    processes: u32,
    /// Written to disk.
    #[schemars(range(min = 1))]
    disk_mib: u32,
    /// Of /tmp and /dev/shm; else `memory_mib`.
    #[schemars(range(min = 1))]
    scratch_mib: Option<u32>,
}

impl Default for More {
    fn default() -> Self {
        Self { cpu_seconds: None, processes: 1024, disk_mib: 16 << 10, scratch_mib: None }
    }
}

impl More {
    /// With what is always given.
    pub(crate) fn with(&self, seconds: u32, memory_mib: u32) -> Limits {
        let bytes = |mib: u32| u64::from(mib) << 20;
        let ms = |seconds: u32| u64::from(seconds) * 1000;
        Limits {
            wall_ms: ms(seconds),
            memory_bytes: bytes(memory_mib),
            processes: self.processes.into(),
            scratch_bytes: bytes(self.scratch_mib.unwrap_or(memory_mib)),
            cpu_ms: self.cpu_seconds.map(ms).unwrap_or_default(),
            disk_bytes: bytes(self.disk_mib),
        }
    }
}
