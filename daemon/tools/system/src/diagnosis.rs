//! What may be wrong with a host, one check per subject. A check that cannot look says so and is no reason to stop.

use crate::{
    certificates, firewalls,
    journal::{self, Priority},
    list_disks, list_network, packages, process,
    systemd::{self, Bus, Properties, Scope},
};
use procfs::Current as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};

/// Pieces of evidence for one finding.
const MOST_EVIDENCE: usize = 10;

/// Restarts of a service by itself that are no accident any more.
const MANY_RESTARTS: u64 = 5;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something fails or is about to.
    Critical,
    /// Worth looking into.
    Warning,
    /// Worth knowing.
    #[default]
    Notice,
}

/// Something that is wrong.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// How bad it is: `critical`, `warning` or `notice`.
    pub(crate) severity: Severity,
    /// What it is.
    finding: String,
    /// By what it is seen, at most ten lines.
    evidence: Vec<String>,
    /// The tool to go on with.
    next_tool: &'static str,
    /// What to ask it, or to do.
    next_step: &'static str,
}

/// A subject that was left out.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Unchecked {
    /// The subject.
    subject: &'static str,
    /// Why.
    why: String,
}

/// All that was seen so far.
#[derive(Default)]
pub(crate) struct Diagnosis {
    pub(crate) findings: Vec<Finding>,
    pub(crate) checked: Vec<&'static str>,
    pub(crate) unchecked: Vec<Unchecked>,
}

impl Diagnosis {
    fn find(
        &mut self,
        severity: Severity,
        finding: impl Into<String>,
        evidence: impl IntoIterator<Item = String>,
        (next_tool, next_step): (&'static str, &'static str),
    ) {
        let evidence = evidence.into_iter().take(MOST_EVIDENCE).collect();
        self.findings.push(Finding { severity, finding: finding.into(), evidence, next_tool, next_step });
    }

    /// The value of a check, or a note that it could not be made; only a client that goes away ends it all.
    fn checked<T>(&mut self, subject: &'static str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => {
                self.checked.push(subject);
                Ok(Some(value))
            }
            Err(err) if err.kind == ErrorKind::Canceled => Err(err),
            Err(err) => {
                self.unchecked.push(Unchecked { subject, why: err.message.into_owned() });
                Ok(None)
            }
        }
    }

    /// Memory, swap, pressure, load, processes: what the kernel counts.
    pub(crate) fn look_at_kernel(&mut self) {
        const NEXT: (&str, &str) =
            ("system_show_resources", "see with `sort_by` `memory` or `cpu` who uses most");
        let unreadable = |what| move |err| crate::unreadable(what)(err);
        // These cannot be canceled.
        let memory = procfs::Meminfo::current().map_err(unreadable("/proc/meminfo"));
        if let Ok(Some(memory)) = self.checked("memory", memory) {
            let available = memory.mem_available.unwrap_or(memory.mem_free);
            let left = process::percent(available as f64 / memory.mem_total.max(1) as f64);
            if let Some(severity) = graded(left, 10.0, 5.0) {
                let evidence =
                    format!("{} MiB of {} MiB are available", available >> 20, memory.mem_total >> 20);
                self.find(severity, format!("{left} % of the memory is left"), [evidence], NEXT);
            }
            let used = memory.swap_total.saturating_sub(memory.swap_free);
            if memory.swap_total > 0 && used * 10 > memory.swap_total * 8 {
                let evidence = format!("{} MiB of {} MiB are in use", used >> 20, memory.swap_total >> 20);
                self.find(Severity::Warning, "the swap is nearly full", [evidence], NEXT);
            }
        }
        let kills = procfs::vmstat().map_err(unreadable("/proc/vmstat"));
        if let Ok(Some(counted)) = self.checked("out of memory", kills)
            && let Some(count) = counted.get("oom_kill").filter(|count| **count > 0)
        {
            let evidence = format!("{count} processes were killed since the host started");
            let next = ("system_read_journal", "ask with `kernel` and `pattern` `Out of memory` who it was");
            self.find(Severity::Warning, "processes were killed because memory ran out", [evidence], next);
        }
        self.look_at_load(NEXT);
        let processes = process::all().map_err(unreadable("/proc"));
        if let Ok(Some(processes)) = self.checked("processes", processes) {
            self.look_at_zombies(&processes);
        }
    }

    fn look_at_load(&mut self, next: (&'static str, &'static str)) {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f32;
        let load = procfs::LoadAverage::current().map_err(crate::unreadable("/proc/loadavg"));
        if let Ok(Some(load)) = self.checked("load", load)
            && load.five > 2.0 * cpus
        {
            let evidence = format!(
                "{} in the last minute, {} in five, {} in fifteen",
                load.one, load.five, load.fifteen
            );
            self.find(
                Severity::Warning,
                format!("more is to be done than {cpus} processors can do"),
                [evidence],
                next,
            );
        }
        let records = [
            ("memory", 10.0, procfs::MemoryPressure::current().map(|pressure| pressure.some)),
            ("disks", 30.0, procfs::IoPressure::current().map(|pressure| pressure.some)),
            ("a processor", 60.0, procfs::CpuPressure::current().map(|pressure| pressure.some)),
        ];
        // Kernels that do not measure it are not at fault.
        for (what, most, record) in
            records.into_iter().filter_map(|(what, most, one)| Some((what, most, one.ok()?)))
        {
            if record.avg300 > most {
                let evidence = format!(
                    "{} % of the last five minutes, {} % of the last ten seconds",
                    record.avg300, record.avg10
                );
                self.find(Severity::Warning, format!("programs wait for {what}"), [evidence], next);
            }
        }
    }

    fn look_at_zombies(&mut self, processes: &[process::Seen]) {
        let names: HashMap<i32, &str> =
            processes.iter().map(|seen| (seen.shown.pid, &*seen.shown.name)).collect();
        let mut parents: BTreeMap<i32, usize> = BTreeMap::new();
        for seen in processes.iter().filter(|seen| seen.shown.state == "Z") {
            *parents.entry(seen.shown.parent_pid).or_default() += 1;
        }
        let count: usize = parents.values().sum();
        if count > 0 {
            let severity = if count >= 50 { Severity::Warning } else { Severity::Notice };
            let evidence = parents.iter().map(|(pid, count)| {
                format!("{count} of process {pid} ({})", names.get(pid).copied().unwrap_or("gone"))
            });
            let next = (
                "system_list_processes",
                "look at the parent by `pid`: it does not ask how its children ended",
            );
            self.find(severity, format!("{count} processes are dead and not buried"), evidence, next);
        }
    }

    /// What is nearly full, of bytes or of inodes.
    pub(crate) fn look_at_disks(&mut self, ctx: &CallCtx) -> Result<()> {
        let Some(mounts) = self.checked("disks", list_disks::writable(ctx))? else { return Ok(()) };
        for (mount, space) in mounts {
            for (what, used) in [("bytes", space.used_percent), ("inodes", space.inodes_used_percent)] {
                if let Some(severity) = graded(100.0 - used, 15.0, 5.0) {
                    let evidence = format!("{} MiB are available", space.available_bytes >> 20);
                    let next = (
                        "system_list_disks",
                        "compare with the other filesystems; then remove what is not needed there",
                    );
                    self.find(
                        severity,
                        format!("{used} % of the {what} of `{mount}` are used"),
                        [evidence],
                        next,
                    );
                }
            }
        }
        Ok(())
    }

    /// What anybody who reaches the host can talk to.
    pub(crate) async fn look_at_ports(&mut self) {
        let Ok(Some(mut listeners)) = self.checked("ports", list_network::listeners()) else { return };
        listeners.retain(|one| ["0.0.0.0", "::"].contains(&&*one.address) && one.protocol == "tcp");
        listeners.sort_by_key(|one| one.port);
        listeners.dedup_by_key(|one| one.port);
        if listeners.is_empty() {
            return;
        }
        let is_guarded = firewalls::installed().await.iter().any(firewalls::Backend::is_active);
        let (severity, firewall) = if is_guarded {
            (Severity::Notice, "a firewall may hold some of it back")
        } else {
            (Severity::Warning, "no firewall is known to be switched on")
        };
        let finding = format!("{} ports are open on all addresses; {firewall}", listeners.len());
        let evidence = listeners.iter().map(|one| {
            let process = one.process.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("port {} of {}{process}", one.port, one.user)
        });
        let next = (
            "system_list_network",
            "see with `port` who listens, and with `system_show_firewall` what comes through",
        );
        self.find(severity, finding, evidence, next);
    }

    /// What failed, and what fails over and over.
    pub(crate) async fn look_at_units(&mut self, ctx: &CallCtx) -> Result<()> {
        let Some(units) = self.checked("services", units(ctx).await)? else { return Ok(()) };
        if !units.failed.is_empty() {
            let next = ("service_explain_failures", "see why, with their last words");
            let finding = format!("{} units failed", units.failed.len());
            self.find(Severity::Warning, finding, units.failed, next);
        }
        if !units.looping.is_empty() {
            let next = ("service_show", "see by `name` how it ended, and its last words");
            let finding =
                format!("{} services end and are started again, over and over", units.looping.len());
            self.find(Severity::Critical, finding, units.looping, next);
        }
        Ok(())
    }

    /// Whether the clock is set by others that know the time.
    pub(crate) async fn look_at_clock(&mut self) {
        let asked = async {
            let connection = zbus::Connection::system().await?;
            let path = zbus::zvariant::OwnedObjectPath::try_from("/org/freedesktop/timedate1")?;
            systemd::all_of(&connection, "org.freedesktop.timedate1", &path, "org.freedesktop.timedate1")
                .await
        };
        let asked =
            asked.await.map_err(|err| Error::unavailable("nobody tells who sets the clock").with_source(err));
        if let Ok(Some(clock)) = self.checked("clock", asked)
            && !clock.is("NTPSynchronized")
        {
            let evidence = if clock.is("NTP") {
                "a service for it is switched on"
            } else {
                "no service for it is switched on"
            };
            let next = ("service_list", "look with `pattern` for timesyncd, chrony or ntp, and start one");
            self.find(Severity::Warning, "the clock is not synchronized", [evidence.to_owned()], next);
        }
    }

    /// Errors of the kernel since the host started.
    pub(crate) async fn look_at_journal(&mut self, ctx: &CallCtx) -> Result<()> {
        let query = journal::Query {
            kernel: true,
            boot: Some(0),
            priority: Some(Priority::Err),
            limit: 50,
            ..journal::Query::default()
        };
        let Some(found) = self.checked("kernel errors", journal::read(ctx, &query).await)? else {
            return Ok(());
        };
        if !found.entries.is_empty() {
            let evidence = found.entries.iter().rev().map(|entry| format!("{} {}", entry.at, entry.message));
            let next = ("system_read_journal", "ask with `kernel` and `priority` `err` for all of them");
            let finding = format!("the kernel reported {} errors or more", found.entries.len());
            self.find(Severity::Warning, finding, evidence, next);
        }
        Ok(())
    }

    /// What is over, or soon will be.
    pub(crate) fn look_at_certificates(&mut self, ctx: &CallCtx) -> Result<()> {
        let Some(found) = self.checked("certificates", certificates::look(ctx, None))? else { return Ok(()) };
        let (mut over, mut soon) = (Vec::new(), Vec::new());
        for one in found.certificates.iter().filter(|one| one.days_left < 30) {
            let whom = one.names.first().unwrap_or(&one.subject);
            let line = format!("`{whom}` in `{}`: {} days left", one.path, one.days_left);
            if one.days_left < 0 { over.push(line) } else { soon.push(line) }
        }
        let next =
            ("system_check_certificates", "see for which names they are and who uses them; then renew them");
        if !over.is_empty() {
            self.find(Severity::Critical, format!("{} certificates are over", over.len()), over, next);
        }
        if !soon.is_empty() {
            let finding = format!("{} certificates end within 30 days", soon.len());
            self.find(Severity::Warning, finding, soon, next);
        }
        Ok(())
    }

    /// What could be newer, and what waits for a restart.
    pub(crate) async fn look_at_packages(&mut self, ctx: &CallCtx) -> Result<()> {
        const NEXT: (&str, &str) = ("system_list_packages", "see with `which` `upgradable` what is new");
        if packages::needs_reboot() {
            let evidence = "/run/reboot-required is there".to_owned();
            self.find(Severity::Notice, "an upgrade waits for a restart of the host", [evidence], NEXT);
        }
        let Some(upgrades) = self.checked("upgrades", packages::upgradable(ctx).await)? else {
            return Ok(());
        };
        let security = upgrades.iter().filter(|one| one.is_security);
        let lines =
            security.map(|one| format!("{} {}", one.name, one.version.as_deref().unwrap_or_default()));
        let lines: Vec<String> = lines.collect();
        let (count, all) = (lines.len(), upgrades.len());
        if count > 0 {
            let finding = format!("{count} upgrades close holes, of {all} in all");
            self.find(Severity::Warning, finding, lines, NEXT);
        } else if all > 0 {
            self.find(Severity::Notice, format!("{all} packages could be newer"), [], NEXT);
        }
        Ok(())
    }
}

/// By how much is left of a hundred.
fn graded(left: f64, warning: f64, critical: f64) -> Option<Severity> {
    if left < critical {
        Some(Severity::Critical)
    } else if left < warning {
        Some(Severity::Warning)
    } else {
        None
    }
}

/// Units that are not well.
struct Unwell {
    failed: Vec<String>,
    looping: Vec<String>,
}

async fn units(ctx: &CallCtx) -> Result<Unwell> {
    let bus = Bus::connect(Scope::System).await?;
    let listed = bus.manager.list_units_by_patterns(&[], &[]).await;
    let mut unwell = Unwell { failed: Vec::new(), looping: Vec::new() };
    for (name, description, _, active, sub, _, path, ..) in
        listed.map_err(|err| systemd::explain(err, "its units"))?
    {
        ctx.check_canceled()?;
        if active == "failed" {
            unwell.failed.push(format!("{name}: {description}"));
        } else if name.ends_with(".service") && ["active", "activating"].contains(&&*active) {
            let service = Properties(bus.properties(&path, "Service").await?);
            let restarts = service.number("NRestarts").unwrap_or(0);
            if restarts >= MANY_RESTARTS || (sub == "auto-restart" && restarts > 0) {
                unwell.looping.push(format!("{name}: restarted {restarts} times"));
            }
        }
    }
    Ok(unwell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_worse_it_is() {
        for (left, expected) in
            [(50.0, None), (15.0, None), (14.9, Some(Severity::Warning)), (4.9, Some(Severity::Critical))]
        {
            assert_eq!(graded(left, 15.0, 5.0), expected, "{left}");
        }
        assert!(Severity::Critical < Severity::Warning && Severity::Warning < Severity::Notice);
    }
}
