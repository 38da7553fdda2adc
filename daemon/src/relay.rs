//! The gRPC end of the relay: one attached shim per stream.

use crate::{
    calls::Calls,
    jobs::Jobs,
    mcp::{self, Inbox, Leaving, Outgoing, Traffic},
    people::{Peer, People},
    sessions::Sessions,
};
use skynet_catalog::Catalog;
use skynet_core::Caller;
use skynet_hands::Pool;
use skynet_proto::{
    ClientMessage, ENVELOPE_VERSION, Hello, Reply, ServerMessage, Welcome, client_message::Kind,
    relay_server::Relay, server_message,
};
use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

/// Calls of a client whose connection broke go on for that long, for it to come back.
const ORPHANS_LIVE: Duration = Duration::from_secs(60);

/// Replies on their way to one shim.
const OUTBOUND_FRAMES: usize = 64;

/// In bytes, with its end (limits.h).
const LONGEST_PATH: usize = 4096;

/// What an attached session stands on.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) calls: Arc<Calls>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) people: Arc<People>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) hands: Arc<Pool>,
    pub(crate) mcp: mcp::Server,
    pub(crate) concurrent_requests: usize,
    pub(crate) traffic: Arc<Traffic>,
    /// Set when the daemon is about to end: shims are sent away, to ask the next one.
    pub(crate) stop: CancellationToken,
}

/// Who is at the other end of a connection.
pub(crate) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::permission_denied("the connection has no credentials"))
}

/// Where a client says that its user's SSH agent listens; nobody but that user opens it.
fn agent_of(hello: &Hello) -> Option<Arc<Path>> {
    let named = Some(PathBuf::from(&hello.ssh_agent));
    // A name that is none, or longer than any (path_resolution(7), `PATH_MAX`), is not kept.
    named.filter(|path| path.is_absolute() && path.as_os_str().len() < LONGEST_PATH).map(Arc::from)
}

#[tonic::async_trait]
impl Relay for Desk {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<ClientMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the daemon is stopping"));
        }
        let peer = peer(&request)?;
        let mut inbound = request.into_inner();
        let Some(ClientMessage { kind: Some(Kind::Hello(hello)) }) = inbound.message().await? else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if hello.envelope_version != ENVELOPE_VERSION {
            return Err(Status::failed_precondition(format!(
                "this daemon speaks envelope version {ENVELOPE_VERSION}, the shim {}; install both from one release",
                hello.envelope_version
            )));
        }
        let session = Uuid::from_slice(&hello.session_id)
            .map_err(|_| Status::invalid_argument("a session id has 16 bytes"))?;
        // First of all: who is attached is detached by the conversation alone.
        let caller = self.caller(&peer, "unknown", Some(&hello.workspace)).await?;
        let caller = Caller { ssh_agent: agent_of(&hello), ..caller };
        self.sessions
            .attach(session, peer.uid, peer.pid, &hello.workspace)
            .map_err(|err| Status::permission_denied(err.to_string()))?;

        let (outbound, stream) = mpsc::channel(OUTBOUND_FRAMES);
        let welcome = Welcome { daemon_version: env!("CARGO_PKG_VERSION").into() };
        let welcome = ServerMessage { kind: Some(server_message::Kind::Welcome(welcome)) };
        tokio::spawn(self.clone().converse(session, caller, inbound, outbound));
        let replies = ReceiverStream::new(stream).map(|outgoing: Outgoing| {
            let Outgoing { answers, opens, json, .. } = outgoing;
            let reply = Reply { answers, json, opens };
            ServerMessage { kind: Some(server_message::Kind::Reply(reply)) }
        });
        Ok(Response::new(Box::pin(tokio_stream::once(welcome).chain(replies).map(Ok))))
    }
}

impl Desk {
    /// On whose behalf a peer's calls are made; without a workspace if what it claims is none.
    pub(crate) async fn caller(
        &self,
        peer: &Peer,
        client: &str,
        claim: Option<&str>,
    ) -> Result<Caller, Status> {
        let person = self.people.find(peer.uid).await;
        let person = person.map_err(|err| Status::permission_denied(err.to_string()))?;
        let workspace = match claim {
            Some(claim) => self.people.workspace(peer, &person, claim).await.map(Some),
            None => Ok(None),
        };
        if let Err(reason) = &workspace {
            tracing::info!(claim, reason, "a session has no workspace");
        }
        Ok(Caller {
            uid: peer.uid,
            user: person.name,
            groups: person.groups,
            pid: peer.pid,
            client: client.into(),
            no_workspace: workspace.as_ref().err().map(|reason| reason.as_str().into()),
            workspace: workspace.ok().flatten(),
            token: None,
            home: person.home,
            connection: peer.connection.clone(),
            ssh_agent: None,
        })
    }

    /// Ends what only a session's client could want.
    pub(crate) fn forget(&self, session: Uuid) {
        self.calls.cancel_session(session);
        self.catalog.end_session(session);
    }

    /// Serves MCP over one connection until the client leaves or the connection breaks.
    async fn converse(
        self,
        session: Uuid,
        caller: Caller,
        inbound: Streaming<ClientMessage>,
        outbound: mpsc::Sender<Outgoing>,
    ) {
        let inbox = Arc::new(Inbox::new(session, self.concurrent_requests, outbound, self.traffic.clone()));
        let pump = tokio::spawn(pump(inbound, inbox.clone()));
        tokio::select! {
            () = self.mcp.serve(&self, session, caller, &inbox) => {}
            () = self.stop.cancelled() => inbox.close(Leaving::Lost),
        }
        pump.abort();
        inbox.hang_up();
        let orphan = self.sessions.detach(session);
        match (inbox.leaving(), orphan) {
            (Leaving::Goodbye, _) => {
                self.forget(session);
                self.sessions.end(session);
            }
            (Leaving::Lost, Some(orphan)) => {
                tokio::time::sleep(ORPHANS_LIVE).await;
                // Who came back and left again since has a time of his own.
                if self.sessions.retire(&orphan) {
                    self.forget(session);
                }
            }
            (Leaving::Lost, None) => {}
        }
    }
}

async fn pump(mut inbound: Streaming<ClientMessage>, inbox: Arc<Inbox>) {
    let leaving = loop {
        match inbound.message().await {
            Ok(Some(ClientMessage { kind: Some(Kind::Frame(frame)) })) => {
                // A broken connection must be noticed also while this one waits for room.
                tokio::select! {
                    () = inbox.push(frame) => {}
                    () = inbox.disconnected() => break Leaving::Lost,
                }
            }
            Ok(Some(ClientMessage { kind: Some(Kind::Goodbye(_)) })) => break Leaving::Goodbye,
            Ok(Some(ClientMessage { kind: Some(Kind::Hello(_)) | None })) => {
                tracing::warn!("a shim sent an unexpected message");
            }
            Ok(None) | Err(_) => break Leaving::Lost,
        }
    };
    inbox.close(leaving);
}
