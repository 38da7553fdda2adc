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
    /// Compiled where nothing else is: `exec_run_code` alone.
    #[serde(skip_deserializing)]
    #[schemars(skip)]
    Go,
    /// The same.
    #[serde(skip_deserializing)]
    #[schemars(skip)]
    Rust,
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
            Self::Go => "go",
            Self::Rust => "rust",
        }
    }

    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Sh => "sh",
            Self::Python => "python3",
            Self::Node => "node",
            Self::Ruby => "ruby",
            Self::Perl => "perl",
            Self::Go => "go",
            Self::Rust => "rustc",
        }
    }

    /// How `program`, which is this one's, is told `text` and what follows it.
    pub(crate) fn told(self, program: Vec<u8>, text: Vec<u8>) -> Vec<Vec<u8>> {
        let compiled =
            |how: &str| vec![b"/bin/sh".into(), b"-c".into(), how.into(), program.clone(), text.clone()];
        match self {
            // The first argument after a script is its name (bash(1), `-c`).
            Self::Bash | Self::Sh => vec![program, b"-c".into(), text, self.program().into()],
            Self::Python => vec![program, b"-c".into(), text],
            Self::Node | Self::Ruby | Self::Perl => vec![program, b"-e".into(), text],
            Self::Go => compiled(r#"printf %s "$1" >main.go && shift && exec "$0" run main.go "$@""#),
            Self::Rust => compiled(
                r#"printf %s "$1" >main.rs && shift && "$0" --edition=2021 -o main main.rs && exec ./main "$@""#,
            ),
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
        let program = self.interpreter.program();
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
        let judged = ctx.program.as_ref().map(|judged| judged.as_os_str().as_encoded_bytes().to_vec());
        let mut own = self.command.iter().map(|argument| argument.clone().into_bytes());
        let mut argv = match self.script {
            Some(script) => {
                let program = judged.unwrap_or_else(|| self.interpreter.program().into());
                self.interpreter.told(program, script.to_owned().into_bytes())
            }
            None => {
                let program = own.next().ok_or_else(nothing)?;
                vec![judged.unwrap_or(program)]
            }
        };
        argv.extend(own);
        Ok(argv)
    }
}

fn nothing() -> Error {
    Error::invalid_input("give `command`, a program with its arguments, or `script`")
}
