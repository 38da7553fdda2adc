//! By who calls, when and where, tool and effect, before anything that costs. Rules about arguments come later, when there
//! are any.

use crate::rules::Rules;
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
        // A rule that asks costs a human's time, so that waits until the input is known to be valid.
        self.rules.judge(call)?;
        next.run(call).await
    }
}
