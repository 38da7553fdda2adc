//! Commands that another family of tools starts in its caller's name: a package manager, a test runner.

use crate::{
    Host, Network, Output,
    limits::More,
    output::MOST_BYTES,
    program::{Interpreter, Program},
    run::{Task, in_slot},
};
use skynet_core::{CallCtx, CommandLine, Result};
use std::collections::BTreeMap;

/// A command with what it may use.
#[derive(Debug)]
pub struct Step<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// Where it starts, relative to the workspace.
    pub directory: &'a str,
    /// Variables besides those that every command has.
    pub environment: &'a BTreeMap<String, String>,
    /// Ways out.
    pub network: &'a Network,
    /// It is ended after so long.
    pub timeout_seconds: u32,
    /// Most memory.
    pub memory_mib: u32,
}

impl Step<'_> {
    fn program(&self) -> Program<'_> {
        Program {
            command: self.argv,
            script: None,
            interpreter: Interpreter::default(),
            cwd: Some(self.directory),
            environment: self.environment,
        }
    }
}

impl Host {
    /// What a list of commands judges about it.
    ///
    /// # Errors
    /// `InvalidInput` for one without a program.
    pub fn judged(&self, step: &Step<'_>) -> Result<CommandLine> {
        step.program().command_line(self, false)
    }

    /// Runs it in a slot, sandboxed as `exec_run`, and tells how that went.
    ///
    /// # Errors
    /// `InvalidInput` for a program or directory that is not there, `Unavailable` without a sandbox, `Canceled`.
    pub async fn run_step(&self, ctx: &CallCtx, step: &Step<'_>) -> Result<Output> {
        let task = Task {
            program: step.program(),
            stdin: None,
            limits: More::default().with(step.timeout_seconds, step.memory_mib),
            output_bytes: MOST_BYTES,
            network: step.network,
            preview: None,
            is_apart: false,
        };
        in_slot(self, ctx, &task).await
    }
}
