//! Explains what failed.

use crate::show::{self, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_system::journal;
use skynet_system::systemd::{Bus, Scope, explain};

pub(crate) struct ServiceExplainFailures;

/// Units that are explained.
const MOST_UNITS: usize = 20;

const fn default_lines() -> u32 {
    10
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Last lines of the journal of each.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 100))]
    lines: u32,
    /// Whose units.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
struct Failure {
    #[serde(flatten)]
    unit: Unit,
    /// What its result means, and what to look at.
    explanation: String,
    /// Its last words, oldest first.
    journal: Vec<journal::Entry>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Failed units; none if all is well.
    failures: Vec<Failure>,
    /// How many there are.
    total: u64,
}

impl Tool for ServiceExplainFailures {
    const NAME: &'static str = "service_explain_failures";
    const SUMMARY: &'static str = "Find the units of systemd that failed, and explain each: how it ended, what that means, its last words.";
    const KEYWORDS: &'static str = "systemctl --failed broken degraded why did unit fail failed crash crashed diagnose error | échec en panne pourquoi dégradé diagnostiquer erreur services";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let bus = Bus::connect(input.scope).await?;
        let failed = bus.manager.list_units_by_patterns(&["failed"], &[]).await;
        let mut failed = failed.map_err(|err| explain(err, "what failed"))?;
        failed.sort_by(|one, other| one.0.cmp(&other.0));
        let total = failed.len() as u64;
        let mut failures = Vec::new();
        for (name, ..) in failed.into_iter().take(MOST_UNITS) {
            ctx.check_canceled()?;
            let unit = show::look_at(&bus, &name).await?;
            let (journal, _) = show::last_lines(ctx, &name, input.scope, input.lines).await;
            failures.push(Failure { explanation: meaning(&unit), unit, journal });
        }
        Ok(Output { failures, total })
    }
}

/// What a result means (org.freedesktop.systemd1(5), `Result`; systemd.exec(5), "Process exit codes").
fn meaning(unit: &Unit) -> String {
    let status = unit.exit_status.unwrap_or_default();
    match unit.result.as_deref() {
        Some("exit-code") => match status {
            126 => "its program is not executable (126)".into(),
            127 => "a command was not found (127)".into(),
            200 => "its `WorkingDirectory=` cannot be entered (200)".into(),
            203 => "its program cannot be executed: look at the path in `ExecStart=`, its permissions, and its `#!` (203)".into(),
            208 | 228 | 231 => format!("the kernel refused a limit or filter of the unit ({status})"),
            216 => "its `Group=` does not exist (216)".into(),
            217 => "its `User=` does not exist (217)".into(),
            226 => "its file system view cannot be made: a path of `ReadWritePaths=` or the like is missing (226)".into(),
            243 => "its credentials cannot be loaded (243)".into(),
            _ => format!("its main process ended with exit code {status}; the journal says why, or `ExecStart=` by hand"),
        },
        Some("signal") => format!("its main process was ended by signal {status}, which nobody asked systemd for"),
        Some("core-dump") => format!("its main process crashed with signal {status}; see coredumpctl(1)"),
        Some("timeout") => "it did not start or stop in time: `TimeoutStartSec=` and `TimeoutStopSec=` say how long it has; with `Type=notify` it must say that it is ready".into(),
        Some("watchdog") => "it did not report for longer than `WatchdogSec=`: it hangs".into(),
        Some("oom-kill") => "the kernel ended it because memory ran out: raise `MemoryMax=`, or free some".into(),
        Some("start-limit-hit") => "it failed so often that systemd gave up; once the cause is mended, `reset-failed` and start it".into(),
        Some("protocol") => "it ended before it said that it is ready: its `Type=` does not fit it".into(),
        Some("resources") => "systemd could not set it up: memory, descriptors or files are missing".into(),
        Some("exec-condition") => "its `ExecCondition=` failed".into(),
        Some(other) => format!("it ended with `{other}`"),
        None => "it is no service; its journal, and that of what it starts, say more".into(),
    }
}
