//! Clients at work on one daemon for a long time: every call answered, nothing that grows with the number of calls,
//! and an audit log that verifies in the end.

use crate::{
    mcp::Client,
    peers::{Bench, Server},
    processes::{children, proportional_kb},
    shell,
};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[derive(Args)]
pub(crate) struct Options {
    /// How long, in minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// Clients at once.
    #[arg(long, default_value_t = 8)]
    clients: usize,
}

/// Between two looks at the daemon.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Memory may grow by so much after the first look: tables and caches fill up to their limits.
const MAY_GROW_KB: u64 = 48 << 10;

/// The daemon with its children, at one moment.
#[derive(Clone, Copy)]
struct Look {
    memory_kb: u64,
    descriptors: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Arc::new(Bench::prepare()?);
    let daemon = bench.start_daemon()?;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let (bench, stop, calls) = (bench.clone(), stop.clone(), calls.clone());
            thread::spawn(move || {
                // Whatever ends one client ends the run.
                let result = work(&bench, number, &stop, &calls);
                stop.store(true, Ordering::Relaxed);
                result
            })
        })
        .collect();
    shell::step(&format!("{} clients for {} minutes", options.clients, options.minutes));
    println!("{:>8} {:>12} {:>12} {:>12}", "seconds", "calls", "memory kB", "descriptors");
    let begun = Instant::now();
    let end = begun + Duration::from_secs(u64::from(options.minutes) * 60);
    let mut looks = Vec::new();
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        thread::park_timeout(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
        let look = look(daemon.pid())?;
        println!(
            "{:>8} {:>12} {:>12} {:>12}",
            begun.elapsed().as_secs(),
            calls.load(Ordering::Relaxed),
            look.memory_kb,
            look.descriptors
        );
        looks.push(look);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
    }
    bench.verify_audit()?;
    judge(&looks)
}

/// One client: calls of every kind, and now and then a new session.
fn work(bench: &Bench, number: usize, stop: &AtomicBool, calls: &AtomicU64) -> Result<()> {
    let own = format!("soak-{number}");
    let questions: Vec<(&str, Value)> = vec![
        ("files_stat", json!({ "path": "small" })),
        ("files_read", json!({ "path": "read", "max_bytes": 200_000 })),
        ("files_list", json!({ "path": "list" })),
        ("files_search", json!({ "path": "repo", "pattern": "^1.7$" })),
        ("files_write", json!({ "path": own, "content": "written" })),
        ("files_edit", json!({ "path": own, "edits": [{ "old": "written", "new": "edited" }] })),
        ("git_status", json!({ "repository": "repo" })),
        ("git_log", json!({ "repository": "repo" })),
    ];
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(bench.command(Server::Skynet))?;
        for round in 0..200 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // In this order, so that what is edited was just written.
            let (tool, arguments) = questions.get(round % questions.len()).context("a question")?;
            client.call(tool, arguments)?;
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn look(daemon: u32) -> Result<Look> {
    let mut look = Look { memory_kb: 0, descriptors: 0 };
    for pid in children(daemon)?.into_iter().chain([daemon]) {
        // A child may have ended meanwhile.
        look.memory_kb += proportional_kb(pid).unwrap_or(0);
        look.descriptors += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    }
    Ok(look)
}

fn judge(looks: &[Look]) -> Result<()> {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        bail!("too short to say anything");
    };
    if last.memory_kb > first.memory_kb + MAY_GROW_KB {
        bail!("memory grew from {} to {} kB", first.memory_kb, last.memory_kb);
    }
    // A connection has three; between two looks sessions come and go.
    if last.descriptors > first.descriptors + 24 {
        bail!("open descriptors grew from {} to {}", first.descriptors, last.descriptors);
    }
    println!("nothing grew; every call was answered; the audit log verifies");
    Ok(())
}
