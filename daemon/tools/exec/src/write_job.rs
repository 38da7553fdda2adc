//! Writes to the stdin or the terminal of a background job.

use crate::Host;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_sandbox::job::{Request, Write};
use std::sync::Arc;

pub(crate) struct ExecWriteJob(pub(crate) Arc<Host>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    job: String,
    /// What to write. Nothing is added: most programs wait for a line break. At a terminal control characters are keys, as
    /// `\u0003` for Ctrl-C.
    #[serde(default)]
    #[schemars(length(max = 262_144), extend("writeOnly" = true))]
    text: Option<String>,
    /// Bytes in base64, instead of `text`.
    #[serde(default)]
    #[schemars(length(max = 349_528), extend("writeOnly" = true))]
    base64: Option<String>,
    /// Close stdin after that; at a terminal, type Ctrl-D.
    #[serde(default)]
    close: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How much the job had written by then: with it as `offset`, `exec_read_job` shows what it wrote since.
    output_bytes: u64,
}

impl Tool for ExecWriteJob {
    const NAME: &'static str = "exec_write_job";
    const SUMMARY: &'static str = "Send input to a background job, to its stdin or typed at its terminal: answer a prompt, send a line or a key.";
    const KEYWORDS: &'static str = "background job stdin input type send keys answer prompt line interactive terminal | arrière-plan tâche de fond entrée saisir taper envoyer répondre ligne interactif";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let bytes = match (input.text, input.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => BASE64_STANDARD
                .decode(text)
                .map_err(|err| Error::invalid_input(format!("`base64` cannot be decoded: {err}")))?,
            (None, None) if input.close => Vec::new(),
            (None, None) => return Err(Error::invalid_input("give `text` or `base64`, or `close`")),
            (Some(_), Some(_)) => return Err(Error::invalid_input("give either `text` or `base64`")),
        };
        let job = self.0.find_job(ctx, &input.job).await?;
        let output_bytes = job.ask(Request::Write(Write { bytes, is_last: input.close })).await?;
        Ok(Output { output_bytes })
    }
}
