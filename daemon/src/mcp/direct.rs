//! Tool calls of a session with a handshake, past rmcp.
//!
//! Of a call without `_meta` in such a session rmcp asks nothing. It would only read it again, start one task for it and
//! one for its answer, and pass both through its loop. All that means something to the protocol stays rmcp's: the
//! handshake, every other method, calls with `_meta`, and the revision that negotiates with each request.

use super::{
    envelope::{Body, Kind},
    handler::Handler,
    inbox::Taken,
    wire::{self, RawRequest},
};
use rmcp::{
    RoleServer, ServerHandler as _,
    model::{CallToolRequestParams, JsonRpcMessage, RequestId, ServerResult},
    service::{Peer, RequestContext},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// The calls of one connection that rmcp does not see.
pub(super) struct Direct {
    handler: Arc<Handler>,
    /// Once there was a handshake: the client, for questions and progress.
    peer: OnceLock<Peer<RoleServer>>,
    running: Mutex<HashMap<RequestId, CancellationToken>>,
    ended: CancellationToken,
}

impl Direct {
    pub(super) fn new(handler: Arc<Handler>) -> Self {
        Self { handler, peer: OnceLock::new(), running: Mutex::default(), ended: CancellationToken::new() }
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
            running.cancel();
            return None;
        }
        let is_plain = matches!(&taken.envelope.body, Body::Call { members, .. } if members.is_empty());
        let Some(peer) = self.peer.get().filter(|_| is_plain) else { return Some(taken) };
        let Body::Call { id, name, arguments, .. } = taken.envelope.body else { return None };
        let mut context = RequestContext::new(id.clone(), peer.clone());
        context.ct = self.ended.child_token();
        context.extensions.insert(RawRequest {
            call: taken.call,
            resend: taken.resend,
            arguments,
            slot: Arc::new(Mutex::new(taken.slot)),
        });
        self.lock().insert(id, context.ct.clone());
        tokio::spawn(self.clone().answer(name, context));
        None
    }

    async fn answer(self: Arc<Self>, name: String, context: RequestContext<RoleServer>) {
        let Handler { inbox, splices, .. } = &*self.handler;
        let (id, canceled) = (context.id.clone(), context.ct.clone());
        let answer = self.handler.call_tool(CallToolRequestParams::new(name), context).await;
        // A request that was canceled gets no answer (MCP, cancellation), and its id may be in use again.
        if canceled.is_cancelled() {
            if answer.is_ok() {
                splices.forget(&id);
            }
            return;
        }
        self.lock().remove(&id);
        let message = match answer {
            Ok(answer) => {
                let mut result = ServerResult::from(answer);
                result.strip_result_type_for_legacy_peer();
                JsonRpcMessage::response(result, id)
            }
            Err(error) => JsonRpcMessage::error(error, Some(id)),
        };
        let (id, line) = wire::write(&message, splices, inbox);
        inbox.settle(id.as_ref(), line).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
