//! Has systemd read the files of all units again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_system::systemd::{Bus, Properties, Scope, explain, explain_action};
use std::time::Duration;

pub(crate) struct ServiceReloadManager;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Whose units.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Units whose files had changed since they were read, by name; what runs of them goes on as it was until it is restarted.
    changed: Vec<String>,
}

impl Tool for ServiceReloadManager {
    const NAME: &'static str = "service_reload_manager";
    const SUMMARY: &'static str = "Have systemd read the files of all units again after one was changed, and say which had changed; like systemctl daemon-reload.";
    const KEYWORDS: &'static str = "daemon-reload systemctl reload-manager unit files changed edited on disk reread configuration systemd | recharger systemd fichiers unités modifiés relire configuration";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Host;
    /// With thousands of units it takes a while.
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let bus = Bus::connect(input.scope).await?;
        let units = bus.manager.list_units_by_patterns(&[], &[]).await;
        let mut changed = Vec::new();
        for (name, _, _, _, _, _, path, ..) in units.map_err(|err| explain(err, "its units"))? {
            ctx.check_canceled()?;
            if Properties(bus.properties(&path, "Unit").await?).is("NeedDaemonReload") {
                changed.push(name);
            }
        }
        changed.sort();
        let reloaded = bus.manager.reload().await;
        reloaded.map_err(|err| {
            explain_action(err, "to read all units again", "org.freedesktop.systemd1.reload-daemon")
        })?;
        Ok(Output { changed })
    }
}
