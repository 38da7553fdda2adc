//! Sessions of the revisions that have them: an id in a header stands for a connection.

use super::{
    Front,
    gate::{self, refuse},
    headers,
    replay::{EventId, Log, Message},
    stream::{Place, accepts, respond, sse},
};
use crate::mcp::{Inbox, Leaving, Outgoing, is_answered};
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use rmcp::model::ProtocolVersion;
use skynet_core::{Caller, Workspace};
use skynet_proto::Frame;
use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use uuid::Uuid;

/// A session that nobody uses ends after that time.
const IDLE: Duration = Duration::from_secs(30 * 60);
const SWEEP_EVERY: Duration = crate::tokens::LOOK_EVERY;

/// More are refused until others end.
const MOST_SESSIONS: usize = 4096;

/// The same for one token, so that no token takes the place of all others.
const MOST_SESSIONS_OF_TOKEN: usize = 512;

/// Messages on their way out of one session, and to one of its streams.
const OUTBOUND: usize = 64;

/// Streams that have ended are kept for clients that lost them: so many of one session, for so long.
const MOST_ENDED: usize = 16;
const MOST_ENDED_BYTES: usize = 1 << 20;
const ENDED_LIVE: Duration = Duration::from_secs(5 * 60);

/// The number of the stream for what belongs to no POST; those of POSTs have the numbers of their frames.
const GENERAL: u64 = 0;

/// The first revision whose clients expect an event without data: it tells them where to go on from before there is
/// anything to tell.
const PRIMED_SINCE: &str = "2025-11-25";

/// One session.
struct Session {
    inbox: Arc<Inbox>,
    /// Only the token that began it may go on with it.
    owner: String,
    /// Its id.
    token: String,
    /// What its calls cite.
    connection: u64,
    /// Where its calls work, whatever later requests say.
    workspace: Option<Arc<Workspace>>,
    next: AtomicU64,
    routes: Mutex<Routes>,
}

struct Routes {
    /// By number: those of POSTs that wait, or were answered lately, and the one for what belongs to no POST.
    streams: HashMap<u64, Log>,
    /// Those that were answered, oldest first.
    ended: VecDeque<(Instant, u64)>,
    last_used: Instant,
    /// Whether the session has ended.
    is_over: bool,
}

impl Routes {
    fn new() -> Self {
        Self { streams: HashMap::new(), ended: VecDeque::new(), last_used: Instant::now(), is_over: false }
    }

    /// Finds the stream that a message belongs to; whom to give it to, if somebody listens.
    fn deliver(&mut self, message: Outgoing) -> Option<(mpsc::Sender<Message>, Message)> {
        let Outgoing { answers, about, .. } = message;
        if answers == 0 {
            // A client that left before it heard anything of that stream cannot come back to it.
            let is_open = self.streams.get(&about).is_some_and(|log| log.is_live() || log.has_begun());
            return self.streams.get_mut(if is_open { &about } else { &GENERAL })?.add(message);
        }
        self.last_used = Instant::now();
        let log = self.streams.get_mut(&answers)?;
        let was_streamed = log.has_begun();
        let delivery = log.add(message);
        log.end();
        if was_streamed {
            self.ended.push_back((self.last_used, answers));
            self.forget_ended();
        } else {
            self.streams.remove(&answers);
        }
        delivery
    }

    /// Forgets streams that ended long ago, and the oldest where there are too many.
    fn forget_ended(&mut self) {
        let bytes_of =
            |streams: &HashMap<u64, Log>, stream: u64| streams.get(&stream).map_or(0, Log::kept_bytes);
        let mut bytes: usize = self.ended.iter().map(|(_, stream)| bytes_of(&self.streams, *stream)).sum();
        while let Some((at, stream)) = self.ended.front().copied() {
            if self.ended.len() <= MOST_ENDED && bytes <= MOST_ENDED_BYTES && at.elapsed() < ENDED_LIVE {
                break;
            }
            bytes -= bytes_of(&self.streams, stream);
            self.streams.remove(&stream);
            self.ended.pop_front();
        }
    }

    /// Whether somebody listens, or waits for an answer.
    fn is_in_use(&self) -> bool {
        let is_waiting =
            |stream: &u64| *stream != GENERAL && !self.ended.iter().any(|(_, ended)| ended == stream);
        self.streams.iter().any(|(stream, log)| log.is_live() || is_waiting(stream))
    }
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
    async fn post(self: &Arc<Self>, line: Bytes) -> Option<mpsc::Receiver<Message>> {
        let is_answered = is_answered(&line);
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (to_client, for_client) = mpsc::channel(OUTBOUND);
        {
            let mut routes = self.routes();
            routes.last_used = Instant::now();
            // A session that has just ended answers nothing; the channel closes, and the client is told.
            if is_answered && !routes.is_over {
                routes.streams.insert(sequence, Log::new(sequence, to_client));
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
            let delivery = self.routes().deliver(message);
            if let Some((to, message)) = delivery {
                // A client that reads too slowly misses news rather than holding up the others; an answer waits.
                match to.try_send(message) {
                    Err(TrySendError::Full(message)) if message.outgoing.answers != 0 => {
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
        routes.streams.clear();
        routes.ended.clear();
    }

    fn is_idle(&self) -> bool {
        let routes = self.routes();
        routes.last_used.elapsed() > IDLE && !routes.is_in_use()
    }

    /// What belongs to no POST, from now on; `None` if somebody hears that already.
    fn listen(&self) -> Option<(Vec<Message>, mpsc::Receiver<Message>)> {
        let (to_client, for_client) = mpsc::channel(OUTBOUND);
        let mut routes = self.routes();
        routes.last_used = Instant::now();
        // A session that has just ended says nothing: the stream ends at once.
        if routes.is_over {
            return Some((Vec::new(), for_client));
        }
        if routes.streams.get(&GENERAL).is_some_and(Log::is_live) {
            return None;
        }
        let log = routes.streams.entry(GENERAL).or_insert_with(|| Log::new(GENERAL, to_client.clone()));
        log.listen(to_client);
        let revision = self.inbox.revision();
        let primer = Message {
            id: Some(log.newest()),
            outgoing: Outgoing { answers: 0, about: 0, opens: 0, json: Bytes::new() },
        };
        Some(((revision.as_str() >= PRIMED_SINCE).then_some(primer).into_iter().collect(), for_client))
    }

    /// The rest of a stream after an event of it; `None` if that is not known here.
    fn resume(&self, after: EventId) -> Option<(Vec<Message>, mpsc::Receiver<Message>)> {
        let (to_client, for_client) = mpsc::channel(OUTBOUND);
        let mut routes = self.routes();
        routes.last_used = Instant::now();
        let has_ended = routes.ended.iter().any(|(_, ended)| *ended == after.stream);
        let log =
            routes.streams.get_mut(&after.stream).filter(|log| log.has_begun() || after.stream == GENERAL)?;
        let missed = log.after(after.event)?;
        if !has_ended {
            // Whoever listened before has gone, or is about to notice it.
            log.listen(to_client);
        }
        Some((missed, for_client))
    }
}

/// `initialize`: begins a session.
pub(super) async fn begin(front: &Front, caller: Caller, line: Bytes, place: Place) -> Response {
    let token = caller.token.as_ref().map_or_else(String::new, |token| token.id.clone());
    let is_full = {
        let sessions = front.sessions.lock();
        let own = sessions.values().filter(|session| session.token == token).count();
        sessions.len() >= MOST_SESSIONS || own >= MOST_SESSIONS_OF_TOKEN
    };
    if is_full {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many sessions are open; end one with DELETE");
    }
    let id = Uuid::new_v4();
    let name = id.as_simple().to_string();
    let (outbound, outgoing) = mpsc::channel(OUTBOUND);
    let session = Arc::new(Session {
        inbox: Arc::new(Inbox::new(id, front.desk.concurrent_requests, outbound, front.desk.traffic.clone())),
        owner: caller.owner(),
        token,
        connection: caller.connection.number(),
        workspace: caller.workspace.clone(),
        next: AtomicU64::new(1),
        routes: Mutex::new(Routes::new()),
    });
    let workspace =
        caller.workspace.as_ref().map_or_else(String::new, |dir| dir.path().display().to_string());
    if let Err(err) = front.desk.sessions.attach_over_http(id, caller.uid, &workspace) {
        tracing::error!(error = %err, "a session cannot be stored");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the session cannot be stored");
    }
    front.sessions.lock().insert(name.clone(), session.clone());
    let (front, own, own_name) = (front.clone(), session.clone(), name.clone());
    tokio::spawn(async move {
        converse(&front, id, caller, &own, outgoing).await;
        front.sessions.lock().remove(&own_name);
    });
    let mut response = answer(&session, line, place).await;
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(headers::SESSION, value);
    }
    response
}

async fn converse(
    front: &Front,
    id: Uuid,
    caller: Caller,
    session: &Session,
    outgoing: mpsc::Receiver<Outgoing>,
) {
    let desk = &front.desk;
    let serving = async {
        tokio::select! {
            () = desk.mcp.serve(desk, id, caller, &session.inbox) => {}
            // It begins again with what stands for the token then, if something does.
            () = front.bearers.cut_off(session.connection) => {}
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

/// GET: the stream for what belongs to no request, or the rest of one that was lost.
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
    let found = match headers.get(headers::LAST_EVENT) {
        Some(last) => {
            let after = last.to_str().ok().and_then(|text| text.parse().ok());
            after.and_then(|after| session.resume(after)).ok_or((
                StatusCode::BAD_REQUEST,
                "what came after `Last-Event-ID` is not kept here; open a stream without it",
            ))
        }
        None => session.listen().ok_or((StatusCode::CONFLICT, "this session has such a stream already")),
    };
    match found {
        Ok((missed, rest)) => sse(tokio_stream::iter(missed).chain(ReceiverStream::new(rest)), place),
        Err((status, message)) => refuse(status, message),
    }
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
            session.routes().forget_ended();
            let is_kept = !session.is_idle() && front.bearers.is_alive(&session.token, session.connection);
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
    let session = front.sessions.find(name, caller).ok_or_else(|| {
        Box::new(refuse(StatusCode::NOT_FOUND, "there is no such session; begin again with `initialize`"))
    })?;
    // Who names another one would have his calls work where he does not mean them to.
    if headers.contains_key(gate::WORKSPACE)
        && path_of(caller.workspace.as_ref()) != path_of(session.workspace.as_ref())
    {
        let message = format!(
            "this session is for {}, and `Skynet-Workspace` names another directory; leave the header out, or begin a session for that one with `initialize`",
            path_of(session.workspace.as_ref())
                .map_or_else(|| "no directory".to_owned(), |path| format!("`{}`", path.display()))
        );
        return Err(Box::new(refuse(StatusCode::BAD_REQUEST, &message)));
    }
    Ok(session)
}

fn path_of(workspace: Option<&Arc<Workspace>>) -> Option<&Path> {
    workspace.map(|workspace| workspace.path())
}
