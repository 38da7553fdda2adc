//! The jobs there are: directories, one for each. The daemon remembers none of them, so that it finds those of the daemon
//! before it as it finds its own.

use crate::{
    network::{Network, Open},
    run::usage,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, JobLimit, Meter, Result};
use skynet_sandbox::job::{Connection, Directory, End, Files, Request};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

/// Jobs of one user that run at the same time.
const MOST_RUNNING: usize = 16;

/// Of one user, besides those that run. The oldest go first.
const MOST_ENDED: usize = 64;

/// How long one that has ended is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What is known about a job from its beginning.
const CARD: &str = "job.json";

/// Is there once the meter has been told what the job used, so that it is told once.
const CHARGED: &str = "charged";

/// All of them.
pub(crate) struct Jobs {
    root: PathBuf,
    /// Held while jobs are counted and one is added.
    starting: Mutex<()>,
    meter: Arc<OnceLock<Arc<dyn Meter>>>,
}

/// What is known about a job from its beginning. A later version reads it, so fields are only added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Card {
    /// `skynet_core::Caller::owner`.
    pub(crate) owner: String,
    /// Names the workspace.
    pub(crate) workspace: String,
    /// As its owner calls it.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What it runs, for people.
    pub(crate) command: String,
    pub(crate) started_at: Timestamp,
    /// What it may connect to, and who to it.
    #[serde(default)]
    pub(crate) network: Network,
}

/// Who sees a job: its owner, in its workspace.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) owner: String,
    pub(crate) workspace: String,
}

impl Scope {
    pub(crate) fn of(ctx: &CallCtx) -> Result<Self> {
        let workspace = crate::Host::private_home(ctx.workspace()?);
        Ok(Self { owner: ctx.origin()?.owner.clone(), workspace })
    }
}

impl Card {
    /// The part of the owner that is a user.
    fn user(&self) -> &str {
        self.owner.split('/').next().unwrap_or_default()
    }

    fn is_of(&self, scope: &Scope) -> bool {
        self.owner == scope.owner && self.workspace == scope.workspace
    }
}

/// One of them.
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) card: Card,
    pub(crate) directory: Directory,
    path: PathBuf,
    meter: Arc<OnceLock<Arc<dyn Meter>>>,
}

/// Where a job stands.
pub(crate) enum Stand {
    Running,
    Ended(End),
    /// Nobody keeps it, and its keeper did not say how it ended; when that was found.
    Lost(Option<End>),
}

impl Jobs {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, starting: Mutex::default(), meter: Arc::default() }
    }

    /// Tells this one what jobs used that have ended.
    pub(crate) fn charge_to(&self, meter: Arc<dyn Meter>) {
        // There is one per daemon, and it stays.
        let _ = self.meter.set(meter);
    }

    /// How many of that user run.
    pub(crate) fn running(&self, user: &str) -> Result<usize> {
        let is_running = |job: &Job| job.card.user() == user && job.directory.is_kept().unwrap_or(true);
        Ok(self.all()?.iter().filter(|job| is_running(job)).count())
    }

    /// Makes the directory of a new one, which may be one of so many.
    pub(crate) fn create(&self, card: Card, limit: Option<&JobLimit>) -> Result<(Job, Files)> {
        // Nothing is changed under it but files.
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.running(card.user())?;
        let limit = limit.map(|limit| (limit.most.get() as usize, format!(" (the limit `{}`)", limit.name)));
        let (most, named) =
            limit.filter(|(most, _)| *most < MOST_RUNNING).unwrap_or((MOST_RUNNING, String::new()));
        if running >= most {
            return Err(Error::quota_exceeded(format!(
                "{running} jobs of this user are running, and {most} may{named}; wait for one to end, or end one with `exec_signal_job`"
            )));
        }
        self.sweep();
        let (id, path) = loop {
            let id: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
            let path = self.root.join(&id);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break (id, path),
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(trouble(err)),
            }
        };
        let prepare = || -> io::Result<(Directory, Files)> {
            let directory = Directory::open(&path)?;
            let files = directory.prepare()?;
            write_card(&path, &card)?;
            Ok((directory, files))
        };
        match prepare() {
            Ok((directory, files)) => {
                Ok((Job { id, card, directory, path, meter: self.meter.clone() }, files))
            }
            Err(err) => {
                // Without a card it is no job, and the sweep tries again.
                let _ = fs::remove_dir_all(&path);
                Err(trouble(err))
            }
        }
    }

    /// The one with that id, if `scope` sees it.
    pub(crate) fn find(&self, scope: &Scope, id: &str) -> Result<Job> {
        let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let found = is_plain.then(|| self.open(id)).flatten().filter(|job| job.card.is_of(scope));
        found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no job `{id}` in this workspace; `exec_list_jobs` tells which there are"
            ))
        })
    }

    /// Those that `scope` sees, newest first.
    pub(crate) fn list(&self, scope: &Scope) -> Result<Vec<Job>> {
        self.sweep();
        let mut jobs = self.all()?;
        jobs.retain(|job| job.card.is_of(scope));
        jobs.sort_by_key(|job| std::cmp::Reverse(job.card.started_at));
        Ok(jobs)
    }

    /// Says which directories are no jobs any more, because of what befell them: they are not listed.
    pub(crate) fn tell_damaged(&self) {
        for path in self.paths().unwrap_or_default() {
            let opened = path.file_name().and_then(|name| self.open(name.to_str()?));
            // One without a card may never have become a job.
            let is_damaged = opened.is_none() && !matches!(path.join(CARD).try_exists(), Ok(false));
            let is_file = fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir());
            if is_damaged || is_file {
                tracing::error!(path = %path.display(), "a job is damaged and is not listed; its output may still be there");
            }
        }
    }

    /// Those of everybody that run and have a network.
    pub(crate) fn connected(&self) -> Result<Vec<Job>> {
        let mut jobs = self.all()?;
        jobs.retain(|job| !job.card.network.is_empty() && job.directory.is_kept().unwrap_or(true));
        Ok(jobs)
    }

    /// Removes those that ended long ago. One that cannot be looked at stays.
    pub(crate) fn sweep(&self) {
        let Ok(jobs) = self.all() else { return };
        let now = Timestamp::now();
        let ended = |job: Job| match job.stand() {
            Ok(Stand::Ended(end) | Stand::Lost(Some(end))) => {
                Some((Timestamp::from_millisecond(end.at_ms).unwrap_or(job.card.started_at), job))
            }
            Ok(Stand::Lost(None)) => {
                // From now on it is kept as long as others. Otherwise the next sweep tries again.
                let _ = job.directory.give_up(now.as_millisecond());
                None
            }
            Ok(Stand::Running) | Err(_) => None,
        };
        let mut over: Vec<(Timestamp, Job)> = jobs.into_iter().filter_map(ended).collect();
        over.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut users: Vec<String> = Vec::new();
        for (at, job) in over {
            users.push(job.card.user().to_owned());
            let count = users.iter().filter(|user| *user == job.card.user()).count();
            if now.duration_since(at) > KEPT_FOR || count > MOST_ENDED {
                job.remove();
            }
        }
        self.remove_unfinished(now);
    }

    /// Directories that never became jobs, because the daemon died over them, or are none any more.
    fn remove_unfinished(&self, now: Timestamp) {
        for path in self.paths().unwrap_or_default() {
            let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let is_old = changed
                .is_ok_and(|at| Timestamp::try_from(at).is_ok_and(|at| now.duration_since(at) > KEPT_FOR));
            let is_job = path.file_name().and_then(|name| self.open(name.to_str()?)).is_some();
            let is_kept = || Directory::open(&path).and_then(|found| found.is_kept()).unwrap_or(false);
            if is_old && !is_job && !is_kept() {
                // The next sweep tries again.
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    fn all(&self) -> Result<Vec<Job>> {
        let paths = self.paths().map_err(trouble)?;
        Ok(paths.iter().filter_map(|path| self.open(path.file_name()?.to_str()?)).collect())
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        fs::read_dir(&self.root)?.map(|entry| Ok(entry?.path())).collect()
    }

    /// `None` where there is none: it may just be made, or just be swept.
    fn open(&self, id: &str) -> Option<Job> {
        let path = self.root.join(id);
        let card = serde_json::from_slice(&fs::read(path.join(CARD)).ok()?).ok()?;
        let directory = Directory::open(&path).ok()?;
        Some(Job { id: id.to_owned(), card, directory, path, meter: self.meter.clone() })
    }
}

/// Whole, or not there.
fn write_card(directory: &Path, card: &Card) -> io::Result<()> {
    let new = directory.join("new");
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(card)?)?;
    file.sync_data()?;
    fs::rename(&new, directory.join(CARD))?;
    File::open(directory)?.sync_all()
}

impl Job {
    /// Where it stands.
    pub(crate) fn stand(&self) -> Result<Stand> {
        if self.directory.is_kept().map_err(trouble)? {
            return Ok(Stand::Running);
        }
        // Its keeper went after it had written this, or was killed before.
        Ok(match self.directory.end().map_err(trouble)? {
            Some(end) if end.ended.is_some() || end.refused.is_some() => {
                self.charge(&end);
                Stand::Ended(end)
            }
            found => Stand::Lost(found),
        })
    }

    /// Tells what it used, when its end is seen for the first time.
    fn charge(&self, end: &End) {
        let (Some(meter), Some(ended)) = (self.meter.get(), &end.ended) else { return };
        let Ok(uid) = self.card.user().parse() else { return };
        // Noted before it is told: a daemon that dies in between charges nothing, and none charges it twice.
        let noted = File::options().write(true).create_new(true).mode(0o600).open(self.path.join(CHARGED));
        match noted {
            Ok(_) => meter.charge(uid, usage(ended)),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => tracing::warn!(job = %self.id, error = %err, "what a job used is not counted yet"),
        }
    }

    /// Has its keeper do something; how much it has written by then.
    pub(crate) async fn ask(&self, request: Request) -> Result<u64> {
        let asked = match self.connect()? {
            Some(mut connection) => connection.ask(request).await?,
            None => None,
        };
        asked.ok_or_else(|| {
            Error::conflict(format!(
                "job `{}` has ended; `exec_wait_job` tells how, `exec_read_job` what it wrote",
                self.id
            ))
        })
    }

    /// Waits until it has written so much in all, has ended, or `longest` is over.
    pub(crate) async fn watch(&self, ctx: &CallCtx, written: u64, longest: Duration) -> Result<()> {
        let Some(mut connection) = self.connect()? else { return Ok(()) };
        tokio::select! {
            // What it is by then is for the caller to look at.
            watched = timeout(longest, connection.ask(Request::Watch(written))) => {
                watched.unwrap_or(Ok(None)).map(drop)
            }
            () = ctx.cancel.cancelled() => ctx.check_canceled(),
        }
    }

    /// Serves its network until it ends.
    pub(crate) async fn attend(&self, mut network: Open) -> Result<()> {
        let Some(mut connection) = self.connect()? else { return Ok(()) };
        let Some(sockets) = connection.network().await? else { return Ok(()) };
        network.serve(sockets)?;
        tokio::spawn(async move {
            // It writes never so much: this is answered by the end of the keeper.
            let _ = connection.ask(Request::Watch(u64::MAX)).await;
            drop(network);
        });
        Ok(())
    }

    /// `None` if it has ended.
    pub(crate) fn connect(&self) -> Result<Option<Connection>> {
        self.directory.connect().map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => {
                Error::unavailable(format!("too many ask job `{}` at once; call again", self.id))
            }
            _ => trouble(err),
        })
    }

    /// Forgets it.
    pub(crate) fn remove(self) {
        // The next sweep tries again.
        let _ = fs::remove_dir_all(self.path);
    }
}

/// What an error of the filesystem means for the caller.
pub(crate) fn trouble(err: io::Error) -> Error {
    Error::unavailable("what is kept about jobs cannot be read or written").with_source(err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_core::{ErrorKind, Usage};
    use skynet_sandbox::protocol::Ended;
    use std::num::NonZeroU32;

    fn card(owner: &str) -> Card {
        Card {
            owner: owner.into(),
            workspace: "place".into(),
            name: None,
            command: "true".into(),
            started_at: Timestamp::now(),
            network: Network::default(),
        }
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<(u32, Usage)>>);

    impl Meter for Told {
        fn charge(&self, uid: u32, usage: Usage) {
            self.0.lock().unwrap().push((uid, usage));
        }
    }

    #[test]
    fn a_user_has_at_most_as_many_as_the_limit_says_and_never_more_than_sixteen() {
        let root = tempfile::tempdir().unwrap();
        let jobs = Jobs::new(root.path().join("jobs"));
        let limit = |most| JobLimit { most: NonZeroU32::new(most).unwrap(), name: "few".into() };
        let mut kept = vec![jobs.create(card("7"), Some(&limit(2))).unwrap()];
        kept.push(jobs.create(card("7/token"), Some(&limit(2))).unwrap());
        let refused = jobs.create(card("7"), Some(&limit(2))).err().unwrap();
        assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
        assert!(refused.message.contains("and 2 may (the limit `few`)"), "{refused}");
        // Others are not counted, nor those that have ended.
        kept.push(jobs.create(card("8"), Some(&limit(1))).unwrap());
        assert_eq!(jobs.running("7").unwrap(), 2);
        kept.remove(0);
        kept.push(jobs.create(card("7"), Some(&limit(2))).unwrap());
        while jobs.running("7").unwrap() < MOST_RUNNING {
            kept.push(jobs.create(card("7"), None).unwrap());
        }
        let refused = jobs.create(card("7"), Some(&limit(100))).err().unwrap();
        assert!(refused.message.contains("16 jobs of this user are running, and 16 may;"), "{refused}");
    }

    #[test]
    fn what_a_job_used_is_told_once_whoever_sees_its_end_first() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("jobs");
        let jobs = Jobs::new(path.clone());
        let told = Arc::new(Told::default());
        jobs.charge_to(told.clone());
        let (job, files) = jobs.create(card("7/token"), None).unwrap();
        assert!(matches!(job.stand().unwrap(), Stand::Running));
        let ended = Ended { cpu_us: 1_500_000, ..Ended::default() };
        let end = End { at_ms: Timestamp::now().as_millisecond(), ended: Some(ended), ..End::default() };
        end.write(&files.end.into()).unwrap();
        drop(files.listener);
        jobs.sweep();
        assert!(matches!(job.stand().unwrap(), Stand::Ended(_)));
        // Nor is it by the next daemon.
        let next = Jobs::new(path);
        next.charge_to(told.clone());
        next.sweep();
        let usage = Usage { cpu: Duration::from_millis(1500), ..Usage::default() };
        assert_eq!(*told.0.lock().unwrap(), [(7, usage)]);
    }
}
