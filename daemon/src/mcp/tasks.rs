//! Jobs as the tasks of MCP (extension `io.modelcontextprotocol/tasks`, SEP-2663).

use super::{handler::Handler, result};
use crate::jobs::{KEPT_FOR, Record};
use rmcp::{
    ErrorData,
    model::{
        CallToolResult, CreateTaskResult, DetailedTask, GetTaskResult, JsonObject, Task, TaskPayload,
        TaskStatus,
    },
};
use serde_json::{Value, json};
use skynet_catalog::{JobState, Jobs as _};
use skynet_core::{Answer, ErrorKind, Picture};

/// How often a client should look.
const POLL_EVERY_MS: u64 = 1000;

/// A job as the answer of the call that became one.
pub(super) fn created(id: &str, record: &Record) -> CreateTaskResult {
    CreateTaskResult::new(task(id, record, None))
}

/// Where a task stands, and what came of it.
pub(super) async fn show(handler: &Handler, id: &str) -> Result<GetTaskResult, ErrorData> {
    let record = find(handler, id)?;
    let payload = match record.state {
        JobState::Running => TaskPayload::Working,
        JobState::Canceled => TaskPayload::Cancelled,
        JobState::Done | JobState::Failed => match handler.desk.jobs.outcome(&record).await {
            Some(Ok(answer)) => TaskPayload::Completed { result: completed(&answer)? },
            // What a tool refuses is an answer; what the daemon lost is a failure.
            Some(Err(err)) if err.kind != ErrorKind::Interrupted => {
                TaskPayload::Completed { result: object(&result::failure(&err))? }
            }
            Some(Err(err)) => {
                TaskPayload::Failed { error: failed(&format!("{}: {}", err.kind, err.message)) }
            }
            None => TaskPayload::Failed { error: failed("it ended without an outcome") },
        },
    };
    let message = handler.desk.jobs.message(id);
    Ok(GetTaskResult::new(DetailedTask::new(task(id, &record, message), payload)))
}

/// Asks a task to stop.
pub(super) fn cancel(handler: &Handler, id: &str) -> Result<(), ErrorData> {
    handler
        .desk
        .jobs
        .cancel(&handler.caller.owner(), id)
        .map_err(|err| ErrorData::invalid_params(err.message, None))
}

/// The job of this caller.
pub(super) fn find(handler: &Handler, id: &str) -> Result<Record, ErrorData> {
    let found = handler.desk.jobs.find(&handler.caller.owner(), id);
    found.map_err(|err| match err.kind {
        ErrorKind::NotFound => ErrorData::invalid_params(format!("there is no task `{id}`"), None),
        _ => ErrorData::internal_error(err.message, None),
    })
}

fn task(id: &str, record: &Record, message: Option<String>) -> Task {
    let status = match record.state {
        JobState::Running => TaskStatus::Working,
        JobState::Done => TaskStatus::Completed,
        JobState::Failed => TaskStatus::Failed,
        JobState::Canceled => TaskStatus::Cancelled,
    };
    let ttl = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
    let task = Task::new(id, status, record.created_at.to_string(), record.updated_at.to_string())
        .with_ttl_ms(ttl)
        .with_poll_interval_ms(POLL_EVERY_MS);
    match message {
        Some(message) => task.with_status_message(message),
        None => task,
    }
}

/// The result that the call would have had.
fn completed(answer: &Answer) -> Result<JsonObject, ErrorData> {
    let (picture, rest) = Picture::split(&answer.json).unzip();
    let value: Value = serde_json::from_slice(rest.as_deref().unwrap_or(&answer.json)).map_err(unreadable)?;
    let mut result = object(&CallToolResult::structured(value))?;
    if let Some(Value::Array(content)) = result.get_mut("content") {
        content.extend(picture.as_ref().map(result::image));
        content.extend(answer.links.iter().map(result::link));
        content.extend(answer.notices.iter().map(|text| result::notice(text)));
    }
    Ok(result)
}

fn object(result: &CallToolResult) -> Result<JsonObject, ErrorData> {
    match serde_json::to_value(result).map_err(unreadable)? {
        Value::Object(object) => Ok(object),
        _ => Err(ErrorData::internal_error("a result is no object", None)),
    }
}

fn failed(message: &str) -> JsonObject {
    let error = json!({ "code": rmcp::model::ErrorCode::INTERNAL_ERROR.0, "message": message });
    error.as_object().cloned().unwrap_or_default()
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn unreadable(err: serde_json::Error) -> ErrorData {
    tracing::error!(error = %err, "the answer of a job cannot be read");
    ErrorData::internal_error("the answer of this task cannot be read", None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_picture_of_a_task_is_content_as_that_of_a_call() {
        let json = r#"{"picture":{"media_type":"image/png","base64":"AAAA"},"width":1}"#;
        let notices = vec!["said".to_owned()];
        let answer = Answer { json: Bytes::from_static(json.as_bytes()), links: Vec::new(), notices };
        let result = Value::Object(completed(&answer).unwrap());
        assert_eq!(result["structuredContent"], json!({ "width": 1 }));
        assert_eq!(result["content"][1], json!({ "type": "image", "data": "AAAA", "mimeType": "image/png" }));
        assert_eq!(result["content"][2]["text"], "said");
        assert!(!result["content"][0].to_string().contains("AAAA"), "{result}");
    }
}
