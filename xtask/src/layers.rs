//! What the layers cost: a read through all of them beside the tool alone, in turns in one run; then calls that change
//! something, each of them durable before it is answered; then the proof of the log.

use crate::{
    figures::{median, show},
    shell,
};
use anyhow::{Context as _, Result, ensure};
use skynet_core::{CallId, Canonical};
use skynet_store::{Ledger, Seal};
use skynet_tests::workbench::{Manner, Setup, Workbench};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Builder, task::JoinSet};
use uuid::Uuid;

/// The first ones warm up caches, and are not counted.
const WARM_UP: usize = 100;

/// Of a read one is too short to be told from the clock's own time.
const READS_PER_RUN: u32 = 20;

/// Calls under way that change something.
const IN_FLIGHT: u64 = 32;

/// How long they are counted.
const SUSTAINED: Duration = Duration::from_secs(5);

/// Of the log that is verified.
const RECORDS: u64 = 500_000;

pub(crate) fn run(runs: usize) -> Result<()> {
    let setup = || Setup { toolsets: skynet_hands::toolsets(), ..Setup::default() };
    shell::step("measuring");
    Builder::new_current_thread().enable_all().build()?.block_on(reads(&Workbench::new(setup()), runs))?;
    Builder::new_multi_thread().enable_all().build()?.block_on(writes(Workbench::new(setup())))?;
    proof()
}

/// A stat of a small file, which is the least that a tool does.
async fn reads(bench: &Workbench, runs: usize) -> Result<()> {
    bench.write("small", "x");
    let (tool, input) = ("files_stat", r#"{"path":"small"}"#);
    let entry = bench.registry.find(tool)?.clone();
    let canonical = Canonical::parse(input.as_bytes())?;
    let session = Uuid::new_v4();
    let mut sequence = 0;
    let (mut bare, mut layered) = (Vec::new(), Vec::new());
    for round in 0..runs + WARM_UP {
        let begun = Instant::now();
        for _ in 0..READS_PER_RUN {
            bench.run_alone(&entry, &canonical).await?;
        }
        let without = begun.elapsed() / READS_PER_RUN;
        let begun = Instant::now();
        for _ in 0..READS_PER_RUN {
            sequence += 1;
            let id = Some(CallId { session, sequence, index: 0 });
            bench.call_raw(tool, input.as_bytes(), Manner { id, ..Manner::default() }).await?;
        }
        let with = begun.elapsed() / READS_PER_RUN;
        if round >= WARM_UP {
            bare.push(without);
            layered.push(with);
        }
    }
    let (bare, layered) = (median(&mut bare), median(&mut layered));
    line("files_stat, the tool alone", &show(bare), "");
    line("files_stat, through all layers", &show(layered), "");
    line("the layers", &show(layered.saturating_sub(bare)), "<= 60 us");
    line("ratio", &format!("{:.1}", layered.as_secs_f64() / bare.as_secs_f64()), "");
    Ok(())
}

/// Each with its intent, its before-image, its outcome and its record on the disk before it is answered.
async fn writes(bench: Workbench) -> Result<()> {
    let bench = Arc::new(bench);
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..IN_FLIGHT {
        let (bench, done) = (bench.clone(), done.clone());
        writers.spawn(async move {
            let session = Uuid::new_v4();
            for sequence in 1.. {
                let input = format!(r#"{{"path":"of-{writer}","content":"{sequence}"}}"#);
                let id = Some(CallId { session, sequence, index: 0 });
                bench.call_raw("files_write", input.as_bytes(), Manner { id, ..Manner::default() }).await?;
                done.fetch_add(1, Ordering::Relaxed);
                if begun.elapsed() > SUSTAINED {
                    break;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let per_second = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    line("files_write, 32 in flight, durable", &format!("{per_second:.0} /s"), ">= 1000 /s");
    Ok(())
}

/// Of a log with records as calls leave them, signed as the daemon's is.
fn proof() -> Result<()> {
    let place = tempfile::tempdir()?;
    let seal = Seal::open(&place.path().join("keys"), &place.path().join("newest"))?;
    let ledger = Ledger::open_sealed(&place.path().join("log"), 64 << 20, seal)?;
    let record = br#"{"kind":"call","call":"8d7bb0e5a0d14b0f8f9d0f6a3f1f3f4e.17","tool":"files_stat","effect":"read","uid":1000,"pid":4242,"client":"bench 1","workspace":"/home/somebody/project","input":{"path":"src/main.rs"},"input_digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","outcome":"ok","duration_seconds":0.000123,"result_bytes":190,"result_digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
    let mut newest = None;
    for _ in 0..RECORDS {
        newest = Some(ledger.append(record)?);
    }
    let runtime = Builder::new_current_thread().build()?;
    runtime.block_on(ledger.sync(newest.context("no record")?))?;
    let begun = Instant::now();
    let verdict = ledger.verify()?;
    let per_second = verdict.records as f64 / begun.elapsed().as_secs_f64();
    ensure!(verdict.faults.is_empty() && verdict.records >= RECORDS, "{:?}", verdict.faults);
    line("audit verify", &format!("{per_second:.0} records/s"), ">= 200000 records/s");
    Ok(())
}

fn line(name: &str, figure: &str, goal: &str) {
    println!("{name:<36} {figure:>20}  {goal}");
}
