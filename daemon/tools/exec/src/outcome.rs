//! How a command went, wherever it ran.

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// What ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// Itself.
    Itself,
    /// `timeout_seconds`.
    Timeout,
    /// `memory_mib`.
    Memory,
    /// `cpu_seconds`.
    Cpu,
    /// `disk_mib`, or a disk that it almost filled.
    Disk,
    /// It wrote more than `output_kib`, or 4 MiB, to one of them; the rest is lost.
    Output,
    /// The host, or the end of the daemon.
    Host,
}

/// How a command went.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// Its exit code, unless a signal ended it.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// What ended it.
    pub ended_by: EndedBy,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// How long it ran.
    pub wall_seconds: f64,
    /// Processor time of all its processes.
    pub cpu_seconds: f64,
    /// The most memory its processes took.
    pub peak_memory_bytes: u64,
    /// Files it left under names that other programs run or trust, such as Git hooks; each was renamed to
    /// `NAME.quarantined`. At most 100.
    pub quarantined: Vec<String>,
    /// How many they are.
    pub quarantined_count: u64,
    /// Hosts that it asked its proxy for, and that `network` does not grant or are at no public address.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused_hosts: BTreeSet<String>,
}
