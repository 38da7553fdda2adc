//! Logins under way: begun by somebody, finished by the same one, and then grants.

use super::{Keeper, lock};
use crate::{
    Begun, Callback, Error, Result, Wish,
    answer::Tokens,
    device::{self, Polled},
    login::{Pending, Step},
};
use skynet_secrets::{Error as SecretError, Existing, Held, Metadata, Name};
use std::{sync::Arc, time::Instant};

/// Of one user.
const MOST_LOGINS: usize = 8;

impl Keeper {
    /// Begins a login.
    ///
    /// # Errors
    /// `Invalid`, and `Kept` for another secret of that name; `Refused` and `Unavailable` as the provider says. Then nothing changed.
    pub async fn begin(self: &Arc<Self>, owner: u32, wish: Wish) -> Result<Begun> {
        self.blocking(move |keeper| {
            let name = Name::parse(&wish.name)?;
            let (before, existing) = keeper.before(owner, &name, &wish)?;
            let (pending, begun) = Pending::begin(&keeper.web, owner, wish, before, existing)?;
            let (Begun::Browser { id, .. } | Begun::Device { id, .. }) = &begun;
            keeper.remember(id.clone(), pending);
            Ok(begun)
        })
        .await
    }

    /// Ends a login in a browser: what it brought becomes tokens, and those are kept.
    ///
    /// # Errors
    /// `Invalid` for another login than one of this user that is under way; `Refused`, `Unavailable`, `Kept`.
    pub async fn finish(self: &Arc<Self>, owner: u32, id: &str, back: Callback) -> Result<Metadata> {
        let is_its =
            |pending: &Pending| matches!(&pending.step, Step::Browser { state, .. } if *state == back.state);
        let pending = self.take(owner, id, is_its)?;
        self.blocking(move |keeper| {
            let given = pending.exchange(&keeper.web, &back)?;
            keeper.admit(&pending, given)
        })
        .await
    }

    /// Ends a login by a code, as soon as somebody has entered it.
    ///
    /// # Errors
    /// Those of [`Keeper::finish`]; `Refused` when somebody says no, or nobody anything.
    pub async fn finish_elsewhere(self: &Arc<Self>, owner: u32, id: &str) -> Result<Metadata> {
        let pending = self.take(owner, id, |pending| matches!(pending.step, Step::Device { .. }))?;
        let pending = Arc::new(pending);
        let Step::Device { interval, .. } = &pending.step else { return Err(no_login()) };
        let mut interval = *interval;
        loop {
            if Instant::now() + interval > pending.until {
                return Err(Error::Refused {
                    code: "expired_token".into(),
                    reason: "nobody has entered the code in time; begin again".into(),
                });
            }
            tokio::time::sleep(interval).await;
            let login = pending.clone();
            // In one piece: what was given is kept, also if nobody waits any more.
            let polled = self.blocking(move |keeper| {
                let Step::Device { code, .. } = &login.step else { return Err(no_login()) };
                match device::poll(&keeper.web, &login.client, code, interval)? {
                    Polled::Given(given) => keeper.admit(&login, given).map(Ok),
                    Polled::Wait(longer) => Ok(Err(longer)),
                }
            });
            match polled.await? {
                Ok(metadata) => return Ok(metadata),
                Err(longer) => interval = longer,
            }
        }
    }

    /// The grant that is there, whose user logs in again.
    fn before(&self, owner: u32, name: &Name, wish: &Wish) -> Result<(Option<Held>, Existing)> {
        let held = match self.keyring.held(owner, name) {
            Err(SecretError::NotFound(_)) => return Ok((None, Existing::Fail)),
            other => other?,
        };
        let named = wish.provider.as_ref().or(wish.issuer.as_ref());
        match held.filter(|held| named.is_none_or(|named| *named == held.grant.terms.provider)) {
            Some(held) => Ok((Some(held), Existing::Replace)),
            None if wish.replace => Ok((None, Existing::Replace)),
            None => Err(SecretError::Exists(name.clone()).into()),
        }
    }

    fn admit(&self, pending: &Pending, given: Tokens) -> Result<Metadata> {
        let Pending { owner, name, existing, .. } = pending;
        let held = pending.held(given);
        let admitted = self.keyring.admit(*owner, name, held.clone(), *existing);
        let metadata = match admitted {
            Ok(metadata) => metadata,
            Err(err) => {
                if let Err(err) = self.revoke(&held) {
                    tracing::warn!(owner, secret = %name, "{err}");
                }
                return Err(err.into());
            }
        };
        *lock(&self.line(*owner, name).failed) = None;
        self.changed.notify_one();
        Ok(metadata)
    }

    fn remember(&self, id: String, pending: Pending) {
        let mut logins = lock(&self.logins);
        let now = Instant::now();
        logins.retain(|_, one| one.until > now);
        while logins.values().filter(|one| one.owner == pending.owner).count() >= MOST_LOGINS {
            let own = logins.iter().filter(|(_, one)| one.owner == pending.owner);
            let Some(first) = own.min_by_key(|(_, one)| one.until).map(|(id, _)| id.clone()) else { break };
            logins.remove(&first);
        }
        logins.insert(id, pending);
    }

    /// A login is finished once.
    fn take(&self, owner: u32, id: &str, is_its: impl Fn(&Pending) -> bool) -> Result<Pending> {
        let mut logins = lock(&self.logins);
        let is_under_way =
            logins.get(id).is_some_and(|one| one.owner == owner && one.until > Instant::now() && is_its(one));
        if is_under_way { logins.remove(id).ok_or_else(no_login) } else { Err(no_login()) }
    }
}

fn no_login() -> Error {
    Error::Invalid("there is no such login under way; begin again with `skynetctl secret login NAME`".into())
}
