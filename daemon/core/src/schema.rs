//! JSON Schemas (draft 2020-12) in the shape that every MCP client can read: no `$ref`, no nullable unions.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value};

/// The schema of `T`, inlined, titles removed.
#[must_use]
pub fn of<T: JsonSchema>() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.transforms.push(Box::new(RecursiveTransform(simplify)));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut map = schema.as_object().cloned().unwrap_or_default();
    map.remove("title");
    // MCP requires an object at the top, also for a tool without arguments.
    map.entry("type").or_insert_with(|| "object".into());
    map.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    map
}

/// Drops what only Rust cares about: an absent `Option` is simply absent, and number formats like `uint32`
/// are unknown to validators.
fn simplify(schema: &mut Schema) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    // `Option<Enum>` becomes `anyOf: [enum, null]`: keep the first and hoist it.
    if let Some(Value::Array(options)) = map.get("anyOf") {
        let rest: Vec<Value> =
            options.iter().filter(|option| option.get("type") != Some(&"null".into())).cloned().collect();
        if let ([Value::Object(only)], true) = (rest.as_slice(), rest.len() < options.len()) {
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    if map.get("default").is_some_and(is_nothing) {
        map.remove("default");
    }
    map.remove("format");
    // Doc comments wrap; the model pays for each line break.
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    one_of_names(map);
}

/// What a value is anyway that is not given: the model pays for being told.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

/// An enum whose variants carry doc comments becomes a `oneOf` of constants; fold it into one `enum` and put
/// the comments into the description.
fn one_of_names(map: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = map.get("oneOf") else {
        return;
    };
    let mut names = Vec::new();
    let mut notes = Vec::new();
    for option in options {
        // Variants without a comment of their own come together in one `enum`.
        match (option.get("const"), option.get("enum").and_then(Value::as_array)) {
            (Some(name), _) => names.push(name.clone()),
            (None, Some(plain)) => names.extend(plain.iter().cloned()),
            (None, None) => return,
        }
        let name = option.get("const");
        if let (Some(name), Some(note)) =
            (name.and_then(Value::as_str), option.get("description").and_then(Value::as_str))
        {
            notes.push(format!("{name}: {}", note.trim_end_matches('.')));
        }
    }
    map.remove("oneOf");
    map.insert("type".into(), "string".into());
    map.insert("enum".into(), Value::Array(names));
    let own = map.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{own} {}", notes.join("; "));
    map.insert("description".into(), text.trim().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    #[schemars(rename_all = "snake_case")]
    enum Color {
        /// Like blood.
        Red,
        /// Like the sea.
        Blue,
        Green,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Input {
        /// How
        /// many.
        count: Option<u32>,
        /// Which one.
        color: Option<Color>,
    }

    #[test]
    fn options_and_enums_are_flat() {
        let expected = serde_json::json!({
            "type": "object",
            "properties": {
                "count": { "description": "How many.", "type": "integer", "minimum": 0 },
                "color": {
                    "description": "Which one. red: Like blood; blue: Like the sea",
                    "type": "string",
                    "enum": ["green", "red", "blue"]
                }
            }
        });
        assert_eq!(Value::Object(of::<Input>()), expected);
    }
}
