//! One argument: what an entry says that it may be. A pattern sees one argument and never a line of text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Says whether a path, as an argument names it, stays in the workspace.
pub type Inside<'a> = &'a dyn Fn(&str) -> bool;

/// What a text may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// One of these, to the letter.
    OneOf(Vec<String>),
    /// `*`: an operand.
    Plain,
    /// `<text>`: anything that is no option.
    Text,
    /// `<number>`: digits.
    Number,
    /// `<path>`: an operand that names a place in the workspace.
    Path,
}

/// Where a text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is an argument, so the program may take it for an option.
    Alone,
    /// It follows `NAME=` in one.
    Attached,
}

impl Value {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "*" => Self::Plain,
            "<text>" => Self::Text,
            "<number>" => Self::Number,
            "<path>" => Self::Path,
            _ => {
                let choices: Vec<String> = text.split('|').map(str::to_owned).collect();
                if choices.iter().any(|choice| choice.is_empty() || choice.contains(['*', '<', '>'])) {
                    return Err(format!(
                        "`{text}` is no pattern: there are words, `a|b`, `*`, `**`, `<text>`, `<number>`, `<path>` and \
                        `<path>...`, each alone or after `NAME=`; a word that begins with `=` is taken as it stands after it"
                    ));
                }
                Self::OneOf(choices)
            }
        })
    }

    pub(super) fn allows(&self, text: &str, place: Place, inside: Inside<'_>) -> bool {
        if text.contains('\0') {
            return false;
        }
        let is_alone = place == Place::Alone;
        match self {
            Self::OneOf(choices) => choices.iter().any(|choice| choice == text),
            Self::Text => !(text.is_empty() || is_alone && text.starts_with('-')),
            Self::Number => (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Plain => is_visible(text) && !(is_alone && is_more_than_an_operand(text)),
            Self::Path => {
                is_visible(text)
                    && !is_more_than_an_operand(text)
                    && !text.starts_with('~')
                    // `host:path` and `:(magic)`: a colon before the first slash is more than a name to some programs.
                    && !text.split('/').next().unwrap_or_default().contains(':')
                    && inside(text)
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(choices) => f.write_str(&choices.join("|")),
            Self::Plain => f.write_str("*"),
            Self::Text => f.write_str("<text>"),
            Self::Number => f.write_str("<number>"),
            Self::Path => f.write_str("<path>"),
        }
    }
}

/// Not empty, and shown as what it is: no control characters, none without width, none that turn the line around.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(is_hidden)
}

/// Whether a terminal shows something else than this character, or nothing.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// What some program takes for an option, a command, a file of arguments or a setting, or a human for an option.
fn is_more_than_an_operand(text: &str) -> bool {
    let is_dash = |letter| {
        matches!(letter, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
    };
    text.starts_with(is_dash) || text.starts_with(['@', '+']) || is_setting(text)
}

/// `NAME=value`, as make, dd, env and awk take it.
fn is_setting(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|letter: char| letter.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// A place in `arguments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word {
    /// `NAME=`, or nothing.
    prefix: String,
    value: Value,
    /// Whether it stands for any number of arguments, none included.
    is_repeated: bool,
}

impl Word {
    /// The word that allows this argument and no other.
    pub(super) fn exactly(argument: &str) -> Self {
        let read = if argument.starts_with('=') { None } else { Self::try_from(argument.to_owned()).ok() };
        read.filter(|word| word.only().is_some_and(|only| only == argument))
            .unwrap_or_else(|| Self::verbatim(argument))
    }

    fn verbatim(argument: &str) -> Self {
        Self { prefix: String::new(), value: Value::OneOf(vec![argument.to_owned()]), is_repeated: false }
    }

    /// The one argument it allows, if it is one.
    fn only(&self) -> Option<String> {
        match &self.value {
            Value::OneOf(choices) => match choices.as_slice() {
                [only] => Some(format!("{}{only}", self.prefix)),
                _ => None,
            },
            Value::Plain | Value::Text | Value::Number | Value::Path => None,
        }
    }

    pub(super) const fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// Whether it names what it allows.
    pub(super) const fn is_literal(&self) -> bool {
        matches!(self.value, Value::OneOf(_)) && !self.is_repeated
    }

    /// Whether it leaves to the caller more than a path or a number.
    pub(super) const fn is_free(&self) -> bool {
        matches!(self.value, Value::Plain | Value::Text)
    }

    pub(super) fn allows(&self, argument: &str, inside: Inside<'_>) -> bool {
        let place = if self.prefix.is_empty() { Place::Alone } else { Place::Attached };
        argument.strip_prefix(&*self.prefix).is_some_and(|text| self.value.allows(text, place, inside))
    }

    /// Whether an argument is one that this word stands for, if what is left to the caller is anything at all.
    pub(super) fn resembles(&self, argument: &str) -> bool {
        argument.strip_prefix(&*self.prefix).is_some_and(|text| match &self.value {
            Value::OneOf(choices) => choices.iter().any(|choice| choice == text),
            Value::Plain | Value::Text | Value::Number | Value::Path => true,
        })
    }

    /// Whether it says anything about an argument.
    pub(super) const fn is_telling(&self) -> bool {
        self.is_literal() || !self.prefix.is_empty()
    }
}

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty argument is written `=`".into());
        }
        if let Some(verbatim) = text.strip_prefix('=') {
            return Ok(Self::exactly(verbatim));
        }
        let (pattern, is_repeated) = match text.strip_suffix("...") {
            Some(pattern) if pattern.starts_with('<') => (pattern, true),
            _ if text == "**" => ("*", true),
            _ => (&*text, false),
        };
        let name_ends = pattern.find('=').map_or(0, |at| at + 1);
        let (prefix, value) = pattern.split_at_checked(name_ends).unwrap_or(("", pattern));
        if value.is_empty() {
            // `NAME=` without a value.
            return Ok(Self::verbatim(prefix));
        }
        if prefix.contains(['|', '*', '<', '>']) {
            return Err(format!(
                "`{text}`: what stands before `=` is taken to the letter, without `|`, `*`, `<` and `>`"
            ));
        }
        Ok(Self { prefix: prefix.to_owned(), value: Value::parse(value)?, is_repeated })
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        let text = match &word.value {
            Value::Plain if word.is_repeated => "**".to_owned(),
            value if word.is_repeated => format!("{value}..."),
            value => format!("{}{value}", word.prefix),
        };
        match word.only() {
            Some(only) if Word::try_from(text.clone()).as_ref() != Ok(&word) => format!("={only}"),
            _ => text,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}
