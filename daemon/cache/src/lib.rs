//! Answers that may be given again for a while, by the kind of what they are about: in the memory of the daemon or in a Redis. They
//! are emptied by our own calls, by what [`Source`]s tell, and by time. Knows no tool, and decides nothing about who may ask.

mod embedded;
mod seal;
mod settings;
mod shared;
mod sources;

pub use settings::{Backend, Seconds, Settings};
pub use sources::{Heard, Source};

use bytes::Bytes;
use embedded::Embedded;
use shared::{Place, Shared};
use skynet_core::{Caller, Kind};
use sources::{Ears, Hearing};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What is wrong with the settings, in words.
#[derive(Debug)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Of one kind.
#[derive(Default)]
struct State {
    /// Another one whenever what is kept may be untrue.
    generation: AtomicU64,
    /// Calls under way that may make answers untrue.
    altering: AtomicU64,
    /// Answers that had to go for others.
    evicted: AtomicU64,
}

#[derive(Default)]
struct States([State; Kind::ALL.len()]);

impl States {
    fn of(&self, kind: Kind) -> Option<&State> {
        self.0.get(kind as usize)
    }

    /// From here on nothing counts that was made before.
    fn renew(&self, kinds: &[Kind]) {
        for state in kinds.iter().filter_map(|kind| self.of(*kind)) {
            state.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The generation that an answer belongs to which is made from now on; `None` while a call may be making it untrue.
    fn quiet(&self, kind: Kind) -> Option<u64> {
        let state = self.of(kind)?;
        let generation = state.generation.load(Ordering::SeqCst);
        (state.altering.load(Ordering::SeqCst) == 0).then_some(generation)
    }
}

enum Store {
    Off,
    Embedded(Embedded),
    Redis(Box<Shared>),
}

/// Where an answer that is made now may be kept.
pub struct Ticket {
    kind: Kind,
    key: String,
    generation: u64,
    lifetime: Duration,
    place: Option<Place>,
}

/// What looking for an answer came to.
#[derive(Default)]
pub struct Looked {
    /// It, if it is there and still true.
    pub found: Option<Bytes>,
    /// To keep the one that is made instead; absent where none is to be kept.
    pub ticket: Option<Ticket>,
}

/// A call that may make answers untrue, until it is dropped.
pub struct Altering {
    states: Arc<States>,
    kinds: &'static [Kind],
}

impl Drop for Altering {
    fn drop(&mut self) {
        // In this order: whoever finds that nothing is under way finds the new generation.
        self.states.renew(self.kinds);
        for state in self.kinds.iter().filter_map(|kind| self.states.of(*kind)) {
            state.altering.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// All answers that may be given again.
pub struct Cache {
    settings: Settings,
    store: Arc<Store>,
    states: Arc<States>,
    ears: Arc<Ears>,
}

impl Cache {
    /// As configured; a Redis need not be there yet.
    ///
    /// # Errors
    /// What is wrong with the settings, and when the password cannot be read.
    pub fn open(settings: Settings) -> Result<Arc<Self>> {
        settings.check()?;
        let store = Arc::new(match settings.backend {
            Backend::Off => Store::Off,
            Backend::Embedded => {
                let max_bytes = usize::try_from(settings.max_bytes.get()).unwrap_or(usize::MAX);
                Store::Embedded(Embedded::new(max_bytes))
            }
            Backend::Redis => Store::Redis(Box::new(Shared::new(settings.connection()?)?)),
        });
        let states = Arc::<States>::default();
        let ears = Ears::new({
            let (states, store) = (states.clone(), store.clone());
            move |kinds: &[Kind]| {
                states.renew(kinds);
                // Others hear it themselves, or are told with the next look.
                if let Store::Redis(shared) = &*store {
                    shared.owe(kinds);
                }
            }
        });
        Ok(Arc::new(Self { settings, store, states, ears }))
    }

    /// Says who tells that something changed; once, when the daemon is built.
    pub fn listen_to(&self, sources: Vec<Arc<dyn Source>>) {
        self.ears.fill(sources);
    }

    /// Where answers are kept.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.settings.backend
    }

    /// Looks for an answer to that caller, who is a part of the key.
    pub async fn look(&self, kind: Kind, key: String, caller: &Caller) -> Looked {
        let Some(lifetime) = self.settings.lifetime(kind).filter(|_| self.backend() != Backend::Off) else {
            return Looked::default();
        };
        if self.ears.hear(kind, caller) == Hearing::NotYet {
            return Looked::default();
        }
        let Some(generation) = self.states.quiet(kind) else { return Looked::default() };
        let (found, place) = match &*self.store {
            Store::Off => return Looked::default(),
            Store::Embedded(embedded) => (embedded.find(&key, generation), None),
            Store::Redis(shared) => {
                let Some(looked) = shared.find(kind, &key, generation).await else {
                    return Looked::default();
                };
                (looked.json, Some(looked.place))
            }
        };
        // Something may have changed while the Redis was asked.
        let found = found.filter(|_| self.states.quiet(kind) == Some(generation));
        Looked { found, ticket: Some(Ticket { kind, key, generation, lifetime, place }) }
    }

    /// Keeps an answer that was made after looking, unless something changed since.
    pub async fn keep(&self, ticket: Ticket, json: &Bytes) {
        let Ticket { kind, key, generation, lifetime, place } = ticket;
        if self.states.quiet(kind) != Some(generation) {
            return;
        }
        match (&*self.store, place) {
            (Store::Embedded(embedded), _) => {
                for gone in embedded.keep(kind, &key, json, generation, Instant::now() + lifetime) {
                    if let Some(state) = self.states.of(gone) {
                        state.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            (Store::Redis(shared), Some(place)) => shared.keep(&place, json, lifetime).await,
            (Store::Redis(_), None) | (Store::Off, _) => {}
        }
    }

    /// Empties these kinds for everybody, before a call that may make their answers untrue. Until what is returned is passed to
    /// [`Cache::altered`] or dropped, nothing of them is kept or given.
    pub async fn alter(&self, kinds: &'static [Kind]) -> Altering {
        for state in kinds.iter().filter_map(|kind| self.states.of(*kind)) {
            state.altering.fetch_add(1, Ordering::SeqCst);
        }
        let altering = Altering { states: self.states.clone(), kinds };
        self.states.renew(kinds);
        self.tell(kinds).await;
        if let Store::Redis(shared) = &*self.store {
            // Should the call never come to its end, the next look tells it.
            shared.owe(kinds);
        }
        altering
    }

    /// Empties them once more, after the call.
    pub async fn altered(&self, altering: Altering) {
        let kinds = altering.kinds;
        drop(altering);
        self.tell(kinds).await;
    }

    /// Empties all of it.
    pub fn forget(&self) {
        self.states.renew(Kind::ALL);
        if let Store::Redis(shared) = &*self.store {
            shared.owe(Kind::ALL);
        }
    }

    /// Tells the other daemons that something of these kinds changed.
    async fn tell(&self, kinds: &[Kind]) {
        if let Store::Redis(shared) = &*self.store
            && !kinds.is_empty()
        {
            shared.owe(kinds);
            // What is still owed is paid before anything is read there.
            let _ = shared.pay().await;
        }
    }

    /// Why nothing can be kept, asked of the Redis now; `None` while all is well.
    pub async fn fault(&self) -> Option<String> {
        match &*self.store {
            Store::Redis(shared) => shared.look().await,
            Store::Embedded(_) | Store::Off => None,
        }
    }

    /// How many answers of each kind had to go for others since the start.
    pub fn evicted(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        let count = |kind: &Kind| self.states.of(*kind).map(|state| state.evicted.load(Ordering::Relaxed));
        Kind::ALL.iter().filter_map(move |kind| Some((*kind, count(kind)?)))
    }

    /// In words, for whoever asks what the daemon does.
    #[must_use]
    pub fn describe(&self) -> String {
        let place = match self.backend() {
            Backend::Off => return "off: every answer is made anew".into(),
            Backend::Embedded => "in memory",
            Backend::Redis => "in a Redis",
        };
        let kinds = Kind::ALL.iter().filter_map(|kind| {
            Some(format!("{} {} s", kind.as_str(), self.settings.lifetime(*kind)?.as_secs()))
        });
        format!("answers of some kinds, {place}: {}", kinds.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
