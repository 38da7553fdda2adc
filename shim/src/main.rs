//! `skynet-shim`: what an MCP client starts. Relays lines between stdio and the daemon, and outlives it.
//! Knows no tool, no policy and no version of MCP.

mod arguments;
mod daemon;
mod relay;
mod scan;
mod session;
mod stdio;

use arguments::{Arguments, Parsed};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(arguments)) => arguments,
        Ok(Parsed::Print(text)) => {
            stdio::print(text);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("skynet-shim: {problem}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("skynet-shim: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let result = runtime.block_on(relay::run(arguments));
    // A read of a terminal that blocks in a helper thread must not hold up the exit.
    runtime.shutdown_background();
    result
}
