//! Makes small pictures of large ones.

use crate::{
    batch::{self, Files, Output, Plan},
    resize::default_quality,
    task::{Fit, Format, Resize, Task, Transform},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageMakeThumbnail;

const fn default_size() -> u32 {
    256
}

const fn default_format() -> Format {
    Format::Jpeg
}

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// The longer side in pixels; smaller pictures stay as large as they are.
    #[serde(default = "default_size")]
    #[schemars(range(min = 1, max = 2048))]
    size: u32,
    /// Cut each to a square.
    #[serde(default)]
    square: bool,
    /// Format of the new files.
    #[serde(default = "default_format")]
    format: Format,
    /// Of JPEG, WebP and AVIF.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
}

impl Tool for ImageMakeThumbnail {
    const NAME: &'static str = "image_make_thumbnail";
    const SUMMARY: &'static str = "Make thumbnails: small copies of pictures, one or many at once, without what their files say besides.";
    const KEYWORDS: &'static str = "thumb preview small icon gallery contact create | créer miniature vignette aperçu petite icône galerie";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let side = Some(input.size);
        // A square is one also of a picture that is smaller.
        let (fit, enlarge) = if input.square { (Fit::Cover, true) } else { (Fit::Inside, false) };
        let task = |format| {
            Task::Transform(Transform {
                resize: Some(Resize { width: side, height: side, fit, enlarge }),
                format,
                quality: input.quality,
                ..Transform::default()
            })
        };
        let plan = Plan { task: &task, suffix: "-thumb", format: Some(input.format) };
        batch::run(ctx, &input.files, &plan).await
    }
}
