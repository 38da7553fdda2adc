//! Tells all that matters of one unit.

use crate::name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_system::{
    journal,
    systemd::{Bus, Properties, Scope, explain},
};

pub(crate) struct ServiceShow;

const fn default_lines() -> u32 {
    20
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Such as `nginx`, `backup.timer` or `getty@tty1`; without a kind, a service.
    name: String,
    /// Last lines of its journal.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 500))]
    lines: u32,
    /// Whose unit.
    #[serde(default)]
    scope: Scope,
}

/// A unit.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Unit {
    /// With its kind.
    pub(crate) name: String,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating` or `reloading`.
    pub(crate) active: String,
    /// The same more exactly, such as `running`, `exited`, `dead`.
    pub(crate) sub: String,
    /// Whether its file could be read: `loaded`, `not-found`, `bad-setting`, `error`, `masked`.
    pub(crate) load: String,
    /// Whether it starts by itself: `enabled`, `disabled`, `static`, `masked`...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<String>,
    /// When it came into this state, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// How it last ended: `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, `start-limit-hit`...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<String>,
    /// Exit code of its main process, or the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_status: Option<i32>,
    /// How often it was restarted by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restarts: Option<u64>,
    /// Its main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) main_pid: Option<u64>,
    /// Memory in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    /// Processor time used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_seconds: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tasks: Option<u64>,
    /// Its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Files that change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) drop_ins: Vec<String>,
    /// Whether a file was changed since it was read: `daemon-reload` is needed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) needs_reload: bool,
    /// Units that start it, such as a timer or a socket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) triggered_by: Vec<String>,
    /// Where to read about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) documentation: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    unit: Unit,
    /// The last lines of its journal, oldest first.
    journal: Vec<journal::Entry>,
    /// Why the journal may not be whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_note: Option<String>,
}

impl Tool for ServiceShow {
    const NAME: &'static str = "service_show";
    const SUMMARY: &'static str = "Show one service or other unit of systemd: state, since when, how it ended, main process, memory, files, and the last lines of its journal.";
    const KEYWORDS: &'static str = "systemctl status service unit state is it running up down logs memory pid | état statut service unité systemd pourquoi arrêté planté";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = name::full(&input.name)?;
        let bus = Bus::connect(input.scope).await?;
        let unit = look_at(&bus, &name).await?;
        if unit.load == "not-found" {
            let similar = bus.similar(&name).await;
            return Err(Error::not_found(format!(
                "no unit is named `{name}`; nearest: {}",
                similar.join(", ")
            )));
        }
        let (journal, journal_note) = last_lines(ctx, &name, input.scope, input.lines).await;
        Ok(Output { unit, journal, journal_note })
    }
}

/// The last lines of the journal of a unit, and why they may not be all.
pub(crate) async fn last_lines(
    ctx: &CallCtx,
    name: &str,
    scope: Scope,
    lines: u32,
) -> (Vec<journal::Entry>, Option<String>) {
    if lines == 0 {
        return (Vec::new(), None);
    }
    let query = journal::Query {
        unit: Some(name.to_owned()),
        is_of_user: scope == Scope::User,
        limit: lines,
        ..journal::Query::default()
    };
    match journal::read(ctx, &query).await {
        Ok(found) => (found.entries, found.note),
        // A unit is worth telling of also where there is no journal.
        Err(err) => (Vec::new(), Some(err.message.into_owned())),
    }
}

/// What systemd knows of a unit; `load` is `not-found` for one that it does not know.
pub(crate) async fn look_at(bus: &Bus, name: &str) -> Result<Unit> {
    let path = bus.manager.load_unit(name).await.map_err(|err| explain(err, &format!("`{name}`")))?;
    let unit = Properties(bus.properties(&path, "Unit").await?);
    // Other kinds have other properties, and none that are told here.
    let service =
        if name.ends_with(".service") { bus.properties(&path, "Service").await? } else { Default::default() };
    let service = Properties(service);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
    Ok(Unit {
        name: unit.text("Id").unwrap_or_else(|| name.to_owned()),
        description: unit.text("Description").filter(|description| description != name),
        active: or_unknown(unit.text("ActiveState")),
        sub: or_unknown(unit.text("SubState")),
        load: or_unknown(unit.text("LoadState")),
        enabled: unit.text("UnitFileState"),
        since: unit.time("StateChangeTimestamp"),
        result: service.text("Result"),
        exit_status: service
            .signed("ExecMainStatus")
            .filter(|_| service.time("ExecMainExitTimestamp").is_some()),
        restarts: service.number("NRestarts"),
        main_pid: service.number("MainPID").filter(|pid| *pid != 0),
        memory_bytes: service.number("MemoryCurrent"),
        cpu_seconds: service.number("CPUUsageNSec").map(|nanoseconds| nanoseconds as f64 / 1e9),
        tasks: service.number("TasksCurrent"),
        file: unit.text("FragmentPath"),
        drop_ins: unit.texts("DropInPaths"),
        needs_reload: unit
            .0
            .get("NeedDaemonReload")
            .is_some_and(|value| bool::try_from(value).unwrap_or(false)),
        triggered_by: unit.texts("TriggeredBy"),
        documentation: unit.texts("Documentation"),
    })
}
