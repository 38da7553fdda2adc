//! How a secret is named where its value is meant: what follows `secret://` in the value of a variable.

use crate::{Error, Name, Result};

/// What is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A secret that is kept under this name: `deploy`.
    Kept(Name),
    /// A variable of an encrypted file of the workspace: `.env.skynet#TOKEN`.
    Variable {
        /// The file, relative to the workspace.
        file: String,
        /// The variable.
        name: String,
    },
}

impl Reference {
    /// Reads what follows `secret://`.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        // The name of a variable has no `#`, and that of a file may.
        match text.rsplit_once('#') {
            None => match Name::parse(text) {
                Err(_) if text.ends_with(FILE) => Err(Error::Invalid(format!(
                    "`{text}` is a file: name one of its variables, as in `secret://{text}#NAME`, or take all of them with the \
                     variable `*`"
                ))),
                name => name.map(Self::Kept),
            },
            Some(("", _) | (_, "")) => Err(Error::Invalid(format!(
                "`{text}` lacks a part: write `FILE#NAME`, as in `secret://.env.skynet#TOKEN`"
            ))),
            Some((file, name)) => Ok(Self::Variable { file: file.to_owned(), name: name.to_owned() }),
        }
    }
}

/// What files are usually called.
const FILE: &str = ".env.skynet";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_or_a_variable_of_a_file() {
        assert_eq!(Reference::parse("a.b-c").unwrap(), Reference::Kept(Name::parse("a.b-c").unwrap()));
        for (text, file, name) in [
            (".env.skynet#A_B", ".env.skynet", "A_B"),
            ("deploy/it's #1/.env.skynet#A", "deploy/it's #1/.env.skynet", "A"),
        ] {
            let wanted = Reference::Variable { file: file.to_owned(), name: name.to_owned() };
            assert_eq!(Reference::parse(text).unwrap(), wanted);
        }
        for (text, words) in [
            ("", "no name of a secret"),
            ("A", "no name of a secret"),
            ("a/b", "no name of a secret"),
            ("#A", "lacks a part"),
            (".env.skynet#", "lacks a part"),
            ("sub/.env.skynet", "the variable `*`"),
        ] {
            let err = Reference::parse(text).unwrap_err().to_string();
            assert!(err.contains(words), "{text}: {err}");
        }
    }
}
