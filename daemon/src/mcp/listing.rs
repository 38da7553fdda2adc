//! Tools as MCP lists them, made once and as short as they can be.

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};
use skynet_core::{Effect, Entry, Registry};
use std::{collections::HashMap, sync::Arc};

/// Every tool as it is listed, by name.
pub(super) struct Listing(HashMap<&'static str, Tool>);

impl Listing {
    pub(super) fn new(registry: &Registry) -> Self {
        Self(registry.iter().map(|entry| (entry.name, describe(entry))).collect())
    }

    /// Those of `entries`, in their order.
    pub(super) fn of(&self, entries: &[Arc<Entry>]) -> Vec<Tool> {
        entries.iter().filter_map(|entry| self.find(entry.name)).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Tool> {
        self.0.get(name).cloned()
    }
}

fn describe(entry: &Entry) -> Tool {
    let is_read = entry.most == Effect::Read;
    let mut annotations =
        ToolAnnotations::new().read_only(is_read).open_world(entry.most == Effect::External);
    if !is_read {
        // What only reads destroys nothing, by definition (MCP, tool annotations).
        annotations = annotations.destructive(true);
    }
    let mut output_schema = Map::clone(&entry.output_schema);
    undescribe(&mut output_schema);
    Tool::new(entry.name, entry.summary, entry.input_schema.clone())
        .with_raw_output_schema(Arc::new(output_schema))
        .with_annotations(annotations)
}

/// Leaves the shape of an output schema: that is what a client checks an answer against. A model that wants to know
/// what an answer means asks `skynet_describe_tool`.
fn undescribe(schema: &mut Map<String, Value>) {
    schema.retain(|key, _| {
        ["type", "properties", "required", "items", "additionalProperties", "enum"].contains(&key.as_str())
    });
    for part in ["properties", "items", "additionalProperties"] {
        match (part, schema.get_mut(part)) {
            ("properties", Some(Value::Object(properties))) => {
                properties.values_mut().filter_map(Value::as_object_mut).for_each(undescribe);
            }
            (_, Some(Value::Object(inner))) => undescribe(inner),
            _ => {}
        }
    }
}
