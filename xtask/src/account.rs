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
    Other(Entry),
}

/// What passwd(5) says of an account.
pub(crate) struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// This user, or the account `name`, made if it is missing, where this user is root.
    pub(crate) fn unprivileged(name: &str) -> Result<Self> {
        if !shell::is_root() {
            return Ok(Self::Own);
        }
        if Entry::find(name).is_none() {
            shell::step(&format!("making the unprivileged account `{name}`"));
            shell::run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", name]))?;
        }
        Entry::find(name).map(Self::Other).with_context(|| format!("there is no account `{name}`"))
    }

    /// The account `name` of a service, made if it is missing.
    pub(crate) fn system(name: &str) -> Result<Self> {
        if Entry::find(name).is_none() {
            shell::step(&format!("making the account `{name}` for the service"));
            let options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/skynet"];
            shell::run(Command::new("useradd").args(options).args(["--shell", "/usr/sbin/nologin", name]))?;
        }
        Entry::find(name).map(Self::Other).with_context(|| format!("there is no account `{name}`"))
    }

    /// Its home directory.
    pub(crate) fn home(&self) -> PathBuf {
        match self {
            Self::Own => std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default(),
            Self::Other(entry) => entry.home.clone(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Own => std::env::var("USER").unwrap_or_else(|_| "user".into()),
            Self::Other(entry) => entry.name.clone(),
        }
    }

    /// A command that runs as this account, in its home, with a login-like environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match self {
            Self::Own => Command::new(program),
            Self::Other(Entry { name, uid, gid, home }) => {
                // With the groups that it is in by now; it becomes the program, so that the process is the same.
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--init-groups", "--"])
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

    /// Gives it what root wrote, with all that is below.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other(Entry { name, .. }) => {
                shell::run(Command::new("chown").args(["-R", &format!("{name}:")]).arg(path))
            }
        }
    }

    /// Makes a directory of this account.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<()> {
        shell::run(self.command("mkdir").arg("-p").arg(path))
            .with_context(|| format!("making `{}`", path.display()))
    }
}

impl Entry {
    fn find(name: &str) -> Option<Self> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        let fields: Vec<&str> = text
            .lines()
            .map(|line| line.split(':').collect())
            .find(|fields: &Vec<&str>| fields.first() == Some(&name))?;
        let number = |at: usize| fields.get(at)?.parse().ok();
        Some(Self { name: name.to_owned(), uid: number(2)?, gid: number(3)?, home: fields.get(5)?.into() })
    }
}
