//! Lists units.

use crate::bus::{Bus, Scope, explain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::collections::HashMap;

pub(crate) struct ServiceList;

/// Which units.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Loaded ones, whatever they do.
    #[default]
    All,
    /// Those that run, listen, wait or are mounted.
    Active,
    /// Services that run now.
    Running,
    /// Those that ended as they should not.
    Failed,
    /// Loaded ones that do nothing.
    Inactive,
}

fn default_kind() -> String {
    "service".into()
}

const fn default_limit() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only names like this; `*` stands for any text, and a word alone for names that hold it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pattern: Option<String>,
    /// The state they are in.
    #[serde(default)]
    state: State,
    /// `service`, `timer`, `socket`, `mount`, `target`...; `*` for all.
    #[serde(default = "default_kind")]
    #[schemars(regex(pattern = "^([a-z]+|\\*)$"))]
    kind: String,
    /// Whose units.
    #[serde(default)]
    scope: Scope,
    /// Most units to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
struct Unit {
    /// With its kind, such as `nginx.service`.
    name: String,
    /// What it says of itself.
    description: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating` or `reloading`.
    active: String,
    /// The same more exactly, such as `running`, `exited`, `dead`, `listening`.
    sub: String,
    /// Whether it starts by itself: `enabled`, `disabled`, `static`, `masked`...; absent if it has no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<String>,
    /// What is wrong with its file, such as `not-found` or `bad-setting`; absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    units: Vec<Unit>,
    /// How many there are.
    total: u64,
}

impl Tool for ServiceList {
    const NAME: &'static str = "service_list";
    const SUMMARY: &'static str = "List services, timers, sockets or other units of systemd with their states; by name, kind and state.";
    const KEYWORDS: &'static str = "systemctl list-units daemons running failed units status all | lister services démons unités systemd actifs en échec";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let bus = Bus::connect(input.scope).await?;
        let name = match &input.pattern {
            None => "*".to_owned(),
            Some(pattern) if pattern.contains(['*', '?', '[']) => pattern.clone(),
            Some(word) => format!("*{word}*"),
        };
        // A pattern may say the kind itself.
        let pattern = if input.kind == "*" || name.ends_with(&format!(".{}", input.kind)) {
            name
        } else {
            format!("{name}.{}", input.kind)
        };
        let states: &[&str] = match input.state {
            State::All => &[],
            State::Active => &["active"],
            State::Running => &["running"],
            State::Failed => &["failed"],
            State::Inactive => &["inactive"],
        };
        let told = |err| explain(err, "its units");
        let mut listed = bus.manager.list_units_by_patterns(states, &[&pattern]).await.map_err(told)?;
        let files = bus.manager.list_unit_files_by_patterns(&[], &[&pattern]).await.map_err(told)?;
        let enabled: HashMap<&str, &str> =
            files.iter().map(|(path, state)| (path.rsplit('/').next().unwrap_or(path), &**state)).collect();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        let total = listed.len() as u64;
        listed.truncate(input.limit as usize);
        let units = listed.into_iter().map(|(name, description, load, active, sub, ..)| Unit {
            enabled: enabled.get(&*name).map(|state| (*state).to_owned()),
            problem: (load != "loaded").then_some(load),
            name,
            description,
            active,
            sub,
        });
        Ok(Output { units: units.collect(), total })
    }
}
