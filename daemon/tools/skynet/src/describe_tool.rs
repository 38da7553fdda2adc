//! Shows how a tool is called.

use crate::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct SkynetDescribeTool(pub(crate) Arc<Catalog>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name of the tool.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Describe the fields of its answer too.
    #[serde(default)]
    with_output: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Name to call it by.
    name: &'static str,
    /// What it does.
    summary: &'static str,
    /// Set of tools it is listed with.
    toolset: &'static str,
    /// Least a call does: read, write, destroy or external.
    effect: Effect,
    /// How long a call may take.
    timeout_seconds: u64,
    /// JSON Schema of its arguments.
    input_schema: Map<String, Value>,
    /// JSON Schema of its answer, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Map<String, Value>>,
}

impl Tool for SkynetDescribeTool {
    const NAME: &'static str = "skynet_describe_tool";
    const SUMMARY: &'static str = "Show the arguments of any tool, listed or not, before calling it.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let entry = self.0.registry()?.find(&input.name)?;
        Ok(Output {
            name: entry.name,
            summary: entry.summary,
            toolset: entry.toolset,
            effect: entry.effect,
            timeout_seconds: entry.timeout.as_secs(),
            input_schema: Map::clone(&entry.input_schema),
            output_schema: input.with_output.then(|| Map::clone(&entry.output_schema)),
        })
    }
}
