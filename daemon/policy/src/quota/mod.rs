//! How much a user may use: calls, processor time, answers and what is written, by window, and what there is at the same time.
//! A call is counted when it starts, and what it used when it has ended: what began is not cut short by a limit. Knows no tool.

mod account;
mod limits;
mod plan;
mod quotas;

pub use limits::{Limit, Limits, Window};
pub use plan::Plan;
pub use quotas::{Quotas, Standing};

use crate::commands::Who;
use account::Counts;
use async_trait::async_trait;
use skynet_core::{
    Answer, Call, Layer, Next, Result,
    call::Notes,
    change::{Changed, Entry, Kind},
};
use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

pub(crate) struct Quota {
    quotas: Arc<Quotas>,
}

impl Quota {
    pub(crate) const fn new(quotas: Arc<Quotas>) -> Self {
        Self { quotas }
    }
}

#[async_trait]
impl Layer for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn describe(&self) -> String {
        let plan = self.quotas.plan();
        let per_minute = plan.calls_per_minute().map_or_else(|| "unlimited".into(), |most| most.to_string());
        let named = match plan.named() {
            0 => String::new(),
            1 => ", 1 more limit".into(),
            more => format!(", {more} more limits"),
        };
        format!("{per_minute} calls per minute, {} at once{named}", plan.concurrent_calls())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let uid = call.caller.uid;
        let who = Who::of(&call.caller);
        let plan = self.quotas.plan();
        let holding = plan.holding(&who);
        // Before it is counted: a call that has no place is none.
        let slot = self.quotas.slot(uid)?;
        self.quotas.begin(&who, &holding)?;
        let kept_bytes = holding.kept_bytes;
        call.jobs = holding.jobs;
        call.slots.push(slot);
        let result = next.run(call).await;
        call.slots.pop();
        self.quotas.add(uid, used(&call.notes, &result));
        if let Some((most, _)) = kept_bytes {
            self.quotas.shrink(uid, most).await;
        }
        result
    }
}

/// What a call used besides itself, however it ended.
fn used(notes: &Notes, result: &Result<Answer>) -> Counts {
    let usage = *notes.usage.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = written_bytes(&notes.changes.lock().unwrap_or_else(PoisonError::into_inner));
    let told = quotas::counts(usage);
    Counts {
        answer_bytes: result.as_ref().map_or(0, |answer| answer.json.len() as u64),
        written_bytes: told.written_bytes.saturating_add(changed),
        ..told
    }
}

/// The sizes of all files that have another content than before. What was only moved was not written.
fn written_bytes(changes: &[Changed]) -> u64 {
    let file = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.kind == Kind::File);
    let digest = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.sha256.clone());
    let gone = changes.iter().filter(|change| file(&change.before) && change.after.is_none());
    let gone: HashSet<_> = gone.map(|change| digest(&change.before)).collect();
    let written = changes.iter().filter(|change| {
        let after = digest(&change.after);
        file(&change.after) && digest(&change.before) != after && !gone.contains(&after)
    });
    let sizes = written.filter_map(|change| change.after.as_ref()).map(|entry| entry.size_bytes);
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, size_bytes: u64, sha256: &str) -> Option<Entry> {
        Some(Entry {
            kind,
            mode: 0o644,
            size_bytes,
            sha256: sha256.into(),
            target: String::new(),
            rights: None,
        })
    }

    #[test]
    fn written_is_what_has_another_content_than_before() {
        let file = |size, digest| entry(Kind::File, size, digest);
        let change = |before, after| Changed { path: String::new(), before, after, lost: None, tree: None };
        for (changes, bytes) in [
            (vec![], 0),
            (vec![change(None, file(5, "a"))], 5),
            (vec![change(file(9, "b"), file(5, "a"))], 5),
            // Another mode only, a file that goes, a directory, a link.
            (vec![change(file(5, "a"), file(5, "a"))], 0),
            (vec![change(file(5, "a"), None)], 0),
            (vec![change(None, entry(Kind::Directory, 0, ""))], 0),
            (vec![change(file(5, "a"), entry(Kind::Link, 0, ""))], 0),
            // Moved, over another; and copied.
            (vec![change(file(5, "a"), None), change(file(7, "b"), file(5, "a"))], 0),
            (vec![change(None, file(5, "a")), change(None, file(5, "a"))], 10),
            (vec![change(None, file(u64::MAX, "a")), change(None, file(5, "b"))], u64::MAX),
        ] {
            assert_eq!(written_bytes(&changes), bytes, "{changes:?}");
        }
    }
}
