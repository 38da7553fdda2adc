//! Does what a preview found.

use rustix::fs::{AtFlags, Mode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, RelativePath, Result, Tool, Workspace,
    error::IoContext as _,
    target::{Existing, Target},
};
use skynet_sandbox::preview::{Change, Kind, Reader, State, directory_at, plain_path};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Seek as _},
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
};

pub(crate) struct ExecApplyPreview;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// `preview` of an answer of `exec_preview`.
    #[schemars(length(equal = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    preview: String,
}

/// How many entries it changed.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// New ones.
    created: u64,
    /// Those with another content, mode or kind.
    changed: u64,
    /// Those that are gone.
    deleted: u64,
}

impl Tool for ExecApplyPreview {
    const NAME: &'static str = "exec_apply_preview";
    const SUMMARY: &'static str = "Do exactly what `exec_preview` showed, without running the command again. Refused as a whole if anything it changes has been changed since.";
    const KEYWORDS: &'static str =
        "apply accept preview dry run changes commit confirm | appliquer accepter aperçu modifications";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let file = File::from(ctx.open_preview(&input.preview).await?);
        check(workspace, &file)?;
        ctx.check_canceled()?;
        let mut output = Output::default();
        // What may not be written into must be first, and becomes what it is to be last.
        let mut modes = Vec::new();
        let mut reader = reader(&file)?;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
            check_way(workspace, &path)?;
            let target = Target::unchecked(workspace, &path)?;
            // Again: the user has had time since it was checked.
            compare(&target, &change)?;
            if is_file(&change.before) || (change.before.is_none() && is_file(&change.after)) {
                target.keep_before(ctx).await?;
            }
            apply(&target, &change, &mut reader)?;
            if let Some(after) = change.after.as_ref().filter(|after| after.kind() == Kind::Directory) {
                modes.push((path, after.mode));
            }
            *match (&change.before, &change.after) {
                (None, _) => &mut output.created,
                (Some(_), Some(_)) => &mut output.changed,
                (Some(_), None) => &mut output.deleted,
            } += 1;
        }
        // The innermost first, and none kept open until then: there may be more of them than descriptors.
        for (path, mode) in modes.into_iter().rev() {
            let target = Target::unchecked(workspace, &path)?;
            rustix::fs::chmodat(&target.directory, &target.name, Mode::from_raw_mode(mode), AtFlags::empty())
                .on(&target.path)?;
        }
        Ok(output)
    }
}

fn reader(file: &File) -> Result<Reader<BufReader<&File>>> {
    let mut from = file;
    from.rewind().map_err(unreadable)?;
    Ok(Reader::new(BufReader::new(from)))
}

fn unreadable(err: io::Error) -> Error {
    Error::unavailable("the preview cannot be read; make it again").with_source(err)
}

/// Refuses a preview of something else than what is there now.
fn check(workspace: &Workspace, file: &File) -> Result<()> {
    let mut reader = reader(file)?;
    let mut made = BTreeSet::new();
    while let Some(change) = reader.next_change().map_err(unreadable)? {
        let path = path(&change)?;
        let is_in_new = path.as_path().parent().is_some_and(|parent| made.contains(parent));
        // What is in a directory that is yet to be made is as new as that.
        if !is_in_new {
            check_way(workspace, &path)?;
            compare(&Target::unchecked(workspace, &path)?, &change)?;
        }
        if change.before.as_ref().is_none_or(|before| before.kind() != Kind::Directory)
            && change.after.as_ref().is_some_and(|after| after.kind() == Kind::Directory)
        {
            made.insert(path.as_path().to_owned());
        }
    }
    let place = reader.end().map(|end| (end.device, end.inode));
    if place == Some(workspace.place()) {
        Ok(())
    } else {
        Err(Error::conflict("this is the preview of a command in another workspace"))
    }
}

fn path(change: &Change) -> Result<RelativePath> {
    let path =
        plain_path(change).ok_or_else(|| Error::internal("a preview with a path that is not plain"))?;
    Ok(RelativePath::root().join(path))
}

/// Through no link: it would lead to another place than the one that was looked at.
fn check_way(workspace: &Workspace, path: &RelativePath) -> Result<()> {
    let (parent, _) = path.split()?;
    let found = directory_at(workspace.as_descriptor(), parent.as_path());
    found.map(drop).map_err(|_| changed(path))
}

fn changed(path: &RelativePath) -> Error {
    Error::conflict(format!(
        "`{path}` is not what it was when the preview was made, so nothing is applied; run `exec_preview` again"
    ))
}

fn compare(target: &Target, change: &Change) -> Result<()> {
    let found = match State::of(target.directory.as_fd(), &target.name) {
        Err(err) if err.kind() == io::ErrorKind::Unsupported => return Err(changed(&target.path)),
        found => found.on(&target.path)?.map(|(state, _)| state),
    };
    if found == change.before { Ok(()) } else { Err(changed(&target.path)) }
}

fn is_file(state: &Option<State>) -> bool {
    state.as_ref().is_some_and(|state| state.kind() == Kind::File)
}

fn apply(target: &Target, change: &Change, reader: &mut Reader<BufReader<&File>>) -> Result<()> {
    let is_directory =
        |state: &Option<State>| state.as_ref().is_some_and(|state| state.kind() == Kind::Directory);
    let Some(after) = &change.after else {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        return rustix::fs::unlinkat(&target.directory, &target.name, flags).on(&target.path);
    };
    let existing = if change.before.is_some() { Existing::Replace } else { Existing::Fail };
    if is_directory(&change.before) != is_directory(&change.after) && change.before.is_some() {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&target.directory, &target.name, flags).on(&target.path)?;
    }
    match after.kind() {
        Kind::File => target.replace_from(&mut reader.content(), Mode::from_raw_mode(after.mode), existing),
        Kind::Directory if is_directory(&change.before) => {
            // Until everything in it is done.
            let mode = Mode::from_raw_mode(after.mode) | Mode::RWXU;
            rustix::fs::chmodat(&target.directory, &target.name, mode, AtFlags::empty()).on(&target.path)
        }
        Kind::Directory => rustix::fs::mkdirat(&target.directory, &target.name, Mode::RWXU).on(&target.path),
        Kind::Link => {
            let scratch = target.scratch()?;
            let to = std::ffi::OsString::from_vec(after.target.clone());
            rustix::fs::symlinkat(&to, &scratch.directory, &scratch.name).on(&target.path)?;
            scratch.settle(target, existing).inspect_err(|_| {
                // Best effort: the error that counts is the first one.
                let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
            })
        }
    }
}
