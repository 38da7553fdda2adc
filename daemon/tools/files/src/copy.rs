//! Copies a file or a directory.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, RelativePath, Result, Subject, Tool, Workspace,
    error::IoContext as _,
    reserved,
    target::{Existing, Target, make_parents, open_regular},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

/// Between two looks at whether the call was given up, in bytes.
const AT_ONCE: u64 = 64 << 20;

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
    const KEYWORDS: &'static str =
        "duplicate clone folder directory backup cp | copier dupliquer copie sauvegarde dossier fichier";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.to.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let from = workspace.relative(&input.from)?;
        let kind = FileType::from_raw_mode(workspace.stat(&from)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink) {
            return Err(Error::invalid_input(format!("`{from}` is a {kind:?}, which cannot be copied")));
        }
        let to = workspace.relative(&input.to)?;
        make_parents(ctx, workspace, &to).await?;
        let to = Target::entry(workspace, &to)?;
        let existing = if input.overwrite { Existing::Replace } else { Existing::Fail };
        let there = to.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let advice = match there {
            Some(_) if existing == Existing::Fail => Some("set `overwrite` to replace a file"),
            Some(there) if [kind, there].contains(&FileType::Directory) => {
                Some("directories are neither merged nor replaced")
            }
            _ => None,
        };
        if let Some(advice) = advice {
            return Err(Error::conflict(format!("`{}` exists already; {advice}", to.path)));
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
        let scratch = to.scratch()?;
        let copied = copy.entry(&from, kind, &scratch, &to.path).and_then(|()| {
            rustix::fs::syncfs(&scratch.directory).on(&to.path)?;
            scratch.settle(&to, existing)
        });
        if let Err(err) = copied {
            // Best effort: the error that counts is the first one.
            let _ = remove_tree(&scratch.directory, &scratch.name);
            return Err(err);
        }
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
    /// Copies an entry to `to`, a scratch place that becomes `place` in the end.
    fn entry(
        &mut self,
        from: &RelativePath,
        kind: FileType,
        to: &Target,
        place: &RelativePath,
    ) -> Result<()> {
        self.ctx.check_canceled()?;
        match kind {
            FileType::RegularFile => self.file(from, to),
            FileType::Directory => self.directory(from, to, place),
            FileType::Symlink => {
                let (parent, name) = from.split()?;
                let directory = self.workspace.open_directory(&parent)?;
                let text = rustix::fs::readlinkat(directory, name, Vec::new()).on(from)?;
                rustix::fs::symlinkat(text, &to.directory, &to.name).on(place)
            }
            _ => {
                self.skipped.push(from.to_string());
                Ok(())
            }
        }
    }

    fn file(&mut self, from: &RelativePath, to: &Target) -> Result<()> {
        let mut source = open_regular(self.workspace, from)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&source).on(from)?.st_mode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&to.directory, &to.name, flags, mode).on(from)?;
        let mut copy = File::from(fd);
        // The standard library shares blocks or copies in the kernel where the filesystem can.
        loop {
            self.ctx.check_canceled()?;
            let copied = std::io::copy(&mut (&mut source).take(AT_ONCE), &mut copy).on(from)?;
            self.size_bytes += copied;
            if copied < AT_ONCE {
                break;
            }
        }
        rustix::fs::fchmod(&copy, mode).on(from)?;
        self.files += 1;
        if self.files.is_multiple_of(200) {
            self.ctx.progress(self.files as f64, None, format!("copied {} files", self.files));
        }
        Ok(())
    }

    fn directory(&mut self, from: &RelativePath, to: &Target, place: &RelativePath) -> Result<()> {
        let source = self.workspace.open_directory(from)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&source).on(from)?.st_mode);
        rustix::fs::mkdirat(&to.directory, &to.name, mode | Mode::RWXU).on(place)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&to.directory, &to.name, flags, Mode::empty()).on(place)?;
        for entry in Dir::read_from(&source).on(from)? {
            let entry = entry.on(from)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let (from, place) = (from.join(Path::new(name)), place.join(Path::new(name)));
            let kind = rustix::fs::statat(&source, name, AtFlags::SYMLINK_NOFOLLOW).on(&from)?.st_mode;
            let path = to.path.join(Path::new(name));
            // Where it will be decides, and where it is: that tells what lies beside it.
            let checked = reserved::check(self.workspace, &place).and(reserved::check(self.workspace, &path));
            if checked.is_err() {
                self.skipped.push(from.to_string());
                continue;
            }
            let to = Target { directory: made.try_clone().on(&place)?, name: name.to_owned(), path };
            self.entry(&from, FileType::from_raw_mode(kind), &to, &place)?;
        }
        Ok(())
    }
}

/// Removes what a copy left that did not come to its end.
fn remove_tree(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inside)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            remove_tree(&inside, name)?;
        }
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}
