//! Copies a file or a directory.

use crate::target::{Existing, Target, make_parents, open_regular};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, RelativePath, Result, Tool, Workspace, error::IoContext as _,
};
use std::{
    ffi::OsStr,
    fs::File,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::Path,
    time::Duration,
};

pub(crate) struct FilesCopy;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// File or directory, relative to the workspace.
    from: String,
    /// Path of the copy; missing directories are made.
    to: String,
    /// Replace a file that is there; directories are never merged.
    #[serde(default)]
    overwrite: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Path of the copy.
    to: String,
    /// Regular files copied.
    files: u64,
    /// Bytes copied.
    size_bytes: u64,
    /// Entries left out: sockets, devices, FIFOs, and names that only other programs may write.
    skipped: Vec<String>,
}

impl Tool for FilesCopy {
    const NAME: &'static str = "files_copy";
    const SUMMARY: &'static str = "Copy a file or a whole directory inside the workspace. Links are copied as links, permissions are kept.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let from = workspace.relative(&input.from)?;
        let stat = workspace.stat(&from)?;
        let to = workspace.relative(&input.to)?;
        make_parents(workspace, &to)?;
        let to = Target::entry(workspace, &to)?;
        let existing = if input.overwrite { Existing::Replace } else { Existing::Fail };
        if to.stat()?.is_some() && existing == Existing::Fail {
            return Err(Error::conflict(format!(
                "`{}` exists already; set `overwrite` to replace a file",
                to.path
            )));
        }
        // Judged is where it really is: `.` and links hide that a place lies inside another.
        let entry = workspace.open_at(&from, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let real = workspace.locate(entry.as_fd());
        let real = real.ok_or_else(|| Error::conflict(format!("`{from}` was moved out of the workspace")))?;
        if real == RelativePath::root() || to.path.as_path().starts_with(real.as_path()) {
            return Err(Error::invalid_input(format!("`{}` lies inside `{from}`", to.path)));
        }
        to.keep_before(ctx).await?;
        let mut copy = Copy { ctx, workspace, files: 0, size_bytes: 0, skipped: Vec::new() };
        copy.entry(&from, FileType::from_raw_mode(stat.st_mode), &to, existing)?;
        Ok(Output {
            to: to.path.to_string(),
            files: copy.files,
            size_bytes: copy.size_bytes,
            skipped: copy.skipped,
        })
    }
}

struct Copy<'a> {
    ctx: &'a CallCtx,
    workspace: &'a Workspace,
    files: u64,
    size_bytes: u64,
    skipped: Vec<String>,
}

impl Copy<'_> {
    fn entry(&mut self, from: &RelativePath, kind: FileType, to: &Target, existing: Existing) -> Result<()> {
        self.ctx.check_canceled()?;
        match kind {
            FileType::RegularFile => self.file(from, to, existing),
            FileType::Directory => self.directory(from, to),
            FileType::Symlink => {
                let (parent, name) = from.split()?;
                let directory = self.workspace.open_directory(&parent)?;
                let text = rustix::fs::readlinkat(directory, name, Vec::new()).on(from)?;
                rustix::fs::symlinkat(text, &to.directory, &to.name).on(&to.path)
            }
            _ => {
                self.skipped.push(from.to_string());
                Ok(())
            }
        }
    }

    fn file(&mut self, from: &RelativePath, to: &Target, existing: Existing) -> Result<()> {
        let mut source = open_regular(self.workspace, from)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&source).on(from)?.st_mode);
        if existing == Existing::Replace {
            match rustix::fs::unlinkat(&to.directory, &to.name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(err) => return Err(err).on(&to.path),
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&to.directory, &to.name, flags, mode).on(&to.path)?;
        let mut copy = File::from(fd);
        // The standard library shares blocks or copies in the kernel where the filesystem can.
        self.size_bytes += std::io::copy(&mut source, &mut copy).on(&to.path)?;
        rustix::fs::fchmod(&copy, mode).on(&to.path)?;
        self.files += 1;
        if self.files.is_multiple_of(200) {
            self.ctx.progress(self.files as f64, None, format!("copied {} files", self.files));
        }
        Ok(())
    }

    fn directory(&mut self, from: &RelativePath, to: &Target) -> Result<()> {
        let source = self.workspace.open_directory(from)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&source).on(from)?.st_mode);
        rustix::fs::mkdirat(&to.directory, &to.name, mode | Mode::RWXU).on(&to.path)?;
        for entry in Dir::read_from(&source).on(from)? {
            let entry = entry.on(from)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let place = from.join(Path::new(name));
            let stat = rustix::fs::statat(&source, name, AtFlags::SYMLINK_NOFOLLOW).on(&place)?;
            match Target::entry(self.workspace, &to.path.join(Path::new(name))) {
                Ok(to) => self.entry(&place, FileType::from_raw_mode(stat.st_mode), &to, Existing::Fail)?,
                Err(_) => self.skipped.push(place.to_string()),
            }
        }
        Ok(())
    }
}
