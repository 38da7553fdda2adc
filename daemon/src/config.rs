//! The configuration: TOML with drop-ins. Errors name file, line and the nearest valid key.

use crate::{accept, agent::Lending, boot::NO_HOME};
use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use skynet_core::registry::nearest;
use skynet_engine::Engine;
use skynet_exec::IpNet;
use skynet_policy::{CommandRule, Commands, Factor, Limits, Plan, Roles, Rule, Rules, Verdict};
use skynet_vault::settings::Users;
use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    time::Duration,
};
use toml::{Table, Value};

/// Everything an administrator decides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) log: Log,
    pub(crate) policy: Policy,
    pub(crate) quota: Limits,
    pub(crate) confirm: Confirm,
    pub(crate) leases: skynet_leases::Settings,
    pub(crate) storage: Storage,
    pub(crate) audit: Audit,
    pub(crate) mcp: Mcp,
    pub(crate) http: Http,
    pub(crate) metrics: Metrics,
    pub(crate) network: Network,
    pub(crate) secrets: Secrets,
    pub(crate) git: Git,
    pub(crate) docker: Docker,
    pub(crate) cache: skynet_cache::Settings,
    pub(crate) models: skynet_models::Settings,
    pub(crate) memory: Memory,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// A filter such as `info` or `info,skynet_hands=debug`.
    pub(crate) filter: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Where a workspace may lie; `~` is the caller's home.
    pub(crate) workspaces: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    /// Users and groups under one name, for rules.
    pub(crate) roles: Roles,
    /// What may be started. Where an entry applies, what none covers is not allowed.
    pub(crate) commands: Vec<CommandRule>,
    /// What happens to commands that no entry covers, where some apply: `deny` or `ask`.
    pub(crate) unlisted_commands: Verdict,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Confirm {
    /// How long a call waits for a human before it tells the client to come back.
    pub(crate) wait_seconds: NonZeroU32,
    /// Whose word counts; by default `client` for a daemon of one user, `admin-uid` for one of a whole host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<Factor>,
    /// Tell the user's desktop that a call waits; where the factor is `client`, it can be answered there. For a daemon of one user.
    pub(crate) notify: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Storage {
    /// Before-images and large results together.
    pub(crate) blobs_max_bytes: NonZeroU64,
}

/// What agents are told to keep of people and projects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// Of one user: what is remembered says no more.
    pub(crate) max_bytes: NonZeroU64,
    /// On so many occasions a command does its work before it is proposed as a preference; 0 learns nothing from use.
    pub(crate) learn_after: u8,
}

/// How much of the audit log is kept; what exceeds either goes, in whole segments of 64 MiB, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// Records that are older may go.
    pub(crate) keep_days: NonZeroU32,
    /// All segments together.
    pub(crate) keep_bytes: NonZeroU64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mcp {
    /// Requests of one session that are worked on at the same time; more wait.
    pub(crate) concurrent_requests: NonZeroU32,
    /// Sets of tools that every client is shown; the others are found by `skynet_search_tools`.
    pub(crate) toolsets: Vec<String>,
    /// A call that runs longer becomes a task, for clients that know tasks.
    pub(crate) task_after_seconds: u32,
    /// A call that runs longer becomes a job, for clients that know neither tasks nor progress.
    pub(crate) job_after_seconds: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Serve MCP over HTTP on this loopback address, like `127.0.0.1:7345`; off if absent. Port 0 takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
    /// Connections at a time; more wait until one is closed.
    pub(crate) max_connections: NonZeroU32,
    /// A connection on which no request begins and has its headers sent for so long is closed.
    pub(crate) header_timeout_seconds: NonZeroU32,
}

impl Http {
    pub(crate) fn limits(&self) -> accept::Limits {
        accept::Limits {
            connections: self.max_connections.get() as usize,
            header_timeout: Duration::from_secs(self.header_timeout_seconds.get().into()),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// Serve metrics for Prometheus at `/metrics` of this loopback address, like `127.0.0.1:9464`, to whoever shows a token of
    /// `skynetctl token create --metrics`; off if absent. Port 0 takes any.
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// Networks, like `10.20.0.0/16`, at whose addresses a host may be that a command was granted by its name, besides
    /// those of the internet: a company's own registry of packages. Whoever can register a name can lead it there.
    pub(crate) reachable: Vec<IpNet>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Secrets {
    /// A server of Vault or OpenBao that keeps values; none if absent.
    pub(crate) vault: Option<skynet_vault::Settings>,
    /// How access tokens of providers are kept fresh.
    pub(crate) oauth: Oauth,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oauth {
    /// How long a token that no command asks for is left alone after it was had, however short its life.
    pub(crate) rest_seconds: NonZeroU32,
}

impl Oauth {
    /// The same as a duration.
    pub(crate) fn rest(&self) -> SignedDuration {
        SignedDuration::from_secs(self.rest_seconds.get().into())
    }
}

impl Secrets {
    /// # Errors
    /// When what is said of the vault makes no sense, for the user whose home is `home` or for all of a host.
    pub(crate) fn check(&self, home: &Path) -> Result<()> {
        let users = if home == Path::new(NO_HOME) { Users::All } else { Users::One };
        Ok(self.vault.as_ref().map_or(Ok(()), |vault| vault.check(users))?)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Git {
    /// Where the SSH agent of the one user listens, like `/run/user/1000/openssh_agent`: lent to each call for a remote by
    /// SSH that a human confirmed, where no private key is kept for its host.
    pub(crate) ssh_agent: Option<PathBuf>,
    /// For the daemon of a host: whether the SSH agent that a client's environment names (`SSH_AUTH_SOCK`) is lent in the same
    /// way, each to calls of its own user.
    pub(crate) lend_ssh_agents: bool,
}

impl Git {
    /// Whose agent is lent, where the one user's home is `home`.
    ///
    /// # Errors
    /// For what is said of a daemon of another kind, or when the agent is at no absolute path.
    pub(crate) fn lending(&self, home: &Path) -> skynet_core::Result<Lending> {
        let wrong = skynet_core::Error::invalid_input;
        match (&self.ssh_agent, home == Path::new(NO_HOME)) {
            (Some(_), true) => Err(wrong(
                "`git.ssh_agent` is for the daemon of one user, and this one serves a host; `git.lend_ssh_agents = true` lends to each user the agent that his client names",
            )),
            (None, true) if self.lend_ssh_agents => Ok(Lending::OfCallers),
            (_, false) if self.lend_ssh_agents => Err(wrong(
                "`git.lend_ssh_agents` is for the daemon of a host; for that of one user `git.ssh_agent` names his agent",
            )),
            (None, _) => Ok(Lending::Never),
            (Some(socket), false) if socket.is_absolute() => Ok(Lending::At(socket.as_path().into())),
            (Some(_), false) => {
                Err(wrong("`git.ssh_agent` is an absolute path, as `echo $SSH_AUTH_SOCK` prints it"))
            }
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Docker {
    /// Where the container engine of the one user listens, like `/run/user/1000/docker.sock`; without, it is looked for at
    /// `DOCKER_HOST`, in his runtime directory, and where that of the host is. A host's broker is told by `--engine-socket`.
    pub(crate) socket: Option<PathBuf>,
}

impl Docker {
    /// # Errors
    /// Where there is not one user, or when it is no absolute path.
    pub(crate) fn check(&self, home: &Path) -> skynet_core::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if home == Path::new(NO_HOME) {
            return Err(skynet_core::Error::invalid_input(
                "`docker.socket` is for the daemon of one user, and this one serves a host: its broker is told with `skynet-sandbox system --engine-socket PATH`",
            ));
        }
        if !socket.is_absolute() {
            return Err(skynet_core::Error::invalid_input(
                "`docker.socket` is an absolute path, like `/run/user/1000/docker.sock`",
            ));
        }
        Ok(())
    }

    /// Where to look, for the user with that home and number; for a host, its broker knows.
    ///
    /// # Errors
    /// As [`Docker::check`].
    pub(crate) fn places(&self, home: Option<&Path>, uid: u32) -> skynet_core::Result<Vec<PathBuf>> {
        self.check(home.unwrap_or(Path::new(NO_HOME)))?;
        if home.is_none() {
            return Ok(Vec::new());
        }
        if let Some(socket) = &self.socket {
            return Ok(vec![socket.clone()]);
        }
        let named = std::env::var("DOCKER_HOST").ok();
        Ok(Engine::places(named.as_deref(), Path::new(&format!("/run/user/{uid}"))))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into() }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            workspaces: vec!["~/*".into(), "~/**/*".into()],
            rules: Vec::new(),
            roles: Roles::new(),
            commands: Vec::new(),
            unlisted_commands: Verdict::Deny,
        }
    }
}

impl Policy {
    /// Ready to judge, for the user whose home is `home`.
    ///
    /// # Errors
    /// When a rule or list is wrong, or is for a home where there is not one user.
    pub(crate) fn rules(&self, home: &Path) -> skynet_core::Result<Rules> {
        let is_for_home =
            self.commands.iter().flat_map(|entry| &entry.workspaces).any(|glob| glob.starts_with('~'));
        if is_for_home && home == Path::new(NO_HOME) {
            return Err(skynet_core::Error::invalid_input(
                "`policy.commands` of a whole host cannot name `~` in `workspaces`; name the directories",
            ));
        }
        if home != Path::new(NO_HOME) && self.rules.iter().any(|rule| rule.lend.is_some()) {
            return Err(skynet_core::Error::invalid_input(
                "`lend` is for rules of a daemon that serves a host: that of one user has what he has",
            ));
        }
        let commands = Commands::new(self.commands.clone(), self.unlisted_commands, home)?;
        Ok(Rules::new(self.rules.clone(), &self.roles)?.with_commands(commands))
    }
}

impl Config {
    /// Who may use how much.
    ///
    /// # Errors
    /// When a limit is wrong.
    pub(crate) fn plan(&self) -> skynet_core::Result<Plan> {
        Plan::new(&self.quota, &self.policy.roles)
    }
}

impl Default for Confirm {
    fn default() -> Self {
        Self { wait_seconds: NonZeroU32::MIN.saturating_add(44), factor: None, notify: false }
    }
}

impl Default for Oauth {
    fn default() -> Self {
        Self { rest_seconds: NonZeroU32::MIN.saturating_add(29) }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { blobs_max_bytes: NonZeroU64::MIN.saturating_add((1 << 30) - 1) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let max_bytes = NonZeroU64::MIN.saturating_add((16 << 20) - 1);
        Self { max_bytes, learn_after: skynet_memory::OCCASIONS }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            keep_days: NonZeroU32::MIN.saturating_add(364),
            keep_bytes: NonZeroU64::MIN.saturating_add((4 << 30) - 1),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: None,
            // Beyond all requests that are worked on, so that one more is told so.
            max_connections: NonZeroU32::MIN.saturating_add(4095),
            // As long as nginx waits (`client_header_timeout`).
            header_timeout_seconds: NonZeroU32::MIN.saturating_add(59),
        }
    }
}

impl Default for Mcp {
    fn default() -> Self {
        Self {
            concurrent_requests: NonZeroU32::MIN.saturating_add(63),
            toolsets: ["exec", "files", "git", "skynet"].map(str::to_owned).to_vec(),
            task_after_seconds: 5,
            job_after_seconds: 45,
        }
    }
}

/// The files that are read, in order: `file`, then `*.toml` of the directory of the same name with `.d`.
///
/// # Errors
/// When it cannot be told what is there: a directory that may not be entered holds rules that nobody would know of.
pub(crate) fn files(file: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    match fs::metadata(file) {
        Ok(_) => found.push(file.to_owned()),
        Err(err) if is_absent(&err) => {}
        Err(err) => return Err(err).with_context(|| format!("{}", file.display())),
    }
    let drop_ins = file.with_extension("d");
    match fs::read_dir(&drop_ins) {
        Ok(entries) => {
            let mut more = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            more.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
            more.sort();
            found.extend(more);
        }
        Err(err) if is_absent(&err) => {}
        Err(err) => return Err(err).with_context(|| format!("{}", drop_ins.display())),
    }
    Ok(found)
}

fn is_absent(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads and merges all files: a later value replaces an earlier one, lists are joined. Without any file the
/// defaults hold.
pub(crate) fn load(file: &Path) -> Result<Config> {
    let mut merged = Table::new();
    for path in files(file)? {
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        // Each file must be valid by itself, so that an error can name its line.
        if let Err(err) = toml::from_str::<Config>(&text) {
            bail!("{}", explain(&path, &text, &err));
        }
        let table = text.parse::<Table>().with_context(|| format!("{}", path.display()))?;
        merge(&mut merged, table);
    }
    Ok(Value::Table(merged).try_into()?)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn explain(path: &Path, text: &str, err: &toml::de::Error) -> String {
    let start = err.span().map_or(0, |span| span.start);
    let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    let message = err.message();
    // serde says: unknown field `x`, expected one of `a`, `b`.
    let mut names = message.split('`').skip(1).step_by(2);
    let hint = match names.next().filter(|_| message.starts_with("unknown")) {
        Some(wrong) => {
            nearest(names, wrong).first().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
        }
        None => String::new(),
    };
    format!("{}:{line}: {message}{hint}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_files(files: &[(&str, &str)]) -> Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        load(&directory.path().join("config.toml"))
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_absent() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        assert!(files(&file).unwrap().is_empty());
        std::os::unix::fs::symlink("config.toml", &file).unwrap();
        assert!(load(&file).is_err());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("config.d", directory.path().join("config.d")).unwrap();
        assert!(load(&file).is_err());
    }

    #[test]
    fn drop_ins_override_values_and_extend_lists() {
        let config = load_files(&[
            ("config.toml", "[confirm]\nwait_seconds = 5\n[[policy.rules]]\nname = 'a'\nverdict = 'deny'\n"),
            (
                "config.d/10.toml",
                "[confirm]\nwait_seconds = 6\n[[policy.rules]]\nname = 'b'\nverdict = 'ask'\n",
            ),
            ("config.d/note.txt", "not read"),
        ])
        .unwrap();
        assert_eq!(config.confirm.wait_seconds.get(), 6);
        let names: Vec<_> = config.policy.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(load_files(&[]).unwrap().policy.rules.is_empty());
    }

    #[test]
    fn the_agent_of_one_user_is_lent() {
        let lending = |text: &str, home: &str| {
            let config = load_files(&[("config.toml", &format!("[git]\n{text}\n"))]).unwrap();
            config.git.lending(Path::new(home))
        };
        let (own, each) = ("ssh_agent = '/run/agent'", "lend_ssh_agents = true");
        assert_eq!(lending(own, "/home/ann").unwrap(), Lending::At(Path::new("/run/agent").into()));
        assert!(lending("ssh_agent = 'agent'", "/home/ann").is_err());
        assert!(lending(own, NO_HOME).unwrap_err().message.contains("serves a host"));
        assert_eq!(lending(each, NO_HOME).unwrap(), Lending::OfCallers);
        assert!(lending(each, "/home/ann").unwrap_err().message.contains("`git.ssh_agent`"));
        for home in ["/home/ann", NO_HOME] {
            assert_eq!(lending("", home).unwrap(), Lending::Never);
        }
    }

    #[test]
    fn errors_name_file_line_and_the_nearest_key() {
        for (text, expected) in [
            (
                "[log]\n\n[quota]\ncalls_per_minut = 3\n",
                "config.toml:4: unknown field `calls_per_minut`, expected",
            ),
            ("[log]\n\n[quota]\ncalls_per_minut = 3\n", "did you mean `calls_per_minute`?"),
            ("[confirm]\nwait_seconds = 0\n", "config.toml:2: "),
            (
                "[quota]\n\n[[quota.limits]]\nname = 'a'\nwindow = '1h'\ncalls = 1\n\n[[quota.limits]]\nname = 'b'\n",
                "config.toml:8: the limit `b` limits nothing",
            ),
            (
                "[[quota.limits]]\nname = 'a'\nwindow = '2h'\ncalls = 1\n",
                "config.toml:3: unknown variant `2h`, expected one of `1m`, `1h`, `1d`, `30d`",
            ),
            ("[[quota.limits]]\nname = 'a'\nwindow = '1h'\ncall = 1\n", "did you mean `calls`?"),
            ("[[policy.rules]]\nname = 'x'\nverdict = 'forbid'\n", "config.toml:3: unknown variant `forbid`"),
        ] {
            let err = load_files(&[("config.toml", text)]).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
    }
}
