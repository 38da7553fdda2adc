//! What runs in containers, what they use, and what they changed of their image.

use crate::{Client, Name, client::Stream, failure::About};
use bollard::{
    models::{ChangeType, ContainerStatsResponse, FilesystemChange},
    query_parameters::{ListContainersOptions, StatsOptions, TopOptions},
};
use futures_util::{StreamExt as _, stream::SelectAll};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Containers that are watched at the same time.
pub const MOST_WATCHED: usize = 32;

/// Of each a figure comes within two seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// Processes of a container, as ps(1) prints them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Processes {
    /// What the columns are.
    pub titles: Vec<String>,
    /// One line per process.
    pub processes: Vec<Vec<String>>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Stats {
    /// Its name.
    pub container: String,
    /// Of one processor, so up to 100 for each.
    pub cpu_percent: f64,
    /// The most of that seen.
    pub peak_cpu_percent: f64,
    /// Memory, without what the kernel could drop.
    pub memory_bytes: u64,
    /// The most of that seen.
    pub peak_memory_bytes: u64,
    /// What it may have.
    pub memory_limit_bytes: u64,
    /// Since it started.
    pub received_bytes: u64,
    /// Since it started.
    pub sent_bytes: u64,
    /// Read from disks since it started.
    pub read_bytes: u64,
    /// Written to disks since it started.
    pub written_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// Files that a container changed, by what it did to them.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Changed {
    /// New ones.
    pub added: Vec<String>,
    /// Others.
    pub changed: Vec<String>,
    /// Of the image, and gone.
    pub deleted: Vec<String>,
    /// How many are left out.
    pub left_out: usize,
}

impl Client {
    /// What runs in a container.
    ///
    /// # Errors
    /// `Conflict` for one that does not run.
    pub async fn list_processes(&self, name: &Name) -> Result<Processes> {
        let top = self.docker.top_processes(name, None::<TopOptions>);
        let found = self.ask(About::Container(name), top).await?;
        Ok(Processes {
            titles: found.titles.unwrap_or_default(),
            processes: found.processes.unwrap_or_default(),
        })
    }

    /// What a container changed of its image.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn changed_files(&self, name: &Name, most: usize) -> Result<Changed> {
        // Not by the library, which reads an answer of any length.
        let found: Option<Vec<FilesystemChange>> =
            self.get(About::Container(name), &format!("/containers/{name}/changes")).await?;
        let found = found.unwrap_or_default();
        let mut changed = Changed { left_out: found.len().saturating_sub(most), ..Changed::default() };
        for one in found.into_iter().take(most) {
            match one.kind {
                ChangeType::_0 => changed.changed.push(one.path),
                ChangeType::_1 => changed.added.push(one.path),
                ChangeType::_2 => changed.deleted.push(one.path),
            }
        }
        Ok(changed)
    }

    /// What containers use, all that run without names, each looked at until `time` is over and once at least.
    ///
    /// # Errors
    /// `Conflict` for one that does not run.
    pub async fn watch_stats(&self, ctx: &CallCtx, names: &[Name], time: Duration) -> Result<Vec<Stats>> {
        let names = if names.is_empty() { self.running().await? } else { names.to_vec() };
        if names.len() > MOST_WATCHED {
            return Err(Error::invalid_input(format!(
                "{} containers run, and {MOST_WATCHED} can be watched at the same time; name some in `containers`",
                names.len()
            )));
        }
        let mut streams: SelectAll<Stream<'_, ContainerStatsResponse>> = SelectAll::new();
        let mut ids = BTreeSet::new();
        for name in &names {
            if self.standing(name).await?.state != "running" {
                return Err(Error::conflict(format!("container `{name}` does not run, so it uses nothing")));
            }
            // By name and by id it is one.
            if !ids.insert(self.inspect(name).await?.id) {
                continue;
            }
            let options = StatsOptions { stream: true, one_shot: false };
            streams.push(Box::pin(self.docker.stats(name, Some(options))));
        }
        let mut found: BTreeMap<String, Stats> = BTreeMap::new();
        let mut seen = 0.0;
        let begun = tokio::time::Instant::now();
        let (deadline, first_seen_by) = (begun + time, begun + SEEN_WITHIN);
        let mut all: Stream<'_, ContainerStatsResponse> = Box::pin(streams.by_ref());
        loop {
            // Until each was seen, nothing is left out; but for one that has ended meanwhile.
            let end = if found.len() < ids.len() { deadline.max(first_seen_by) } else { deadline };
            let next = tokio::time::timeout_at(end, self.next(About::Engine, &mut all)).await;
            let Ok(next) = next else { break };
            let Some(one) = next? else { break };
            let Some(stats) = stats(&one) else { continue };
            seen += 1.0;
            let text = format!(
                "{}: {:.1} % CPU, {} MiB",
                stats.container,
                stats.cpu_percent,
                stats.memory_bytes >> 20
            );
            ctx.progress(seen, None, text);
            let before = found.remove(&stats.container).unwrap_or_default();
            let stats = Stats {
                peak_cpu_percent: stats.cpu_percent.max(before.peak_cpu_percent),
                peak_memory_bytes: stats.memory_bytes.max(before.peak_memory_bytes),
                ..stats
            };
            found.insert(stats.container.clone(), stats);
        }
        Ok(found.into_values().collect())
    }

    async fn running(&self) -> Result<Vec<Name>> {
        let found = self.docker.list_containers(None::<ListContainersOptions>);
        let found = self.ask(About::Engine, found).await?;
        found.into_iter().filter_map(|one| one.id).map(Name::try_from).collect()
    }
}

/// `None` for the first of a row, which has nothing to compare with; and for the last of a container that has ended.
fn stats(found: &ContainerStatsResponse) -> Option<Stats> {
    let (cpu, before) = (found.cpu_stats.as_ref()?, found.precpu_stats.as_ref()?);
    let total = |stats: &bollard::models::ContainerCpuStats| stats.cpu_usage.as_ref()?.total_usage;
    let used = total(cpu)?.saturating_sub(total(before).unwrap_or_default()) as f64;
    let passed = cpu.system_cpu_usage?.saturating_sub(before.system_cpu_usage?) as f64;
    let percent =
        if passed > 0.0 { used / passed * f64::from(cpu.online_cpus.unwrap_or(1)) * 100.0 } else { 0.0 };
    let memory = found.memory_stats.clone().unwrap_or_default();
    let droppable = memory.stats.as_ref().and_then(|stats| {
        // As Docker's own program subtracts it, of control groups of version 1 and 2.
        stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied()
    });
    let networks = found.networks.iter().flatten();
    let (received, sent) = networks.fold((0, 0), |(received, sent), (_, one)| {
        (received + one.rx_bytes.unwrap_or_default(), sent + one.tx_bytes.unwrap_or_default())
    });
    let disks = found.blkio_stats.as_ref().and_then(|stats| stats.io_service_bytes_recursive.as_ref());
    let of = |wanted: &str| {
        let all = disks.into_iter().flatten();
        let those = all.filter(|one| one.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
        those.filter_map(|one| one.value).sum()
    };
    Some(Stats {
        container: found.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        cpu_percent: (percent * 10.0).round() / 10.0,
        memory_bytes: memory.usage.unwrap_or_default().saturating_sub(droppable.unwrap_or_default()),
        memory_limit_bytes: memory.limit.unwrap_or_default(),
        received_bytes: received,
        sent_bytes: sent,
        read_bytes: of("read"),
        written_bytes: of("write"),
        processes: found.pids_stats.as_ref().and_then(|stats| stats.current).unwrap_or_default(),
        ..Stats::default()
    })
}
