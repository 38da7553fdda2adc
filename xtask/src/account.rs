//! The unprivileged account in whose name things run when root started them.

use crate::shell;
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who runs a command.
pub(crate) enum Account {
    /// Whoever started this.
    Own,
    /// Another one, because this is root.
    Other { name: String, home: PathBuf },
}

impl Account {
    /// This user, or the account `name`, made if it is missing, where this user is root.
    pub(crate) fn unprivileged(name: &str) -> Result<Self> {
        if !shell::is_root() {
            return Ok(Self::Own);
        }
        if home_of(name).is_none() {
            shell::step(&format!("making the unprivileged account `{name}`"));
            shell::run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", name]))?;
        }
        let home = home_of(name).with_context(|| format!("the account `{name}` has no home"))?;
        Ok(Self::Other { name: name.to_owned(), home })
    }

    /// Its home directory.
    pub(crate) fn home(&self) -> PathBuf {
        match self {
            Self::Own => std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default(),
            Self::Other { home, .. } => home.clone(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Own => std::env::var("USER").unwrap_or_else(|_| "user".into()),
            Self::Other { name, .. } => name.clone(),
        }
    }

    /// A command that runs as this account, in its home, with a login-like environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match self {
            Self::Own => Command::new(program),
            Self::Other { name, home } => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", name, "--regid", name, "--init-groups"])
                    .arg(program)
                    .env_clear()
                    .env("HOME", home)
                    .env("USER", name)
                    .env("LOGNAME", name)
                    .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                    .current_dir(home);
                command
            }
        }
    }

    /// Makes a directory of this account.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<()> {
        shell::run(self.command("mkdir").arg("-p").arg(path))
            .with_context(|| format!("making `{}`", path.display()))
    }
}

/// Reads passwd(5).
fn home_of(name: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(5).map(PathBuf::from)
}
