//! Starts, stops and enables units.

use crate::{
    cgroup::sits_in,
    name,
    show::{self, Unit},
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use skynet_system::systemd::{Bus, Change, Scope, explain};
use std::time::Duration;
use zbus::zvariant::OwnedObjectPath;

/// A service that takes longer to start is killed by systemd itself, by default after 90 s (systemd-system.conf(5),
/// `DefaultTimeoutStartSec=`).
const PATIENCE: Duration = Duration::from_secs(110);

/// Of the journal, when a job failed.
const LINES_OF_FAILURE: u32 = 20;

pub(crate) struct ServiceControl;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    Start,
    Stop,
    /// Stop and start again.
    Restart,
    /// Have it read its own configuration again.
    Reload,
    /// Reload where it can, else restart.
    ReloadOrRestart,
    /// Forget that it failed.
    ResetFailed,
    /// Have it start by itself; not now.
    Enable,
    /// No longer; it is not stopped.
    Disable,
    /// Make it impossible to start.
    Mask,
    Unmask,
}

impl Action {
    /// Whether what runs of the unit is ended or changed by it.
    const fn disturbs(self) -> bool {
        match self {
            Self::Start | Self::Enable | Self::ResetFailed | Self::Unmask => false,
            Self::Stop
            | Self::Restart
            | Self::Reload
            | Self::ReloadOrRestart
            | Self::Disable
            | Self::Mask => true,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Such as `nginx` or `backup.timer`; without a kind, a service.
    name: String,
    /// What to do.
    action: Action,
    /// Whose unit.
    #[serde(default)]
    scope: Scope,
}

#[derive(Serialize, JsonSchema)]
struct Link {
    /// `symlink` or `unlink`.
    change: String,
    /// The link.
    path: String,
    /// Where it leads.
    #[serde(skip_serializing_if = "String::is_empty")]
    leads_to: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    unit: Unit,
    /// Links that were made or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
}

impl Tool for ServiceControl {
    const NAME: &'static str = "service_control";
    const SUMMARY: &'static str = "Start, stop, restart, reload, enable, disable, mask or unmask a service or other unit of systemd. Waits until it is done, and tells what came of it.";
    const KEYWORDS: &'static str = "systemctl start stop restart reload enable disable mask boot service daemon | démarrer arrêter redémarrer recharger activer désactiver service";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        is_delicate(&name::full(&input.name).ok()?, input.action)
            .then_some("may cut the host off, or end what watches over it")
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Unit(name::full(&input.name).unwrap_or_default())]
    }

    fn must_ask_process(&self, input: &Input, process: u32) -> Option<&'static str> {
        let holds_caller = || {
            let name = name::full(&input.name).ok()?;
            (input.action.disturbs() && sits_in(process, &name))
                .then_some("may end the very client that asks for it")
        };
        self.must_ask(input).or_else(holds_caller)
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = name::full(&input.name)?;
        let bus = Bus::connect(input.scope).await?;
        let before = show::look_at(&bus, &name).await?;
        if before.load == "not-found" {
            let similar = bus.similar(&name).await;
            return Err(Error::not_found(format!(
                "no unit is named `{name}`; nearest: {}",
                similar.join(", ")
            )));
        }
        if is_delicate(&before.name, input.action) && !is_delicate(&name, input.action) {
            return Err(Error::denied(format!(
                "`{name}` is another name of `{0}`; call it `{0}`, so that a human is asked",
                before.name
            )));
        }
        ctx.check_canceled()?;
        let links = match run(&bus, &name, input.action).await? {
            Done::Links(links) => links,
            Done::Nothing => Vec::new(),
            Done::Job(result) if result == "done" => Vec::new(),
            Done::Job(result) => {
                let (journal, _) = show::last_lines(ctx, &name, input.scope, LINES_OF_FAILURE).await;
                let said: Vec<_> = journal.iter().map(|entry| entry.message.as_str()).collect();
                let unit = show::look_at(&bus, &name).await?;
                return Err(Error::conflict(format!(
                    "`{name}` is now {} ({}): the job ended with `{result}`{}. Last words: {}",
                    unit.active,
                    unit.sub,
                    unit.result.map(|result| format!(", the service with `{result}`")).unwrap_or_default(),
                    if said.is_empty() { "none that you may read".to_owned() } else { said.join(" | ") }
                )));
            }
        };
        let links = links.into_iter().map(|(change, path, leads_to)| Link { change, path, leads_to });
        Ok(Output { unit: show::look_at(&bus, &name).await?, links: links.collect() })
    }
}

/// Whether the host may hang on what is done to this unit.
fn is_delicate(full: &str, action: Action) -> bool {
    (action == Action::Start && name::ends_much(full)) || (action.disturbs() && name::is_critical(full))
}

/// What came of an action.
enum Done {
    Nothing,
    Links(Vec<Change>),
    /// How its job ended (org.freedesktop.systemd1(5), `JobRemoved`).
    Job(String),
}

async fn run(bus: &Bus, name: &str, action: Action) -> Result<Done> {
    let manager = &bus.manager;
    let refused = |err| explain(err, &format!("`{name}`"));
    let links = match action {
        Action::Enable => manager.enable_unit_files(&[name], false, false).await.map(|(_, links)| links),
        Action::Disable => manager.disable_unit_files(&[name], false).await,
        Action::Mask => manager.mask_unit_files(&[name], false, false).await,
        Action::Unmask => manager.unmask_unit_files(&[name], false).await,
        Action::ResetFailed => {
            manager.reset_failed_unit(name).await.map_err(refused)?;
            return Ok(Done::Nothing);
        }
        Action::Start | Action::Stop | Action::Restart | Action::Reload | Action::ReloadOrRestart => {
            return run_job(bus, name, action).await.map(Done::Job);
        }
    };
    let links = links.map_err(refused)?;
    // As systemctl does: what links say counts once they are read.
    manager.reload().await.map_err(refused)?;
    Ok(Done::Links(links))
}

async fn run_job(bus: &Bus, name: &str, action: Action) -> Result<String> {
    /// A job takes the place of one that is under way and in its way (systemctl(1), `--job-mode=`).
    const MODE: &str = "replace";
    let manager = &bus.manager;
    let refused = |err| explain(err, &format!("`{name}`"));
    // Before the job is there, so that its end is not missed.
    manager.subscribe().await.map_err(refused)?;
    let mut removed = manager.receive_job_removed().await.map_err(refused)?;
    let job: OwnedObjectPath = match action {
        Action::Start => manager.start_unit(name, MODE).await,
        Action::Stop => manager.stop_unit(name, MODE).await,
        Action::Restart => manager.restart_unit(name, MODE).await,
        Action::Reload => manager.reload_unit(name, MODE).await,
        _ => manager.reload_or_restart_unit(name, MODE).await,
    }
    .map_err(refused)?;
    let ended = async {
        while let Some(signal) = removed.next().await {
            if let Ok(told) = signal.args()
                && told.job == job
            {
                return Some(told.result);
            }
        }
        None
    };
    match tokio::time::timeout(PATIENCE, ended).await {
        Ok(Some(result)) => Ok(result),
        Ok(None) => Err(Error::interrupted(format!(
            "systemd left before it said what became of `{name}`; look with `service_show`"
        ))),
        Err(_) => Err(Error::interrupted(format!(
            "`{name}` is still being changed after {} s; look with `service_show`",
            PATIENCE.as_secs()
        ))),
    }
}
