//! Answers in a Redis, and the generations of kinds that all daemons of this host see there. A Redis that does not answer costs a
//! moment once in a while, and calls go on without it.
//!
//! ```text
//! skynet:HOST:generation:KIND   a random name, another one whenever what is kept of that kind may be untrue
//! skynet:HOST:answer:DIGEST     a sealed answer, which the Redis drops when its time is over
//! ```

use crate::{Error, Result, seal::Seal};
use bytes::Bytes;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, aio::MultiplexedConnection};
use sha2::{Digest as _, Sha256};
use skynet_core::{Kind, canonical::hex};
use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a Redis may take to let in, and to answer: one of this host takes a tenth of a millisecond.
const PATIENCE: Duration = Duration::from_millis(100);

/// So long it is not asked again after it did not answer.
const REST: Duration = Duration::from_secs(5);

/// What this host is, to those who share a Redis: this boot of it, and where in it, as containers are hosts of their own.
const FACES: [&str; 2] = ["/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/hostname"];

/// How the Redis was the last time.
enum Way {
    /// Not asked yet.
    Unknown,
    Open(MultiplexedConnection),
    Closed {
        until: Instant,
    },
}

pub(crate) struct Shared {
    client: Client,
    /// The lock is held while somebody connects: of many who want to, one does.
    way: tokio::sync::Mutex<Way>,
    /// Why it cannot be used; `None` while it can.
    fault: Mutex<Option<String>>,
    /// The kinds, as bits, of which others were not told yet that something changed.
    owed: AtomicU32,
    seal: Seal,
    prefix: String,
    /// Goes into the names of answers, so that nobody can guess what was asked.
    salt: Uuid,
    started: Instant,
}

/// What an answer is kept under.
pub(crate) struct Place {
    name: String,
    context: Vec<u8>,
}

/// What was found, and where an answer that is made now may be kept.
pub(crate) struct Found {
    pub(crate) json: Option<Bytes>,
    pub(crate) place: Place,
}

impl Shared {
    pub(crate) fn new(info: ConnectionInfo) -> Result<Self> {
        let client = Client::open(info)
            .map_err(|err| Error(format!("`cache.url` is none that can be used: {err}")))?;
        Ok(Self {
            client,
            way: tokio::sync::Mutex::new(Way::Unknown),
            fault: Mutex::new(None),
            // What befell while this daemon was not there, it cannot tell.
            owed: AtomicU32::new(bits(Kind::ALL)),
            seal: Seal::new()?,
            prefix: format!("skynet:{}", host()),
            salt: Uuid::new_v4(),
            started: Instant::now(),
        })
    }

    /// Looks for an answer that was made in this generation of the daemon's own, and in the one that all see. `None` when the
    /// Redis cannot be used.
    pub(crate) async fn find(&self, kind: Kind, key: &str, generation: u64) -> Option<Found> {
        self.pay().await?;
        let name = self.name_of(key);
        let shown = self.generation_of(kind);
        let asked = redis::cmd("MGET").arg(&shown).arg(&name).take();
        let (seen, sealed): (Option<Vec<u8>>, Option<Vec<u8>>) = self.ask(asked).await?;
        let Some(seen) = seen else {
            // It was dropped, or is the first of its kind: whatever is kept cannot be told to be true.
            self.owe(&[kind]);
            self.pay().await?;
            return None;
        };
        let context = [name.as_bytes(), b"\n", &generation.to_be_bytes(), &seen].concat();
        let json = sealed.and_then(|sealed| self.seal.open(&context, self.now(), &sealed));
        Some(Found { json, place: Place { name, context } })
    }

    /// Keeps an answer.
    pub(crate) async fn keep(&self, place: &Place, json: &Bytes, lifetime: Duration) {
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        match self.seal.close(&place.context, self.now().saturating_add(lifetime), json) {
            Ok(sealed) => {
                let asked =
                    redis::cmd("SET").arg(&place.name).arg(sealed).arg("PX").arg(lifetime.max(1)).take();
                // What cannot be kept is made again.
                let _: Option<()> = self.ask(asked).await;
            }
            Err(err) => tracing::warn!(error = %err, "an answer could not be cached"),
        }
    }

    /// Notes that other daemons have to be told of a change of these kinds.
    pub(crate) fn owe(&self, kinds: &[Kind]) {
        self.owed.fetch_or(bits(kinds), Ordering::SeqCst);
    }

    /// Tells the others what is owed to them; `None` when the Redis cannot be used.
    pub(crate) async fn pay(&self) -> Option<()> {
        let owed = self.owed.swap(0, Ordering::SeqCst);
        if owed == 0 {
            return Some(());
        }
        let mut asked = redis::cmd("MSET");
        for kind in Kind::ALL.iter().filter(|kind| owed & bits(&[**kind]) != 0) {
            asked.arg(self.generation_of(*kind)).arg(Uuid::new_v4().as_simple().to_string());
        }
        let paid: Option<()> = self.ask(asked).await;
        if paid.is_none() {
            self.owed.fetch_or(owed, Ordering::SeqCst);
        }
        paid
    }

    /// Asks whether it is there; why not, if it is not.
    pub(crate) async fn look(&self) -> Option<String> {
        let _: Option<String> = self.ask(redis::cmd("PING")).await;
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn name_of(&self, key: &str) -> String {
        let digest = Sha256::new().chain_update(self.salt.as_bytes()).chain_update(key).finalize();
        format!("{}:answer:{}", self.prefix, hex(&digest))
    }

    fn generation_of(&self, kind: Kind) -> String {
        format!("{}:generation:{}", self.prefix, kind.as_str())
    }

    /// The answer to one command. Whatever goes wrong, the Redis is left alone for a while.
    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Option<T> {
        let mut connection = self.connection().await?;
        let why = match timeout(PATIENCE, command.query_async(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.note(None);
                return Some(answer);
            }
            Ok(Err(err)) => err.to_string(),
            Err(_) => format!("it did not answer within {} ms", PATIENCE.as_millis()),
        };
        *self.way.lock().await = self.close(&why);
        None
    }

    async fn connection(&self) -> Option<MultiplexedConnection> {
        let mut way = self.way.lock().await;
        match &*way {
            Way::Open(connection) => return Some(connection.clone()),
            Way::Closed { until } if *until > Instant::now() => return None,
            Way::Closed { .. } | Way::Unknown => {}
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let made = self.client.get_multiplexed_async_connection_with_config(&config);
        let why = match timeout(PATIENCE, made).await {
            Ok(Ok(connection)) => {
                *way = Way::Open(connection.clone());
                return Some(connection);
            }
            Ok(Err(err)) => err.to_string(),
            Err(_) => format!("it lets nobody in within {} ms", PATIENCE.as_millis()),
        };
        *way = self.close(&why);
        None
    }

    fn close(&self, why: &str) -> Way {
        self.note(Some(why));
        // What was said to it last may not have arrived.
        self.owe(Kind::ALL);
        Way::Closed { until: Instant::now() + REST }
    }

    /// Says it once when it goes away, and once when it is back.
    fn note(&self, why: Option<&str>) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*fault, why) {
            (None, Some(why)) => {
                tracing::warn!(
                    why,
                    "the Redis of `cache.url` cannot be used: calls go on, and no answer is cached"
                );
            }
            (Some(_), None) => tracing::info!("the Redis of `cache.url` can be used again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *fault = why.map(str::to_owned);
    }
}

/// One bit for each.
fn bits(kinds: &[Kind]) -> u32 {
    kinds.iter().fold(0, |bits, kind| bits | (1 << (*kind as u32)))
}

/// Names this host, and the container in it that this is: another one has other containers, units and packages.
fn host() -> String {
    let mut face = String::new();
    for file in FACES {
        face.push_str(&std::fs::read_to_string(file).unwrap_or_default());
    }
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(face, "{}", space.display());
    hex(&Sha256::digest(face)).chars().take(16).collect()
}
