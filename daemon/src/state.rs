//! Opens what the daemon keeps. What is damaged and can do without is set aside, and said; what cannot is refused, with the
//! file and what to do about it.

use crate::format;
use anyhow::{Context as _, Result};
use skynet_secrets::{Keyring, MasterKey, SealedEntries, Secrets};
use skynet_store::{Blobs, Journal, Ledger, Seal, Tables, aside};
use std::{fs, path::Path};

/// The audit log is split into files of that size.
pub(crate) const AUDIT_SEGMENT_BYTES: u64 = 64 << 20;

/// Everything that is kept, but jobs, which nobody opens before they are asked for.
pub(crate) struct State {
    pub(crate) tables: Tables,
    pub(crate) audit: Ledger,
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    pub(crate) keyring: Keyring,
    pub(crate) memories: SealedEntries,
}

impl State {
    /// Opens it in `directory`; blobs take at most so many bytes.
    ///
    /// # Errors
    /// What cannot be read and must be, and what to do about it.
    pub(crate) fn open(directory: &Path, blobs_max_bytes: u64) -> Result<Self> {
        format::migrate(directory)?;
        let at = |name: &str| directory.join(name);
        let tables = Tables::open(&at("state")).with_context(|| {
            refusal(
                &at("state"),
                "the state database",
                "or move it away: sessions, tokens, trust and choices are lost then",
            )
        })?;
        let log = at("ledger/audit");
        let seal = Seal::open(&at("keys"), &at("ledger/audit.newest"))
            .context("the key that signs the audit log")?;
        let audit = Ledger::open_sealed(&log, AUDIT_SEGMENT_BYTES, seal).with_context(|| {
            refusal(
                &log,
                "the audit log",
                "or move what cannot be read away: `skynetctl audit verify` tells what is missing then",
            )
        })?;
        let calls = at("ledger/journal");
        let refused = || {
            refusal(
                &calls,
                "the call journal",
                "or move it away: calls that clients send again may be refused then",
            )
        };
        let (journal, interrupted) = Journal::open(&calls).with_context(refused)?;
        if !interrupted.is_empty() {
            tracing::warn!(
                calls = interrupted.len(),
                "the last daemon died while these calls ran; they are marked `interrupted`"
            );
        }
        match skynet_policy::settle(&audit, &journal, &interrupted) {
            // Reads are served with a full disk; the next start tries again.
            Err(err) if err.is_disk_full() => {
                tracing::warn!(error = %err, "the disk is full, so these calls are not recorded yet");
            }
            other => other?,
        }
        match skynet_policy::reconcile(&audit, &journal) {
            // Reads are served with a full disk; the next start tries again.
            Err(err) if err.is_disk_full() => {
                tracing::warn!(error = %err, "the disk is full, so lost records of calls are not written anew");
            }
            other => other?,
        }
        let blobs = Blobs::open(&at("blobs"), blobs_max_bytes)
            .with_context(|| refusal(&at("blobs"), "what calls changed and answered", "or move it away"))?;
        let key =
            MasterKey::load(&at("keys/secrets.key"), &at("secrets")).context("the key of the secrets")?;
        let memories =
            SealedEntries::open(&at("memory"), key.derive("skynet memory 1")).with_context(|| {
                refusal(&at("memory"), "what is remembered", "or move it away: it is forgotten then")
            })?;
        let keyring = Keyring::new(secrets(&at("secrets"), key)?);
        aside::unless_directory(&at("jobs"))?;
        Ok(Self { tables, audit, journal, blobs, keyring, memories })
    }
}

/// The store of secrets; those that cannot be read are told, or nobody would know before they are asked for.
fn secrets(directory: &Path, key: MasterKey) -> Result<Secrets> {
    aside::unless_directory(directory)?;
    let secrets = Secrets::open(directory, key)?;
    let refused = || refusal(directory, "the secrets", "or move them away");
    for entry in fs::read_dir(directory).with_context(refused)? {
        let path = entry?.path();
        let owner = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(owner) = owner else { continue };
        aside::unless_directory(&path)?;
        match secrets.list(owner) {
            Ok(all) => {
                for err in all.damaged {
                    tracing::error!(owner, "{err}");
                }
            }
            Err(err) => tracing::error!(
                owner,
                "{err}: the calls of this user are refused until his secrets can be read, because nothing can be kept free of them"
            ),
        }
    }
    Ok(secrets)
}

fn refusal(path: &Path, what: &str, otherwise: &str) -> String {
    format!("{what} in `{}` cannot be opened; make it readable for this user, {otherwise}", path.display())
}
