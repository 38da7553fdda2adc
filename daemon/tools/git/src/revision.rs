//! Names of commits and branches as arguments that Git cannot take for options.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A revision as in gitrevisions(7), or a branch name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline, extend("minLength" = 1, "maxLength" = 256, "pattern" = "^[^-\\s][^\\s]*$"))]
pub(crate) struct Revision(String);

impl Revision {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: String) -> Result<Self, &'static str> {
        let is_plain =
            !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c == ' ');
        if is_plain {
            Ok(Self(text))
        } else {
            Err("a revision must not be empty, start with `-` or hold spaces")
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

pub(crate) fn default_repository() -> String {
    ".".into()
}
