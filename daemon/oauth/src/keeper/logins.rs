//! Logins under way: begun by somebody, finished by the same one, and then grants.

use super::{Keeper, counts::Counted, lock};
use crate::{
    Begun, Callback, Error, Result, Wish,
    answer::Tokens,
    device::{self, Polled},
    login::{Pending, Step},
};
use skynet_secrets::{Error as SecretError, Existing, Held, Metadata, Name};
use std::{sync::Arc, time::Instant};

/// Of one user, those that somebody waits for included.
const MOST_LOGINS: usize = 8;

/// Of one user, requests to providers at once: it must not be he who keeps all others from them.
const MOST_ASKING: usize = 4;

impl Keeper {
    /// Begins a login.
    ///
    /// # Errors
    /// `Invalid`, and `Kept` for another secret of that name; `Refused` and `Unavailable` as the provider says; `Unavailable` with
    /// too many under way. Then nothing changed.
    pub async fn begin(self: &Arc<Self>, owner: u32, wish: Wish) -> Result<Begun> {
        let asking = self.asking(owner)?;
        let place = self.place().await?;
        self.blocking(move |keeper| {
            let _held = (asking, place);
            let name = Name::parse(&wish.name)?;
            let (before, existing) = keeper.before(owner, &name, &wish)?;
            let (pending, begun) = Pending::begin(&keeper.web, owner, wish, before, existing)?;
            let (Begun::Browser { id, .. } | Begun::Device { id, .. }) = &begun;
            keeper.remember(id.clone(), pending)?;
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
        // Before it is taken, so that it can be tried again.
        let held = (self.asking(owner)?, self.place().await?);
        let pending = self.take(owner, id, is_its)?;
        self.blocking(move |keeper| {
            let _held = held;
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
        // Before it is taken, so that it counts all the time.
        let polled = self.polled.one_more(owner, MOST_LOGINS).ok_or_else(too_many)?;
        let pending = self.take(owner, id, |pending| matches!(pending.step, Step::Device { .. }))?;
        let pending = Arc::new((pending, polled));
        let Step::Device { interval, .. } = &pending.0.step else { return Err(no_login()) };
        let mut interval = *interval;
        loop {
            if Instant::now() + interval > pending.0.until {
                return Err(Error::Refused {
                    code: "expired_token".into(),
                    reason: "nobody has entered the code in time; begin again".into(),
                });
            }
            tokio::time::sleep(interval).await;
            let (login, place) = (pending.clone(), self.place().await?);
            // In one piece: what was given is kept, also if nobody waits any more.
            let polled = self.blocking(move |keeper| {
                let _place = place;
                let (login, _) = &*login;
                let Step::Device { code, .. } = &login.step else { return Err(no_login()) };
                match device::poll(&keeper.web, &login.client, code, interval)? {
                    Polled::Given(given) => keeper.admit(login, given).map(Ok),
                    Polled::Wait(longer) => Ok(Err(longer)),
                }
            });
            match polled.await? {
                Ok(metadata) => return Ok(metadata),
                Err(longer) => interval = longer,
            }
        }
    }

    /// One more request of this user's to a provider.
    fn asking(&self, owner: u32) -> Result<Counted> {
        self.asking.one_more(owner, MOST_ASKING).ok_or_else(|| {
            Error::Unavailable(format!(
                "{MOST_ASKING} logins of yours wait for their providers already; try again when one of them has gone on"
            ))
        })
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
        let held = pending.held(given, self.rest);
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

    fn remember(&self, id: String, pending: Pending) -> Result<()> {
        let mut logins = lock(&self.logins);
        let now = Instant::now();
        logins.retain(|_, one| one.until > now);
        let polled = self.polled.of(pending.owner);
        while logins.values().filter(|one| one.owner == pending.owner).count() + polled >= MOST_LOGINS {
            let own = logins.iter().filter(|(_, one)| one.owner == pending.owner);
            let Some(first) = own.min_by_key(|(_, one)| one.until).map(|(id, _)| id.clone()) else {
                return Err(too_many());
            };
            logins.remove(&first);
        }
        logins.insert(id, pending);
        Ok(())
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

fn too_many() -> Error {
    Error::Unavailable(format!(
        "{MOST_LOGINS} logins of yours wait for a code to be entered already; enter one, or end a `skynetctl secret login`"
    ))
}
