//! Telling clients what changed: the list of tools, and the resources they asked to hear of.

use super::{
    Inbox,
    files::TRY_AGAIN_AFTER,
    handler::Handler,
    resources::{self, SESSION_AUDIT},
    wire::RawRequest,
};
use bytes::Bytes;
use rmcp::{
    ErrorData, RoleServer,
    model::{ErrorCode, ResourceUpdatedNotificationParam},
    service::{Peer, SubscriptionSendError, SubscriptionSink},
};
use skynet_catalog::{Catalog, Viewer};
use skynet_core::CallId;
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
}

/// Waits for what concerns one client.
pub(super) struct Watch {
    catalog: Arc<Catalog>,
    viewer: Viewer,
    session: Uuid,
    changes: watch::Receiver<u64>,
    recorded: broadcast::Receiver<Uuid>,
    /// The URIs of files that changed.
    files: Option<mpsc::Receiver<String>>,
    listed: Vec<&'static str>,
}

impl Watch {
    pub(super) fn new(
        catalog: &Arc<Catalog>,
        viewer: Viewer,
        session: Uuid,
        recorded: broadcast::Receiver<Uuid>,
        files: Option<mpsc::Receiver<String>>,
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
                Some(uri) = next_of(&mut self.files) => return Some(News::Resource(uri)),
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
async fn next_of(files: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
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
    inbox: Arc<Inbox>,
) {
    let telling = async {
        while let Some(news) = watch.next().await {
            let told = match news {
                News::Tools => peer.notify_tool_list_changed().await,
                News::Resource(uri) => {
                    if !subscribed.lock().unwrap_or_else(PoisonError::into_inner).contains(&uri) {
                        continue;
                    }
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
    let resuming = async {
        for (uri, call) in resumed {
            if let Err(err) = follow_again(handler, &uri, call).await {
                tracing::info!(uri, error = %err, "what a client heard of is not told any more");
                handler.desk.sessions.unsubscribe(handler.session, &uri);
            }
            // It may have been given up meanwhile.
            if !handler.desk.sessions.is_subscribed(handler.session, &uri) {
                handler.files.forget(&uri);
                continue;
            }
            handler.subscribed.lock().unwrap_or_else(PoisonError::into_inner).insert(uri.clone());
            // What happened since the last connection nobody saw. A connection that is gone ends this.
            let _ = peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await;
        }
    };
    while_open(&handler.inbox, resuming).await;
}

/// Follows a file as the call did that asked for it, and asks as that call whether the client may know of it.
async fn follow_again(handler: &Handler, uri: &str, call: CallId) -> Result<(), ErrorData> {
    if !resources::is_file(uri) {
        return Ok(());
    }
    let raw = RawRequest { call, resend: true, arguments: Bytes::new(), slot: Arc::default() };
    loop {
        match handler.files.follow(handler, &raw, uri).await {
            // Hands may not be there yet; a refusal is for good.
            Err(err) if err.code == ErrorCode::INTERNAL_ERROR => {
                tracing::warn!(uri, error = %err, "a file that a client hears of is not watched");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            other => return other,
        }
    }
}

/// Tells the client of one `subscriptions/listen`, until it or the connection ends. The sink drops what was not
/// asked for.
pub(super) async fn listen(mut watch: Watch, sink: SubscriptionSink, inbox: Arc<Inbox>) {
    let telling = async {
        while let Some(news) = watch.next().await {
            let told = match news {
                News::Tools => sink.notify_tool_list_changed().await,
                News::Resource(uri) => sink.notify_resource_updated(uri).await,
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
