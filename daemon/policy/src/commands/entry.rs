//! One entry of `policy.commands`, as an administrator writes it. What cannot be meant is refused when it is read.

use super::{
    flag::Flag,
    launchers::{has_subcommands, is_launcher, is_telling_variable},
    shape::Shape,
    word::Word,
};
use crate::rules::{Verdict, grantable, is_grantable};
use globset::Glob;
use serde::{Deserialize, Serialize};

/// What may be started, by whom and where. An empty list of users or workspaces stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct CommandRule {
    /// Shown in denials and in the audit log.
    pub name: String,
    /// What to do with the commands it matches.
    pub verdict: Verdict,
    /// User names or uids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Globs of workspaces; `~` is the user's home.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
    /// A program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// A program with whatever it can be told, and scripts for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Only these scripts, by SHA-256.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// The arguments, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Word>,
    /// Options, which may stand anywhere after the words that `arguments` begins with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Flag>,
    /// Variables that may be set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Whether it may be given something to read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// Whether who is asked by this entry may answer for all such commands to come.
    #[serde(skip_serializing_if = "is_grantable")]
    pub grantable: bool,
}

/// The same before it was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    verdict: Verdict,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    program: Option<String>,
    interpreter: Option<String>,
    #[serde(default)]
    scripts: Vec<String>,
    #[serde(default)]
    arguments: Vec<Word>,
    #[serde(default)]
    options: Vec<Flag>,
    #[serde(default)]
    environment: Vec<String>,
    #[serde(default)]
    stdin: bool,
    #[serde(default = "grantable")]
    grantable: bool,
}

impl TryFrom<Written> for CommandRule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            name,
            verdict,
            users,
            workspaces,
            program,
            interpreter,
            scripts,
            arguments,
            options,
            environment,
            stdin,
            grantable,
        } = written;
        let rule = Self {
            name,
            verdict,
            users,
            workspaces,
            program,
            interpreter,
            scripts,
            arguments,
            options,
            environment,
            stdin,
            grantable,
        };
        match rule.fault() {
            Some(fault) => Err(format!("the command `{}`: {fault}", rule.name)),
            None => Ok(rule),
        }
    }
}

impl CommandRule {
    pub(super) fn shape(&self) -> Shape {
        Shape::new(self.arguments.clone(), self.options.clone())
    }

    /// What makes no sense in it, or less than it seems to.
    fn fault(&self) -> Option<String> {
        for pattern in &self.workspaces {
            if let Err(err) = Glob::new(pattern) {
                return Some(format!("`{pattern}` in `workspaces`: {}", err.kind()));
            }
        }
        if let Some(name) =
            self.environment.iter().find(|name| name.is_empty() || name.contains(['=', '\0', '*']))
        {
            return Some(format!("`{name}` in `environment` is no name of a variable"));
        }
        if !self.grantable && self.verdict != Verdict::Ask {
            return Some("`grantable = false` belongs to an entry that asks".into());
        }
        match (&self.program, &self.interpreter) {
            (Some(program), None) => self.fault_of_program(program),
            (None, Some(interpreter)) => self.fault_of_interpreter(interpreter),
            _ => Some("give one of `program` and `interpreter`".into()),
        }
    }

    fn fault_of_program(&self, program: &str) -> Option<String> {
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
            return Some(format!(
                "`program` is a name that is looked for in PATH, or an absolute path; what `{program}` is, whoever can write to the workspace decides"
            ));
        }
        if !self.scripts.is_empty() {
            return Some("`scripts` belongs to an `interpreter`".into());
        }
        // What forbids may say as little as it likes.
        if self.verdict == Verdict::Deny {
            return None;
        }
        if let Some(name) = self.environment.iter().find(|name| is_telling_variable(name)) {
            return Some(format!(
                "`{name}` in `environment` decides what `{program}` runs, so it belongs to no program"
            ));
        }
        let shape = self.shape();
        let first = shape.words().first();
        let is_free = shape.words().iter().any(Word::is_free) || shape.has_free_option();
        if is_launcher(program) && (is_free || first.is_some_and(|word| !word.is_literal())) {
            return Some(format!(
                "`{program}` runs what its arguments name, so write them out (`<path>` and `<number>` may follow a word), or allow all it can be told with `interpreter = \"{program}\"`"
            ));
        }
        if has_subcommands(program) && first.is_some_and(|word| !word.is_literal()) {
            return Some(format!(
                "the first argument of `{program}` decides what the others are, so write it out, like `a|b`"
            ));
        }
        None
    }

    fn fault_of_interpreter(&self, interpreter: &str) -> Option<String> {
        if interpreter.is_empty() || interpreter.contains('/') {
            return Some(format!(
                "`interpreter` is a name such as `bash` or `python`, and `{interpreter}` is none"
            ));
        }
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(wrong) = self.scripts.iter().find(|text| !is_digest(text)) {
            return Some(format!(
                "`{wrong}` in `scripts` is no SHA-256 of a script, 64 digits of lower-case hexadecimal"
            ));
        }
        if self.scripts.is_empty() && !(self.arguments.is_empty() && self.options.is_empty()) {
            return Some(format!(
                "`{interpreter}` can be told anything, so `arguments` and `options` limit nothing; with `scripts` they are what follows the script"
            ));
        }
        None
    }
}
