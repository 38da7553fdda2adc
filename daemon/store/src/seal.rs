//! What makes a ledger prove itself: checkpoints signed with a key, and a note of the newest one outside of it.

use crate::{
    Error, Ledger, PublicKey, Result, at,
    checkpoint::{Checkpoint, Tampered},
    keys::Keys,
    ledger::{Shared, Writer, now},
    note::{Note, Noted},
    unsigned::Cadence,
};
use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// A key and the note that goes with it.
pub struct Seal {
    pub(crate) keys: Keys,
    pub(crate) note: Note,
    pub(crate) cadence: Cadence,
}

impl Seal {
    /// Reads the keys in the directory `keys`, or makes one there; `note` is the file for the newest checkpoint.
    ///
    /// # Errors
    /// What the filesystem says; `Key` when a key is not as it must be.
    pub fn open(keys: &Path, note: &Path) -> Result<Self> {
        for directory in [Some(keys), note.parent()].into_iter().flatten() {
            DirBuilder::new().mode(0o700).recursive(true).create(directory).map_err(at(directory))?;
        }
        let note = Note::new(note);
        let found = Keys::load(keys)?;
        let keys = match found {
            Some(keys) => keys,
            None => {
                let made = Keys::generate(keys)?;
                // First the note: where a key is and no note, somebody removed the note.
                note.begin(&made, &now())?;
                made.save(keys)?;
                made
            }
        };
        Ok(Self { keys, note, cadence: Cadence::default() })
    }

    /// With another cadence than every 1,000 records or 60 seconds.
    #[must_use]
    pub const fn every(mut self, cadence: Cadence) -> Self {
        self.cadence = cadence;
        self
    }
}

impl Ledger {
    /// Opens or creates a ledger that proves itself. If it does not reach to the checkpoint that was noted last, a
    /// record of kind `tampered` says so for good.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open_sealed(directory: &Path, segment_bytes: u64, seal: Seal) -> Result<Self> {
        let ledger = Self::open_with(directory, segment_bytes, Some(seal))?;
        let complaint = ledger
            .shared()
            .seal
            .as_ref()
            .and_then(|seal| seal.note.complaint(&seal.keys, directory, ledger.len()));
        if let Some(found) = complaint {
            tracing::error!(found, "the audit log was tampered with while no daemon ran");
            ledger.append_tampered(found)?;
        }
        match ledger.checkpoint() {
            // Reads are served with a full disk; the next checkpoint is tried with the next records.
            Err(err) if err.is_disk_full() => {
                tracing::warn!(error = %err, "the disk is full, so the audit log is not signed for now");
            }
            other => other?,
        }
        Ok(ledger)
    }

    /// Writes down what was found at a start that only tampering explains, or damage: `verify` tells it for good.
    ///
    /// # Errors
    /// Those of `append`.
    pub fn append_tampered(&self, found: String) -> Result<()> {
        let members = serde_json::to_string(&Tampered { found })
            .map_err(|err| Error::Corrupt(format!("a record of tampering: {err}")))?;
        // The kind comes first in all records of the log about itself.
        let record = members.replacen('{', r#"{"kind":"tampered","#, 1);
        self.append(record.as_bytes()).map(drop)
    }

    /// Signs what is written, if anything is new, and makes that durable, with the note of it. Does nothing in a
    /// ledger without a seal.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn checkpoint(&self) -> Result<()> {
        let shared = self.shared();
        let Some(seal) = &shared.seal else { return Ok(()) };
        let mut writer = self.lock();
        shared.refuse_if_stopped()?;
        shared.sign(&mut writer)?;
        let (file, segment, newest) = (writer.file.clone(), writer.segment, writer.unsigned.newest());
        drop(writer);
        let Some(newest) = newest else { return Ok(()) };
        shared.sync_here(&file, segment)?;
        seal.note.write(&newest)
    }

    /// The public keys whose signatures count, the one that signs first; none in a ledger without a seal.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        self.shared().seal.as_ref().map_or(&[], |seal| seal.keys.trusted())
    }
}

impl Shared {
    /// Appends a checkpoint, if there is a seal and anything new.
    pub(crate) fn sign(&self, writer: &mut Writer) -> Result<()> {
        let Some(seal) = self.seal.as_ref().filter(|_| !writer.unsigned.is_empty()) else { return Ok(()) };
        let at_time = now();
        let checkpoint = Checkpoint::sign(&seal.keys, writer.sequence, &writer.head, &at_time);
        let position = self.write(writer, &at_time, checkpoint.members().as_bytes())?;
        writer.unsigned.signed(Noted::sign(&seal.keys, position.segment, position.offset, checkpoint));
        Ok(())
    }

    /// Like `sign`, where what was asked for must not fail for it.
    pub(crate) fn sign_or_say(&self, writer: &mut Writer) {
        if let Err(err) = self.sign(writer) {
            tracing::error!(error = %err, "the audit log could not be signed");
            writer.unsigned.put_off(Instant::now());
        }
    }

    /// Signs when there are as many new records as a checkpoint is made for.
    pub(crate) fn sign_if_many(&self, writer: &mut Writer) {
        if self.seal.as_ref().is_some_and(|seal| writer.unsigned.are_many(seal.cadence)) {
            self.sign_or_say(writer);
        }
    }

    /// Signs when the oldest new record is as old as a checkpoint is made for.
    pub(crate) fn sign_if_old(&self, writer: &mut Writer) {
        let due_in = self.seal.as_ref().and_then(|seal| writer.unsigned.due_in(seal.cadence));
        if due_in == Some(Duration::ZERO) {
            self.sign_or_say(writer);
        }
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
