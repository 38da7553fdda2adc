//! How long the tool alone may take; below it a panic becomes an error.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use skynet_core::{Answer, Call, Error, Layer, Next, Result};
use std::{panic::AssertUnwindSafe, time::Duration};

/// A canceled tool may take that long to stop by itself, so that it can clean up.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Deadline;

#[async_trait]
impl Layer for Deadline {
    fn name(&self) -> &'static str {
        "deadline"
    }

    fn describe(&self) -> String {
        "each tool's own time limit; panics become errors".into()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let (tool, timeout, cancel) = (call.tool.name, call.tool.timeout, call.cancel.clone());
        // What is taken back before it begins has no effect at all, whatever its tool does about it later.
        if cancel.is_cancelled() {
            return Err(canceled(tool));
        }
        let patience = async {
            cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        // The call is only read further in, and never after a panic: unwinding leaves nothing half-changed.
        let run = AssertUnwindSafe(next.run(call)).catch_unwind();
        tokio::select! {
            result = run => result.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
                Err(Error::internal(format!("`{tool}` failed by a defect of Skynet")).with_source(text.unwrap_or_default()))
            }),
            () = tokio::time::sleep(timeout) => Err(Error::timed_out(format!(
                "`{tool}` did not finish within {} s; ask for less, or in parts", timeout.as_secs()
            ))),
            () = patience => Err(canceled(tool)),
        }
    }
}

fn canceled(tool: &str) -> Error {
    Error::canceled(format!("`{tool}` was canceled by the client"))
}
