//! Tools under other names, for those who switched on a toolset of such names.

use super::listing::Listing;
use bytes::Bytes;
use rmcp::model::Tool;
use serde_json::{Map, Value, json};
use skynet_core::{Alias, Canonical};
use std::sync::Arc;

/// The call that one under this name means. What is no input at all is for the tool to refuse.
pub(super) fn translate(alias: &Alias, raw: Bytes) -> (String, Bytes) {
    let Ok(arguments) = Canonical::parse(&raw) else {
        return (alias.means.first().copied().unwrap_or(alias.name).to_owned(), raw);
    };
    let (means, arguments) = alias.translate(arguments.members().clone());
    (means.to_owned(), Value::Object(arguments).to_string().into())
}

/// The list with other names in it. A tool that keeps its name is described with the arguments of both.
pub(super) fn add(tools: Vec<Tool>, listing: &Listing, aliases: &[Alias]) -> Vec<Tool> {
    let mut tools = tools;
    for alias in aliases {
        let described = describe(alias, listing);
        match tools.iter_mut().find(|tool| tool.name == alias.name) {
            Some(tool) => *tool = described,
            None => tools.push(described),
        }
    }
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools
}

fn describe(alias: &Alias, listing: &Listing) -> Tool {
    let means: Vec<Tool> = alias.means.iter().filter_map(|name| listing.find(name)).collect();
    let same = means.iter().find(|tool| tool.name == alias.name);
    let schema = same
        .map_or_else(|| alias.input_schema.clone(), |tool| of_both(&tool.input_schema, &alias.input_schema));
    let mut described = Tool::new(
        alias.name,
        same.and_then(|tool| tool.description.clone()).unwrap_or(alias.summary.into()),
        schema,
    );
    if let [only] = &*means {
        described.output_schema.clone_from(&only.output_schema);
    }
    // Of several, what holds for the one that does the most.
    described.annotations = means
        .iter()
        .max_by_key(|tool| tool.annotations.as_ref().is_some_and(|hints| hints.read_only_hint != Some(true)))
        .and_then(|tool| tool.annotations.clone());
    described
}

/// Every argument of both, of which none is required: either spelling has its own.
fn of_both(new: &Map<String, Value>, old: &Map<String, Value>) -> Arc<Map<String, Value>> {
    let mut both = new.clone();
    both.remove("required");
    if let (Some(Value::Object(all)), Some(Value::Object(old))) =
        (both.get_mut("properties"), old.get("properties"))
    {
        for (name, schema) in old {
            if let Some(known) = all.get_mut(name) {
                // A schema that is no object says nothing.
                if let (Value::Object(known), Value::Object(schema)) = (known, schema) {
                    take_either(known, schema);
                }
            } else {
                all.insert(name.clone(), schema.clone());
            }
        }
    }
    Arc::new(both)
}

/// Widens an argument that has one name in both spellings, and another type in each: a client that checks what it sends must let the
/// old form pass. What a schema says of objects is nothing to text, so both stand side by side.
fn take_either(known: &mut Map<String, Value>, old: &Map<String, Value>) {
    let (Some(Value::String(new_type)), Some(Value::String(old_type))) = (known.get("type"), old.get("type"))
    else {
        return;
    };
    if new_type == old_type {
        return;
    }
    let types = json!([new_type, old_type]);
    let description = format!("{} Or as {old_type}: {}", description_of(known), description_of(old));
    known.insert("type".to_owned(), types);
    known.insert("description".to_owned(), description.into());
    for (word, value) in old {
        known.entry(word.clone()).or_insert_with(|| value.clone());
    }
}

fn description_of(schema: &Map<String, Value>) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn an_argument_of_two_types_is_listed_with_both() {
        let new = object(&json!({ "type": "object", "required": ["message"], "properties": {
            "message": { "type": "string", "description": "New." },
            "author": { "type": "string", "description": "As `NAME <MAIL>`." },
        } }));
        let old = object(&json!({ "properties": {
            "message": { "type": "string", "description": "Old." },
            "author": {
                "type": "object", "description": "Who wrote it.",
                "properties": { "name": { "type": "string" } }, "required": ["name"],
            },
            "files": { "type": "array" },
        } }));
        let expected = json!({ "type": "object", "properties": {
            "message": { "type": "string", "description": "New." },
            "author": {
                "type": ["string", "object"], "description": "As `NAME <MAIL>`. Or as object: Who wrote it.",
                "properties": { "name": { "type": "string" } }, "required": ["name"],
            },
            "files": { "type": "array" },
        } });
        assert_eq!(Value::Object((*of_both(&new, &old)).clone()), expected);
    }
}
