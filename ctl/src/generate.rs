//! Completion scripts and man pages, from the same declaration as the command line.

use crate::{
    Arguments,
    output::{Failure, Output},
};
use clap::CommandFactory as _;
use std::path::Path;

pub(crate) fn completion(shell: clap_complete::Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "skynetctl", &mut script);
    output.bytes(&script)
}

pub(crate) fn man(directory: &Path, output: &mut Output) -> Result<(), Failure> {
    clap_mangen::generate_to(Arguments::command(), directory)
        .map_err(|err| Failure::refused(format!("`{}`: {err}", directory.display())))?;
    output.show(&serde_json::json!({ "directory": directory.to_string_lossy() }), || {
        format!("man pages written to `{}`", directory.display())
    })
}
