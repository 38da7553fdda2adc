//! What is given again and what is not, without a Redis.

use super::*;
use async_trait::async_trait;
use skynet_core::Connection;
use std::path::Path;
use tokio::sync::{Notify, mpsc};

fn caller(uid: u32) -> Caller {
    Caller {
        uid,
        user: uid.to_string().into(),
        groups: Arc::from([]),
        pid: 1,
        client: "test".into(),
        workspace: None,
        no_workspace: None,
        token: None,
        home: Arc::from(Path::new("/nonexistent")),
        connection: Connection::own(),
        ssh_agent: None,
    }
}

fn embedded() -> Arc<Cache> {
    let text = "[ttl_seconds]\ncontainers = 3600\nunits = 3600\nimages = 0\n";
    Cache::open(toml::from_str(text).unwrap()).unwrap()
}

/// Looks, and keeps `json` if nothing was found; what was found.
async fn ask(cache: &Cache, kind: Kind, json: &'static str) -> Option<Bytes> {
    let looked = cache.look(kind, kind.as_str().into(), &caller(7)).await;
    if let (None, Some(ticket)) = (&looked.found, looked.ticket) {
        cache.keep(ticket, &Bytes::from_static(json.as_bytes())).await;
    }
    looked.found
}

#[tokio::test]
async fn a_call_that_alters_empties_its_kinds_and_no_others() {
    let cache = embedded();
    for kind in [Kind::Containers, Kind::Units] {
        assert_eq!(ask(&cache, kind, kind.as_str()).await, None);
        assert_eq!(ask(&cache, kind, "other").await, Some(Bytes::from_static(kind.as_str().as_bytes())));
    }
    let altering = cache.alter(&[Kind::Containers]).await;
    // While it is under way nothing of the kind is given or kept.
    for _ in 0..2 {
        assert_eq!(ask(&cache, Kind::Containers, "between").await, None);
    }
    assert!(ask(&cache, Kind::Units, "new").await.is_some());
    cache.altered(altering).await;
    assert_eq!(ask(&cache, Kind::Containers, "after").await, None);
    assert!(ask(&cache, Kind::Containers, "later").await.is_some());
    // One that is given up has altered as well.
    drop(cache.alter(&[Kind::Containers]).await);
    assert_eq!(ask(&cache, Kind::Containers, "after").await, None);
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    let cache = embedded();
    let looked = cache.look(Kind::Units, Kind::Units.as_str().into(), &caller(7)).await;
    let altering = cache.alter(Kind::ALL).await;
    cache.altered(altering).await;
    cache.keep(looked.ticket.unwrap(), &Bytes::from_static(b"stale")).await;
    assert_eq!(ask(&cache, Kind::Units, "true").await, None);
}

#[tokio::test]
async fn a_kind_without_a_time_and_a_cache_that_is_off_keep_nothing() {
    let off = Cache::open(toml::from_str("backend = 'off'").unwrap()).unwrap();
    for (cache, kind) in [(embedded(), Kind::Images), (off, Kind::Units)] {
        let looked = cache.look(kind, "key".into(), &caller(7)).await;
        assert!(looked.found.is_none() && looked.ticket.is_none());
    }
}

/// Tells when it is let.
struct Bell {
    begin: Notify,
    rings: tokio::sync::Mutex<mpsc::Receiver<()>>,
    heard: Notify,
}

#[async_trait]
impl Source for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Units]
    }

    async fn listen(&self, _caller: &Caller, heard: &Heard) -> skynet_core::Result<()> {
        self.begin.notified().await;
        heard.begin();
        self.heard.notify_one();
        while self.rings.lock().await.recv().await.is_some() {
            heard.change();
            self.heard.notify_one();
        }
        Ok(())
    }
}

#[tokio::test]
async fn events_empty_their_kind_and_nothing_is_kept_before_they_are_heard() {
    let cache = embedded();
    let (ring, rings) = mpsc::channel(1);
    let bell =
        Arc::new(Bell { begin: Notify::new(), rings: tokio::sync::Mutex::new(rings), heard: Notify::new() });
    cache.listen_to(vec![bell.clone()]);
    for _ in 0..2 {
        assert_eq!(ask(&cache, Kind::Units, "early").await, None);
    }
    bell.begin.notify_one();
    bell.heard.notified().await;
    assert_eq!(ask(&cache, Kind::Units, "one").await, None);
    assert!(ask(&cache, Kind::Units, "two").await.is_some());
    ring.send(()).await.unwrap();
    bell.heard.notified().await;
    assert_eq!(ask(&cache, Kind::Units, "two").await, None);
    assert!(ask(&cache, Kind::Units, "three").await.is_some());
    // Where it is no more, what was kept is not counted on, and from then on its time alone counts.
    drop(ring);
    while ask(&cache, Kind::Units, "four").await != Some(Bytes::from_static(b"four")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_keeps_nothing_and_says_why() {
    let settings = "backend = 'redis'\nurl = 'unix:///nonexistent/redis.sock'\n[ttl_seconds]\nunits = 3600\n";
    let cache = Cache::open(toml::from_str(settings).unwrap()).unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&cache, Kind::Units, "{}").await, None);
    }
    let altering = cache.alter(Kind::ALL).await;
    cache.altered(altering).await;
    assert!(cache.fault().await.is_some());
}
