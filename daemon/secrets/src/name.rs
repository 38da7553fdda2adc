//! Names of secrets. A name is shown to agents and people, stands in marks, and is the name of a file.

use crate::{Error, Result};
use serde::Serialize;
use std::fmt;

/// With this length, a mark stays readable and the name fits any filesystem (255 bytes, `NAME_MAX` of limits.h).
const LONGEST_BYTES: usize = 64;

/// `^[a-z][a-z0-9_.-]{0,63}$`: begins with a letter, so it is no hidden file and no way to another directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(String);

impl Name {
    /// Takes what is a name.
    ///
    /// # Errors
    /// `Invalid`, with what a name looks like.
    pub fn parse(text: &str) -> Result<Self> {
        let is_first = text.starts_with(|first: char| first.is_ascii_lowercase());
        let is_rest = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte));
        if !is_first || !is_rest || text.len() > LONGEST_BYTES {
            return Err(Error::Invalid(format!(
                "`{}` is no name of a secret: it begins with a lower-case letter and has up to {LONGEST_BYTES} \
                 lower-case letters, digits, `_`, `.` and `-`",
                text.escape_debug()
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_and_three_signs() {
        for good in ["a", "github-token", "db_1.password", &"a".repeat(64)] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "1a", ".a", "-a", "a/b", "a b", "a\n", "é", "aé", "..", &"a".repeat(65)] {
            let err = Name::parse(bad).unwrap_err().to_string();
            assert!(err.contains("lower-case"), "{bad}: {err}");
        }
    }
}
