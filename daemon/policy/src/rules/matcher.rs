//! What a rule says about one argument, as it is written: a glob, a list of globs, or a table of conditions that must all
//! hold. What cannot be meant is refused when it is read.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Number, Value};
use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

/// Conditions on one argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Matcher {
    /// It is text, or a number, that one of these globs matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub glob: Vec<String>,
    /// It is a path that lies at or below one of these, relative to the workspace, wherever links lead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<String>,
    /// The same, or a directory that holds one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<String>,
    /// It is a number, this one or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// It is a number, this one or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// It is this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// It may be left out, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub or_absent: bool,
}

/// The table before it was looked at.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Conditions {
    #[serde(deserialize_with = "one_or_many")]
    glob: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    under: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    touches: Vec<String>,
    min: Option<Number>,
    max: Option<Number>,
    equals: Option<Value>,
    or_absent: bool,
}

impl Matcher {
    /// Of these globs.
    #[must_use]
    pub fn globs<const N: usize>(globs: [&str; N]) -> Self {
        Self { glob: globs.map(str::to_owned).to_vec(), ..Self::default() }
    }

    /// What makes no sense in it.
    fn fault(&self) -> Option<String> {
        let Self { glob, under, touches, min, max, equals, or_absent: _ } = self;
        let has_lists = [glob, under, touches].iter().any(|list| !list.is_empty());
        if !has_lists && min.is_none() && max.is_none() && equals.is_none() {
            return Some("it says nothing: give `glob`, `under`, `touches`, `min`, `max` or `equals`".into());
        }
        if let Some(wrong) = under.iter().chain(touches).find(|path| relative(path).is_none()) {
            return Some(format!(
                "`{wrong}` is no path relative to the workspace; `.` is the workspace itself, and `..` leads out of it"
            ));
        }
        if let (Some(min), Some(max)) = (min, max)
            && min.as_f64() > max.as_f64()
        {
            return Some(format!("no number is at least {min} and at most {max}"));
        }
        matches!(equals, Some(Value::Object(_)))
            .then(|| "`equals` is text, a number, true, false or a list".into())
    }
}

/// Without `.` and what does not count; `None` for a path that could lead out, or is none.
pub(super) fn relative(path: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.is_empty() && !path.contains('\0')).then_some(clean)
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MatcherVisitor)
    }
}

// By hand: of an untagged enum serde would only say that nothing fits.
struct MatcherVisitor;

impl<'de> Visitor<'de> for MatcherVisitor {
    type Value = Matcher;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a glob, a list of globs, or a table like `{ under = \"src\" }` or `{ max = 10 }`")
    }

    fn visit_str<E: serde::de::Error>(self, glob: &str) -> Result<Matcher, E> {
        Ok(Matcher::globs([glob]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Matcher, A::Error> {
        let glob = OneOrMany.visit_seq(seq)?;
        checked(Matcher { glob, ..Matcher::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Matcher, A::Error> {
        let Conditions { glob, under, touches, min, max, equals, or_absent } =
            Conditions::deserialize(MapAccessDeserializer::new(map))?;
        checked(Matcher { glob, under, touches, min, max, equals, or_absent })
    }
}

fn checked<E: serde::de::Error>(matcher: Matcher) -> Result<Matcher, E> {
    matcher.fault().map_or(Ok(matcher), |fault| Err(E::custom(fault)))
}

/// A list, or the one text that would be all of it.
///
/// # Errors
/// Of the format.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut all = Vec::new();
        while let Some(text) = seq.next_element()? {
            all.push(text);
        }
        if all.is_empty() {
            return Err(A::Error::custom("the list is empty"));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn every_form_and_what_is_refused() {
        let read = |value: Value| from_value::<Matcher>(value).map_err(|err| err.to_string());
        assert_eq!(read(json!("*.rs")), Ok(Matcher::globs(["*.rs"])));
        assert_eq!(read(json!({ "glob": ["a", "b"] })), Ok(Matcher::globs(["a", "b"])));
        assert_eq!(read(json!({ "under": "src" })).unwrap().under, ["src"]);
        for (value, part) in [
            (json!({}), "says nothing"),
            (json!({ "or_absent": true }), "says nothing"),
            (json!([]), "the list is empty"),
            (json!({ "under": [] }), "the list is empty"),
            (json!({ "under": "/etc" }), "no path relative to the workspace"),
            (json!({ "touches": "a/../.." }), "no path relative to the workspace"),
            (json!({ "min": 3, "max": 2 }), "no number is at least 3 and at most 2"),
            (json!({ "equals": {} }), "`equals` is text"),
            (json!({ "undr": "src" }), "unknown field `undr`"),
            (json!(3), "a glob, a list of globs"),
        ] {
            let err = read(value.clone()).unwrap_err();
            assert!(err.contains(part), "{value}: {err}");
        }
    }
}
