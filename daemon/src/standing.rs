//! Secrets for which somebody asks more than once: the proxy of a command or a job, with each request. One that is kept is looked up each
//! time, so what was deleted, rotated or set for other hosts is so for the next request. It reads no file of a user after the first time.

use crate::purse::{Kept, Purse, Wanting, refused};
use async_trait::async_trait;
use skynet_core::{Result, ctx::Standing};
use skynet_secrets::{Name, Reference};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// A vault is not asked again with each of many requests.
const FETCHED_FOR: Duration = Duration::from_secs(10);

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
        fetched: Mutex::default(),
    };
    secret.value().await?;
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
    /// What a vault gave last. Whoever holds it asks for all who wait.
    fetched: Mutex<Option<Fetched>>,
}

struct Fetched {
    place: String,
    at: Instant,
    value: Zeroizing<Vec<u8>>,
}

#[async_trait]
impl Standing for Secret {
    async fn value(&self) -> Result<Vec<u8>> {
        let Self { purse, uid, user, name, audience, fetched } = self;
        match purse.kept(*uid, name, audience).await? {
            Kept::Here(value) => Ok(value),
            Kept::AtProvider => purse.token(*uid, name, audience).await,
            Kept::InVault(place) => {
                let mut fetched = fetched.lock().await;
                let known = fetched.as_ref().filter(|it| it.place == place && it.at.elapsed() < FETCHED_FOR);
                if let Some(known) = known {
                    return Ok(known.value.to_vec());
                }
                let value = purse.fetch(*uid, user, name.as_str(), &place).await?;
                let at = Instant::now();
                *fetched = Some(Fetched { place, at, value: Zeroizing::new(value.clone()) });
                Ok(value)
            }
        }
    }
}
