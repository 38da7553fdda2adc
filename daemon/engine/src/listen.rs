//! Hearing that something changed in the engine, by whomever: for what is remembered of it. What changed, nobody is told here.

use crate::{Engine, failure::About};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use skynet_core::{Connection, Error, Result};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// So long the engine may take until it lets somebody listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event is not longer; of one that is, nothing need be read to know that it happened.
const LONGEST_EVENT: usize = 1 << 20;

/// What happens to a container and changes nothing that a list tells: health checks and people who look.
const QUIET: [&str; 7] = ["exec_create", "exec_start", "exec_die", "exec_detach", "attach", "resize", "top"];

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Action")]
    action: String,
}

impl Engine {
    /// Listens with the rights of whom the connection is of, until the engine ends it: calls `begin` once nothing is missed any
    /// more, and `change` for each change from then on.
    ///
    /// # Errors
    /// As [`Engine::connect`], and what the engine says.
    pub async fn listen(
        &self,
        connection: Arc<Connection>,
        begin: impl Fn() + Send + Sync,
        change: impl Fn() + Send + Sync,
    ) -> Result<()> {
        let late = |_| Error::unavailable("the container engine lets nobody listen in time");
        let client = timeout(PATIENCE, self.listener(connection)).await.map_err(late)??;
        // Docker answers before it listens itself. What happens in between it tells because of the second.
        let path = format!("/events?since={}", Timestamp::now().as_second());
        let asked = client.ask(About::Engine, client.send(&path));
        let response = timeout(PATIENCE, asked).await.map_err(late)??;
        if !response.status().is_success() {
            return Err(Error::unavailable(format!("its events cannot be heard: {}", response.status())));
        }
        begin();
        let mut body = response.into_body();
        let mut heard = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|err| Error::unavailable("its events broke off").with_source(err))?;
            let Ok(bytes) = frame.into_data() else { continue };
            heard.extend_from_slice(&bytes);
            while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
                let event: Vec<u8> = heard.drain(..=end).collect();
                if is_change(&event) {
                    change();
                }
            }
            if heard.len() > LONGEST_EVENT {
                heard.clear();
                change();
            }
        }
        Ok(())
    }
}

/// Whether lists may tell something else now. What is not understood may be anything.
fn is_change(event: &[u8]) -> bool {
    let Ok(told) = serde_json::from_slice::<Told>(event) else {
        return !event.trim_ascii().is_empty();
    };
    // Of a command the action goes on, as in `exec_create: /bin/true`.
    let action = told.action.split(':').next().unwrap_or_default();
    !QUIET.contains(&action)
}

#[cfg(test)]
mod tests {
    use super::is_change;

    #[test]
    fn health_checks_change_nothing_and_what_is_not_understood_may() {
        for (event, expected) in [
            (&br#"{"Type":"container","Action":"start"}"#[..], true),
            (br#"{"Type":"container","Action":"health_status: unhealthy"}"#, true),
            (br#"{"Type":"container","Action":"exec_create: /bin/true"}"#, false),
            (br#"{"Type":"container","Action":"exec_die"}"#, false),
            (b"{}", true),
            (b"\n", false),
        ] {
            assert_eq!(is_change(event), expected, "{}", String::from_utf8_lossy(event));
        }
    }
}
