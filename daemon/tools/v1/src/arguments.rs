//! Arguments on their way from old names to new ones.

use serde_json::{Map, Value};

/// The arguments of a call.
pub(crate) struct Arguments(pub(crate) Map<String, Value>);

impl Arguments {
    /// Gives an argument its new name. One that is there under the new name already stays, and the old one is refused by the tool.
    pub(crate) fn rename(mut self, old: &str, new: &str) -> Self {
        if !self.0.contains_key(new)
            && let Some(value) = self.0.remove(old)
        {
            self.0.insert(new.to_owned(), value);
        }
        self
    }

    /// Sets an argument that the old name implied.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Takes out what has no successor.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Takes out an empty text, which to v1 was as good as none.
    pub(crate) fn without_empty(self, name: &str) -> Self {
        if self.0.get(name).is_some_and(|value| value == "") { self.without(name) } else { self }
    }

    /// Takes an argument out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A number that v1 took however large it was, and its successor does up to `most`.
    pub(crate) fn at_most(mut self, name: &str, most: u64) -> Self {
        if let Some(number) =
            self.0.get_mut(name).filter(|value| value.as_u64().is_some_and(|given| given > most))
        {
            *number = most.into();
        }
        self
    }

    /// Takes a switch out; what is none counts as off.
    pub(crate) fn take_switch(&mut self, name: &str) -> bool {
        self.take(name).and_then(|value| value.as_bool()).unwrap_or_default()
    }

    /// Takes an argument out that is text; anything else stays, for the tool to refuse.
    pub(crate) fn take_text(&mut self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.as_str()?.to_owned();
        self.0.remove(name);
        Some(text)
    }
}

/// A schema of these properties, which are an object.
pub(crate) fn schema(properties: Value, required: &[&str]) -> Map<String, Value> {
    [
        ("type", "object".into()),
        ("properties", properties),
        ("required", required.into()),
        ("additionalProperties", false.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
