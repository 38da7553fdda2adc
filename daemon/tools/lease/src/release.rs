//! Gives a lease back.

use crate::{Board, shown::Shown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct LeaseRelease(pub(crate) Arc<Board>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// As told by `lease_acquire`.
    id: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What others may change again.
    released: Shown,
}

impl Tool for LeaseRelease {
    const NAME: &'static str = "lease_release";
    const SUMMARY: &'static str =
        "Give a lease of this session back, so that other sessions may change its path again.";
    const KEYWORDS: &'static str = "unlock release lease lock free reserved file path done give back | déverrouiller libérer rendre bail verrou";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let lease = self.0.open()?.release(ctx, input.id).await?;
        Ok(Output { released: Shown::new(ctx, lease)? })
    }
}
