//! What of an input may be written down. Schemas mark content with `writeOnly` (JSON Schema 2020-12,
//! validation, section 9.4); of that, and of any long text, only size and digest are kept.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;

/// Longer strings are never written down whole.
const LONGEST_TEXT: usize = 512;

/// An input that would be longer, in bytes of JSON, is written down without its longer members: whoever could write as much as
/// he likes would leave no room for what others did.
const LONGEST_INPUT: usize = 16 << 10;

/// A validated input, redacted by its schema.
pub(crate) fn by_schema(input: &Map<String, Value>, schema: &Map<String, Value>) -> Value {
    let whole = object(input, schema);
    let (Value::Object(members), true) = (&whole, whole.to_string().len() > LONGEST_INPUT) else {
        return whole;
    };
    // As many members as a tool has arguments.
    let short = |(name, member): (&String, &Value)| {
        let is_short = member.to_string().len() <= LONGEST_TEXT;
        let found = input.get(name).filter(|_| !is_short);
        (name.clone(), found.map_or_else(|| member.clone(), digest_of))
    };
    Value::Object(members.iter().map(short).collect())
}

/// Of an input that did not validate, nothing but names and sizes.
pub(crate) fn names_and_sizes(raw: &[u8]) -> Value {
    match serde_json::from_slice::<Map<String, Value>>(raw) {
        Ok(map) => {
            let sizes = map.iter().take(32).map(|(name, value)| {
                let name: String = name.chars().take(64).collect();
                (name, json!({ "bytes": value.to_string().len() }))
            });
            Value::Object(sizes.collect())
        }
        Err(_) => json!({ "bytes": raw.len() }),
    }
}

fn object(map: &Map<String, Value>, schema: &Map<String, Value>) -> Value {
    let properties = schema.get("properties");
    let members = map.iter().map(|(name, member)| {
        let schema = properties.and_then(|all| all.get(name)).and_then(Value::as_object);
        // A member the schema does not describe cannot be judged, so it is not written down.
        (name.clone(), schema.map_or_else(|| digest_of(member), |schema| value(member, schema)))
    });
    Value::Object(members.collect())
}

fn value(found: &Value, schema: &Map<String, Value>) -> Value {
    if schema.get("writeOnly") == Some(&Value::Bool(true)) {
        return digest_of(found);
    }
    match found {
        Value::Object(map) => object(map, schema),
        Value::Array(items) => match schema.get("items").and_then(Value::as_object) {
            Some(schema) => items.iter().map(|item| value(item, schema)).collect(),
            None => digest_of(found),
        },
        Value::String(text) if text.len() > LONGEST_TEXT => digest_of(found),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => found.clone(),
    }
}

fn digest_of(value: &Value) -> Value {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    json!({ "bytes": text.len(), "sha256": hex(&Sha256::digest(text.as_bytes())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_unknown_and_long_members_leave_only_their_digest() {
        let schema = json!({ "properties": {
            "path": { "type": "string" },
            "content": { "type": "string", "writeOnly": true },
            "edits": { "type": "array", "items": { "properties": { "old": { "writeOnly": true }, "line": {} } } },
        }});
        let input = json!({ "path": "a", "content": "secret", "edits": [{ "old": "secret", "line": 3 }], "extra": "secret" });
        let redacted = by_schema(input.as_object().unwrap(), schema.as_object().unwrap());
        assert!(!redacted.to_string().contains("secret"), "{redacted}");
        assert_eq!(redacted["path"], "a");
        assert_eq!(redacted["content"]["bytes"], 6);
        assert_eq!(redacted["edits"][0]["line"], 3);
        let long = json!({ "path": "x".repeat(600) });
        assert_eq!(by_schema(long.as_object().unwrap(), schema.as_object().unwrap())["path"]["bytes"], 600);
        assert_eq!(names_and_sizes(br#"{"a":"secret"}"#), json!({ "a": { "bytes": 8 } }));
        assert_eq!(names_and_sizes(b"nonsense"), json!({ "bytes": 8 }));
    }
}
