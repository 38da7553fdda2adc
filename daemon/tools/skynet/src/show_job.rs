//! Looks at a call that took too long to be answered at once.

use crate::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{sync::Arc, time::Duration};

pub(crate) struct SkynetShowJob(pub(crate) Arc<Catalog>);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Running,
    /// It is done; the answer is here.
    Done,
    /// It failed; `message` says why.
    Failed,
    /// It was canceled.
    Canceled,
}

/// A job as its owner sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Job {
    /// Its id.
    pub job: String,
    /// The tool that runs.
    pub tool: String,
    /// Where it stands.
    pub state: State,
    /// What it is doing, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The tool's answer, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Map<String, Value>>,
}

const fn default_wait() -> u32 {
    10
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// How long to wait for its end.
    #[serde(default = "default_wait")]
    #[schemars(range(max = 25))]
    wait_seconds: u32,
    /// Stop it.
    #[serde(default)]
    cancel: bool,
}

impl Tool for SkynetShowJob {
    const NAME: &'static str = "skynet_show_job";
    const SUMMARY: &'static str =
        "Wait for a call that was answered with a job id, and get its answer; or stop it.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Job;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Job> {
        let owner = &ctx.origin()?.owner;
        let jobs = self.0.jobs()?;
        if input.cancel {
            jobs.cancel(owner, &input.job)?;
        }
        jobs.look(owner, &input.job, Duration::from_secs(input.wait_seconds.into())).await
    }
}
