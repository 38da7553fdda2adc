//! What a command is: a program with arguments, or a script and what reads it.

use crate::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Error, Result, command::Script};
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
    /// Its name in an input.
    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Sh => "sh",
            Self::Python => "python",
            Self::Node => "node",
            Self::Ruby => "ruby",
            Self::Perl => "perl",
        }
    }

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
    /// What it starts, for the policy to judge.
    pub(crate) fn command_line(&self, host: &Host, has_stdin: bool) -> Result<CommandLine> {
        if self.command.is_empty() && self.script.is_none() {
            return Err(nothing());
        }
        let [program, _] = self.interpreter.arguments();
        let script = self.script.map(str::to_owned);
        Ok(CommandLine {
            argv: self.command.to_vec(),
            script: script.map(|text| Script { interpreter: self.interpreter.name(), program, text }),
            variables: self.environment.keys().cloned().collect(),
            has_stdin,
            directory: self.cwd.unwrap_or(".").into(),
            programs: host.programs(),
        })
    }

    /// As the kernel takes it: the program that a list of commands allowed, if there is one.
    pub(crate) fn argv(&self, ctx: &CallCtx) -> Result<Vec<Vec<u8>>> {
        let mut argv = self.given_argv()?;
        if let (Some(judged), Some(program)) = (&ctx.program, argv.first_mut()) {
            *program = judged.as_os_str().as_encoded_bytes().to_vec();
        }
        Ok(argv)
    }

    fn given_argv(&self) -> Result<Vec<Vec<u8>>> {
        let own = self.command.iter().map(|argument| argument.clone().into_bytes());
        let Some(script) = self.script else {
            let argv: Vec<_> = own.collect();
            return if argv.is_empty() { Err(nothing()) } else { Ok(argv) };
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

fn nothing() -> Error {
    Error::invalid_input("give `command`, a program with its arguments, or `script`")
}
