//! Reads what a background job wrote.

use crate::{
    Host,
    status::{Excerpt, State, Status},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_sandbox::job::From;
use std::{sync::Arc, time::Duration};

pub(crate) struct ExecReadJob(pub(crate) Arc<Host>);

const fn default_max_bytes() -> u32 {
    16_384
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// First byte to return, such as `next_offset` of the last answer; the end of the output if absent.
    #[serde(default)]
    offset: Option<u64>,
    /// Most to return.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 4096, max = 1_048_576))]
    max_bytes: u32,
    /// If there is nothing from `offset` on: how long to wait for more, or for the end of the job.
    #[serde(default)]
    #[schemars(range(max = 40))]
    wait_seconds: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What it wrote to stdout and stderr, in the order in which it came.
    output: String,
    /// Where that begins; later than asked for if what was there is gone.
    offset: u64,
    /// Where to go on.
    next_offset: u64,
    /// How the job stands.
    status: Status,
}

impl Tool for ExecReadJob {
    const NAME: &'static str = "exec_read_job";
    const SUMMARY: &'static str = "Read what a background job wrote, from an offset or its end, and how it stands; waits for more if asked to. Of long output the first MiB and the last 7 are there.";
    const KEYWORDS: &'static str = "background job output log tail follow stdout stderr read logs server poll | arrière-plan tâche de fond sortie journal suivre lire affichage serveur";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let job = self.0.find_job(ctx, &input.job).await?;
        if input.wait_seconds > 0 {
            let wanted = input.offset.unwrap_or_default().saturating_add(1);
            job.watch(ctx, wanted, Duration::from_secs(input.wait_seconds.into())).await?;
        }
        let from = input.offset.map_or(From::Tail, From::Offset);
        let most = usize::try_from(input.max_bytes).unwrap_or(usize::MAX);
        let look = move || -> Result<(Status, Excerpt)> {
            let status = Status::of(&job)?;
            let is_over = status.state != State::Running;
            let excerpt = Excerpt::of(&job, is_over, from, most)?;
            Ok((status, excerpt))
        };
        let (status, Excerpt { text, from, to }) = crate::blocking(look).await?;
        Ok(Output { output: text, offset: from, next_offset: to, status })
    }
}
