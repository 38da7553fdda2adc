//! What a command would do to its workspace, in a file: one [`Change`] after the other, each in the order in which it can
//! be done, and an [`End`].
//!
//! A record is its length in four bytes, little-endian, and the protobuf; the content of a new file follows its change. A
//! slot writes it; the daemon reads it to show it, and hands to do it.

use prost::Message as _;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, openat2},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// In one preview; all their contents together fit [`MOST_BYTES`].
pub const MOST_CHANGES: usize = 20_000;

/// Of one preview.
pub const MOST_BYTES: u64 = 256 << 20;

/// Of a record: a path, a link and what a file was before.
const MOST_RECORD_BYTES: usize = 1 << 20;

/// What a file that is changed was before goes along for a diff if it is not longer.
const MOST_BEFORE_BYTES: u64 = 256 << 10;

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// A regular file.
    File = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link.
    Link = 2,
}

/// All about an entry that a change can change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct State {
    /// What it is.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Its permissions; 0 of a link.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// Of a file, in bytes.
    #[prost(uint64, tag = "3")]
    pub size_bytes: u64,
    /// Of a file's content, SHA-256.
    #[prost(bytes = "vec", tag = "4")]
    pub sha256: Vec<u8>,
    /// Where a link leads.
    #[prost(bytes = "vec", tag = "5")]
    pub target: Vec<u8>,
}

/// A change of one entry.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Change {
    /// Relative to the workspace, plain.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// What is there.
    #[prost(message, optional, tag = "2")]
    pub before: Option<State>,
    /// What would be there.
    #[prost(message, optional, tag = "3")]
    pub after: Option<State>,
    /// What the file that would be changed holds, if that is not long.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub text_before: Option<Vec<u8>>,
    /// Whom the permissions of what would be there were for, if it was there before; absent if they are for whoever they are
    /// for now.
    #[prost(message, optional, tag = "5")]
    pub rights: Option<Rights>,
}

/// Whom the permissions of an entry were for, besides its owner and everybody.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Rights {
    /// Its group; absent where nobody could tell.
    #[prost(uint32, optional, tag = "1")]
    pub group: Option<u32>,
    /// What tells its access lists from others; empty if it had none.
    #[prost(string, tag = "2")]
    pub list: String,
}

/// Nothing follows.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct End {
    /// Of the workspace.
    #[prost(uint64, tag = "1")]
    pub device: u64,
    /// See above.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// Sockets, pipes and devices, which cannot be made again.
    #[prost(uint64, tag = "3")]
    pub left_out: u64,
}

/// What is written.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(oneof = "What", tags = "1, 2")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Change(Change),
    #[prost(message, tag = "2")]
    End(End),
}

impl State {
    /// What `name` in `directory` is, links not followed, with the file itself if it is one. `None` if there is nothing.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` for what is neither file, directory nor link.
    pub fn of(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<(Self, Option<File>)>> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        let mut state = Self { mode: stat.st_mode & 0o7777, ..Self::default() };
        let mut opened = None;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
                (state.size_bytes, state.sha256) = digest(&mut file)?;
                opened = Some(file);
            }
            FileType::Directory => state.set_kind(Kind::Directory),
            FileType::Symlink => {
                state.set_kind(Kind::Link);
                state.mode = 0;
                state.target = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes();
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(Some((state, opened)))
    }
}

/// The length and the SHA-256 of what can be read.
fn digest(from: &mut impl Read) -> io::Result<(u64, Vec<u8>)> {
    let (mut length, mut hash) = (0, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
            return Ok((length, hash.finalize().to_vec()));
        };
        hash.update(chunk);
        length += u64::try_from(count).unwrap_or_default();
    }
}

/// Opens a directory below `root`, through no link.
///
/// # Errors
/// What openat2(2) says.
pub fn directory_at(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

/// Names a directory below `root`, through no link, whether it may be read or not.
///
/// # Errors
/// What openat2(2) says.
pub fn open_path(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

/// Whether it is how an overlay says that something below is gone: a device of no number (overlayfs).
#[must_use]
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Writes a preview.
pub struct Writer<W> {
    to: W,
    count: usize,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// To an empty file.
    pub const fn new(to: W) -> Self {
        Self { to, count: 0, bytes: 0 }
    }

    /// Adds a change; `before` and `after` are the files of its states.
    ///
    /// # Errors
    /// `QuotaExceeded` when there are more than a preview takes, or what the files say.
    pub fn add(&mut self, mut change: Change, before: Option<File>, after: Option<File>) -> io::Result<()> {
        let size = |state: &Option<State>| state.as_ref().map_or(0, |state| state.size_bytes);
        self.count += 1;
        self.bytes += size(&change.after);
        if self.count > MOST_CHANGES || self.bytes > MOST_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!(
                    "it changes more than the {MOST_CHANGES} entries or {} MiB that a preview takes",
                    MOST_BYTES >> 20
                ),
            ));
        }
        if let (Some(mut file), true) = (before, after.is_some() && size(&change.before) <= MOST_BEFORE_BYTES)
        {
            io::Seek::rewind(&mut file)?;
            let mut text = Vec::new();
            file.take(MOST_BEFORE_BYTES).read_to_end(&mut text)?;
            change.text_before = Some(text);
        }
        let length = size(&change.after);
        self.record(What::Change(change))?;
        if let Some(mut file) = after {
            io::Seek::rewind(&mut file)?;
            if io::copy(&mut file.take(length), &mut self.to)? != length {
                return Err(io::Error::other("a file changed while it was looked at"));
            }
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self, end: End) -> io::Result<()> {
        self.record(What::End(end))?;
        self.to.flush()
    }

    fn record(&mut self, what: What) -> io::Result<()> {
        let bytes = Record { what: Some(what) }.encode_to_vec();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&bytes)
    }
}

/// Reads a preview from its beginning.
pub struct Reader<R> {
    from: R,
    /// Of the last change's content, what was not read.
    content: u64,
    end: Option<End>,
}

impl<R: Read> Reader<R> {
    /// From a file that a [`Writer`] wrote.
    pub const fn new(from: R) -> Self {
        Self { from, content: 0, end: None }
    }

    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// `InvalidData` when it is no preview, or not a whole one.
    pub fn next_change(&mut self) -> io::Result<Option<Change>> {
        io::copy(&mut self.content(), &mut io::sink())?;
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
        if length > MOST_RECORD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes)?;
        let record = Record::decode(&*bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        match record.what {
            Some(What::Change(change)) => {
                self.content = change.after.as_ref().map_or(0, |state| state.size_bytes);
                Ok(Some(change))
            }
            Some(What::End(end)) => {
                self.end = Some(end);
                Ok(None)
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The content of the file that the last change makes.
    pub fn content(&mut self) -> impl Read {
        (&mut self.from).take(std::mem::take(&mut self.content))
    }

    /// The file.
    pub fn into_inner(self) -> R {
        self.from
    }

    /// What its end said, once it was read.
    pub const fn end(&self) -> Option<End> {
        self.end
    }
}

/// The path of a change, if it is a plain one.
#[must_use]
pub fn plain_path(change: &Change) -> Option<&Path> {
    let path = Path::new(OsStr::from_bytes(&change.path));
    let is_plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (is_plain && path.file_name().is_some()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_was_written_is_read_and_what_was_cut_is_not() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("new"), "content").unwrap();
        let open = File::open(directory.path()).unwrap();
        let (after, file) = State::of(open.as_fd(), OsStr::new("new")).unwrap().unwrap();
        assert_eq!((after.kind(), after.size_bytes), (Kind::File, 7));
        let change = Change { path: b"new".to_vec(), after: Some(after), ..Change::default() };
        let gone = Change { path: b"old".to_vec(), before: Some(State::default()), ..Change::default() };
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.add(change.clone(), None, file).unwrap();
        writer.add(gone.clone(), None, None).unwrap();
        writer.finish(End { device: 1, inode: 2, left_out: 3 }).unwrap();

        let mut reader = Reader::new(&*bytes);
        assert_eq!(reader.next_change().unwrap(), Some(change.clone()));
        let mut content = String::new();
        reader.content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert_eq!(reader.next_change().unwrap(), Some(gone.clone()));
        assert_eq!(reader.next_change().unwrap(), None);
        assert_eq!(reader.end(), Some(End { device: 1, inode: 2, left_out: 3 }));
        // Content that nobody wants is passed over.
        let mut reader = Reader::new(&*bytes);
        reader.next_change().unwrap();
        assert_eq!(reader.next_change().unwrap(), Some(gone));
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]);
            while let Ok(Some(_)) = reader.next_change() {}
            assert_eq!(reader.end(), None, "{cut}");
        }
    }
}
