//! Shows what is leased.

use crate::{Board, shown::Shown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct LeaseList(pub(crate) Arc<Board>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// By path; those of all sessions and users.
    leases: Vec<Shown>,
}

impl Tool for LeaseList {
    const NAME: &'static str = "lease_list";
    const SUMMARY: &'static str =
        "List what is leased in this workspace: path, holder, purpose and until when.";
    const KEYWORDS: &'static str = "who works on which file locks held leased paths other agents sessions | qui travaille sur quel fichier verrous baux autres agents";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, _input: Input) -> Result<Output> {
        let leases = self.0.open()?.of(ctx.workspace()?);
        let leases = leases.into_iter().map(|lease| Shown::new(ctx, lease)).collect::<Result<_>>()?;
        Ok(Output { leases })
    }
}
