//! What a command is: a program with arguments, or a script and what reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::collections::BTreeMap;

/// What reads a script.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interpreter {
    #[default]
    Bash,
    Sh,
    Python,
    Node,
    Ruby,
    Perl,
}

impl Interpreter {
    /// Its program, and what makes it read the next argument.
    const fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Bash => ["bash", "-c"],
            Self::Sh => ["sh", "-c"],
            Self::Python => ["python3", "-c"],
            Self::Node => ["node", "-e"],
            Self::Ruby => ["ruby", "-e"],
            Self::Perl => ["perl", "-e"],
        }
    }
}

/// What the inputs of several tools say about it.
#[derive(Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [String],
    pub(crate) script: Option<&'a str>,
    pub(crate) interpreter: Interpreter,
    pub(crate) cwd: Option<&'a str>,
    pub(crate) environment: &'a BTreeMap<String, String>,
}

impl Program<'_> {
    /// As the kernel takes it.
    pub(crate) fn argv(&self) -> Result<Vec<Vec<u8>>> {
        let own = self.command.iter().map(|argument| argument.clone().into_bytes());
        let Some(script) = self.script else {
            let argv: Vec<_> = own.collect();
            return if argv.is_empty() {
                Err(Error::invalid_input("give `command`, a program with its arguments, or `script`"))
            } else {
                Ok(argv)
            };
        };
        let [program, flag] = self.interpreter.arguments();
        let mut argv = vec![program.into(), flag.into(), script.to_owned().into_bytes()];
        if matches!(self.interpreter, Interpreter::Bash | Interpreter::Sh) {
            // A shell takes the first argument after a script for its name (bash(1), `-c`).
            argv.push(program.into());
        }
        argv.extend(own);
        Ok(argv)
    }
}
