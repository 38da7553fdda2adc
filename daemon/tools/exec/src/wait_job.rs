//! Waits for the end of a background job.

use crate::{
    Host,
    status::{Excerpt, State, Status},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_sandbox::job::From;
use std::{sync::Arc, time::Duration};

/// Of the output.
const TAIL_BYTES: usize = 4000;

pub(crate) struct ExecWaitJob(pub(crate) Arc<Host>);

/// Less than a call may take before it is answered with an id of its own (`mcp.job_after_seconds`).
const fn default_timeout() -> u32 {
    30
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// How long to wait. The job goes on if that is not enough.
    #[serde(default = "default_timeout")]
    #[schemars(range(max = 3600))]
    timeout_seconds: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How the job stands.
    status: Status,
    /// The last 4,000 bytes that it wrote.
    output_tail: String,
}

impl Tool for ExecWaitJob {
    const NAME: &'static str = "exec_wait_job";
    const SUMMARY: &'static str = "Wait for a background job to end: exit code, what ended it, the time and memory it took, and the end of its output.";
    const KEYWORDS: &'static str = "background job wait finish end exit code result done completed | arrière-plan tâche de fond attendre fin terminée code de sortie résultat";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let job = self.0.find_job(ctx, &input.job).await?;
        job.watch(ctx, u64::MAX, Duration::from_secs(input.timeout_seconds.into())).await?;
        let look = move || -> Result<Output> {
            let status = Status::of(&job)?;
            let is_over = status.state != State::Running;
            Ok(Output { output_tail: Excerpt::of(&job, is_over, From::Tail, TAIL_BYTES)?.text, status })
        };
        crate::blocking(look).await
    }
}
