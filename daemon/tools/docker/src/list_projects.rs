//! Lists compose projects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_engine::{Engine, Project};
use std::sync::Arc;

pub(crate) struct DockerListProjects(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    projects: Vec<Project>,
}

impl Tool for DockerListProjects {
    const NAME: &'static str = "docker_list_projects";
    const SUMMARY: &'static str =
        "List compose projects with their services and whether these run; like docker compose ls and ps.";
    const KEYWORDS: &'static str = "docker podman compose projects services ls | projets compose services";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Containers);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let Input {} = input;
        Ok(Output { projects: self.0.client(ctx).await?.list_projects().await? })
    }
}
