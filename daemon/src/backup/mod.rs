//! A copy of everything that a daemon cannot make anew, as one file: a gzipped tar archive that begins with what it is
//! (`backup.json`), holds the files of the state below `state/`, and ends with their SHA-256 in the form of sha256sum(1)
//! (`SHA256SUMS`). It holds the key of the secrets, unless that is a credential of systemd, so it is kept like one.

mod restore;

pub(crate) use restore::{Contents, restore, verify};

use crate::format::Format;
use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_store::Tables;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Seek as _, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// The names of the first and of the last entry.
const ABOUT: &str = "backup.json";
const SUMS: &str = "SHA256SUMS";

/// Where the rows of the state database are: its own files change while they are read.
const TABLES: &str = "state/tables";

/// The logs, in this order. What says how far a log goes comes before it, or it would seem to have lost its end; and what the
/// call journal knows the audit log knows too, or the next daemon would take that for lost.
const LOGS: [&str; 3] = ["ledger/audit.newest", "ledger/journal", "ledger/audit"];

/// What else is copied. Not indexes and models, which are made anew.
const PARTS: [&str; 6] = [crate::format::FILE, "keys", "secrets", "memory", "blobs", "jobs"];

/// What the first entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    #[serde(flatten)]
    pub(crate) format: Format,
    pub(crate) created_at: Timestamp,
}

/// Writes a backup of the state in that directory, which may be in use, to `out`. Logs are as they were when this began,
/// however long `out` takes; each other file is as it was at one moment after that.
///
/// # Errors
/// What cannot be read, or what `out` says.
pub(crate) fn create(directory: &Path, tables: &Tables, out: impl Write) -> Result<()> {
    // Held open, so that nothing of them is dropped meanwhile.
    let mut logs = Vec::new();
    for log in LOGS {
        hold_below(&mut logs, directory, Path::new(log))?;
    }
    let about = About { format: Format::current(), created_at: Timestamp::now() };
    let mut archive = Archive::new(out);
    archive.add_bytes(ABOUT, &serde_json::to_vec_pretty(&about)?)?;
    // To a file first: its length comes before it. It has no name, so nobody finds it.
    let mut rows = tempfile::tempfile_in(directory).context("the disk of the state")?;
    tables.export(&mut rows).context("the state database")?;
    rows.rewind()?;
    let length = rows.metadata()?.len();
    archive.add(TABLES, 0o600, length, &mut rows)?;
    for log in &mut logs {
        log.add_to(&mut archive)?;
    }
    for part in PARTS {
        // One after the other: there may be more blobs than files may be open.
        let mut files = Vec::new();
        list_below(&mut files, directory, Path::new(part))?;
        for file in files {
            if let Some(mut held) = Held::open(directory, &file)? {
                held.add_to(&mut archive)?;
            }
        }
    }
    archive.finish()
}

/// A file, and how long it is to be.
struct Held {
    name: String,
    file: File,
    mode: u32,
    length: u64,
}

impl Held {
    /// `None` for what is gone by now, or is no file: sockets of jobs are of no use elsewhere.
    fn open(root: &Path, relative: &Path) -> Result<Option<Self>> {
        let path = root.join(relative);
        let name = format!("state/{}", relative.to_str().context("a name in the state is not UTF-8")?);
        // Not through a link that took its place meanwhile, and without waiting for a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(err) => return Err(err).with_context(|| format!("`{}`", path.display())),
        };
        let metadata = file.metadata()?;
        let (mode, length) = (metadata.mode() & 0o777, metadata.len());
        Ok(metadata.is_file().then_some(Self { name, file, mode, length }))
    }

    fn add_to<W: Write>(&mut self, archive: &mut Archive<W>) -> Result<()> {
        let added = archive.add(&self.name, self.mode, self.length, &mut self.file);
        added.with_context(|| format!("`{}`", self.name))
    }
}

/// Opens a file, or all files of a directory and below it.
fn hold_below(held: &mut Vec<Held>, root: &Path, relative: &Path) -> Result<()> {
    let mut files = Vec::new();
    list_below(&mut files, root, relative)?;
    for file in files {
        held.extend(Held::open(root, &file)?);
    }
    Ok(())
}

/// The path of a file, or of all files of a directory and below it, in order. Not every state has everything.
fn list_below(files: &mut Vec<PathBuf>, root: &Path, relative: &Path) -> Result<()> {
    let path = root.join(relative);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotADirectory => {
            files.push(relative.to_owned());
            return Ok(());
        }
        Err(err) => return Err(err).with_context(|| format!("`{}`", path.display())),
    };
    let mut found: Vec<_> = entries.collect::<io::Result<_>>()?;
    found.sort_by_key(fs::DirEntry::file_name);
    for entry in found {
        let relative = relative.join(entry.file_name());
        // Not what links lead to.
        if entry.file_type()?.is_dir() {
            list_below(files, root, &relative)?;
        } else {
            files.push(relative);
        }
    }
    Ok(())
}

/// A backup that is being written.
struct Archive<W: Write> {
    tar: Builder<GzEncoder<W>>,
    /// Digests by name.
    sums: BTreeMap<String, String>,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self { tar: Builder::new(GzEncoder::new(out, Compression::fast())), sums: BTreeMap::new() }
    }

    fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add(name, 0o600, bytes.len() as u64, &mut &*bytes)
    }

    /// Adds as much of a file as its length was: what is appended meanwhile is no part of the backup.
    fn add(&mut self, name: &str, mode: u32, length: u64, from: &mut dyn Read) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_size(length);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or(0));
        let mut hashing = Hashing { from: from.take(length), hash: Sha256::new(), read: 0 };
        self.tar.append_data(&mut header, name, &mut hashing)?;
        anyhow::ensure!(hashing.read == length, "`{name}` became shorter while it was read; try again");
        self.sums.insert(name.to_owned(), hex(&hashing.hash.finalize()));
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let mut sums = String::new();
        for (name, sum) in &self.sums {
            // Writing to a String cannot fail.
            let _ = writeln!(sums, "{sum}  {name}");
        }
        self.add_bytes(SUMS, sums.as_bytes())?;
        self.tar.into_inner()?.finish()?.flush()?;
        Ok(())
    }
}

/// Hashes what passes.
struct Hashing<R> {
    from: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.hash.update(into.get(..count).unwrap_or_default());
        self.read += count as u64;
        Ok(count)
    }
}
