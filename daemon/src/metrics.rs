//! What Prometheus is told (`metrics.listen`): counts of calls from the layers, and how the rooms of the house stand, in
//! OpenMetrics 1.0. On loopback, and for a token that may do nothing else.

use crate::{
    accept::{self, Limits},
    admin::Office,
    http::bearer,
    supervisor::Inherited,
};
use anyhow::Result;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Metric, Registry, Unit},
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
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::Mutex};

/// OpenMetrics 1.0, "Overall Structure"; for those who ask for it, as Prometheus does.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prometheus, "Exposition formats", "Text-based format"; for everybody else.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A few servers of Prometheus, each of which asks every minute or more often.
const LIMITS: Limits = Limits { connections: 64, header_timeout: Duration::from_secs(120) };

/// Whoever may see nothing holds no connection.
const CLOSE: [(HeaderName, &str); 1] = [(header::CONNECTION, "close")];

/// What was looked up so lately is told again.
const FRESH: Duration = Duration::from_millis(500);

/// What systemd knows the socket by while it keeps it.
pub(crate) const SOCKET_NAME: &str = "metrics";

/// Binds the address; `None` if it is taken. Any user of the host can take a port, and must not keep the daemon from its users
/// by that.
pub(crate) async fn bind(address: SocketAddr, inherited: &mut Inherited) -> Option<TcpListener> {
    match inherited.listen(address, SOCKET_NAME).await {
        Ok(listener) => Some(listener),
        Err(err) => {
            tracing::error!(%address, error = %err, "no metrics are served: `metrics.listen` cannot be had");
            None
        }
    }
}

/// Serves until the daemon stops.
pub(crate) async fn serve(
    listener: TcpListener,
    office: Office,
    knowledge: Arc<Knowledge>,
    slots: Arc<Slots>,
) {
    let stop = office.desk.stop.clone();
    let board = Arc::new(Front { board: Board::new(office, knowledge, slots), latest: Mutex::default() });
    let router = Router::new().route("/metrics", get(scrape)).with_state(board);
    accept::serve(listener, router, LIMITS, stop).await;
}

/// The board, and what it showed last: whoever asks often is no reason to look often.
struct Front {
    board: Board,
    latest: Mutex<Option<(Instant, String)>>,
}

impl Front {
    async fn text(&self) -> Result<String> {
        // Held while it is looked: of many who ask at once, one looks.
        let mut latest = self.latest.lock().await;
        if let Some((_, text)) = latest.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(text.clone());
        }
        let text = self.board.text().await?;
        *latest = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

async fn scrape(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let shown = bearer(&headers).and_then(|secret| front.board.office.tokens.verify(secret));
    match shown {
        Some((_, record)) if record.scrapes => {}
        Some(_) => return (StatusCode::FORBIDDEN, CLOSE, "this token is not for metrics").into_response(),
        None => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"skynet\"")];
            let message =
                "a token for metrics is needed: make one with `skynetctl token create NAME --metrics`";
            return (StatusCode::UNAUTHORIZED, CLOSE, challenge, message).into_response();
        }
    }
    match front.text().await {
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
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfModel {
    model: String,
}

/// The metrics of the rooms of the house, listed where they are read from.
struct Rooms {
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
    cache: Gauge,
    evictions: Family<OfKind, Counter>,
    requests: Family<OfModel, Counter>,
    tokens: Family<OfModel, Counter>,
    dollars: Family<OfModel, Counter<f64, AtomicU64>>,
}

impl Rooms {
    fn list(to: &mut Registry) -> Self {
        Self {
            sessions: plain(to, "sessions_attached", "Clients that are attached"),
            running: plain(to, "calls_running", "Calls under way"),
            slots: plain(to, "sandbox_slots", "Slots of the sandbox, without those of background jobs"),
            refusals: plain(to, "sandbox_refusals", "Commands that could not begin for lack of a layer"),
            hands: plain(to, "hands", "Processes that work for users"),
            queues: plain(to, "queue_depth", "What waits, by what it waits for"),
            records: plain(to, "audit_records", "Records of the audit log that are kept"),
            kept: in_unit(to, "blobs", "Before-images and large results that are kept", Unit::Bytes),
            collections: plain(to, "index_collections", "Collections of knowledge"),
            passages: plain(to, "index_passages", "Passages of the collections that are in use"),
            backlog: plain(
                to,
                "index_backlog",
                "Files and passages of them that are still to be read or embedded",
            ),
            index: in_unit(
                to,
                "index_size",
                "What the indexes of all collections take of the disk",
                Unit::Bytes,
            ),
            cache: plain(
                to,
                "cache_backend_up",
                "0 while the Redis that is to keep answers cannot be used, otherwise 1",
            ),
            evictions: plain(to, "cache_evictions", "Cached answers that had to go for others"),
            requests: plain(to, "provider_requests", "Requests that providers of models answered"),
            tokens: plain(
                to,
                "provider_tokens",
                "Tokens as providers of models count, which is what they charge for",
            ),
            dollars: plain(
                to,
                "provider_cost_dollars",
                "What these tokens cost by the prices of the configuration",
            ),
        }
    }
}

/// Those of the daemon itself, under the names that Prometheus' own client libraries use.
struct Process {
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    files: Gauge,
}

impl Process {
    fn list(to: &mut Registry, started_at: Timestamp) -> Self {
        let started: Gauge<f64, AtomicU64> =
            in_unit(to, "start_time", "When the daemon started, since 1970", Unit::Seconds);
        started.set(started_at.as_millisecond() as f64 / 1000.0);
        Self {
            memory: in_unit(to, "resident_memory", "Memory that the daemon itself occupies", Unit::Bytes),
            cpu: in_unit(to, "cpu", "Processor time of the daemon itself, user and system", Unit::Seconds),
            files: plain(to, "open_fds", "Open file descriptors of the daemon itself"),
        }
    }

    fn look(&self) {
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

/// A new metric on the list.
fn plain<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn in_unit<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str, unit: Unit) -> M {
    let metric = M::default();
    to.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// What is told, and where it is looked up each time somebody asks.
struct Board {
    office: Office,
    knowledge: Arc<Knowledge>,
    pool: Arc<Slots>,
    registry: Registry,
    rooms: Rooms,
    process: Process,
}

impl Board {
    fn new(office: Office, knowledge: Arc<Knowledge>, pool: Arc<Slots>) -> Self {
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("skynet");
        office.services.metrics.register(own);
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("mode", if office.desk.people.is_host() { "system" } else { "user" }),
        ];
        own.register("build", "What runs", Info::new(labels));
        own.register_with_unit(
            "audit_sync_duration",
            "How long it took until records of the audit log were on the disk",
            Unit::Seconds,
            office.services.audit.sync_seconds(),
        );
        let rooms = Rooms::list(own);
        let process = Process::list(registry.sub_registry_with_prefix("process"), office.started_at);
        Self { office, knowledge, pool, registry, rooms, process }
    }

    /// Looks everything up.
    async fn text(&self) -> Result<String> {
        let Self { office, rooms, .. } = self;
        let Office { desk, services, hands, models, .. } = office;
        let attached = desk.sessions.list().iter().filter(|(_, session)| session.attachments > 0).count();
        set(&rooms.sessions, attached);
        set(&rooms.running, desk.calls.count());
        set(&rooms.hands, hands.pids().len());
        let standing = self.pool.standing();
        for (state, count) in [("warm", standing.warm), ("in_use", standing.in_use)] {
            rooms.slots.get_or_create(&OfState { state }).set(whole(count));
        }
        rooms.refusals.inner().store(standing.refused, Ordering::Relaxed);
        let (questions, passages) = models.waiting();
        for (queue, count) in [
            ("approvals", services.approvals.count()),
            ("embedding_queries", questions),
            ("embedding_passages", passages),
        ] {
            set(&rooms.queues.get_or_create(&OfQueue { queue }), count);
        }
        rooms.records.inner().store(services.audit.len(), Ordering::Relaxed);
        rooms.kept.set(whole(services.blobs.size_bytes()));
        let knowledge = self.knowledge.clone();
        let totals = tokio::task::spawn_blocking(move || knowledge.totals()).await?;
        rooms.collections.set(whole(totals.collections));
        rooms.passages.set(whole(totals.passages));
        rooms.backlog.set(whole(totals.backlog));
        rooms.index.set(whole(totals.size_bytes));
        rooms.cache.set(i64::from(services.cache.fault().await.is_none()));
        for (kind, count) in services.cache.evicted() {
            let evictions = rooms.evictions.get_or_create(&OfKind { kind: kind.as_str() });
            evictions.inner().store(count, Ordering::Relaxed);
        }
        for used in models.usage() {
            let model = OfModel { model: used.model };
            rooms.requests.get_or_create(&model).inner().store(used.requests, Ordering::Relaxed);
            rooms.tokens.get_or_create(&model).inner().store(used.tokens, Ordering::Relaxed);
            let dollars = rooms.dollars.get_or_create(&model);
            dollars.inner().store(used.dollars.to_bits(), Ordering::Relaxed);
        }
        self.process.look();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
