//! Cuts a part out of pictures.

use crate::{
    batch::{self, Files, Output, Plan},
    resize::default_quality,
    task::{Area, Task, Transform},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageCrop;

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// Pixels from the left edge of the upright picture.
    x: u32,
    /// Pixels from its upper edge.
    y: u32,
    /// Pixels of the part.
    #[schemars(range(min = 1))]
    width: u32,
    /// Pixels of the part.
    #[schemars(range(min = 1))]
    height: u32,
    /// Of JPEG, WebP and AVIF.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
}

impl Tool for ImageCrop {
    const NAME: &'static str = "image_crop";
    const SUMMARY: &'static str =
        "Cut the same part out of one or many pictures, by position and size in pixels.";
    const KEYWORDS: &'static str =
        "cut trim region area extract part select | rogner recadrer découper couper zone image";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let Input { x, y, width, height, quality, files } = input;
        let crop = Some(Area { x, y, width, height });
        let task = |format| Task::Transform(Transform { crop, format, quality, ..Transform::default() });
        batch::run(ctx, &files, &Plan { task: &task, suffix: "-crop", format: None }).await
    }
}
