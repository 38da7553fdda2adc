//! The one form of an input that is judged, hashed, approved, audited and forwarded.

use crate::{Error, Result};
use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};

/// Nesting deeper than this is refused; serde_json itself stops at 128.
const MAX_DEPTH: usize = 64;

/// A JSON object with unique keys, and its bytes with sorted keys and no white space.
#[derive(Clone, Debug)]
pub struct Canonical {
    value: Arc<Map<String, Value>>,
    bytes: Bytes,
}

impl Canonical {
    /// Parses one JSON object. Empty input means `{}`.
    ///
    /// # Errors
    /// `InvalidInput` for anything but an object, a duplicate key at any depth, or nesting over 64 levels.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        if raw.is_empty() {
            return Self::from_map(Map::new());
        }
        let Unique(value) = serde_json::from_slice(raw)
            .map_err(|err| Error::invalid_input(format!("the input is not usable JSON: {err}")))?;
        if depth(&value) > MAX_DEPTH {
            return Err(Error::invalid_input(format!("the input is nested deeper than {MAX_DEPTH} levels")));
        }
        match value {
            Value::Object(map) => Self::from_map(map),
            _ => Err(Error::invalid_input("the input must be a JSON object")),
        }
    }

    /// The canonical form of an object.
    ///
    /// # Errors
    /// `Internal` if it cannot be serialized, which no `Map` causes.
    pub fn from_map(map: Map<String, Value>) -> Result<Self> {
        // serde_json's Map is ordered by key unless some crate turns on `preserve_order`; the test below
        // notices if one ever does.
        let bytes = serde_json::to_vec(&map)
            .map_err(|err| Error::internal("an input cannot be written").with_source(err))?;
        Ok(Self { value: Arc::new(map), bytes: bytes.into() })
    }

    /// The members of the object.
    #[must_use]
    pub fn members(&self) -> &Map<String, Value> {
        &self.value
    }

    /// Sorted keys, no white space.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the bytes, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// The typed input of a tool.
    ///
    /// # Errors
    /// `InvalidInput` with what serde says is wrong.
    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.bytes)
            .map_err(|err| Error::invalid_input(format!("the input does not fit: {err}")))
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A value in which no object has a key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` appears twice")));
            }
            let Unique(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_sorted_and_white_space_is_gone() {
        let canonical = Canonical::parse(br#" { "b" : [ 1 , {"z":1,"a":2} ], "a":null } "#).unwrap();
        assert_eq!(&canonical.bytes()[..], br#"{"a":null,"b":[1,{"a":2,"z":1}]}"#);
    }

    #[test]
    fn what_is_refused() {
        for (raw, expected) in [
            (r#"{"a":1,"a":2}"#, "`a` appears twice"),
            (r#"{"a":{"b":1,"b":1}}"#, "`b` appears twice"),
            ("[1]", "must be a JSON object"),
            (r#"{"a":1e999}"#, "not usable JSON"),
            ("{", "not usable JSON"),
            (&format!("{{\"a\":{}1{}}}", "[".repeat(80), "]".repeat(80)), "nested deeper"),
        ] {
            let err = Canonical::parse(raw.as_bytes()).unwrap_err();
            assert!(err.message.contains(expected), "{raw}: {err}");
        }
    }

    proptest! {
        #[test]
        fn parsing_canonical_bytes_changes_nothing(keys in prop::collection::hash_map("[a-z]{1,6}", any::<i64>(), 0..8)) {
            let first = Canonical::parse(&serde_json::to_vec(&keys).unwrap()).unwrap();
            let second = Canonical::parse(first.bytes()).unwrap();
            prop_assert_eq!(first.bytes(), second.bytes());
        }

        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            // Only that it returns matters.
            let _ = Canonical::parse(&raw);
        }
    }
}
