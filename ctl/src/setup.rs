//! `skynetctl setup`: the first five minutes. Asks in plain words, does each thing by the command that one would type, and says
//! which; what is done already is left alone, so it can be run again.

mod policy;

use crate::{
    config,
    daemon::Daemon,
    output::{Failure, Output},
};
use clap::Args;
use dialoguer::{Confirm, MultiSelect, Select};
use policy::Policy;
use serde_json::{Value, json};
use skynet_proto::{StatusRequest, socket::SYSTEM_SOCKET};
use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Whoever is in it works through the daemon of the host.
const GROUP: &str = "skynet";

/// The drop-in that is written; removing it takes back what was decided.
const DROP_IN: &str = "10-setup.toml";

/// A daemon that is started answers within that time, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Ask nothing: take the answers below, or the usual ones.
    #[arg(long)]
    yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// What agents may do without asking.
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Show clients the tools of these sets too, by name; see `skynetctl toolset list`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    toolsets: Option<Vec<String>>,
    /// Register these clients, by name; without, all that are found. See `skynetctl client list`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    clients: Option<Vec<String>>,
    /// Let this user work through the daemon of the host; as root.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Install no models: knowledge is searched by words alone.
    #[arg(long)]
    without_models: bool,
}

/// Whether a user may connect.
enum Membership {
    Enough,
    /// Nothing else can be done before he is let in.
    Missing,
}

/// What came of a step.
struct Step {
    name: &'static str,
    outcome: &'static str,
    detail: String,
}

pub(crate) async fn run(daemon: &Daemon, arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    let has_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !arguments.yes && !has_terminal {
        return Err(Failure::usage("setup asks on a terminal; without one give `--yes`"));
    }
    let is_root = rustix::process::geteuid().is_root();
    let mut setup = Setup { daemon, arguments, is_root, steps: Vec::new(), is_loud: !output.is_json() };
    let failed = match setup.membership()? {
        Membership::Missing => true,
        Membership::Enough => setup.all().await?,
    };
    let is_dry = setup.arguments.dry_run;
    let steps = setup
        .steps
        .iter()
        .map(|step| json!({ "step": step.name, "outcome": step.outcome, "detail": step.detail }));
    if output.is_json() {
        output.json(&steps.collect())?;
    } else if !failed && !is_dry {
        output.line(
            "\nDone. Open your client and ask it for something; `skynetctl audit query` shows what it did.",
        )?;
    }
    if failed { Err(Failure::said(1)) } else { Ok(()) }
}

struct Setup<'a> {
    daemon: &'a Daemon,
    arguments: Arguments,
    is_root: bool,
    steps: Vec<Step>,
    is_loud: bool,
}

impl Setup<'_> {
    fn note(&mut self, name: &'static str, outcome: &'static str, detail: impl Into<String>) {
        let step = Step { name, outcome, detail: detail.into() };
        if self.is_loud {
            let Step { name, outcome, detail } = &step;
            // Nobody is helped by stopping when this cannot be told.
            let _ = writeln!(io::stderr(), "{name:<11} {outcome:<8} {detail}");
        }
        self.steps.push(step);
    }

    fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if self.arguments.yes {
            return Ok(true);
        }
        Confirm::new().with_prompt(question).default(true).interact().map_err(unanswered)
    }

    /// Runs a program, unless that is only to be said; what it complained about if it failed.
    fn carry_out(&mut self, name: &'static str, command: &mut Command) -> Result<(), Failure> {
        let shown = shown(command);
        if self.arguments.dry_run {
            self.note(name, "would", shown);
            return Ok(());
        }
        let ran = command.stdin(Stdio::null()).output();
        let ran = ran.map_err(|err| Failure::refused(format!("`{shown}`: {err}")))?;
        if ran.status.success() {
            self.note(name, "done", shown);
        } else {
            let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
            self.note(name, "failed", format!("{shown}: {said}"));
        }
        Ok(())
    }

    /// What there is to do for whoever may connect; whether something failed.
    async fn all(&mut self) -> Result<bool, Failure> {
        self.policy().await?;
        self.start().await?;
        self.toolsets().await?;
        self.clients()?;
        self.models()?;
        self.doctor()
    }

    /// Whether this user may connect at all.
    fn membership(&mut self) -> Result<Membership, Failure> {
        if let Some(user) = self.arguments.user.clone() {
            if !self.is_root {
                return Err(Failure::usage(
                    "only root lets others in: run `sudo skynetctl setup --user ...`",
                ));
            }
            self.carry_out(
                "group",
                Command::new("usermod").args(["--append", "--groups", GROUP]).arg(&user),
            )?;
            return Ok(Membership::Enough);
        }
        if self.is_root || !is_host() {
            return Ok(Membership::Enough);
        }
        match std::os::unix::net::UnixStream::connect(SYSTEM_SOCKET) {
            Ok(_) => {
                self.note("group", "is so", format!("this user may use `{SYSTEM_SOCKET}`"));
                Ok(Membership::Enough)
            }
            Err(_) => {
                let user = std::env::var("USER").unwrap_or_else(|_| "$USER".into());
                self.note(
                    "group",
                    "needed",
                    format!("`sudo usermod --append --groups {GROUP} {user}`, then log in again and run this once more"),
                );
                Ok(Membership::Missing)
            }
        }
    }

    /// Has one be there.
    async fn start(&mut self) -> Result<(), Failure> {
        if self.answers().await {
            self.note("daemon", "is so", format!("answers at `{}`", self.daemon.socket().display()));
            return Ok(());
        }
        if is_host() || self.is_root {
            self.carry_out(
                "daemon",
                Command::new("systemctl").args([
                    "enable",
                    "--now",
                    "skynet.socket",
                    "skynet-sandbox",
                    "skynetd",
                ]),
            )?;
        } else if Path::new("/usr/lib/systemd/user/skynet.socket").exists() {
            self.carry_out(
                "daemon",
                Command::new("systemctl").args(["--user", "enable", "--now", "skynet.socket"]),
            )?;
        } else {
            // As a client's shim would.
            let program = std::env::current_exe()?.with_file_name("skynetd");
            if self.arguments.dry_run {
                self.note("daemon", "would", format!("start `{}`", program.display()));
            } else {
                let mut command = Command::new(&program);
                if let Some(socket) = self.daemon.given_socket() {
                    command.arg("--socket").arg(socket);
                }
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.process_group(0).spawn()?;
            }
        }
        if self.arguments.dry_run {
            return Ok(());
        }
        let begun = Instant::now();
        while !self.answers().await {
            if begun.elapsed() > PATIENCE {
                self.note("daemon", "failed", "it does not answer; `skynetctl doctor` tells more");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.note("daemon", "done", format!("answers at `{}`", self.daemon.socket().display()));
        Ok(())
    }

    async fn answers(&self) -> bool {
        match self.daemon.status().await {
            Ok(mut client) => client.status(StatusRequest {}).await.is_ok(),
            Err(_) => false,
        }
    }

    /// What agents may do without asking.
    async fn policy(&mut self) -> Result<(), Failure> {
        let file = drop_in(self.is_root)?;
        if is_host() && !self.is_root {
            // The administrator's to decide.
            return Ok(());
        }
        if file.exists() && self.arguments.policy.is_none() {
            self.note("policy", "is so", format!("`{}`", file.display()));
            return Ok(());
        }
        let chosen = match self.arguments.policy {
            Some(policy) => policy,
            None if self.arguments.yes => Policy::Usual,
            None => {
                let at = Select::new()
                    .with_prompt("What may agents do without asking you?")
                    .items(Policy::ALL.map(Policy::in_words))
                    .default(1)
                    .interact()
                    .map_err(unanswered)?;
                Policy::ALL.get(at).copied().unwrap_or(Policy::Usual)
            }
        };
        if self.arguments.dry_run {
            self.note("policy", "would", format!("write `{}`: {}", file.display(), chosen.in_words()));
            return Ok(());
        }
        let before = fs::read(&file).ok();
        let directory = file.parent().unwrap_or(Path::new("/"));
        // Whatever the mask of whoever asks: the daemon is another user.
        let open_to_all =
            |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
        let missing = directory.ancestors().take_while(|directory| !directory.exists());
        let missing: Vec<&Path> = missing.collect();
        fs::create_dir_all(directory)?;
        missing.into_iter().try_for_each(|directory| open_to_all(directory, 0o755))?;
        let mut unfinished = tempfile::Builder::new().tempfile_in(directory)?;
        unfinished.write_all(chosen.toml().as_bytes())?;
        open_to_all(unfinished.path(), 0o644)?;
        unfinished.persist(&file).map_err(io::Error::from)?;
        let mut refused = config::check().err().map(|failure| failure.message().to_owned());
        // A daemon that is not there reads it when it starts.
        if let (None, Ok(mut client)) = (&refused, self.daemon.status().await) {
            let reloaded = client.reload(skynet_proto::ReloadRequest {}).await;
            refused = reloaded.err().map(|status| status.message().to_owned());
        }
        if let Some(reason) = refused {
            // As it was.
            match before {
                Some(text) => fs::write(&file, text)?,
                None => fs::remove_file(&file)?,
            }
            self.note("policy", "failed", reason);
            return Ok(());
        }
        self.note("policy", "done", format!("`{}`: {}", file.display(), chosen.in_words()));
        Ok(())
    }

    async fn toolsets(&mut self) -> Result<(), Failure> {
        let wanted = match &self.arguments.toolsets {
            Some(wanted) => wanted.clone(),
            None if self.arguments.yes => Vec::new(),
            None => {
                let Ok(listed) = self.ask(&["toolset", "list"]) else { return Ok(()) };
                let hidden: Vec<(String, String)> = listed
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|set| set["listed"] == false)
                    .map(|set| (text(&set["name"]), text(&set["summary"])))
                    .collect();
                let chosen = MultiSelect::new()
                    .with_prompt("Tools to show besides files, git and commands; all others are found when they are searched for")
                    .items(hidden.iter().map(|(name, summary)| format!("{name}: {summary}")))
                    .interact()
                    .map_err(unanswered)?;
                chosen.into_iter().filter_map(|at| hidden.get(at).map(|(name, _)| name.clone())).collect()
            }
        };
        for toolset in wanted {
            let mut command = self.own(&["toolset", "enable", &toolset])?;
            self.carry_out("toolsets", &mut command)?;
        }
        Ok(())
    }

    /// Writes Skynet into the clients of this user.
    fn clients(&mut self) -> Result<(), Failure> {
        if self.is_root {
            self.note("clients", "skipped", "each user registers his own: `skynetctl setup`, as that user");
            return Ok(());
        }
        let listed = self.ask(&["client", "list"])?;
        let is_found = |seen: &&Value| seen["scope"] == "user" && seen["state"] != "no file";
        let mut found: Vec<(String, String, bool)> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter(is_found)
            .map(|seen| (text(&seen["client"]), text(&seen["state"]), seen["needs_workspace"] == true))
            .collect();
        if let Some(wanted) = &self.arguments.clients {
            found = wanted.iter().map(|name| (name.clone(), String::new(), false)).collect();
        }
        if found.is_empty() {
            self.note(
                "clients",
                "none",
                "no MCP client was found; `skynetctl client list` names those that are known",
            );
        }
        for (client, state, needs_workspace) in found {
            if needs_workspace && state == "no" {
                let way = format!(
                    "{client} does not say which project is open: `skynetctl client add {client} --workspace DIR`"
                );
                self.note("clients", "skipped", way);
            } else if state == "yes" {
                self.note("clients", "is so", client);
            } else if !["no", ""].contains(&&*state) {
                self.note(
                    "clients",
                    "skipped",
                    format!("{client}: its file is {state}; `skynetctl client list` says more"),
                );
            } else if self.confirm(&format!("Register Skynet with {client}?"))? {
                let mut command = self.own(&["client", "add", &client])?;
                self.carry_out("clients", &mut command)?;
            }
        }
        Ok(())
    }

    fn models(&mut self) -> Result<(), Failure> {
        if is_host() && !self.is_root {
            self.note("models", "skipped", "they are the administrator's to install on this host");
            return Ok(());
        }
        if self.arguments.without_models
            || !self.confirm("Install the models for searching by meaning (about 190 MB)?")?
        {
            self.note("models", "skipped", "`skynetctl models install` does it later");
            return Ok(());
        }
        let mut command = self.own(&["models", "install"])?;
        self.carry_out("models", &mut command)?;
        Ok(())
    }

    /// Says whether something is wrong.
    fn doctor(&mut self) -> Result<bool, Failure> {
        if self.arguments.dry_run {
            self.note("doctor", "would", "skynetctl doctor");
            return Ok(false);
        }
        let mut command = self.own(&["doctor"])?;
        let ran = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        let outcome = if ran.status.success() { "done" } else { "failed" };
        self.note("doctor", outcome, if self.is_loud { format!("\n{said}") } else { said });
        Ok(!ran.status.success() || self.steps.iter().any(|step| step.outcome == "failed"))
    }

    /// This program again.
    fn own(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(socket) = self.daemon.given_socket() {
            command.arg("--socket").arg(socket);
        }
        command.args(arguments);
        Ok(command)
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let ran = self.own(arguments)?.arg("--json").stdin(Stdio::null()).output()?;
        serde_json::from_slice(&ran.stdout)
            .map_err(|_| Failure::refused(String::from_utf8_lossy(&ran.stderr).trim().to_owned()))
    }
}

/// Whether a daemon serves all users here.
fn is_host() -> bool {
    Path::new(SYSTEM_SOCKET).exists()
}

/// The file that holds what is decided here: root's for the host, or the user's own.
fn drop_in(is_root: bool) -> Result<PathBuf, Failure> {
    if is_root {
        return Ok(Path::new("/etc/skynet/config.d").join(DROP_IN));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Failure::usage("HOME is not set"))?;
    Ok(PathBuf::from(home).join(".config/skynet/config.d").join(DROP_IN))
}

/// As one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn unanswered(err: dialoguer::Error) -> Failure {
    Failure::usage(format!("nothing was answered: {err}"))
}
