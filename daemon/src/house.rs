//! What a daemon is made of, opened and wired once. It serves nobody: that is [`crate::boot`].

use crate::{
    agent::Agents,
    boot::{NO_HOME, beside_this_program},
    calls::Calls,
    choices::Stored,
    claims::Claims,
    config::Config,
    door::Door,
    jobs::Jobs,
    mcp,
    people::People,
    purse::Purse,
    readers::Readers,
    reading::ByHands,
    relay::Desk,
    sessions::Sessions,
    state::State,
    tokens::Tokens,
};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use skynet_catalog::Catalog;
use skynet_core::{Place, Registry, Run};
use skynet_engine::Engine;
use skynet_hands::{Pool, Remote};
use skynet_knowledge::{Knowledge, Runners};
use skynet_knowledge_tools::Library;
use skynet_lease_tools::Board;
use skynet_leases::Leases;
use skynet_memory::{Habits, Memory};
use skynet_memory_tools::Mind;
use skynet_models::Models;
use skynet_oauth::Keeper;
use skynet_policy::{
    Approvals, Grants, Metrics, OfWorkspace, ProjectFile, Projects, Quotas, Services, Trust,
};
use skynet_secrets::{Keyring, Name};
use skynet_store::{Keep, Tables};
use skynet_vault::Vault;
use std::{path::Path, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Everything that was opened and wired.
pub(crate) struct House {
    pub(crate) desk: Desk,
    pub(crate) services: Services,
    pub(crate) hands: Arc<Pool>,
    pub(crate) commands: Arc<skynet_exec::Host>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) choices: Stored,
    pub(crate) models: Arc<Models>,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) keep: Keep,
    pub(crate) started_at: Timestamp,
}

impl House {
    /// # Errors
    /// What cannot be opened, and what of the configuration makes no sense.
    pub(crate) fn build(config: &Config, door: &Door, uid: u32, state: &Path) -> Result<Self> {
        let State { tables, audit, journal, blobs, keyring, memories } =
            State::open(state, config.storage.blobs_max_bytes.get())?;
        let keyring = Arc::new(keyring);
        let factor = config.confirm.factor.unwrap_or(door.factor());
        let hands = Pool::new(door.slots.clone());
        let services = Services {
            rules: config.policy.rules(door.home().unwrap_or(Path::new(NO_HOME)))?.in_force(),
            projects: Arc::new(projects(door, &tables, &hands)),
            leases: Leases::open(&tables),
            quotas: Arc::new(Quotas::new(config.plan()?, &tables, blobs.clone())),
            confirm_wait: Duration::from_secs(config.confirm.wait_seconds.get().into()),
            factor,
            approvals: Arc::new(Approvals::default()),
            grants: Arc::new(Grants::open(&tables, audit.clone(), keyring.clone())),
            audit,
            journal: Arc::new(journal),
            tables: tables.clone(),
            blobs: blobs.clone(),
            keyring,
            cache: skynet_cache::Cache::open(config.cache.clone())?,
            metrics: Arc::new(Metrics::default()),
        };
        beside_this_program("skynet-hands")?;
        beside_this_program("skynet-models")?;
        let models = Models::open(door.slots.clone(), &state.join("models"), config.models.clone())?;
        let runner: Arc<dyn Run> = hands.clone();
        let catalog = Catalog::new(config.mcp.toolsets.clone());
        let commands =
            skynet_exec::Host::new(door.slots.clone(), door.home(), state, config.network.reachable.clone());
        let vault = vault(config, door)?;
        let engine = Engine::new(door.slots.clone(), config.docker.places(door.home(), uid)?);
        services.cache.listen_to(crate::sources::all(&engine));
        let (library, mind) = (Arc::<Library>::default(), Arc::<Mind>::default());
        let board = Arc::<Board>::default();
        let registry = product(&catalog, &commands, &engine, &library, &mind, &board)?;
        services.leases.configure(config.leases);
        board.fill(&services.leases);
        let memory = Memory::new(memories, models.clone(), config.memory.max_bytes.get());
        mind.fill(memory.clone());
        let keyring = services.keyring.clone();
        let habits = Habits::new(&tables, keyring.clone(), memory, config.memory.learn_after);
        let remote: Arc<dyn Run> = Arc::new(Remote::new(&hands, config.network.reachable.clone()));
        let runners = Runners { workspace: runner.clone(), host: hands.host(), remote: remote.clone() };
        let knowledge = Knowledge::open(&state.join("index"), &tables, models.clone(), runners, keyring)?;
        library.fill(knowledge.clone());
        commands.charge_to(services.quotas.clone());
        commands.contain_with(skynet_docker::containers(&engine));
        // Until the runtime ends.
        tokio::spawn(commands.clone().adopt());
        tokio::spawn(commands.clone().sweep());
        tokio::spawn(knowledge.clone().sweep());
        models.read_keys_with(keys_of_providers(services.keyring.clone(), door.is_host(), uid));
        let registry = registry.hosted(Place::Hands, &runner).hosted(Place::Host, &hands.host());
        let registry = registry.hosted(Place::Remote, &remote);
        let registry = Arc::new(registry);
        knowledge.judge_with(Arc::new(Readers { services: services.clone(), registry: registry.clone() }));
        catalog.fill(&registry).context("`mcp.toolsets`")?;
        let jobs = Jobs::open(&tables, blobs.clone())?;
        catalog.keep_jobs_in(jobs.clone());
        let sessions = Arc::new(Sessions::open(&tables, services.leases.clone())?);
        // Until the runtime ends.
        tokio::spawn(sessions.clone().keep_seen());
        // Weak, for the sessions hold the leases.
        let known = Arc::downgrade(&sessions);
        services.leases.know_sessions(move |id| known.upgrade().is_some_and(|all| all.is_attached(id)));
        catalog.remember_in(sessions.clone());
        let options = mcp::Options {
            task_after: Duration::from_secs(config.mcp.task_after_seconds.into()),
            job_after: Duration::from_secs(config.mcp.job_after_seconds.into()),
        };
        let pipeline = skynet_policy::pipeline(&registry, &services)?;
        let desk = Desk {
            mcp: mcp::Server::new(&registry, blobs.clone(), services.audit.clone(), options)?,
            catalog,
            jobs,
            hands: hands.clone(),
            calls: Calls::new(
                pipeline,
                registry,
                &services,
                Arc::new(Purse::new(
                    services.keyring.clone(),
                    runner,
                    vault,
                    Keeper::start(services.keyring.clone(), config.secrets.oauth.rest()),
                    Agents::new(
                        door.slots.clone(),
                        config.git.lending(door.home().unwrap_or(Path::new(NO_HOME)))?,
                    ),
                )),
                habits,
                factor,
            ),
            sessions,
            people: Arc::new(People::new(door.realm(uid), Claims::new(&config.policy.workspaces)?)),
            traffic: Arc::default(),
            concurrent_requests: config.mcp.concurrent_requests.get() as usize,
            stop: CancellationToken::new(),
        };
        let tokens = Tokens::open(&tables);
        let choices = Stored::open(&tables, &desk.catalog)?;
        let keep = Keep { days: config.audit.keep_days.get(), bytes: config.audit.keep_bytes };
        Ok(Self {
            desk,
            services,
            hands,
            commands,
            tokens,
            choices,
            models,
            knowledge,
            keep,
            started_at: Timestamp::now(),
        })
    }
}

/// Every tool, run in this process.
pub(crate) fn product(
    catalog: &Arc<Catalog>,
    commands: &Arc<skynet_exec::Host>,
    engine: &Arc<Engine>,
    library: &Arc<Library>,
    mind: &Arc<Mind>,
    board: &Arc<Board>,
) -> skynet_core::Result<Registry> {
    let mut toolsets = skynet_hands::toolsets();
    toolsets.extend([
        skynet_env::toolset(commands),
        skynet_exec::toolset(commands),
        skynet_exec::more(commands),
    ]);
    toolsets.push(skynet_docker::toolset(engine));
    toolsets.push(skynet_knowledge_tools::toolset(library));
    toolsets.push(skynet_memory_tools::toolset(mind));
    toolsets.push(skynet_lease_tools::toolset(board));
    let registry = skynet_catalog::product(catalog, toolsets)?;
    registry.with_aliases(skynet_v1::TOOLSET, skynet_v1::SUMMARY, skynet_v1::aliases())
}

/// The rules of projects: only a daemon that is its one user may read files of a user itself.
fn projects(door: &Door, tables: &Tables, hands: &Arc<Pool>) -> Projects {
    let source: Box<dyn ProjectFile> =
        if door.is_host() { Box::new(ByHands(hands.clone())) } else { Box::new(OfWorkspace) };
    Projects::new(source, Trust::open(tables))
}

/// The server that keeps values, if one is named. Its token is kept good until the runtime ends.
fn vault(config: &Config, door: &Door) -> Result<Option<Arc<Vault>>> {
    config.secrets.check(door.home().unwrap_or(Path::new(NO_HOME)))?;
    let Some(settings) = config.secrets.vault.clone() else { return Ok(None) };
    let vault = Arc::new(Vault::open(settings)?);
    tokio::spawn(keep_token(vault.clone()));
    Ok(Some(vault))
}

/// The keys of whom the daemon is: of its one user, or root's where it serves a host.
fn keys_of_providers(
    keyring: Arc<Keyring>,
    is_host: bool,
    uid: u32,
) -> impl Fn(&str) -> skynet_core::Result<String> {
    move |name| {
        let owner = if is_host { 0 } else { uid };
        let value = Name::parse(name).and_then(|name| keyring.value(owner, &name));
        let value = value.map_err(|err| {
            skynet_core::Error::denied(format!(
                "the key `{name}` of the provider of models cannot be had: {err}; keep it by `skynetctl secret set {name}`"
            ))
        })?;
        String::from_utf8(value.to_vec())
            .map(|key| key.trim().to_owned())
            .map_err(|_| skynet_core::Error::denied(format!("the key `{name}` is no text")))
    }
}

async fn keep_token(vault: Arc<Vault>) {
    loop {
        let asked = vault.clone();
        // Blocking tasks that did not begin are canceled when the runtime ends.
        let Ok(wait) = tokio::task::spawn_blocking(move || asked.keep_token()).await else { return };
        tokio::time::sleep(wait).await;
    }
}
