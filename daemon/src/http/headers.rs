//! The headers of a request of revision 2026-07-28, which must say the same as its body: what stands between client
//! and server routes by the headers, the server acts on the body.

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rmcp::model::ErrorCode;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Headers and body differ (MCP 2026-07-28, Streamable HTTP).
pub(super) const HEADER_MISMATCH: i32 = -32020;
/// A request asks for what the client did not declare.
pub(super) const MISSING_CAPABILITY: i32 = -32021;
/// The revision is not spoken here.
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;

pub(super) const VERSION: &str = "mcp-protocol-version";
pub(super) const SESSION: &str = "mcp-session-id";
pub(super) const LAST_EVENT: &str = "last-event-id";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// The first revision without sessions.
const MODERN: &str = "2026-07-28";

/// What 2026-07-28 no longer has.
const GONE: [&str; 5] =
    ["initialize", "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"];

/// What of a body matters before it is handed on.
#[derive(Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow, default)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) id: Option<Value>,
    #[serde(default)]
    params: Option<Params>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    #[serde(default, rename = "_meta")]
    meta: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    name: Option<Value>,
    #[serde(default)]
    uri: Option<Value>,
    #[serde(default)]
    task_id: Option<Value>,
}

impl Body<'_> {
    /// The revision that the body names for itself.
    pub(super) fn version(&self) -> Option<&str> {
        let meta = self.params.as_ref()?.meta.as_ref()?;
        meta.get("io.modelcontextprotocol/protocolVersion")?.as_str()
    }

    /// Whether this request belongs to no session.
    pub(super) fn is_modern(&self, headers: &HeaderMap) -> bool {
        self.version().is_some() || value(headers, VERSION).is_some_and(|version| version >= MODERN)
    }

    /// Whether this method exists only in revisions with sessions.
    pub(super) fn is_gone(&self) -> bool {
        self.method.as_deref().is_some_and(|method| GONE.contains(&method))
    }

    /// What the headers say otherwise, or the metadata lacks, with the code of the error.
    pub(super) fn contradiction(&self, headers: &HeaderMap) -> Option<(i32, String)> {
        let mismatch = |message: String| Some((HEADER_MISMATCH, message));
        let lacking = |key: &str| Some((ErrorCode::INVALID_PARAMS.0, format!("`_meta` lacks `{key}`")));
        if let Some(name) =
            [VERSION, METHOD, NAME].into_iter().find(|name| headers.get_all(*name).iter().count() > 1)
        {
            return mismatch(format!("the header `{name}` is there more than once"));
        }
        let Some(version) = value(headers, VERSION) else {
            return mismatch(format!("the header `{VERSION}` is missing"));
        };
        let Some(own) = self.version() else {
            return lacking("io.modelcontextprotocol/protocolVersion");
        };
        if version != own {
            return mismatch(format!("the header `{VERSION}` is `{version}`, the body says `{own}`"));
        }
        let params = self.params.as_ref()?;
        let capabilities = params.meta.as_ref()?.get("io.modelcontextprotocol/clientCapabilities");
        if !capabilities.is_some_and(Value::is_object) {
            return lacking("io.modelcontextprotocol/clientCapabilities");
        }
        let method = self.method.as_deref().unwrap_or_default();
        if value(headers, METHOD) != Some(method) {
            return mismatch(format!("the header `{METHOD}` must be `{method}`, as in the body"));
        }
        let named = match method {
            "tools/call" | "prompts/get" => &params.name,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => &params.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => &params.task_id,
            _ => return None,
        };
        // One that is missing in the body is an error of its own.
        let wanted = named.as_ref()?.as_str()?;
        let found = value(headers, NAME).map(decoded);
        if found.as_ref().is_none_or(|found| found.as_deref() != Some(wanted)) {
            return mismatch(format!("the header `{NAME}` must be `{wanted}`, as in the body"));
        }
        None
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A value that a header cannot carry is wrapped as `=?base64?...?=`.
fn decoded(value: &str) -> Option<String> {
    let Some(wrapped) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    String::from_utf8(STANDARD.decode(wrapped).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_must_repeat_the_body() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let check = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            let body: Body<'_> = serde_json::from_str(body).unwrap();
            body.contradiction(&headers).map(|(code, _)| code)
        };
        let right = [(VERSION, "2026-07-28"), (METHOD, "tools/call"), (NAME, "=?base64?w6k=?=")];
        assert_eq!(check(&right), None);
        for (place, wrong) in
            [(0, "2025-11-25"), (1, "tools/list"), (2, "e"), (2, "=?base64?!?="), (1, "TOOLS/CALL")]
        {
            let mut lines = right;
            lines[place].1 = wrong;
            assert_eq!(check(&lines), Some(HEADER_MISMATCH), "{wrong}");
        }
        for missing in 0..3 {
            let lines: Vec<_> = (0..3).filter(|place| *place != missing).map(|place| right[place]).collect();
            assert_eq!(check(&lines), Some(HEADER_MISMATCH), "{missing}");
        }
        assert_eq!(check(&[right[0], right[1], right[2], (NAME, "other")]), Some(HEADER_MISMATCH));
    }
}
