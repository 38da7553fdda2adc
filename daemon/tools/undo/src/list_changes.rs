//! Shows what calls changed.

use crate::{
    plan::reserved_in,
    records::{self, obstacle},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_changes::{Shown, diff_of, shown};
use skynet_core::{
    CallCtx, Effect, Place, Result, Tool,
    change::{Changed, Entry, Kind, Recorded},
    target::Target,
};
use std::{
    fs::File,
    io::Read as _,
    time::{Duration, Instant},
};

/// Files up to here are compared line by line.
const MOST_COMPARED_BYTES: u64 = 256 << 10;

/// All diffs of an answer together; what is not compared by then is shown as one block for another.
const COMPARE_WITHIN: Duration = Duration::from_millis(500);

/// Changes of one call in an answer.
const MOST_SHOWN: usize = 50;

pub(crate) struct UndoListChanges;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only this call.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9a-f]{32}\.[0-9]+(\.[0-9]+)?$"))]
    call: Option<String>,
    /// Only calls of this session: its id, or `this`.
    #[serde(default)]
    #[schemars(regex(pattern = "^(this|[0-9a-f]{32})$"))]
    session: Option<String>,
    /// Only calls that changed this path or something below it.
    #[serde(default)]
    path: Option<String>,
    /// The newest that many calls, 1 to 200 (default 20).
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 200))]
    limit: usize,
    /// With diffs of texts, as far as both versions are kept (default false).
    #[serde(default)]
    diffs: bool,
}

const fn twenty() -> usize {
    20
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Line {
    /// Its id, for `undo_revert_call`.
    call: String,
    /// When it ended, RFC 3339, UTC.
    at: String,
    /// Which tool.
    tool: String,
    /// From which client.
    client: String,
    /// How it ended.
    outcome: String,
    /// Why it cannot be taken back; absent if it can, unless something else changed the same entries since.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_undoable: Option<String>,
    /// What it changed; at most 50.
    changes: Vec<Shown>,
    /// How many there are.
    changes_count: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The newest first.
    calls: Vec<Line>,
    /// How many there are that fit the question.
    calls_count: u64,
}

impl Tool for UndoListChanges {
    const NAME: &'static str = "undo_list_changes";
    const SUMMARY: &'static str = "List what calls changed in this workspace, newest first, with diffs on request, and whether each can be taken back by `undo_revert_call`.";
    const KEYWORDS: &'static str = "history of changes what did the agent change what did you modify which files were touched review changes made | historique des changements qu'est-ce qui a changé fichiers modifiés par l'agent voir les modifications";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = input.call.as_deref().or(input.session.as_deref()).unwrap_or_default();
        let path = input.path.as_deref().map(|path| ctx.workspace()?.relative(path)).transpose()?;
        let fits = |record: &Recorded| {
            path.as_ref().is_none_or(|path| {
                let path = path.as_path();
                let is_below = |change: &Changed| std::path::Path::new(&change.path).starts_with(path);
                path == std::path::Path::new(".") || record.changes.iter().any(is_below)
            })
        };
        let mut found = records::read(ctx, name).await?;
        found.retain(fits);
        let calls_count = found.len() as u64;
        let until = input.diffs.then(|| Instant::now() + COMPARE_WITHIN);
        let mut calls = Vec::new();
        for record in found.into_iter().take(input.limit) {
            calls.push(line(ctx, record, until).await?);
        }
        Ok(Output { calls, calls_count })
    }
}

async fn line(ctx: &CallCtx, record: Recorded, until: Option<Instant>) -> Result<Line> {
    let workspace = ctx.workspace()?;
    let not_undoable = obstacle(&record).or_else(|| reserved_in(workspace, &record));
    let mut changes = Vec::new();
    for changed in record.changes.iter().take(MOST_SHOWN) {
        let diff = match until {
            Some(until) => diff(ctx, changed, until).await?,
            None => None,
        };
        changes.push(shown(&records::change(changed), diff));
    }
    Ok(Line {
        call: record.call,
        at: record.at,
        tool: record.tool,
        client: record.client,
        outcome: record.outcome,
        not_undoable,
        changes,
        changes_count: record.changes.len() as u64,
    })
}

/// Between what is kept of before, and what is kept or still there of after.
async fn diff(ctx: &CallCtx, changed: &Changed, until: Instant) -> Result<Option<String>> {
    let before = match &changed.before {
        None => Some(Vec::new()),
        Some(entry) => text(ctx, entry, None).await?,
    };
    let after = match &changed.after {
        None => Some(Vec::new()),
        Some(entry) => text(ctx, entry, Some(&changed.path)).await?,
    };
    let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
    Ok(diff_of(&changed.path, before, after, until))
}

/// What a file of that content holds: the one at `path`, if it is still the same, or one that was kept.
async fn text(ctx: &CallCtx, entry: &Entry, path: Option<&str>) -> Result<Option<Vec<u8>>> {
    if entry.kind != Kind::File || entry.size_bytes > MOST_COMPARED_BYTES {
        return Ok(None);
    }
    let read = |file: File| {
        let mut bytes = Vec::new();
        file.take(MOST_COMPARED_BYTES).read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    if let Some(path) = path {
        let workspace = ctx.workspace()?;
        let now = Target::unchecked(workspace, &workspace.relative(path)?).and_then(|target| target.open());
        let bytes = now.ok().flatten().and_then(read);
        let is_same = |bytes: &Vec<u8>| records::sha256(bytes) == entry.sha256;
        if let Some(bytes) = bytes.filter(is_same) {
            return Ok(Some(bytes));
        }
    }
    Ok(records::content(ctx, &entry.sha256).await?.and_then(read))
}
