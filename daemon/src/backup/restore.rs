//! The other way: an archive is checked as a whole before anything of a state is touched.

use super::{ABOUT, About, Hashing, SUMS, TABLES};
use crate::{format, socket};
use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_store::{Ledger, Seal, Tables, Verdict};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, EntryType};

/// Sums of some hundred thousand files.
const MOST_TOLD_BYTES: u64 = 64 << 20;

/// What a backup holds.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) about: About,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What was restored.
pub(crate) struct Restored {
    pub(crate) contents: Contents,
    /// Where the state is now that was there before.
    pub(crate) replaced: Option<PathBuf>,
}

/// Reads a backup as a whole: whether all of its files are what they were, whether this release can restore it, and what is
/// wrong with the audit log in it. Takes room for all of it beside the backup.
///
/// # Errors
/// Why it cannot be restored.
pub(crate) fn verify(file: &Path) -> Result<(Contents, Verdict)> {
    let file = std::path::absolute(file)?;
    let beside = file.parent().context("a backup is a file")?;
    let room = private(".backup", beside).with_context(|| format!("room in `{}`", beside.display()))?;
    let contents = extract(&file, room.path())?;
    Ok((contents, check_audit(room.path())?))
}

/// Puts the state of a backup into that directory, whose owner shall own it. Nothing is touched unless the backup is whole;
/// what was there is renamed, if that `may_replace` is so.
///
/// # Errors
/// What is wrong with the backup, a daemon that runs, a state that is there, or a place where somebody else could have a
/// hand in it.
pub(crate) fn restore(file: &Path, directory: &Path, may_replace: bool) -> Result<Restored> {
    let directory = &std::path::absolute(directory)?;
    let shown = directory.display();
    let parent = directory.parent().context("the directory of the state has none above it")?;
    let is_used = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_used && !may_replace {
        bail!("`{shown}` has a state; with --replace it is renamed and the backup takes its place");
    }
    let is_root = rustix::process::geteuid().is_root();
    let owner = fs::symlink_metadata(directory).ok();
    if is_root {
        // Who may write there could lead root elsewhere while this runs.
        let above = fs::symlink_metadata(parent).with_context(|| format!("`{}`", parent.display()))?;
        ensure!(
            above.is_dir() && above.uid() == 0 && above.mode() & 0o022 == 0,
            "`{}` is not root's alone; restore as the user whose state it is",
            parent.display()
        );
        ensure!(owner.is_some(), "`{shown}` is not there; make it for the user whose state it is to be");
    } else {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    // As long as this runs, no daemon starts there.
    let _lock = match &owner {
        None => None,
        Some(_) => {
            let lock = socket::lock(directory)?;
            Some(lock.with_context(|| format!("another skynetd uses `{shown}`; stop it first"))?)
        }
    };
    if let Some(found) = &owner {
        ensure!(
            found.dev() == fs::metadata(parent)?.dev(),
            "`{shown}` is a filesystem of its own, which nothing can be put in the place of; restore to a directory in it (`--state`), and move what is in there"
        );
    }
    let new = private(".restoring", parent)?;
    let contents = extract(file, new.path())?;
    let Some(owner) = owner else {
        fs::rename(new.keep(), directory)?;
        File::open(parent)?.sync_all()?;
        return Ok(Restored { contents, replaced: None });
    };
    if is_root {
        give_to(new.path(), owner.uid(), owner.gid())?;
    }
    // In one step, so that there is a state at every moment.
    rustix::fs::renameat_with(CWD, new.path(), CWD, directory, RenameFlags::EXCHANGE)
        .with_context(|| format!("exchanging `{shown}` and `{}`", new.path().display()))?;
    let old = new.keep();
    let replaced = if is_used {
        let mut aside = OsString::from(directory);
        aside.push(format!(".before-restore-{}", Timestamp::now().as_second()));
        fs::rename(&old, &aside)?;
        Some(aside.into())
    } else {
        fs::remove_dir_all(old)?;
        None
    };
    File::open(parent)?.sync_all()?;
    Ok(Restored { contents, replaced })
}

/// A new directory for this user alone.
fn private(prefix: &str, parent: &Path) -> io::Result<tempfile::TempDir> {
    let permissions = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir_in(parent)
}

/// Extracts an archive into an empty directory and checks it.
fn extract(file: &Path, into: &Path) -> Result<Contents> {
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
                let read: About =
                    serde_json::from_reader((&mut hashing).take(MOST_TOLD_BYTES)).with_context(damaged)?;
                // Before anything else of it is understood.
                read.format.check(&format!("the backup `{shown}`"))?;
                about = Some(read);
            }
            SUMS => {
                let mut text = String::new();
                (&mut hashing).take(MOST_TOLD_BYTES).read_to_string(&mut text).with_context(damaged)?;
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
    format::migrate(into)?;
    // All of it at once, names included.
    rustix::fs::syncfs(File::open(into)?)?;
    Ok(Contents { about, files: sums.len() as u64, bytes })
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
    Ok(())
}

/// What can be said of the audit log. That of a host that was attacked is to be restored as well, so faults are told and keep
/// nobody from it.
fn check_audit(state: &Path) -> Result<Verdict> {
    let seal = Seal::open(&state.join("keys"), &state.join("ledger/audit.newest"))?;
    let log = Ledger::open_sealed(&state.join("ledger/audit"), crate::state::AUDIT_SEGMENT_BYTES, seal)?;
    Ok(log.verify()?)
}

/// Gives away what is below first: as long as root has the top, nobody else comes in.
fn give_to(path: &Path, uid: u32, gid: u32) -> Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to(&entry?.path(), uid, gid)?;
        }
    }
    Ok(std::os::unix::fs::lchown(path, Some(uid), Some(gid))?)
}
