//! Lets a lease last longer.

use crate::{
    Board,
    shown::{Shown, default_seconds},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct LeaseRenew(pub(crate) Arc<Board>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// As told by `lease_acquire`.
    id: String,
    /// How long it lasts from now on; default 600.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1, max = 14_400))]
    lasts_seconds: u32,
}

impl Tool for LeaseRenew {
    const NAME: &'static str = "lease_renew";
    const SUMMARY: &'static str = "Let a lease of this session last longer, or end sooner. One that is over is taken anew with `lease_acquire`.";
    const KEYWORDS: &'static str =
        "extend prolong renew lease lock keep longer before it expires | prolonger renouveler bail verrou";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Shown;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Shown> {
        let lease = self.0.open()?.renew(ctx, input.id, input.lasts_seconds).await?;
        Shown::new(ctx, lease)
    }
}
