//! Bearer tokens for clients that come by HTTP. A token is bound to workspaces and effects; only its hash is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::{Effect, Error, Result, canonical::hex};
use skynet_store::{Table, Tables};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// What every token starts with, so that scanners for leaked secrets find it.
pub(crate) const PREFIX: &str = "skynet_";

/// How often a long stream looks whether its token still holds.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Names are shown in tables and in the audit log.
const LONGEST_NAME: usize = 64;

/// One token, as stored: by id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// SHA-256 of the secret, lower-case hex. The secret has 244 random bits, so nothing slower is needed.
    hash: String,
    pub(crate) workspaces: Vec<String>,
    pub(crate) effects: Vec<Effect>,
    /// Whether it reads the metrics. Then it does nothing else.
    #[serde(default)]
    pub(crate) scrapes: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Record {
    fn is_alive(&self) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > Timestamp::now())
    }
}

/// What a new token is to allow.
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) workspaces: Vec<String>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) scrapes: bool,
    pub(crate) lives_for: Option<Duration>,
}

/// All tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    table: Table<Record>,
}

impl Tokens {
    pub(crate) fn open(tables: &Tables) -> Arc<Self> {
        Arc::new(Self { table: tables.table("tokens") })
    }

    /// Makes a token; its secret is shown this once.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none or in use, `Unavailable` when it cannot be stored durably.
    pub(crate) fn create(&self, wanted: Wanted) -> Result<(String, Record, String)> {
        let name = wanted.name.trim();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(Error::invalid_input(format!(
                "a token's name has 1 to {LONGEST_NAME} printable bytes"
            )));
        }
        if self.table.iter().any(|(_, record)| record.name == name) {
            return Err(Error::invalid_input(format!(
                "there is a token named `{name}` already; revoke it first"
            )));
        }
        let random = Uuid::new_v4().as_simple().to_string();
        let id = random.get(..8).unwrap_or_default().to_owned();
        let secret = format!("{PREFIX}{id}_{}{}", Uuid::new_v4().as_simple(), Uuid::new_v4().as_simple());
        let now = Timestamp::now();
        let expires_at = wanted.lives_for.map(|time| now.checked_add(time)).transpose().map_err(|_| {
            Error::invalid_input("no token lives that long; leave the time out for one that does not expire")
        })?;
        let record = Record {
            name: name.to_owned(),
            hash: hash(&secret),
            workspaces: wanted.workspaces,
            effects: wanted.effects,
            scrapes: wanted.scrapes,
            created_at: now,
            expires_at,
        };
        self.table.put_durably(&id, &record).map_err(|err| {
            Error::unavailable(format!("the token is not made, because it {}", cannot_be_stored(&err)))
                .with_source(err)
        })?;
        Ok((id, record, secret))
    }

    /// By name.
    pub(crate) fn list(&self) -> Vec<(String, Record)> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        all
    }

    /// The token of that name or id.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, name: &str) -> Result<(String, Record)> {
        let found = self.table.iter().find(|(id, record)| id == name || record.name == name);
        found.ok_or_else(|| {
            Error::not_found(format!("there is no token `{name}`; see `skynetctl token list`"))
        })
    }

    /// Ends a token: no request that shows it is taken any more, and what it has open ends within [`LOOK_EVERY`].
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when that cannot be stored durably.
    pub(crate) fn revoke(&self, name: &str) -> Result<(String, Record)> {
        let (id, record) = self.find(name)?;
        self.table.remove_durably(&id).map_err(|err| {
            Error::unavailable(format!(
                "the token is refused from now on, but that {}: after a restart it may hold again",
                cannot_be_stored(&err)
            ))
            .with_source(err)
        })?;
        Ok((id, record))
    }

    /// Whether requests of the token of this id are still taken.
    pub(crate) fn is_alive(&self, id: &str) -> bool {
        self.table.get(id).ok().flatten().is_some_and(|record| record.is_alive())
    }

    /// Waits until it no longer is.
    pub(crate) async fn ended(&self, id: &str) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if !self.is_alive(id) {
                return;
            }
        }
    }

    /// Whose secret this is, if it is one.
    pub(crate) fn verify(&self, secret: &str) -> Option<(String, Record)> {
        let (id, _) = secret.strip_prefix(PREFIX)?.split_once('_')?;
        let record = self.table.get(id).ok()??;
        // Hashes are compared, so the time this takes says nothing about the secret.
        let is_valid = record.hash == hash(secret) && record.is_alive();
        is_valid.then(|| (id.to_owned(), record))
    }
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

fn cannot_be_stored(err: &skynet_store::Error) -> &'static str {
    if err.is_disk_full() {
        "cannot be stored while the disk of the daemon's state is full"
    } else {
        "cannot be stored"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_secret_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&Tables::open(directory.path()).unwrap());
        let wanted = |name: &str, lives_for| Wanted {
            name: name.into(),
            workspaces: vec!["/w".into()],
            effects: vec![Effect::Read],
            scrapes: false,
            lives_for,
        };
        let (id, record, secret) = tokens.create(wanted("a", None)).unwrap();
        assert!(!record.hash.contains(&secret) && tokens.create(wanted("a", None)).is_err());
        assert_eq!(tokens.verify(&secret).unwrap().0, id);
        let other = format!("{}0", &secret[..secret.len() - 1]);
        for wrong in ["", "skynet_", &format!("skynet_{id}_"), &other[..other.len() - 1], &secret[1..]] {
            assert!(tokens.verify(wrong).is_none(), "{wrong}");
        }
        let (_, _, late) = tokens.create(wanted("b", Some(Duration::ZERO))).unwrap();
        assert!(tokens.verify(&late).is_none());
        tokens.revoke("a").unwrap();
        assert!(tokens.verify(&secret).is_none() && tokens.revoke("a").is_err());
    }
}
