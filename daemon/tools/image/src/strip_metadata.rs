//! Removes what pictures tell besides what they show.

use crate::{
    batch::{self, Files, Output, Plan},
    task::Task,
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct ImageStripMetadata;

#[derive(Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Input {
    #[serde(flatten)]
    files: Files,
}

impl Tool for ImageStripMetadata {
    const NAME: &'static str = "image_strip_metadata";
    const SUMMARY: &'static str = "Remove camera, time, place, comments and embedded previews from JPEG, PNG or WebP files. The pixels stay exactly the same.";
    const KEYWORDS: &'static str = "exif gps location privacy remove strip metadata photo picture clean anonymize xmp iptc | métadonnées photo image exif gps supprimer effacer confidentialité lieu";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        batch::run(ctx, &input.files, &Plan { task: &|_| Task::Strip, suffix: "-stripped", format: None })
            .await
    }
}
