//! Who tells the cache that something changed without a call of ours: the container engine and systemd. They are listened to with no
//! right that the caller has not, and nothing of what they tell is kept.

use skynet_cache::{Heard, Source};
use skynet_core::{Caller, Error, Kind, Result};
use skynet_engine::Engine;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use zbus::{Connection, MatchRule, MessageStream, message};

/// So long a bus may take until it lets somebody listen.
const PATIENCE: Duration = Duration::from_secs(5);

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Units, jobs and the manager itself are below it.
const OBJECTS: &str = "/org/freedesktop/systemd1";

/// Signals that wait until they are looked at; more wait at the bus.
const QUEUED: usize = 64;

/// All of them.
pub(crate) fn all(engine: &Arc<Engine>) -> Vec<Arc<dyn Source>> {
    vec![Arc::new(OfEngine(engine.clone())), Arc::new(OfSystemd)]
}

struct OfEngine(Arc<Engine>);

#[async_trait::async_trait]
impl Source for OfEngine {
    fn name(&self) -> &'static str {
        "events of the container engine"
    }

    fn kinds(&self) -> &'static [Kind] {
        Kind::OF_ENGINE
    }

    async fn listen(&self, caller: &Caller, heard: &Heard) -> Result<()> {
        // One event may change several lists: of a container that is gone, those of its networks and its image as well.
        self.0.listen(caller.connection.clone(), || heard.begin(), || heard.change()).await
    }
}

struct OfSystemd;

#[async_trait::async_trait]
impl Source for OfSystemd {
    fn name(&self) -> &'static str {
        "signals of systemd"
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Units]
    }

    async fn listen(&self, _caller: &Caller, heard: &Heard) -> Result<()> {
        let silent = |err| Error::unavailable("no systemd answers on the bus of this host").with_source(err);
        let late = |_| Error::unavailable("the bus of this host lets nobody listen in time");
        let (_connection, mut signals) =
            timeout(PATIENCE, subscribe()).await.map_err(late)?.map_err(silent)?;
        heard.begin();
        while let Some(signal) = signals.next().await {
            signal.map_err(silent)?;
            heard.change();
        }
        Ok(())
    }
}

/// The host's systemd tells of units only while somebody wants it told (org.freedesktop.systemd1(5), `Subscribe`), which ends with the
/// connection. Everybody may.
async fn subscribe() -> zbus::Result<(Connection, MessageStream)> {
    let connection = Connection::system().await?;
    // Of units and jobs, that they come and go and are otherwise; of the manager, that it reads its files again.
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(SYSTEMD)?
        .path_namespace(OBJECTS)?
        .build();
    let signals = MessageStream::for_match_rule(rule, &connection, Some(QUEUED)).await?;
    connection
        .call_method(Some(SYSTEMD), OBJECTS, Some("org.freedesktop.systemd1.Manager"), "Subscribe", &())
        .await?;
    Ok((connection, signals))
}
