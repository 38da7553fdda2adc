//! The answers of tools as MCP results. The output travels as the raw JSON that the tool wrote: rmcp carries a
//! placeholder, and here the bytes take its place.

use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, JsonRpcResponse, RequestId, ServerResult};
use serde_json::{Value, json};
use skynet_core::{Answer, Error};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Resource links came with this revision; older clients are told in words.
const LINKS_SINCE: &str = "2025-06-18";

/// Answers waiting for their placeholder to pass.
#[derive(Default)]
pub(super) struct Splices(Mutex<HashMap<RequestId, Answer>>);

impl Splices {
    /// Keeps an answer for the response to `id`; returns its placeholder.
    pub(super) fn keep(&self, id: RequestId, answer: Answer) -> CallToolResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        CallToolResult::success(Vec::new())
    }

    /// A response as one line.
    pub(super) fn encode(&self, response: &JsonRpcResponse<ServerResult>, revision: &str) -> Bytes {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&response.id);
        match (&response.result, answer) {
            (ServerResult::CallToolResult(result), Some(answer)) => {
                splice(&response.id, result, &answer, revision)
            }
            _ => serde_json::to_vec(response)
                .unwrap_or_else(|err| {
                    tracing::error!(error = %err, "a response of rmcp cannot be written");
                    Vec::new()
                })
                .into(),
        }
    }
}

/// An error of a tool or layer, as the model sees it.
pub(super) fn failure(err: &Error) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!("{}: {}", err.kind, err.message))])
}

fn splice(id: &RequestId, result: &CallToolResult, answer: &Answer, revision: &str) -> Bytes {
    let output = answer.json.as_ref();
    // Quotes of the output are escaped once more in the text.
    let mut line = Vec::with_capacity(output.len() * 9 / 4 + 256);
    line.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    line.extend_from_slice(id.clone().into_json_value().to_string().as_bytes());
    line.extend_from_slice(br#","result":{"#);
    if let Some(kind) = &result.result_type {
        line.extend_from_slice(format!(r#""resultType":"{}","#, kind.as_str()).as_bytes());
    }
    line.extend_from_slice(br#""content":[{"type":"text","text":"#);
    // The output is UTF-8, because it is JSON.
    let text = String::from_utf8_lossy(output);
    if let Err(err) = serde_json::to_writer(&mut line, &text) {
        // Writing text to memory cannot fail.
        tracing::error!(error = %err, "an answer cannot be quoted");
    }
    line.push(b'}');
    for link in &answer.links {
        let block = if revision >= LINKS_SINCE || revision.is_empty() {
            json!({ "type": "resource_link", "uri": link.uri, "name": link.name, "mimeType": link.media_type, "size": link.size_bytes })
        } else {
            let text = format!("The whole result ({} bytes) is the resource {}", link.size_bytes, link.uri);
            json!({ "type": "text", "text": text })
        };
        line.push(b',');
        line.extend_from_slice(Value::to_string(&block).as_bytes());
    }
    line.extend_from_slice(br#"],"structuredContent":"#);
    line.extend_from_slice(output);
    line.extend_from_slice(br#","isError":false}}"#);
    line.into()
}
