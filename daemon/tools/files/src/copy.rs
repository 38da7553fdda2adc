//! Copies a file or a directory.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, StatVfs},
    io::Errno,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, RelativePath, Result, Subject, Tool, Workspace,
    change::Elsewhere,
    error::IoContext as _,
    reserved,
    target::{Existing, Target, make_parents, open_regular},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    ops::Range,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

/// Between two looks at whether the call was given up, in bytes.
const AT_ONCE: u64 = 8 << 20;

/// What `st_blocks` counts, in bytes (stat(3type)).
const BLOCK_BYTES: u64 = 512;

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
        ctx.note_tree(&to.path.to_string(), Elsewhere::Nowhere);
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
        let source = open_regular(self.workspace, from)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&source).on(from)?.st_mode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&to.directory, &to.name, flags, mode).on(from)?;
        let copy = File::from(fd);
        self.size_bytes += self.content(&source, &copy, from)?;
        rustix::fs::fchmod(&copy, mode).on(from)?;
        self.files += 1;
        if self.files.is_multiple_of(200) {
            self.ctx.progress(self.files as f64, None, format!("copied {} files", self.files));
        }
        Ok(())
    }

    /// Copies what a file holds, and leaves holes where it has some; how long it is.
    fn content(&self, source: &File, copy: &File, from: &RelativePath) -> Result<u64> {
        let stat = rustix::fs::fstat(source).on(from)?;
        let mut size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        if size_bytes == 0 {
            // Some filesystems do not know before it is read.
            return self.range(source, copy, 0..u64::MAX, from);
        }
        // Blocks that are shared take no room (ioctl_ficlone(2)).
        if rustix::fs::ioctl_ficlone(copy, source).is_ok() {
            return Ok(size_bytes);
        }
        let held = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK_BYTES);
        if lacks_room(held.min(size_bytes), &rustix::fs::fstatvfs(copy).on(from)?) {
            return Err(Errno::NOSPC).on(from);
        }
        let mut at = 0;
        while let Some(data) = next_data(source, at, size_bytes).on(from)? {
            let (start, end) = (data.start, data.end);
            let copied = self.range(source, copy, data, from)?;
            if copied < end - start {
                // Somebody made it shorter meanwhile.
                size_bytes = start + copied;
                break;
            }
            at = end;
        }
        // A hole at the end may be one because the file was cut off there meanwhile.
        let now = u64::try_from(rustix::fs::fstat(source).on(from)?.st_size).unwrap_or_default();
        size_bytes = size_bytes.min(now);
        rustix::fs::ftruncate(copy, size_bytes).on(from)?;
        Ok(size_bytes)
    }

    /// Copies a part of a file, which may end before that; how much there was.
    fn range(&self, source: &File, copy: &File, part: Range<u64>, from: &RelativePath) -> Result<u64> {
        for file in [source, copy] {
            rustix::fs::seek(file, SeekFrom::Start(part.start)).on(from)?;
        }
        let mut left = part.end - part.start;
        while left > 0 {
            self.ctx.check_canceled()?;
            let wanted = left.min(AT_ONCE);
            // The standard library copies in the kernel where the filesystem can.
            let (mut reader, mut writer) = (source.take(wanted), copy);
            let copied = std::io::copy(&mut reader, &mut writer).on(from)?;
            left -= copied;
            if copied < wanted {
                break;
            }
        }
        Ok(part.end - part.start - left)
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

/// Whether a filesystem has no room for so much. One that does not say how large it is finds out when it is written to.
const fn lacks_room(bytes: u64, room: &StatVfs) -> bool {
    room.f_blocks > 0 && room.f_bavail.saturating_mul(room.f_frsize) < bytes
}

/// Where a file holds something, from `at` on and before `end`; all that is left of it where holes are not told (lseek(2),
/// `SEEK_DATA`).
fn next_data(file: &File, at: u64, end: u64) -> rustix::io::Result<Option<Range<u64>>> {
    if at >= end {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(Some(at..end)),
        start => start?,
    };
    let hole = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        // It was cut off there.
        Err(Errno::NXIO) => return Ok(None),
        hole => hole?,
    };
    let hole = hole.min(end);
    Ok((start < hole).then_some(start..hole))
}

/// Removes what a copy left that did not come to its end.
fn remove_tree(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use rustix::fs::StatVfsMountFlags;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn a_copy_ends_with_its_call_and_before_a_disk_that_has_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::write(root.join("from"), "content").unwrap();
        let ctx = sample::call_in(root);
        let copy = Copy {
            ctx: &ctx,
            workspace: ctx.workspace().unwrap(),
            files: 0,
            size_bytes: 0,
            skipped: Vec::new(),
        };
        let (from, to) = (File::open(root.join("from")).unwrap(), File::create(root.join("to")).unwrap());
        let path = RelativePath::root();
        assert_eq!(copy.range(&from, &to, 0..100, &path).unwrap(), 7);
        ctx.cancel.cancel();
        assert_eq!(copy.range(&from, &to, 0..7, &path).unwrap_err().kind, skynet_core::ErrorKind::Canceled);
        let room = |f_blocks, f_bavail| StatVfs {
            f_bsize: 4096,
            f_frsize: 512,
            f_blocks,
            f_bfree: f_bavail,
            f_bavail,
            f_files: 0,
            f_ffree: 0,
            f_favail: 0,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        assert!(lacks_room(1025, &room(100, 2)) && !lacks_room(1024, &room(100, 2)));
        assert!(!lacks_room(u64::MAX, &room(0, 0)), "one that does not say");
    }

    #[test]
    fn data_is_found_between_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create_new(&path).unwrap();
        let end = 64 << 20;
        file.set_len(end).unwrap();
        file.write_all_at(b"data", 16 << 20).unwrap();
        let (mut at, mut held) = (0, 0);
        let file = File::open(&path).unwrap();
        while let Some(data) = next_data(&file, at, end).unwrap() {
            held += data.end - data.start;
            at = data.end;
        }
        assert!(at > 16 << 20, "{at}");
        if file.metadata().unwrap().blocks() * BLOCK_BYTES < end {
            assert!(held < end, "{held}");
        } else {
            eprintln!("SKIP: this filesystem has no holes");
        }
    }
}
