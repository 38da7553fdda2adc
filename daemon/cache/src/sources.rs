//! Who tells that something of a kind changed without a call of ours. They are listened to only while answers of that kind are asked
//! for; an answer is not kept while one is about to be listened to, and where one cannot be had its time alone counts.

use async_trait::async_trait;
use skynet_core::{Caller, Kind, Result};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// One that nobody wanted for so long is not listened to any more.
const IDLE: Duration = Duration::from_secs(30);

/// The first wait after one could not be listened to, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tells what happens outside of the daemon's own calls.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Of what it tells.
    fn kinds(&self) -> &'static [Kind];

    /// Listens with the rights of a caller until it ends, and says so by `heard`: once that it does, then each change.
    ///
    /// # Errors
    /// Why it cannot be listened to.
    async fn listen(&self, caller: &Caller, heard: &Heard) -> Result<()>;
}

/// How a [`Source`] tells what it hears.
pub struct Heard {
    ears: Weak<Ears>,
    key: Key,
    kinds: &'static [Kind],
}

impl Heard {
    /// From now on nothing is missed.
    pub fn begin(&self) {
        if let Some(ears) = self.ears.upgrade() {
            // What happened before may have been missed.
            (ears.changed)(self.kinds);
            ears.set(self.key, Stage::Listening, 0);
        }
    }

    /// Something changed.
    pub fn change(&self) {
        if let Some(ears) = self.ears.upgrade() {
            (ears.changed)(self.kinds);
        }
    }
}

/// The place of a source, and the user as whom it is listened to.
type Key = (usize, u32);

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Beginning,
    Listening,
    /// It is not to be had before then.
    Deaf(Instant),
}

struct Ear {
    stage: Stage,
    wanted: Instant,
    failures: u32,
}

/// What an answer may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// Changes are told, or nobody tells them and its time alone counts.
    Ready,
    /// In a moment changes are told.
    NotYet,
}

/// Is told of which kinds something changed.
type Changed = Box<dyn Fn(&[Kind]) + Send + Sync>;

/// All that are listened to.
pub(crate) struct Ears {
    sources: OnceLock<Vec<Arc<dyn Source>>>,
    all: Mutex<HashMap<Key, Ear>>,
    changed: Changed,
}

impl Ears {
    pub(crate) fn new(changed: impl Fn(&[Kind]) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { sources: OnceLock::new(), all: Mutex::default(), changed: Box::new(changed) })
    }

    pub(crate) fn fill(&self, sources: Vec<Arc<dyn Source>>) {
        // They are named once, when the daemon is built.
        let _ = self.sources.set(sources);
    }

    /// What an answer of that kind to that caller may count on. Begins to listen if nobody does.
    pub(crate) fn hear(self: &Arc<Self>, kind: Kind, caller: &Caller) -> Hearing {
        let sources = self.sources.get().map(Vec::as_slice).unwrap_or_default();
        let telling = sources.iter().enumerate().find(|(_, source)| source.kinds().contains(&kind));
        let Some((place, source)) = telling else { return Hearing::Ready };
        let key = (place, caller.uid);
        let now = Instant::now();
        let mut all = self.lock();
        let ear = all.entry(key).or_insert(Ear { stage: Stage::Deaf(now), wanted: now, failures: 0 });
        ear.wanted = now;
        match ear.stage {
            Stage::Listening => Hearing::Ready,
            Stage::Beginning => Hearing::NotYet,
            Stage::Deaf(until) if until > now => Hearing::Ready,
            Stage::Deaf(_) => {
                ear.stage = Stage::Beginning;
                drop(all);
                tokio::spawn(self.clone().listen(key, source.clone(), caller.clone()));
                Hearing::NotYet
            }
        }
    }

    async fn listen(self: Arc<Self>, key: Key, source: Arc<dyn Source>, caller: Caller) {
        let heard = Heard { ears: Arc::downgrade(&self), key, kinds: source.kinds() };
        let ended = tokio::select! {
            ended = source.listen(&caller, &heard) => ended,
            () = self.unwanted(key) => {
                self.lock().remove(&key);
                // What is kept still counts on being told.
                (self.changed)(source.kinds());
                return;
            }
        };
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |err| err.to_string());
        tracing::debug!(
            source = source.name(),
            why,
            "changes are not told; answers live as long as configured"
        );
        let failures = self.lock().get(&key).map_or(0, |ear| ear.failures);
        let wait = FIRST_WAIT.saturating_mul(1 << failures.min(6)).min(LONGEST_WAIT);
        self.set(key, Stage::Deaf(Instant::now() + wait), failures + 1);
        (self.changed)(source.kinds());
    }

    /// Returns when nobody wanted it for a while.
    async fn unwanted(&self, key: Key) {
        loop {
            let Some(end) = self.lock().get(&key).map(|ear| ear.wanted + IDLE) else { return };
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn set(&self, key: Key, stage: Stage, failures: u32) {
        if let Some(ear) = self.lock().get_mut(&key) {
            ear.stage = stage;
            ear.failures = failures;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Ear>> {
        // Each change is whole, so a panic leaves it so.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
