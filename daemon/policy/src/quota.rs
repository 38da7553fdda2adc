//! How many calls a user may make per minute, and how many at once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use skynet_core::{Answer, Call, Error, Layer, Next, Result, call::Slot};
use skynet_store::{Table, Tables};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Limits of one user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls that may start in one minute of the clock; unlimited if absent.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Calls that may run at the same time.
    pub concurrent_calls: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls_per_minute: None, concurrent_calls: NonZeroU32::MIN.saturating_add(511) }
    }
}

pub(crate) struct Quota {
    limits: Limits,
    /// By uid: which minute, and how many calls in it. Durable, so that a restart resets nothing.
    counters: Table<(i64, u32)>,
    running: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

impl Quota {
    pub(crate) fn new(limits: Limits, tables: &Tables) -> Self {
        Self { limits, counters: tables.table("quota_minute"), running: Mutex::default() }
    }

    fn charge(&self, uid: u32) -> Result<()> {
        let Some(limit) = self.limits.calls_per_minute else {
            return Ok(());
        };
        let now = jiff::Timestamp::now().as_second();
        let minute = now / 60;
        let counted = self.counters.update(&uid.to_string(), |old| match old {
            Some((same, count)) if same == minute => Some((minute, count.saturating_add(1))),
            _ => Some((minute, 1)),
        });
        // A disk that takes no writes leaves the count in memory; one that cannot even be read leaves none, and that
        // is no reason to refuse what the caller asks for.
        let counted = counted.unwrap_or_else(|err| {
            tracing::warn!(error = %err, "the calls of this minute cannot be counted");
            None
        });
        if counted.is_some_and(|(_, count)| count > limit.get()) {
            return Err(Error::quota_exceeded(format!(
                "more than {limit} calls in this minute (`quota.calls_per_minute`); try again in {} s",
                60 - now % 60
            )));
        }
        Ok(())
    }

    fn slot(&self, uid: u32) -> Result<Slot> {
        let limit = self.limits.concurrent_calls;
        let semaphore = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(limit.get() as usize))).clone()
        };
        let permit = semaphore.clone().try_acquire_owned().map_err(|_| {
            Error::quota_exceeded(format!(
                "{limit} calls of this user are running (`quota.concurrent_calls`); wait for one to end"
            ))
        })?;
        Ok(Slot::new(semaphore, permit))
    }
}

#[async_trait]
impl Layer for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn describe(&self) -> String {
        let per_minute =
            self.limits.calls_per_minute.map_or_else(|| "unlimited".into(), |limit| limit.to_string());
        format!("{per_minute} calls per minute, {} at once", self.limits.concurrent_calls)
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        self.charge(call.caller.uid)?;
        call.slots.push(self.slot(call.caller.uid)?);
        let result = next.run(call).await;
        call.slots.pop();
        result
    }
}
