//! One option: how it may be spelled, and what may be its value. Only what is written is allowed: no abbreviations, no
//! other way to attach a value, no letters in one argument unless they are listed so.

use super::word::{Inside, Place, Value};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A member of `options`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Flag(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// `--`: no option comes after it.
    End,
    /// `-[abc]`: any of these letters, in one argument.
    Letters(String),
    /// `--flag`.
    Bare(String),
    /// `--flag=VALUE`, and with a number `-j8`. The name holds the `=`.
    Joined(String, Value),
    /// `--flag VALUE`: two arguments.
    Pair(String, Value),
}

impl Flag {
    /// How many arguments it is at the beginning of `argv`.
    pub(super) fn takes(&self, argv: &[&str], inside: Inside<'_>) -> Option<usize> {
        let first = argv.first()?;
        let is_here = match &self.0 {
            Kind::End => *first == "--",
            Kind::Letters(letters) => first
                .strip_prefix('-')
                .is_some_and(|given| !given.is_empty() && given.chars().all(|one| letters.contains(one))),
            Kind::Bare(name) => first == name,
            Kind::Joined(name, value) => {
                first.strip_prefix(&**name).is_some_and(|text| value.allows(text, Place::Attached, inside))
            }
            Kind::Pair(name, value) => {
                // An option in place of a value is one to a program that wants no value here.
                let is_value =
                    |text: &&str| !text.starts_with('-') && value.allows(text, Place::Alone, inside);
                return (first == name && argv.get(1).is_some_and(is_value)).then_some(2);
            }
        };
        is_here.then_some(1)
    }

    /// Whether it leaves to the caller more than a path or a number.
    pub(super) const fn is_free(&self) -> bool {
        matches!(
            &self.0,
            Kind::Joined(_, Value::Plain | Value::Text) | Kind::Pair(_, Value::Plain | Value::Text)
        )
    }

    /// Whether an argument is this option in any spelling that some program understands: abbreviated, with its value
    /// attached, or as one letter of many.
    pub(super) fn resembles(&self, argument: &str) -> bool {
        let Some(given) = argument.strip_prefix('-') else { return false };
        let is_long = given.starts_with('-');
        let given = given.trim_start_matches('-');
        let given_name = given.split('=').next().unwrap_or_default();
        let name = match &self.0 {
            Kind::End => return argument == "--",
            Kind::Letters(letters) => return !is_long && given.chars().any(|one| letters.contains(one)),
            Kind::Bare(name) | Kind::Joined(name, _) | Kind::Pair(name, _) => name,
        };
        let name = name.trim_start_matches('-').trim_end_matches('=');
        if name.chars().count() <= 1 {
            given_name == name || (!is_long && given.contains(name))
        } else {
            given_name == name
                || (given_name.len() > 1 && name.starts_with(given_name))
                || given.starts_with(name)
        }
    }
}

impl TryFrom<String> for Flag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no option: there are `--flag`, `--flag=VALUE`, `--flag VALUE`, `-j<number>`, `-[abc]` for \
                letters in one argument, and `--`; VALUE is `a|b`, `*`, `<text>`, `<number>` or `<path>`"
            )
        };
        if text == "--" {
            return Ok(Self(Kind::End));
        }
        if !text.starts_with('-') {
            return Err(wrong());
        }
        if let Some(letters) = text.strip_prefix("-[").and_then(|rest| rest.strip_suffix(']')) {
            let is_fine = !letters.is_empty() && letters.bytes().all(|one| one.is_ascii_alphanumeric());
            return if is_fine { Ok(Self(Kind::Letters(letters.to_owned()))) } else { Err(wrong()) };
        }
        let is_name = |name: &str| {
            let is_letter = |one: char| !one.is_control() && !one.is_whitespace() && !"*<>|=[]".contains(one);
            name.trim_start_matches('-').chars().next().is_some() && name.chars().all(is_letter)
        };
        if let Some(name) = text.strip_suffix("<number>")
            && name.len() <= 3
            && (name == "-" || (!name.starts_with("--") && is_name(name)))
        {
            return Ok(Self(Kind::Joined(name.to_owned(), Value::Number)));
        }
        let (name, kind): (&str, fn(String, Value) -> Kind) = match text.find([' ', '=']) {
            None if is_name(&text) => return Ok(Self(Kind::Bare(text))),
            None => return Err(wrong()),
            Some(at) => (
                text.get(..at).unwrap_or_default(),
                if text.get(at..=at) == Some("=") { Kind::Joined } else { Kind::Pair },
            ),
        };
        if !is_name(name) {
            return Err(wrong());
        }
        let value = Value::parse(text.get(name.len() + 1..).unwrap_or_default()).map_err(|_| wrong())?;
        let has_dash =
            matches!(&value, Value::OneOf(choices) if choices.iter().any(|choice| choice.starts_with('-')));
        let made = kind(name.to_owned(), value);
        Ok(Self(match made {
            Kind::Joined(name, value) => Kind::Joined(format!("{name}="), value),
            Kind::Pair(..) if has_dash => return Err(wrong()),
            other => other,
        }))
    }
}

impl From<Flag> for String {
    fn from(flag: Flag) -> Self {
        match flag.0 {
            Kind::End => "--".into(),
            Kind::Letters(letters) => format!("-[{letters}]"),
            Kind::Bare(name) => name,
            Kind::Joined(name, value) => format!("{name}{value}"),
            Kind::Pair(name, value) => format!("{name} {value}"),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}
