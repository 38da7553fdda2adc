//! A copy of everything that a daemon cannot make anew, as one file: a gzipped tar archive that begins with what it is
//! (`backup.json`), holds the files of the state below `state/`, and ends with their SHA-256 in the form of sha256sum(1)
//! (`SHA256SUMS`). It holds the key of the secrets, unless that is a credential of systemd, so it is kept like one.

mod restore;

pub(crate) use restore::{Verified, restore, verify};

use crate::format::Format;
use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
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
    path::Path,
};
use tar::{Builder, EntryType, Header};

/// The names of the first and of the last entry.
const ABOUT: &str = "backup.json";
const SUMS: &str = "SHA256SUMS";

/// Where the rows of the state database are: its own files change while they are read.
const TABLES: &str = "state/tables";

/// What of the state is copied, in this order: what says how far a log goes comes before the log, or the log would seem to
/// have lost its end. Not indexes and models, which are made anew.
const PARTS: [&str; 8] =
    [crate::format::FILE, "ledger/audit.newest", "ledger", "keys", "blobs", "secrets", "memory", "jobs"];

/// What the first entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    #[serde(flatten)]
    pub(crate) format: Format,
    pub(crate) created_at: Timestamp,
}

/// Writes a backup of the state in that directory, which may be in use, to `out`. Each file is as it was at one moment, and
/// logs go at least as far as they did when this began.
///
/// # Errors
/// What cannot be read, or what `out` says.
pub(crate) fn create(directory: &Path, tables: &Tables, out: impl Write) -> Result<()> {
    let about = About { format: Format::current(), created_at: Timestamp::now() };
    let mut archive = Archive::new(out);
    archive.add_bytes(ABOUT, &serde_json::to_vec_pretty(&about)?)?;
    // To a file first: its length comes before it. It has no name, so nobody finds it.
    let mut rows = tempfile::tempfile_in(directory).context("the disk of the state")?;
    tables.export(&mut rows).context("the state database")?;
    rows.rewind()?;
    let length = rows.metadata()?.len();
    archive.add(TABLES, 0o600, length, &mut rows)?;
    for part in PARTS {
        add_below(&mut archive, directory, Path::new(part))?;
    }
    archive.finish()
}

/// Adds a file, or all files of a directory and below it, once each.
fn add_below<W: Write>(archive: &mut Archive<W>, root: &Path, relative: &Path) -> Result<()> {
    let path = root.join(relative);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        // Not every state has everything, and a blob may just have been let go.
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err).with_context(|| format!("`{}`", path.display())),
    };
    if found.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            add_below(archive, root, &relative.join(name))?;
        }
        return Ok(());
    }
    let name = format!("state/{}", relative.to_str().context("a name in the state is not UTF-8")?);
    // Sockets of jobs are of no use elsewhere.
    if !found.is_file() || archive.has(&name) {
        return Ok(());
    }
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err).with_context(|| format!("`{}`", path.display())),
    };
    let metadata = file.metadata()?;
    archive
        .add(&name, metadata.mode() & 0o777, metadata.len(), &mut file)
        .with_context(|| format!("`{}`", path.display()))
}

/// Not through a link that took its place meanwhile.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
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

    fn has(&self, name: &str) -> bool {
        self.sums.contains_key(name)
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
