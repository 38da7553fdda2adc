//! What the daemon has recorded of calls in this workspace.

use sha2::{Digest as _, Sha256};
use skynet_core::{
    CallCtx, Error, ErrorKind, Result,
    change::{Changed, Entry, Kind, Recorded},
    ctx::Keep,
};
use skynet_sandbox::preview::{self, Change, State};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// Of a call, of a session, or all if `name` is empty; the newest first.
pub(crate) async fn read(ctx: &CallCtx, name: &str) -> Result<Vec<Recorded>> {
    let file = File::from(ctx.open_kept(Keep::Changes, name).await?);
    let unreadable = |err: String| Error::internal("what was recorded cannot be read").with_source(err);
    let lines = BufReader::new(file).lines();
    let read = lines.map(|line| {
        let line = line.map_err(|err| unreadable(err.to_string()))?;
        serde_json::from_str(&line).map_err(|err| unreadable(err.to_string()))
    });
    read.collect()
}

/// Why a call cannot be taken back; `None` if it can.
pub(crate) fn obstacle(record: &Recorded) -> Option<String> {
    if record.changes.is_empty() {
        return Some(if record.tool.starts_with("exec_") {
            "what a command changes is recorded only by `exec_preview` and `exec_apply_preview`".into()
        } else {
            "nothing is recorded of what it changed in the workspace".into()
        });
    }
    let lost = record.changes.iter().find_map(|change| Some((change, change.lost.as_ref()?)))?;
    let hint = match record.tool.as_str() {
        "files_delete" => "; `files_restore` brings it back from the trash",
        "files_move" => "; `files_move` can move it back",
        _ => "",
    };
    Some(format!("`{}`: {}{hint}", lost.0.path, lost.1))
}

/// What a file of that content held, if it is (still) kept.
pub(crate) async fn content(ctx: &CallCtx, sha256: &str) -> Result<Option<File>> {
    match ctx.open_kept(Keep::Before, sha256).await {
        Ok(file) => Ok(Some(File::from(file))),
        Err(err) if err.kind == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// The form in which changes are listed.
pub(crate) fn state(entry: &Entry) -> State {
    let mut state = State {
        mode: entry.mode,
        size_bytes: entry.size_bytes,
        sha256: bytes_of(&entry.sha256),
        target: entry.target.clone().into_bytes(),
        ..State::default()
    };
    state.set_kind(match entry.kind {
        Kind::File => preview::Kind::File,
        Kind::Directory => preview::Kind::Directory,
        Kind::Link => preview::Kind::Link,
    });
    state
}

/// The same of a change.
pub(crate) fn change(changed: &Changed) -> Change {
    Change {
        path: changed.path.clone().into_bytes(),
        before: changed.before.as_ref().map(state),
        after: changed.after.as_ref().map(state),
        text_before: None,
        rights: None,
    }
}

/// Whom it was for; nobody can tell of what an earlier release recorded.
pub(crate) fn rights(entry: &Entry) -> preview::Rights {
    match &entry.rights {
        Some(rights) => preview::Rights { group: Some(rights.group), list: rights.list.clone() },
        None => preview::Rights::default(),
    }
}

/// Of hexadecimal digits; what is none ends it.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map_while(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// SHA-256, lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    skynet_core::canonical::hex(&Sha256::digest(bytes))
}
