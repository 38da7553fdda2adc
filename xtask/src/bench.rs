//! Side by side: the same work by Skynet and by a peer, in turns in one run, medians, as ratios. The figures are
//! printed and never asserted: another machine has others.

use crate::{
    figures::{median, show},
    mcp::Client,
    peers::{Bench, Server, What},
    processes::{children, proportional_kb},
    shell,
};
#[cfg(feature = "product")]
use anyhow::Context as _;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What is compared.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Skynet with other MCP servers.
    Servers,
    /// What the tools do for a host with the programs that are made for it.
    Host,
    /// Commands in slots with commands that are just spawned, and with bubblewrap.
    Sandbox,
    /// A call through all layers with the bare tool; calls that change something, and the log they leave.
    Layers,
    /// What is found in sets of documents, by words, by vectors, and by both.
    Knowledge,
    /// What a model takes for a text, beside the same file in Python and in JavaScript.
    Models,
    /// How fast the indexes of a large collection are.
    Index,
    /// A large tree of files, indexed by a daemon.
    Tree,
    /// The service of a host in a booted systemd: how soon it is ready, and what it holds.
    Service,
}

#[derive(Args)]
pub(crate) struct Options {
    #[arg(value_enum, default_value_t = Part::Servers)]
    part: Part,
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Repetitions of what takes a process each.
    #[arg(long, default_value_t = 11)]
    starts: usize,
    /// Of `index`: passages of the collection.
    #[arg(long, default_value_t = 100_000)]
    passages: usize,
    /// Of `tree`: files.
    #[arg(long, default_value_t = 80_000)]
    files: usize,
    /// Of `knowledge`: a set of documents, questions and judgments in the layout of BEIR, or a directory of such.
    #[arg(long, value_name = "DIR", required_if_eq("part", "knowledge"))]
    data: Option<PathBuf>,
    /// Of `knowledge` and `models`: where models are installed; those of the tests by default, which are fetched if they are missing.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Of `knowledge`: where vectors are kept for the next run; nowhere by default.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Of `tree`: files of the tree in which one changes.
const CHANGED_OF: usize = 10_000;

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.part {
        Part::Servers => servers(options),
        Part::Host => pictures(options),
        Part::Tree => crate::trees::run(options.files, CHANGED_OF),
        Part::Sandbox | Part::Layers | Part::Knowledge | Part::Models | Part::Index | Part::Service => {
            of_product(options)
        }
    }
}

#[cfg(feature = "product")]
fn of_product(options: &Options) -> Result<()> {
    match options.part {
        Part::Layers => crate::layers::run(options.runs),
        Part::Knowledge => {
            let data = options.data.as_deref().context("`--data DIR` names the sets")?;
            let models = models(options)?;
            crate::retrieval::run(data, &models, options.keep.as_deref())?;
            crate::embedding::run(&models)
        }
        Part::Models => crate::embedding::run(&models(options)?),
        Part::Index => crate::indexes::run(options.passages),
        Part::Service => crate::service::run(options.starts),
        Part::Sandbox | Part::Servers | Part::Host | Part::Tree => crate::spawns::run(options.runs),
    }
}

#[cfg(feature = "product")]
fn models(options: &Options) -> Result<PathBuf> {
    if let Some(given) = &options.models {
        return Ok(given.clone());
    }
    use crate::environment::{MODELS_NAME, directory, up};
    up(&[MODELS_NAME])?;
    Ok(directory().join(MODELS_NAME))
}

/// By the same program with the product in it, which is optimized as it is shipped.
#[cfg(not(feature = "product"))]
fn of_product(options: &Options) -> Result<()> {
    let part = match options.part {
        Part::Layers => "layers",
        Part::Knowledge => "knowledge",
        Part::Models => "models",
        Part::Index => "index",
        Part::Service => "service",
        Part::Servers | Part::Host | Part::Sandbox | Part::Tree => "sandbox",
    };
    let mut command = shell::cargo();
    command.arg("run").args((part != "sandbox").then_some("--release"));
    command.args(["--package", "xtask", "--features", "product", "--", "bench", part, "--runs"]);
    command.arg(options.runs.to_string()).arg("--passages").arg(options.passages.to_string());
    command.arg("--starts").arg(options.starts.to_string());
    if part == "service" {
        command.env("SKYNET_BIN_DIR", crate::peers::programs()?);
    }
    for (name, directory) in
        [("--data", &options.data), ("--models", &options.models), ("--keep", &options.keep)]
    {
        if let Some(directory) = directory {
            command.arg(name).arg(std::path::absolute(directory)?);
        }
    }
    shell::run(&mut command)
}

fn servers(options: &Options) -> Result<()> {
    let bench = Bench::prepare()?;
    let daemon = bench.start_daemon()?;
    shell::step("measuring; a ratio above 1 means that Skynet needs less");
    println!("{:<34} {:>12} {:>12} {:>8}  goal", "", "Skynet", "peer", "ratio");
    starts(&bench, options)?;
    for (what, peer, goal) in [
        (What::Trivial, Server::Everything, ">= 1"),
        (What::Read, Server::Filesystem, ">= 3.4"),
        (What::List, Server::Filesystem, ">= 1"),
        (What::GitStatus, Server::Git, ">= 1.5"),
    ] {
        calls(&bench, options, what, peer, goal)?;
    }
    at_once(&bench, options)?;
    mutating(&bench, options)?;
    memory(&bench, daemon.pid())?;
    hop(&bench, options)
}

/// A photograph of twelve megapixels, made smaller. Each result is a new file.
fn pictures(options: &Options) -> Result<()> {
    let bench = Bench::prepare()?;
    let _daemon = bench.start_daemon()?;
    let mut ours = Client::connect(bench.command(Server::Skynet))?;
    let mut theirs = Client::connect(bench.command(Server::Sharp))?;
    let at = |name: &str| bench.work.join(name).to_string_lossy().into_owned();
    theirs.call("make", &json!({ "output": at("photo.jpg") }))?;
    shell::step("measuring; a ratio above 1 means that Skynet needs less");
    println!("{:<34} {:>12} {:>12} {:>8}  goal", "", "Skynet", "peer", "ratio");
    for (name, width) in [("resize 12 megapixels to 1200, sharp", 1200), ("thumbnail of 256, sharp", 256)] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..options.starts + 2 {
            let output = |whose: &str| format!("{whose}-{width}-{round}.jpg");
            let asked = json!({ "paths": ["photo.jpg"], "width": width, "output": output("ours") });
            let (_, took) = ours.measure_call("image_resize", &asked)?;
            times[0].push(took);
            let asked = json!({ "input": at("photo.jpg"), "width": width, "output": at(&output("theirs")) });
            let (_, took) = theirs.measure_call("resize", &asked)?;
            times[1].push(took);
        }
        let [ours, theirs] = times;
        print(name, ours, theirs, ">= 0.8");
    }
    Ok(())
}

/// From the start of the process to the answer of tools/list.
fn starts(bench: &Bench, options: &Options) -> Result<()> {
    let measure = |server| -> Result<Duration> {
        let begun = Instant::now();
        let mut client = Client::connect(bench.command(server))?;
        client.request("tools/list", &json!({}))?;
        Ok(begun.elapsed())
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.starts {
        ours.push(measure(Server::Skynet)?);
        theirs.push(measure(Server::Everything)?);
    }
    print("start to tools/list, everything", ours, theirs, ">= 58");
    Ok(())
}

/// One call after the other.
fn calls(bench: &Bench, options: &Options, what: What, peer: Server, goal: &str) -> Result<()> {
    let mut clients =
        [Client::connect(bench.command(Server::Skynet))?, Client::connect(bench.command(peer))?];
    let questions = [bench.question(Server::Skynet, what), bench.question(peer, what)];
    let mut times = [Vec::new(), Vec::new()];
    // The first calls warm up processes and caches.
    for round in 0..options.runs + 20 {
        for ((client, (tool, arguments)), times) in clients.iter_mut().zip(&questions).zip(&mut times) {
            let (_, took) = client.measure_call(tool, arguments)?;
            if round >= 20 {
                times.push(took);
            }
        }
    }
    let [ours, theirs] = times;
    print(&format!("{what:?} call, {peer:?}").to_lowercase(), ours, theirs, goal);
    Ok(())
}

/// Fifty calls in flight.
fn at_once(bench: &Bench, options: &Options) -> Result<()> {
    let mut clients = [
        Client::connect(bench.command(Server::Skynet))?,
        Client::connect(bench.command(Server::Everything))?,
    ];
    let questions =
        [bench.question(Server::Skynet, What::Trivial), bench.question(Server::Everything, What::Trivial)];
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..options.runs / 4 + 5 {
        for ((client, (tool, arguments)), times) in clients.iter_mut().zip(&questions).zip(&mut times) {
            let begun = Instant::now();
            client.call_at_once(tool, arguments, 50)?;
            if round >= 5 {
                times.push(begun.elapsed());
            }
        }
    }
    let [ours, theirs] = times;
    print("50 in flight, everything", ours, theirs, ">= 1");
    Ok(())
}

/// A call that changes something waits for the disk; there is no peer that does.
fn mutating(bench: &Bench, options: &Options) -> Result<()> {
    let mut client = Client::connect(bench.command(Server::Skynet))?;
    let mut times = Vec::new();
    for number in 0..options.runs {
        let begun = Instant::now();
        client.call("files_write", &json!({ "path": "written", "content": number.to_string() }))?;
        times.push(begun.elapsed());
    }
    println!(
        "{:<34} {:>12} {:>12} {:>8}  durable intent, before-image, outcome",
        "write call",
        show(median(&mut times)),
        "-",
        "-"
    );
    Ok(())
}

/// Proportional set size of eight clients, with all that serves them.
fn memory(bench: &Bench, daemon: u32) -> Result<()> {
    let sum = |server| -> Result<u64> {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Client::connect(bench.command(server))?;
            client.request("tools/list", &json!({}))?;
            let (tool, arguments) = bench.question(server, What::Trivial);
            client.call(tool, &arguments)?;
            clients.push(client);
        }
        let mut total: u64 =
            clients.iter().map(|client| proportional_kb(client.pid())).sum::<Result<u64>>()?;
        if server == Server::Skynet {
            total += proportional_kb(daemon)?;
            for child in children(daemon)? {
                total += proportional_kb(child)?;
            }
        }
        Ok(total)
    };
    let (ours, theirs) = (sum(Server::Skynet)?, sum(Server::Everything)?);
    let ratio = theirs as f64 / ours as f64;
    println!("{:<34} {:>9} kB {:>9} kB {ratio:>8.2}  >= 3", "memory of 8 clients, everything", ours, theirs);
    Ok(())
}

/// What the relay itself costs: a ping that the daemon answers at once.
fn hop(bench: &Bench, options: &Options) -> Result<()> {
    let mut client = Client::connect(bench.command(Server::Skynet))?;
    let mut times = Vec::new();
    for _ in 0..options.runs * 10 {
        let begun = Instant::now();
        client.request("ping", &json!({}))?;
        times.push(begun.elapsed());
    }
    println!("{:<34} {:>12} {:>12} {:>8}  <= 100 us", "relay hop (ping)", show(median(&mut times)), "-", "-");
    Ok(())
}

fn print(name: &str, mut ours: Vec<Duration>, mut theirs: Vec<Duration>, goal: &str) {
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{name:<34} {:>12} {:>12} {ratio:>8.2}  {goal}", show(ours), show(theirs));
}
