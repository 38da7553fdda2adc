//! Lists background jobs.

use crate::{Host, jobs::Scope, status::Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct ExecListJobs(pub(crate) Arc<Host>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The jobs, newest first.
    jobs: Vec<Status>,
}

impl Tool for ExecListJobs {
    const NAME: &'static str = "exec_list_jobs";
    const SUMMARY: &'static str = "List the background jobs of this workspace, those of other sessions too: which run, and how the others ended. One that has ended is kept for a day.";
    const KEYWORDS: &'static str = "background jobs list running status state show which servers | arrière-plan tâches de fond lister en cours état quels serveurs";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, _input: Input) -> Result<Output> {
        let scope = Scope::of(ctx)?;
        let list = move |jobs: &crate::jobs::Jobs| jobs.list(&scope)?.iter().map(Status::of).collect();
        Ok(Output { jobs: self.0.with_jobs(list).await? })
    }
}
