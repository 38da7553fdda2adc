//! The host and its services.

use crate::arguments::{Arguments, schema};
use serde_json::{Value, json};
use skynet_core::Alias;

/// Of v1.
const PROCESSES: u32 = 10;

/// Of `system_show_resources`.
const MOST_PROCESSES: u64 = 50;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "get_system_info",
            "Describe this host: system, processor, uptime.",
            &["system_describe"],
            schema(json!({}), &[]),
            |arguments| ("system_describe", arguments),
        ),
        Alias::new(
            "get_resource_usage",
            "Show how processor, memory and disk are used, and the busiest processes.",
            &["system_show_resources"],
            schema(
                json!({
                    "includeProcesses": { "type": "boolean", "description": "Also the busiest processes." },
                    "topN": { "type": "integer", "minimum": 1, "description": "How many of them; 10 by default, 50 at most." },
                }),
                &[],
            ),
            |arguments| {
                let mut arguments = Arguments(arguments).at_most("topN", MOST_PROCESSES);
                let with_processes = arguments.take_switch("includeProcesses");
                let top = arguments.take("topN").unwrap_or_else(|| PROCESSES.into());
                let top = if with_processes { top } else { 0.into() };
                ("system_show_resources", arguments.with("top", top).0)
            },
        ),
        Alias::new(
            "list_services",
            "List services of systemd.",
            &["service_list"],
            schema(
                json!({
                    "filter": { "enum": ["running", "failed", "all"], "description": "Only those in this state." },
                    "pattern": { "type": "string", "description": "Only names like this." },
                }),
                &[],
            ),
            |arguments| {
                ("service_list", Arguments(arguments).rename("filter", "state").without_empty("pattern").0)
            },
        ),
        Alias::new(
            "service_status",
            "Show how a service of systemd stands.",
            &["service_show"],
            schema(json!({ "serviceName": name() }), &["serviceName"]),
            |arguments| ("service_show", Arguments(arguments).rename("serviceName", "name").0),
        ),
        Alias::new(
            "restart_service",
            "Restart a service of systemd.",
            &["service_control"],
            schema(
                json!({
                    "serviceName": name(),
                    "sudo": {
                        "type": "boolean",
                        "description": "Has no effect: what the user may do is for polkit to say.",
                    },
                }),
                &["serviceName"],
            ),
            |arguments| {
                let arguments = Arguments(arguments).rename("serviceName", "name").without("sudo");
                ("service_control", arguments.with("action", "restart").0)
            },
        ),
    ]
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "description": "Such as `nginx`." })
}
