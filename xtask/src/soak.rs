//! Clients at work on one daemon for a long time, which is stopped and started again now and then: every answer right, nothing
//! that grows with the number of calls, and an audit log that verifies in the end.

use crate::{
    figures::{median, percentile, show},
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
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// The daemon is stopped and started again each time that so many minutes have passed; 0 for never.
    #[arg(long, default_value_t = 5)]
    restart_every: u32,
}

/// Between two looks at the daemon.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Memory may grow by so much after the first look: tables and caches fill up to their limits.
const MAY_GROW_KB: u64 = 48 << 10;

/// Of a client, times beyond that many are not kept; an hour of one has fewer.
const MOST_TIMES: usize = 4_000_000;

/// The daemon with its children, at one moment.
#[derive(Clone, Copy)]
struct Look {
    memory_kb: u64,
    descriptors: usize,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    /// Calls that were answered with an error, such as that nobody knows whether they happened.
    failed: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Arc::new(Bench::prepare()?);
    let mut daemon = bench.start_daemon()?;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let (bench, stop, calls) = (bench.clone(), stop.clone(), calls.clone());
            thread::spawn(move || {
                // Whatever ends one client ends the run.
                let result = work(&bench, number, &stop, &calls);
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                result
            })
        })
        .collect();
    shell::step(&format!("{} clients for {} minutes", options.clients, options.minutes));
    println!("{:>8} {:>12} {:>12} {:>12}", "seconds", "calls", "memory kB", "descriptors");
    let begun = Instant::now();
    let end = begun + Duration::from_secs(u64::from(options.minutes) * 60);
    let every = Duration::from_secs(u64::from(options.restart_every) * 60);
    let mut restart_at = begun + every;
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
        if !every.is_zero() && Instant::now() >= restart_at {
            restart_at += every;
            let begun = Instant::now();
            daemon.stop()?;
            daemon = bench.start_daemon()?;
            println!("{:>8} restarted in {} ms", "", begun.elapsed().as_millis());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    for client in clients {
        let of_one = client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
        seen.times.extend(of_one.times);
        seen.failed += of_one.failed;
    }
    bench.verify_audit()?;
    tell(seen);
    judge(&looks)
}

/// The figures of the calls, each with the goal it is held to.
fn tell(mut seen: Seen) {
    let count = seen.times.len() as f64;
    let mean = seen.times.iter().sum::<Duration>().div_f64(count.max(1.0));
    let available = 100.0 * count / (count + seen.failed as f64).max(1.0);
    println!("{:<12} {:>12}", "median", show(median(&mut seen.times)));
    println!("{:<12} {:>12}  < 500 ms", "mean", show(mean));
    println!("{:<12} {:>12}  < 200 ms", "p95", show(percentile(&mut seen.times, 95)));
    println!(
        "{:<12} {available:>11.4}%  >= 99.9 %, with restarts counted; {} failed",
        "availability", seen.failed
    );
}

/// What is asked, and what is right for an answer.
struct Question {
    tool: &'static str,
    arguments: Value,
    /// Looks at the structured answer.
    is_right: fn(&Value) -> bool,
}

fn questions(own: &str) -> Vec<Question> {
    let ask = |tool, arguments, is_right| Question { tool, arguments, is_right };
    vec![
        ask("files_stat", json!({ "path": "small" }), |answer| answer["size_bytes"] == 1),
        ask("files_read", json!({ "path": "read", "max_bytes": 200_000 }), |answer| {
            answer["size_bytes"] == 102_000
                && answer["content"].as_str().is_some_and(|text| text.len() == 102_000)
        }),
        ask("files_list", json!({ "path": "list", "limit": 1000 }), |answer| {
            answer["entries"].as_array().is_some_and(|entries| entries.len() == 1000)
        }),
        ask("files_search", json!({ "path": "repo", "pattern": "^1.7$" }), |answer| {
            // 107, 117, ... 197.
            answer["matches"].as_array().is_some_and(|matches| matches.len() == 10)
        }),
        ask("files_write", json!({ "path": own, "content": "written" }), |answer| answer["size_bytes"] == 7),
        ask(
            "files_edit",
            json!({ "path": own, "edits": [{ "old": "written", "new": "edited" }] }),
            |answer| answer["written"] == true,
        ),
        ask("files_read", json!({ "path": own }), |answer| answer["content"] == "edited"),
        ask("git_status", json!({ "repository": "repo" }), |answer| answer["clean"] == false),
        ask("git_log", json!({ "repository": "repo" }), |answer| {
            answer["commits"].as_array().is_some_and(|commits| commits.len() == 1)
        }),
        ask("exec_run", json!({ "command": ["echo", "done"] }), |answer| answer["stdout"] == "done\n"),
    ]
}

/// One client: calls of every kind, and now and then a new session.
fn work(bench: &Bench, number: usize, stop: &AtomicBool, calls: &AtomicU64) -> Result<Seen> {
    let questions = questions(&format!("soak-{number}"));
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(bench.command(Server::Skynet))?;
        for round in 0..200 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // In this order, so that what is edited was just written.
            let Question { tool, arguments, is_right } =
                questions.get(round % questions.len()).context("a question")?;
            let params = json!({ "name": tool, "arguments": arguments });
            let (answer, took) = client.measure("tools/call", &params)?;
            calls.fetch_add(1, Ordering::Relaxed);
            if answer["isError"] == true {
                seen.failed += 1;
                println!("{:>8} {tool}: {}", "", answer["content"][0]["text"]);
            } else if !is_right(&answer["structuredContent"]) {
                bail!("{tool} {arguments} was answered wrong: {answer}");
            } else if seen.times.len() < MOST_TIMES {
                seen.times.push(took);
            }
        }
    }
    Ok(seen)
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
    println!("nothing grew; every call was answered, and right; the audit log verifies");
    Ok(())
}
