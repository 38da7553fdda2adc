//! Shows what a unit needs, or what needs it.

use crate::name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_system::systemd::{Bus, Properties, Scope, explain};
use std::collections::HashSet;

pub(crate) struct ServiceListDependencies;

/// As systemctl(1) shows them.
const NEEDS: [&str; 5] = ["Requires", "Requisite", "Wants", "BindsTo", "Upholds"];
const NEEDED_BY: [&str; 5] = ["RequiredBy", "RequisiteOf", "WantedBy", "BoundBy", "UpheldBy"];

/// Lines of the tree.
const MOST_LINES: usize = 500;

const fn default_depth() -> u32 {
    2
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Such as `nginx` or `multi-user.target`; without a kind, a service.
    name: String,
    /// Show what needs it instead of what it needs.
    #[serde(default)]
    reverse: bool,
    /// Levels to show.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 1, max = 8))]
    depth: u32,
    /// Whose unit.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// One unit per line with its state, indented by two spaces per level; one that stood above already ends with `...`.
    tree: String,
    /// Whether there is more.
    truncated: bool,
}

impl Tool for ServiceListDependencies {
    const NAME: &'static str = "service_list_dependencies";
    const SUMMARY: &'static str =
        "Show the tree of units that a service needs, or of those that need it, with their states.";
    const KEYWORDS: &'static str = "systemctl list-dependencies requires wants needs tree order | dépendances arbre requiert unité service besoin";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = name::full(&input.name)?;
        let bus = Bus::connect(input.scope).await?;
        let relations = if input.reverse { NEEDED_BY } else { NEEDS };
        let (mut tree, mut lines, mut seen) = (String::new(), 0, HashSet::new());
        // What is still to be shown, the next one last.
        let mut open = vec![(name.clone(), 0)];
        while let Some((unit, level)) = open.pop() {
            ctx.check_canceled()?;
            if lines == MOST_LINES {
                return Ok(Output { tree, truncated: true });
            }
            lines += 1;
            let path =
                bus.manager.load_unit(&unit).await.map_err(|err| explain(err, &format!("`{unit}`")))?;
            let properties = Properties(bus.properties(&path, "Unit").await?);
            if level == 0 && properties.text("LoadState").as_deref() == Some("not-found") {
                let similar = bus.similar(&name).await;
                return Err(Error::not_found(format!(
                    "no unit is named `{name}`; nearest: {}",
                    similar.join(", ")
                )));
            }
            let mut below: Vec<String> =
                relations.iter().flat_map(|relation| properties.texts(relation)).collect();
            below.sort_unstable_by(|one, other| other.cmp(one));
            below.dedup();
            let is_new = seen.insert(unit.clone());
            let active = properties.text("ActiveState").unwrap_or_default();
            let more = if !is_new && !below.is_empty() { " ..." } else { "" };
            tree.push_str(&format!("{:indent$}{unit} {active}{more}\n", "", indent = level as usize * 2));
            if is_new && level < input.depth {
                open.extend(below.into_iter().map(|unit| (unit, level + 1)));
            }
        }
        Ok(Output { tree, truncated: false })
    }
}
