//! Limits what a unit may use. systemd keeps the limits in drop-ins of its own (systemctl(1), `set-property`), so no file is
//! written from here, and polkit decides.

use crate::{
    cgroup::sits_in,
    name,
    show::{self, Unit},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::TextDiff;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_system::systemd::{Bus, Properties, Scope, explain, explain_action};
use zbus::zvariant::Value;

/// What limits are called on the bus (org.freedesktop.systemd1(5)), in the order in which they are shown.
const PROPERTIES: [&str; 6] =
    ["MemoryMax", "MemoryHigh", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight", "IOWeight"];

/// Kinds that have processes, and what their interface on the bus is called.
const KINDS: [(&str, &str); 6] = [
    ("service", "Service"),
    ("slice", "Slice"),
    ("scope", "Scope"),
    ("socket", "Socket"),
    ("mount", "Mount"),
    ("swap", "Swap"),
];

/// What the bus calls a limit that is none.
const INFINITY: u64 = u64::MAX;

pub(crate) struct ServiceSetLimits;

/// A limit that can be lifted.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Limit {
    MemoryMax,
    MemoryHigh,
    TasksMax,
    CpuQuota,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Such as `nginx` or `user.slice`; without a kind, a service.
    name: String,
    /// Memory beyond which its processes are killed.
    #[serde(default)]
    #[schemars(range(min = 1_048_576))]
    memory_max_bytes: Option<u64>,
    /// Memory beyond which it is slowed down.
    #[serde(default)]
    #[schemars(range(min = 1_048_576))]
    memory_high_bytes: Option<u64>,
    /// Processes and threads it may have.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_194_304))]
    tasks_max: Option<u64>,
    /// Processor time it may use, in percent of one processor; 250 is two and a half.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    cpu_quota_percent: Option<u64>,
    /// Its share of the processors when others want them too; 100 is that of all who have none set.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    cpu_weight: Option<u64>,
    /// Its share of the disks, likewise.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    io_weight: Option<u64>,
    /// Limits to lift.
    #[serde(default)]
    unlimited: Vec<Limit>,
    /// Only until the host restarts.
    #[serde(default)]
    until_restart: bool,
    /// Whose unit.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    unit: Unit,
    /// What changed of its limits, as a unified diff; empty if they were so already.
    diff: String,
}

impl Tool for ServiceSetLimits {
    const NAME: &'static str = "service_set_limits";
    const SUMMARY: &'static str = "Limit the memory, processor time, tasks or disk share of a service or other unit of systemd, at once and for later starts; shows the difference. Like systemctl set-property.";
    const KEYWORDS: &'static str = "systemctl set-property edit override drop-in limit memory MemoryMax cpu CPUQuota quota TasksMax weight cap restrict service resource | limiter plafonner mémoire processeur quota tâches service unité ressources";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        name::is_critical(&name::full(&input.name).ok()?)
            .then_some("may starve what the host hangs on, or what watches over it")
    }

    fn must_ask_process(&self, input: &Input, process: u32) -> Option<&'static str> {
        let holds_caller = || {
            sits_in(process, &name::full(&input.name).ok()?)
                .then_some("may starve the very client that asks for it")
        };
        self.must_ask(input).or_else(holds_caller)
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = name::full(&input.name)?;
        let kind = name.rsplit('.').next().unwrap_or_default();
        let interface = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, interface)| *interface);
        let interface = interface.ok_or_else(|| {
            Error::invalid_input(format!(
                "a {kind} has no processes of its own to limit; name what it starts"
            ))
        })?;
        let wanted = wanted(&input)?;
        let bus = Bus::connect(input.scope).await?;
        let before = show::look_at(&bus, &name).await?;
        if before.load == "not-found" {
            let similar = bus.similar(&name).await;
            return Err(Error::not_found(format!(
                "no unit is named `{name}`; nearest: {}",
                similar.join(", ")
            )));
        }
        name::check_alias(&name, &before.name)?;
        let old = limits(&bus, &name, interface).await?;
        ctx.check_canceled()?;
        let set = bus.manager.set_unit_properties(&name, input.until_restart, &wanted).await;
        set.map_err(|err| {
            let action = "org.freedesktop.systemd1.manage-units` with the verb `set-property";
            explain_action(err, &format!("limits of `{name}`"), action)
        })?;
        let new = limits(&bus, &name, interface).await?;
        let diff = TextDiff::from_lines(&old, &new);
        let diff = diff.unified_diff().context_radius(0).header(&name, &name).to_string();
        Ok(Output { unit: show::look_at(&bus, &name).await?, diff })
    }
}

/// What the bus is to be told.
fn wanted(input: &Input) -> Result<Vec<(&'static str, Value<'static>)>> {
    let lifted = |limit| input.unlimited.contains(&limit).then_some(INFINITY);
    // Of a second of a processor's time (org.freedesktop.systemd1(5)).
    let quota = input.cpu_quota_percent.map(|percent| percent * 10_000);
    let all = [
        (input.memory_max_bytes, lifted(Limit::MemoryMax)),
        (input.memory_high_bytes, lifted(Limit::MemoryHigh)),
        (input.tasks_max, lifted(Limit::TasksMax)),
        (quota, lifted(Limit::CpuQuota)),
        (input.cpu_weight, None),
        (input.io_weight, None),
    ];
    let mut wanted = Vec::new();
    for (name, (value, lifted)) in PROPERTIES.into_iter().zip(all) {
        if value.is_some() && lifted.is_some() {
            return Err(Error::invalid_input(format!("{name} cannot be both set and lifted")));
        }
        wanted.extend(value.or(lifted).map(|value| (name, Value::from(value))));
    }
    if wanted.is_empty() {
        return Err(Error::invalid_input(
            "name a limit to set, such as `memory_max_bytes`, or one to lift in `unlimited`",
        ));
    }
    Ok(wanted)
}

/// One line for each, as the file of a unit has it.
async fn limits(bus: &Bus, name: &str, interface: &str) -> Result<String> {
    let path = bus.manager.load_unit(name).await.map_err(|err| explain(err, &format!("`{name}`")))?;
    let known = Properties(bus.properties(&path, interface).await?);
    let line = |name: &str| {
        let value = known.number(name);
        match (name, value) {
            ("CPUQuotaPerSecUSec", Some(value)) => format!("CPUQuota={}%\n", value / 10_000),
            ("CPUQuotaPerSecUSec", None) => "CPUQuota=\n".to_owned(),
            (_, Some(value)) => format!("{name}={value}\n"),
            ("CPUWeight" | "IOWeight", None) => format!("{name}=\n"),
            (_, None) => format!("{name}=infinity\n"),
        }
    };
    Ok(PROPERTIES.map(line).concat())
}
