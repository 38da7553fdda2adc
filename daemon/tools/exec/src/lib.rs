//! The exec family: commands in the workspace, each in a slot of the sandbox.

mod output;
mod run;

use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_core::{Caller, Error, Result, Toolset, Workspace};
use skynet_sandbox::Slots;
use std::sync::Arc;

/// Where `PATH` is not known.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs of toolchains in a home directory; the sandbox shows them there.
const HOME_PROGRAMS: [&str; 6] =
    [".cargo/bin", ".local/bin", ".bun/bin", ".deno/bin", ".pyenv/shims", ".pyenv/bin"];

/// Variables of the daemon that a command sees.
const KEPT: [&str; 3] = ["LANG", "LC_ALL", "TZ"];

/// What all commands have in common.
pub struct Host {
    slots: Arc<Slots>,
}

impl Host {
    /// Commands in `slots`.
    #[must_use]
    pub fn new(slots: Arc<Slots>) -> Arc<Self> {
        Arc::new(Self { slots })
    }

    /// The name of the home that commands of this workspace share, and no others.
    fn private_home(workspace: &Workspace) -> String {
        let (device, inode) = workspace.place();
        // Also its path: a number is given again once its directory is gone.
        let mut hash = Sha256::new();
        hash.update(device.to_le_bytes());
        hash.update(inode.to_le_bytes());
        hash.update(workspace.path().as_os_str().as_encoded_bytes());
        hex(&hash.finalize())
    }

    /// What a command finds in its environment, in the form `NAME=value`; `more` replaces.
    fn environment<'a>(
        caller: &Caller,
        more: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<Vec<u8>>> {
        let home = caller.home.display();
        let programs = HOME_PROGRAMS.iter().map(|programs| format!("{home}/{programs}"));
        let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.into());
        let path: Vec<String> = programs.chain([path]).collect();
        let mut all = vec![
            ("HOME".to_owned(), home.to_string()),
            ("PATH".to_owned(), path.join(":")),
            ("SHELL".to_owned(), "/bin/sh".to_owned()),
            ("TERM".to_owned(), "dumb".to_owned()),
            ("USER".to_owned(), caller.user.to_string()),
        ];
        all.extend(KEPT.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))));
        for (name, value) in more {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Error::invalid_input(format!(
                    "`{name}` cannot be a variable of the environment"
                )));
            }
            all.retain(|(known, _)| known != name);
            all.push((name.to_owned(), value.to_owned()));
        }
        Ok(all.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect())
    }
}

/// The exec family.
#[must_use]
pub fn toolset(host: &Arc<Host>) -> Toolset {
    Toolset::new("exec", "run commands and scripts in the workspace, in a sandbox without network")
        .with(run::ExecRun(host.clone()))
}
