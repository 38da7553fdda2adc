//! Containers started, stopped and changed.

use crate::{
    Client, Name,
    containers::{Standing, standing},
    failure::About,
};
use bollard::{
    models::{ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum},
    query_parameters::{
        KillContainerOptions, RemoveContainerOptions, RenameContainerOptions, RestartContainerOptions,
        StartContainerOptions, StopContainerOptions, WaitContainerOptions,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::time::Duration;

/// What is done with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Start it.
    Start,
    /// Ask it to end, and kill it after `grace_seconds`.
    Stop,
    /// Stop and start it.
    Restart,
    /// Freeze its processes.
    Pause,
    /// Let them go on.
    Unpause,
    /// Send `signal`.
    Kill,
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// Whenever it ended.
    Always,
    /// Unless it was stopped.
    UnlessStopped,
    /// If it failed.
    OnFailure,
}

impl Restart {
    pub(crate) fn policy(self) -> RestartPolicy {
        let name = match self {
            Self::No => RestartPolicyNameEnum::NO,
            Self::Always => RestartPolicyNameEnum::ALWAYS,
            Self::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
            Self::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        };
        RestartPolicy { name: Some(name), maximum_retry_count: None }
    }
}

/// What changes of a container.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another name.
    pub name: Option<Name>,
    /// Memory; 0 for no limit.
    pub memory_mib: Option<u32>,
    /// Processors.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// When it is started again.
    pub restart: Option<Restart>,
}

/// The end of a container.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// Whether it has ended; false if the time to wait was over before.
    pub has_ended: bool,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for lack of memory.
    pub oom_killed: bool,
}

impl Client {
    /// Does something with a container; how it is then.
    ///
    /// # Errors
    /// `Conflict` for a state in which that cannot be done, `Denied` for starting one that reaches the host when that was
    /// not declared.
    pub async fn control(
        &self,
        name: &Name,
        action: Action,
        grace_seconds: u32,
        signal: &str,
        reaches_host: bool,
    ) -> Result<Standing> {
        let is_starting = matches!(action, Action::Start | Action::Restart);
        let name = &self.check_reach(name, reaches_host || !is_starting).await?;
        let about = About::Container(name);
        let (docker, grace) = (&self.docker, i32::try_from(grace_seconds).ok());
        match action {
            Action::Start => {
                self.ask(about, docker.start_container(name, None::<StartContainerOptions>)).await?;
            }
            Action::Stop => {
                let options = StopContainerOptions { t: grace, ..Default::default() };
                self.ask(about, docker.stop_container(name, Some(options))).await?;
            }
            Action::Restart => {
                let options = RestartContainerOptions { t: grace, ..Default::default() };
                self.ask(about, docker.restart_container(name, Some(options))).await?;
            }
            Action::Pause => self.ask(about, docker.pause_container(name)).await?,
            Action::Unpause => self.ask(about, docker.unpause_container(name)).await?,
            Action::Kill => {
                let options = KillContainerOptions { signal: signal.to_owned() };
                self.ask(about, docker.kill_container(name, Some(options))).await?;
            }
        }
        self.standing(name).await
    }

    /// How a container runs, or ended.
    pub(crate) async fn standing(&self, name: &Name) -> Result<Standing> {
        let found = self.inspect(name).await?;
        Ok(standing(found.state, found.restart_count))
    }

    /// Removes a container, with the volumes that have no name if they are not wanted.
    ///
    /// # Errors
    /// `Conflict` for one that runs, unless it is removed by force.
    pub async fn remove_container(&self, name: &Name, force: bool, volumes: bool) -> Result<()> {
        let options = RemoveContainerOptions { force, v: volumes, link: false };
        self.ask(About::Container(name), self.docker.remove_container(name, Some(options))).await
    }

    /// Changes a container; what the engine warns of.
    ///
    /// # Errors
    /// `InvalidInput` for limits that make no sense.
    pub async fn update_container(&self, name: &Name, change: &Change) -> Result<()> {
        let about = About::Container(name);
        if change.memory_mib.is_some()
            || change.cpus.is_some()
            || change.processes.is_some()
            || change.restart.is_some()
        {
            let memory = change.memory_mib.map(|mib| i64::from(mib) << 20);
            let body = ContainerUpdateBody {
                memory,
                // Without it the engine refuses a limit that is larger than the one for both together was.
                memory_swap: memory.map(|bytes| if bytes == 0 { -1 } else { bytes.saturating_mul(2) }),
                nano_cpus: change.cpus.map(nano),
                pids_limit: change.processes.map(i64::from),
                restart_policy: change.restart.map(Restart::policy),
                ..ContainerUpdateBody::default()
            };
            self.ask(about, self.docker.update_container(name, body)).await?;
        }
        if let Some(new) = &change.name {
            let options = RenameContainerOptions { name: new.to_string() };
            self.ask(about, self.docker.rename_container(name, options)).await?;
        }
        Ok(())
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// `NotFound` for one that there is not.
    pub async fn wait_container(&self, name: &Name, most: Duration) -> Result<Ended> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut stream: crate::client::Stream<'_, _> =
            Box::pin(self.docker.wait_container(name, Some(options)));
        let waited = tokio::time::timeout(most, self.wait(name, &mut stream)).await;
        let exit_code = match waited {
            Ok(code) => Some(code?),
            Err(_) => None,
        };
        let standing = self.standing(name).await?;
        Ok(Ended { has_ended: exit_code.is_some(), exit_code, oom_killed: standing.oom_killed })
    }

    async fn wait(
        &self,
        name: &Name,
        stream: &mut crate::client::Stream<'_, bollard::models::ContainerWaitResponse>,
    ) -> Result<i64> {
        use futures_util::StreamExt as _;
        let about = About::Container(name);
        // The library takes an exit code for a failure.
        let ended = self.ask(about, async {
            match stream.next().await {
                Some(Ok(ended)) => Ok(Some(ended.status_code)),
                Some(Err(bollard::errors::Error::DockerContainerWaitError { code, error }))
                    if error.is_empty() =>
                {
                    Ok(Some(code))
                }
                Some(Err(err)) => Err(err),
                None => Ok(None),
            }
        });
        let ended = ended.await?;
        ended.ok_or_else(|| {
            Error::unavailable(format!("{about}: the engine stopped while it was waited for; ask again"))
        })
    }
}

/// As the engine counts processors.
pub(crate) fn nano(cpus: f64) -> i64 {
    // Within a schema's range, so far below where either ends.
    (cpus * 1e9) as i64
}
