//! What all users have used, durably: one account per user in the state database, which a restart resets nothing of. Nothing
//! here waits for the disk: a power cut may lose what was counted in the half second before it.

use super::{
    account::{Account, Cap, Counts},
    limits::{CONCURRENT_CALLS, Resource, Window},
    plan::{Holding, Plan},
};
use crate::commands::Who;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use skynet_core::{Error, Meter, Result, Usage, call::Slot};
use skynet_store::{Blobs, Table, Tables};
use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// The limits, and what counts against them.
pub struct Quotas {
    plan: ArcSwap<Plan>,
    /// By uid.
    accounts: Table<Account>,
    blobs: Blobs,
    running: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

/// How one limit stands for a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Of the limit.
    pub name: String,
    /// `None` where it is about what there is at the same time.
    pub window: Option<Window>,
    /// What is limited, as in the configuration.
    pub what: &'static str,
    /// How much there may be: calls, seconds, bytes, jobs.
    pub most: u64,
    /// How much there is, in the same unit.
    pub used: f64,
    /// When the window ends.
    pub free_at: Option<Timestamp>,
}

impl Quotas {
    /// Goes on with what is counted in `tables`.
    #[must_use]
    pub fn new(plan: Plan, tables: &Tables, blobs: Blobs) -> Self {
        Self {
            plan: ArcSwap::from_pointee(plan),
            accounts: tables.table("quota"),
            blobs,
            running: Mutex::default(),
        }
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Puts other limits in force for the calls that come after. What was counted counts against them too; calls that run
    /// by now are not among those of `concurrent_calls` any more.
    pub fn replace_plan(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        self.lock().clear();
    }

    /// How each limit stands that holds for that user, of whom so many background jobs run.
    ///
    /// # Errors
    /// `Unavailable` when what was counted cannot be read.
    pub fn standings(&self, who: &Who<'_>, running_jobs: u64) -> Result<Vec<Standing>> {
        let now = Timestamp::now().as_second();
        let account = self.accounts.get(&who.uid.to_string());
        let account = account.map_err(unreadable)?.unwrap_or_default();
        let plan = self.plan();
        let holding = plan.holding(who);
        let mut all: Vec<_> = holding.caps.iter().map(|cap| standing(&account, cap, now)).collect();
        let at_once = |name: &str, what, most, used: u64| Standing {
            name: name.to_owned(),
            window: None,
            what,
            most,
            used: used as f64,
            free_at: None,
        };
        let most = plan.concurrent_calls().get();
        let running = self
            .lock()
            .get(&who.uid)
            .map_or(0, |running| u64::from(most).saturating_sub(running.available_permits() as u64));
        all.push(at_once(CONCURRENT_CALLS, CONCURRENT_CALLS, most.into(), running));
        if let Some(jobs) = holding.jobs {
            all.push(at_once(&jobs.name, "concurrent_jobs", jobs.most.get().into(), running_jobs));
        }
        if let Some((most, name)) = holding.kept_bytes {
            all.push(at_once(name, "kept_bytes", most, self.blobs.bytes_of_user(who.uid)));
        }
        Ok(all)
    }

    /// What that user has used by now does not count against the limit of that name any more.
    ///
    /// # Errors
    /// `NotFound` and `InvalidInput` for what is no limit that counts, `Unavailable` when the account cannot be read.
    pub fn reset(&self, uid: u32, name: &str) -> Result<()> {
        let window = self.plan().window_of(name)?;
        let now = Timestamp::now().as_second();
        let forgiven = self.accounts.update(&uid.to_string(), |old| {
            let mut account = old.unwrap_or_default();
            account.forgive(name, window, now);
            Some(account)
        });
        forgiven.map(drop).map_err(unreadable)
    }

    /// Counts a call that starts, unless a limit is used up. A call that is refused counts against none.
    pub(super) fn begin(&self, who: &Who<'_>, holding: &Holding<'_>) -> Result<()> {
        let plan = self.plan();
        if plan.windows().is_empty() {
            return Ok(());
        }
        let now = Timestamp::now().as_second();
        let refusal = RefCell::new(None);
        let counted = self.accounts.update(&who.uid.to_string(), |old| {
            let mut account = old.unwrap_or_default();
            let exhausted = account.exhausted(holding.caps.iter().copied(), now);
            if exhausted.is_none() {
                account.charge(Counts { calls: 1, ..Counts::default() }, plan.windows(), now);
            }
            // Of the last try, if another call changed the account meanwhile.
            refusal.replace(exhausted.map(|cap| refused(&account, cap, who.uid, now)));
            Some(account)
        });
        // A disk that takes no writes leaves the count in memory; one that cannot even be read leaves none, and that
        // is no reason to refuse what the caller asks for.
        if let Err(err) = counted {
            tracing::warn!(error = %err, "a call cannot be counted");
        }
        refusal.into_inner().map_or(Ok(()), Err)
    }

    /// Counts what a user has used.
    pub(super) fn add(&self, uid: u32, counts: Counts) {
        let plan = self.plan();
        if !plan.counts_usage() || counts == Counts::default() {
            return;
        }
        let now = Timestamp::now().as_second();
        let counted = self.accounts.update(&uid.to_string(), |old| {
            let mut account = old.unwrap_or_default();
            account.charge(counts, plan.windows(), now);
            Some(account)
        });
        if let Err(err) = counted {
            tracing::warn!(error = %err, uid, "what a user has used cannot be counted");
        }
    }

    /// A place among the calls of that user.
    pub(super) fn slot(&self, uid: u32) -> Result<Slot> {
        let mut running = self.lock();
        // Under the lock, so that a plan that is replaced now is not remembered.
        let limit = self.plan().concurrent_calls();
        let all = || Arc::new(Semaphore::new(limit.get() as usize));
        let semaphore = running.entry(uid).or_insert_with(all).clone();
        drop(running);
        let permit = semaphore.clone().try_acquire_owned().map_err(|_| {
            Error::quota_exceeded(format!(
                "{limit} calls of this user are running (`quota.concurrent_calls`); wait for one to end"
            ))
        })?;
        Ok(Slot::new(semaphore, permit))
    }

    /// Lets the oldest go of what is kept for that user, if that is too much.
    pub(super) async fn shrink(&self, uid: u32, most_bytes: u64) {
        if self.blobs.bytes_of_user(uid) <= most_bytes {
            return;
        }
        let blobs = self.blobs.clone();
        match tokio::task::spawn_blocking(move || blobs.shrink_user(uid, most_bytes)).await {
            Ok(Ok(())) => {}
            // The next call tries again.
            Ok(Err(err)) => tracing::warn!(error = %err, uid, "what is kept for a user cannot be made less"),
            Err(err) => tracing::warn!(error = %err, uid, "what is kept for a user was not made less"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Semaphore>>> {
        // Each change is one insert, so a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Quotas {
    fn charge(&self, uid: u32, usage: Usage) {
        self.add(uid, counts(usage));
    }
}

/// As it is counted.
pub(super) fn counts(usage: Usage) -> Counts {
    Counts {
        cpu_us: u64::try_from(usage.cpu.as_micros()).unwrap_or(u64::MAX),
        written_bytes: usage.written_bytes,
        ..Counts::default()
    }
}

fn standing(account: &Account, cap: &Cap, now: i64) -> Standing {
    Standing {
        name: cap.name.to_string(),
        window: Some(cap.window),
        what: cap.resource.as_str(),
        most: cap.most,
        used: used(account, cap, now),
        free_at: Timestamp::from_second(account.ends_at(cap.window, now)).ok(),
    }
}

/// As it is written.
fn used(account: &Account, cap: &Cap, now: i64) -> f64 {
    account.used(cap, now) as f64 / cap.resource.scale() as f64
}

fn refused(account: &Account, cap: &Cap, uid: u32, now: i64) -> Error {
    let Cap { name, window, resource, most } = cap;
    let used = used(account, cap, now);
    let used = if *resource == Resource::Cpu { format!("{used:.3}") } else { format!("{used:.0}") };
    let ends_at = account.ends_at(*window, now);
    let free_at = Timestamp::from_second(ends_at).map_or_else(|_| "its end".into(), |at| at.to_string());
    Error::quota_exceeded(format!(
        "the limit `{name}` allows {most} `{}` in {}, of which {used} are used; it is free again in {} s, at {free_at}, or once an administrator runs `skynetctl quota reset --uid {uid} --limit '{name}'`",
        resource.as_str(),
        window.as_str(),
        ends_at.saturating_sub(now),
    ))
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn unreadable(err: skynet_store::Error) -> Error {
    Error::unavailable("what was counted of this user cannot be read").with_source(err)
}
