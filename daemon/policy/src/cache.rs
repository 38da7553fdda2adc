//! Answers of tools that say what theirs are about, given again for a while; and, on a miss, the turn of a call that changes
//! something, and its intent, durable before its effect.

use crate::{Metrics, Services, audit::LINE_BYTES, rooms::Rooms, scan, turns::Turns};
use async_trait::async_trait;
use skynet_core::{Answer, Call, Error, Kind, Layer, Next, Result};
use skynet_leases::Leases;
use skynet_secrets::Keyring;
use skynet_store::{Journal, Ledger, journal::Intent};
use std::{fmt::Write as _, fs, os::unix::fs::MetadataExt as _, sync::Arc};

pub(crate) struct Cache {
    answers: Arc<skynet_cache::Cache>,
    journal: Arc<Journal>,
    audit: Ledger,
    rooms: Arc<Rooms>,
    keyring: Arc<Keyring>,
    turns: Turns,
    leases: Arc<Leases>,
    metrics: Arc<Metrics>,
}

impl Cache {
    pub(crate) fn new(on: &Services, rooms: Arc<Rooms>) -> Self {
        Self {
            answers: on.cache.clone(),
            journal: on.journal.clone(),
            audit: on.audit.clone(),
            rooms,
            keyring: on.keyring.clone(),
            turns: Turns::default(),
            leases: on.leases.clone(),
            metrics: on.metrics.clone(),
        }
    }

    /// Waits for its turn, writes down that it begins, and empties what it may make untrue.
    async fn change(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        // No human is waited for any more, and the time of the tool does not run yet.
        let _held = self.turns.wait(call).await?;
        // While it waited, what it changes may have been leased.
        let notice = self.leases.judge(call)?;
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
        let altering = self.answers.alter(call.tool.alters).await;
        let answer = next.run(call).await;
        // What failed may have done a part of it.
        self.answers.altered(altering).await;
        let mut answer = answer?;
        answer.notices.extend(notice);
        Ok(answer)
    }

    async fn read(&self, kind: Kind, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let key = key(kind, call)?;
        let skynet_cache::Looked { found, ticket } = self.answers.look(kind, key, &call.caller).await;
        if found.is_none() && ticket.is_none() {
            // Nothing of this kind is kept now.
            return next.run(call).await;
        }
        self.metrics.looked_into_cache(kind, found.is_some());
        if let Some(json) = found {
            call.notes.from_cache = true;
            // A secret may have been set since the answer was made.
            let scanner = scan::scanner(&self.keyring, call.caller.uid).await?;
            return Ok(Answer::new(scan::redact(&scanner, json).await?));
        }
        let answer = next.run(call).await?;
        if let Some(ticket) = ticket
            && answer.links.is_empty()
        {
            self.answers.keep(ticket, &answer.json).await;
        }
        Ok(answer)
    }
}

/// Tool, caller with his groups, workspace, length and input, so that nobody is given what was made for another; and how the
/// files stand that are written when it changes.
fn key(kind: Kind, call: &Call) -> Result<String> {
    let caller = &call.caller;
    let workspace =
        caller.workspace.as_ref().map_or_else(String::new, |dir| dir.path().display().to_string());
    let mut key = format!(
        "{}\n{}\n{workspace}\n{}\n{}\n",
        call.tool.name,
        caller.owner(),
        call.max_bytes,
        call.input()?.digest()
    );
    // Writing to a String cannot fail.
    for group in caller.groups.iter() {
        let _ = write!(key, "{} ", group.gid);
    }
    for witness in kind.witnesses() {
        // One that is not there is told by its absence.
        if let Ok(file) = fs::metadata(witness) {
            let _ = write!(
                key,
                "\n{witness} {} {} {}.{} {}.{}",
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec()
            );
        }
    }
    Ok(key)
}

#[async_trait]
impl Layer for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn describe(&self) -> String {
        self.answers.describe()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        if call.effect.is_mutating() {
            return self.change(call, next).await;
        }
        match call.tool.kind_of(call.input()?)? {
            // What is lent is lent for this call.
            Some(kind) if !call.has_lent_engine => self.read(kind, call, next).await,
            Some(_) | None => next.run(call).await,
        }
    }
}
