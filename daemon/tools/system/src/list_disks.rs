//! Lists mounted filesystems and how full they are.

use crate::{process::percent, unreadable};
use rustix::fs::statvfs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{collections::HashSet, io};

pub(crate) struct SystemListDisks;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Include what has no storage of its own: proc, sysfs, cgroup, bind mounts of one device.
    #[serde(default)]
    all: bool,
    /// Only the mount point that holds this absolute path.
    #[serde(default)]
    path: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of mount point.
    mounts: Vec<Mount>,
}

#[derive(Serialize, JsonSchema)]
struct Mount {
    /// Where it is mounted.
    mount_point: String,
    /// Device, or what takes its place.
    source: String,
    /// Kind of filesystem.
    filesystem: String,
    /// Whether writing is refused.
    read_only: bool,
    /// Bytes and inodes; absent where the filesystem does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<Space>,
}

impl Mount {
    fn measure(&mut self) {
        self.space = Space::of(&self.mount_point).ok().filter(|space| space.total_bytes > 0);
    }
}

/// How full a filesystem is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Space {
    /// Its size.
    pub(crate) total_bytes: u64,
    /// Free to ordinary users.
    pub(crate) available_bytes: u64,
    /// As df(1) has it, 0 to 100.
    pub(crate) used_percent: f64,
    /// Inodes in use, 0 to 100; 0 where they are not limited.
    pub(crate) inodes_used_percent: f64,
}

impl Space {
    /// Of the filesystem at `path`.
    pub(crate) fn of(path: &str) -> io::Result<Self> {
        let stat = statvfs(path)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        // Blocks reserved for root are neither used nor available.
        let usable = used + stat.f_bavail;
        let share =
            |part: u64, whole: u64| if whole == 0 { 0.0 } else { percent(part as f64 / whole as f64) };
        Ok(Self {
            total_bytes: stat.f_blocks * stat.f_frsize,
            available_bytes: stat.f_bavail * stat.f_frsize,
            used_percent: share(used, usable),
            inodes_used_percent: share(stat.f_files.saturating_sub(stat.f_ffree), stat.f_files),
        })
    }
}

impl Tool for SystemListDisks {
    const NAME: &'static str = "system_list_disks";
    const SUMMARY: &'static str =
        "List mounted filesystems with device, kind, size and free space; like df and mount.";
    const KEYWORDS: &'static str = "disk space free full storage df mount partition filesystem inode left drive usb nfs | disque espace libre plein stockage partition montage monté système de fichiers place restante";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let mut mounts = mounts(ctx, |has_storage| input.all || input.path.is_some() || has_storage)?;
        if let Some(path) = &input.path {
            mounts = holding(mounts, path);
        }
        for mount in &mut mounts {
            mount.measure();
        }
        mounts.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        Ok(Output { mounts })
    }
}

/// Those of which `is_wanted` is so, told whether they have storage of their own that no earlier one has; not measured.
fn mounts(ctx: &CallCtx, is_wanted: impl Fn(bool) -> bool) -> Result<Vec<Mount>> {
    let own = procfs::process::Process::myself().map_err(unreadable("/proc/self"))?;
    let mounted = own.mountinfo().map_err(unreadable("/proc/self/mountinfo"))?;
    let mut devices = HashSet::new();
    let mut mounts = Vec::new();
    for info in mounted {
        ctx.check_canceled()?;
        let has_storage = info.mount_source.as_deref().is_some_and(|source| source.starts_with('/'))
            || matches!(
                info.fs_type.as_str(),
                "tmpfs" | "overlay" | "btrfs" | "zfs" | "nfs" | "nfs4" | "cifs"
            );
        let is_first = devices.insert(info.majmin.clone());
        if is_wanted(has_storage && is_first) {
            mounts.push(Mount {
                mount_point: info.mount_point.to_string_lossy().into_owned(),
                source: info.mount_source.unwrap_or_default(),
                filesystem: info.fs_type,
                read_only: info.mount_options.contains_key("ro"),
                space: None,
            });
        }
    }
    Ok(mounts)
}

/// What can fill up: mount points that have storage of their own and are not read-only, with their space.
pub(crate) fn writable(ctx: &CallCtx) -> Result<Vec<(String, Space)>> {
    let mounts = mounts(ctx, |has_storage| has_storage)?.into_iter().filter(|mount| !mount.read_only);
    Ok(mounts
        .filter_map(|mut mount| {
            mount.measure();
            Some((mount.mount_point, mount.space?))
        })
        .collect())
}

/// The last of the deepest mounts above `path`: later ones hide earlier ones.
fn holding(mounts: Vec<Mount>, path: &str) -> Vec<Mount> {
    let holds = |mount: &Mount| std::path::Path::new(path).starts_with(&mount.mount_point);
    mounts.into_iter().filter(holds).max_by_key(|mount| mount.mount_point.len()).into_iter().collect()
}
