//! `skynetctl client`: writes Skynet into the configuration of MCP clients, and takes it out again.

mod edit;
mod known;
mod probe;

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table},
    terminal::{Tone, paint},
};
use clap::Subcommand;
use known::{CLIENTS, Client, Project, Scope};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write Skynet into a client's configuration. Comments and everything else stay as they are; a copy of the file
    /// before the change is kept beside it.
    Add {
        /// Which client; see `skynetctl client list`.
        #[arg(value_parser = names())]
        client: String,
        /// For all projects of this user, or for this project.
        #[arg(long, value_enum, default_value = "user")]
        scope: Scope,
        /// Let it always work in this directory. Needed for clients that do not tell which project is open.
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take Skynet out of a client's configuration.
    Remove {
        /// Which client; see `skynetctl client list`.
        #[arg(value_parser = names())]
        client: String,
        /// From the user's file, or from this project's.
        #[arg(long, value_enum, default_value = "user")]
        scope: Scope,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the clients that are known, and where Skynet is written down.
    List,
    /// Start Skynet as each configured client would, and say what is wrong.
    Doctor,
}

fn names() -> clap::builder::PossibleValuesParser {
    CLIENTS.iter().map(|client| client.name).collect::<Vec<_>>().into()
}

pub(crate) fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let places = Places::here()?;
    match command {
        Command::Add { client, scope, workspace, dry_run } => {
            let client = find(&client)?;
            let arguments = places.arguments(daemon, client, workspace)?;
            let entry = client.entry(&places.shim()?, &arguments);
            let change =
                places.change(client, scope, |text| edit::add(client.format, text, client.table, &entry))?;
            change.carry_out(client, "added", dry_run, output)
        }
        Command::Remove { client, scope, dry_run } => {
            let client = find(&client)?;
            let change =
                places.change(client, scope, |text| edit::remove(client.format, text, client.table))?;
            change.carry_out(client, "removed", dry_run, output)
        }
        Command::List => list(&places, output),
        Command::Doctor => doctor(&places, output),
    }
}

fn find(name: &str) -> Result<&'static Client, Failure> {
    Client::find(name).ok_or_else(|| Failure::usage(format!("there is no client `{name}`")))
}

/// Where things are.
struct Places {
    home: PathBuf,
    project: PathBuf,
}

/// What a file is to become.
struct Change {
    path: PathBuf,
    before: String,
    /// `None` if it is right already.
    after: Option<String>,
}

impl Places {
    fn here() -> Result<Self, Failure> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.ok_or_else(|| Failure::usage("HOME is not set"))?;
        Ok(Self { home: home.into(), project: std::env::current_dir()? })
    }

    /// By name where the client would find the same program; a file that is shared should not name one person's path, and none
    /// should name what the next release removes.
    fn shim(&self) -> Result<String, Failure> {
        let shim = std::env::current_exe()?.with_file_name("skynet-shim");
        if !shim.is_file() {
            return Err(Failure::refused(format!(
                "`{}` is missing; install all programs of a release together",
                shim.display()
            )));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first = std::env::split_paths(&path)
            .map(|directory| directory.join("skynet-shim"))
            .find(|found| found.is_file());
        let is_first = first.and_then(|first| first.canonicalize().ok()) == shim.canonicalize().ok();
        // Clients started from a desktop have a PATH of their own, which holds only the system's directories.
        let is_system = ["/usr/bin", "/usr/local/bin", "/bin"]
            .iter()
            .any(|directory| shim.parent() == Some(Path::new(directory)));
        Ok(if is_first && is_system { "skynet-shim".into() } else { lasting(&shim).display().to_string() })
    }

    fn arguments(
        &self,
        daemon: &Daemon,
        client: &Client,
        workspace: Option<PathBuf>,
    ) -> Result<Vec<String>, Failure> {
        let mut arguments = Vec::new();
        if let Some(socket) = daemon.given_socket() {
            arguments.extend(["--socket".to_owned(), socket.display().to_string()]);
        }
        let workspace = match (workspace, client.opens) {
            (Some(workspace), _) => Some(self.project.join(workspace).display().to_string()),
            (None, Project::Variable(variable)) => Some(variable.to_owned()),
            (None, Project::Directory) => None,
            (None, Project::Unknown) => {
                return Err(Failure::usage(format!(
                    "{} does not tell its servers which project is open; say it with `--workspace DIR`",
                    client.title
                )));
            }
        };
        if let Some(workspace) = workspace {
            arguments.extend(["--workspace".to_owned(), workspace]);
        }
        Ok(arguments)
    }

    /// Works out a change of the client's file.
    fn change(
        &self,
        client: &Client,
        scope: Scope,
        edit: impl FnOnce(&str) -> Result<Option<String>, String>,
    ) -> Result<Change, Failure> {
        let path = client.file(scope, &self.home, &self.project).ok_or_else(|| {
            Failure::usage(format!(
                "{} has no configuration per project; leave out `--scope project`",
                client.title
            ))
        })?;
        let before = read(&path)?.unwrap_or_default();
        let after = edit(&before)
            .map_err(|reason| Failure::refused(format!("`{}` is left as it is: {reason}", path.display())))?;
        Ok(Change { path, before, after })
    }
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Failure::refused(format!("`{}`: {err}", path.display()))),
    }
}

impl Change {
    fn carry_out(
        self,
        client: &Client,
        done: &str,
        dry_run: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let path = self.path.display().to_string();
        let Some(after) = &self.after else {
            let json = json!({ "client": client.name, "file": path, "changed": false });
            return output.show(&json, || format!("{}: nothing to do in `{path}`", client.title));
        };
        let diff = diffy::create_patch(&self.before, after).to_string();
        if dry_run {
            let json = json!({ "client": client.name, "file": path, "changed": false, "diff": diff });
            return output.show(&json, || format!("{path} would change:\n{diff}"));
        }
        let backup = self.write(after)?;
        let json =
            json!({ "client": client.name, "file": path, "changed": true, "backup": backup, "diff": diff });
        output.show(&json, || {
            let kept =
                backup.as_ref().map_or_else(String::new, |backup| format!("\nbefore: {}", backup.display()));
            format!("{}: {done} in `{path}`{kept}\nStart {} again to use it.", client.title, client.title)
        })
    }

    /// Replaces the file at once, and keeps what it held.
    fn write(&self, text: &str) -> Result<Option<PathBuf>, Failure> {
        // A link stays one: what it leads to is changed.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let failed = |err: std::io::Error| Failure::refused(format!("`{}`: {err}", path.display()));
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let mode = fs::metadata(&path).map(|file| file.permissions().mode()).unwrap_or(0o600);
        let mut backup = None;
        if path.exists() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kept = unused(&path, &name);
            fs::copy(&path, &kept).map_err(failed)?;
            backup = Some(kept);
        }
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        if read(&path)?.unwrap_or_default() != self.before {
            return Err(Failure::refused(format!("`{}` changed meanwhile; try again", path.display())));
        }
        file.persist(&path).map_err(|err| failed(err.error))?;
        Ok(backup)
    }
}

/// A name for a copy that no earlier copy has: the first one shows what was there before Skynet.
fn unused(path: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|number: u32| format!("{name}.before-skynet-{number}"));
    let names = std::iter::once(format!("{name}.before-skynet")).chain(numbered);
    let mut paths = names.map(|name| path.with_file_name(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}

/// One place where Skynet is or could be written down.
struct Seen {
    client: &'static Client,
    scope: Scope,
    path: PathBuf,
    /// In a word.
    state: &'static str,
    entry: Option<Value>,
    fault: Option<String>,
}

fn look(places: &Places) -> Vec<Seen> {
    let mut all = Vec::new();
    for client in &CLIENTS {
        for scope in [Scope::User, Scope::Project] {
            let Some(path) = client.file(scope, &places.home, &places.project) else { continue };
            let (state, entry, fault) = match read(&path) {
                Ok(None) if scope == Scope::User && client.is_present(&places.home) => ("no", None, None),
                Ok(None) => ("no file", None, None),
                Err(failure) => ("unreadable", None, Some(failure.message().to_owned())),
                Ok(Some(text)) => match edit::read(client.format, &text, client.table) {
                    Ok(Some(entry)) => ("yes", Some(entry), None),
                    Ok(None) => ("no", None, None),
                    Err(reason) => ("not understood", None, Some(reason)),
                },
            };
            all.push(Seen { client, scope, path, state, entry, fault });
        }
    }
    all
}

/// The command of an entry with our own shim, or why it is not started: a file of a project is whatever its author put
/// there, and looking at it must not run it.
fn ours(mut command: Vec<String>) -> Result<Vec<String>, String> {
    let shim = std::env::current_exe().ok().map(|program| program.with_file_name("skynet-shim"));
    let shim =
        shim.and_then(|shim| shim.canonicalize().ok()).ok_or("`skynet-shim` is missing beside skynetctl")?;
    let program = command.first_mut().ok_or("the entry names no command")?;
    if program != "skynet-shim" && Path::new(&*program).canonicalize().ok().as_ref() != Some(&shim) {
        return Err(format!(
            "`{program}` is not the shim of this release, `{}`; it was not started",
            shim.display()
        ));
    }
    *program = shim.display().to_string();
    Ok(command)
}

/// The same program by a path that outlasts releases: that of a snap names a revision, which is removed after two more of
/// them, and beside it is a link `current` (<https://snapcraft.io/docs/data-locations>).
fn lasting(program: &Path) -> PathBuf {
    let by_link = program.ancestors().find_map(|revision| {
        let of_snap =
            revision.parent().filter(|snap| snap.parent().is_some_and(|all| all.ends_with("snap")))?;
        let link = of_snap.join("current").join(program.strip_prefix(revision).ok()?);
        (link != program && link.is_file()).then_some(link)
    });
    by_link.unwrap_or_else(|| program.to_owned())
}

const fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::User => "user",
        Scope::Project => "project",
    }
}

fn list(places: &Places, output: &mut Output) -> Result<(), Failure> {
    let all = look(places);
    let json = all.iter().map(|seen| {
        json!({
            "client": seen.client.name, "scope": word(seen.scope), "file": seen.path, "state": seen.state,
            "entry": seen.entry, "fault": seen.fault,
            "needs_workspace": matches!(seen.client.opens, Project::Unknown),
        })
    });
    output.show(&json.collect(), || {
        let rows = all.iter().map(|seen| {
            [
                seen.client.name.to_owned(),
                word(seen.scope).to_owned(),
                seen.state.to_owned(),
                seen.path.display().to_string(),
            ]
        });
        table(["client", "scope", "skynet", "file"], rows)
    })
}

fn doctor(places: &Places, output: &mut Output) -> Result<(), Failure> {
    let seen = look(places).into_iter().filter(|seen| seen.entry.is_some() || seen.fault.is_some());
    let found: Vec<(Seen, Result<String, String>)> = seen
        .map(|seen| {
            let checked = match (&seen.entry, &seen.fault) {
                (Some(entry), _) => seen
                    .client
                    .command_of(entry)
                    .ok_or_else(|| "the entry names no command".to_owned())
                    .and_then(|command| probe::run(&ours(command)?, &places.project)),
                (None, fault) => Err(fault.clone().unwrap_or_default()),
            };
            (seen, checked)
        })
        .collect();
    let json = found.iter().map(|(seen, checked)| {
        json!({
            "client": seen.client.name, "scope": word(seen.scope), "file": seen.path, "ok": checked.is_ok(),
            "detail": checked.as_ref().unwrap_or_else(|fault| fault),
        })
    });
    output.show(&json.collect(), || {
        if found.is_empty() {
            return "no client is configured; see `skynetctl client list`".into();
        }
        let lines = found.iter().map(|(seen, checked)| match checked {
            Ok(detail) => format!("{}   {:<15} {detail}", paint("ok", Tone::Good), seen.client.name),
            Err(fault) => format!("FAIL {:<15} `{}`: {fault}", seen.client.name, seen.path.display()),
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    match found.iter().filter(|(_, checked)| checked.is_err()).count() {
        0 => Ok(()),
        count => Err(output.verdict(format!("{count} of {} entries do not work", found.len()))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_a_snap_writes_down_names_no_revision() {
        let root = tempfile::tempdir().unwrap();
        let of_snap = root.path().join("snap/skynet");
        let shim = of_snap.join("x1/usr/lib/skynet/skynet-shim");
        fs::create_dir_all(shim.parent().unwrap()).unwrap();
        fs::write(&shim, "").unwrap();
        // Unpacked somewhere, it has no such link.
        assert_eq!(lasting(&shim), shim);
        std::os::unix::fs::symlink("x1", of_snap.join("current")).unwrap();
        let link = of_snap.join("current/usr/lib/skynet/skynet-shim");
        assert_eq!(lasting(&shim), link);
        assert_eq!(lasting(&link), link);
        let elsewhere = root.path().join("lib/skynet/skynet-shim");
        assert_eq!(lasting(&elsewhere), elsewhere);
    }
}
