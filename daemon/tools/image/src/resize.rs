//! Makes pictures smaller or larger.

use crate::{
    batch::{self, Files, Output, Plan},
    task::{Fit, Format, Resize, Task, Transform},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageResize;

/// As of JPEG and WebP in practice.
pub(crate) const fn default_quality() -> u8 {
    80
}

const fn default_enlarge() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// New width in pixels; by default it follows from the height.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16384))]
    width: Option<u32>,
    /// New height in pixels; by default it follows from the width.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16384))]
    height: Option<u32>,
    /// What to do if width and height have another shape than the picture.
    #[serde(default)]
    fit: Fit,
    /// Whether a small picture becomes larger.
    #[serde(default = "default_enlarge")]
    enlarge: bool,
    /// Of JPEG, WebP and AVIF.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
    /// Format of the new files; by default as the extension of `output`, or that of the picture.
    #[serde(default)]
    format: Option<Format>,
    /// Keep what the file says besides, such as camera and place.
    #[serde(default)]
    keep_metadata: bool,
}

impl Tool for ImageResize {
    const NAME: &'static str = "image_resize";
    const SUMMARY: &'static str = "Make pictures smaller or larger, one or many at once, to a width, a height or both. Turns them upright first. The originals stay unless `output` names them.";
    const KEYWORDS: &'static str = "scale shrink enlarge downscale dimensions pixels photo picture width height | redimensionner agrandir réduire taille photo image largeur hauteur";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let Input { width, height, .. } = input;
        let size = [width, height].map(|side| side.map(|side| side.to_string()));
        let suffix = match size {
            [None, None] => return Err(Error::invalid_input("give `width`, `height` or both")),
            [Some(width), None] => format!("-{width}w"),
            [None, Some(height)] => format!("-{height}h"),
            [Some(width), Some(height)] => format!("-{width}x{height}"),
        };
        let resize = Resize { width, height, fit: input.fit, enlarge: input.enlarge };
        let task = |format| {
            Task::Transform(Transform {
                resize: Some(resize),
                format,
                quality: input.quality,
                keeps_metadata: input.keep_metadata,
                ..Transform::default()
            })
        };
        batch::run(ctx, &input.files, &Plan { task: &task, suffix: &suffix, format: input.format }).await
    }
}
