//! Signals a background job, or ends it.

use crate::{Host, status::Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_sandbox::job::Request;
use std::{sync::Arc, time::Duration};

/// To end everything, and to look for what it left.
const LAST_WORDS: Duration = Duration::from_secs(20);

pub(crate) struct ExecSignalJob(pub(crate) Arc<Host>);

/// A signal.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Signal {
    /// Asks it to end.
    #[default]
    Term,
    /// As Ctrl-C.
    Int,
    /// Ends it and everything it started, in whatever session.
    Kill,
    Hup,
    Quit,
    Usr1,
    Usr2,
    /// Halts it until CONT.
    Stop,
    Cont,
}

impl Signal {
    /// Of x86 and ARM (signal(7)).
    const fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
            Self::Cont => 18,
            Self::Stop => 19,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// What to send.
    #[serde(default)]
    signal: Signal,
}

impl Tool for ExecSignalJob {
    const NAME: &'static str = "exec_signal_job";
    const SUMMARY: &'static str = "Stop or signal a background job. TERM asks it to end, KILL ends it with all its processes and waits for that; other signals go to its process group.";
    const KEYWORDS: &'static str = "background job kill stop terminate interrupt end signal cancel halt pause dev server runs | arrière-plan tâche de fond tuer arrêter terminer interrompre signal pause serveur";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Status;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Status> {
        let job = self.0.find_job(ctx, &input.job).await?;
        if input.signal == Signal::Kill {
            job.ask(Request::Kill(true)).await?;
            job.watch(ctx, u64::MAX, LAST_WORDS).await?;
        } else {
            job.ask(Request::Signal(input.signal.number())).await?;
        }
        crate::blocking(move || Status::of(&job)).await
    }
}
