//! Tool calls and pings of a session with a handshake, past rmcp.
//!
//! Of a call without `_meta` in such a session rmcp asks nothing. It would only read it again, start one task for it and
//! one for its answer, and pass both through its loop. All that means something to the protocol stays rmcp's: the
//! handshake, every other method, calls with `_meta`, and the revision that negotiates with each request.

use super::{
    envelope::{Body, Envelope, Kind},
    handler::Handler,
    inbox::Taken,
    wire::{self, RawRequest},
};
use rmcp::{
    RoleServer, ServerHandler as _,
    model::{CallToolRequestParams, JsonRpcMessage, RequestId, ServerResult},
    service::{Peer, RequestContext},
};
use skynet_core::CallId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The calls of one connection that rmcp does not see.
pub(super) struct Direct {
    handler: Arc<Handler>,
    /// Once there was a handshake: the client, for questions and progress.
    peer: OnceLock<Peer<RoleServer>>,
    /// By the ids of the client.
    running: Mutex<HashMap<RequestId, Running>>,
    /// Begins the names that calls have here, so that no id of a client can be one.
    prefix: String,
    ended: CancellationToken,
}

struct Running {
    call: CallId,
    cancel: CancellationToken,
}

impl Direct {
    pub(super) fn new(handler: Arc<Handler>) -> Self {
        Self {
            handler,
            peer: OnceLock::new(),
            running: Mutex::default(),
            prefix: Uuid::new_v4().as_simple().to_string(),
            ended: CancellationToken::new(),
        }
    }

    /// From now on calls may come here, if the client shook hands.
    pub(super) fn open(&self, peer: &Peer<RoleServer>) {
        if peer.peer_info().is_some() {
            self.peer.get_or_init(|| peer.clone());
        }
    }

    /// The connection ended: nobody waits for answers.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Begins a call, or cancels one; gives back what is for rmcp.
    pub(super) fn take(self: &Arc<Self>, taken: Taken) -> Option<Taken> {
        if let Kind::Cancel(id) = &taken.envelope.kind
            && let Some(running) = self.lock().remove(id)
        {
            running.cancel.cancel();
            return None;
        }
        let Some(peer) = self.peer.get() else { return Some(taken) };
        let (call, resend) = (taken.call, taken.resend);
        match taken.envelope.body {
            Body::Ping { id, .. } => {
                let (handler, slot) = (self.handler.clone(), taken.slot);
                tokio::spawn(async move {
                    let pong = ServerResult::empty(());
                    let line = wire::write(
                        &JsonRpcMessage::response(pong, id.clone()),
                        None,
                        Some(&id),
                        &handler.inbox,
                    );
                    handler.inbox.settle(&id, call, line).await;
                    drop(slot);
                });
            }
            Body::Call { id, name, members, arguments } if members.is_empty() => {
                let slot = Arc::new(Mutex::new(taken.slot));
                self.begin(peer, id, name, RawRequest { call, resend, arguments, client: None, slot });
            }
            body => {
                let envelope = Envelope { body, ..taken.envelope };
                return Some(Taken { envelope, ..taken });
            }
        }
        None
    }

    fn begin(self: &Arc<Self>, peer: &Peer<RoleServer>, id: RequestId, tool: String, request: RawRequest) {
        let call = request.call;
        // A client may use its id again once it has canceled; a frame has its number for good.
        let name = RequestId::String(format!("{}/{}.{}", self.prefix, call.sequence, call.index).into());
        self.handler.splices.expect(name.clone());
        let mut context = RequestContext::new(name, peer.clone());
        context.ct = self.ended.child_token();
        context.extensions.insert(request);
        self.lock().insert(id.clone(), Running { call, cancel: context.ct.clone() });
        tokio::spawn(self.clone().answer(tool, id, call, context));
    }

    async fn answer(
        self: Arc<Self>,
        tool: String,
        id: RequestId,
        call: CallId,
        context: RequestContext<RoleServer>,
    ) {
        let Handler { inbox, splices, .. } = &*self.handler;
        let (name, canceled) = (context.id.clone(), context.ct.clone());
        let answer = self.handler.call_tool(CallToolRequestParams::new(tool), context).await;
        let spliced = splices.take(&name);
        {
            let mut running = self.lock();
            if running.get(&id).is_some_and(|running| running.call == call) {
                running.remove(&id);
            }
        }
        // A request that was canceled gets no answer (MCP, cancellation), and its id may be in use again.
        if canceled.is_cancelled() {
            return;
        }
        let message = match answer {
            Ok(answer) => {
                let mut result = ServerResult::from(answer);
                result.strip_result_type_for_legacy_peer();
                JsonRpcMessage::response(result, id.clone())
            }
            Err(error) => JsonRpcMessage::error(error, Some(id.clone())),
        };
        let line = wire::write(&message, spliced.as_ref(), Some(&id), inbox);
        inbox.settle(&id, call, line).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Running>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
