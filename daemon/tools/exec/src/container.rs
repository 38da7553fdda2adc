//! Commands in a container instead of a slot: in an image of the container engine, with a copy of the workspace.

use crate::Output;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Result};
use skynet_sandbox::protocol::Limits;
use std::collections::BTreeMap;

/// Where a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    #[default]
    Sandbox,
    Docker,
}

/// A command for a container.
#[derive(Clone, Debug)]
pub struct Contained {
    /// The name of an image.
    pub image: String,
    /// Program and arguments, in the image.
    pub argv: Vec<String>,
    /// Where it starts, relative to the workspace.
    pub directory: String,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// What it may use.
    pub limits: Limits,
}

/// Who runs commands in containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Runs one as the caller, whose right to the engine it is.
    async fn run(&self, ctx: &CallCtx, command: &Contained) -> Result<Output>;
}
