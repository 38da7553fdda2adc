//! A second layer over the workspace (overlayfs): the command changes that one, and what it did is told instead of done.

use super::view::CHANGES;
use rustix::{
    fs::{AtFlags, Dir, FileType, XattrFlags, fgetxattr, fstat, setxattr, statat},
    io::Errno,
    mount::{MountFlags, mount},
};
use skynet_sandbox::preview::{Change, End, Kind, State, Writer, directory_at, is_whiteout};
use std::{
    collections::BTreeSet,
    ffi::{CString, OsStr, OsString},
    fs::{self, File},
    io::{self, BufWriter},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

/// A workspace and what lies over it.
pub(crate) struct Overlay {
    lower: OwnedFd,
    upper: OwnedFd,
    /// How a directory says that it hides the one below: a trusted attribute, which only root may write, or a user's.
    opaque: &'static str,
}

impl Overlay {
    /// Lays one over the directory `workspace`. What is mounted below it stays hidden.
    pub(super) fn mount(workspace: &OwnedFd, is_users: bool) -> io::Result<Self> {
        let changes = Path::new(CHANGES);
        for name in ["upper", "work"] {
            fs::create_dir(changes.join(name))?;
        }
        // What is not a layer of this kind of ours: names that lead elsewhere, and files without their content.
        let mut options = String::from("redirect_dir=nofollow,metacopy=off,index=off");
        if is_users {
            options.push_str(",userxattr");
            // Without them it could be laid down, and would fail when a directory is replaced.
            match setxattr(CHANGES, "user.skynet", b"", XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => {
                    return Err(io::Error::other(
                        "the scratch takes no attributes of users, which tmpfs does from Linux 6.6 on",
                    ));
                }
                set => set?,
            }
        }
        // From within: in a list of options its path could mean something else.
        rustix::process::fchdir(workspace)?;
        let layers = format!("lowerdir=.,upperdir={CHANGES}/upper,workdir={CHANGES}/work,{options}");
        let lower = directory_at(workspace.as_fd(), Path::new("."))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("overlay", ".", "overlay", flags, &*CString::new(layers)?)?;
        rustix::process::chdir("/")?;
        let open = |path: &Path| -> io::Result<OwnedFd> { Ok(File::open(path)?.into()) };
        let opaque = if is_users { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        Ok(Self { lower, upper: open(&changes.join("upper"))?, opaque })
    }

    /// Writes down what was done.
    pub(super) fn collect(&self, to: File) -> io::Result<()> {
        let stat = fstat(&self.lower)?;
        let mut collector = Collector { overlay: self, writer: Writer::new(BufWriter::new(to)), left_out: 0 };
        collector.all()?;
        let Collector { writer, left_out, .. } = collector;
        writer.finish(End { device: stat.st_dev, inode: stat.st_ino, left_out })
    }

    fn hides_lower(&self, directory: &OwnedFd) -> io::Result<bool> {
        let mut value = [0; 1];
        match fgetxattr(directory, self.opaque, &mut value[..]) {
            Ok(_) => Ok(value == *b"y"),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }
}

struct Collector<'a> {
    overlay: &'a Overlay,
    writer: Writer<BufWriter<File>>,
    left_out: u64,
}

/// What an entry was, and the file if it was one.
type Found = Option<(State, Option<File>)>;

impl Collector<'_> {
    /// From the root down, without recursion: how deep a tree is, is the command's choice.
    fn all(&mut self) -> io::Result<()> {
        let mut directories = vec![(PathBuf::new(), true)];
        while let Some((path, has_lower)) = directories.pop() {
            let upper = directory_at(self.overlay.upper.as_fd(), &path)?;
            let lower = has_lower.then(|| directory_at(self.overlay.lower.as_fd(), &path)).transpose()?;
            let names = names(&upper)?;
            if let Some(lower) = &lower
                && !path.as_os_str().is_empty()
                && self.overlay.hides_lower(&upper)?
            {
                for name in self::names(lower)?.difference(&names) {
                    self.remove(&path.join(name))?;
                }
            }
            for name in &names {
                let place = path.join(name);
                let before = match &lower {
                    Some(lower) => found(lower, name)?,
                    None => None,
                };
                let stat = statat(&upper, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if is_whiteout(&stat) {
                    if before.is_some() {
                        self.remove(&place)?;
                    }
                    continue;
                }
                let kind = FileType::from_raw_mode(stat.st_mode);
                if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink) {
                    self.left_out += 1;
                    continue;
                }
                let after = found(&upper, name)?;
                let was_directory = matches!(&before, Some((state, _)) if state.kind() == Kind::Directory);
                if kind == FileType::Directory {
                    directories.push((place.clone(), was_directory));
                } else if was_directory {
                    self.remove_below(&place)?;
                }
                self.add(&place, before, after)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, before: Found, after: Found) -> io::Result<()> {
        let (before, before_file) = before.unzip();
        let (after, after_file) = after.unzip();
        if before == after {
            return Ok(());
        }
        let path = path.as_os_str().as_bytes().to_vec();
        let change = Change { path, before, after, text_before: None, rights: None };
        self.writer.add(change, before_file.flatten(), after_file.flatten())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = super::view::split(path);
        let parent = directory_at(self.overlay.lower.as_fd(), directory)?;
        let before = found(&parent, name)?;
        if matches!(&before, Some((state, _)) if state.kind() == Kind::Directory) {
            self.remove_below(path)?;
        }
        self.add(path, before, None)
    }

    /// What the lower directory holds, the innermost first.
    fn remove_below(&mut self, path: &Path) -> io::Result<()> {
        let mut inner = Vec::new();
        let mut directories = vec![path.to_owned()];
        while let Some(path) = directories.pop() {
            let directory = directory_at(self.overlay.lower.as_fd(), &path)?;
            for name in names(&directory)? {
                let stat = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    directories.push(path.join(&name));
                }
                inner.push(path.join(name));
            }
        }
        for path in inner.iter().rev() {
            let (directory, name) = super::view::split(path);
            let parent = directory_at(self.overlay.lower.as_fd(), directory)?;
            let before = found(&parent, name)?;
            self.add(path, before, None)?;
        }
        Ok(())
    }
}

/// What is neither file, directory nor link is as good as nothing: a change of it cannot be told.
fn found(directory: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    match State::of(directory.as_fd(), name) {
        Err(err) if err.kind() == io::ErrorKind::Unsupported => Ok(None),
        found => found,
    }
}

fn names(directory: &OwnedFd) -> io::Result<BTreeSet<OsString>> {
    let entries = Dir::read_from(directory)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
    let names: io::Result<Vec<Vec<u8>>> = entries.collect();
    let is_entry = |name: &Vec<u8>| !matches!(name.as_slice(), b"." | b"..");
    Ok(names?.into_iter().filter(is_entry).map(OsString::from_vec).collect())
}
