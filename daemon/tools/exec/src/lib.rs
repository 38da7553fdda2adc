//! The exec family: commands in the workspace, each in a slot of the sandbox.

mod output;
mod run;

use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_core::{CallCtx, Error, Result, Toolset, Workspace, command::Programs};
use skynet_sandbox::{Slots, places};
use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where `PATH` is not known.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs of toolchains in a home directory; the sandbox shows them there.
const HOME_PROGRAMS: [&str; 6] =
    [".cargo/bin", ".local/bin", ".bun/bin", ".deno/bin", ".pyenv/shims", ".pyenv/bin"];

/// Variables of the daemon that a command sees.
const KEPT: [&str; 4] = ["LANG", "LC_ALL", "TZ", "USER"];

/// What all commands have in common.
pub struct Host {
    slots: Arc<Slots>,
    home: PathBuf,
    homes: PathBuf,
}

impl Host {
    /// Commands in `slots`, for the user whose home is `home`. What they keep in theirs is kept below `homes`.
    #[must_use]
    pub fn new(slots: Arc<Slots>, home: &Path, homes: PathBuf) -> Arc<Self> {
        Arc::new(Self { slots, home: home.to_owned(), homes })
    }

    /// The home that commands of this call's workspace share, and no others.
    fn private_home(&self, ctx: &CallCtx) -> Result<PathBuf> {
        let workspace = ctx.workspace()?;
        let make = || -> io::Result<PathBuf> {
            let stat = rustix::fs::fstat(workspace.as_descriptor())?;
            // Also its path: a number is given again once its directory is gone.
            let mut hash = Sha256::new();
            hash.update(stat.st_dev.to_le_bytes());
            hash.update(stat.st_ino.to_le_bytes());
            hash.update(workspace.path().as_os_str().as_encoded_bytes());
            let path = self.homes.join(hex(&hash.finalize()));
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            // Where it really is: a slot follows no links on the way.
            Ok(Workspace::open(&path).map_err(io::Error::other)?.path().to_owned())
        };
        make().map_err(|err| Error::unavailable("the command has no home directory").with_source(err))
    }

    /// Where programs are found. With a list of commands, only what no command can change is looked at.
    fn programs(&self) -> Programs {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let own = HOME_PROGRAMS.iter().map(|programs| self.home.join(programs));
        let path = own.chain(std::env::split_paths(&path)).filter(|directory| directory.is_absolute());
        // A toolchain that is no directory is not shown, and a command could make one of its own in its place.
        let is_shown = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let toolchains = places::TOOLCHAINS.iter().map(|name| self.home.join(name)).filter(is_shown);
        Programs {
            path: path.collect(),
            fixed: places::SYSTEM.iter().map(PathBuf::from).chain(toolchains).collect(),
        }
    }

    /// The `PATH` of a command: of one that a list allowed, what no command can change.
    fn path(&self, ctx: &CallCtx) -> Result<String> {
        if ctx.program.is_none() {
            let home = self.home.display();
            let programs = HOME_PROGRAMS.iter().map(|programs| format!("{home}/{programs}"));
            let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.into());
            return Ok(programs.chain([path]).collect::<Vec<_>>().join(":"));
        }
        let Programs { path, fixed } = self.programs();
        let workspace = ctx.workspace()?.path();
        let found = path.iter().filter_map(|directory| directory.canonicalize().ok());
        let fixed = found.filter(|directory| {
            fixed.iter().any(|fixed| directory.starts_with(fixed)) && !directory.starts_with(workspace)
        });
        Ok(fixed.map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(":"))
    }

    /// What a command finds in its environment, in the form `NAME=value`; `more` replaces.
    fn environment<'a>(
        &self,
        ctx: &CallCtx,
        more: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<Vec<u8>>> {
        let home = self.home.display();
        let mut all = vec![
            ("HOME".to_owned(), home.to_string()),
            ("PATH".to_owned(), self.path(ctx)?),
            ("SHELL".to_owned(), "/bin/sh".to_owned()),
            ("TERM".to_owned(), "dumb".to_owned()),
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
