//! Finds tools that are not listed.

use crate::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct SkynetSearchTools(pub(crate) Arc<Catalog>);

const fn default_limit() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What it should do, in plain English or French.
    #[schemars(length(min = 1, max = 1000))]
    query: String,
    /// Most tools.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 20))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Best first.
    tools: Vec<Found>,
    /// What to do now.
    next: String,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// Name to call it by.
    name: &'static str,
    /// What it does.
    summary: &'static str,
    /// Set of tools it is listed with.
    toolset: &'static str,
    /// Least a call does: read, write, destroy or external.
    effect: Effect,
}

impl Tool for SkynetSearchTools {
    const NAME: &'static str = "skynet_search_tools";
    const SUMMARY: &'static str = "Find tools not listed here, by what they do: the host (`system`: CPU, memory, processes, network, open ports, disks, journal), services (`service`), containers (`docker`), projects (`env`: dependencies, tests, linters), pictures (`image`), background jobs (`exec_more`), more of Git (`git_more`: blame, stash, worktrees) and of files (`files_more`: copy, restore, size, permissions, checksum).";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let registry = self.0.registry()?;
        let names = self.0.search(&input.query, input.limit as usize)?;
        let found = names.into_iter().filter_map(|name| registry.find(name).ok());
        let tools: Vec<Found> = found
            .map(|entry| Found {
                name: entry.name,
                summary: entry.summary,
                toolset: entry.toolset,
                effect: entry.effect,
            })
            .collect();
        let next = if tools.is_empty() {
            let sets: Vec<_> = registry.toolsets().map(|(name, what)| format!("{name}: {what}")).collect();
            format!("Nothing fits; try other words. There is {}.", sets.join("; "))
        } else {
            "See the arguments with `skynet_describe_tool`, then call it with `skynet_call_tool`.".into()
        };
        Ok(Output { tools, next })
    }
}
