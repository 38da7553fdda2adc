//! All leases: taken, renewed, given back, and ended by others. They are stored, and what counts is in memory.

use crate::{
    judge,
    lease::{Holder, Lease, Settings},
};
use jiff::Timestamp;
use skynet_core::{CallCtx, Error, Result, Workspace, ctx::Origin};
use skynet_store::{Table, Tables};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use uuid::Uuid;

/// A lease lasts so long at most, and as long again whenever it is renewed.
pub const MOST_SECONDS: u32 = 4 * 3600;

/// Leases of one user.
const MOST_OF_USER: usize = 256;

/// A lease that somebody asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As the caller names it.
    pub path: String,
    /// What for.
    pub purpose: String,
    /// How long.
    pub lasts_seconds: u32,
}

/// All of them.
pub struct Leases {
    table: Table<Lease>,
    live: Mutex<BTreeMap<String, Lease>>,
    /// Held from the look whether something is free until it is taken.
    changing: Mutex<()>,
    settings: Mutex<Settings>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    has_session: OnceLock<Box<dyn Fn(Uuid) -> bool + Send + Sync>>,
}

impl Leases {
    /// Opens the table.
    #[must_use]
    pub fn open(tables: &Tables) -> Arc<Self> {
        Self::open_with_clock(tables, Timestamp::now)
    }

    /// The same by another clock.
    #[must_use]
    pub fn open_with_clock(
        tables: &Tables,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Arc<Self> {
        let table = tables.table("leases");
        let live = Mutex::new(table.iter().collect());
        let leases = Self {
            table,
            live,
            changing: Mutex::default(),
            settings: Mutex::default(),
            clock: Box::new(clock),
            has_session: OnceLock::new(),
        };
        leases.forget_expired();
        Arc::new(leases)
    }

    /// Puts what an administrator decided in force.
    pub fn configure(&self, settings: Settings) {
        *lock(&self.settings) = settings;
    }

    pub(crate) fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    /// Tells which sessions last beyond a call, once that is known; until then all do.
    pub fn know_sessions(&self, has_session: impl Fn(Uuid) -> bool + Send + Sync + 'static) {
        // Told twice only by a daemon that is wired wrong, and then the same.
        let _ = self.has_session.set(Box::new(has_session));
    }

    /// Takes a lease for whoever calls.
    ///
    /// # Errors
    /// `Conflict` naming the holder of what overlaps, `Denied` where the caller may not write, `InvalidInput` for what is no
    /// path of the workspace and for a caller who holds nothing, `QuotaExceeded`, `Unavailable` when it cannot be stored.
    pub async fn acquire(self: &Arc<Self>, ctx: &CallCtx, wanted: Wanted) -> Result<Lease> {
        let (own, origin) = (self.clone(), ctx.origin()?.clone());
        let workspace = ctx.workspace()?.clone();
        blocking(move || own.take(&origin, &workspace, wanted)).await
    }

    /// Lets a lease of the caller's last that long from now on.
    ///
    /// # Errors
    /// `NotFound` where there is none (any more), `Denied` where somebody else holds it, `Unavailable` when it cannot be stored.
    pub async fn renew(self: &Arc<Self>, ctx: &CallCtx, id: String, lasts_seconds: u32) -> Result<Lease> {
        let (own, origin) = (self.clone(), ctx.origin()?.clone());
        blocking(move || {
            let _changing = lock(&own.changing);
            let lease = own.own(&origin, &id)?;
            let (_, expires_at) = own.times(lasts_seconds)?;
            own.keep(Lease { expires_at, ..lease })
        })
        .await
    }

    /// Gives a lease of the caller's back.
    ///
    /// # Errors
    /// `NotFound` where there is none (any more), `Denied` where somebody else holds it.
    pub async fn release(self: &Arc<Self>, ctx: &CallCtx, id: String) -> Result<Lease> {
        let (own, origin) = (self.clone(), ctx.origin()?.clone());
        blocking(move || {
            let _changing = lock(&own.changing);
            let lease = own.own(&origin, &id)?;
            own.forget(&lease.id);
            Ok(lease)
        })
        .await
    }

    /// Those of the workspace, and those that it lies in, by path.
    #[must_use]
    pub fn of(&self, workspace: &Workspace) -> Vec<Lease> {
        self.sorted(|lease| lease.touches(workspace.path()))
    }

    /// Those of a user, or all of them, by path.
    #[must_use]
    pub fn list(&self, uid: Option<u32>) -> Vec<Lease> {
        self.sorted(|lease| uid.is_none_or(|uid| uid == lease.uid))
    }

    /// Ends a lease, whoever holds it: one of that user, if one is named.
    ///
    /// # Errors
    /// `NotFound` where there is none (any more).
    pub fn end(&self, id: &str, uid: Option<u32>) -> Result<Lease> {
        let _changing = lock(&self.changing);
        let lease = self.find(id).filter(|lease| uid.is_none_or(|uid| uid == lease.uid));
        let lease = lease.ok_or_else(|| {
            Error::not_found(format!(
                "there is no lease `{id}`, or not any more; see `skynetctl leases list`"
            ))
        })?;
        self.forget(&lease.id);
        Ok(lease)
    }

    /// Ends what a session holds, because it has ended.
    pub fn end_session(&self, session: Uuid) {
        self.end_all(&|lease| lease.holder == Holder::Session(session));
    }

    /// Ends what a token holds, because it was revoked.
    pub fn end_token(&self, token: &str) {
        self.end_all(&|lease| matches!(&lease.holder, Holder::Token { id, .. } if id == token));
    }

    fn end_all(&self, is_ended: &dyn Fn(&Lease) -> bool) {
        let _changing = lock(&self.changing);
        let ended: Vec<_> = lock(&self.live).values().filter(|lease| is_ended(lease)).cloned().collect();
        ended.iter().for_each(|lease| self.forget(&lease.id));
    }

    fn take(&self, origin: &Origin, workspace: &Workspace, wanted: Wanted) -> Result<Lease> {
        let caller = &origin.caller;
        let place = judge::place_to_lease(workspace, caller, &wanted.path)?;
        let path = place.to_str().map(str::to_owned);
        let path = path.ok_or_else(|| {
            Error::invalid_input(format!("where `{}` leads has a name that is not UTF-8", wanted.path))
        })?;
        let _changing = lock(&self.changing);
        // Under that lock, which the end of a session takes: one that has ended holds nothing.
        let holder = self.holder(origin)?;
        self.forget_expired();
        let (acquired_at, expires_at) = self.times(wanted.lasts_seconds)?;
        let live = lock(&self.live).clone();
        for held in live.values().filter(|held| held.touches(&place)) {
            if !held.holder.is(origin.session, caller) {
                return Err(judge::refusal(held, &wanted.path, workspace.path()));
            }
            if Path::new(&held.path) == place {
                return Err(Error::conflict(format!(
                    "this session holds `{}` already, as `{}` until {}; `lease_renew` lets it last longer",
                    held.path_in(workspace.path()),
                    held.id,
                    held.expires_at
                )));
            }
        }
        if live.values().filter(|held| held.uid == caller.uid).count() >= MOST_OF_USER {
            return Err(Error::quota_exceeded(format!(
                "a user holds at most {MOST_OF_USER} leases; give some back with `lease_release`, or lease a directory in place of its files"
            )));
        }
        self.keep(Lease {
            id: unused(&live),
            uid: caller.uid,
            user: caller.user.to_string(),
            client: caller.client.to_string(),
            holder,
            path,
            purpose: wanted.purpose,
            acquired_at,
            expires_at,
        })
    }

    /// Who holds what this call takes.
    fn holder(&self, origin: &Origin) -> Result<Holder> {
        if self.has_session.get().is_none_or(|has_session| has_session(origin.session)) {
            return Ok(Holder::Session(origin.session));
        }
        let token = origin.caller.token.as_ref();
        let token = token.map(|token| Holder::Token { id: token.id.clone(), name: token.name.clone() });
        token.ok_or_else(|| {
            Error::invalid_input(
                "a call that no session makes holds nothing beyond its end; take leases from a client that stays connected",
            )
        })
    }

    /// Now, and that much later, in whole seconds.
    fn times(&self, lasts_seconds: u32) -> Result<(Timestamp, Timestamp)> {
        let now = (self.clock)().as_second();
        let at = |second: i64| {
            Timestamp::from_second(second)
                .map_err(|err| Error::internal("the clock tells no time").with_source(err))
        };
        Ok((at(now)?, at(now.saturating_add(lasts_seconds.min(MOST_SECONDS).into()))?))
    }

    /// The lease of that id, if whoever calls holds it.
    fn own(&self, origin: &Origin, id: &str) -> Result<Lease> {
        let caller = &origin.caller;
        let is_known = |lease: &Lease| {
            let root = caller.workspace.as_ref().map(|workspace| workspace.path());
            lease.uid == caller.uid || root.is_some_and(|root| lease.touches(root))
        };
        let lease = self.find(id).filter(is_known).ok_or_else(|| {
            Error::not_found(format!("there is no lease `{id}`, or not any more; see `lease_list`"))
        })?;
        if lease.holder.is(origin.session, caller) {
            return Ok(lease);
        }
        Err(Error::denied(format!(
            "`{id}` is held by {}, who alone renews it and gives it back; a human can end it with `skynetctl leases end {id}`",
            lease.owner()
        )))
    }

    fn find(&self, id: &str) -> Option<Lease> {
        let now = (self.clock)();
        lock(&self.live).get(id).filter(|lease| lease.expires_at > now).cloned()
    }

    fn sorted(&self, is_wanted: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        let mut all = self.all_that(is_wanted);
        all.sort_by(|one, other| (&one.path, &one.id).cmp(&(&other.path, &other.id)));
        all
    }

    /// Those that count now.
    pub(crate) fn all_that(&self, is_wanted: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        let live = lock(&self.live);
        if live.is_empty() {
            return Vec::new();
        }
        let now = (self.clock)();
        live.values().filter(|lease| lease.expires_at > now && is_wanted(lease)).cloned().collect()
    }

    fn keep(&self, lease: Lease) -> Result<Lease> {
        self.table.put_durably(&lease.id, &lease).map_err(|err| {
            Error::unavailable("nothing is leased, because that cannot be stored").with_source(err)
        })?;
        lock(&self.live).insert(lease.id.clone(), lease.clone());
        Ok(lease)
    }

    fn forget(&self, id: &str) {
        lock(&self.live).remove(id);
        if let Err(err) = self.table.remove(id) {
            // After a restart it is there again until it expires.
            tracing::warn!(error = %err, lease = id, "the end of a lease could not be stored");
        }
    }

    fn forget_expired(&self) {
        let now = (self.clock)();
        let expired: Vec<String> = {
            let live = lock(&self.live);
            let expired = live.values().filter(|lease| lease.expires_at <= now);
            expired.map(|lease| lease.id.clone()).collect()
        };
        expired.iter().for_each(|id| self.forget(id));
    }
}

/// A short name that no other lease has.
fn unused(live: &BTreeMap<String, Lease>) -> String {
    loop {
        let id = Uuid::new_v4().as_simple().to_string();
        let id = id.get(..8).unwrap_or(&id).to_owned();
        if !live.contains_key(&id) {
            return id;
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|err| Error::internal("the task of a lease ended early").with_source(err))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert, remove or assignment, so a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
