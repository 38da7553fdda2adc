//! The tools, prompts and resources that the official conformance suite asks for. Only a build with the feature
//! `conformance` has them; a release does not. Their names and answers are those of the suite.
#![allow(deprecated, reason = "the suite still asks for sampling, roots and logging")]
#![allow(
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "never in a release; JSON values index to null"
)]

mod read;

pub(super) use read::{WATCHED, contents, prompt, prompts, resources, template};

use super::{handler::Handler, states::States, wire::About};
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientResult,
        CreateMessageRequest, ElicitRequest, InputRequest, InputRequiredResult, InputResponses, LoggingLevel,
        LoggingMessageNotification, LoggingMessageNotificationParam, ProgressNotification,
        ProgressNotificationParam, ServerNotification, ServerRequest, Tool,
    },
    service::{OriginatingRequestId, RequestContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skynet_catalog::{Scope, Viewer};
use std::sync::Arc;

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

type Outcome<T> = Result<T, ErrorData>;

/// What a value of the suite is in rmcp's types.
fn typed<T: DeserializeOwned>(value: Value) -> Outcome<T> {
    serde_json::from_value(value).map_err(|err| ErrorData::internal_error(err.to_string(), None))
}

/// The same of a result. rmcp takes the type away again for revisions that have none.
fn result<T: DeserializeOwned>(mut value: Value) -> Outcome<T> {
    value["resultType"] = "complete".into();
    typed(value)
}

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// All tools with their input schemas.
fn declared() -> Vec<(&'static str, Value)> {
    let string = json!({ "type": "string" });
    let plain = [
        "test_audio_content",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_embedded_resource",
        "test_error_handling",
        "test_image_content",
        "test_input_required_result_capabilities",
        "test_input_required_result_elicitation",
        "test_input_required_result_list_roots",
        "test_input_required_result_multi_round",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_request_state",
        "test_input_required_result_sampling",
        "test_input_required_result_tampered_state",
        "test_logging_tool",
        "test_missing_capability",
        "test_multiple_content_types",
        "test_simple_text",
        "test_streaming_elicitation",
        "test_tool_with_logging",
        "test_tool_with_progress",
        "test_trigger_prompt_change",
        "test_trigger_tool_change",
    ];
    let mut tools: Vec<_> = plain.into_iter().map(|name| (name, object(json!({}), &[]))).collect();
    tools.push(("test_elicitation", object(json!({ "message": string }), &["message"])));
    tools.push(("test_sampling", object(json!({ "prompt": string }), &["prompt"])));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": { "$anchor": "addressDef", "type": "object", "properties": { "street": string, "city": string } } },
        "properties": {
            "name": string, "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] }, "phone": string, "email": string,
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] }, "else": { "required": ["email"] },
        "additionalProperties": false,
    });
    tools.push(("json_schema_2020_12_tool", schema));
    tools
}

pub(super) fn tools() -> Vec<Tool> {
    let tool = |(name, schema): (&'static str, Value)| {
        Tool::new(name, "A tool of the conformance suite.", schema.as_object().cloned().unwrap_or_default())
    };
    declared().into_iter().map(tool).collect()
}

/// One call of a fixture.
struct Call<'a> {
    handler: &'a Handler,
    context: &'a RequestContext<RoleServer>,
    about: About,
    arguments: Value,
    request: &'a CallToolRequestParams,
}

/// Answers a call of a fixture; `None` if it is of something else.
pub(super) async fn call(
    handler: &Handler,
    request: &CallToolRequestParams,
    arguments: &[u8],
    about: About,
    context: &RequestContext<RoleServer>,
) -> Option<Outcome<CallToolResponse>> {
    declared().iter().find(|(name, _)| *name == request.name)?;
    let arguments = serde_json::from_slice(arguments).unwrap_or_else(|_| json!({}));
    let call = Call { handler, context, about, arguments, request };
    Some(match call.rounds() {
        Some(response) => response,
        None => call.once().await,
    })
}

impl Call<'_> {
    /// Those that answer at once, in either era.
    async fn once(&self) -> Outcome<CallToolResponse> {
        let answer = match &*self.request.name {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => {
                json!({ "content": [{ "type": "image", "data": PNG, "mimeType": "image/png" }] })
            }
            "test_audio_content" => {
                json!({ "content": [{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }] })
            }
            "test_embedded_resource" => json!({ "content": [{ "type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain", "text": "This is an embedded resource content.",
            } }] }),
            "test_multiple_content_types" => json!({ "content": [
                { "type": "text", "text": "Multiple content types test:" },
                { "type": "image", "data": PNG, "mimeType": "image/png" },
                { "type": "resource", "resource": {
                    "uri": "test://mixed-content-resource", "mimeType": "application/json", "text": r#"{"test":"data","value":123}"#,
                } },
            ] }),
            "test_error_handling" => {
                let mut answer = text("This tool intentionally returns an error for testing");
                answer["isError"] = true.into();
                answer
            }
            "test_tool_with_logging" => {
                for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    self.log(line).await;
                }
                text("logged")
            }
            "test_logging_tool" => {
                if self.context.meta.log_level().is_some() {
                    self.log("asked for").await;
                }
                text("done")
            }
            "test_tool_with_progress" => self.progress().await,
            "test_sampling" => {
                let answer = self.sample().await?;
                text(&format!("LLM response: {answer}"))
            }
            "test_elicitation" => {
                let properties = json!({
                    "username": { "type": "string", "description": "User's response" },
                    "email": { "type": "string", "description": "User's email address" },
                });
                let message = self.arguments["message"].as_str().unwrap_or_default();
                let answer = self.elicit(message, properties, &["username", "email"]).await?;
                text(&format!("User response: {answer}"))
            }
            "test_elicitation_sep1034_defaults" => self.defaults().await?,
            "test_elicitation_sep1330_enums" => self.enums().await?,
            "test_missing_capability" => {
                let declared = self.capabilities().is_some_and(|declared| declared.sampling.is_some());
                if !declared {
                    let needed: ClientCapabilities = typed(json!({ "sampling": {} }))?;
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
                text("sampling is declared")
            }
            "test_trigger_tool_change" => {
                self.toggle()?;
                text("changed")
            }
            _ => text("ok"),
        };
        Ok(result::<CallToolResult>(answer)?.into())
    }

    /// Those that ask by their answer.
    fn rounds(&self) -> Option<Outcome<CallToolResponse>> {
        let answers = self.request.input_responses.clone().unwrap_or_default();
        let name = json!({ "name": { "type": "string" } });
        let response = match &*self.request.name {
            "test_streaming_elicitation" => needed(&[("user_name", form("Name?", name))], None),
            "test_input_required_result_elicitation" => match accepted(&answers, "user_name") {
                Some(content) => said(&format!("Hello, {}!", content["name"].as_str().unwrap_or_default())),
                None => needed(&[("user_name", form("What is your name?", name))], None),
            },
            "test_input_required_result_sampling" => match answers.get("capital_question") {
                Some(answer) => said(answer["content"]["text"].as_str().unwrap_or_default()),
                None => {
                    needed(&[("capital_question", sampling("What is the capital of France?", 100))], None)
                }
            },
            "test_input_required_result_list_roots" => match answers.get("client_roots") {
                Some(answer) => said(&answer["roots"].to_string()),
                None => needed(&[("client_roots", roots())], None),
            },
            "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
                if answers.contains_key("confirm") {
                    self.open("confirm").and_then(|()| said("state-ok"))
                } else {
                    let ok = json!({ "ok": { "type": "boolean" } });
                    needed(&[("confirm", form("Please confirm", ok))], self.seal("confirm"))
                }
            }
            "test_input_required_result_multiple_inputs" => {
                if answers.len() >= 3 {
                    self.open("multiple").and_then(|()| said("all answered"))
                } else {
                    let requests = [
                        ("user_name", form("What is your name?", name)),
                        ("greeting", sampling("Generate a greeting", 50)),
                        ("client_roots", roots()),
                    ];
                    needed(&requests, self.seal("multiple"))
                }
            }
            "test_input_required_result_multi_round" => {
                let color = json!({ "color": { "type": "string" } });
                match (accepted(&answers, "step1"), accepted(&answers, "step2")) {
                    (Some(_), _) => self.open("step1").and_then(|()| {
                        needed(
                            &[("step2", form("Step 2: What is your favorite color?", color))],
                            self.seal("step2"),
                        )
                    }),
                    (None, Some(_)) => self.open("step2").and_then(|()| said("both answered")),
                    (None, None) => {
                        needed(&[("step1", form("Step 1: What is your name?", name))], self.seal("step1"))
                    }
                }
            }
            "test_input_required_result_capabilities" => {
                let declared = self.capabilities().unwrap_or_default();
                let mut requests = Vec::new();
                if declared.elicitation.is_some() {
                    requests.push(("name", form("Name?", name)));
                }
                if declared.sampling.is_some() {
                    requests.push(("sample", sampling("Hello", 10)));
                }
                needed(&requests, None)
            }
            _ => return None,
        };
        Some(response)
    }

    fn capabilities(&self) -> Option<ClientCapabilities> {
        self.context.client_capabilities()
    }

    fn states(&self) -> &Arc<States> {
        &self.handler.server.states
    }

    fn seal(&self, step: &str) -> Option<String> {
        self.states().seal(&self.handler.caller.owner(), step)
    }

    fn open(&self, step: &str) -> Outcome<()> {
        let state = self.request.request_state.as_deref().unwrap_or_default();
        match self.states().unseal(&self.handler.caller.owner(), state) {
            Some(sealed) if sealed == step => Ok(()),
            _ => Err(ErrorData::invalid_params("the request state is not one of this server", None)),
        }
    }

    async fn log(&self, line: &str) {
        let param = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
        let mut notification = LoggingMessageNotification::new(param);
        notification.extensions.insert(self.about);
        let notification = ServerNotification::LoggingMessageNotification(notification);
        // The suite counts what arrives.
        let _ = self.context.peer.send_notification(notification).await;
    }

    async fn progress(&self) -> Value {
        for done in [0.0, 50.0, 100.0] {
            let Some(token) = self.context.meta.get_progress_token() else { break };
            let mut param = ProgressNotificationParam::new(token, done);
            param.total = Some(100.0);
            let mut notification = ProgressNotification::new(param);
            notification.extensions.insert(self.about);
            // As above.
            let _ = self
                .context
                .peer
                .send_notification(ServerNotification::ProgressNotification(notification))
                .await;
        }
        text("done")
    }

    async fn sample(&self) -> Outcome<String> {
        let prompt = self.arguments["prompt"].as_str().unwrap_or_default();
        let mut request: CreateMessageRequest =
            CreateMessageRequest::new(typed(sampling(prompt, 100)["params"].clone())?);
        request.extensions.insert(self.about);
        request.extensions.insert(OriginatingRequestId(self.context.id.clone()));
        let answer = self.context.peer.send_request(ServerRequest::CreateMessageRequest(request)).await;
        match answer.map_err(|err| ErrorData::internal_error(err.to_string(), None))? {
            ClientResult::CreateMessageResult(result) => Ok(json!(result.message).to_string()),
            _ => Err(ErrorData::internal_error("the client did not sample", None)),
        }
    }

    async fn elicit(&self, message: &str, properties: Value, required: &[&str]) -> Outcome<String> {
        let params =
            json!({ "mode": "form", "message": message, "requestedSchema": object(properties, required) });
        let mut request = ElicitRequest::new(typed(params)?);
        request.extensions.insert(self.about);
        request.extensions.insert(OriginatingRequestId(self.context.id.clone()));
        let answer = self.context.peer.send_request(ServerRequest::ElicitRequest(request)).await;
        match answer.map_err(|err| ErrorData::internal_error(err.to_string(), None))? {
            ClientResult::ElicitResult(result) => Ok(json!(result).to_string()),
            _ => Err(ErrorData::internal_error("the client did not ask", None)),
        }
    }

    async fn defaults(&self) -> Outcome<Value> {
        let properties = json!({
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "default": true },
        });
        let answer = self.elicit("Values with defaults", properties, &[]).await?;
        Ok(text(&format!("Elicitation completed: {answer}")))
    }

    async fn enums(&self) -> Outcome<Value> {
        let titled = |prefix: &str| {
            let option = |number: u32| json!({ "const": format!("{prefix}{number}"), "title": format!("Number {number}") });
            json!([option(1), option(2), option(3)])
        };
        let properties = json!({
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": { "type": "string", "oneOf": titled("value") },
            "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"] },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": ["option1", "option2", "option3"] } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled("value") } },
        });
        let answer = self.elicit("Values to choose from", properties, &[]).await?;
        Ok(text(&format!("Elicitation completed: {answer}")))
    }

    /// Makes the list of this caller another one, and tells whoever listens.
    fn toggle(&self) -> Outcome<()> {
        let (catalog, caller) = (&self.handler.desk.catalog, &self.handler.caller);
        let viewer = Viewer {
            uid: caller.uid,
            token: caller.token.as_ref().map(|token| token.id.clone()),
            session: None,
        };
        let is_listed = catalog.toolsets(&viewer).get("git_more") == Some(&true);
        let scope = viewer.token.map_or(Scope::User(caller.uid), Scope::Token);
        catalog
            .choose(scope, "git_more", !is_listed)
            .map_err(|err| ErrorData::internal_error(err.message, None))?;
        Ok(())
    }
}

fn said(words: &str) -> Outcome<CallToolResponse> {
    Ok(result::<CallToolResult>(text(words))?.into())
}

fn needed(requests: &[(&str, Value)], state: Option<String>) -> Outcome<CallToolResponse> {
    Ok(input_required(requests, state)?.into())
}

fn input_required(requests: &[(&str, Value)], state: Option<String>) -> Outcome<InputRequiredResult> {
    let requests = requests
        .iter()
        .map(|(key, request)| Ok(((*key).to_owned(), typed::<InputRequest>(request.clone())?)));
    Ok(InputRequiredResult::new(Some(requests.collect::<Outcome<_>>()?), state))
}

fn form(message: &str, properties: Value) -> Value {
    let names: Vec<String> =
        properties.as_object().into_iter().flat_map(|all| all.keys()).map(ToOwned::to_owned).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": names });
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": message, "requestedSchema": schema } })
}

fn sampling(prompt: &str, most_tokens: u32) -> Value {
    let messages = json!([{ "role": "user", "content": { "type": "text", "text": prompt } }]);
    json!({ "method": "sampling/createMessage", "params": { "messages": messages, "maxTokens": most_tokens } })
}

fn roots() -> Value {
    json!({ "method": "roots/list", "params": {} })
}

/// The content of an answer that says yes.
fn accepted(answers: &InputResponses, key: &str) -> Option<Value> {
    let answer = answers.get(key)?;
    (answer["action"] == "accept" && answer["content"].is_object()).then(|| answer["content"].clone())
}
