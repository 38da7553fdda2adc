//! Lists timers.

use crate::{
    bus::{Bus, Scope, explain},
    properties::Properties,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};

pub(crate) struct ServiceListTimers;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Whose timers.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
struct Timer {
    /// Such as `logrotate.timer`.
    name: String,
    /// What it starts.
    starts: String,
    /// When next, RFC 3339, UTC; absent if never, or counted from something that did not happen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// When last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// `active` if it counts.
    active: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The next one first.
    timers: Vec<Timer>,
}

impl Tool for ServiceListTimers {
    const NAME: &'static str = "service_list_timers";
    const SUMMARY: &'static str = "List timers of systemd: what they start, when next and when last.";
    const KEYWORDS: &'static str = "systemctl list-timers scheduled cron periodic next run | minuteries tâches planifiées périodiques prochaine exécution";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let bus = Bus::connect(input.scope).await?;
        let listed = bus.manager.list_units_by_patterns(&[], &["*.timer"]).await;
        let mut timers = Vec::new();
        for (name, _, _, active, _, _, path, ..) in listed.map_err(|err| explain(err, "its timers"))? {
            let timer = Properties(bus.properties(&path, "Timer").await?);
            timers.push(Timer {
                name,
                starts: timer.text("Unit").unwrap_or_default(),
                next: timer.time("NextElapseUSecRealtime"),
                last: timer.time("LastTriggerUSec"),
                active,
            });
        }
        timers.sort_by(|one, other| {
            (one.next.is_none(), &one.next, &one.name).cmp(&(other.next.is_none(), &other.next, &other.name))
        });
        Ok(Output { timers })
    }
}
