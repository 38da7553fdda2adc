//! Reads the journal of systemd, by journalctl(1): what the caller's groups let him see.

use crate::journal::{self, Entry, Priority, Query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct SystemReadJournal;

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only this unit, like `nginx.service`; a `*` matches any text.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    unit: Option<String>,
    /// Only messages of this program, as syslog knows it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    identifier: Option<String>,
    /// Only messages at least this severe.
    #[serde(default)]
    priority: Option<Priority>,
    /// Only from this time on: `2026-11-22 10:00:00`, `yesterday`, `-2h`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    since: Option<String>,
    /// Only up to this time.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    until: Option<String>,
    /// Only messages that match this regular expression (PCRE2).
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    pattern: Option<String>,
    /// Only messages of the kernel.
    #[serde(default)]
    kernel: bool,
    /// Which start of the host: 0 is this one, -1 the one before; absent means any.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 0))]
    boot: Option<i32>,
    /// Most entries to return, the newest ones.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
    /// Entries after this `cursor` of an earlier answer, oldest first.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    after_cursor: Option<String>,
    /// Wait so long for new entries, shown as progress as they come, or until there are `limit`; without `after_cursor` only new ones are returned.
    #[serde(default)]
    #[schemars(range(max = 600))]
    follow_seconds: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Oldest first.
    entries: Vec<Entry>,
    /// Of the last entry; pass it as `after_cursor` to see what came later.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// What journalctl remarks, such as that messages of other users are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Tool for SystemReadJournal {
    const NAME: &'static str = "system_read_journal";
    const SUMMARY: &'static str = "Read the system journal: messages of services and the kernel by unit, severity, time and text; or follow it for a while. Like journalctl.";
    const KEYWORDS: &'static str = "logs log journalctl syslog dmesg errors messages service crashed failed kernel events follow tail live watch | journal journaux messages erreurs service planté noyau événements panne système suivre direct";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(660);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let query = Query {
            newest_first: false,
            unit: input.unit,
            is_of_user: false,
            identifier: input.identifier,
            priority: input.priority,
            since: input.since,
            until: input.until,
            pattern: input.pattern,
            kernel: input.kernel,
            boot: input.boot,
            limit: input.limit,
            after_cursor: input.after_cursor,
            follow: Duration::from_secs(input.follow_seconds.into()),
        };
        let found = journal::read(ctx, &query).await?;
        Ok(Output { entries: found.entries, cursor: found.cursor, note: found.note })
    }
}
