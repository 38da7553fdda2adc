//! By user, tool and effect, before anything that costs.

use crate::rules::{Rules, Verdict, denial};
use async_trait::async_trait;
use skynet_core::{Answer, Call, Layer, Next, Result};
use std::sync::Arc;

pub(crate) struct Permit {
    rules: Arc<Rules>,
}

impl Permit {
    pub(crate) const fn new(rules: Arc<Rules>) -> Self {
        Self { rules }
    }
}

#[async_trait]
impl Layer for Permit {
    fn name(&self) -> &'static str {
        "permit"
    }

    fn describe(&self) -> String {
        format!("{} rules and the defaults", self.rules.len())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let (caller, tool) = (&call.caller, call.tool.name);
        let decision = self.rules.decide(&caller.user, caller.uid, tool, call.effect);
        call.notes.rule = Some(format!("{}: {}", decision.rule, decision.verdict));
        match decision.verdict {
            Verdict::Deny => Err(denial(&decision, &caller.user, tool, call.effect)),
            // Asking costs a human's time, so it waits until the input is known to be valid.
            Verdict::Ask | Verdict::Allow => next.run(call).await,
        }
    }
}
