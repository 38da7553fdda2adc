//! What the MCP server answers: tools, calls, and the results that were too large for an answer.

use super::{
    Inbox, Leaving, ask,
    result::{self, Splices},
    wire::{RawRequest, Wire},
};
use crate::{calls, relay::Desk};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
        ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        ResourceContents, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    service::RequestContext,
};
use skynet_core::{Caller, Effect, Entry, ErrorKind, Registry, ctx::Progress};
use skynet_store::Blobs;
use std::sync::{Arc, PoisonError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Shown to the model once per session; clients cut it at 2 KB.
const INSTRUCTIONS: &str = "\
Skynet works on the user's files and Git repositories on this Linux host, in one workspace: the directory the client \
was started in. Paths are relative to it; nothing outside can be reached.
- Prefer `files_edit` (exact replacements or a unified diff) over rewriting a file with `files_write`. Pass \
`expected_sha256` from `files_read` to be told if somebody else changed it.
- Find things with `files_search` (content, regular expressions) and `files_find` (names); both respect .gitignore.
- `files_delete` moves to a trash; `files_restore` brings it back.
- Calls that destroy something wait for a human. If one answers `needs_confirmation`, tell the user what to approve and \
make the same call again afterwards.
- Errors start with their kind: fix `invalid_input`, look again on `conflict`, do not retry `denied`. `interrupted` means \
that it may have happened: check before calling again.
- A result that is too long shows head and tail and a `skynet://result/...` resource with the whole; add `?offset=&length=` \
(bytes) to read a part.";

/// A part of a stored result is at most that long.
const MOST_READ_BYTES: usize = 1 << 20;

/// What all sessions share.
#[derive(Clone)]
pub(crate) struct Server {
    tools: Arc<[Tool]>,
    blobs: Blobs,
}

impl Server {
    pub(crate) fn new(registry: &Registry, blobs: Blobs) -> Self {
        Self { tools: registry.iter().map(|entry| describe(entry)).collect(), blobs }
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, desk: &Desk, session: Uuid, caller: Caller, inbox: &Arc<Inbox>) {
        while !inbox.is_closed() {
            let splices = Arc::new(Splices::default());
            let handler = Handler {
                server: self.clone(),
                desk: desk.clone(),
                session,
                caller: caller.clone(),
                inbox: inbox.clone(),
                splices: splices.clone(),
            };
            let stop = CancellationToken::new();
            match handler.serve_with_ct(Wire::new(inbox.clone(), splices), stop).await {
                Ok(service) => {
                    if let Err(err) = service.waiting().await {
                        tracing::error!(error = %err, "a session failed");
                    }
                    return;
                }
                // A failed handshake was answered; the client may try another.
                Err(err) => tracing::debug!(error = %err, "a handshake failed"),
            }
        }
    }
}

fn describe(entry: &Entry) -> Tool {
    let is_read = entry.effect == Effect::Read;
    let annotations = ToolAnnotations::new()
        .read_only(is_read)
        .destructive(!is_read)
        .idempotent(is_read)
        .open_world(entry.effect == Effect::External);
    Tool::new(entry.name, entry.summary, entry.input_schema.clone())
        .with_raw_output_schema(entry.output_schema.clone())
        .with_annotations(annotations)
}

struct Handler {
    server: Server,
    desk: Desk,
    session: Uuid,
    caller: Caller,
    inbox: Arc<Inbox>,
    splices: Arc<Splices>,
}

impl Handler {
    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        let mut caller = self.caller.clone();
        if let Some(client) = context.client_info() {
            caller.client = format!("{} {}", client.name, client.version).into();
            let revision = context.protocol_version().map(|version| version.to_string()).unwrap_or_default();
            self.desk.sessions.identify(self.session, &caller.client, &revision);
        }
        caller
    }

    /// Waits for a call, passing progress on, until the client no longer wants it.
    async fn follow(
        &self,
        mut running: calls::Running,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let token = context.meta.get_progress_token();
        let mut progress = running.progress.clone();
        let mut is_reporting = token.is_some();
        let outcome = loop {
            tokio::select! {
                outcome = running.outcome() => break outcome,
                changed = progress.changed(), if is_reporting => {
                    is_reporting = changed.is_ok();
                    let report = progress.borrow_and_update().clone();
                    if let (Some(token), Some(report)) = (&token, report) {
                        // A client that does not hear of it loses nothing but the news.
                        let _ = context.peer.notify_progress(notification(token.clone(), report)).await;
                    }
                }
                () = context.ct.cancelled() => {
                    // A broken connection cancels nothing: the client may come back for the answer.
                    if !(self.inbox.is_closed() && self.inbox.leaving() == Leaving::Lost) {
                        running.cancel.cancel();
                    }
                    return Err(ErrorData::internal_error("canceled", None));
                }
            }
        };
        Ok(match &*outcome {
            Ok(answer) => self.splices.keep(context.id.clone(), answer.clone()),
            Err(err) => result::failure(err),
        }
        .into())
    }
}

fn notification(token: rmcp::model::ProgressToken, report: Progress) -> ProgressNotificationParam {
    let mut param = ProgressNotificationParam::new(token, report.done).with_message(report.message);
    param.total = report.total;
    param
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("skynet", env!("CARGO_PKG_VERSION")).with_title("Skynet"))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.server.tools.to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.server.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let raw = context
            .extensions
            .get::<RawRequest>()
            .cloned()
            .ok_or_else(|| ErrorData::internal_error("a request without its frame", None))?;
        let slot = raw.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.desk.sessions.count_call(self.session);
        let started = self.desk.calls.start(calls::Request {
            id: raw.call,
            name: request.name.into_owned(),
            caller: self.caller(&context),
            raw: raw.arguments,
            resend: raw.resend,
            slots: slot.into_iter().collect(),
            ask: ask::through(&context),
        });
        match started {
            Ok(running) => self.follow(running, &context).await,
            // A name that is no tool is an error of the protocol, not of a tool.
            Err(err) if err.kind == ErrorKind::NotFound => Err(ErrorData::invalid_params(err.message, None)),
            Err(err) => Err(ErrorData::internal_error(err.message, None)),
        }
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let unknown =
            || ErrorData::resource_not_found(format!("there is no resource `{}`", request.uri), None);
        let (digest, offset, length) = parse_result_uri(&request.uri).ok_or_else(unknown)?;
        let blobs = self.server.blobs.clone();
        let owner = format!("result/{}", self.caller.uid);
        let read = tokio::task::spawn_blocking(move || blobs.read(&owner, &digest, offset, length)).await;
        match read {
            Ok(Ok(Some((bytes, _)))) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(ReadResourceResult::new(vec![ResourceContents::text(text, request.uri)]).into())
            }
            Ok(Ok(None)) => Err(unknown()),
            Ok(Err(err)) => {
                tracing::error!(error = %err, "a stored result cannot be read");
                Err(ErrorData::internal_error("the stored result cannot be read", None))
            }
            Err(err) => Err(ErrorData::internal_error(err.to_string(), None)),
        }
    }
}

/// Reads `skynet://result/<sha256>?offset=<bytes>&length=<bytes>`.
fn parse_result_uri(uri: &str) -> Option<(String, u64, usize)> {
    let rest = uri.strip_prefix("skynet://result/")?;
    let (digest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (mut offset, mut length) = (0, MOST_READ_BYTES);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("offset", value) => offset = value.parse().ok()?,
            ("length", value) => length = value.parse::<usize>().ok()?.min(MOST_READ_BYTES),
            _ => return None,
        }
    }
    Some((digest.to_owned(), offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_fit_what_clients_show() {
        assert!(INSTRUCTIONS.len() <= 2048, "{}", INSTRUCTIONS.len());
    }

    #[test]
    fn result_uris() {
        let digest = "a".repeat(64);
        let uri = format!("skynet://result/{digest}");
        assert_eq!(parse_result_uri(&uri), Some((digest.clone(), 0, MOST_READ_BYTES)));
        assert_eq!(parse_result_uri(&format!("{uri}?offset=5&length=7")), Some((digest, 5, 7)));
        for wrong in
            ["skynet://result/../x", "skynet://other/a", &format!("{uri}?offset=-1"), &format!("{uri}?x=1")]
        {
            assert_eq!(parse_result_uri(wrong), None, "{wrong}");
        }
    }
}
