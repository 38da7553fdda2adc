//! Answers of tools that say how long theirs stay true; and, on a miss, the turn of a call that changes something, and its
//! intent, durable before its effect.

use crate::{Metrics, Services, audit::LINE_BYTES, rooms::Rooms, turns::Turns};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use skynet_core::{Answer, Call, Error, Layer, Next, Result};
use skynet_leases::Leases;
use skynet_store::{Journal, Ledger, Table, journal::Intent};
use std::{sync::Arc, time::Duration};

pub(crate) struct Cache {
    /// By tool, scope and input: when it expires (milliseconds since 1970), and the JSON.
    answers: Table<(i64, String)>,
    journal: Arc<Journal>,
    audit: Ledger,
    rooms: Arc<Rooms>,
    turns: Turns,
    leases: Arc<Leases>,
    metrics: Arc<Metrics>,
}

impl Cache {
    pub(crate) fn new(on: &Services, rooms: Arc<Rooms>) -> Self {
        Self {
            answers: on.tables.table("cache"),
            journal: on.journal.clone(),
            audit: on.audit.clone(),
            rooms,
            turns: Turns::default(),
            leases: on.leases.clone(),
            metrics: on.metrics.clone(),
        }
    }

    fn find(&self, key: &str) -> Option<Answer> {
        // A cache that cannot be read is an empty cache.
        let (expires_at, json) = self.answers.get(key).ok()??;
        (expires_at > Timestamp::now().as_millisecond()).then(|| Answer::new(Bytes::from(json)))
    }

    fn keep(&self, key: &str, answer: &Answer, time_to_live: Duration) {
        let expires_at = (Timestamp::now() + time_to_live).as_millisecond();
        let Ok(json) = String::from_utf8(answer.json.to_vec()) else {
            return;
        };
        if let Err(err) = self.answers.offer(key, &(expires_at, json)) {
            tracing::warn!(error = %err, "an answer could not be cached");
        }
    }
}

/// Tool, caller, workspace and input: nobody is served what was computed for another.
fn key(call: &Call) -> Result<String> {
    let workspace =
        call.caller.workspace.as_ref().map_or_else(String::new, |dir| dir.path().display().to_string());
    Ok(format!("{}\n{}\n{workspace}\n{}", call.tool.name, call.caller.owner(), call.input()?.digest()))
}

#[async_trait]
impl Layer for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn describe(&self) -> String {
        "answers of tools that declare a time to live".into()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        if call.effect.is_mutating() {
            // No human is waited for any more, and the time of the tool does not run yet.
            let _held = self.turns.wait(call).await?;
            // While it waited, what it changes may have been leased. What there is to tell was told then.
            self.leases.judge(call)?;
            let intent = Intent {
                call: call.id.to_string(),
                tool: call.tool.name.into(),
                effect: call.effect,
                uid: call.caller.uid,
                input_digest: call.input()?.digest(),
                workspace: call
                    .caller
                    .workspace
                    .as_ref()
                    .map(|workspace| workspace.path().to_string_lossy().into_owned()),
                token: call.caller.token.as_ref().map(|token| token.id.clone()),
            };
            // What cannot be recorded must not happen, so its line in the audit log gets its room first.
            let begun = match self.audit.reserve(LINE_BYTES) {
                Ok(room) => {
                    self.rooms.keep(call.id, room);
                    self.journal.begin(call.id, intent).await
                }
                Err(err) => Err(err),
            };
            begun.map_err(|err| {
                let reason = if err.is_disk_full() {
                    "the disk of the daemon's state is full"
                } else {
                    "the call journal cannot be written"
                };
                Error::unavailable(format!("{reason}; calls that change something are refused, reads go on"))
                    .with_source(err)
            })?;
            return next.run(call).await;
        }
        let Some(time_to_live) = call.tool.cache_for else {
            return next.run(call).await;
        };
        let key = key(call)?;
        let found = self.find(&key);
        self.metrics.looked_into_cache(found.is_some());
        if let Some(answer) = found {
            call.notes.from_cache = true;
            return Ok(answer);
        }
        let answer = next.run(call).await?;
        if answer.links.is_empty() {
            self.keep(&key, &answer, time_to_live);
        }
        Ok(answer)
    }
}
