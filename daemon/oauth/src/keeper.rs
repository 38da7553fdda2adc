//! All grants of all users: access tokens are given out while they count, and renewed before they end, each by one at a time. What
//! a provider gave is on the disk before anybody gets it.

mod counts;
mod line;
mod logins;

use crate::{
    Error, Result,
    answer::{Tokens, refusal, tokens},
    login::{Pending, post},
    random::chance,
    web::Web,
};
use counts::Counts;
use jiff::{SignedDuration, Timestamp};
use line::Line;
use skynet_core::backoff;
use skynet_secrets::{
    Error as SecretError, Held, Keyring, Metadata, Name, Purpose, Renewal,
    grant::{Login, Terms},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    task::{JoinSet, spawn_blocking},
};
use zeroize::Zeroizing;

/// Threads that wait for providers at once; all others of the daemon are for what needs none.
const MOST_AT_PROVIDERS: usize = 16;

/// How often a provider is asked while a command waits, and how long it waits in between.
const MOST_TRIES: u32 = 3;
const SHORTEST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A timer that waits longer would only be wrong after a clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// All grants.
pub struct Keeper {
    keyring: Arc<Keyring>,
    web: Web,
    /// How long a token is left alone that nobody wants.
    rest: SignedDuration,
    lines: Mutex<HashMap<(u32, Name), Arc<Line>>>,
    logins: Mutex<HashMap<String, Pending>>,
    /// Of those who wait for providers, which hold a thread each.
    places: Arc<Semaphore>,
    /// Requests of logins that are asked, or wait for a place.
    asking: Counts,
    /// Logins by a code that somebody waits for. They are among `logins` no more.
    polled: Counts,
    /// There is another grant to look after.
    changed: Notify,
}

/// An access token that may be given out, and what for.
pub struct AccessToken {
    /// The token.
    pub value: Zeroizing<Vec<u8>>,
    /// Of the same grant: whose hosts were looked at before may be another by now.
    pub purpose: Purpose,
}

/// When a token is renewed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// If it is about to end.
    Needed,
    /// If its time has come.
    Due,
    /// In any case.
    Now,
}

/// What is there.
enum Looked {
    Ready(Held),
    Old(Held),
}

type Guard = OwnedMutexGuard<Option<Renewal>>;

impl Keeper {
    /// Over the secrets of all users. Tokens are renewed before they end until the runtime ends; failures are logged. One that nobody
    /// wants is left alone for `rest` after it was had.
    #[must_use]
    pub fn start(keyring: Arc<Keyring>, rest: SignedDuration) -> Arc<Self> {
        let keeper = Self::new(keyring, rest);
        tokio::spawn(keeper.clone().keep_fresh());
        keeper
    }

    fn new(keyring: Arc<Keyring>, rest: SignedDuration) -> Arc<Self> {
        Arc::new(Self {
            keyring,
            web: Web::default(),
            rest,
            lines: Mutex::default(),
            logins: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_AT_PROVIDERS)),
            asking: Counts::default(),
            polled: Counts::default(),
            changed: Notify::new(),
        })
    }

    /// The access token of a grant, with a while left to count. Whoever asks meanwhile waits for the same answer.
    ///
    /// # Errors
    /// `LoginNeeded`; `Refused` and `Unavailable` if the one that is there counts no more; `Kept`.
    pub async fn token(self: &Arc<Self>, owner: u32, name: &Name) -> Result<AccessToken> {
        let Held { token, purpose, .. } = self.get(owner, name, When::Needed).await?;
        Ok(AccessToken { value: token, purpose })
    }

    /// Has a new access token given in any case.
    ///
    /// # Errors
    /// `LoginNeeded`, `Refused`, `Unavailable`, `Kept`.
    pub async fn renew(self: &Arc<Self>, owner: u32, name: &Name) -> Result<Metadata> {
        self.get(owner, name, When::Now).await?;
        let name = name.clone();
        self.blocking(move |keeper| Ok(keeper.keyring.secrets().metadata(owner, &name)?)).await
    }

    async fn get(self: &Arc<Self>, owner: u32, name: &Name, when: When) -> Result<Held> {
        let (line, guard) = self.turn(owner, name).await?;
        let (looking, asked) = (line.clone(), name.clone());
        let (mut guard, looked) = self
            .in_turn(guard, move |keeper, unsaved| keeper.look(owner, &asked, when, &looking, unsaved))
            .await?;
        let old = match looked {
            Ok(Looked::Ready(held)) => return Ok(held),
            Ok(Looked::Old(held)) => held,
            Err(err) => {
                // What cannot be read is not tried again at once by one whom nobody waits for.
                if when == When::Due {
                    line.note(&err);
                }
                return Err(err);
            }
        };
        let mut tries = 1;
        loop {
            let place = self.place().await?;
            let (asked, held) = (name.clone(), old.clone());
            let (back, renewed) = self
                .in_turn(guard, move |keeper, unsaved| {
                    let _place = place;
                    keeper.obtain(owner, &asked, &held, unsaved)
                })
                .await?;
            guard = back;
            let err = match renewed {
                Ok(held) => {
                    *lock(&line.failed) = None;
                    return Ok(held);
                }
                Err(err @ Error::LoginNeeded(_)) => {
                    // If that is not on the disk, it is not found out again each second.
                    line.note(&err);
                    return Err(err);
                }
                Err(err) => err,
            };
            let is_valid = old.grant.terms.is_valid(Timestamp::now());
            if when == When::Needed && !is_valid && tries < MOST_TRIES && matches!(err, Error::Unavailable(_))
            {
                tokio::time::sleep(backoff(SHORTEST_WAIT, LONGEST_WAIT, tries, chance())).await;
                tries += 1;
                continue;
            }
            line.note(&err);
            if when == When::Needed && is_valid {
                tracing::warn!(owner, secret = %name, "{err}; the token that is there counts for a while");
                return Ok(old);
            }
            return Err(err);
        }
    }

    /// What is there, and whether it will do.
    fn look(
        &self,
        owner: u32,
        name: &Name,
        when: When,
        line: &Line,
        unsaved: &mut Option<Renewal>,
    ) -> Result<Looked> {
        self.save(owner, name, unsaved)?;
        let held = self.keyring.held(owner, name)?.ok_or_else(|| {
            Error::Invalid(format!("`{name}` is no access token of a provider; its value is given by hand"))
        })?;
        let (terms, now) = (&held.grant.terms, Timestamp::now());
        if let Some(reason) = &terms.ended {
            return Err(login_needed(name, terms, reason));
        }
        let will_do = match when {
            When::Needed => terms.is_fresh(now),
            When::Due => terms.renew_at.is_none_or(|at| now < at) || line.is_paused(),
            When::Now => false,
        };
        if will_do {
            return Ok(Looked::Ready(held));
        }
        if held.grant.refresh_token.is_empty() {
            return match when {
                When::Needed | When::Due if terms.is_valid(now) => Ok(Looked::Ready(held)),
                When::Needed | When::Due => Err(login_needed(name, terms, "it has ended")),
                When::Now => Err(login_needed(name, terms, "there is no refresh token")),
            };
        }
        match line.recent() {
            Some(_) if when == When::Needed && terms.is_valid(now) => Ok(Looked::Ready(held)),
            Some(err) if when == When::Needed => Err(err),
            Some(_) | None => Ok(Looked::Old(held)),
        }
    }

    /// Asks the provider, keeps what it gives, and only then returns it.
    fn obtain(&self, owner: u32, name: &Name, held: &Held, unsaved: &mut Option<Renewal>) -> Result<Held> {
        // What was given is kept first: to ask again with the token before it would look like a theft.
        if unsaved.is_some() {
            self.save(owner, name, unsaved)?;
        } else {
            let used = held.grant.refresh_token.clone();
            match self.refresh(held) {
                Ok(given) => {
                    *unsaved = Some(renewal(&held.grant.terms, used, given, self.rest));
                    self.save(owner, name, unsaved)?;
                }
                Err(Error::Refused { code, reason }) if code == "invalid_grant" => {
                    // If that cannot be noted, it is found out again.
                    if let Err(err) = self.keyring.secrets().end(owner, name, &used, &reason) {
                        tracing::warn!(owner, secret = %name, "{err}");
                    }
                    return Err(login_needed(name, &held.grant.terms, &reason));
                }
                Err(err) => return Err(err),
            }
        }
        self.keyring.held(owner, name)?.ok_or_else(|| SecretError::Replaced(name.clone()).into())
    }

    fn refresh(&self, held: &Held) -> Result<Tokens> {
        let grant = &held.grant;
        let token = text(&grant.refresh_token);
        let reply = self.post(
            held,
            &grant.terms.token_endpoint,
            &[("grant_type", "refresh_token"), ("refresh_token", &token)],
        )?;
        tokens(&grant.terms.provider, &reply)
    }

    fn post(&self, held: &Held, url: &str, form: &[(&str, &str)]) -> Result<crate::web::Reply> {
        let Terms { proof, client_id, .. } = &held.grant.terms;
        let secret = text(&held.grant.client_secret);
        post(&self.web, url, *proof, (client_id, &secret), form)
    }

    /// Puts onto the disk what it did not take before.
    fn save(&self, owner: u32, name: &Name, unsaved: &mut Option<Renewal>) -> Result<()> {
        let Some(renewal) = unsaved.as_ref() else { return Ok(()) };
        match self.keyring.renew(owner, name, renewal) {
            Ok(metadata) => {
                // Ready before a command starts, so that what it writes can be shown while it runs.
                self.keyring.scanner(owner)?;
                tracing::info!(owner, secret = %name, version = metadata.version, "an access token was renewed");
            }
            // For a grant that is there no more.
            Err(SecretError::Replaced(_) | SecretError::NotFound(_)) => {}
            Err(err) => return Err(err.into()),
        }
        *unsaved = None;
        Ok(())
    }

    /// Deletes a secret of any kind. Tokens are revoked (RFC 7009); says why not, if they are not.
    ///
    /// # Errors
    /// `Kept`, and then nothing changed.
    pub async fn delete(self: &Arc<Self>, owner: u32, name: &Name) -> Result<Option<String>> {
        let (_, guard) = self.turn(owner, name).await?;
        let asked = name.clone();
        let (guard, is_grant) = self
            .in_turn(guard, move |keeper, _| Ok(matches!(keeper.keyring.held(owner, &asked), Ok(Some(_)))))
            .await?;
        // For others nobody is asked.
        let place = if is_grant? { Some(self.place().await?) } else { None };
        let asked = name.clone();
        let (_guard, deleted) = self
            .in_turn(guard, move |keeper, unsaved| {
                let _place = place;
                // One that cannot be read is deleted as well.
                let held = keeper.keyring.held(owner, &asked).ok().flatten();
                keeper.keyring.delete(owner, &asked)?;
                lock(&keeper.lines).remove(&(owner, asked.clone()));
                let Some(mut held) = held else { return Ok(None) };
                // What was given for a grant before this one is no token of it.
                let is_its = |renewal: &Renewal| renewal.used == held.grant.refresh_token;
                if let Some(renewal) = unsaved.take().filter(is_its) {
                    held.token = renewal.token;
                    held.grant.refresh_token = renewal.refresh_token.unwrap_or(held.grant.refresh_token);
                }
                let Err(err) = keeper.revoke(&held) else { return Ok(None) };
                // They still count somewhere, so they are still looked for.
                let left = [held.token, held.grant.refresh_token].map(|token| (asked.to_string(), token));
                if let Err(err) = keeper.keyring.learn(owner, &left) {
                    tracing::warn!(owner, secret = %asked, "{err}");
                }
                Ok(Some(err.to_string()))
            })
            .await?;
        deleted
    }

    async fn keep_fresh(self: Arc<Self>) {
        loop {
            let wait = self.round().await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Renews what is due; how long nothing more will be.
    async fn round(self: &Arc<Self>) -> Duration {
        let Ok(all) = self.blocking(|keeper| Ok(keeper.upcoming())).await else { return LONGEST_SLEEP };
        let mut renewing = JoinSet::new();
        for (owner, name, _) in all.into_iter().filter(|(_, _, wait)| wait.is_zero()) {
            let keeper = self.clone();
            renewing.spawn(async move {
                if let Err(err) = keeper.get(owner, &name, When::Due).await {
                    tracing::warn!(owner, secret = %name, "{err}");
                }
            });
        }
        while renewing.join_next().await.is_some() {}
        let next = self.blocking(|keeper| Ok(keeper.upcoming())).await.unwrap_or_default();
        let next = next.into_iter().map(|(_, _, wait)| wait).min().unwrap_or(LONGEST_SLEEP);
        next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// What will be renewed, and in how long.
    fn upcoming(&self) -> Vec<(u32, Name, Duration)> {
        let now = Timestamp::now();
        let secrets = self.keyring.secrets();
        let mut upcoming = Vec::new();
        for owner in secrets.owners().unwrap_or_default() {
            // What cannot be read is told to its user, who asks for it.
            for one in secrets.list(owner).map(|all| all.found).unwrap_or_default() {
                let terms = one.grant.filter(|terms| terms.is_renewable && terms.ended.is_none());
                let Some(at) = terms.and_then(|terms| terms.renew_at) else { continue };
                let due = Duration::try_from(now.duration_until(at)).unwrap_or_default();
                let line = lock(&self.lines).get(&(owner, one.name.clone())).cloned();
                let pause = line.map(|line| line.pause()).unwrap_or_default();
                upcoming.push((owner, one.name, due.max(pause)));
            }
        }
        upcoming
    }

    fn revoke(&self, held: &Held) -> Result<()> {
        let Terms { provider, revocation_endpoint, .. } = &held.grant.terms;
        let endpoint = revocation_endpoint
            .as_ref()
            .ok_or_else(|| Error::Invalid(format!("`{provider}` names no place where tokens are revoked")))?;
        // RFC 7009, section 2.1: with a refresh token all goes that was given for it.
        let (token, hint) = if held.grant.refresh_token.is_empty() {
            (&held.token, "access_token")
        } else {
            (&held.grant.refresh_token, "refresh_token")
        };
        let reply = self.post(held, endpoint, &[("token", &text(token)), ("token_type_hint", hint)])?;
        if reply.status == 200 { Ok(()) } else { Err(refusal(provider, &reply)) }
    }

    fn line(&self, owner: u32, name: &Name) -> Arc<Line> {
        lock(&self.lines).entry((owner, name.clone())).or_default().clone()
    }

    /// The same for a secret that there is: names that somebody invents must not be remembered.
    async fn known(self: &Arc<Self>, owner: u32, name: &Name) -> Result<Arc<Line>> {
        let line = lock(&self.lines).get(&(owner, name.clone())).cloned();
        if let Some(line) = line {
            return Ok(line);
        }
        let asked = name.clone();
        self.blocking(move |keeper| match keeper.keyring.held(owner, &asked) {
            Err(err @ SecretError::NotFound(_)) => Err(err.into()),
            // What cannot be read is there as well.
            Ok(_) | Err(_) => Ok(keeper.line(owner, &asked)),
        })
        .await
    }

    /// The turn of a secret that there is, and its line. Who waited for one that was deleted waits for the one that came after it: two
    /// turns at once would use one refresh token twice, which looks like a theft.
    async fn turn(self: &Arc<Self>, owner: u32, name: &Name) -> Result<(Arc<Line>, Guard)> {
        loop {
            let line = self.known(owner, name).await?;
            let guard = line.turn.clone().lock_owned().await;
            let present = lock(&self.lines).get(&(owner, name.clone())).cloned();
            if present.is_some_and(|present| Arc::ptr_eq(&present, &line)) {
                return Ok((line, guard));
            }
        }
    }

    /// A place among those who wait for a provider. It belongs into the closure that does, which goes on when nobody waits for it.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = self.places.clone().acquire_owned().await;
        place.map_err(|_| Error::Unavailable("no provider is asked any more".into()))
    }

    /// Runs what waits, and hands the turn back. Nobody else has it before that is done, whoever goes away meanwhile.
    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        mut guard: Guard,
        what: impl FnOnce(&Self, &mut Option<Renewal>) -> Result<T> + Send + 'static,
    ) -> Result<(Guard, Result<T>)> {
        self.blocking(move |keeper| {
            let done = what(keeper, &mut guard);
            Ok((guard, done))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let keeper = self.clone();
        let done = spawn_blocking(move || what(&keeper)).await;
        done.map_err(|_| Error::Unavailable("looking after a token failed; the log says why".into()))?
    }
}

fn renewal(terms: &Terms, used: Zeroizing<Vec<u8>>, given: Tokens, rest: SignedDuration) -> Renewal {
    let mut terms = terms.clone();
    terms.begin(Timestamp::now(), given.seconds, chance(), rest);
    if let Some(scopes) = given.scopes {
        terms.scopes = scopes;
    }
    Renewal { used, token: given.access, refresh_token: given.refresh, terms }
}

fn login_needed(name: &Name, terms: &Terms, reason: &str) -> Error {
    let device = match terms.login {
        Login::Browser => "",
        Login::Device => " --device",
    };
    Error::LoginNeeded(format!(
        "there is no access token for `{name}` any more: {reason}; its user has to log in again with `skynetctl secret login {name}{device}`"
    ))
}

/// Tokens and secrets of clients are ASCII, as they were read.
fn text(token: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(token).into_owned())
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is kept under them is whole after each change.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
