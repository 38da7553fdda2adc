//! Where a value lies: `PATH#FIELD`, below what belongs to its user.

use crate::{Error, Result};
use std::fmt;

/// Of a whole path, in bytes: far less than any server or proxy takes.
const LONGEST_BYTES: usize = 512;

/// Whose a secret is, as the kernel told it.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// His number.
    pub uid: u32,
    /// His name.
    pub user: &'a str,
}

/// A field of a secret of the key/value engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: String,
    field: String,
}

impl Place {
    /// Reads `PATH#FIELD`, like `database/main#password`.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Err(Error::Invalid(format!(
                "`{}` is no place in the vault: {reason}; write `PATH#FIELD`, like `database/main#password`, with letters, \
                 digits, `_`, `.` and `-`",
                text.escape_debug()
            )))
        };
        let Some((path, field)) = text.split_once('#') else { return wrong("it has no `#`") };
        if text.len() > LONGEST_BYTES {
            return wrong("it is too long");
        }
        if !path.split('/').all(is_part) {
            return wrong("a part of the path is none");
        }
        if !is_part(field) {
            return wrong("the field is none");
        }
        Ok(Self { path: path.to_owned(), field: field.to_owned() })
    }

    /// The field.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The whole path, of this owner.
    ///
    /// # Errors
    /// `Denied` for a user whose name cannot be a part of a path.
    pub(crate) fn of(&self, owner: &Owner<'_>, template: &str) -> Result<String> {
        let mut whole = String::new();
        for part in template.split('/') {
            let uid = owner.uid.to_string();
            let part = match part {
                USER => owner.user,
                UID => &uid,
                other => other,
            };
            if !is_part(part) {
                return Err(Error::Denied(format!(
                    "the user `{}` can have nothing in the vault: his name is no part of a path",
                    owner.user.escape_debug()
                )));
            }
            whole.extend([part, "/"]);
        }
        Ok(whole + &self.path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}", self.path, self.field)
    }
}

/// In a template: the name of the user, or his number.
pub(crate) const USER: &str = "{user}";
pub(crate) const UID: &str = "{uid}";

/// Whether it is one part of a path, needs no encoding in a URL and leads nowhere else.
pub(crate) fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_below_what_belongs_to_its_user() {
        let ann = Owner { uid: 1001, user: "ann" };
        let place = Place::parse("database/main#pass.word").unwrap();
        assert_eq!((place.field(), place.to_string().as_str()), ("pass.word", "database/main#pass.word"));
        for (template, whole) in [
            ("users/{user}", "users/ann/database/main"),
            ("{uid}", "1001/database/main"),
            ("team", "team/database/main"),
        ] {
            assert_eq!(place.of(&ann, template).unwrap(), whole);
        }
        for user in ["..", "", "a/b", "ann bob", "é", "a%2e"] {
            let err = place.of(&Owner { uid: 1, user }, "users/{user}").unwrap_err();
            assert!(matches!(err, Error::Denied(_)), "{user}: {err}");
        }
    }

    #[test]
    fn nothing_else_is_a_place() {
        let long = format!("{}#f", "a".repeat(600));
        for text in [
            "",
            "a",
            "#f",
            "a#",
            "a#b#c",
            "../bob/db#f",
            "a/../b#f",
            "./a#f",
            "/a#f",
            "a//b#f",
            "a/#f",
            "a%2f..#f",
            "a?version=1#f",
            "a b#f",
            "a#f g",
            "a#..",
            "a\n#f",
            "{user}#f",
            &long,
        ] {
            let err = Place::parse(text).unwrap_err().to_string();
            assert!(err.contains("PATH#FIELD"), "{text}: {err}");
        }
    }
}
