//! The newest checkpoint, kept in a file outside of the segments: whoever cuts off the end of the log, with the
//! checkpoints in it, has to forge that one too.
//!
//! The file is one JSON object, replaced as a whole: `{"segment","offset","checkpoint","signature"}`. `segment` and
//! `offset` say where the line of the record begins; `checkpoint` is what the record says (see `checkpoint.rs`). The
//! signature, by the key that signed the checkpoint, is of the text below, each line ended by a line feed. It has a
//! meaning of its own so that no older checkpoint can be taken out of the log and noted in place of the newest.
//!
//! ```text
//! skynet audit note v1
//! segment <decimal>
//! offset <decimal>
//! records <decimal>
//! head <64 hexadecimal digits>
//! at <RFC 3339, UTC, microseconds>
//! ```
//!
//! It is written after the record is durable, so it is never ahead of the log. One about no records at all, which claims
//! nothing, comes with the first key.

use crate::{
    Result, aside, at,
    checkpoint::{self, Checkpoint, Signed},
    keys::Keys,
    segment::{self, GENESIS},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A checkpoint and where its record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    segment: u64,
    /// Of the first byte of its line.
    offset: u64,
    pub(crate) checkpoint: Checkpoint,
    signature: String,
}

impl Noted {
    /// Signs where a checkpoint is.
    pub(crate) fn sign(keys: &Keys, segment: u64, offset: u64, checkpoint: Checkpoint) -> Self {
        let mut noted = Self { segment, offset, checkpoint, signature: String::new() };
        (_, noted.signature) = keys.sign(&noted.text());
        noted
    }

    fn check(&self, keys: &Keys) -> Signed {
        match self.checkpoint.check(keys) {
            Signed::Well => checkpoint::check(keys, self.checkpoint.key(), &self.text(), &self.signature),
            other => other,
        }
    }

    fn text(&self) -> String {
        let Self { segment, offset, checkpoint: Checkpoint { records, head, at, .. }, .. } = self;
        format!(
            "skynet audit note v1\nsegment {segment}\noffset {offset}\nrecords {records}\nhead {head}\nat {at}\n"
        )
    }
}

/// The file.
pub(crate) struct Note {
    path: PathBuf,
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    /// The records of the checkpoint in the file.
    noted: u64,
    /// Those of the last one that was tried: on a full disk not every sync should try again.
    tried: u64,
}

impl Note {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), newest: Mutex::default() }
    }

    /// Makes the file that goes with a new key, unless there is one that claims something.
    ///
    /// # Errors
    /// What the filesystem says.
    pub(crate) fn begin(&self, keys: &Keys, at: &str) -> Result<()> {
        if matches!(self.load(), Ok(Some(noted)) if noted.checkpoint.records > 0) {
            return Ok(());
        }
        let checkpoint = Checkpoint::sign(keys, 0, GENESIS, at);
        self.replace(&Noted::sign(keys, 1, 0, checkpoint))
    }

    /// What the file says; `None` if it is missing.
    ///
    /// # Errors
    /// What the filesystem says; `InvalidData` if it is nothing that was ever written.
    pub(crate) fn load(&self) -> io::Result<Option<Noted>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// What is noted, if it is there and signed by a believed key; otherwise what is wrong, in words.
    pub(crate) fn genuine(&self, keys: &Keys) -> std::result::Result<Noted, String> {
        let name = self.path.display();
        let noted = self
            .load()
            .map_err(|err| format!("the note `{name}` of the newest checkpoint is unreadable: {err}"))?;
        let noted = noted.ok_or_else(|| format!("the note `{name}` of the newest checkpoint is missing"))?;
        match noted.check(keys) {
            Signed::Well => Ok(noted),
            Signed::ByUnknown => Err(format!(
                "the note `{name}` of the newest checkpoint is signed with the unknown key `{}`",
                noted.checkpoint.key()
            )),
            Signed::Forged => Err(format!("the note `{name}` of the newest checkpoint is forged")),
        }
    }

    /// What is wrong with a ledger that ends with record `last`, in words, held against what is noted.
    pub(crate) fn complaint(&self, keys: &Keys, ledger: &Path, last: u64) -> Option<String> {
        let noted = match self.genuine(keys) {
            Ok(noted) => noted,
            Err(complaint) => return Some(complaint),
        };
        let records = noted.checkpoint.records;
        if records == 0 {
            self.lock().noted = 0;
            return None;
        }
        let line = segment::line_at(&segment::path(ledger, noted.segment), noted.offset).ok().flatten();
        let found = line
            .as_ref()
            .and_then(|line| line.parts())
            .and_then(|(_, json)| serde_json::from_slice::<Checkpoint>(json).ok());
        if found.as_ref() == Some(&noted.checkpoint) {
            self.lock().noted = records;
            return None;
        }
        let what = if last <= records { "truncated" } else { "changed" };
        Some(format!(
            "{what}: the log ended with record {last} and without the checkpoint of {records} records that was signed at {}",
            noted.checkpoint.at
        ))
    }

    /// Notes a durable checkpoint, unless a newer one is noted.
    ///
    /// # Errors
    /// What the filesystem says; then the older one stands.
    pub(crate) fn write(&self, noted: &Noted) -> Result<()> {
        let mut newest = self.lock();
        let records = noted.checkpoint.records;
        if records > newest.noted {
            newest.tried = records;
            self.replace(noted)?;
            newest.noted = records;
        }
        Ok(())
    }

    /// Like `write`, once for each checkpoint; what goes wrong is logged.
    pub(crate) fn offer(&self, noted: &Noted) {
        if noted.checkpoint.records > self.lock().tried
            && let Err(err) = self.write(noted)
        {
            tracing::error!(error = %err, "the newest checkpoint of the audit log could not be noted");
        }
    }

    fn replace(&self, noted: &Noted) -> Result<()> {
        let mut line = serde_json::to_vec(noted).map_err(|err| crate::Error::Corrupt(err.to_string()))?;
        line.push(b'\n');
        let unfinished = self.path.with_extension("new");
        for path in [&unfinished, &self.path] {
            if path.is_dir() {
                aside::set(path, "a directory where the note of the newest checkpoint should be")?;
            }
        }
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(&line)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            let directory = self.path.parent().unwrap_or(Path::new("."));
            File::open(directory)?.sync_all()
        };
        write().map_err(at(&self.path))
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        // A panic while holding it leaves two numbers that are true, or too small, which costs a write.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
