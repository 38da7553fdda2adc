//! Who asks for the password when polkit wants one: its own agent for terminals, for as long as this is held.

use std::{
    io::{IsTerminal as _, Read as _},
    process::{Child, Command, Stdio},
};

/// The agent, which ends when it is dropped.
pub(crate) struct Agent(Option<Child>);

impl Agent {
    /// Starts it where there is a terminal, and waits until polkit knows it. An agent of the session comes first. Root is
    /// asked for nothing, and without polkit nobody is.
    pub(crate) fn start() -> Self {
        if rustix::process::geteuid().is_root() || !std::io::stdin().is_terminal() {
            return Self(None);
        }
        let pid = std::process::id().to_string();
        let started = Command::new("pkttyagent")
            .args(["--fallback", "--process", &pid, "--notify-fd", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut agent) = started else { return Self(None) };
        if let Some(mut known) = agent.stdout.take() {
            // It closes this when it is known, or when it cannot be; in either case the daemon says how it went.
            let _ = known.read_to_end(&mut Vec::new());
        }
        Self(Some(agent))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.0 {
            // It may have ended.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}
