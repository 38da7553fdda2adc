//! A large tree of files, indexed by a daemon as it is shipped: what it takes of the processor and of memory, and how soon a
//! change is found.

use crate::{
    mcp::Client,
    peers::{Bench, Server},
    processes::{descendants, processor_time, status_kb},
    shell,
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Files of one directory.
const IN_DIRECTORY: usize = 40;

/// Functions of a file: about as many bytes as half of the files of a kernel have.
const FUNCTIONS: usize = 12;

/// Changes that are looked for.
const CHANGES: usize = 20;

pub(crate) fn run(files: usize, changed_of: usize) -> Result<()> {
    let bench = Bench::prepare()?;
    let daemon = bench.start_daemon()?;
    let mut client = Client::connect(bench.command(Server::Skynet))?;
    let bytes = grow(&bench, "tree", files)?;
    shell::step(&format!("indexing {files} files of {} MB", bytes >> 20));
    let begun = Instant::now();
    let before = used(daemon.pid());
    let added = call(&mut client, "knowledge_add_collection", &json!({ "path": "tree" }))?;
    if added["files"] != files || added["skipped"] != 0 {
        bail!("not all of them were read: {added}");
    }
    let took = used(daemon.pid()).saturating_sub(before);
    let found = call(&mut client, "knowledge_search", &json!({ "query": "drain_7_3" }))?;
    if found["found"][0]["path"] != "tree/0/7.c" {
        bail!("found something else: {found}");
    }
    println!(
        "{:<34} {:>9.1} s   {:>9.1} s of CPU  <= 60 s of CPU for 80,000 files",
        "listed and found by words",
        begun.elapsed().as_secs_f64(),
        took.as_secs_f64()
    );
    let most = descendants(daemon.pid()).iter().map(|pid| status_kb(&pid.to_string(), "VmHWM")).max();
    println!("{:<34} {:>9} MB   <= 1024 MB", "memory of the largest process", most.unwrap_or(0) >> 10);
    call(&mut client, "knowledge_remove_collection", &json!({ "name": "tree" }))?;

    grow(&bench, "some", changed_of)?;
    call(&mut client, "knowledge_add_collection", &json!({ "path": "some" }))?;
    let mut times = Vec::new();
    for number in 0..CHANGES {
        // Somebody else's change, of which the daemon is told by the kernel alone.
        let word = format!("novelty{number}x");
        fs::write(bench.work.join("some/0/7.c"), format!("int {word}(void) {{ return 1; }}\n"))?;
        let begun = Instant::now();
        while call(&mut client, "knowledge_search", &json!({ "query": word }))?["found"][0]["path"]
            != "some/0/7.c"
        {}
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let slowest = times.last().context("no change")?;
    println!(
        "{:<34} {:>9.0} ms  slowest of {CHANGES}; <= 1000 ms for one of 10,000 files",
        format!("a change of one of {changed_of}"),
        slowest.as_secs_f64() * 1e3
    );
    bench.verify_audit()
}

/// Functions in C with names and comments of their own; how many bytes they have.
fn grow(bench: &Bench, name: &str, files: usize) -> Result<u64> {
    shell::step(&format!("making {files} files"));
    let mut bytes = 0;
    for number in 0..files {
        let directory = bench.work.join(name).join((number / IN_DIRECTORY).to_string());
        if number % IN_DIRECTORY == 0 {
            fs::create_dir_all(&directory)?;
        }
        let text: String = (0..FUNCTIONS).map(|function| code(number, function)).collect();
        bytes += text.len() as u64;
        fs::write(directory.join(format!("{number}.c")), text)?;
    }
    bench.own(Path::new(name))?;
    Ok(bytes)
}

fn code(file: usize, function: usize) -> String {
    format!(
        "/*\n * Drains queue {file} of device {function}: waits until all requests of it are done.\n * The caller holds the lock of the queue.\n */\nstatic int drain_{file}_{function}(struct queue *queue, unsigned long flags)\n{{\n\tstruct request *request, *next;\n\tint count = {function};\n\n\tlist_for_each_entry_safe(request, next, &queue->requests, list) {{\n\t\tif (request->flags & flags)\n\t\t\tcontinue;\n\t\tlist_del_init(&request->list);\n\t\tcomplete_request(request, count++);\n\t}}\n\treturn count ? 0 : -EAGAIN;\n}}\n\n"
    )
}

/// By the daemon and all that works for it.
fn used(daemon: u32) -> Duration {
    descendants(daemon).into_iter().map(processor_time).sum()
}

fn call(client: &mut Client, tool: &str, arguments: &Value) -> Result<Value> {
    Ok(client.call_to_the_end(tool, arguments)?["structuredContent"].take())
}
