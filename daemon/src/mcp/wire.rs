//! rmcp's transport over an inbox: typed messages to lines and back.

use super::{
    direct::Direct,
    envelope::{Body, Kind, error_json, request_of},
    inbox::{Inbox, Taken},
    names::Names,
    questions::Questions,
    result::{self, Splices},
};
use bytes::Bytes;
use rmcp::{
    RoleServer,
    model::{
        CallToolRequest, ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode,
        GetExtensions as _, GetMeta as _, JsonRpcMessage, RequestId, ServerNotification, ServerResult,
    },
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use skynet_core::{Answer, CallId, call::Slot};
use skynet_proto::MAX_FRAME_BYTES;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What rmcp does not carry of a request, found again in its extensions.
#[derive(Clone)]
pub(super) struct RawRequest {
    pub(super) call: CallId,
    pub(super) resend: bool,
    pub(super) arguments: Bytes,
    /// What the client calls itself, for the calls that a request of another method makes.
    pub(super) client: Option<Arc<str>>,
    /// Taken by a tool call; held to the end by any other request.
    pub(super) slot: Arc<Mutex<Option<Slot>>>,
}

/// In the extensions of our own requests and notifications: the frame under way that they are about.
#[derive(Clone, Copy)]
pub(super) struct About(pub(super) u64);

/// One connection as rmcp sees it.
pub(super) struct Wire {
    inbox: Arc<Inbox>,
    splices: Arc<Splices>,
    direct: Arc<Direct>,
    /// Marks the ids of our own requests, so that an answer meant for an earlier connection is not taken for one
    /// of this.
    nonce: String,
    questions: Questions,
    names: Names,
    has_begun: bool,
}

/// One connection listens so many times at once (`subscriptions/listen`); each of these can be for many resources.
const MOST_LISTENING: usize = 16;

/// What a message to the client is about, besides what it says.
enum Concern {
    /// The frame under way of that number; 0 for none.
    Frame(u64),
    /// It begins what the frame of that number asked to hear.
    Opening(u64),
    /// It takes a question back that was asked about that frame, once that is on its way.
    Withdrawal(u64, CancellationToken),
    /// It takes a question back that was answered meanwhile.
    Nothing,
}

impl Wire {
    pub(super) fn new(inbox: Arc<Inbox>, splices: Arc<Splices>, direct: Arc<Direct>) -> Self {
        let nonce = format!("{}-", Uuid::new_v4().as_simple());
        let questions = Questions::default();
        Self { inbox, splices, direct, nonce, questions, names: Names::new(), has_begun: false }
    }

    /// The message for rmcp; `None` if there is nothing to hand over.
    async fn admit(&mut self, taken: Taken) -> Option<ClientJsonRpcMessage> {
        let is_request = matches!(taken.envelope.kind, Kind::Request(_));
        if !self.has_begun && !is_request {
            // rmcp ends a session that starts with anything else.
            tracing::debug!("a message before the first request was dropped");
            return None;
        }
        let (read, arguments) = read(taken.envelope.body);
        let mut message = match read {
            Ok(message) => message,
            Err(err) => {
                if let Kind::Request(id) = &taken.envelope.kind {
                    self.refuse(id, taken.call, &format!("the parameters do not fit the method: {err}"));
                }
                return None;
            }
        };
        match &mut message {
            JsonRpcMessage::Request(request) => {
                self.has_begun = true;
                let is_listening = matches!(request.request, ClientRequest::SubscriptionsListenRequest(_));
                // Before rmcp tells the client that it hears something.
                if is_listening && self.names.listening() >= MOST_LISTENING {
                    let message = format!(
                        "this connection listens {MOST_LISTENING} times already; cancel one `subscriptions/listen`, or ask for more in one of them"
                    );
                    self.refuse(&request.id, taken.call, &message);
                    return None;
                }
                request.id = self.names.hand_over(request.id.clone(), taken.call);
                if is_listening {
                    self.names.listens(request.id.clone());
                }
                if matches!(request.request, ClientRequest::CallToolRequest(_)) {
                    self.splices.expect(request.id.clone());
                }
                request.request.extensions_mut().insert(RawRequest {
                    call: taken.call,
                    resend: taken.resend,
                    arguments,
                    client: None,
                    slot: Arc::new(Mutex::new(taken.slot)),
                });
            }
            JsonRpcMessage::Response(response) => response.id = self.asked(&response.id)?,
            JsonRpcMessage::Error(error) => error.id = Some(self.asked(error.id.as_ref()?)?),
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(canceled) = &mut notification.notification
                    && let Some(id) = canceled.params.request_id.take()
                {
                    let name = self.names.cancel(id);
                    drop(self.splices.take(&name));
                    canceled.params.request_id = Some(name);
                }
            }
        }
        Some(message)
    }

    /// Answers a request that rmcp does not see.
    fn refuse(&self, id: &RequestId, call: CallId, message: &str) {
        let answer = error_json(Some(id), ErrorCode::INVALID_PARAMS.0, message);
        // In a task of its own, because rmcp drops the future of whoever refuses at every other event.
        let (inbox, id) = (self.inbox.clone(), id.clone());
        tokio::spawn(async move { inbox.settle(&id, call, answer).await });
    }

    /// Puts the client's ids in place of rmcp's; returns the request that is answered.
    fn name_back(&mut self, item: &mut TxJsonRpcMessage<RoleServer>) -> Option<(CallId, RequestId)> {
        let name = match item {
            JsonRpcMessage::Response(response) => Some(&mut response.id),
            JsonRpcMessage::Error(error) => error.id.as_mut(),
            JsonRpcMessage::Request(_) => None,
            JsonRpcMessage::Notification(notification) => {
                // A subscription is known by the id of the request that began it.
                let name = notification.notification.get_meta().subscription_id();
                if let Some(id) = name.and_then(|name| self.names.of_client(&name)) {
                    notification.notification.get_meta_mut().set_subscription_id(id.clone());
                }
                None
            }
        }?;
        let (call, id) = self.names.answered(name)?;
        name.clone_from(&id);
        if let JsonRpcMessage::Response(response) = item
            && let ServerResult::SubscriptionsListenResult(result) = &mut response.result
        {
            result.meta.set_subscription_id(id.clone());
        }
        Some((call, id))
    }

    /// The request of ours that is answered; `None` if nobody waits for that.
    fn asked(&self, id: &RequestId) -> Option<RequestId> {
        let own = match id {
            RequestId::String(text) => {
                text.strip_prefix(&self.nonce).and_then(|number| number.parse().ok()).map(RequestId::Number)
            }
            RequestId::Number(_) => None,
        };
        let asked = own.filter(|own| self.questions.answer(own));
        if asked.is_none() {
            tracing::info!("an answer of the client is to nothing that is asked, and counts for nothing");
        }
        asked
    }

    /// What the client knows a request of ours by.
    fn named(&self, id: &RequestId) -> RequestId {
        RequestId::String(format!("{}{}", self.nonce, id.clone().into_json_value()).into())
    }

    /// What a message is about. Puts our names in place of rmcp's.
    fn concern(&self, item: &mut TxJsonRpcMessage<RoleServer>) -> Concern {
        let frame = |about: Option<&About>| about.map_or(0, |About(sequence)| *sequence);
        match item {
            JsonRpcMessage::Request(request) => Concern::Frame(frame(request.request.extensions().get())),
            JsonRpcMessage::Notification(notification) => {
                let about = frame(notification.notification.extensions().get());
                match &mut notification.notification {
                    ServerNotification::CancelledNotification(canceled) => {
                        let id = canceled.params.request_id.take();
                        let sent = id.as_ref().and_then(|id| self.questions.withdraw(id));
                        canceled.params.request_id = id.map(|id| self.named(&id));
                        sent.map_or(Concern::Nothing, |sent| Concern::Withdrawal(about, sent))
                    }
                    ServerNotification::SubscriptionsAcknowledgedNotification(_) => {
                        let name = notification.notification.get_meta().subscription_id();
                        Concern::Opening(name.and_then(|name| self.names.frame_of(&name)).unwrap_or_default())
                    }
                    _ => Concern::Frame(about),
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => Concern::Frame(0),
        }
    }
}

impl Transport<RoleServer> for Wire {
    type Error = Infallible;

    fn send(
        &mut self,
        mut item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let inbox = self.inbox.clone();
        let mut asking = None;
        if let JsonRpcMessage::Request(request) = &mut item {
            asking = Some(self.questions.ask(request.id.clone()));
            request.id = self.named(&request.id);
        }
        if let JsonRpcMessage::Response(response) = &item
            && let ServerResult::InitializeResult(result) = &response.result
        {
            inbox.set_revision(result.protocol_version.as_str());
        }
        let concern = self.concern(&mut item);
        let answer = match &item {
            JsonRpcMessage::Response(response) => self.splices.take(&response.id),
            // It has none, and no other response comes.
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(|id| self.splices.take(id)),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let answered = self.name_back(&mut item);
        let line = write(&item, answer.as_ref(), answered.as_ref().map(|(_, id)| id), &inbox);
        // What answers a request that was canceled is nobody's.
        let is_nobodys = answered.is_none()
            && match &item {
                JsonRpcMessage::Response(_) => true,
                JsonRpcMessage::Error(error) => error.id.is_some(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => false,
            };
        async move {
            match (&answered, concern) {
                (Some((call, id)), _) => inbox.settle(id, *call, line).await,
                (None, _) if is_nobodys => {}
                (None, Concern::Nothing) => {}
                (None, Concern::Frame(about)) => inbox.send(0, about, line).await,
                (None, Concern::Opening(frame)) => inbox.open(frame, line).await,
                (None, Concern::Withdrawal(about, sent)) => {
                    // A client that is told of a question after it was withdrawn would ask it.
                    sent.cancelled().await;
                    let about = if inbox.is_under_way(about) { about } else { 0 };
                    inbox.send(0, about, line).await;
                }
            }
            drop(asking);
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let taken = self.inbox.take().await?;
            let Some(taken) = self.direct.take(taken) else { continue };
            if let Some(message) = self.admit(taken).await {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        self.direct.end();
        Ok(())
    }
}

/// The message for rmcp, and the arguments that are kept from it.
fn read(body: Body) -> (serde_json::Result<ClientJsonRpcMessage>, Bytes) {
    match body {
        Body::Line(line) | Body::Ping { line, .. } => (serde_json::from_slice(&line), Bytes::new()),
        Body::Call { id, name, members, arguments } => {
            let request = serde_json::from_str::<CallToolRequest>(&request_of(&name, &members));
            let message =
                request.map(|request| JsonRpcMessage::request(ClientRequest::CallToolRequest(request), id));
            (message, arguments)
        }
    }
}

/// A message as a line: `answer` in place of its placeholder, as what answers the request of that id.
pub(super) fn write(
    item: &TxJsonRpcMessage<RoleServer>,
    answer: Option<&Answer>,
    id: Option<&RequestId>,
    inbox: &Inbox,
) -> Bytes {
    let line = match item {
        JsonRpcMessage::Response(response) => result::encode(response, answer, &inbox.revision()),
        JsonRpcMessage::Error(_) | JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => {
            encode(item)
        }
    };
    if line.len() < MAX_FRAME_BYTES {
        return line;
    }
    // It would break the connection, and the shim would ask for it again on the next.
    error_json(id, ErrorCode::INTERNAL_ERROR.0, "the answer is too long; ask for less, or in parts")
}

fn encode(item: &TxJsonRpcMessage<RoleServer>) -> Bytes {
    serde_json::to_vec(item)
        .unwrap_or_else(|err| {
            tracing::error!(error = %err, "a message of rmcp cannot be written");
            Vec::new()
        })
        .into()
}
