//! What must be known of a line before rmcp parses it: what kind of message it is, its id, and the raw
//! arguments of a tool call.

use bytes::{Bytes, BytesMut};
use rmcp::model::RequestId;
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};
use std::{borrow::Cow, fmt};

/// JSON-RPC 2.0, section 5.1.
pub(super) const PARSE_ERROR: i32 = -32700;
/// As above.
pub(super) const INVALID_REQUEST: i32 = -32600;

/// Messages of one batch. Each is answered, and most of the answers are longer than the shortest message, so that a line of
/// the longest kind could fill the memory.
const MOST_IN_BATCH: usize = 1024;

/// One message of a client.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) body: Body,
}

/// What is left for rmcp to read.
#[derive(Debug)]
pub(super) enum Body {
    /// All of the line.
    Line(Bytes),
    /// A ping without parameters, and all of its line.
    Ping { id: RequestId, line: Bytes },
    /// A tool call, in parts: rmcp tries every kind of message in turn, and by far most are of this kind.
    Call {
        id: RequestId,
        /// Of the tool.
        name: String,
        /// Members of the parameters besides name and arguments, each after a comma; mostly none.
        members: String,
        /// The arguments, as they came.
        arguments: Bytes,
    },
}

impl Envelope {
    /// Bytes it holds in memory.
    pub(super) fn size(&self) -> usize {
        match &self.body {
            Body::Line(line) | Body::Ping { line, .. } => line.len(),
            Body::Call { name, members, arguments, .. } => name.len() + members.len() + arguments.len(),
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Request(RequestId),
    /// The request that is no longer wanted.
    Cancel(RequestId),
    Notification,
    Response,
}

/// Why a line is no message.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) id: Option<RequestId>,
    pub(super) code: i32,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn invalid(id: Option<RequestId>, message: impl Into<String>) -> Self {
        Self { id, code: INVALID_REQUEST, message: message.into() }
    }

    /// The error response, on one line.
    pub(super) fn to_json(&self) -> Bytes {
        error_json(self.id.as_ref(), self.code, &self.message)
    }
}

/// An error response. Where the id could not be read there is none: JSON-RPC 2.0 wants `null` there (section 5), but
/// the schema of MCP allows only a string, a number or nothing (`JSONRPCErrorResponse`), and clients check that.
pub(super) fn error_json(id: Option<&RequestId>, code: i32, message: &str) -> Bytes {
    let mut error = json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message } });
    if let (Some(id), Some(members)) = (id, error.as_object_mut()) {
        members.insert("id".into(), id.clone().into_json_value());
    }
    error.to_string().into()
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CallParams<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "inputResponses")]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestState")]
    request_state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CancelParams {
    #[serde(rename = "requestId")]
    request_id: RequestId,
}

/// Reads one message.
pub(super) fn read(line: &Bytes) -> Result<Envelope, Refusal> {
    let parsed: Line<'_> = serde_json::from_slice(line).map_err(|err| not_a_message(line, &err))?;
    let id = match parsed.id {
        None => None,
        Some(raw) => {
            Some(read_id(raw).ok_or_else(|| Refusal::invalid(None, "an id must be a string or an integer"))?)
        }
    };
    if parsed.jsonrpc.as_deref() != Some("2.0") {
        return Err(Refusal::invalid(id, "`jsonrpc` must be \"2.0\""));
    }
    let plain = |kind| Ok(Envelope { kind, body: Body::Line(line.clone()) });
    match (parsed.method.as_deref(), id, parsed.result.is_some() || parsed.error.is_some()) {
        (Some("tools/call"), Some(id), false) => Ok(read_call(line, id, &parsed)),
        (Some("ping"), Some(id), false) if parsed.params.is_none() => {
            let body = Body::Ping { id: id.clone(), line: line.clone() };
            Ok(Envelope { kind: Kind::Request(id), body })
        }
        (Some(_), Some(id), false) => plain(Kind::Request(id)),
        (Some("notifications/cancelled"), None, false) => {
            let params = parsed.params.and_then(|raw| serde_json::from_str::<CancelParams>(raw.get()).ok());
            plain(params.map_or(Kind::Notification, |params| Kind::Cancel(params.request_id)))
        }
        (Some(_), None, false) => plain(Kind::Notification),
        (None, Some(_), true) => plain(Kind::Response),
        (_, id, _) => Err(Refusal::invalid(id, "neither a request, a notification nor a response")),
    }
}

fn read_call(line: &Bytes, id: RequestId, parsed: &Line<'_>) -> Envelope {
    let params = parsed.params.map(|raw| serde_json::from_str::<CallParams<'_>>(raw.get()));
    // rmcp answers other shapes, so that its words stay the same for all methods.
    let Some(Ok(params)) = params else {
        return Envelope { kind: Kind::Request(id), body: Body::Line(line.clone()) };
    };
    let arguments = params.arguments.map_or_else(Bytes::new, |raw| line.slice_ref(raw.get().as_bytes()));
    let mut members = String::new();
    for (name, value) in [
        ("_meta", params.meta),
        ("inputResponses", params.input_responses),
        ("requestState", params.request_state),
    ] {
        if let Some(value) = value {
            members.push_str(&format!(r#","{name}":{}"#, value.get()));
        }
    }
    let body = Body::Call { id: id.clone(), name: params.name.into_owned(), members, arguments };
    Envelope { kind: Kind::Request(id), body }
}

/// A tool call as rmcp reads it, without its arguments.
pub(super) fn request_of(name: &str, members: &str) -> String {
    format!(r#"{{"method":"tools/call","params":{{"name":{}{members}}}}}"#, Value::from(name))
}

/// Whether something comes back for a line: an answer, or what is wrong with it.
pub(crate) fn is_answered(line: &Bytes) -> bool {
    is_batch(line)
        || !matches!(
            read(line),
            Ok(Envelope { kind: Kind::Notification | Kind::Response | Kind::Cancel(_), .. })
        )
}

/// Splits a batch (MCP 2025-03-26, base protocol).
pub(super) fn read_batch(line: &Bytes) -> Result<Vec<Bytes>, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let read = json.deserialize_seq(Parts).and_then(|parts| json.end().map(|()| parts));
    let (parts, count) = read.map_err(|err| not_a_message(line, &err))?;
    if parts.is_empty() {
        return Err(Refusal::invalid(None, "a batch must not be empty"));
    }
    if count > MOST_IN_BATCH {
        let message =
            format!("a batch has at most {MOST_IN_BATCH} messages, and this one {count}; send several");
        return Err(Refusal::invalid(None, message));
    }
    Ok(parts.into_iter().map(|part| line.slice_ref(part.get().as_bytes())).collect())
}

/// Reads the parts of a batch, as many as there may be, and how many there are.
struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while parts.len() < MOST_IN_BATCH
            && let Some(part) = all.next_element()?
        {
            parts.push(part);
        }
        let mut count = parts.len();
        while all.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((parts, count))
    }
}

pub(super) fn is_batch(line: &[u8]) -> bool {
    line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

fn not_a_message(line: &[u8], err: &serde_json::Error) -> Refusal {
    if serde_json::from_slice::<IgnoredAny>(line).is_ok() {
        Refusal::invalid(None, format!("not a JSON-RPC message: {err}"))
    } else {
        Refusal { id: None, code: PARSE_ERROR, message: format!("not JSON: {err}") }
    }
}

fn read_id(raw: &RawValue) -> Option<RequestId> {
    serde_json::from_str(raw.get()).ok()
}

/// With a line feed, without copying where nobody else holds the bytes; nothing stays nothing.
pub(super) fn end_line(json: Bytes) -> Bytes {
    if json.is_empty() {
        return json;
    }
    let mut line = json.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    line.extend_from_slice(b"\n");
    line.freeze()
}

/// A JSON array, or nothing where there was nothing to answer.
pub(super) fn join(answers: &[Bytes]) -> Bytes {
    if answers.is_empty() {
        return Bytes::new();
    }
    let mut joined = vec![b'['];
    for (index, answer) in answers.iter().enumerate() {
        if index > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(answer);
    }
    joined.push(b']');
    joined.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_refusals() {
        let request = |id| Ok(Kind::Request(id));
        let refused = |id, code| Err((id, code));
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#, request(RequestId::Number(0))),
            (r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#, request(RequestId::String("x".into()))),
            (r#"{"jsonrpc":"2.0","method":"a/b"}"#, Ok(Kind::Notification)),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#,
                Ok(Kind::Cancel(RequestId::Number(3))),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Ok(Kind::Response)),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, refused(None, INVALID_REQUEST)),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, refused(None, INVALID_REQUEST)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Ok(Kind::Notification)),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
                refused(Some(RequestId::Number(1)), INVALID_REQUEST),
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, refused(Some(RequestId::Number(1)), INVALID_REQUEST)),
            ("7", refused(None, INVALID_REQUEST)),
            ("{nonsense", refused(None, PARSE_ERROR)),
        ] {
            let found = read(&Bytes::from(line))
                .map(|envelope| envelope.kind)
                .map_err(|refusal| (refusal.id, refusal.code));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn arguments_of_a_call_come_as_they_were() {
        let line = Bytes::from(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"b":1, "b":2},"name":"t","requestState":"s","_meta":{"progressToken":5}}}"#,
        );
        let Body::Call { id, name, members, arguments } = read(&line).unwrap().body else {
            panic!("no call")
        };
        assert_eq!((id, &name[..]), (RequestId::Number(1), "t"));
        assert_eq!(members, r#","_meta":{"progressToken":5},"requestState":"s""#);
        assert_eq!(&arguments[..], br#"{"b":1, "b":2}"#);
    }

    #[test]
    fn a_batch_has_so_many_messages_and_no_more() {
        let batch = |count: usize| Bytes::from(format!("[{}]", vec!["{}"; count].join(", ")));
        for count in [1, 2, MOST_IN_BATCH] {
            let parts = read_batch(&batch(count)).unwrap();
            assert!(parts.len() == count && parts.iter().all(|part| &part[..] == b"{}"), "{count}");
        }
        let refused = read_batch(&batch(MOST_IN_BATCH + 1)).map_err(|refusal| refusal.message).unwrap_err();
        assert!(refused.contains("at most 1024") && refused.contains("1025"), "{refused}");
        for (line, code) in [("[]", INVALID_REQUEST), ("[{}", PARSE_ERROR), ("[{}] x", PARSE_ERROR)] {
            let refused = read_batch(&Bytes::from(line)).map_err(|refusal| refusal.code);
            assert_eq!(refused, Err(code), "{line}");
        }
    }
}
