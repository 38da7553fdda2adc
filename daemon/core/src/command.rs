//! What an input starts, as its tool declares it: the policy judges this, and the tool runs what was judged. It holds no
//! values of variables and no text for stdin: those are for the command, not for whoever judges it.

use std::path::PathBuf;

/// A program with its arguments, or a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Program and arguments, none of them read by a shell; with a script, only the script's arguments.
    pub argv: Vec<String>,
    /// Text that an interpreter reads.
    pub script: Option<Script>,
    /// The names of the variables that the caller sets.
    pub variables: Vec<String>,
    /// Whether the caller gives it something to read.
    pub has_stdin: bool,
    /// Where it starts, as the caller wrote it; from the workspace.
    pub directory: String,
    /// Where programs are found.
    pub programs: Programs,
}

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What the caller calls its interpreter.
    pub interpreter: &'static str,
    /// The name of the program that reads it.
    pub program: &'static str,
    /// The script.
    pub text: String,
}

/// Where programs are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// A name without `/` is looked for in these, in order.
    pub path: Vec<PathBuf>,
    /// Directories in which no command can change anything: what lies below one of them is what it is called.
    pub fixed: Vec<PathBuf>,
}
