//! Puts many pictures into one.

use crate::{
    batch::{self, IfExists},
    resize::default_quality,
    task::{Color, Format, Made, Montage, Task},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool, target::open_regular};
use std::{os::fd::AsFd as _, time::Duration};

pub(crate) struct ImageMakeMontage;

const fn default_tile() -> u32 {
    256
}

const fn default_gap() -> u32 {
    8
}

const fn default_background() -> Color {
    [255; 3]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Pictures relative to the workspace, in order of rows.
    #[schemars(length(min = 1, max = 100))]
    paths: Vec<String>,
    /// File to write; its extension says the format.
    output: String,
    /// Pictures in a row; by default about as many as there are rows.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    columns: Option<u32>,
    /// Width of each, in pixels, at most.
    #[serde(default = "default_tile")]
    #[schemars(range(min = 1, max = 4096))]
    tile_width: u32,
    /// Height of each, in pixels, at most.
    #[serde(default = "default_tile")]
    #[schemars(range(min = 1, max = 4096))]
    tile_height: u32,
    /// Pixels between them and around them.
    #[serde(default = "default_gap")]
    #[schemars(range(max = 256))]
    gap: u32,
    /// Red, green and blue of what is between them.
    #[serde(default = "default_background")]
    background: Color,
    /// Of JPEG, WebP and AVIF.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
    /// What to do if a file of that name is there.
    #[serde(default)]
    if_exists: IfExists,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What was written, links resolved.
    output: String,
    /// Pixels of it.
    width: u32,
    /// Pixels of it.
    height: u32,
    /// Bytes of it.
    size_bytes: u64,
}

impl Tool for ImageMakeMontage {
    const NAME: &'static str = "image_make_montage";
    const SUMMARY: &'static str = "Put many pictures into one, in rows and columns: a contact sheet.";
    const KEYWORDS: &'static str = "collage contact sheet grid combine tile sprite overview | montage collage planche contact grille assembler images";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = batch::TIMEOUT;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.output.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let place = workspace.relative(&input.output)?;
        let extension =
            place.as_path().extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let format = Format::of_extension(extension).ok_or_else(|| {
            Error::invalid_input("the extension of `output` must be jpg, png, webp, gif, tiff or avif")
        })?;
        if input.if_exists == IfExists::Fail && workspace.stat(&place).is_ok() {
            return Err(batch::in_the_way(&place));
        }
        let open = |path: &String| open_regular(workspace, &workspace.relative(path)?);
        let pictures = input.paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        let square = (input.paths.len() as f64).sqrt().ceil() as u32;
        let task = Task::Montage(Montage {
            columns: input.columns.unwrap_or(square),
            tile_width: input.tile_width,
            tile_height: input.tile_height,
            gap: input.gap,
            background: input.background,
            format,
            quality: input.quality,
        });
        let output = batch::scratch()?;
        let files: Vec<_> = pictures.iter().chain([&output]).map(|file| file.as_fd()).collect();
        let made: Made = skynet_parser::parse(ctx, &task, &files).await?;
        let written = batch::write(ctx, &place, output, input.if_exists).await?;
        Ok(Output { output: written, width: made.width, height: made.height, size_bytes: made.bytes })
    }
}
