//! The tools, through the same pipeline as MCP.

use super::Office;
use crate::{calls, people::Person, relay::peer};
use skynet_core::{CallId, Entry};
use skynet_proto::{
    CallToolRequest, CallToolResponse, DescribeToolRequest, ListToolsRequest, ListToolsResponse,
    ResourceLink, Tool, ToolError, call_tool_response::Outcome, tools_server::Tools,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use uuid::Uuid;

fn describe(entry: &Arc<Entry>) -> Tool {
    let json = |schema| serde_json::to_string(schema).unwrap_or_default();
    Tool {
        name: entry.name.into(),
        summary: entry.summary.into(),
        family: entry.family().into(),
        effect: entry.effect.as_str().into(),
        input_schema: json(&*entry.input_schema),
        output_schema: json(&*entry.output_schema),
        timeout_seconds: entry.timeout.as_secs_f64(),
    }
}

/// Cancels the call when the client stops waiting for it.
struct CancelOnDrop(calls::Running);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // After the end this does nothing.
        self.0.cancel.cancel();
    }
}

#[tonic::async_trait]
impl Tools for Office {
    async fn list(&self, _request: Request<ListToolsRequest>) -> Result<Response<ListToolsResponse>, Status> {
        let tools = self.desk.calls.registry().iter().map(describe).collect();
        Ok(Response::new(ListToolsResponse { tools }))
    }

    async fn describe(&self, request: Request<DescribeToolRequest>) -> Result<Response<Tool>, Status> {
        let entry = self.desk.calls.registry().find(&request.get_ref().name);
        entry.map(|entry| Response::new(describe(entry))).map_err(|err| Status::not_found(err.message))
    }

    async fn call(&self, request: Request<CallToolRequest>) -> Result<Response<CallToolResponse>, Status> {
        let peer = peer(&request)?;
        let CallToolRequest { name, input, workspace } = request.into_inner();
        let mut caller = self.desk.caller(&peer, "skynetctl", None).await?;
        if !workspace.is_empty() {
            let person = Person {
                name: caller.user.clone(),
                home: caller.home.clone(),
                groups: caller.groups.clone(),
            };
            let workspace = self.desk.people.workspace(&peer, &person, &workspace).await;
            caller.workspace = Some(workspace.map_err(Status::invalid_argument)?);
        }
        let id = CallId { session: Uuid::now_v7(), sequence: 1, index: 0 };
        let started = self.desk.calls.start(calls::Request::new(id, &name, caller, input));
        let mut running = CancelOnDrop(started.map_err(|err| Status::not_found(err.message))?);
        let (mut links, mut notices) = (Vec::new(), Vec::new());
        let outcome = match &*running.0.outcome().await {
            Ok(answer) => {
                links.extend(answer.links.iter().map(|link| ResourceLink {
                    uri: link.uri.clone(),
                    name: link.name.clone(),
                    media_type: link.media_type.clone(),
                    size_bytes: link.size_bytes,
                }));
                notices.clone_from(&answer.notices);
                Outcome::Output(answer.json.clone())
            }
            Err(err) => {
                Outcome::Error(ToolError { kind: err.kind.as_str().into(), message: err.message.to_string() })
            }
        };
        Ok(Response::new(CallToolResponse {
            call_id: id.to_string(),
            outcome: Some(outcome),
            links,
            notices,
        }))
    }
}
