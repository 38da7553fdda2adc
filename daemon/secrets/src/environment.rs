//! Encrypted files of environment variables, `.env.skynet`: text that may lie in a repository, and that is compared and
//! merged line by line. Comments and blank lines are as they were written; every other line is
//!
//! ```text
//! NAME=VALUE HOST HOST ...
//! ```
//!
//! `VALUE` is base64 (RFC 4648, section 4) of
//!
//! ```text
//! 8 bytes   magic: `SKYENV`, and the version of the format, 16 bits, big-endian
//! 8 bytes   fingerprint of the master key
//! 4 bytes   number of the user whose it is, big-endian
//! 4 bytes   length of what follows, in bytes, big-endian
//! 24 bytes  nonce
//! rest      XChaCha20-Poly1305 of the value
//! ```
//!
//! The associated data is all before the nonce, the name, and each host after a line feed. So neither can a value be moved to
//! another name or user, nor a host be added to those that a command which gets it may reach. Only values are hidden:
//! names, hosts, lengths and order are not. Lines may be taken out or put back as they once were without anybody noticing, as
//! with any text that is merged.

use crate::{
    Error, MasterKey, Result, cipher,
    dotenv::{self, checked_name, fault},
    purpose::{check_hosts, check_written},
    store::LONGEST_VALUE,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::fmt;
use zeroize::Zeroizing;

/// Of version 1.
const MAGIC: [u8; 8] = *b"SKYENV\x00\x01";

/// What every encrypted value begins with, whatever its version.
const FIRST_LETTERS: &str = "U0tZRU5W";

/// Of a file, in bytes.
pub const LONGEST_TEXT: usize = 256 << 10;

/// Of a file.
pub const MOST_VARIABLES: usize = 64;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Other(String),
    Variable(Variable),
}

/// What is to become of a file. Is not shown, so it has no `Debug`.
#[derive(Default)]
pub struct Edit {
    /// Names and values.
    pub set: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// A plain file, whose variables are set as well.
    pub plain: Zeroizing<String>,
    /// The hosts that what gets one of these may reach.
    pub hosts: Vec<String>,
    /// Names of variables that are taken out first.
    pub delete: Vec<String>,
}

/// A variable, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The hosts that what gets it may reach, as far as the file says; [`Variable::decrypt`] says whether that is true.
    pub hosts: Vec<String>,
    sealed: String,
}

impl Variable {
    /// # Errors
    /// `Random`; `Invalid` for a value that cannot be one of a variable.
    fn seal(name: String, value: &[u8], hosts: &[String], key: &MasterKey, owner: u32) -> Result<Self> {
        check_value(value)?;
        let too_long = |_| Error::Invalid("this is too long to be encrypted".into());
        let length = u32::try_from(value.len() + cipher::OVERHEAD_BYTES).map_err(too_long)?;
        let head = [&MAGIC[..], &key.fingerprint(), &owner.to_be_bytes(), &length.to_be_bytes()].concat();
        let sealed = cipher::seal(key, &context(&head, &name, hosts), value)?;
        let sealed = BASE64_STANDARD.encode([head, sealed].concat());
        Ok(Self { name, hosts: hosts.to_vec(), sealed })
    }

    /// Its value.
    ///
    /// # Errors
    /// `Sealed`, with what is wrong: it was cut, altered, or encrypted for another user or with another key.
    pub fn decrypt(&self, key: &MasterKey, owner: u32) -> Result<Zeroizing<Vec<u8>>> {
        let name = &self.name;
        let again = format!("set it again with `skynetctl secret env set {name}`");
        let damaged =
            |reason: &str| Error::Sealed { name: name.clone(), reason: format!("{reason}; {again}") };
        if !self.sealed.starts_with(FIRST_LETTERS) {
            return Err(damaged("its line holds no encrypted value"));
        }
        let bytes = BASE64_STANDARD
            .decode(&self.sealed)
            .map_err(|_| damaged("its line ends too early, or is no base64 any more"))?;
        let parts = bytes.split_first_chunk::<8>().and_then(|(magic, rest)| {
            let (fingerprint, rest) = rest.split_first_chunk::<8>()?;
            let (user, rest) = rest.split_first_chunk::<4>()?;
            let (length, sealed) = rest.split_first_chunk::<4>()?;
            Some((magic, fingerprint, u32::from_be_bytes(*user), u32::from_be_bytes(*length), sealed))
        });
        let Some((magic, fingerprint, user, length, sealed)) = parts else {
            return Err(damaged("its line ends too early"));
        };
        if *magic != MAGIC {
            return Err(damaged(
                "it was encrypted by another version of Skynet, whose format is not known here",
            ));
        }
        if user != owner {
            return Err(damaged(&format!(
                "it was encrypted for user {user}, and this is user {owner}: a file is for one user, who made it"
            )));
        }
        if *fingerprint != key.fingerprint() {
            return Err(damaged("it was encrypted on another host, or with a master key of before"));
        }
        if sealed.len() as u64 != u64::from(length) {
            let found = sealed.len();
            return Err(damaged(&format!("its value has {found} encrypted bytes of {length}")));
        }
        let head = bytes.get(..bytes.len() - sealed.len()).unwrap_or_default();
        cipher::open(key, &context(head, name, &self.hosts), sealed).ok_or_else(|| {
            damaged(
                "its value, its name or its hosts are not those that were encrypted: the line was altered",
            )
        })
    }
}

impl Environment {
    /// Reads an encrypted file. Nothing is decrypted yet.
    ///
    /// # Errors
    /// `Line`, also for a name that comes twice; `Invalid` for a file that is too long.
    pub fn parse(text: &str) -> Result<Self> {
        check_length(text.len())?;
        let mut environment = Self::default();
        for (index, written) in text.lines().enumerate() {
            let line = index + 1;
            if written.trim().is_empty() || written.trim_start().starts_with('#') {
                environment.lines.push(Line::Other(written.to_owned()));
                continue;
            }
            let (name, rest) = written.split_once('=').ok_or_else(|| {
                fault(line, "this is neither a comment nor `NAME=` and an encrypted value; was the file merged or cut?")
            })?;
            let name = environment.checked_new(line, name)?.to_owned();
            let mut words = rest.split_ascii_whitespace().map(str::to_owned);
            let sealed = words.next().unwrap_or_default();
            // Whoever wrote the file: they are shown on terminals and in errors.
            let hosts: Vec<String> = words.collect();
            check_hosts(&hosts).map_err(|err| Error::Line { line, reason: err.to_string() })?;
            environment.lines.push(Line::Variable(Variable { name, hosts, sealed }));
        }
        Ok(environment)
    }

    /// Makes these changes.
    ///
    /// # Errors
    /// `Invalid` for a variable to delete that is not there; those of the other changes.
    pub(crate) fn apply(&mut self, edit: &Edit, key: &MasterKey, owner: u32) -> Result<()> {
        for name in &edit.delete {
            if !self.remove(name) {
                return Err(Error::Invalid(format!("the file has no variable `{}`", name.escape_debug())));
            }
        }
        self.add_plain(&edit.plain, &edit.hosts, key, owner)?;
        edit.set.iter().try_for_each(|(name, value)| self.set(name, value, &edit.hosts, key, owner))
    }

    /// Sets all variables of a plain `.env` file (`NAME=value`, `export NAME=value`, values in quotes, comments), for these
    /// hosts. The comments come along if nothing was in here before.
    ///
    /// # Errors
    /// `Line`, also for a name that comes twice or a value that is too long; `Invalid` for a host that is none, and when
    /// it becomes too much; `Random`.
    pub fn add_plain(&mut self, text: &str, hosts: &[String], key: &MasterKey, owner: u32) -> Result<()> {
        check_written(hosts)?;
        let was_empty = self.lines.is_empty();
        let mut plain = Self::default();
        for parsed in dotenv::parse(text)? {
            let line = match parsed {
                dotenv::Line::Other(text) => Line::Other(text),
                dotenv::Line::Variable { line, name, value } => {
                    plain.checked_new(line, &name)?;
                    let sealed = Variable::seal(name.clone(), value.as_bytes(), hosts, key, owner);
                    Line::Variable(sealed.map_err(|err| fault(line, &format!("`{name}`: {err}")))?)
                }
            };
            plain.lines.push(line);
        }
        for line in plain.lines {
            match line {
                Line::Variable(variable) => self.put(variable)?,
                Line::Other(_) if was_empty => self.lines.push(line),
                Line::Other(_) => {}
            }
        }
        Ok(())
    }

    /// Sets one variable for these hosts, in its line if there is one, or else at the end.
    ///
    /// # Errors
    /// `Invalid` for a name, a value or a host that is none, and when it becomes too much; `Random`.
    pub fn set(
        &mut self,
        name: &str,
        value: &[u8],
        hosts: &[String],
        key: &MasterKey,
        owner: u32,
    ) -> Result<()> {
        if let Err(err) = checked_name(0, name) {
            let reason = if let Error::Line { reason, .. } = err { reason } else { err.to_string() };
            return Err(Error::Invalid(format!("`{}`: {reason}", name.escape_debug())));
        }
        check_written(hosts)?;
        self.put(Variable::seal(name.to_owned(), value, hosts, key, owner)?)
    }

    fn put(&mut self, variable: Variable) -> Result<()> {
        let place = self.lines.iter().position(|line| line.name() == Some(&variable.name));
        if place.is_none() && self.variables().count() >= MOST_VARIABLES {
            return Err(Error::Invalid(format!("a file has at most {MOST_VARIABLES} variables")));
        }
        match place.and_then(|place| self.lines.get_mut(place)) {
            Some(line) => *line = Line::Variable(variable),
            None => self.lines.push(Line::Variable(variable)),
        }
        check_length(self.to_string().len())
    }

    /// Takes one variable out; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| line.name() != Some(name));
        self.lines.len() < before
    }

    /// All variables, in the order of the file.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.lines.iter().filter_map(Line::variable)
    }

    fn checked_new<'name>(&self, line: usize, name: &'name str) -> Result<&'name str> {
        let name = checked_name(line, name)?;
        if self.variables().any(|other| other.name == name) {
            return Err(fault(line, &format!("`{name}` is set twice; delete one of the lines")));
        }
        if self.variables().count() >= MOST_VARIABLES {
            return Err(fault(line, &format!("a file has at most {MOST_VARIABLES} variables")));
        }
        Ok(name)
    }
}

impl fmt::Display for Environment {
    /// The file.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(formatter, "{text}")?,
                Line::Variable(Variable { name, hosts, sealed }) => {
                    write!(formatter, "{name}={sealed}")?;
                    hosts.iter().try_for_each(|host| write!(formatter, " {host}"))?;
                    writeln!(formatter)?;
                }
            }
        }
        Ok(())
    }
}

impl Line {
    const fn variable(&self) -> Option<&Variable> {
        match self {
            Self::Other(_) => None,
            Self::Variable(variable) => Some(variable),
        }
    }

    fn name(&self) -> Option<&str> {
        self.variable().map(|variable| variable.name.as_str())
    }
}

/// The head has a fixed length, and neither a name nor a host has a line feed, so no two contexts are alike.
fn context(head: &[u8], name: &str, hosts: &[String]) -> Vec<u8> {
    let mut context = [head, name.as_bytes()].concat();
    for host in hosts {
        context.push(b'\n');
        context.extend_from_slice(host.as_bytes());
    }
    context
}

fn check_length(bytes: usize) -> Result<()> {
    if bytes <= LONGEST_TEXT {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "a file of variables has at most {LONGEST_TEXT} bytes, and this one has {bytes}"
    )))
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
#[path = "environment_tests.rs"]
mod tests;
