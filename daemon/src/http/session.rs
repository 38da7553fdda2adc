//! Sessions of the revisions that have them: an id in a header stands for a connection.

use super::{
    Front,
    gate::refuse,
    headers,
    stream::{Place, accepts, respond, sse},
};
use crate::{
    mcp::{Inbox, Leaving, Outgoing, is_answered},
    relay::Desk,
};
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use rmcp::model::ProtocolVersion;
use skynet_core::Caller;
use skynet_proto::Frame;
use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

/// A session that nobody uses ends after that time.
const IDLE: Duration = Duration::from_secs(30 * 60);
const SWEEP_EVERY: Duration = crate::tokens::LOOK_EVERY;

/// More are refused until others end.
const MOST_SESSIONS: usize = 4096;

/// Messages on their way out of one session, and to one of its streams.
const OUTBOUND: usize = 64;

/// One session.
struct Session {
    inbox: Arc<Inbox>,
    /// Only the token that began it may go on with it.
    owner: String,
    /// Its id.
    token: String,
    next: AtomicU64,
    routes: Mutex<Routes>,
}

struct Routes {
    /// The POSTs that wait, by the number of their frame.
    posts: HashMap<u64, mpsc::Sender<Outgoing>>,
    /// The stream for what belongs to no POST.
    stream: Option<mpsc::Sender<Outgoing>>,
    last_used: Instant,
    /// Whether the session has ended.
    is_over: bool,
}

/// All of them, by id.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn find(&self, id: &str, caller: &Caller) -> Option<Arc<Session>> {
        self.lock().get(id).filter(|session| session.owner == caller.owner()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one message; what it leads to comes out of the channel, if it leads to anything.
    async fn post(self: &Arc<Self>, line: Bytes) -> Option<mpsc::Receiver<Outgoing>> {
        let is_answered = is_answered(&line);
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (to_client, for_client) = mpsc::channel(OUTBOUND);
        {
            let mut routes = self.routes();
            routes.last_used = Instant::now();
            // A session that has just ended answers nothing; the channel closes, and the client is told.
            if is_answered && !routes.is_over {
                routes.posts.insert(sequence, to_client);
            }
        }
        // In a task of its own: a client that goes away must not leave half a message behind.
        let own = self.clone();
        let pushed =
            tokio::spawn(async move { own.inbox.push(Frame { sequence, json: line, resend: false }).await });
        if let Err(err) = pushed.await {
            tracing::error!(error = %err, "a message could not be taken in");
        }
        is_answered.then_some(for_client)
    }

    /// Carries what the session says to the stream it belongs to, to the end of the session.
    async fn route(&self, mut outgoing: mpsc::Receiver<Outgoing>) {
        while let Some(message) = outgoing.recv().await {
            let to = {
                let mut routes = self.routes();
                if message.answers == 0 {
                    let post = routes.posts.get(&message.about).filter(|post| !post.is_closed()).cloned();
                    post.or_else(|| routes.stream.clone())
                } else {
                    routes.last_used = Instant::now();
                    routes.posts.remove(&message.answers)
                }
            };
            if let Some(to) = to {
                // A client that reads too slowly misses news rather than holding up the others; an answer waits.
                match to.try_send(message) {
                    Err(TrySendError::Full(message)) if message.answers != 0 => {
                        // The last message of that stream; a client that is gone does not want it.
                        tokio::spawn(async move { drop(to.send(message).await) });
                    }
                    Err(_) => tracing::debug!("a client over HTTP missed a message"),
                    Ok(()) => {}
                }
            }
        }
        let mut routes = self.routes();
        routes.is_over = true;
        routes.posts.clear();
        routes.stream = None;
    }

    fn is_idle(&self) -> bool {
        let routes = self.routes();
        let is_streaming = routes.stream.as_ref().is_some_and(|stream| !stream.is_closed());
        !is_streaming && routes.posts.is_empty() && routes.last_used.elapsed() > IDLE
    }
}

/// `initialize`: begins a session.
pub(super) async fn begin(front: &Front, caller: Caller, line: Bytes, place: Place) -> Response {
    if front.sessions.lock().len() >= MOST_SESSIONS {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many sessions are open; end one with DELETE");
    }
    let id = Uuid::new_v4();
    let name = id.as_simple().to_string();
    let (outbound, outgoing) = mpsc::channel(OUTBOUND);
    let session = Arc::new(Session {
        inbox: Arc::new(Inbox::new(id, front.desk.concurrent_requests, outbound, front.desk.traffic.clone())),
        owner: caller.owner(),
        token: caller.token.as_ref().map_or_else(String::new, |token| token.id.clone()),
        next: AtomicU64::new(1),
        routes: Mutex::new(Routes {
            posts: HashMap::new(),
            stream: None,
            last_used: Instant::now(),
            is_over: false,
        }),
    });
    let workspace =
        caller.workspace.as_ref().map_or_else(String::new, |dir| dir.path().display().to_string());
    if let Err(err) = front.desk.sessions.attach(id, caller.uid, 0, &workspace) {
        tracing::error!(error = %err, "a session cannot be stored");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the session cannot be stored");
    }
    front.sessions.lock().insert(name.clone(), session.clone());
    let (desk, sessions, own) = (front.desk.clone(), front.sessions.clone(), session.clone());
    let own_name = name.clone();
    tokio::spawn(async move {
        converse(&desk, id, caller, &own, outgoing).await;
        sessions.lock().remove(&own_name);
    });
    let mut response = answer(&session, line, place).await;
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(headers::SESSION, value);
    }
    response
}

async fn converse(
    desk: &Desk,
    id: Uuid,
    caller: Caller,
    session: &Session,
    outgoing: mpsc::Receiver<Outgoing>,
) {
    let serving = async {
        tokio::select! {
            () = desk.mcp.serve(desk, id, caller, &session.inbox) => {}
            // What is under way is answered; the streams end with the session.
            () = async { desk.stop.cancelled().await; session.inbox.close(Leaving::Goodbye); pending().await } => {}
        }
        session.inbox.close(Leaving::Goodbye);
        session.inbox.hang_up();
    };
    tokio::join!(serving, session.route(outgoing));
    desk.forget(id);
    desk.sessions.end(id);
}

/// A message of a session.
pub(super) async fn take(
    front: &Front,
    caller: &Caller,
    headers: &HeaderMap,
    line: Bytes,
    place: Place,
) -> Response {
    match found(front, caller, headers) {
        Ok(session) => answer(&session, line, place).await,
        Err(refusal) => *refusal,
    }
}

async fn answer(session: &Arc<Session>, line: Bytes, place: Place) -> Response {
    match session.post(line).await {
        Some(for_client) => respond(for_client, place, |_| StatusCode::OK).await,
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// GET: the stream for what belongs to no request.
pub(super) async fn listen(
    State(front): State<Front>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
) -> Response {
    if !accepts(&headers, "text/event-stream") {
        return refuse(StatusCode::NOT_ACCEPTABLE, "`Accept` must allow `text/event-stream`");
    }
    let session = match found(&front, &caller, &headers) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let (to_client, for_client) = mpsc::channel(OUTBOUND);
    {
        let mut routes = session.routes();
        routes.last_used = Instant::now();
        if routes.stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
            return refuse(StatusCode::CONFLICT, "this session has such a stream already");
        }
        routes.stream = Some(to_client);
    }
    sse(ReceiverStream::new(for_client), place)
}

/// DELETE: the client ends the session.
pub(super) async fn end(
    State(front): State<Front>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    match found(&front, &caller, &headers) {
        Ok(session) => {
            session.inbox.close(Leaving::Goodbye);
            let name =
                headers.get(headers::SESSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            front.sessions.lock().remove(name);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => *refusal,
    }
}

/// Ends sessions that nobody uses, and those whose token has ended, for as long as it is polled.
pub(super) async fn sweep(front: Front) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        front.sessions.lock().retain(|_, session| {
            let is_kept = !session.is_idle() && front.tokens.is_alive(&session.token);
            if !is_kept {
                session.inbox.close(Leaving::Goodbye);
            }
            is_kept
        });
    }
}

fn found(front: &Front, caller: &Caller, headers: &HeaderMap) -> Result<Arc<Session>, Box<Response>> {
    let version = headers.get(headers::VERSION).map(|value| value.to_str().unwrap_or_default());
    // Without the header, 2025-03-26 is meant (MCP 2025-06-18, Streamable HTTP).
    if let Some(version) = version
        && !ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.as_str() == version)
    {
        return Err(Box::new(refuse(
            StatusCode::BAD_REQUEST,
            "the revision in `MCP-Protocol-Version` is not spoken here",
        )));
    }
    let name = headers.get(headers::SESSION).and_then(|value| value.to_str().ok());
    let Some(name) = name else {
        return Err(Box::new(refuse(
            StatusCode::BAD_REQUEST,
            "`Mcp-Session-Id` is missing; begin with `initialize`",
        )));
    };
    front.sessions.find(name, caller).ok_or_else(|| {
        Box::new(refuse(StatusCode::NOT_FOUND, "there is no such session; begin again with `initialize`"))
    })
}
