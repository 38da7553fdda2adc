//! Many clients on one daemon: what an idle one costs, whether every call of all of them is answered, and whether one
//! that floods the daemon keeps the others waiting.

use crate::{
    mcp::Client,
    peers::{Bench, Server},
    processes::proportional_kb,
    shell,
};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Clients connected at the same time.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Whose they are; by default one user's, with a daemon of his. As root of many, with one for the whole host.
    #[arg(long, default_value_t = 1)]
    users: usize,
    /// Calls of each.
    #[arg(long, default_value_t = 50)]
    calls: usize,
    /// Calls by which one client's patience is measured, with and without a flood.
    #[arg(long, default_value_t = 1000)]
    samples: usize,
}

/// An idle client may cost the daemon that much.
const MOST_IDLE_KB: u64 = 100;

/// A flood may make the slowest hundredth of another client's calls that many times slower.
const MOST_SLOWER: f64 = 3.0;

/// Threads that drive the clients.
const DRIVERS: usize = 8;

pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Arc::new(Bench::prepare()?);
    if options.users > 1 {
        return crate::capacity::run(&bench, options.users, options.clients, options.calls);
    }
    let daemon = bench.start_daemon()?;
    // Everything that is made once is there before the first look.
    let mut first = Client::connect(bench.command(Server::Skynet))?;
    first.call("files_stat", &json!({ "path": "small" }))?;
    let before = proportional_kb(daemon.pid())?;
    shell::step(&format!("connecting {} clients", options.clients));
    let mut clients = Vec::new();
    for _ in 0..options.clients {
        clients.push(Client::connect(bench.command(Server::Skynet))?);
    }
    let idle_kb = proportional_kb(daemon.pid())?.saturating_sub(before) / options.clients.max(1) as u64;
    println!("{:<34} {idle_kb:>9} kB  <= {MOST_IDLE_KB} kB", "an idle client in the daemon");

    shell::step(&format!("{} calls of each", options.calls));
    let begun = Instant::now();
    drive(clients, options.calls)?;
    let all = options.clients * options.calls;
    println!(
        "{:<34} {all:>9}     {:.0} per second",
        "calls answered",
        all as f64 / begun.elapsed().as_secs_f64()
    );

    shell::step("one client beside a flood");
    let slower = flood(&bench, options.samples)?;
    bench.verify_audit()?;
    if idle_kb > MOST_IDLE_KB {
        bail!("an idle client costs {idle_kb} kB");
    }
    if slower > MOST_SLOWER {
        bail!("a flood makes the 99th percentile of another client {slower:.1} times slower");
    }
    Ok(())
}

/// Every client makes its calls; an answer that does not come is an error.
fn drive(clients: Vec<Client>, calls: usize) -> Result<()> {
    at_once(clients, move |mut share| {
        for _ in 0..calls {
            for client in &mut share {
                client.call("files_stat", &json!({ "path": "small" }))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Has some threads work on shares of it, and waits for what each makes of its own.
pub(crate) fn at_once<T: Send + 'static, R: Send + 'static>(
    all: Vec<T>,
    work: impl Fn(Vec<T>) -> Result<R> + Clone + Send + 'static,
) -> Result<Vec<R>> {
    let mut shares: Vec<Vec<T>> = (0..DRIVERS).map(|_| Vec::new()).collect();
    for (place, one) in all.into_iter().enumerate() {
        shares.get_mut(place % DRIVERS).context("a share")?.push(one);
    }
    let drivers = shares.into_iter().map(|share| {
        let work = work.clone();
        thread::spawn(move || work(share))
    });
    let drivers: Vec<_> = drivers.collect();
    drivers.into_iter().map(|driver| driver.join().map_err(|_| anyhow!("a driver failed"))?).collect()
}

/// How much slower the slowest hundredth of a client's calls is while another sends as much as it can.
fn flood(bench: &Arc<Bench>, samples: usize) -> Result<f64> {
    let question: (&str, Value) = ("files_stat", json!({ "path": "small" }));
    let mut client = Client::connect(bench.command(Server::Skynet))?;
    let mut measure = |name: &str| -> Result<Duration> {
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let begun = Instant::now();
            client.call(question.0, &question.1)?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        let (middle, slow) = (at(50), at(99));
        println!("{name:<34} {:>9} us p50 {:>9} us p99", middle.as_micros(), slow.as_micros());
        Ok(slow)
    };
    let alone = measure("alone")?;
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = {
        let (bench, stop) = (bench.clone(), stop.clone());
        thread::spawn(move || {
            let mut client = Client::connect(bench.command(Server::Skynet))?;
            while !stop.load(Ordering::Relaxed) {
                client.call_at_once("files_stat", &json!({ "path": "small" }), 500)?;
            }
            Ok::<_, anyhow::Error>(())
        })
    };
    // The first calls meet a flood that is only rising.
    measure("beside a flood that begins")?;
    let beside = measure("beside a flood")?;
    stop.store(true, Ordering::Relaxed);
    flooding.join().map_err(|_| anyhow!("the flood failed"))??;
    let slower = beside.as_secs_f64() / alone.as_secs_f64().max(1e-9);
    println!("{:<34} {slower:>9.2}     <= {MOST_SLOWER}", "slower by");
    Ok(slower)
}
