//! Writes pictures with fewer bytes.

use crate::{
    batch::{self, Files, Output, Plan},
    resize::default_quality,
    task::Task,
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageOptimize;

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// Of JPEG and WebP; PNG loses nothing.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
}

impl Tool for ImageOptimize {
    const NAME: &'static str = "image_optimize";
    const SUMMARY: &'static str = "Write JPEG, PNG or WebP pictures of the same size with fewer bytes; PNG without loss. What would not become smaller is left alone.";
    const KEYWORDS: &'static str = "compress smaller reduce weight web bytes lossless oxipng | compresser optimiser alléger réduire poids image";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let task = |_| Task::Optimize { quality: input.quality };
        batch::run(ctx, &input.files, &Plan { task: &task, suffix: "-optimized", format: None }).await
    }
}
