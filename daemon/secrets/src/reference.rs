//! How a secret is named where its value is meant: `secret://name`, as a whole string. A string that only contains
//! such a text is no reference, so that prose about secrets stays prose.

use crate::{Name, Result};
use serde_json::Value;

/// What a reference starts with.
const SCHEME: &str = "secret://";

/// A reference in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the string is: a JSON pointer (RFC 6901), empty for the whole document.
    pub pointer: String,
    /// Which secret is meant.
    pub name: Name,
}

/// The name in `secret://name`; `None` for a string that does not start like a reference.
///
/// # Errors
/// `Invalid` if it starts like a reference, and what follows is no name.
pub fn parse(text: &str) -> Result<Option<Name>> {
    text.strip_prefix(SCHEME).map(Name::parse).transpose()
}

/// Every string that is a reference, in the order of the document. Keys of objects are none, and neither is what
/// starts like a reference and has no name: that is a text, and holds no secret.
#[must_use]
pub fn find(document: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    visit(document, &mut String::new(), &mut found);
    found
}

fn visit(value: &Value, pointer: &mut String, found: &mut Vec<Found>) {
    let length = pointer.len();
    match value {
        Value::String(text) => {
            if let Ok(Some(name)) = parse(text) {
                found.push(Found { pointer: pointer.clone(), name });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                visit(item, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                visit(member, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reference_is_the_whole_string() {
        assert_eq!(parse("secret://a.b-c").unwrap().unwrap().as_str(), "a.b-c");
        for text in ["", "secret", "secret:/a", " secret://a", "Secret://a", "see secret://a"] {
            assert_eq!(parse(text).unwrap(), None, "{text}");
        }
        for text in ["secret://", "secret://A", "secret://a/b", "secret://a ", "secret://a?b", "secret://a\n"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn references_are_found_where_pointers_lead() {
        let document = json!({
            "secret://key": ["x", {"a/b~c": "secret://one"}, "secret://two"],
            "c": "secret://BAD",
            "d": {"e": {"": "secret://one"}},
            "f": [1, null, true, "with secret://two"],
        });
        let found = find(&document);
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["one", "one", "two"]);
        for Found { pointer, name } in found {
            assert_eq!(document.pointer(&pointer).unwrap().as_str().unwrap(), format!("secret://{name}"));
        }
        assert_eq!(find(&json!("secret://a"))[0].pointer, "");
    }
}
