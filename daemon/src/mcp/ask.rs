//! Asking the human at the client: by elicitation where a server may send requests (MCP 2025-06-18 and 2025-11-25), by
//! an answer that asks for input where it may not (2026-07-28, multi round-trip requests).

use super::{states::States, wire::About};
use async_trait::async_trait;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CancelledNotification, CancelledNotificationParam, ClientResult,
        ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
        GetExtensions as _, InputRequest, InputRequiredResult, RequestId, ServerNotification, ServerRequest,
    },
    service::{OriginatingRequestId, Peer, PeerRequestOptions, RequestContext, ServiceError},
};
use skynet_core::{
    Caller,
    call::{Ask, Asked, Question},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// The name of our question among a client's answers.
const KEY: &str = "approval";

/// A client that reads nothing holds up the end of a call for no longer than that.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(1);

/// How to ask through this request's client.
pub(super) enum Dialog {
    /// It shows no dialogs.
    None,
    /// While the call waits.
    Elicit(Arc<Elicit>),
    /// Between two calls.
    Retry(Arc<Retry>),
}

impl Dialog {
    /// For the pipeline.
    pub(super) fn ask(&self) -> Option<Arc<dyn Ask>> {
        match self {
            Self::None => None,
            Self::Elicit(elicit) => Some(elicit.clone()),
            Self::Retry(retry) => Some(retry.clone()),
        }
    }

    /// What the client must ask before the call can run, if it must.
    pub(super) fn question(&self) -> Option<InputRequiredResult> {
        match self {
            Self::Retry(retry) => retry.raised().question.take(),
            Self::None | Self::Elicit(_) => None,
        }
    }

    /// Notes that the call goes on without its request, so that no answer carries a question any more; false if one is raised
    /// already, with which the call ends.
    pub(super) fn put_off(&self) -> bool {
        match self {
            Self::Retry(retry) => {
                let mut raised = retry.raised();
                raised.is_put_off = raised.question.is_none();
                raised.is_put_off
            }
            Self::None | Self::Elicit(_) => true,
        }
    }
}

/// The form: an explicit choice, which a client that accepts dialogs unread does not make.
fn form(question: &str) -> Option<ElicitRequestParams> {
    let schema = ElicitationSchema::builder().required_bool("approve").build().ok()?;
    Some(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: question.to_owned(),
        requested_schema: schema,
    })
}

fn is_agreed(result: &ElicitResult) -> bool {
    let ticked = result.content.as_ref().and_then(|content| content.get("approve")?.as_bool());
    result.action == ElicitationAction::Accept && ticked == Some(true)
}

/// Whether the client declared that it shows forms; a bare declaration means forms (2025-11-25, elicitation).
fn shows_forms(context: &RequestContext<RoleServer>) -> bool {
    let declared = context.client_capabilities().and_then(|capabilities| capabilities.elicitation);
    declared.is_some_and(|elicitation| elicitation.form.is_some() || elicitation.url.is_none())
}

/// A dialog while the call waits.
pub(super) struct Elicit {
    peer: Peer<RoleServer>,
    about: About,
    origin: OriginatingRequestId,
    /// What is asked and not answered.
    open: Mutex<Option<RequestId>>,
}

impl Elicit {
    fn open(&self) -> MutexGuard<'_, Option<RequestId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: ServerRequest) -> Result<ClientResult, ServiceError> {
        let asked = self.peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
        *self.open() = Some(asked.id.clone());
        let answer = asked.await_response().await;
        self.open().take();
        answer
    }
}

#[async_trait]
impl Ask for Elicit {
    async fn ask(&self, question: Question<'_>) -> Asked {
        let Some(form) = form(question.text) else { return Asked::Cannot };
        let mut request = ElicitRequest::new(form);
        request.extensions_mut().insert(self.about);
        request.extensions_mut().insert(self.origin.clone());
        match self.answer(ServerRequest::ElicitRequest(request)).await {
            Ok(ClientResult::ElicitResult(result)) if is_agreed(&result) => Asked::Yes,
            Ok(ClientResult::ElicitResult(_)) => Asked::No,
            Ok(_) => Asked::Cannot,
            Err(err) => {
                tracing::info!(error = %err, "the client could not ask");
                Asked::Cannot
            }
        }
    }

    /// Who asked for something it no longer wants says so, and takes no notice of a later answer (MCP, cancellation).
    async fn withdraw(&self) {
        let Some(id) = self.open().take() else { return };
        let reason = "the call is no longer waiting for an answer".to_owned();
        let mut canceled =
            CancelledNotification::new(CancelledNotificationParam::new(Some(id), Some(reason)));
        canceled.extensions.insert(self.about);
        let told = self.peer.send_notification(ServerNotification::CancelledNotification(canceled));
        // A client that is gone, or reads nothing, has no dialog that could mislead anybody.
        let _ = timeout(WITHDRAWN_WITHIN, told).await;
    }
}

/// A dialog between two calls.
pub(super) struct Retry {
    states: Arc<States>,
    owner: String,
    /// Of a call that was made again: for which question, and what the human said.
    answer: Option<(String, bool)>,
    raised: Mutex<Raised>,
}

/// What the client must ask, if the call has come that far while an answer could tell it.
#[derive(Default)]
struct Raised {
    question: Option<InputRequiredResult>,
    is_put_off: bool,
}

impl Retry {
    fn raised(&self) -> MutexGuard<'_, Raised> {
        // Each change is one field, so a panic leaves it whole.
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ask for Retry {
    async fn ask(&self, question: Question<'_>) -> Asked {
        if let Some((digest, agreed)) = &self.answer {
            // An answer to another question is none to this one: it is asked.
            if digest == question.digest {
                return if *agreed { Asked::Yes } else { Asked::No };
            }
        }
        let mut raised = self.raised();
        if raised.is_put_off {
            // What the task or job answers says how else to approve.
            return Asked::Cannot;
        }
        let (Some(form), Some(state)) = (form(question.text), self.states.seal(&self.owner, question.digest))
        else {
            return Asked::Cannot;
        };
        let requests = [(KEY.to_owned(), InputRequest::Elicitation(ElicitRequest::new(form)))];
        raised.question = Some(InputRequiredResult::new(Some(requests.into()), Some(state)));
        Asked::Later
    }
}

/// How to ask through this request's client.
///
/// # Errors
/// Invalid parameters for a request state that we did not give to this caller, or that was used or is too old.
pub(super) fn through(
    context: &RequestContext<RoleServer>,
    request: &CallToolRequestParams,
    caller: &Caller,
    states: &Arc<States>,
    about: About,
    resend: bool,
) -> Result<Dialog, ErrorData> {
    let is_modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
    let owner = caller.owner();
    let mut answer = None;
    if let Some(state) = &request.request_state {
        // One message for every reason, so that nobody learns what was wrong with a forged one.
        match states.unseal(&owner, state) {
            Some(digest) => {
                let response = request.input_responses.as_ref().and_then(|responses| responses.get(KEY));
                let result =
                    response.and_then(|value| serde_json::from_value::<ElicitResult>(value.clone()).ok());
                answer = Some((digest, result.as_ref().is_some_and(is_agreed)));
            }
            // The same frame again: it joins its call, gets its recorded answer, or the human is asked anew.
            None if resend => {}
            None => {
                let message = "the request state is not one of this server for this caller, was used before, or is too old; make the call again without it";
                return Err(ErrorData::invalid_params(message, None));
            }
        }
    }
    if !shows_forms(context) {
        return Ok(Dialog::None);
    }
    if is_modern {
        let states = states.clone();
        return Ok(Dialog::Retry(Arc::new(Retry { states, owner, answer, raised: Mutex::default() })));
    }
    let origin = OriginatingRequestId(context.id.clone());
    let open = Mutex::default();
    Ok(Dialog::Elicit(Arc::new(Elicit { peer: context.peer.clone(), about, origin, open })))
}
