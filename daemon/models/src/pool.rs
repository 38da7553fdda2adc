//! The workers of a daemon, and what waits for them.
//!
//! Who looks for something goes before what is being indexed. A worker is started when there is work that no other one is
//! free for, so that a single stream of work has one worker and the model is in memory once.

use crate::{
    Use,
    library::Library,
    process::{Failure, Files, Process},
    protocol::{Done, Run},
    settings::Settings,
    store::Store,
};
use skynet_core::{Error, Result};
use skynet_sandbox::Slots;
use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
    thread::available_parallelism,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// A worker that did nothing for so long is let go.
const IDLE: Duration = Duration::from_secs(300);

/// Workers, if nobody says how many.
const USUAL_WORKERS: usize = 2;

/// Batches of passages that wait; who has more waits with them.
const MOST_PASSAGES: usize = 64;

/// Batches of queries that wait; who comes then is told to come later.
const MOST_QUERIES: usize = 256;

pub(crate) struct Pool {
    slots: Arc<Slots>,
    store: Store,
    settings: Settings,
    queue: Mutex<Queue>,
    /// Seen by every seat when something may be there for it.
    changed: watch::Sender<()>,
    room: Arc<Semaphore>,
    library: tokio::sync::Mutex<Weak<OwnedFd>>,
    seats: usize,
    begun: Once,
}

/// Some texts for one model.
struct Job {
    files: Arc<Files>,
    run: Run,
    reply: oneshot::Sender<Result<Done>>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Queue {
    queries: VecDeque<Job>,
    passages: VecDeque<Job>,
    /// By seat.
    is_busy: Vec<bool>,
    /// Of the workers that run.
    pids: Vec<Option<u32>>,
}

impl Pool {
    pub(crate) fn new(slots: Arc<Slots>, store: Store, settings: Settings) -> Arc<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let seats = settings.workers.map_or_else(
            || processors.min(USUAL_WORKERS),
            |workers| usize::try_from(workers.get()).unwrap_or(USUAL_WORKERS),
        );
        let queue = Queue { is_busy: vec![false; seats], pids: vec![None; seats], ..Queue::default() };
        Arc::new(Self {
            slots,
            store,
            settings,
            queue: Mutex::new(queue),
            changed: watch::Sender::new(()),
            room: Arc::new(Semaphore::new(MOST_PASSAGES)),
            library: tokio::sync::Mutex::default(),
            seats,
            begun: Once::new(),
        })
    }

    /// Where the library is, if it is anywhere.
    pub(crate) fn library(&self) -> Option<Library> {
        Library::find(&self.settings, &self.store)
    }

    /// The process ids of the workers that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().pids.iter().flatten().copied().collect()
    }

    /// How many questions and how many batches of passages wait for a worker.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.queries.len(), queue.passages.len())
    }

    /// Puts a batch into the queue; where its result arrives.
    pub(crate) async fn put(
        self: &Arc<Self>,
        files: &Arc<Files>,
        run: Run,
        used_as: Use,
    ) -> Result<oneshot::Receiver<Result<Done>>> {
        self.begun.call_once(|| {
            for index in 0..self.seats {
                tokio::spawn(sit(Arc::downgrade(self), index, self.changed.subscribe()));
            }
        });
        let permit = match used_as {
            Use::Query => None,
            Use::Passage => Some(
                self.room
                    .clone()
                    .acquire_owned()
                    .await
                    .map_err(|err| Error::internal("the queue of models is closed").with_source(err))?,
            ),
        };
        let (reply, result) = oneshot::channel();
        let job = Job { files: files.clone(), run, reply, _permit: permit };
        {
            let mut queue = self.lock();
            match used_as {
                Use::Query if queue.queries.len() >= MOST_QUERIES => {
                    return Err(Error::quota_exceeded(
                        "too many questions wait for the model already; try again in a moment",
                    ));
                }
                Use::Query => queue.queries.push_back(job),
                Use::Passage => queue.passages.push_back(job),
            }
        }
        self.changed.send_replace(());
        Ok(result)
    }

    /// What that seat is to do: nothing while one before it is free.
    fn take(&self, index: usize) -> Option<Job> {
        let mut queue = self.lock();
        if queue.is_busy.iter().take(index).any(|is_busy| !is_busy) {
            return None;
        }
        loop {
            let job = queue.queries.pop_front().or_else(|| queue.passages.pop_front())?;
            // Nobody waits for one that was given up.
            if !job.reply.is_closed() {
                queue.set_busy(index, true);
                drop(queue);
                // The next seat is the first free one now.
                self.changed.send_replace(());
                return Some(job);
            }
        }
    }

    /// Has a job done, once more where a worker died of it: reading twice does no harm.
    async fn perform(&self, index: usize, process: &mut Option<Process>, job: Job) {
        let mut deaths = 0;
        let result = loop {
            let worker = match process {
                Some(worker) => worker,
                None => match self.start().await {
                    Ok(started) => {
                        self.lock().set_pid(index, Some(started.pid));
                        process.insert(started)
                    }
                    Err(err) => break Err(err),
                },
            };
            match worker.run(&job.files, job.run.clone()).await {
                Ok(done) => break Ok(done),
                Err(Failure::Said(err)) => break Err(err),
                Err(Failure::Died) => {
                    tracing::warn!(pid = worker.pid, "a worker for models died and is replaced");
                    self.let_go(index, process);
                    deaths += 1;
                    if deaths == 2 {
                        break Err(Error::unavailable(
                            "the process that runs models died twice on the same texts; nothing was changed",
                        ));
                    }
                }
            }
        };
        // Whoever waited may have left.
        let _ = job.reply.send(result);
    }

    fn let_go(&self, index: usize, process: &mut Option<Process>) {
        *process = None;
        self.lock().set_pid(index, None);
    }

    async fn start(&self) -> Result<Process> {
        let library = {
            let mut kept = self.library.lock().await;
            match kept.upgrade() {
                Some(library) => library,
                None => {
                    let found = self.library().ok_or_else(|| {
                        Error::unavailable("ONNX Runtime is not installed; run `skynetctl models install`")
                    })?;
                    let loaded = tokio::task::spawn_blocking(move || found.load()).await;
                    let loaded = loaded
                        .map_err(|err| Error::internal("a library was not read").with_source(err))??;
                    let library = Arc::new(loaded);
                    *kept = Arc::downgrade(&library);
                    library
                }
            }
        };
        Process::start(&self.slots, library).await
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Each change leaves it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn set_busy(&mut self, index: usize, is_busy: bool) {
        if let Some(seat) = self.is_busy.get_mut(index) {
            *seat = is_busy;
        }
    }

    fn set_pid(&mut self, index: usize, pid: Option<u32>) {
        if let Some(seat) = self.pids.get_mut(index) {
            *seat = pid;
        }
    }
}

/// Has the worker of one seat work, for as long as there is a pool.
async fn sit(pool: Weak<Pool>, index: usize, mut changed: watch::Receiver<()>) {
    let mut process: Option<Process> = None;
    loop {
        {
            let Some(pool) = pool.upgrade() else { return };
            // Before the look, so that what comes after it is not missed.
            changed.mark_unchanged();
            if let Some(job) = pool.take(index) {
                pool.perform(index, &mut process, job).await;
                pool.lock().set_busy(index, false);
                continue;
            }
        }
        let waited = if process.is_some() {
            tokio::time::timeout(IDLE, changed.changed()).await
        } else {
            Ok(changed.changed().await)
        };
        match waited {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                let Some(pool) = pool.upgrade() else { return };
                pool.let_go(index, &mut process);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Load;
    use std::{num::NonZeroU32, path::PathBuf};

    fn job(name: &str) -> (Job, oneshot::Receiver<Result<Done>>) {
        let (reply, result) = oneshot::channel();
        let files = Files { load: Load::default(), model: PathBuf::new(), tokenizer: PathBuf::new() };
        let run = Run { texts: vec![name.to_owned()], ..Run::default() };
        (Job { files: Arc::new(files), run, reply, _permit: None }, result)
    }

    #[test]
    fn questions_go_first_to_the_first_free_seat() {
        let directory = tempfile::tempdir().unwrap();
        let slots = Slots::new("skynet-sandbox".into(), 0, PathBuf::new());
        let settings = Settings { workers: NonZeroU32::new(2), ..Settings::default() };
        let pool = Pool::new(slots, Store::open(directory.path()).unwrap(), settings);
        let mut waiting = Vec::new();
        for (name, used_as) in
            [("p1", Use::Passage), ("p2", Use::Passage), ("given up", Use::Query), ("q", Use::Query)]
        {
            let (job, result) = job(name);
            let mut queue = pool.lock();
            match used_as {
                Use::Query => queue.queries.push_back(job),
                Use::Passage => queue.passages.push_back(job),
            }
            if name != "given up" {
                waiting.push(result);
            }
        }
        let take = |seat| pool.take(seat).map(|job| job.run.texts[0].clone());
        assert_eq!(take(1), None, "the first seat is free");
        assert_eq!(take(0).as_deref(), Some("q"));
        assert_eq!(take(1).as_deref(), Some("p1"));
        pool.lock().set_busy(0, false);
        pool.lock().set_busy(1, false);
        assert_eq!(take(1), None);
        assert_eq!(take(0).as_deref(), Some("p2"));
        assert_eq!(take(1), None, "there is nothing more");
        assert_eq!(waiting.len(), 3);
    }

    #[tokio::test]
    async fn without_a_library_a_text_is_not_read_and_why_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let slots = Slots::new("skynet-sandbox".into(), 0, PathBuf::new());
        let settings = Settings { onnxruntime: Some("/nonexistent".into()), ..Settings::default() };
        let pool = Pool::new(slots, Store::open(directory.path()).unwrap(), settings);
        let (job, _) = job("x");
        let result = pool.put(&job.files, job.run, Use::Query).await.unwrap().await.unwrap();
        assert!(result.unwrap_err().message.contains("`skynetctl models install`"));
    }
}
