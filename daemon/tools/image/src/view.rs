//! Shows a picture to the model itself.

use crate::{batch, task::Task};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Picture, Place, Result, Tool, error::IoContext as _, target::open_regular,
};
use std::io::{Read as _, Seek as _};

/// Of what is shown: as base64 it takes a third more, and an answer has 64 KiB unless more is asked for.
const MOST_BYTES: u64 = 48 << 10;

pub(crate) struct ImageView;

const fn default_longest_side() -> u32 {
    1024
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Picture relative to the workspace: JPEG, PNG, WebP, GIF, TIFF, BMP or SVG.
    path: String,
    /// Longer pictures are made smaller, in pixels.
    #[serde(default = "default_longest_side")]
    #[schemars(range(min = 16, max = 2048))]
    longest_side: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[schemars(skip)]
    picture: Picture,
    /// Pixels of what is shown.
    width: u32,
    /// Pixels of what is shown.
    height: u32,
    /// Pixels of the file.
    original_width: u32,
    /// Pixels of the file.
    original_height: u32,
}

impl Tool for ImageView {
    const NAME: &'static str = "image_view";
    const SUMMARY: &'static str = "Look at a picture: it comes back as an image, made small enough for a conversation. Of moving pictures the first frame.";
    const KEYWORDS: &'static str = "see look display open show photo screenshot diagram what is in | voir regarder afficher photo capture image que montre";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let file = open_regular(workspace, &path)?;
        let task = Task::Show { longest_side: input.longest_side, most_bytes: MOST_BYTES };
        let (made, mut shown) = batch::make(ctx, &file, &task).await?;
        let mut bytes = Vec::new();
        shown.rewind().on(&path)?;
        shown.take(MOST_BYTES).read_to_end(&mut bytes).on(&path)?;
        Ok(Output {
            picture: Picture { media_type: "image/jpeg".into(), base64: BASE64_STANDARD.encode(bytes) },
            width: made.width,
            height: made.height,
            original_width: made.old_width,
            original_height: made.old_height,
        })
    }
}
