//! The answers of tools as MCP results. The output travels as the raw JSON that the tool wrote: rmcp carries a
//! placeholder, and here the bytes take its place.

use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, JsonRpcResponse, RequestId, ServerResult};
use serde_json::{Value, json};
use skynet_core::{Answer, Error, Link, Picture};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Resource links came with this revision; older clients are told in words.
const LINKS_SINCE: &str = "2025-06-18";

/// Answers waiting for their placeholder to pass, and the requests that may get one.
#[derive(Default)]
pub(super) struct Splices(Mutex<HashMap<RequestId, Option<Answer>>>);

impl Splices {
    /// Notes a request whose answer may be kept, until it is taken or the request is canceled.
    pub(super) fn expect(&self, id: RequestId) {
        self.lock().insert(id, None);
    }

    /// Keeps an answer for the response to `id`; returns its placeholder.
    pub(super) fn keep(&self, id: &RequestId, answer: Answer) -> CallToolResult {
        // No response of a request that was canceled meanwhile would ever take it.
        if let Some(kept) = self.lock().get_mut(id) {
            *kept = Some(answer);
        }
        CallToolResult::success(Vec::new())
    }

    /// The answer whose placeholder the response to `id` carries, if it carries one. Nothing more is kept for it.
    pub(super) fn take(&self, id: &RequestId) -> Option<Answer> {
        self.lock().remove(id).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Option<Answer>>> {
        // Each change is one insert, remove or value, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response as one line.
pub(super) fn encode(
    response: &JsonRpcResponse<ServerResult>,
    answer: Option<&Answer>,
    revision: &str,
) -> Bytes {
    match (&response.result, answer) {
        (ServerResult::CallToolResult(result), Some(answer)) => {
            splice(&response.id, result, answer, revision)
        }
        _ => serde_json::to_vec(response)
            .unwrap_or_else(|err| {
                tracing::error!(error = %err, "a response of rmcp cannot be written");
                Vec::new()
            })
            .into(),
    }
}

/// An error of a tool or layer, as the model sees it.
pub(super) fn failure(err: &Error) -> CallToolResult {
    words(&format!("{}: {}", err.kind, err.message))
}

/// Anything but the tool's output: words in its place.
pub(super) fn words(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// A resource link.
pub(super) fn link(link: &Link) -> Value {
    json!({ "type": "resource_link", "uri": link.uri, "name": link.name, "mimeType": link.media_type, "size": link.size_bytes })
}

/// A picture as content of its own.
pub(super) fn image(picture: &Picture) -> Value {
    json!({ "type": "image", "data": picture.base64, "mimeType": picture.media_type })
}

/// What is said about a call besides its output.
pub(super) fn notice(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn splice(id: &RequestId, result: &CallToolResult, answer: &Answer, revision: &str) -> Bytes {
    let (picture, rest) = Picture::split(&answer.json).unzip();
    let output = rest.as_deref().unwrap_or(&answer.json);
    // Quotes of the output are escaped once more in the text.
    let mut line = Vec::with_capacity(output.len() * 9 / 4 + 256);
    line.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    line.extend_from_slice(id.clone().into_json_value().to_string().as_bytes());
    line.extend_from_slice(br#","result":{"#);
    if let Some(kind) = &result.result_type {
        line.extend_from_slice(format!(r#""resultType":"{}","#, kind.as_str()).as_bytes());
    }
    line.extend_from_slice(br#""content":[{"type":"text","text":"#);
    quote(output, &mut line);
    line.push(b'}');
    if let Some(picture) = &picture {
        line.push(b',');
        line.extend_from_slice(Value::to_string(&image(picture)).as_bytes());
    }
    for one in &answer.links {
        let block = if revision >= LINKS_SINCE || revision.is_empty() {
            link(one)
        } else {
            let text = format!("The whole result ({} bytes) is the resource {}", one.size_bytes, one.uri);
            json!({ "type": "text", "text": text })
        };
        line.push(b',');
        line.extend_from_slice(Value::to_string(&block).as_bytes());
    }
    for text in &answer.notices {
        line.push(b',');
        line.extend_from_slice(Value::to_string(&notice(text)).as_bytes());
    }
    line.extend_from_slice(br#"],"structuredContent":"#);
    line.extend_from_slice(output);
    line.extend_from_slice(br#","isError":false}}"#);
    line.into()
}

/// Appends JSON as a JSON string. In JSON of one line there is nothing to escape but quotes and backslashes (RFC 8259,
/// section 7), which is why this is faster than escaping any text.
fn quote(json: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    let mut start = 0;
    for place in memchr::memchr2_iter(b'"', b'\\', json) {
        line.extend_from_slice(json.get(start..place).unwrap_or_default());
        line.push(b'\\');
        start = place;
    }
    line.extend_from_slice(json.get(start..).unwrap_or_default());
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_that_nobody_will_take_is_not_kept() {
        let answer = || Answer { json: Bytes::from_static(b"{}"), links: Vec::new(), notices: Vec::new() };
        let splices = Splices::default();
        let [canceled, other] = [1, 2].map(RequestId::Number);
        for id in [&canceled, &other] {
            splices.expect(id.clone());
        }
        assert_eq!(splices.take(&canceled), None);
        splices.keep(&canceled, answer());
        splices.keep(&other, answer());
        assert_eq!(splices.take(&canceled), None);
        assert_eq!(splices.take(&other), Some(answer()));
        assert!(splices.lock().is_empty());
    }

    proptest! {
        #[test]
        fn quoted_json_reads_back(texts in proptest::collection::vec(".*", 0..8)) {
            let json = serde_json::to_vec(&texts).unwrap();
            let mut line = Vec::new();
            quote(&json, &mut line);
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap().into_bytes(), json);
        }
    }
}
