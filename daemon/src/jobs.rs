//! Calls that outlive the patience of their client: durable, and shown to their owner alone. MCP calls them tasks
//! where the client knows them, jobs where it does not.

use crate::calls::Running;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skynet_catalog::{Job, JobState};
use skynet_core::{Answer, Error, ErrorKind, Link, Result};
use skynet_store::{Blobs, Table, Tables};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// How long a job can be asked for after it began.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A result is at most that long; the Bound layer sees to it.
const LONGEST_RESULT: usize = 16 << 20;

/// One job, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) owner: String,
    pub(crate) tool: String,
    pub(crate) state: JobState,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Where its answer is kept.
    result: Option<String>,
    links: Vec<Link>,
    #[serde(default)]
    notices: Vec<String>,
    /// Kind and message.
    failure: Option<(String, String)>,
}

/// All jobs.
pub(crate) struct Jobs {
    table: Table<Record>,
    blobs: Blobs,
    live: Mutex<HashMap<String, Running>>,
    /// Changes whenever the end of a job was stored.
    ended: watch::Sender<u64>,
}

impl Jobs {
    /// Opens what is stored. Jobs that a dead daemon left running are failed: nobody knows how far they came.
    pub(crate) fn open(tables: &Tables, blobs: Blobs) -> anyhow::Result<Arc<Self>> {
        let table: Table<Record> = tables.table("jobs");
        for (id, mut record) in table.iter() {
            if record.is_over_age() {
                table.remove(&id)?;
            } else if record.state == JobState::Running {
                record.end(&Err(Error::interrupted(
                    "the daemon died while it ran; what it was to change may or may not have changed",
                )));
                table.put(&id, &record)?;
            }
        }
        Ok(Arc::new(Self { table, blobs, live: Mutex::default(), ended: watch::Sender::new(0) }))
    }

    /// Makes a job of a call under way; it can be asked for once this returns.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be stored.
    pub(crate) async fn adopt(self: &Arc<Self>, owner: String, running: Running) -> Result<(String, Record)> {
        running.is_kept.store(true, Ordering::Relaxed);
        let id = Uuid::new_v4().as_simple().to_string();
        let now = Timestamp::now();
        let record = Record {
            owner,
            tool: running.tool.to_owned(),
            state: JobState::Running,
            created_at: now,
            updated_at: now,
            result: None,
            links: Vec::new(),
            notices: Vec::new(),
            failure: None,
        };
        self.lock().insert(id.clone(), running.clone());
        if let Err(err) = self.store(&id, &record).await {
            self.lock().remove(&id);
            return Err(err);
        }
        self.sweep();
        tokio::spawn(self.clone().see_to_the_end(id.clone(), record.clone(), running));
        Ok((id, record))
    }

    async fn see_to_the_end(self: Arc<Self>, id: String, mut record: Record, mut running: Running) {
        let outcome = running.outcome().await;
        let kept = match &*outcome {
            Ok(answer) => self.keep(&record.owner, answer).await.map(Some),
            Err(_) => Ok(None),
        };
        match kept {
            Ok(digest) => {
                record.end(&outcome);
                record.result = digest;
            }
            Err(err) => record.end(&Err(err)),
        }
        if let Err(err) = self.store(&id, &record).await {
            tracing::error!(error = %err, job = id, "the end of a job is only kept in memory");
            if let Err(err) = self.table.put(&id, &record) {
                tracing::error!(error = %err, job = id, "the end of a job could not be kept");
            }
        }
        self.lock().remove(&id);
        self.ended.send_modify(|version| *version += 1);
    }

    /// The job of this owner.
    ///
    /// # Errors
    /// `NotFound` for any other.
    pub(crate) fn find(&self, owner: &str, id: &str) -> Result<Record> {
        let unknown = || Error::not_found(format!("there is no job `{id}`"));
        let found = self
            .table
            .get(id)
            .map_err(|err| Error::unavailable("the jobs cannot be read").with_source(err))?;
        let is_shown = |record: &Record| record.owner == owner && !record.is_over_age();
        let mut record = found.filter(is_shown).ok_or_else(unknown)?;
        if record.state == JobState::Running && !self.lock().contains_key(id) {
            // Its end is stored before it leaves the table of live ones: looked at again, it is there, or was lost.
            record = self.table.get(id).ok().flatten().unwrap_or(record);
            if record.state == JobState::Running {
                record.end(&Err(Error::interrupted("its end could not be stored")));
            }
        }
        Ok(record)
    }

    /// Forgets jobs that are too old to be asked for.
    fn sweep(&self) {
        for (id, record) in self.table.iter() {
            if record.is_over_age()
                && let Err(err) = self.table.remove(&id)
            {
                tracing::warn!(error = %err, job = id, "an old job could not be forgotten");
            }
        }
    }

    /// What it answered or failed with; `None` while it runs.
    pub(crate) async fn outcome(&self, record: &Record) -> Option<Result<Answer>> {
        if let Some((kind, message)) = &record.failure {
            return Some(Err(Error::new(ErrorKind::from_name(kind), message.clone())));
        }
        let digest = record.result.clone()?;
        let (blobs, owner) = (self.blobs.clone(), format!("result/{}", record.owner));
        let read = tokio::task::spawn_blocking(move || blobs.read(&owner, &digest, 0, LONGEST_RESULT)).await;
        Some(match read {
            Ok(Ok(Some((bytes, _)))) => {
                let (links, notices) = (record.links.clone(), record.notices.clone());
                Ok(Answer { json: Bytes::from(bytes), links, notices })
            }
            _ => Err(Error::unavailable("the answer of this job is no longer kept")),
        })
    }

    /// What it is doing now.
    pub(crate) fn message(&self, id: &str) -> Option<String> {
        let live = self.lock();
        let progress = live.get(id)?.progress.borrow().clone()?;
        Some(progress.message)
    }

    async fn keep(&self, owner: &str, answer: &Answer) -> Result<String> {
        let (blobs, owner, json) = (self.blobs.clone(), format!("result/{owner}"), answer.json.clone());
        let stored = tokio::task::spawn_blocking(move || blobs.put(&owner, &json[..])).await;
        let unavailable = "the answer could not be kept";
        let stored = stored.map_err(|err| Error::unavailable(unavailable).with_source(err))?;
        stored.map(|stored| stored.digest).map_err(|err| Error::unavailable(unavailable).with_source(err))
    }

    async fn store(&self, id: &str, record: &Record) -> Result<()> {
        let (table, id, record) = (self.table.clone(), id.to_owned(), record.clone());
        let stored = tokio::task::spawn_blocking(move || table.put_durably(&id, &record));
        let unavailable = "the job cannot be stored";
        let stored = stored.await.map_err(|err| Error::unavailable(unavailable).with_source(err))?;
        stored.map_err(|err| Error::unavailable(unavailable).with_source(err))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_over_age(&self) -> bool {
        self.state != JobState::Running && self.created_at + KEPT_FOR < Timestamp::now()
    }

    fn end(&mut self, outcome: &Result<Answer>) {
        self.updated_at = Timestamp::now();
        match outcome {
            Ok(answer) => {
                self.state = JobState::Done;
                self.links.clone_from(&answer.links);
                self.notices.clone_from(&answer.notices);
            }
            Err(err) => {
                self.state =
                    if err.kind == ErrorKind::Canceled { JobState::Canceled } else { JobState::Failed };
                self.failure = Some((err.kind.as_str().to_owned(), err.message.to_string()));
            }
        }
    }
}

#[async_trait]
impl skynet_catalog::Jobs for Jobs {
    async fn look(&self, owner: &str, id: &str, wait: Duration) -> Result<Job> {
        let mut ended = self.ended.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        let record = loop {
            let record = self.find(owner, id)?;
            if record.state != JobState::Running
                || tokio::time::timeout_at(deadline, ended.changed()).await.is_err()
            {
                break record;
            }
        };
        let outcome = self.outcome(&record).await;
        let (result, failure) = match outcome {
            Some(Ok(answer)) => (serde_json::from_slice(&answer.json).ok(), None),
            Some(Err(err)) => (None, Some(format!("{}: {}", err.kind, err.message))),
            None => (None, None),
        };
        Ok(Job {
            job: id.to_owned(),
            tool: record.tool,
            state: record.state,
            message: failure.or_else(|| self.message(id)),
            result,
        })
    }

    fn cancel(&self, owner: &str, id: &str) -> Result<()> {
        self.find(owner, id)?;
        if let Some(running) = self.lock().get(id) {
            running.cancel.cancel();
        }
        Ok(())
    }
}
