//! What host this is.

use crate::{process::user_name, timestamp, unreadable};
use procfs::Current as _;
use rustix::system::uname;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{collections::HashMap, fs};

pub(crate) struct SystemDescribe;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Name of the host.
    hostname: String,
    /// Distribution and version.
    os: String,
    /// Release of the kernel.
    kernel: String,
    /// Like x86_64.
    architecture: String,
    /// What kind of container or virtual machine it is; absent on bare metal, or where nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    virtualization: Option<String>,
    /// Model of the processor.
    cpu_model: String,
    /// Logical processors.
    cpus: usize,
    /// Physical memory.
    memory_bytes: u64,
    /// When the host started, RFC 3339, UTC.
    booted_at: String,
    /// Seconds since then.
    uptime_seconds: u64,
    /// Name of the time zone, where it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    /// The user Skynet works as here.
    user: String,
    /// Whether systemd is the init system.
    systemd: bool,
}

impl Tool for SystemDescribe {
    const NAME: &'static str = "system_describe";
    const SUMMARY: &'static str =
        "Describe this host: name, distribution, kernel, processor, memory, uptime, time zone.";
    const KEYWORDS: &'static str = "operating system info information computer server hardware os version linux distro hostname architecture uptime boot how long running ram installed | informations système machine ordinateur serveur matériel version noyau distribution processeur démarré depuis allumé nom hôte fuseau horaire";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, _input: Input) -> Result<Output> {
        let names = uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let cpu = procfs::CpuInfo::current().map_err(unreadable("/proc/cpuinfo"))?;
        let memory = procfs::Meminfo::current().map_err(unreadable("/proc/meminfo"))?;
        let uptime = procfs::Uptime::current().map_err(unreadable("/proc/uptime"))?;
        let booted_at = procfs::boot_time_secs().map_err(unreadable("/proc/stat"))?;
        Ok(Output {
            hostname: text(names.nodename()),
            os: os_name(),
            kernel: text(names.release()),
            architecture: text(names.machine()),
            virtualization: virtualization(&cpu),
            cpu_model: cpu.model_name(0).unwrap_or("unknown").to_owned(),
            cpus: cpu.num_cores(),
            memory_bytes: memory.mem_total,
            booted_at: timestamp(i64::try_from(booted_at).unwrap_or(0)),
            uptime_seconds: uptime.uptime_duration().as_secs(),
            timezone: timezone(),
            user: user_name(rustix::process::getuid().as_raw()),
            systemd: fs::exists("/run/systemd/system").unwrap_or(false),
        })
    }
}

/// `PRETTY_NAME` of os-release(5).
fn os_name() -> String {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let values: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let name = values.get("PRETTY_NAME").or_else(|| values.get("NAME")).copied().unwrap_or("Linux");
    name.trim_matches(['"', '\'']).to_owned()
}

/// What the host itself says: a container manager leaves a file, a hypervisor a name in the firmware's tables and a
/// flag of the processor.
fn virtualization(cpu: &procfs::CpuInfo) -> Option<String> {
    let container = fs::read_to_string("/run/systemd/container").map(|name| name.trim().to_owned());
    if let Some(name) = container.ok().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    for (mark, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if fs::exists(mark).unwrap_or(false) {
            return Some(name.into());
        }
    }
    let is_guest = cpu.flags(0).is_some_and(|flags| flags.contains(&"hypervisor"));
    is_guest.then(|| {
        let product = fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
        if product.trim().is_empty() { "virtual machine".into() } else { product.trim().to_owned() }
    })
}

/// From the link that timedatectl(1) keeps, or the file older systems have.
fn timezone() -> Option<String> {
    let link = fs::read_link("/etc/localtime").ok();
    let from_link = link.and_then(|path| {
        let path = path.to_string_lossy().into_owned();
        path.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    });
    from_link.or_else(|| fs::read_to_string("/etc/timezone").ok().map(|zone| zone.trim().to_owned()))
}
