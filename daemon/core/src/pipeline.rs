//! The one way to a tool: an ordered list of layers around it.

use crate::{Answer, Call, CallCtx, Result, ctx::Origin};
use async_trait::async_trait;
use std::sync::Arc;

/// One concern that every call passes. It may refuse, wait, observe or answer by itself; otherwise it calls
/// `next` exactly once.
#[async_trait]
pub trait Layer: Send + Sync {
    /// The name in the architecture's table.
    fn name(&self) -> &'static str;

    /// What this layer enforces, for `status`.
    fn describe(&self) -> String;

    /// Handles the call on its way in and its answer on the way out.
    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer>;
}

/// The rest of the pipeline.
pub struct Next<'a>(&'a [Box<dyn Layer>]);

impl Next<'_> {
    /// Runs the layers further in, and at last the tool.
    ///
    /// # Errors
    /// Theirs.
    pub async fn run(self, call: &mut Call) -> Result<Answer> {
        if let Some((layer, rest)) = self.0.split_first() {
            return layer.handle(call, Next(rest)).await;
        }
        let ctx = CallCtx::new(
            call.cancel.clone(),
            call.max_bytes,
            call.effect,
            call.caller.workspace.clone(),
            call.outbox.clone(),
        )
        .with_origin(Origin {
            session: call.id.session,
            owner: call.caller.owner(),
            caller: call.caller.clone(),
        })
        .with_program(call.program.clone())
        .with_program_before(call.program_before.clone())
        .with_list(call.is_listed)
        .with_jobs(call.jobs.clone())
        .with_confirmation(call.notes.is_confirmed_by_human())
        .with_lent_engine(call.has_lent_engine);
        let tool = call.tool.clone();
        tool.run(&ctx, call.input()?).await.map(Answer::new)
    }
}

/// The layers, outermost first.
#[derive(Clone)]
pub struct Pipeline(Arc<[Box<dyn Layer>]>);

impl Pipeline {
    /// A pipeline of these layers.
    #[must_use]
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        Self(layers.into())
    }

    /// The layers, outermost first.
    #[must_use]
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.0
    }

    /// Takes a call through every layer.
    ///
    /// # Errors
    /// Of the layer that refused it, or of the tool.
    pub async fn run(&self, call: &mut Call) -> Result<Answer> {
        Next(&self.0).run(call).await
    }
}
