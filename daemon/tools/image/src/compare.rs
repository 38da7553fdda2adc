//! Tells how two pictures differ.

use crate::{
    batch::{self, IfExists},
    task::{Difference, Task},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool, target::open_regular};
use std::os::fd::AsFd as _;

pub(crate) struct ImageCompare;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Picture relative to the workspace.
    first: String,
    /// The one to compare it with.
    second: String,
    /// Colours that differ by no more in each channel, of 255, are the same.
    #[serde(default)]
    tolerance: u8,
    /// PNG file to write that shows in red what differs; nothing is written by default.
    #[serde(default)]
    output: Option<String>,
    /// What to do if a file of that name is there.
    #[serde(default)]
    if_exists: IfExists,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    difference: Difference,
    /// What was written, links resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

impl Tool for ImageCompare {
    const NAME: &'static str = "image_compare";
    const SUMMARY: &'static str = "Compare two pictures pixel by pixel: how many differ, by how much, and where; on request as a picture that shows it.";
    const KEYWORDS: &'static str = "diff difference same identical visual regression screenshot | comparer différence identique régression visuelle capture";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.output.is_some() { Effect::Write } else { Effect::Read }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let place = input.output.as_ref().map(|output| workspace.relative(output)).transpose()?;
        if let Some(place) = &place {
            if place.as_path().extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
                return Err(Error::invalid_input("`output` must be a file with the extension png"));
            }
            if input.if_exists == IfExists::Fail && workspace.stat(place).is_ok() {
                return Err(batch::in_the_way(place));
            }
        }
        let open = |path: &String| open_regular(workspace, &workspace.relative(path)?);
        let (first, second) = (open(&input.first)?, open(&input.second)?);
        let painted = place.is_some().then(batch::scratch).transpose()?;
        let files: Vec<_> = [&first, &second].into_iter().chain(&painted).map(|file| file.as_fd()).collect();
        let task = Task::Compare { tolerance: input.tolerance };
        let difference = skynet_parser::parse(ctx, &task, &files).await?;
        let output = match place.zip(painted) {
            Some((place, painted)) => Some(batch::write(ctx, &place, painted, input.if_exists).await?),
            None => None,
        };
        Ok(Output { difference, output })
    }
}
