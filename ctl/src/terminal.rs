//! What only people at a terminal get: colors, and a pager for what does not fit. Programs get plain text.

use rustix::termios::tcgetwinsize;
use std::{
    io::{self, IsTerminal as _, Write as _},
    process::{Command, Stdio},
};

/// How a word is meant.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    Heading,
}

/// Whether stdout shows colors: a terminal, unless the user says otherwise (<https://no-color.org>).
pub(crate) fn has_colors() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_off && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A word in its color, where there are colors (ECMA-48, SGR).
pub(crate) fn paint(text: &str, tone: Tone) -> String {
    if !has_colors() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Heading => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Shows a text by the user's pager if it is longer than the screen; false if it has to be printed.
pub(crate) fn page(text: &str) -> bool {
    let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    if !io::stdout().is_terminal() || rows == 0 || text.lines().count() < rows {
        return false;
    }
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".into());
    if pager.is_empty() || pager == "cat" {
        return false;
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colors as they are, and no pager for what fits after all; as git(1) does it.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // A reader that has seen enough closes it.
        let _ = stdin.write_all(text.as_bytes());
    }
    child.wait().is_ok_and(|status| status.success())
}
