//! Takes a path.

use crate::{
    Board,
    shown::{Shown, default_seconds},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_leases::Wanted;
use std::sync::Arc;

pub(crate) struct LeaseAcquire(pub(crate) Arc<Board>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// File, or directory with all that it holds, relative to the workspace; `.` is all of it. It need not exist yet.
    path: String,
    /// What for, in one line; shown to whoever is refused.
    #[schemars(length(min = 1, max = 200))]
    purpose: String,
    /// How long it lasts unless it is renewed; default 600.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1, max = 14_400))]
    lasts_seconds: u32,
}

impl Tool for LeaseAcquire {
    const NAME: &'static str = "lease_acquire";
    const SUMMARY: &'static str = "Take a file or directory for a while: until it is given back or its time is over, calls of other sessions that would change it are refused, and told why. Reads go on. Refused while another session holds something that overlaps.";
    const KEYWORDS: &'static str = "lock reserve claim path file directory exclusive parallel agents side by side concurrent edits coordination ownership | verrou verrouiller réserver fichier dossier aucun autre agent plusieurs agents en parallèle bail";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Shown;

    fn check(&self, input: &Input) -> Result<()> {
        if input.purpose.trim().is_empty() || input.purpose.chars().any(char::is_control) {
            return Err(Error::invalid_input("`purpose` is one line in words, such as `split the parser`"));
        }
        Ok(())
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Shown> {
        let Input { path, purpose, lasts_seconds } = input;
        let lease = self.0.open()?.acquire(ctx, Wanted { path, purpose, lasts_seconds }).await?;
        Shown::new(ctx, lease)
    }
}
