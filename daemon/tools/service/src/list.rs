//! Lists units.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_system::systemd::{Bus, Scope, explain};
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
    const KEYWORDS: &'static str = "systemctl list-units daemons running units status all | lister services démons unités systemd actifs en échec";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const KIND: Option<Kind> = Some(Kind::Units);
    type Input = Input;
    type Output = Output;

    fn lasts(&self, input: &Input) -> bool {
        // The daemon does not hear what the managers of users tell.
        input.scope == Scope::System
    }

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let bus = Bus::connect(input.scope).await?;
        let pattern = pattern(input.pattern.as_deref(), &input.kind);
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

/// As `ListUnitsByPatterns` takes it (fnmatch(3)): names say their kind.
fn pattern(wanted: Option<&str>, kind: &str) -> String {
    let suffix = format!(".{kind}");
    let wanted = wanted.map(|wanted| wanted.strip_suffix(&suffix).unwrap_or(wanted));
    let name = match wanted {
        None => "*".to_owned(),
        Some(pattern) if pattern.contains(['*', '?', '[']) => pattern.to_owned(),
        Some(word) => format!("*{word}*"),
    };
    if kind == "*" { name } else { name + &suffix }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn words_become_patterns_of_their_kind() {
        for (wanted, kind, expected) in [
            (None, "service", "*.service"),
            (None, "*", "*"),
            (Some("ssh"), "service", "*ssh*.service"),
            (Some("tick.timer"), "timer", "*tick*.timer"),
            (Some("getty@*"), "service", "getty@*.service"),
            (Some("getty@*.service"), "service", "getty@*.service"),
            (Some("ssh"), "*", "*ssh*"),
        ] {
            assert_eq!(pattern(wanted, kind), expected, "{wanted:?} {kind}");
        }
    }
}
