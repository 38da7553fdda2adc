//! What Prometheus is told (`metrics.listen`): counts of calls from the layers, and how the rooms of the house stand, in
//! OpenMetrics 1.0. On loopback, and for a token that may do nothing else.

use crate::{admin::Office, http::bearer, supervisor::Inherited};
use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use skynet_knowledge::Knowledge;
use skynet_sandbox::Slots;
use std::{
    collections::HashMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// OpenMetrics 1.0, "Overall Structure"; for those who ask for it, as Prometheus does.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prometheus, "Exposition formats", "Text-based format"; for everybody else.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What systemd knows the socket by while it keeps it.
pub(crate) const SOCKET_NAME: &str = "metrics";

/// Binds the address.
///
/// # Errors
/// When it is taken.
pub(crate) async fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener> {
    let bound = inherited.listen(address, SOCKET_NAME).await;
    bound.with_context(|| format!("`metrics.listen` is `{address}`"))
}

/// Serves until the daemon stops.
pub(crate) async fn serve(
    listener: TcpListener,
    office: Office,
    knowledge: Arc<Knowledge>,
    slots: Arc<Slots>,
) -> Result<()> {
    let stop = office.desk.stop.clone();
    let board = Arc::new(Board::new(office, knowledge, slots));
    let router = Router::new().route("/metrics", get(scrape)).with_state(board);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

async fn scrape(State(board): State<Arc<Board>>, headers: HeaderMap) -> Response {
    let shown = bearer(&headers).and_then(|secret| board.office.tokens.verify(secret));
    match shown {
        Some((_, record)) if record.scrapes => {}
        Some(_) => return (StatusCode::FORBIDDEN, "this token is not for metrics").into_response(),
        None => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"skynet\"")];
            let message =
                "a token for metrics is needed: make one with `skynetctl token create NAME --metrics`";
            return (StatusCode::UNAUTHORIZED, challenge, message).into_response();
        }
    }
    match board.text().await {
        Ok(text) if wants_open(&headers) => ([(header::CONTENT_TYPE, OPEN)], text).into_response(),
        Ok(text) => ([(header::CONTENT_TYPE, CLASSIC)], classic(&text)).into_response(),
        Err(err) => {
            tracing::error!(error = %err, "the metrics cannot be told");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn wants_open(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.into_iter().any(|value| value.contains("application/openmetrics-text"))
}

/// The same in the older format, which names a counter as its sample is named, knows no units, and `info` only as a gauge.
fn classic(open: &str) -> String {
    let mut suffixes = HashMap::new();
    for line in open.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            suffixes.insert(name, suffix);
        }
    }
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) => {
                let suffix = suffixes.get(name).copied().unwrap_or_default();
                let rest = if what == "TYPE" && rest == "info" { "gauge" } else { rest };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "# {what} {name}{suffix} {rest}");
            }
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfModel {
    model: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// What is told, and where it is looked up each time somebody asks.
struct Board {
    office: Office,
    knowledge: Arc<Knowledge>,
    pool: Arc<Slots>,
    registry: Registry,
    sessions: Gauge,
    running: Gauge,
    slots: Family<OfState, Gauge>,
    refusals: Counter,
    hands: Gauge,
    queues: Family<OfQueue, Gauge>,
    records: Counter,
    kept: Gauge,
    collections: Gauge,
    passages: Gauge,
    backlog: Gauge,
    index: Gauge,
    requests: Family<OfModel, Counter>,
    tokens: Family<OfModel, Counter>,
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    files: Gauge,
}

impl Board {
    fn new(office: Office, knowledge: Arc<Knowledge>, slots: Arc<Slots>) -> Self {
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix("skynet");
        office.services.metrics.register(registry);
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("mode", if office.desk.people.is_host() { "system" } else { "user" }),
        ];
        registry.register("build", "What runs", Info::new(labels));
        registry.register_with_unit(
            "audit_sync_duration",
            "How long it took until records of the audit log were on the disk",
            Unit::Seconds,
            office.services.audit.sync_seconds(),
        );
        let board = Self {
            office,
            knowledge,
            pool: slots,
            registry: Registry::default(),
            sessions: Gauge::default(),
            running: Gauge::default(),
            slots: Family::default(),
            refusals: Counter::default(),
            hands: Gauge::default(),
            queues: Family::default(),
            records: Counter::default(),
            kept: Gauge::default(),
            collections: Gauge::default(),
            passages: Gauge::default(),
            backlog: Gauge::default(),
            index: Gauge::default(),
            requests: Family::default(),
            tokens: Family::default(),
            memory: Gauge::default(),
            cpu: Counter::default(),
            files: Gauge::default(),
        };
        registry.register("sessions_attached", "Clients that are attached", board.sessions.clone());
        registry.register("calls_running", "Calls under way", board.running.clone());
        registry.register(
            "sandbox_slots",
            "Slots of the sandbox, without those of background jobs",
            board.slots.clone(),
        );
        registry.register(
            "sandbox_refusals",
            "Commands that could not begin, also for lack of a layer",
            board.refusals.clone(),
        );
        registry.register("hands", "Processes that work for users", board.hands.clone());
        registry.register("queue_depth", "What waits, by what it waits for", board.queues.clone());
        registry.register("audit_records", "Records of the audit log that are kept", board.records.clone());
        registry.register_with_unit(
            "blobs",
            "Before-images and large results that are kept",
            Unit::Bytes,
            board.kept.clone(),
        );
        registry.register("index_collections", "Collections of knowledge", board.collections.clone());
        registry.register(
            "index_passages",
            "Passages of the collections that are in use",
            board.passages.clone(),
        );
        registry.register(
            "index_backlog",
            "Files and passages of them that are still to be read or embedded",
            board.backlog.clone(),
        );
        registry.register_with_unit(
            "index_size",
            "What the indexes of all collections take of the disk",
            Unit::Bytes,
            board.index.clone(),
        );
        registry.register(
            "provider_requests",
            "Requests that providers of models answered",
            board.requests.clone(),
        );
        registry.register(
            "provider_tokens",
            "Tokens as providers of models count, which is what they charge for",
            board.tokens.clone(),
        );
        process(all.sub_registry_with_prefix("process"), &board);
        Self { registry: all, ..board }
    }

    /// Looks everything up.
    async fn text(&self) -> Result<String> {
        let Office { desk, services, hands, models, .. } = &self.office;
        let attached = desk.sessions.list().iter().filter(|(_, session)| session.attachments > 0).count();
        set(&self.sessions, attached);
        set(&self.running, desk.calls.count());
        set(&self.hands, hands.pids().await.len());
        let standing = self.pool.standing();
        for (state, count) in [("warm", standing.warm), ("in_use", standing.in_use)] {
            self.slots.get_or_create(&OfState { state }).set(whole(count));
        }
        self.refusals.inner().store(standing.refused, Ordering::Relaxed);
        let (questions, passages) = models.waiting();
        for (queue, count) in [
            ("approvals", services.approvals.list().len()),
            ("embedding_queries", questions),
            ("embedding_passages", passages),
        ] {
            set(&self.queues.get_or_create(&OfQueue { queue }), count);
        }
        self.records.inner().store(services.audit.len(), Ordering::Relaxed);
        self.kept.set(whole(services.blobs.size_bytes()));
        let knowledge = self.knowledge.clone();
        let totals = tokio::task::spawn_blocking(move || knowledge.totals()).await?;
        self.collections.set(whole(totals.collections));
        self.passages.set(whole(totals.passages));
        self.backlog.set(whole(totals.backlog));
        self.index.set(whole(totals.size_bytes));
        for used in models.usage() {
            let model = OfModel { model: used.model };
            self.requests.get_or_create(&model).inner().store(used.requests, Ordering::Relaxed);
            self.tokens.get_or_create(&model).inner().store(used.tokens, Ordering::Relaxed);
        }
        self.look_at_process();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn look_at_process(&self) {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = Duration::try_from(used).unwrap_or_default();
        self.cpu.inner().store(used.as_secs_f64().to_bits(), Ordering::Relaxed);
        // The second number of the file: pages (proc_pid_statm(5)).
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
        set(&self.memory, pages.unwrap_or(0) * rustix::param::page_size());
        set(&self.files, std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count));
    }
}

/// Under the names that Prometheus' own client libraries use.
fn process(own: &mut Registry, board: &Board) {
    own.register_with_unit(
        "resident_memory",
        "Memory that the daemon itself occupies",
        Unit::Bytes,
        board.memory.clone(),
    );
    own.register_with_unit(
        "cpu",
        "Processor time of the daemon itself, user and system",
        Unit::Seconds,
        board.cpu.clone(),
    );
    own.register("open_fds", "Open file descriptors of the daemon itself", board.files.clone());
    let started: Seconds = Gauge::default();
    started.set(board.office.started_at.as_millisecond() as f64 / 1000.0);
    own.register_with_unit("start_time", "When the daemon started, since 1970", Unit::Seconds, started);
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
