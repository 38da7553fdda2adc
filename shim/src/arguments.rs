//! The command line. Clients call it with a fixed list, so a parser of twenty lines does.

use skynet_proto::socket::default_path;
use std::{ffi::OsString, path::PathBuf};

const HELP: &str = "\
Relays MCP between stdio and skynetd. Started by an MCP client, not by hand.

Usage: skynet-shim [OPTIONS]

Options:
      --workspace DIR  Work in DIR instead of the current directory
      --socket PATH    Dial this socket instead of the daemon's usual one
  -h, --help           Print help
  -V, --version        Print version
";

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) socket: PathBuf,
    pub(crate) workspace: PathBuf,
    /// The socket was not given, so a daemon of this user may be started to make it.
    pub(crate) may_start_daemon: bool,
}

/// A command line understood.
#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Arguments),
    Print(&'static str),
}

pub(crate) fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    let (mut socket, mut workspace) = (None, None);
    while let Some(argument) = given.next() {
        let text = argument.to_string_lossy().into_owned();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text.as_str(), None),
        };
        let target = match name {
            "--socket" => &mut socket,
            "--workspace" => &mut workspace,
            "-h" | "--help" => return Ok(Parsed::Print(HELP)),
            "-V" | "--version" => {
                return Ok(Parsed::Print(concat!("skynet-shim ", env!("CARGO_PKG_VERSION"), "\n")));
            }
            _ => return Err(format!("unknown argument `{text}`")),
        };
        let value = inline.or_else(|| given.next()).filter(|value| !value.is_empty());
        *target = Some(PathBuf::from(value.ok_or_else(|| format!("`{name}` needs a value"))?));
    }
    let may_start_daemon = socket.is_none();
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let home = std::env::var_os("HOME")
                .filter(|home| !home.is_empty())
                .ok_or("HOME is not set; give --socket")?;
            default_path(rustix::process::getuid().as_raw(), &PathBuf::from(home))
        }
    };
    let here = std::env::current_dir().map_err(|err| format!("the current directory is gone: {err}"))?;
    let workspace = workspace.map_or_else(|| here.clone(), |given: PathBuf| here.join(given));
    Ok(Parsed::Run(Arguments { socket, workspace, may_start_daemon }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn both_spellings_and_what_is_refused() {
        for line in ["--socket /a --workspace /b", "--workspace=/b --socket=/a"] {
            let Ok(Parsed::Run(arguments)) = parsed(line) else { panic!("{line}") };
            assert_eq!((arguments.socket, arguments.workspace), ("/a".into(), "/b".into()));
            assert!(!arguments.may_start_daemon);
        }
        assert!(matches!(parsed("--help"), Ok(Parsed::Print(_))));
        for (line, expected) in
            [("--sock /a", "unknown argument `--sock`"), ("--socket", "`--socket` needs a value")]
        {
            assert_eq!(parsed(line).unwrap_err(), expected);
        }
    }
}
