//! By who calls, when and where, tool and effect, before anything that costs. Rules about arguments come later, when there
//! are any.

use crate::rules::InForce;
use async_trait::async_trait;
use skynet_core::{Answer, Call, Layer, Next, Result};

pub(crate) struct Permit {
    rules: InForce,
}

impl Permit {
    pub(crate) const fn new(rules: InForce) -> Self {
        Self { rules }
    }
}

#[async_trait]
impl Layer for Permit {
    fn name(&self) -> &'static str {
        "permit"
    }

    fn describe(&self) -> String {
        format!("{} rules and the defaults", self.rules.load().len())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        // A rule that asks costs a human's time, so that waits until the input is known to be valid.
        self.rules.load_full().judge(call)?;
        next.run(call).await
    }
}
