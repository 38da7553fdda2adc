//! Lists timers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_system::systemd::{Scope, Timer, timers};

pub(crate) struct ServiceListTimers;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Whose timers.
    #[serde(default)]
    scope: Scope,
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
        Ok(Output { timers: timers(input.scope).await? })
    }
}
