//! Encrypted files of environment variables, `.env.skynet`: text that may lie in a repository and is compared line by
//! line. A line is `NAME=` and base64 (RFC 4648, section 4) of a nonce (24 bytes) and a ciphertext of
//! XChaCha20-Poly1305, whose associated data is the kind of the file, the owner (32 bits, big-endian) and the name, so no
//! line can be moved to another name or user. Comments and blank lines stay as they are. Only values are hidden: names,
//! lengths and order are not.

use crate::{
    Error, MasterKey, Result, cipher,
    dotenv::{self, checked_name, fault},
    store::LONGEST_VALUE,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::fmt;
use zeroize::Zeroizing;

/// Tells these ciphertexts from all others under the same key; the version of the format is in it.
const KIND: &[u8] = b"SKYENV\x00\x01";

/// A variable, decrypted.
pub type Variable = (String, Zeroizing<Vec<u8>>);

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Other(String),
    Variable { name: String, sealed: Vec<u8> },
}

impl Environment {
    /// Reads an encrypted file. Nothing is decrypted yet.
    ///
    /// # Errors
    /// `Line`, also for a name that comes twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut environment = Self::default();
        for (index, written) in text.lines().enumerate() {
            let line = index + 1;
            if written.trim().is_empty() || written.trim_start().starts_with('#') {
                environment.lines.push(Line::Other(written.to_owned()));
                continue;
            }
            let (name, sealed) = written
                .trim()
                .split_once('=')
                .ok_or_else(|| fault(line, "this is neither a comment nor `NAME=` and an encrypted value"))?;
            let name = environment.checked_new(line, name)?.to_owned();
            let sealed = BASE64_STANDARD.decode(sealed).map_err(|_| {
                fault(
                    line,
                    &format!(
                        "the value of `{name}` is not encrypted: it is no base64; encrypt the file again"
                    ),
                )
            })?;
            environment.lines.push(Line::Variable { name, sealed });
        }
        Ok(environment)
    }

    /// Encrypts a plain `.env` file: `NAME=value`, `export NAME=value`, values in quotes, comments.
    ///
    /// # Errors
    /// `Line`, also for a name that comes twice or a value that is too long; `Random`.
    pub fn from_plain(text: &str, key: &MasterKey, owner: u32) -> Result<Self> {
        let mut environment = Self::default();
        for parsed in dotenv::parse(text)? {
            let line = match parsed {
                dotenv::Line::Other(text) => Line::Other(text),
                dotenv::Line::Variable { line, name, value } => {
                    environment.checked_new(line, &name)?;
                    check_value(value.as_bytes()).map_err(|err| fault(line, &format!("`{name}`: {err}")))?;
                    seal(name, value.as_bytes(), key, owner)?
                }
            };
            environment.lines.push(line);
        }
        Ok(environment)
    }

    /// Sets one variable, in its line if there is one, or else at the end.
    ///
    /// # Errors
    /// `Invalid` for a name or a value that is none; `Random`.
    pub fn set(&mut self, name: &str, value: &[u8], key: &MasterKey, owner: u32) -> Result<()> {
        if let Err(err) = checked_name(0, name) {
            let reason = if let Error::Line { reason, .. } = err { reason } else { err.to_string() };
            return Err(Error::Invalid(format!("`{}`: {reason}", name.escape_debug())));
        }
        check_value(value)?;
        let new = seal(name.to_owned(), value, key, owner)?;
        match self.lines.iter_mut().find(|line| line.name() == Some(name)) {
            Some(line) => *line = new,
            None => self.lines.push(new),
        }
        Ok(())
    }

    /// Takes one variable out; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| line.name() != Some(name));
        self.lines.len() < before
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(Line::name)
    }

    /// All variables, in the order of the file.
    ///
    /// # Errors
    /// `Line` for the first that cannot be decrypted: none is better than some, for a program that runs with them.
    pub fn decrypt(&self, key: &MasterKey, owner: u32) -> Result<Vec<Variable>> {
        let mut variables = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            if let Line::Variable { name, sealed } = line {
                let value = cipher::open(key, &context(owner, name), sealed).ok_or_else(|| {
                    fault(
                        index + 1,
                        &format!(
                            "`{name}` cannot be decrypted: the line was altered, or it was encrypted for another name \
                             or user, or with another master key; set it again"
                        ),
                    )
                })?;
                variables.push((name.clone(), value));
            }
        }
        Ok(variables)
    }

    fn checked_new<'name>(&self, line: usize, name: &'name str) -> Result<&'name str> {
        let name = checked_name(line, name)?;
        match self.lines.iter().position(|other| other.name() == Some(name)) {
            None => Ok(name),
            Some(_) => Err(fault(line, &format!("`{name}` is set twice; delete one of the lines"))),
        }
    }
}

impl fmt::Display for Environment {
    /// The file.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(formatter, "{text}")?,
                Line::Variable { name, sealed } => {
                    writeln!(formatter, "{name}={}", BASE64_STANDARD.encode(sealed))?;
                }
            }
        }
        Ok(())
    }
}

impl Line {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Other(_) => None,
            Self::Variable { name, .. } => Some(name),
        }
    }
}

fn seal(name: String, value: &[u8], key: &MasterKey, owner: u32) -> Result<Line> {
    let sealed = cipher::seal(key, &context(owner, &name), value)?;
    Ok(Line::Variable { name, sealed })
}

/// All before the name has a fixed length, so no two contexts are alike.
fn context(owner: u32, name: &str) -> Vec<u8> {
    [KIND, &owner.to_be_bytes(), name.as_bytes()].concat()
}

fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > LONGEST_VALUE {
        let length = value.len();
        return Err(Error::Invalid(format!(
            "a variable has at most {LONGEST_VALUE} bytes, and this value has {length}"
        )));
    }
    // execve(2): the strings end with a null byte.
    if value.contains(&0) {
        return Err(Error::Invalid("a variable cannot hold a null byte".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32])
    }

    fn decrypted(environment: &Environment) -> Vec<(String, String)> {
        let variables = environment.decrypt(&key(1), 7).unwrap();
        variables
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn a_plain_file_is_encrypted_with_its_comments() {
        let plain = "# database\nexport DB=\"postgres://u:p@h\"\n\n  # more\nEMPTY=\nKEY='a\nb'\n";
        let environment = Environment::from_plain(plain, &key(1), 7).unwrap();
        let text = environment.to_string();
        let shape: Vec<_> =
            text.lines().map(|line| line.split_once('=').map_or(line, |(name, _)| name)).collect();
        assert_eq!(shape, ["# database", "DB", "", "  # more", "EMPTY", "KEY"]);
        assert!(!text.contains("postgres"));
        let read = Environment::parse(&text).unwrap();
        assert_eq!((&read, read.to_string()), (&environment, text));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            decrypted(&read),
            [pair("DB", "postgres://u:p@h"), pair("EMPTY", ""), pair("KEY", "a\nb")]
        );
        assert_eq!(read.names().collect::<Vec<_>>(), ["DB", "EMPTY", "KEY"]);
    }

    #[test]
    fn a_variable_is_set_in_its_line_and_taken_out() {
        let mut environment = Environment::from_plain("A=1\n# c\nB=2", &key(1), 7).unwrap();
        environment.set("A", b"3", &key(1), 7).unwrap();
        environment.set("C", b"4", &key(1), 7).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(decrypted(&environment), [pair("A", "3"), pair("B", "2"), pair("C", "4")]);
        assert!(environment.remove("B") && !environment.remove("B"));
        assert_eq!(environment.names().collect::<Vec<_>>(), ["A", "C"]);
        for (name, value) in
            [("1", &b""[..]), ("A=B", b""), ("", b""), ("A", b"a\0b"), ("A", &[b'x'; 65_537])]
        {
            let err = environment.set(name, value, &key(1), 7).unwrap_err();
            assert!(matches!(err, Error::Invalid(_)), "{err}");
        }
        assert_eq!(decrypted(&environment)[0].1, "3");
    }

    #[test]
    fn a_line_is_bound_to_its_name_user_and_key() {
        let text = Environment::from_plain("# c\nA=1", &key(1), 7).unwrap().to_string();
        let environment = Environment::parse(&text).unwrap();
        let renamed = Environment::parse(&text.replace("A=", "B=")).unwrap();
        for refused in [
            environment.decrypt(&key(2), 7),
            environment.decrypt(&key(1), 8),
            renamed.decrypt(&key(1), 7),
            Environment::parse("\nB=").unwrap().decrypt(&key(1), 7),
        ] {
            let err = refused.unwrap_err().to_string();
            assert!(err.starts_with("line 2: `") && err.contains("cannot be decrypted"), "{err}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        let good = Environment::from_plain("A=1", &key(1), 7).unwrap().to_string();
        for (text, line, words) in [
            (format!("{good}{good}"), 2, "set twice"),
            (format!("{good}\nB=plain text"), 3, "not encrypted"),
            ("\nnonsense".to_owned(), 2, "neither"),
            ("1A=".to_owned(), 1, "digit"),
        ] {
            let err = Environment::parse(&text).unwrap_err();
            assert!(matches!(err, Error::Line { line: found, .. } if found == line), "{text}: {err}");
            assert!(err.to_string().contains(words) && !err.to_string().contains("plain text"), "{err}");
        }
        let long = format!("\nA={}", "x".repeat(65_537));
        for (text, words) in [("A=1\nA=2", "set twice"), (&long, "65536"), ("\nA=a\0b", "null byte")] {
            let err = Environment::from_plain(text, &key(1), 7).unwrap_err();
            assert!(matches!(err, Error::Line { line: 2, .. }) && err.to_string().contains(words), "{err}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-C=\"'\\\\#\n aé$]{0,40}") {
            if let Ok(environment) = Environment::from_plain(&text, &key(1), 7) {
                let again = Environment::parse(&environment.to_string()).unwrap();
                prop_assert_eq!(decrypted(&again), decrypted(&environment));
                prop_assert_eq!(again, environment);
            }
            // Neither panics.
            let _ = Environment::parse(&text);
        }

        #[test]
        fn a_quoted_value_comes_back(value in any::<String>().prop_filter("", |value| !value.contains(['\0', '\r']))) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let plain = format!("A=\"{escaped}\"");
            let environment = Environment::from_plain(&plain, &key(1), 7).unwrap();
            prop_assert_eq!(decrypted(&environment), [("A".to_owned(), value)]);
        }
    }
}
