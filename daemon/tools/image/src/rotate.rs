//! Turns and mirrors pictures.

use crate::{
    batch::{self, Files, Output, Plan},
    task::{Flip, Task, Transform, Turn},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

/// What is only turned is to look as before.
const fn default_quality() -> u8 {
    90
}

pub(crate) struct ImageRotate;

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
    /// Clockwise: 0, 90, 180 or 270. With 0 and no `flip` the picture is only made upright, as the camera noted.
    #[schemars(extend("enum" = [0, 90, 180, 270]))]
    degrees: u16,
    /// Mirror it, after the turn.
    #[serde(default)]
    flip: Flip,
    /// Of JPEG, WebP and AVIF.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
}

impl Tool for ImageRotate {
    const NAME: &'static str = "image_rotate";
    const SUMMARY: &'static str = "Turn one or many pictures by quarters, mirror them, or make them upright.";
    const KEYWORDS: &'static str = "turn flip mirror orientation upright sideways degrees | tourner pivoter rotation miroir retourner redresser image";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let turn = match input.degrees {
            0 => Turn::None,
            90 => Turn::Right,
            180 => Turn::Half,
            270 => Turn::Left,
            other => {
                return Err(Error::invalid_input(format!("{other} degrees are no 0, 90, 180 or 270")));
            }
        };
        let (flip, quality) = (input.flip, input.quality);
        let task =
            |format| Task::Transform(Transform { turn, flip, format, quality, ..Transform::default() });
        batch::run(ctx, &input.files, &Plan { task: &task, suffix: "-rotated", format: None }).await
    }
}
