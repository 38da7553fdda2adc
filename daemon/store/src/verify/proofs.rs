//! What is signed in a log: checkpoints, and records of retention.

use super::{Faults, Place, Record, Signed, Tampering};
use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint, RETENTION, Retention, TAMPERED, Tampered},
    keys::Keys,
    note::Noted,
    segment::{self, Hash},
};
use serde::Deserialize;
use std::collections::HashMap;

pub(super) struct Proofs<'a> {
    /// Without keys nothing here is looked at.
    keys: Option<&'a Keys>,
    note: Option<&'a Result<Noted, String>>,
    is_noted_found: bool,
    good: u64,
    newest: Option<Checkpoint>,
    /// By the last record that retention dropped with a segment, its hash.
    retained: HashMap<u64, String>,
}

impl<'a> Proofs<'a> {
    pub(super) fn new(keys: Option<&'a Keys>, note: Option<&'a Result<Noted, String>>) -> Self {
        Self { keys, note, is_noted_found: false, good: 0, newest: None, retained: HashMap::new() }
    }

    /// How many checkpoints are good.
    pub(super) const fn good(&self) -> u64 {
        self.good
    }

    /// What the newest of them says.
    pub(super) fn newest(&self) -> Option<Signed> {
        let newest = self.newest.as_ref()?;
        Some(Signed { records: newest.records, at: newest.at.clone() })
    }

    /// Looks at a record if it is signed. `before` has the hashes of the record before it, if that is known: as it
    /// was written and as its content says.
    pub(super) fn inspect(
        &mut self,
        record: &Record<'_>,
        before: Option<(&Hash, &Hash)>,
        faults: &mut Faults,
    ) {
        let Some(keys) = self.keys else { return };
        let members = record.head.members;
        if members.starts_with(CHECKPOINT) {
            let Some(signed) = read::<Checkpoint>(record, faults) else { return };
            if !is_genuine(signed.check(keys), signed.key(), record.place, faults) {
                return;
            }
            let is_head = |hash: &Hash| signed.head.as_bytes() == hash;
            let fits = before.is_none_or(|(hash, other)| is_head(hash) || is_head(other));
            if signed.records.saturating_add(1) != record.sequence || !fits {
                let from = self.newest.as_ref().map_or(1, |newest| newest.records.saturating_add(1));
                let why = format!(
                    "the checkpoint vouches for other records than those before it: some of {from} to {} were changed, removed, inserted or reordered, and the chain was computed anew",
                    record.sequence.saturating_sub(1)
                );
                faults.push(record.place, Tampering::Changed, &why);
                return;
            }
            self.good += 1;
            self.is_noted_found |= matches!(self.note, Some(Ok(noted)) if noted.checkpoint == signed);
            self.newest = Some(signed);
        } else if members.starts_with(RETENTION) {
            let Some(signed) = read::<Retention>(record, faults) else { return };
            if is_genuine(signed.check(keys), signed.key(), record.place, faults) {
                self.retained.insert(signed.last, signed.hash);
            }
        } else if members.starts_with(TAMPERED)
            && let Some(tampered) = read::<Tampered>(record, faults)
        {
            faults.say(record.place, format!("found at a start: {}", tampered.found));
        }
    }

    /// Whether the log may begin behind record `dropped`, with a record of that content and hash.
    pub(super) fn allow_start(&self, dropped: u64, json: &[u8], hash: &Hash) -> bool {
        // The journal forgets its oldest segments and says so nowhere.
        self.keys.is_none()
            || self
                .retained
                .get(&dropped)
                .is_some_and(|before| segment::chain(before.as_bytes(), json) == *hash)
    }

    /// Whether the log reaches to the noted checkpoint.
    pub(super) fn finish(&self, end: Place, last: u64, faults: &mut Faults) {
        match self.note {
            None => {}
            Some(Err(complaint)) => {
                faults.say(end, complaint.clone());
            }
            Some(Ok(noted)) => {
                let Checkpoint { records, at, .. } = &noted.checkpoint;
                if self.is_noted_found || *records == 0 {
                    return;
                }
                let (what, end_is) = if last <= *records {
                    (Tampering::Truncated, format!("the log ends with record {last}"))
                } else {
                    (Tampering::Changed, "the log goes on otherwise".to_owned())
                };
                let why = format!("{end_is}, but a checkpoint of {records} records was signed at {at}");
                faults.push(end, what, &why);
            }
        }
    }
}

/// The members of a signed record.
fn read<'a, T: Deserialize<'a>>(record: &Record<'a>, faults: &mut Faults) -> Option<T> {
    let read = serde_json::from_slice(record.json).ok();
    if read.is_none() {
        let why = format!("record {} should be signed and is not", record.sequence);
        faults.push(record.place, Tampering::Forged, &why);
    }
    read
}

fn is_genuine(signed: checkpoint::Signed, key: &str, place: Place, faults: &mut Faults) -> bool {
    match signed {
        checkpoint::Signed::Well => return true,
        checkpoint::Signed::ByUnknown => {
            faults.push(place, Tampering::Forged, &format!("signed with the unknown key `{key}`"));
        }
        checkpoint::Signed::Forged => {
            faults.push(place, Tampering::Forged, &format!("the signature is not that of key `{key}`"));
        }
    }
    false
}
