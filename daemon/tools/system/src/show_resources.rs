//! Measures what the host is busy with and short of.

use crate::{
    list_processes::Order,
    process::{self, Shown, percent},
    unreadable,
};
use procfs::{Current as _, CurrentSI as _, KernelStats, Meminfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{collections::HashMap, time::Duration};

pub(crate) struct SystemShowResources;

const fn default_interval() -> u32 {
    250
}

const fn default_top() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// How long to measure processor use.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 50, max = 10000))]
    interval_ms: u32,
    /// How many of the busiest processes to show.
    #[serde(default = "default_top")]
    #[schemars(range(max = 50))]
    top: u32,
    /// What makes a process one of them.
    #[serde(default)]
    sort_by: Order,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Processors.
    cpu: Cpu,
    /// Memory and swap.
    memory: Memory,
    /// Runnable and blocked tasks, averaged.
    load: Load,
    /// Time lost by waiting; absent on kernels that do not measure it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<Pressure>,
    /// The filesystem of `/`.
    root_disk: Disk,
    /// The busiest processes over the interval.
    top: Vec<Shown>,
}

#[derive(Serialize, JsonSchema)]
struct Cpu {
    /// Of all processors together, 0 to 100.
    used_percent: f64,
    /// Spent waiting for disks, 0 to 100.
    iowait_percent: f64,
    /// Taken by the hypervisor for others, 0 to 100.
    steal_percent: f64,
    /// Logical processors.
    count: usize,
}

#[derive(Serialize, JsonSchema)]
struct Memory {
    /// All of it.
    total_bytes: u64,
    /// What programs can still get without swapping.
    available_bytes: u64,
    /// The rest, 0 to 100.
    used_percent: f64,
    /// All swap.
    swap_total_bytes: u64,
    /// Swap in use.
    swap_used_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct Load {
    /// Over one minute.
    one: f32,
    /// Over five minutes.
    five: f32,
    /// Over fifteen minutes.
    fifteen: f32,
}

#[derive(Serialize, JsonSchema)]
struct Pressure {
    /// For a processor.
    cpu: Waiting,
    /// For memory.
    memory: Waiting,
    /// For disks.
    io: Waiting,
}

/// Percent of the time some task waited, as the kernel's pressure stall information has it.
#[derive(Serialize, JsonSchema)]
struct Waiting {
    /// Over ten seconds.
    ten_seconds_percent: f32,
    /// Over five minutes.
    five_minutes_percent: f32,
}

#[derive(Serialize, JsonSchema)]
struct Disk {
    /// Its size.
    total_bytes: u64,
    /// Free to ordinary users.
    available_bytes: u64,
    /// 0 to 100.
    used_percent: f64,
}

impl Tool for SystemShowResources {
    const NAME: &'static str = "system_show_resources";
    const SUMMARY: &'static str = "Measure what the host is busy with: CPU, memory, swap, load, pressure, root disk, and the processes that use most.";
    const KEYWORDS: &'static str = "resource usage cpu ram memory free load average slow machine busy overloaded swap pressure hog consume utilization performance | ressources utilisation charge mémoire libre machine lent lente surchargé consomme occupé performance processeur saturé";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let before = Sample::take()?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(input.interval_ms.into())) => {}
            () = ctx.cancel.cancelled() => return Err(Error::canceled("the client canceled the call")),
        }
        let after = Sample::take()?;
        let meminfo = Meminfo::current().map_err(unreadable("/proc/meminfo"))?;
        let available = meminfo.mem_available.unwrap_or(meminfo.mem_free);
        let load = procfs::LoadAverage::current().map_err(unreadable("/proc/loadavg"))?;
        Ok(Output {
            cpu: cpu(&before, &after),
            memory: Memory {
                total_bytes: meminfo.mem_total,
                available_bytes: available,
                used_percent: percent(1.0 - available as f64 / meminfo.mem_total.max(1) as f64),
                swap_total_bytes: meminfo.swap_total,
                swap_used_bytes: meminfo.swap_total.saturating_sub(meminfo.swap_free),
            },
            load: Load { one: load.one, five: load.five, fifteen: load.fifteen },
            pressure: pressure(),
            root_disk: root_disk()?,
            top: top(&before, after, input.sort_by, input.top as usize),
        })
    }
}

/// Processor times at one moment.
struct Sample {
    total: procfs::CpuTime,
    count: usize,
    processes: Vec<process::Seen>,
}

impl Sample {
    fn take() -> Result<Self> {
        let stats = KernelStats::current().map_err(unreadable("/proc/stat"))?;
        let processes = process::all().map_err(unreadable("/proc"))?;
        Ok(Self { count: stats.cpu_time.len(), total: stats.total, processes })
    }
}

/// All ticks of a processor line. Guest time is part of user time (proc_stat(5)).
fn ticks(time: &procfs::CpuTime) -> u64 {
    let optional = [time.iowait, time.irq, time.softirq, time.steal];
    time.user + time.nice + time.system + time.idle + optional.into_iter().flatten().sum::<u64>()
}

fn cpu(before: &Sample, after: &Sample) -> Cpu {
    let (old, new) = (&before.total, &after.total);
    let all = ticks(new).saturating_sub(ticks(old)).max(1) as f64;
    let share =
        |now: Option<u64>, then: Option<u64>| now.unwrap_or(0).saturating_sub(then.unwrap_or(0)) as f64 / all;
    let (idle, iowait) = (share(Some(new.idle), Some(old.idle)), share(new.iowait, old.iowait));
    Cpu {
        used_percent: percent((1.0 - idle - iowait).max(0.0)),
        iowait_percent: percent(iowait),
        steal_percent: percent(share(new.steal, old.steal)),
        count: after.count,
    }
}

/// The processes with their processor use between the samples instead of since their start.
fn top(before: &Sample, after: Sample, order: Order, count: usize) -> Vec<Shown> {
    let old: HashMap<i32, u64> = before.processes.iter().map(|seen| (seen.shown.pid, seen.ticks)).collect();
    let elapsed = ticks(&after.total).saturating_sub(ticks(&before.total)).max(1) as f64;
    let cpus = after.count.max(1) as f64;
    let measured = after.processes.into_iter().map(|mut seen| {
        let used = seen.ticks.saturating_sub(old.get(&seen.shown.pid).copied().unwrap_or(0));
        seen.shown.cpu_percent = percent(used as f64 / elapsed * cpus);
        seen.shown
    });
    let mut shown: Vec<Shown> = measured.collect();
    order.sort(&mut shown);
    shown.truncate(count);
    shown
}

/// Documentation/accounting/psi.rst of the kernel.
fn pressure() -> Option<Pressure> {
    let waiting = |record: &procfs::PressureRecord| Waiting {
        ten_seconds_percent: record.avg10,
        five_minutes_percent: record.avg300,
    };
    Some(Pressure {
        cpu: waiting(&procfs::CpuPressure::current().ok()?.some),
        memory: waiting(&procfs::MemoryPressure::current().ok()?.some),
        io: waiting(&procfs::IoPressure::current().ok()?.some),
    })
}

fn root_disk() -> Result<Disk> {
    let space = crate::list_disks::Space::of("/")
        .map_err(|err| Error::unavailable("the filesystem of `/` cannot be examined").with_source(err))?;
    Ok(Disk {
        total_bytes: space.total_bytes,
        available_bytes: space.available_bytes,
        used_percent: space.used_percent,
    })
}
