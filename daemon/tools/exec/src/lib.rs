//! The exec family: commands in the workspace, each in a slot of the sandbox.

mod apply_preview;
mod container;
mod jobs;
mod limits;
mod list_jobs;
mod network;
mod outcome;
mod output;
mod preview;
mod program;
mod read_job;
mod resize_job;
mod run;
mod run_code;
mod signal_job;
mod start_job;
mod status;
mod step;
mod wait_job;
mod write_job;

pub use container::{Contained, Containers};
use jobs::{Job, Jobs, Scope};
pub use network::Network;
pub use outcome::{EndedBy, Output};
use program::Program;
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use skynet_core::{CallCtx, Caller, Error, Meter, Result, Toolset, Workspace, command::Programs};
pub use skynet_egress::{Grant, IpNet};
pub use skynet_sandbox::places::REGISTRY_SETTINGS;
use skynet_sandbox::{
    Command, Slots, places,
    protocol::{Kind, Limits},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
pub use step::Step;

/// Where `PATH` is not known.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs of toolchains in a home directory; the sandbox shows them there.
const HOME_PROGRAMS: [&str; 6] =
    [".cargo/bin", ".local/bin", ".bun/bin", ".deno/bin", ".pyenv/shims", ".pyenv/bin"];

/// Begins the value of a variable that is a secret's name.
const SECRET: &str = "secret://";

/// Stands for all variables of an encrypted file.
const ALL: &str = "*";

/// Variables of the daemon that a command sees.
const KEPT: [&str; 3] = ["LANG", "LC_ALL", "TZ"];

/// Jobs that ended long ago are looked for so often, besides when one is started or all are listed.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What all commands have in common.
pub struct Host {
    slots: Arc<Slots>,
    home: Option<PathBuf>,
    jobs: Jobs,
    state: PathBuf,
    reachable: Arc<[IpNet]>,
    containers: OnceLock<Arc<dyn Containers>>,
}

impl Host {
    /// Commands in `slots`. `home` is that of the daemon's own user, if it serves no other: there a list of commands finds
    /// toolchains too. Jobs and what is not finished are kept below `state`. Hosts that
    /// commands were granted by name may be at addresses of the internet, and at `reachable` ones.
    #[must_use]
    pub fn new(slots: Arc<Slots>, home: Option<&Path>, state: &Path, reachable: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            slots,
            home: home.map(Path::to_owned),
            jobs: Jobs::new(state.join("jobs")),
            state: state.to_owned(),
            reachable: reachable.into(),
            containers: OnceLock::new(),
        })
    }

    /// Says who runs commands in containers, once.
    pub fn contain_with(&self, containers: Arc<dyn Containers>) {
        // A second one would do the same.
        self.containers.get_or_init(|| containers);
    }

    /// Tells this one what background jobs used, once the end of each is seen.
    pub fn charge_to(&self, meter: Arc<dyn Meter>) {
        self.jobs.charge_to(meter);
    }

    /// How many background jobs of that user run.
    ///
    /// # Errors
    /// `Unavailable` when what is kept about jobs cannot be read.
    pub async fn running_jobs(self: &Arc<Self>, uid: u32) -> Result<u64> {
        let running = self.with_jobs(move |jobs| jobs.running(&uid.to_string())).await?;
        Ok(u64::try_from(running).unwrap_or(u64::MAX))
    }

    /// Removes what is left of old jobs, again and again.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            let host = self.clone();
            // What could not be swept is there the next time.
            let _ = blocking(move || {
                host.jobs.sweep();
                Ok(())
            })
            .await;
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// Goes on with what the daemon before this one did for jobs that still run.
    pub async fn adopt(self: Arc<Self>) {
        let found = self.with_jobs(|jobs| {
            jobs.tell_damaged();
            jobs.connected()
        });
        let found = found.await;
        for job in found.unwrap_or_default() {
            let attended = match job.card.network.open(&self.reachable, None).await {
                Ok(Some(network)) => job.attend(network).await,
                Ok(None) => Ok(()),
                Err(err) => Err(err),
            };
            if let Err(err) = attended {
                tracing::warn!(job = %job.id, error = %err, "a job goes on without its network");
            }
        }
    }

    /// Does what waits for the disk.
    async fn with_jobs<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Jobs) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let host = self.clone();
        blocking(move || what(&host.jobs)).await
    }

    /// The job of that id that the caller sees.
    async fn find_job(self: &Arc<Self>, ctx: &CallCtx, id: &str) -> Result<Job> {
        let (scope, id) = (Scope::of(ctx)?, id.to_owned());
        self.with_jobs(move |jobs| jobs.find(&scope, &id)).await
    }

    /// What a slot is given.
    async fn command<'a>(
        &self,
        ctx: &'a CallCtx,
        program: &Program<'a>,
        private_home: &'a str,
        limits: Limits,
        network: &Network,
    ) -> Result<Command<'a>> {
        let caller = &ctx.origin()?.caller;
        let own = program.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let more = network.environment().chain(own);
        Ok(Command {
            kind: Kind::Command,
            connection: caller.connection.number(),
            argv: program.argv(ctx)?,
            environment: self.environment(ctx, caller, more, &network.audience()).await?,
            workspace: Some(ctx.workspace()?),
            directory: Path::new(program.cwd.unwrap_or(".")),
            home: &caller.home,
            private_home,
            limits,
            listen: network.listen(),
            is_published: network.is_published(),
            preview: None,
            is_apart: false,
            certificates: None,
        })
    }

    /// A file that is gone when nobody has it open.
    fn scratch_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.state)
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

    /// Where programs are found. With a list of commands, only what no command can change is looked at.
    fn programs(&self) -> Programs {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let below_home = |name: &&str| self.home.as_ref().map(|home| home.join(name));
        let own = HOME_PROGRAMS.iter().filter_map(below_home);
        let path = own.chain(std::env::split_paths(&path)).filter(|directory| directory.is_absolute());
        // A toolchain that is no directory is not shown, and a command could make one of its own in its place.
        let is_shown = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let toolchains = places::TOOLCHAINS.iter().filter_map(below_home).filter(is_shown);
        Programs {
            path: path.collect(),
            fixed: places::SYSTEM.iter().map(PathBuf::from).chain(toolchains).collect(),
        }
    }

    /// The `PATH` of a command: of one that a list allowed, what no command can change.
    fn path(&self, ctx: &CallCtx, caller: &Caller) -> Result<String> {
        if ctx.program.is_none() {
            let home = caller.home.display();
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

    /// What a command finds in its environment, in the form `NAME=value`; `more` replaces, `*` being first of what a caller gives. A
    /// secret is given only to one that can tell it to none but the hosts it is for.
    async fn environment<'a>(
        &self,
        ctx: &CallCtx,
        caller: &Caller,
        more: impl Iterator<Item = (&'a str, &'a str)> + Send,
        audience: &[String],
    ) -> Result<Vec<Vec<u8>>> {
        let home = caller.home.display();
        let mut all = vec![
            ("HOME".to_owned(), home.to_string().into_bytes()),
            ("PATH".to_owned(), self.path(ctx, caller)?.into_bytes()),
            ("SHELL".to_owned(), b"/bin/sh".to_vec()),
            ("TERM".to_owned(), b"dumb".to_vec()),
            ("USER".to_owned(), caller.user.as_bytes().to_vec()),
        ];
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
        all.extend(kept.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        let mut put = |name: &str, value: Vec<u8>| {
            all.retain(|(known, _)| known != name);
            all.push((name.to_owned(), value));
        };
        for (name, value) in more {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Error::invalid_input(format!(
                    "`{name}` cannot be a variable of the environment"
                )));
            }
            let secret = value.strip_prefix(SECRET);
            if name == ALL {
                let file = secret.ok_or_else(|| {
                    Error::invalid_input(
                        "the variable `*` stands for all variables of an encrypted file: its value is like `secret://.env.skynet`",
                    )
                })?;
                let variables = ctx.secrets(file, audience).await?;
                variables.into_iter().for_each(|(name, value)| put(&name, value));
                continue;
            }
            let value = match secret {
                Some(secret) => ctx.secret(secret, audience).await?,
                None => value.as_bytes().to_vec(),
            };
            if value.contains(&0) {
                return Err(Error::invalid_input(format!(
                    "the secret of `{name}` has a NUL, which no variable can"
                )));
            }
            put(name, value);
        }
        Ok(all.into_iter().map(|(name, value)| [name.as_bytes(), b"=", &value].concat()).collect())
    }
}

/// Those of the variables that a caller gives, for [`skynet_core::Tool::secrets`].
pub(crate) fn secrets_of(environment: &BTreeMap<String, String>) -> Vec<String> {
    let named = environment.iter().filter_map(|(name, value)| Some((name, value.strip_prefix(SECRET)?)));
    // All variables of a file are named like one of them.
    named.map(|(name, text)| if name == ALL { format!("{text}#{ALL}") } else { text.to_owned() }).collect()
}

/// What waits for the disk waits where nobody else does.
async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(what).await;
    done.unwrap_or_else(|err| Err(Error::internal("the tool failed by a defect of Skynet").with_source(err)))
}

/// The exec family.
#[must_use]
pub fn toolset(host: &Arc<Host>) -> Toolset {
    Toolset::new("exec", "run commands and scripts in the workspace, in a sandbox without network")
        .with(run::ExecRun(host.clone()))
}

const MORE: &str = "exec_more";
const ABOUT_MORE: &str = "background jobs: start servers, watchers and interactive programs, read, write, signal, wait; preview what a command would change, and apply it; run code apart from the workspace";

/// The rest of it: commands that outlive the call, and those that are looked at first.
#[must_use]
pub fn more(host: &Arc<Host>) -> Toolset {
    in_hands()
        .with(preview::ExecPreview(host.clone()))
        .with(run_code::ExecRunCode(host.clone()))
        .with(start_job::ExecStartJob(host.clone()))
        .with(list_jobs::ExecListJobs(host.clone()))
        .with(read_job::ExecReadJob(host.clone()))
        .with(write_job::ExecWriteJob(host.clone()))
        .with(resize_job::ExecResizeJob(host.clone()))
        .with(signal_job::ExecSignalJob(host.clone()))
        .with(wait_job::ExecWaitJob(host.clone()))
}

/// What of that is done in hands.
#[must_use]
pub fn in_hands() -> Toolset {
    Toolset::new(MORE, ABOUT_MORE).with(apply_preview::ExecApplyPreview)
}
