//! Builds an image.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Build, Built, Engine, ImageName};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(crate) struct DockerBuildImage(pub(crate) Arc<Engine>);

fn default_context() -> String {
    ".".to_owned()
}

fn default_dockerfile() -> String {
    "Dockerfile".to_owned()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Directory of the workspace that is sent to the engine, without what its `.dockerignore` names.
    #[serde(default = "default_context")]
    context: String,
    /// Path below `context`.
    #[serde(default = "default_dockerfile")]
    dockerfile: String,
    /// Name of the image, with tag.
    #[serde(default)]
    tag: Option<ImageName>,
    /// Values of `ARG`; they can be read in the image's history.
    #[serde(default)]
    arguments: BTreeMap<String, String>,
    /// Stage to end at.
    #[serde(default)]
    target: Option<String>,
    /// Take nothing from builds before.
    #[serde(default)]
    no_cache: bool,
    /// Look for newer base images.
    #[serde(default)]
    pull: bool,
    /// Keep its steps from any network. What `ADD` and `FROM` name is fetched by the engine all the same.
    #[serde(default)]
    offline: bool,
}

impl Tool for DockerBuildImage {
    const NAME: &'static str = "docker_build_image";
    const SUMMARY: &'static str = "Build an image from a Dockerfile of the workspace, following the log as progress; like docker build. Base images that are not here are fetched.";
    const KEYWORDS: &'static str = "docker podman build image dockerfile | construire image dockerfile";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Input = Input;
    type Output = Built;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Built> {
        let build = Build {
            context: input.context,
            dockerfile: input.dockerfile,
            tag: input.tag,
            arguments: input.arguments,
            target: input.target,
            no_cache: input.no_cache,
            pull: input.pull,
            network: !input.offline,
        };
        self.0.client(ctx).await?.build_image(&self.0, ctx, &build).await
    }
}
