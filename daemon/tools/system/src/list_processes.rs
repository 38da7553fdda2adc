//! Lists processes.

use crate::{
    process::{self, Shown},
    unreadable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};

pub(crate) struct SystemListProcesses;

/// By what processes are sorted.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Most processor time first.
    #[default]
    Cpu,
    /// Most resident memory first.
    Memory,
    /// Lowest number first.
    Pid,
    /// Newest first.
    Started,
}

impl Order {
    pub(crate) fn sort(self, processes: &mut [Shown]) {
        match self {
            Self::Cpu => processes.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent)),
            Self::Memory => processes.sort_by_key(|one| std::cmp::Reverse(one.memory_bytes)),
            Self::Pid => processes.sort_by_key(|one| one.pid),
            Self::Started => processes.sort_by(|a, b| (&b.started_at, b.pid).cmp(&(&a.started_at, a.pid))),
        }
    }
}

const fn default_limit() -> u32 {
    30
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only those whose name or command line contains this, in any case.
    #[serde(default)]
    name: Option<String>,
    /// Only those of this user.
    #[serde(default)]
    user: Option<String>,
    /// Only this one and its children.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pid: Option<i32>,
    /// What comes first.
    #[serde(default)]
    sort_by: Order,
    /// Most processes to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In the order asked for.
    processes: Vec<Shown>,
    /// How many match, returned or not.
    total: usize,
}

impl Tool for SystemListProcesses {
    const NAME: &'static str = "system_list_processes";
    const SUMMARY: &'static str = "List running processes with user, command, CPU and memory, by name, user or parent; like ps and top.";
    const KEYWORDS: &'static str = "process find pid running program ps top pid task daemon started children zombie is it alive | processus trouver pid programme tourne lancé actif exécution tâche en cours démarré";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let needle = input.name.map(|name| name.to_lowercase());
        let is_wanted = |one: &Shown| {
            let has_name = needle.as_ref().is_none_or(|needle| {
                one.name.to_lowercase().contains(needle) || one.command.to_lowercase().contains(needle)
            });
            let has_user = input.user.as_ref().is_none_or(|user| *user == one.user);
            has_name && has_user && input.pid.is_none_or(|pid| one.pid == pid || one.parent_pid == pid)
        };
        let all = process::all().map_err(unreadable("/proc"))?;
        let mut processes: Vec<Shown> = all.into_iter().map(|seen| seen.shown).filter(is_wanted).collect();
        input.sort_by.sort(&mut processes);
        let total = processes.len();
        processes.truncate(input.limit as usize);
        Ok(Output { processes, total })
    }
}
