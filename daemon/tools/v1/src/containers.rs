//! Containers and images of Docker.

use crate::arguments::{Arguments, schema};
use serde_json::{Map, Value, json};
use skynet_core::{Alias, alias::Meaning};

/// As long as v1's client waited for a log that it followed.
const FOLLOW_SECONDS: u32 = 30;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "list_containers",
            "List containers, running ones or all.",
            &["docker_list_containers"],
            schema(
                json!({
                    "all": { "type": "boolean", "description": "Also those that do not run." },
                    "filters": {
                        "type": "object",
                        "description": "Only some of them.",
                        "properties": {
                            "name": { "type": "string", "description": "Only names that contain this." },
                            "status": { "enum": ["running", "exited", "paused"], "description": "Only those in this state." },
                        },
                        "additionalProperties": false,
                    },
                }),
                &[],
            ),
            |arguments| {
                let arguments = opened(Arguments(arguments)).rename("status", "state");
                ("docker_list_containers", arguments.0)
            },
        ),
        Alias::new(
            "container_logs",
            "Read the logs of a container.",
            &["docker_read_logs"],
            schema(
                json!({
                    "containerId": { "type": "string", "minLength": 1, "description": "Name or id." },
                    "tail": { "type": "integer", "minimum": 1, "description": "The last so many lines; 100 by default." },
                    "follow": { "type": "boolean", "description": "Wait for more, for half a minute." },
                    "timestamps": { "type": "boolean", "description": "Say when each line was written." },
                }),
                &["containerId"],
            ),
            |arguments| {
                let mut arguments =
                    Arguments(arguments).rename("containerId", "container").at_most("tail", MOST_LINES);
                if arguments.take_switch("follow") {
                    arguments = arguments.with("follow_seconds", FOLLOW_SECONDS);
                }
                ("docker_read_logs", arguments.0)
            },
        ),
        Alias::new("start_container", "Start a container.", CONTROL, control_schema(), |arguments| {
            // To start takes no time that could be limited.
            control(Arguments(arguments).without("timeout"), "start")
        }),
        Alias::new("stop_container", "Stop a container.", CONTROL, control_schema(), |arguments| {
            control(Arguments(arguments), "stop")
        }),
        Alias::new(
            "restart_container",
            "Stop and start a container.",
            CONTROL,
            control_schema(),
            |arguments| control(Arguments(arguments), "restart"),
        ),
        Alias::new(
            "list_images",
            "List the images there are.",
            &["docker_list_images"],
            schema(
                json!({
                    "filters": {
                        "type": "object",
                        "description": "Only some of them.",
                        "properties": {
                            "dangling": { "type": "boolean", "description": "Only those without a tag." },
                            "reference": { "type": "string", "description": "Only those with this in a tag." },
                        },
                        "additionalProperties": false,
                    },
                }),
                &[],
            ),
            |arguments| ("docker_list_images", opened(Arguments(arguments)).rename("reference", "name").0),
        ),
    ]
}

/// Of `docker_read_logs`.
const MOST_LINES: u64 = 10_000;

/// Of `docker_control_container`, in seconds.
const MOST_GRACE: u64 = 300;

const CONTROL: &[&str] = &["docker_control_container"];

fn control_schema() -> Map<String, Value> {
    schema(
        json!({
            "containerId": { "type": "string", "minLength": 1, "description": "Name or id." },
            "timeout": { "type": "integer", "minimum": 1, "description": "Seconds it has to end; 10 by default." },
        }),
        &["containerId"],
    )
}

fn control(arguments: Arguments, action: &str) -> Meaning {
    let arguments = arguments.rename("containerId", "container").rename("timeout", "grace_seconds");
    let arguments = arguments.at_most("grace_seconds", MOST_GRACE);
    ("docker_control_container", arguments.with("action", action).0)
}

/// Filters beside what they stood in.
fn opened(mut arguments: Arguments) -> Arguments {
    if let Some(Value::Object(filters)) = arguments.take("filters") {
        arguments.0.extend(filters);
    }
    arguments
}
