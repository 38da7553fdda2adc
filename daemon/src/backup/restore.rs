//! The other way: an archive is checked as a whole before anything of a state is touched.

use super::{ABOUT, About, Hashing, SUMS, TABLES};
use crate::{format, socket};
use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_store::{Ledger, Seal, Tables};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, EntryType};

/// What a backup holds.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) about: About,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) audit_records: u64,
}

/// What was restored.
pub(crate) struct Restored {
    pub(crate) verified: Verified,
    /// Where the state is now that was there before.
    pub(crate) replaced: Option<PathBuf>,
}

/// Reads a backup as a whole: whether all of its files are what they were, whether its audit log is unbroken, and whether this
/// release can restore it. Takes room for it beside `scratch`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn verify(file: &Path, scratch: &Path) -> Result<Verified> {
    let room = private(".backup", scratch);
    let room = room.with_context(|| format!("room beside `{}`", scratch.display()))?;
    extract(file, room.path())
}

/// Puts the state of a backup into that directory, whose owner shall own it. Nothing is touched unless the backup is whole;
/// what was there is renamed, if that `may_replace` is so.
///
/// # Errors
/// What is wrong with the backup, a daemon that runs, or a state that is there.
pub(crate) fn restore(file: &Path, directory: &Path, may_replace: bool) -> Result<Restored> {
    let parent = directory.parent().context("the directory of the state has none above it")?;
    DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    let is_used = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    // As long as this runs, no daemon starts there.
    let _lock = directory.is_dir().then(|| socket::lock(directory)).transpose()?;
    if is_used && !may_replace {
        bail!(
            "`{}` has a state; with --replace it is renamed and the backup takes its place",
            directory.display()
        );
    }
    let new = private(".restoring", parent)?;
    let verified = extract(file, new.path())?;
    if let Ok(owner) = fs::metadata(directory) {
        give_to(new.path(), owner.uid(), owner.gid())?;
    }
    let replaced = directory.exists().then(|| -> Result<PathBuf> {
        let mut aside = OsString::from(directory);
        aside.push(format!(".before-restore-{}", Timestamp::now().as_second()));
        fs::rename(directory, &aside)?;
        Ok(aside.into())
    });
    let replaced = replaced.transpose()?;
    fs::rename(new.keep(), directory)?;
    File::open(parent)?.sync_all()?;
    Ok(Restored { verified, replaced: replaced.filter(|_| is_used) })
}

/// A new directory for this user alone.
fn private(prefix: &str, parent: &Path) -> io::Result<tempfile::TempDir> {
    let permissions = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir_in(parent)
}

/// Extracts an archive into an empty directory and checks it.
fn extract(file: &Path, into: &Path) -> Result<Verified> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("`{shown}`"))?;
    let mut archive = Archive::new(GzDecoder::new(io::BufReader::new(opened)));
    let damaged = || format!("`{shown}` is damaged, cut off or no backup");
    let mut sums = BTreeMap::new();
    let (mut about, mut told, mut bytes) = (None, None, 0);
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let name = entry.path().with_context(damaged)?.to_str().with_context(damaged)?.to_owned();
        ensure!(told.is_none() && entry.header().entry_type() == EntryType::Regular, damaged());
        let mode = entry.header().mode().with_context(damaged)?;
        let mut hashing = Hashing { from: &mut entry, hash: Sha256::new(), read: 0 };
        match &*name {
            ABOUT => {
                let read: About = serde_json::from_reader(&mut hashing).with_context(damaged)?;
                // Before anything else of it is understood.
                read.format.check(&format!("the backup `{shown}`"))?;
                about = Some(read);
            }
            SUMS => {
                let mut text = String::new();
                hashing.read_to_string(&mut text).with_context(damaged)?;
                told = Some(text);
                continue;
            }
            _ if about.is_none() => bail!(damaged()),
            TABLES => {
                let tables = Tables::open(&into.join("state")).context("the state database")?;
                tables.import(&mut hashing).with_context(damaged)?;
                tables.sync().context("the state database")?;
            }
            _ => {
                let place = place(into, &name).with_context(damaged)?;
                write(&place, mode, &mut hashing).with_context(damaged)?;
            }
        }
        io::copy(&mut hashing, &mut io::sink()).with_context(damaged)?;
        bytes += hashing.read;
        sums.insert(name, hex(&hashing.hash.finalize()));
    }
    let (about, told) = (about.with_context(damaged)?, told.with_context(damaged)?);
    let told: BTreeMap<String, String> = told
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(sum, name)| (name.to_owned(), sum.to_owned())))
        .collect();
    ensure!(told == sums, damaged());
    // What the compression says of the whole comes last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(damaged)?;
    let audit_records = check_audit(into)?;
    format::migrate(into)?;
    Ok(Verified { about, files: sums.len() as u64, bytes, audit_records })
}

/// Where a file of the state goes: below `into`, whatever its name.
fn place(into: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name).strip_prefix("state").ok()?;
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && relative.components().next().is_some()).then(|| into.join(relative))
}

fn write(path: &Path, mode: u32, from: &mut dyn Read) -> Result<()> {
    let parent = path.parent().context("no directory")?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let mut file = File::options().write(true).create_new(true).mode(mode & 0o700).open(path)?;
    io::copy(from, &mut file)?;
    file.sync_all()?;
    Ok(())
}

/// The number of records, if none was changed, removed or added since they were written.
fn check_audit(state: &Path) -> Result<u64> {
    let log = state.join("ledger/audit");
    if !log.is_dir() {
        return Ok(0);
    }
    // Verified on a copy of its keys and notes: opening notes how far it goes.
    let seal = Seal::open(&state.join("keys"), &state.join("ledger/audit.newest"))?;
    let verdict = Ledger::open_sealed(&log, crate::state::AUDIT_SEGMENT_BYTES, seal)?.verify()?;
    ensure!(verdict.faults.is_empty(), "its audit log is not whole: {}", verdict.faults.join("; "));
    Ok(verdict.records)
}

fn give_to(path: &Path, uid: u32, gid: u32) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                give_to(&entry?.path(), uid, gid)?;
            }
        }
    }
    Ok(())
}
