//! Changes the size of a background job's terminal.

use crate::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_sandbox::{job::Request, protocol::TerminalSize};
use std::sync::Arc;

pub(crate) struct ExecResizeJob(pub(crate) Arc<Host>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// Lines.
    #[schemars(range(min = 1, max = 1000))]
    rows: u16,
    /// Characters of a line.
    #[schemars(range(min = 1, max = 1000))]
    columns: u16,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How much the job had written by then.
    output_bytes: u64,
}

impl Tool for ExecResizeJob {
    const NAME: &'static str = "exec_resize_job";
    const SUMMARY: &'static str =
        "Change the size of a background job's terminal, as a window is resized; its programs are told.";
    const KEYWORDS: &'static str = "background job terminal size resize rows columns window pty | arrière-plan tâche de fond terminal taille redimensionner lignes colonnes fenêtre";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let job = self.0.find_job(ctx, &input.job).await?;
        let size = TerminalSize { rows: input.rows.into(), columns: input.columns.into() };
        Ok(Output { output_bytes: job.ask(Request::Resize(size)).await? })
    }
}
