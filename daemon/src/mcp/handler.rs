//! What the MCP server answers, request by request. What an answer is made of is in the files beside this one.

use super::{
    Inbox, Leaving,
    ask::{self, Dialog},
    files::{self, Files, MOST_FILES},
    old_names, prompts, resources,
    result::Splices,
    server::Shared,
    skills,
    subscriptions::{self, Subscribed, Watch},
    tasks,
    wire::{About, RawRequest},
};
use crate::{calls, relay::Desk};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, CustomRequest, CustomResult, DiscoverResult, GetPromptRequestParams,
        GetPromptResponse, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult,
        Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListSkillsResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, ServerConfig, SubscribeRequestParams, SubscriptionFilter,
        Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde_json::Value;
use skynet_catalog::Viewer;
use skynet_core::{CallId, Caller, Error, ErrorKind};
use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use uuid::Uuid;

/// Of the name and of the version of a client, in letters.
const LONGEST_NAME: usize = 100;

/// Lists stay true that long, in milliseconds, unless a notification says otherwise.
const LISTS_LIVE_MS: u64 = 300_000;

/// Methods that rmcp takes for unknown ones when their parameters do not fit.
const KNOWN_METHODS: [&str; 17] = [
    "completion/complete",
    "initialize",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "skills/get",
    "skills/list",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tools/call",
    "tools/list",
];

/// One connection.
pub(super) struct Handler {
    pub(super) server: Arc<Shared>,
    pub(super) desk: Desk,
    pub(super) session: Uuid,
    pub(super) caller: Caller,
    pub(super) inbox: Arc<Inbox>,
    pub(super) splices: Arc<Splices>,
    /// What the session subscribed to over connections before this one.
    pub(super) resumed: Mutex<Vec<(String, CallId)>>,
    pub(super) subscribed: Subscribed,
    /// The files among them.
    pub(super) files: Files,
    /// Whether the client is told of news already.
    pub(super) is_telling: AtomicBool,
}

impl Handler {
    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        let mut caller = self.caller.clone();
        if let Some(client) = context.client_info() {
            caller.client = title(&client);
            let revision = context.protocol_version().map(|version| version.to_string()).unwrap_or_default();
            self.desk.sessions.identify(self.session, &caller.client, &revision);
        }
        caller
    }

    /// Whether the connection broke, rather than being ended by its client.
    pub(super) fn is_broken(&self) -> bool {
        self.inbox.is_closed() && self.inbox.leaving() == Leaving::Lost
    }

    /// Who looks at lists. In revisions without sessions a list must not depend on the connection.
    fn viewer(&self, is_modern: bool) -> Viewer {
        if !is_modern {
            self.desk.catalog.begin_session(self.session);
        }
        Viewer {
            uid: self.caller.uid,
            token: self.caller.token.as_ref().map(|token| token.id.clone()),
            session: (!is_modern).then_some(self.session),
        }
    }

    fn watch(&self, is_modern: bool, files: &Files) -> Watch {
        let viewer = self.viewer(is_modern);
        Watch::new(&self.desk.catalog, viewer, self.session, self.desk.calls.recorded(), files.news())
    }

    /// The call of a tool that a request of another method stands on; one for each request.
    pub(super) async fn call_inside(
        &self,
        raw: &RawRequest,
        tool: &str,
        input: &Value,
    ) -> Result<Value, Error> {
        let client = raw.client.clone().unwrap_or_else(|| self.caller.client.clone());
        let caller = Caller { client, ..self.caller.clone() };
        let request = calls::Request::new(raw.call, tool, caller, input.to_string().into());
        let mut running = self.desk.calls.start(request)?;
        let _cancel = running.cancel.clone().drop_guard();
        match &*running.outcome().await {
            Ok(answer) => serde_json::from_slice(&answer.json)
                .map_err(|err| Error::internal("an answer is not JSON").with_source(err)),
            Err(err) => Err(Error::new(err.kind, err.message.clone())),
        }
    }
}

/// What a client calls itself. It stands in every line of the audit log.
pub(super) fn title(client: &Implementation) -> Arc<str> {
    let short = |text: &str| text.chars().take(LONGEST_NAME).collect::<String>();
    format!("{} {}", short(&client.name), short(&client.version)).into()
}

fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// Version, trace, parent and flags in hexadecimal (W3C Trace Context, section 3.2): what goes into the audit log is no
/// more than that.
fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn raw(context: &RequestContext<RoleServer>) -> Result<RawRequest, ErrorData> {
    let raw = context.extensions.get::<RawRequest>().cloned();
    raw.ok_or_else(|| ErrorData::internal_error("a request without its frame", None))
}

/// The same of a request of another method, which makes calls in the name of its client.
fn raw_inside(context: &RequestContext<RoleServer>) -> Result<RawRequest, ErrorData> {
    Ok(RawRequest { client: context.client_info().as_ref().map(title), ..raw(context)? })
}

/// A list with its cache hints, which older clients do not know.
macro_rules! listed {
    ($result:expr, $context:expr) => {{
        let result = $result;
        if is_modern(&$context) {
            result.with_ttl_ms(LISTS_LIVE_MS).with_cache_scope(CacheScope::Private)
        } else {
            result
        }
    }};
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.server.config.clone()
    }

    async fn discover(&self, _context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info())
            .with_ttl_ms(LISTS_LIVE_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        // Said twice, it would be told everything twice.
        if self.is_telling.swap(true, Ordering::Relaxed) {
            return;
        }
        let telling = subscriptions::tell(
            self.watch(false, &self.files),
            context.peer.clone(),
            self.subscribed.clone(),
            self.desk.sessions.clone(),
            self.inbox.clone(),
        );
        tokio::spawn(telling);
        let resumed = std::mem::take(&mut *self.resumed.lock().unwrap_or_else(PoisonError::into_inner));
        subscriptions::resume(self, resumed, &context.peer).await;
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let viewer = self.viewer(is_modern(&context));
        let tools = self.server.listing.of(&self.desk.catalog.listed(&viewer));
        let tools = old_names::add(tools, &self.server.listing, &self.desk.catalog.aliases(&viewer));
        #[cfg(feature = "conformance")]
        let tools = [tools, super::fixtures::tools()].concat();
        Ok(listed!(ListToolsResult::with_all_items(tools), context))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.server.listing.find(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let raw = raw(&context)?;
        let about = About(raw.call.sequence);
        #[cfg(feature = "conformance")]
        if let Some(answer) = super::fixtures::call(self, &request, &raw.arguments, about, &context).await {
            return answer;
        }
        let caller = self.caller(&context);
        let dialog = ask::through(&context, &request, &caller, &self.server.states, about, raw.resend)?;
        let slot = raw.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.desk.sessions.count_call(self.session);
        // Also makes sure that a session which has a list of its own can change it.
        let alias = self.desk.catalog.alias(&self.viewer(is_modern(&context)), &request.name);
        let (name, arguments) = match alias {
            Some(alias) => old_names::translate(alias, raw.arguments),
            None => (request.name.into_owned(), raw.arguments),
        };
        let started = self.desk.calls.start(calls::Request {
            id: raw.call,
            name,
            caller,
            raw: arguments,
            alias: alias.map(|alias| alias.name),
            resend: raw.resend,
            slots: slot.into_iter().collect(),
            ask: Dialog::ask(&dialog),
            trace_parent: context
                .meta
                .get_traceparent()
                .filter(|text| is_trace_parent(text))
                .map(str::to_owned),
        });
        match started {
            Ok(running) => self.follow(running, &dialog, about, &context).await,
            // A name that is no tool is an error of the protocol, not of a tool.
            Err(err) if err.kind == ErrorKind::NotFound => Err(ErrorData::invalid_params(err.message, None)),
            Err(err) => Err(ErrorData::internal_error(err.message, None)),
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        tasks::show(self, &request.task_id).await
    }

    /// A task never waits for input here: what needs a human asks before it becomes one.
    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        tasks::find(self, &request.task_id).map(drop)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        tasks::cancel(self, &request.task_id)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(listed!(ListResourcesResult::with_all_items(resources::all()), context))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(listed!(ListResourceTemplatesResult::with_all_items(resources::templates()), context))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = resources::read(self, &raw_inside(&context)?, &request.uri).await?;
        let result = ReadResourceResult::new(vec![contents]);
        // What is read may change with the next call.
        let result = if is_modern(&context) {
            result.with_ttl_ms(0).with_cache_scope(CacheScope::Private)
        } else {
            result
        };
        Ok(result.into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !resources::can_change(&request.uri) {
            return Err(ErrorData::invalid_params(
                format!(
                    "`{}` never changes by itself; files of the workspace and `{}` can be subscribed to",
                    request.uri,
                    resources::SESSION_AUDIT
                ),
                None,
            ));
        }
        let raw = raw_inside(&context)?;
        if resources::is_file(&request.uri) {
            let refusal = |err| resources::refusal(&request.uri, err);
            // Those of earlier connections count as well that are not watched again yet.
            let known = self.desk.sessions.subscribed(self.session);
            let others = known.iter().filter(|(uri, _)| resources::is_file(uri) && *uri != request.uri);
            if others.count() >= MOST_FILES {
                return Err(refusal(files::too_many()));
            }
            self.files.follow(self, &raw, &request.uri).await.map_err(refusal)?;
        }
        self.desk.sessions.subscribe(&request.uri, raw.call);
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner).insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.uri);
        self.desk.sessions.unsubscribe(self.session, &request.uri);
        self.files.forget(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::default();
        accepted.tools_list_changed = requested.tools_list_changed;
        accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(|uris| {
            let can_change = uris.iter().filter(|uri| resources::can_change(uri));
            can_change.take(MOST_FILES).cloned().collect()
        });
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let raw = raw_inside(context.request_context())?;
        let files = Files::default();
        let watch = self.watch(true, &files);
        if raw.resend {
            // What happened since the last connection nobody saw. What was not asked for, the sink drops.
            let _ = context.sink().notify_tool_list_changed().await;
            let _ = context.sink().notify_resource_updated(resources::SESSION_AUDIT).await;
        }
        let following = async {
            subscriptions::follow(self, &files, &raw, context.sink()).await;
            pending::<()>().await;
        };
        tokio::select! {
            () = subscriptions::listen(watch, context.sink().clone(), self.inbox.clone()) => {}
            () = following => {}
            () = context.cancelled() => {}
        }
        Ok(())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(listed!(ListPromptsResult::with_all_items(prompts::all()), context))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        #[cfg(feature = "conformance")]
        if let Some(answer) = super::fixtures::prompt(&request) {
            return answer;
        }
        Ok(prompts::get(&request.name, request.arguments.as_ref())?.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::new(prompts::complete(self, &raw_inside(&context)?, &request).await?))
    }

    #[cfg(feature = "conformance")]
    #[allow(deprecated, reason = "the suite still asks for it")]
    async fn set_level(
        &self,
        _request: rmcp::model::SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_skills(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        Ok(listed!(ListSkillsResult::with_all_items(skills::all()), context))
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        let skill = skills::all().into_iter().find(|skill| skill.uri == request.uri);
        let skill = skill
            .ok_or_else(|| ErrorData::invalid_params(format!("there is no skill `{}`", request.uri), None))?;
        Ok(GetSkillResult::new(skill))
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if KNOWN_METHODS.contains(&request.method.as_str()) {
            let message = format!("the parameters do not fit `{}`", request.method);
            return Err(ErrorData::invalid_params(message, None));
        }
        let message = format!("there is no method `{}`", request.method);
        Err(ErrorData::new(rmcp::model::ErrorCode::METHOD_NOT_FOUND, message, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_parents() {
        let right = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        assert!(is_trace_parent(&right));
        for wrong in ["", "00-a-b-01", &right[1..], &format!("{right}-"), &right.replace('a', "z")] {
            assert!(!is_trace_parent(wrong), "{wrong}");
        }
    }
}
