//! Tells what a picture is.

use crate::task::{Description, Task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool, error::IoContext as _, target::open_regular};
use std::os::fd::AsFd as _;

pub(crate) struct ImageShowInfo;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Picture relative to the workspace: JPEG, PNG, WebP, GIF, TIFF, BMP or SVG.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Bytes of the file.
    size_bytes: u64,
    #[serde(flatten)]
    description: Description,
}

impl Tool for ImageShowInfo {
    const NAME: &'static str = "image_show_info";
    const SUMMARY: &'static str = "Tell what a picture is: format, size in pixels, colours, transparency, animation, and what its file says besides, such as camera, time and place.";
    const KEYWORDS: &'static str = "dimensions read exif metadata camera taken width height format properties photo gps | dimensions métadonnées largeur hauteur format propriétés photo";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let file = open_regular(workspace, &path)?;
        let description = skynet_parser::parse(ctx, &Task::Describe, &[file.as_fd()]).await?;
        Ok(Output { size_bytes: file.metadata().on(&path)?.len(), description })
    }
}
