//! Lists the registries that the package managers of the host's user are told to ask.

use crate::{
    manager::Manager,
    registries::{Form, hosts},
};
use rustix::fs::{Mode, OFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub(crate) struct EnvListRegistries;

/// Such a file has some lines.
const MOST_BYTES: u64 = 1 << 20;

/// Whose file it is and how it is written, below the home directory or on the host.
const FILES: [(&str, Manager, Form); 13] = [
    (".config/pip/pip.conf", Manager::Pip, Form::Lines),
    (".pip/pip.conf", Manager::Pip, Form::Lines),
    ("/etc/pip.conf", Manager::Pip, Form::Lines),
    (".config/uv/uv.toml", Manager::Uv, Form::Toml),
    ("/etc/uv/uv.toml", Manager::Uv, Form::Toml),
    (".config/pypoetry/config.toml", Manager::Poetry, Form::Toml),
    (".npmrc", Manager::Npm, Form::Lines),
    ("/etc/npmrc", Manager::Npm, Form::Lines),
    (".yarnrc", Manager::Yarn, Form::Lines),
    (".yarnrc.yml", Manager::Yarn, Form::Lines),
    (".cargo/config.toml", Manager::Cargo, Form::Toml),
    (".m2/settings.xml", Manager::Maven, Form::Xml),
    ("/etc/maven/settings.xml", Manager::Maven, Form::Xml),
];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only those of this package manager; `pnpm` reads the files of `npm`.
    #[serde(default)]
    manager: Option<Manager>,
}

/// What a file names.
#[derive(Serialize, JsonSchema)]
struct Named {
    /// The package manager that reads it.
    manager: Manager,
    /// The file; `~` is the home directory.
    file: String,
    /// Hosts of registries that it names, as `hosts` of `env_install` takes them; nothing else of it is told.
    hosts: BTreeSet<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Files that are there and were read.
    files: Vec<Named>,
    /// Files that could not be read; one that was replaced since Skynet began to look at the host is read after its next start.
    unread: Vec<String>,
}

impl Tool for EnvListRegistries {
    const NAME: &'static str = "env_list_registries";
    const SUMMARY: &'static str = "List the hosts of package registries that the user's own configuration of pip, uv, poetry, npm, yarn, cargo and maven names, in the home directory and on the host; never passwords or tokens.";
    const KEYWORDS: &'static str = "which registry mirror index private npmrc pip.conf cargo config settings.xml uv.toml yarnrc configured hosts proxy repository packages | quel registre miroir dépôt de paquets configuré index privé";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let wanted = match input.manager {
            Some(Manager::Pnpm) => Some(Manager::Npm),
            other => other,
        };
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        for (name, manager, form) in FILES {
            ctx.check_canceled()?;
            if wanted.is_some_and(|wanted| wanted != manager) {
                continue;
            }
            let file = if name.starts_with('/') { name.to_owned() } else { format!("~/{name}") };
            // A path of the host stays what it is.
            match read(&home.join(name)) {
                Ok(text) => files.push(Named { manager, file, hosts: hosts(form, &text) }),
                Err(err) if is_absent(&err) => {}
                Err(_) => unread.push(file),
            }
        }
        Ok(Output { files, unread })
    }
}

fn is_absent(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A regular file of text; never waits for what is none.
fn read(path: &Path) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_home_is_what_the_sandbox_lets_be_read() {
        let mut names: Vec<_> =
            FILES.iter().map(|(name, ..)| *name).filter(|name| !name.starts_with('/')).collect();
        names.sort_unstable();
        assert_eq!(names, skynet_exec::REGISTRY_SETTINGS);
    }
}
