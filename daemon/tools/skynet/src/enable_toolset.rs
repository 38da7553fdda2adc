//! Adds a set of tools to the list of this session.

use crate::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct SkynetEnableToolset(pub(crate) Arc<Catalog>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name of the set.
    #[schemars(length(min = 1, max = 64))]
    toolset: String,
    /// Take it out of the list instead.
    #[serde(default)]
    disable: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Names of its tools.
    tools: Vec<&'static str>,
    /// Whether they are in the list now.
    listed: bool,
}

impl Tool for SkynetEnableToolset {
    const NAME: &'static str = "skynet_enable_toolset";
    const SUMMARY: &'static str = "Add a set of tools to this session's list (`system`, `exec_more`, `files_more`, `git_more`), or take one out.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        self.0.choose_for_session(ctx.origin()?.session, &input.toolset, !input.disable)?;
        let registry = self.0.registry()?;
        let tools = registry.iter().filter(|entry| entry.toolset == input.toolset).map(|entry| entry.name);
        Ok(Output { tools: tools.collect(), listed: !input.disable })
    }
}
