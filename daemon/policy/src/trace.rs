//! One span and one count for every call.

use crate::Metrics;
use async_trait::async_trait;
use skynet_core::{Answer, Call, Layer, Next, Result};
use std::{sync::Arc, time::Instant};
use tracing::Instrument as _;

pub(crate) struct Trace {
    metrics: Arc<Metrics>,
}

impl Trace {
    pub(crate) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

#[async_trait]
impl Layer for Trace {
    fn name(&self) -> &'static str {
        "trace"
    }

    fn describe(&self) -> String {
        "a span, a count and a duration per call".into()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let started = Instant::now();
        // Upper case, because journald shows them as fields of their own: `journalctl CALL_ID=...`.
        let span = tracing::info_span!("call", CALL_ID = %call.id, TOOL = call.tool.name, USER_ID = call.caller.uid, CLIENT = &*call.caller.client);
        let result = next.run(call).instrument(span.clone()).await;
        let took = started.elapsed();
        let outcome = result.as_ref().map_or_else(|err| err.kind.as_str(), |_| "ok");
        self.metrics.record(call.tool.name, outcome, &call.caller, took);
        let _entered = span.enter();
        match &result {
            Ok(_) if !call.effect.is_mutating() => tracing::debug!(outcome, ?took, "call"),
            Ok(_) => tracing::info!(outcome, ?took, "call"),
            Err(err) => {
                let source = err.source.as_ref().map(ToString::to_string);
                tracing::info!(outcome, ?took, reason = %err, source, "call");
            }
        }
        result
    }
}
