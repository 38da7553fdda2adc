//! Secrets for which somebody asks more than once: the proxy of a command or a job, with each request. One that is kept is looked up each
//! time, so what was deleted, rotated or set for other hosts is so for the next request. It reads no file of a user after the first time.

use crate::purse::{Kept, Purse, Wanting, refused};
use async_trait::async_trait;
use skynet_core::{Error, ErrorKind, Result, ctx::Standing};
use skynet_secrets::{Name, Reference};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// A vault is not asked again with each of many requests.
const FETCHED_FOR: Duration = Duration::from_secs(10);

/// One that gave nothing is asked again sooner, and not by each of those who waited for it.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// What follows `secret://`, whose value is there now.
///
/// # Errors
/// Those of [`Purse::one`].
pub(crate) async fn open(purse: &Arc<Purse>, wanting: &Wanting<'_>, text: &str) -> Result<Arc<dyn Standing>> {
    let Reference::Kept(name) = Reference::parse(text).map_err(refused)? else {
        return Ok(Arc::new(OfFile(Zeroizing::new(purse.one(wanting, text).await?))));
    };
    let caller = &wanting.origin.caller;
    let secret = Secret {
        purse: purse.clone(),
        uid: caller.uid,
        user: caller.user.clone(),
        name,
        audience: wanting.audience.to_vec(),
        fetched: Arc::default(),
    };
    // Who makes the call is told all that would help.
    secret.current().await.map_err(|(_, err)| err)?;
    Ok(Arc::new(secret))
}

/// A variable of an encrypted file. The file is the workspace's, which is another one with another branch: what it had stays.
struct OfFile(Zeroizing<Vec<u8>>);

#[async_trait]
impl Standing for OfFile {
    async fn value(&self) -> Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }
}

/// One that has a name.
struct Secret {
    purse: Arc<Purse>,
    uid: u32,
    user: Arc<str>,
    name: Name,
    audience: Vec<String>,
    /// What a vault said last. Whoever holds it asks for all who wait.
    fetched: Arc<Mutex<Option<Fetched>>>,
}

struct Fetched {
    place: String,
    at: Instant,
    said: Said,
}

/// A value, or why there is none.
type Said = Result<Zeroizing<Vec<u8>>, (ErrorKind, String)>;

/// Who gave no value.
#[derive(Clone, Copy)]
enum Asked {
    Store,
    Vault,
    Provider,
}

impl Fetched {
    fn is_recent(&self) -> bool {
        let kept_for = if self.said.is_ok() { FETCHED_FOR } else { FAILED_FOR };
        self.at.elapsed() < kept_for
    }
}

impl Secret {
    /// The value as it is now, or who gave none and why.
    async fn current(&self) -> Result<Vec<u8>, (Asked, Error)> {
        let Self { purse, uid, name, audience, .. } = self;
        let mut read: Option<(String, Said)> = None;
        loop {
            let kept = purse.kept(*uid, name, audience).await.map_err(|err| (Asked::Store, err))?;
            match (kept, read.take()) {
                (Kept::Here(value), _) => return Ok(value),
                (Kept::AtProvider, _) => {
                    let token = purse.token(*uid, name, audience).await;
                    return token.map_err(|err| (Asked::Provider, err));
                }
                // It is what it was before somebody waited for the vault.
                (Kept::InVault(place), Some((from, said))) if from == place => {
                    let said = said.map(|value| value.to_vec());
                    return said.map_err(|(kind, why)| (Asked::Vault, Error::new(kind, why)));
                }
                (Kept::InVault(place), Some(_) | None) => {
                    let said = self.read(&place).await;
                    read = Some((place, said));
                }
            }
        }
    }

    /// What the vault has there, or had a moment ago. It is asked to the end, also when nobody waits any more: who goes away and comes
    /// again finds the same question under way, and no second one beside it.
    async fn read(&self, place: &str) -> Said {
        let mut fetched = self.fetched.clone().lock_owned().await;
        if let Some(known) = fetched.as_ref().filter(|known| known.place == place && known.is_recent()) {
            return known.said.clone();
        }
        let (purse, uid, user) = (self.purse.clone(), self.uid, self.user.clone());
        let (name, place) = (self.name.clone(), place.to_owned());
        let asking = tokio::spawn(async move {
            let said = purse.fetch(uid, &user, name.as_str(), &place).await;
            let said = said.map(Zeroizing::new).map_err(|err| (err.kind, err.message.into_owned()));
            *fetched = Some(Fetched { place, at: Instant::now(), said: said.clone() });
            said
        });
        // It ends early with the daemon alone.
        asking.await.unwrap_or_else(|_| Err((ErrorKind::Internal, "reading a secret failed".to_owned())))
    }

    /// What of an error the command reads, which is not to learn of its user's other secrets, or of hosts and places in a vault.
    fn short(&self, asked: Asked, err: Error) -> Error {
        let name = &self.name;
        let words = match (err.kind, asked) {
            (ErrorKind::NotFound, Asked::Store | Asked::Provider) => {
                format!("there is no secret `{name}` any more")
            }
            (ErrorKind::Denied, Asked::Store) => "it is not for this host any more".to_owned(),
            (ErrorKind::Denied, Asked::Provider) => format!(
                "no access token is given out for it any more; its user can log in again with `skynetctl secret login {name}`"
            ),
            (ErrorKind::NotFound | ErrorKind::InvalidInput, Asked::Vault) => {
                "the vault has no value for it any more".to_owned()
            }
            (ErrorKind::Denied, Asked::Vault) => "the vault does not give it out any more".to_owned(),
            (ErrorKind::InvalidInput, Asked::Store | Asked::Provider)
            | (
                ErrorKind::Conflict
                | ErrorKind::NeedsConfirmation
                | ErrorKind::QuotaExceeded
                | ErrorKind::TimedOut
                | ErrorKind::Canceled
                | ErrorKind::Interrupted
                | ErrorKind::Unavailable
                | ErrorKind::Internal,
                Asked::Store | Asked::Vault | Asked::Provider,
            ) => return err,
        };
        tracing::debug!(owner = self.uid, secret = %name, "{err}");
        Error::new(err.kind, words)
    }
}

#[async_trait]
impl Standing for Secret {
    async fn value(&self) -> Result<Vec<u8>> {
        self.current().await.map_err(|(asked, err)| self.short(asked, err))
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
