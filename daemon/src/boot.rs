//! From a configuration to a serving daemon, and down again.

use crate::{
    accept, admin,
    bearers::Bearers,
    check,
    config::Config,
    defects,
    door::{Door, Site},
    health::Health,
    house::House,
    http, limits, log, metrics,
    notify::{self, Desktop},
    relay::Desk,
    reload::Reload,
    socket::{self, Clients},
    supervisor::{self, Inherited},
};
use anyhow::{Context as _, Result, bail};
use skynet_proto::{
    CONNECTION_WINDOW_BYTES, FILE_DESCRIPTOR_SET, HTTP2_FRAME_BYTES, MAX_MESSAGE_BYTES, STREAM_WINDOW_BYTES,
    relay_server::RelayServer,
};
use skynet_sandbox::Slots;
use skynet_store::{Keep, Ledger};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tonic::transport::Server;

/// Stands for `~` in lists of commands where there are many users: nothing is below it, so a list for `~` is refused.
pub(crate) const NO_HOME: &str = "/nonexistent";

/// Calls under way have that long to end when the daemon stops; the units give it two seconds more.
const DRAIN: Duration = Duration::from_secs(8);

/// So long the desktop may take then to hide what nobody waits for any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// The home directory of this user; clients strip the environment, but a daemon has `HOME`.
pub(crate) fn home() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).context("HOME is not set")?;
    let home = PathBuf::from(home);
    // Where it really is, as descriptors will tell it.
    let found =
        skynet_core::Workspace::open(&home).with_context(|| format!("HOME is `{}`", home.display()))?;
    Ok(found.path().to_owned())
}

/// Root needs no daemon: what has root's rights is the broker, and the daemon is an ordinary user's.
pub(crate) fn refuse_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        bail!(
            "running as root is refused; for the whole host start `skynet-sandbox system` as root and `skynetd --system` as the user `skynet`, or start skynetd as an ordinary user"
        );
    }
    Ok(())
}

/// Serves until a signal ends it, by the configuration of that file.
pub(crate) async fn run(
    config: Config,
    file: PathBuf,
    site: Site,
    state: Option<PathBuf>,
    mut inherited: Inherited,
) -> Result<()> {
    let log = log::start(&config.log.filter)?;
    limits::raise_open_files()?;
    limits::forbid_cores();
    let uid = rustix::process::getuid().as_raw();
    let state = state.unwrap_or_else(|| site.state());
    socket::private_directory(&state, uid)?;
    let _lock = site.lock(&state, uid, DRAIN + Duration::from_secs(2)).await?;
    let door = Door::prepare(site, uid, &state)?;
    defects::keep(defects::directory(&state, door.is_host()));
    check::mode(&config, door.is_host())?;
    let house = House::build(&config, &door, uid, &state)?;
    let http = match config.http.listen {
        Some(address) => Some(http::bind(address, &mut inherited).await?),
        None => None,
    };
    let scraped = match config.metrics.listen {
        Some(address) => metrics::bind(address, &mut inherited).await,
        None => None,
    };
    let desktop = config.confirm.notify.then(|| {
        let (services, people, stop) =
            (house.services.clone(), house.desk.people.clone(), house.desk.stop.clone());
        tokio::spawn(async move {
            let user = people.find(uid).await.ok().map(|person| person.name);
            notify::run(Desktop { services, uid, user, stop }).await;
        })
    });
    let path = door.path.clone();
    let http_limits = config.http.limits();
    let reload = Reload::new(
        file,
        door.home(),
        config,
        house.services.clone(),
        house.desk.calls.registry().clone(),
        log,
    );
    let slots = door.slots.clone();
    // Whoever finds the socket may already want it to end.
    let signals = Signals::expect()?;
    let passed = inherited.clients();
    inherited.drop_rest();
    let (clients, own_socket) = door.open(uid, passed)?;
    if let Some(http) = &http {
        tracing::info!(address = %http.local_addr()?, "serving MCP over HTTP at /mcp");
    }
    if let Some(scraped) = &scraped {
        tracing::info!(address = %scraped.local_addr()?, "serving metrics at /metrics");
    }
    tracing::info!(socket = %path.display(), state = %state.display(), tools = house.desk.calls.registry().len(), "ready");
    let listeners = Listeners { http, http_limits, scraped };
    serve(house, clients, listeners, (path, state), reload, slots, signals).await?;
    if let Some(desktop) = desktop {
        // It takes back what it shows; a desktop that hangs may go on to show it.
        let _ = tokio::time::timeout(FAREWELL, desktop).await;
    }
    if let Some(socket) = own_socket {
        // A socket left behind would only be replaced at the next start.
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}

/// Where others than clients by the socket are served.
struct Listeners {
    http: Option<TcpListener>,
    http_limits: accept::Limits,
    scraped: Option<TcpListener>,
}

/// What is asked of the daemon from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on they no longer end the process.
    fn expect() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn serve(
    house: House,
    clients: Clients,
    listeners: Listeners,
    (socket, state): (PathBuf, PathBuf),
    reload: Reload,
    slots: Arc<Slots>,
    signals: Signals,
) -> Result<()> {
    let House { desk, services, hands, commands, tokens, choices, models, knowledge, keep, started_at } =
        house;
    let Listeners { http, http_limits, scraped } = listeners;
    let bearers = if desk.people.is_host() {
        Bearers::of_host(slots.clone(), services.leases.clone())
    } else {
        Bearers::User(tokens.clone())
    };
    let address = |listener: &Option<TcpListener>| listener.as_ref().and_then(|one| one.local_addr().ok());
    let office = admin::Office {
        desk: desk.clone(),
        services: services.clone(),
        hands: hands.clone(),
        commands,
        tokens,
        choices,
        models,
        knowledge: knowledge.clone(),
        polkit: Arc::default(),
        http: address(&http),
        metrics: address(&scraped),
        reload: reload.clone(),
        started_at,
        socket: socket.display().to_string(),
        state,
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<RelayServer<Desk>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let relay = RelayServer::new(desk.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let serving_metrics =
        scraped.map(|listener| tokio::spawn(metrics::serve(listener, office.clone(), knowledge, slots)));
    let server = office.add_to(
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .add_service(relay)
            .add_service(health_service)
            .add_service(reflection),
    );
    let Signals { mut terminate, mut interrupt, mut hangup } = signals;
    // Until the runtime ends.
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let reload = reload.clone();
            // What is wrong was told, to whoever reads the log.
            let _ = tokio::task::spawn_blocking(move || reload.run_and_tell()).await;
        }
    });
    tokio::spawn(supervisor::feed_watchdog(Health::new(&services.tables, services.audit.clone())?));
    let sweeper = tokio::spawn(hands.sweep());
    let retention = tokio::spawn(drop_old_records(services.audit.clone(), keep));
    let serving_http =
        http.map(|listener| tokio::spawn(http::serve(listener, http_limits, desk.clone(), bearers)));
    supervisor::say_ready();
    tokio::select! {
        result = server.serve_with_incoming(clients) => result?,
        _ = terminate.recv() => tracing::info!("asked to terminate"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    supervisor::say_stopping();
    // Shims dial the next daemon and ask it again for what is unanswered; what runs is finished and recorded.
    desk.stop.cancel();
    let end = tokio::time::Instant::now() + DRAIN;
    if tokio::time::timeout_at(end, desk.calls.finished()).await.is_err() {
        tracing::warn!(calls = desk.calls.count(), "stopped while calls were under way");
    }
    if let Some(mut serving) = serving_http
        && tokio::time::timeout_at(end, &mut serving).await.is_err()
    {
        tracing::warn!("stopped while clients over HTTP were still reading");
        serving.abort();
    }
    if let Some(serving) = serving_metrics {
        // Whoever scrapes asks again.
        serving.abort();
    }
    sweeper.abort();
    retention.abort();
    if let Err(err) = services.audit.checkpoint() {
        // The next start signs what is there.
        tracing::error!(error = %err, "the end of the audit log is not signed");
    }
    if let Err(err) = services.tables.sync() {
        // What was promised to last does already.
        tracing::warn!(error = %err, "what was kept in memory is lost");
    }
    Ok(())
}

/// Applies retention now and whenever a segment of the audit log was filled.
async fn drop_old_records(audit: Ledger, keep: Keep) {
    let mut segments = audit.segments();
    loop {
        let ledger = audit.clone();
        match tokio::task::spawn_blocking(move || ledger.retain(keep)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(dropped)) => {
                tracing::info!(segments = dropped, "old records of the audit log were dropped");
            }
            Ok(Err(err)) => tracing::warn!(error = %err, "old records of the audit log are kept"),
            // Blocking tasks that did not begin are canceled when the runtime ends.
            Err(_) => return,
        }
        if segments.changed().await.is_err() {
            return;
        }
    }
}

/// The programs of one release lie in one directory.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program cannot be located")?.with_file_name(name);
    if !program.is_file() {
        bail!("`{}` is missing; install all programs of a release together", program.display());
    }
    Ok(program)
}
