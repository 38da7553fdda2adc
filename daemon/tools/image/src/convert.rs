//! Writes pictures in another format.

use crate::{
    batch::{self, Files, Output, Plan},
    resize::default_quality,
    task::{Color, Format, Task, Transform},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageConvert;

const fn default_background() -> Color {
    [255; 3]
}

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// The new format.
    format: Format,
    /// Of JPEG, WebP and AVIF; a WebP of 100 is lossless.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
    /// Red, green and blue behind what is transparent, for JPEG.
    #[serde(default = "default_background")]
    background: Color,
    /// Keep what the file says besides, such as camera and place.
    #[serde(default)]
    keep_metadata: bool,
}

impl Tool for ImageConvert {
    const NAME: &'static str = "image_convert";
    const SUMMARY: &'static str = "Write pictures in another format: JPEG, PNG, WebP, GIF, TIFF or AVIF; also drawings in SVG. Of moving pictures the first frame.";
    const KEYWORDS: &'static str = "format change rasterize svg png jpg jpeg webp avif tiff gif export | convertir format image changer exporter rastériser";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let task = |format| {
            Task::Transform(Transform {
                format,
                quality: input.quality,
                background: input.background,
                keeps_metadata: input.keep_metadata,
                ..Transform::default()
            })
        };
        let plan = Plan { task: &task, suffix: "", format: Some(input.format) };
        batch::run(ctx, &input.files, &plan).await
    }
}
