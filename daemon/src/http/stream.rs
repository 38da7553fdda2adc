//! One POST: a message in, and an answer as JSON or, once there is something to say before the answer, as a stream of
//! server-sent events.

use super::{
    Front,
    gate::refuse,
    headers::{self, Body},
    modern,
    replay::Message,
    session,
};
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde_json::{Value, json};
use skynet_core::Caller;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};

/// Proxies give up on connections that say nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The place of a request among those under way.
pub(super) type Place = Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

pub(super) async fn post(
    State(front): State<Front>,
    Extension(caller): Extension<Caller>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_json(&headers) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be `application/json`");
    }
    if !accepts(&headers, "application/json") || !accepts(&headers, "text/event-stream") {
        let message = "`Accept` must allow `application/json` and `text/event-stream`";
        return refuse(StatusCode::NOT_ACCEPTABLE, message);
    }
    // A line of the relay; what stands between the tokens of a message is white space.
    let line = if body.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        Bytes::from(
            body.iter()
                .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
                .collect::<Vec<u8>>(),
        )
    } else {
        body
    };
    let parsed: Result<Body<'_>, _> = serde_json::from_slice(&line);
    match parsed {
        Ok(parsed) if parsed.is_modern(&headers) => {
            if let Some((code, message)) = parsed.contradiction(&headers) {
                return error(StatusCode::BAD_REQUEST, parsed.id.as_ref(), code, &message);
            }
            if parsed.is_gone() {
                let code = rmcp::model::ErrorCode::METHOD_NOT_FOUND.0;
                let message = "this method does not exist in this revision";
                return error(StatusCode::NOT_FOUND, parsed.id.as_ref(), code, message);
            }
            if parsed.method.is_none() {
                // Nothing is ever asked of a client of this revision, so there is nothing that it could answer.
                let code = rmcp::model::ErrorCode::INVALID_REQUEST.0;
                let message = "neither a request nor a notification: `method` is missing";
                return error(StatusCode::BAD_REQUEST, parsed.id.as_ref(), code, message);
            }
            let is_request = parsed.id.is_some();
            drop(parsed);
            modern::answer(&front, caller, line, is_request, place).await
        }
        Ok(parsed) if parsed.method.as_deref() == Some("initialize") && parsed.id.is_some() => {
            drop(parsed);
            session::begin(&front, caller, line, place).await
        }
        // Batches, responses, and what is no message at all: the session answers each as it does on a pipe.
        Ok(_) | Err(_) => {
            if serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err() {
                let code = rmcp::model::ErrorCode::PARSE_ERROR.0;
                return error(StatusCode::BAD_REQUEST, None, code, "the body is not JSON");
            }
            session::take(&front, &caller, &headers, line, place).await
        }
    }
}

/// A JSON-RPC error. One that answers nothing in particular has no id (MCP schema, `JSONRPCErrorResponse`).
pub(super) fn error(status: StatusCode, id: Option<&Value>, code: i32, message: &str) -> Response {
    let mut error = json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message } });
    if let (Some(id), Some(members)) = (id, error.as_object_mut()) {
        members.insert("id".into(), id.clone());
    }
    json_response(status, Bytes::from(error.to_string()))
}

pub(super) fn json_response(status: StatusCode, json: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// The answer to one POST, from what the session says about it. `status` tells the status of an answer that comes alone.
pub(super) async fn respond(
    mut messages: mpsc::Receiver<Message>,
    place: Place,
    status: impl FnOnce(&[u8]) -> StatusCode,
) -> Response {
    let Some(first) = messages.recv().await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the session ended before it answered; try again");
    };
    if first.outgoing.answers != 0 {
        let json = first.outgoing.json;
        // Nothing but settled: a notification, or a request that was canceled.
        return if json.is_empty() {
            StatusCode::ACCEPTED.into_response()
        } else {
            let status = status(&json);
            json_response(status, json)
        };
    }
    let rest = tokio_stream::once(first).chain(ReceiverStream::new(messages));
    sse(rest, place)
}

/// A stream that ends with the answer, or with the session.
pub(super) fn sse(messages: impl Stream<Item = Message> + Send + 'static, place: Place) -> Response {
    let says_something = |message: &Message| message.id.is_some() || !message.outgoing.json.is_empty();
    let events = messages.filter(says_something).map(move |message| {
        // Held for as long as the stream is.
        let _place = &place;
        let text = String::from_utf8_lossy(&message.outgoing.json);
        let event = Event::default();
        let event = match message.id {
            Some(id) => event.id(id.to_string()),
            None => event,
        };
        Ok::<Event, Infallible>(event.data(text.trim_end()))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx keeps answers back otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// RFC 9110, section 12.5.1, without weights: who can read a type says so.
pub(super) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let family = kind.split('/').next().unwrap_or_default();
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            range.eq_ignore_ascii_case(kind) || range == "*/*" || range == format!("{family}/*")
        })
    })
}

/// What HTTP says of an error of 2026-07-28 (Streamable HTTP, error responses).
pub(super) fn status_of(answer: &[u8]) -> StatusCode {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(default)]
        error: Option<Code>,
    }
    #[derive(serde::Deserialize)]
    struct Code {
        code: i32,
    }
    let error = serde_json::from_slice::<Answer>(answer).ok().and_then(|answer| answer.error);
    match error {
        Some(Code {
            code: headers::HEADER_MISMATCH | headers::MISSING_CAPABILITY | headers::UNSUPPORTED_VERSION,
            ..
        }) => StatusCode::BAD_REQUEST,
        Some(Code { code, .. }) if code == rmcp::model::ErrorCode::METHOD_NOT_FOUND.0 => {
            StatusCode::NOT_FOUND
        }
        Some(_) | None => StatusCode::OK,
    }
}
