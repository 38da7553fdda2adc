//! Runs a command to see what it would do.

use crate::{
    Host,
    container::Backend,
    run::{self, Input, Task},
};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_changes::{List, Shown, show};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Tool};
use std::{os::fd::AsFd as _, sync::Arc, time::Duration};

pub(crate) struct ExecPreview(pub(crate) Arc<Host>);

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// For `exec_apply_preview`, as long as it is kept.
    preview: String,
    /// What the command would change in the workspace; at most 200.
    changes: Vec<Shown>,
    /// How many there are.
    changes_count: u64,
    /// Sockets, pipes and devices it would make, which are not applied.
    left_out: u64,
    /// How the command went.
    run: crate::Output,
}

impl Tool for ExecPreview {
    const NAME: &'static str = "exec_preview";
    const SUMMARY: &'static str = "Run a program or script as `exec_run`, on a copy of the workspace that is thrown away, and show what it would create, change and delete, with diffs. `exec_apply_preview` then does it.";
    const KEYWORDS: &'static str = "dry run preview simulate show what a command would change before running it for real what would happen try safely codemod migration formatter sed install diff before | essai à blanc aperçu simuler essayer sans risque que ferait modifications";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        input.effect()
    }

    fn secrets(&self, input: &Input) -> Vec<String> {
        input.secrets()
    }

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.command_line(&self.0).map(Some)
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        if input.backend != Backend::Sandbox {
            return Err(Error::invalid_input(
                "what a command would change is looked at in the sandbox; leave `backend` out",
            ));
        }
        let no_room = |err| Error::unavailable("there is no room for a preview").with_source(err);
        let file = self.0.scratch_file().map_err(no_room)?;
        let task = Task { preview: Some(file.as_fd()), ..input.task() };
        let run = run::in_slot(&self.0, ctx, &task).await?;
        let (shown, file) = crate::blocking(move || {
            let shown = show(&file);
            shown.map(|shown| (shown, file)).map_err(|err| {
                Error::unavailable("what the command would do cannot be read").with_source(err)
            })
        })
        .await?;
        let preview = ctx.keep_preview(file.into()).await?;
        let List { changes, changes_count, left_out } = shown;
        Ok(Output { preview, changes, changes_count, left_out, run })
    }
}
