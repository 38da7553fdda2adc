//! Telling clients what changed: the list of tools, and the resources they asked to hear of.

use super::{
    Inbox,
    files::{FileNews, Files},
    handler::{Handler, title},
    resources::{self, SESSION_AUDIT},
    retry::{self, Tries},
    wire::RawRequest,
};
use crate::sessions::Sessions;
use bytes::Bytes;
use rmcp::{
    RoleServer,
    model::ResourceUpdatedNotificationParam,
    service::{Peer, SubscriptionSendError, SubscriptionSink},
};
use skynet_catalog::{Catalog, Viewer};
use skynet_core::{CallId, Error};
use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc, watch,
};
use uuid::Uuid;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Tools,
    Resource(String),
    /// The last of a resource. No message of the protocol takes back one subscription of several, so it is told as a change:
    /// who looks then is told why there is no more to hear.
    Ended(String),
}

/// Waits for what concerns one client.
pub(super) struct Watch {
    catalog: Arc<Catalog>,
    viewer: Viewer,
    session: Uuid,
    changes: watch::Receiver<u64>,
    recorded: broadcast::Receiver<Uuid>,
    /// What happened to files.
    files: Option<mpsc::Receiver<FileNews>>,
    listed: Vec<&'static str>,
}

impl Watch {
    pub(super) fn new(
        catalog: &Arc<Catalog>,
        viewer: Viewer,
        session: Uuid,
        recorded: broadcast::Receiver<Uuid>,
        files: Option<mpsc::Receiver<FileNews>>,
    ) -> Self {
        let changes = catalog.changes();
        let listed = names(catalog, &viewer);
        Self { catalog: catalog.clone(), viewer, session, changes, recorded, files, listed }
    }

    /// The next news; `None` when no more can come.
    async fn next(&mut self) -> Option<News> {
        loop {
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.ok()?;
                    // Somebody's list changed; whether this one's did is seen by looking.
                    let listed = names(&self.catalog, &self.viewer);
                    if listed != self.listed {
                        self.listed = listed;
                        return Some(News::Tools);
                    }
                }
                Some(news) = next_of(&mut self.files) => return Some(match news {
                    FileNews::Changed(uri) => News::Resource(uri),
                    FileNews::Ended(uri) => News::Ended(uri),
                }),
                session = self.recorded.recv() => match session {
                    Ok(session) if session == self.session => return Some(News::Resource(SESSION_AUDIT.into())),
                    Ok(_) => {}
                    // Something was missed; it may have been ours.
                    Err(RecvError::Lagged(_)) => return Some(News::Resource(SESSION_AUDIT.into())),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

/// The next of what may never come.
async fn next_of(files: &mut Option<mpsc::Receiver<FileNews>>) -> Option<FileNews> {
    match files {
        Some(files) => files.recv().await,
        None => pending().await,
    }
}

fn names(catalog: &Catalog, viewer: &Viewer) -> Vec<&'static str> {
    catalog.listed(viewer).iter().map(|entry| entry.name).collect()
}

/// What a client with a session subscribed to, by URI.
pub(super) type Subscribed = Arc<Mutex<HashSet<String>>>;

/// Tells a client with a session, until the session ends.
pub(super) async fn tell(
    mut watch: Watch,
    peer: Peer<RoleServer>,
    subscribed: Subscribed,
    sessions: Arc<Sessions>,
    inbox: Arc<Inbox>,
) {
    let session = watch.session;
    let hears = |uri: &str| subscribed.lock().unwrap_or_else(PoisonError::into_inner).contains(uri);
    let telling = async {
        while let Some(news) = watch.next().await {
            let told = match news {
                News::Tools => peer.notify_tool_list_changed().await,
                News::Resource(uri) | News::Ended(uri) if !hears(&uri) => continue,
                News::Resource(uri) => {
                    peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
                }
                News::Ended(uri) => {
                    // Before it is told, for a client that asks for it anew then.
                    subscribed.lock().unwrap_or_else(PoisonError::into_inner).remove(&uri);
                    sessions.unsubscribe(session, &uri);
                    peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
                }
            };
            if told.is_err() {
                return;
            }
        }
    };
    while_open(&inbox, telling).await;
}

/// Goes on with what a client with a session subscribed to over an earlier connection, perhaps to an earlier daemon.
pub(super) async fn resume(handler: &Handler, resumed: Vec<(String, CallId)>, peer: &Peer<RoleServer>) {
    let (sessions, session) = (&handler.desk.sessions, handler.session);
    let client = peer.peer_info().map(|info| title(&info.client_info));
    let resuming = async {
        let mut tries = Tries::new(resumed);
        while let Some(one) = tries.next().await {
            let (uri, call) = &one.what;
            // It may have been given up meanwhile, or asked for anew.
            if !sessions.is_subscribed(session, uri) || is_told(handler, uri) {
                continue;
            }
            match follow_again(handler, uri, *call, client.as_ref()).await {
                Ok(()) if sessions.is_subscribed(session, uri) => {
                    handler.subscribed.lock().unwrap_or_else(PoisonError::into_inner).insert(uri.clone());
                }
                Ok(()) => {
                    handler.files.forget(uri);
                    continue;
                }
                Err(err) if retry::passes(err.kind) => {
                    tracing::info!(uri, error = %err, "a file that a client hears of is not watched yet");
                    tries.again(one);
                    continue;
                }
                Err(err) => {
                    tracing::info!(uri, error = %err, "what a client heard of is not told any more");
                    sessions.unsubscribe(session, uri);
                }
            }
            // What happened since the last connection nobody saw; and of what has ended, it is the last news. A connection that
            // is gone ends this.
            let _ = peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri.clone())).await;
        }
    };
    while_open(&handler.inbox, resuming).await;
}

/// Whether a client with a session is told of a resource over this connection.
fn is_told(handler: &Handler, uri: &str) -> bool {
    handler.subscribed.lock().unwrap_or_else(PoisonError::into_inner).contains(uri)
}

/// Follows a file as the call did that asked for it, and asks as that call whether the client may know of it.
async fn follow_again(
    handler: &Handler,
    uri: &str,
    call: CallId,
    client: Option<&Arc<str>>,
) -> Result<(), Error> {
    if !resources::is_file(uri) {
        return Ok(());
    }
    let (arguments, client) = (Bytes::new(), client.cloned());
    let raw = RawRequest { call, resend: true, arguments, client, slot: Arc::default() };
    handler.files.follow(handler, &raw, uri).await
}

/// Follows the files of one `subscriptions/listen`, each until it is watched or never will be.
pub(super) async fn follow(handler: &Handler, files: &Files, raw: &RawRequest, sink: &SubscriptionSink) {
    let wanted = sink.accepted().resource_subscriptions.iter().flatten();
    let wanted = wanted.filter(|uri| resources::is_file(uri)).zip(1..);
    let mut tries = Tries::new(wanted.map(|(uri, index)| {
        // Each of them is asked for by a call of its own.
        let call = CallId { index, ..raw.call };
        (uri.as_str(), RawRequest { call, ..raw.clone() })
    }));
    loop {
        if tries.are_all_tried() {
            // It stays open for as long as the client does: it must not take the place of a request that works.
            raw.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let Some(one) = tries.next().await else { return };
        let (uri, asked) = &one.what;
        match files.follow(handler, asked, uri).await {
            Ok(()) => {}
            Err(err) if retry::passes(err.kind) => {
                tracing::info!(uri, error = %err, "a file that a client listens to is not watched yet");
                tries.again(one);
                continue;
            }
            // One that may not be read is no reason to tell nothing of the others.
            Err(err) => tracing::info!(uri, error = %err, "a file that a client listens to is not watched"),
        }
        // It was promised before it was watched, so the client looks at it now; of one that never will be it is the last news.
        // A connection that is gone ends the listening.
        let _ = sink.notify_resource_updated(*uri).await;
    }
}

/// Tells the client of one `subscriptions/listen`, until it or the connection ends. The sink drops what was not
/// asked for.
pub(super) async fn listen(mut watch: Watch, sink: SubscriptionSink, inbox: Arc<Inbox>) {
    let telling = async {
        while let Some(news) = watch.next().await {
            let told = match news {
                News::Tools => sink.notify_tool_list_changed().await,
                News::Resource(uri) | News::Ended(uri) => sink.notify_resource_updated(uri).await,
            };
            match told {
                Ok(()) | Err(SubscriptionSendError::NotificationNotAccepted(_)) => {}
                Err(_) => return,
            }
        }
    };
    while_open(&inbox, telling).await;
}

/// Nobody hears anything once the connection closes.
async fn while_open(inbox: &Inbox, telling: impl Future<Output = ()>) {
    tokio::select! {
        () = telling => {}
        () = inbox.closing().cancelled() => {}
    }
}
