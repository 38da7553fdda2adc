//! Which records of the audit log somebody asked for. Nothing of a record is parsed that no condition needs.

use super::internal;
use memchr::memmem::Finder;
use nix::unistd::User;
use serde::Deserialize;
use serde_json::Value;
use skynet_proto::AuditQueryRequest;
use std::borrow::Cow;
use tonic::Status;

/// As many digits of a session as tables show.
const SHORTEST_SESSION: usize = 8;

/// All conditions of a query, ready to be applied.
pub(super) struct Filter {
    query: AuditQueryRequest,
    uid: Option<u32>,
    /// RFC 3339 in UTC with a fixed number of digits sorts as text.
    since: Option<String>,
    until: Option<String>,
    /// The text as it stands, and as it stands within a JSON string.
    text: Option<[Finder<'static>; 2]>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    at: Cow<'a, str>,
    #[serde(borrow, default)]
    tool: Cow<'a, str>,
    #[serde(borrow, default)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    call: Cow<'a, str>,
    #[serde(borrow, default)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    effect: Cow<'a, str>,
    #[serde(default)]
    uid: Option<u32>,
}

/// Where a call's paths are.
#[derive(Deserialize)]
struct Paths {
    #[serde(default)]
    workspace: Option<String>,
    #[serde(default)]
    input: Value,
    /// Paths that were about to change, with the digest of what was there.
    #[serde(default)]
    before: Vec<(String, Option<String>)>,
}

impl Filter {
    /// Reads a query; asks the host for the number of a named user.
    ///
    /// # Errors
    /// `InvalidArgument` for a time that is none, or a user nobody knows.
    pub(super) async fn new(query: AuditQueryRequest) -> Result<Self, Status> {
        let uid = if query.user.is_empty() { query.uid } else { Some(number_of(query.user.clone()).await?) };
        let text = (!query.text.is_empty()).then(|| {
            let quoted = Value::from(query.text.as_str()).to_string();
            let inner = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted);
            [query.text.as_str(), inner].map(|text| Finder::new(text).into_owned())
        });
        Ok(Self {
            uid,
            since: query.since.map(as_recorded).transpose()?,
            until: query.until.map(as_recorded).transpose()?,
            text,
            query,
        })
    }

    /// How many of the newest records are wanted.
    pub(super) const fn limit(&self) -> usize {
        if self.query.limit == 0 { usize::MAX } else { self.query.limit as usize }
    }

    /// Whether what comes is wanted too.
    pub(super) const fn follows(&self) -> bool {
        self.query.follow
    }

    /// Whether a record is wanted.
    pub(super) fn takes(&self, json: &[u8]) -> bool {
        let Self { query, uid, since, until, text } = self;
        if text.as_ref().is_some_and(|texts| texts.iter().all(|text| text.find(json).is_none())) {
            return false;
        }
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(json) else {
            return false;
        };
        let is_wanted = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        is_wanted(&query.tool, &fields.tool)
            && is_wanted(&query.outcome, &fields.outcome)
            && is_wanted(&query.effect, &fields.effect)
            && is_wanted(&query.call_id, &fields.call)
            && (query.session.is_empty() || is_session(&query.session, &fields.call))
            && (query.client.is_empty() || is_client(&query.client, &fields.client))
            && (uid.is_none() || *uid == fields.uid)
            && since.as_ref().is_none_or(|since| *fields.at >= **since)
            && until.as_ref().is_none_or(|until| *fields.at <= **until)
            && !(query.without_proofs && matches!(&*fields.kind, "checkpoint" | "retention"))
            && (query.path.is_empty() || has_path(&query.path, json))
    }
}

async fn number_of(name: String) -> Result<u32, Status> {
    let wanted = name.clone();
    // It may ask a directory server.
    let found = tokio::task::spawn_blocking(move || User::from_name(&wanted)).await.map_err(internal)?;
    let user = found.map_err(internal)?;
    user.map(|user| user.uid.as_raw())
        .ok_or_else(|| Status::invalid_argument(format!("this host knows no user `{name}`; try the number")))
}

fn as_recorded(time: prost_types::Timestamp) -> Result<String, Status> {
    jiff::Timestamp::new(time.seconds, time.nanos)
        .map(|at| format!("{at:.6}"))
        .map_err(|err| Status::invalid_argument(err.to_string()))
}

/// Calls are numbered within their session, whose number may be shortened to what tables show.
fn is_session(wanted: &str, call: &str) -> bool {
    let session = call.split('.').next().unwrap_or_default();
    session == wanted || (wanted.len() >= SHORTEST_SESSION && session.starts_with(wanted))
}

/// Clients say who they are as `name version`.
fn is_client(wanted: &str, found: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Whether a call was about a path or something below it. Which texts of an input are paths only its tool knows, so any
/// text that is one counts.
fn has_path(wanted: &str, json: &[u8]) -> bool {
    let Ok(paths) = serde_json::from_slice::<Paths>(json) else {
        return false;
    };
    let workspace = paths.workspace.as_deref().unwrap_or_default();
    let wanted = absolute(workspace, wanted);
    let is_below = |found: &str| {
        let found = absolute(workspace, found);
        found.strip_prefix(&*wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    paths.before.iter().any(|(path, _)| is_below(path)) || any_text(&paths.input, &is_below)
}

/// Without `./` at the start and `/` at the end.
fn absolute(workspace: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    match path {
        "." => workspace.to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{workspace}/{path}"),
    }
}

fn any_text(value: &Value, is_wanted: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_wanted(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is_wanted)),
        Value::Object(members) => members.values().any(|member| any_text(member, is_wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn takes(query: AuditQueryRequest, record: &Value) -> bool {
        Filter::new(query).await.unwrap().takes(record.to_string().as_bytes())
    }

    #[tokio::test]
    async fn each_condition_takes_and_refuses() {
        let record = json!({
            "seq": 1, "at": "2026-01-31T12:00:00.500000Z", "kind": "call", "call": "abc.1", "tool": "files_write",
            "effect": "write", "uid": 1000, "client": "claude-code 2.1", "workspace": "/home/ann/p",
            "input": { "path": "src/main.rs", "edits": [{ "from": "./docs/" }], "note": "a \"word\"" },
            "before": [["src/old.rs", null]], "outcome": "ok",
        });
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        // 2026-01-31T12:00:00Z
        let noon = 1_769_860_800;
        let base = AuditQueryRequest::default;
        let text = |text: &str| AuditQueryRequest { text: text.into(), ..base() };
        let path = |path: &str| AuditQueryRequest { path: path.into(), ..base() };
        let client = |client: &str| AuditQueryRequest { client: client.into(), ..base() };
        for (query, expected) in [
            (base(), true),
            (AuditQueryRequest { uid: Some(1000), ..base() }, true),
            (AuditQueryRequest { uid: Some(0), ..base() }, false),
            (AuditQueryRequest { user: "root".into(), ..base() }, false),
            (client("claude-code"), true),
            (client("claude-code 2.1"), true),
            (client("claude"), false),
            (AuditQueryRequest { effect: "write".into(), ..base() }, true),
            (AuditQueryRequest { effect: "read".into(), ..base() }, false),
            (AuditQueryRequest { since: at(noon), until: at(noon + 1), ..base() }, true),
            (AuditQueryRequest { until: at(noon), ..base() }, false),
            (AuditQueryRequest { since: at(noon + 1), ..base() }, false),
            (path("src"), true),
            (path("./src/main.rs"), true),
            (path("/home/ann/p/src/old.rs"), true),
            (path("/home/ann"), true),
            (path("docs"), true),
            (path("sr"), false),
            (path("/src"), false),
            (text("\"word\""), true),
            (text("old.rs"), true),
            (text("older"), false),
            (AuditQueryRequest { without_proofs: true, ..base() }, true),
        ] {
            assert_eq!(takes(query.clone(), &record).await, expected, "{query:?}");
        }
        let checkpoint = json!({ "seq": 2, "at": "2026-01-31T12:00:01.000000Z", "kind": "checkpoint" });
        assert!(takes(base(), &checkpoint).await);
        assert!(!takes(AuditQueryRequest { without_proofs: true, ..base() }, &checkpoint).await);
        let nobody = AuditQueryRequest { user: "no such user".into(), ..base() };
        assert_eq!(Filter::new(nobody).await.err().unwrap().code(), tonic::Code::InvalidArgument);
    }
}
