//! Calls a tool that is not listed. Before such a call enters the pipeline it is replaced by the one it names, so that
//! policy, confirmation and audit see that one.

use crate::Catalog;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use skynet_core::{CallCtx, Effect, Error, Place, Registry, Result, Tool};
use std::{borrow::Cow, sync::Arc};

pub(crate) struct SkynetCallTool(pub(crate) Arc<Catalog>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name of the tool.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Its arguments, as `skynet_describe_tool` shows them.
    #[serde(default)]
    #[allow(dead_code, reason = "read from the raw input before the pipeline")]
    arguments: Map<String, Value>,
}

/// The answer is that of the tool called.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {}

impl Tool for SkynetCallTool {
    const NAME: &'static str = "skynet_call_tool";
    const SUMMARY: &'static str = "Call any tool by name, listed or not; the answer is the tool's own.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    /// Reached only by calls that name no other tool.
    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let entry = self.0.registry()?.find(&input.name)?;
        Err(Error::invalid_input(format!("`{}` cannot call itself", entry.name)))
    }
}

/// A call as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The tool and the arguments that a call of `skynet_call_tool` names; `None` for every other call, and for one that
/// names no other tool: that one is refused by its own schema or by the tool.
#[must_use]
pub fn unwrap(registry: &Registry, name: &str, raw: &Bytes) -> Option<(String, Bytes)> {
    if name != SkynetCallTool::NAME {
        return None;
    }
    let wrapped: Wrapped<'_> = serde_json::from_slice(raw).ok()?;
    let entry = registry.find(&wrapped.name).ok().filter(|entry| entry.name != SkynetCallTool::NAME)?;
    let arguments = wrapped.arguments.map(|raw_value| raw.slice_ref(raw_value.get().as_bytes()));
    Some((entry.name.to_owned(), arguments.unwrap_or_default()))
}
