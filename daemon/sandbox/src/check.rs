//! Whether commands can run on this host, tried with one.

use crate::slot::{Maker, landlock_rules};
use skynet_core::Workspace;
use skynet_sandbox::{
    channel::Buffer,
    protocol::{Kind, Limits, Refused, Reply, Run},
};
use std::{
    fs::{self, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

/// Runs a command that does nothing in a slot, and says behind which layers it ran.
///
/// # Errors
/// The layer that cannot be had, and how to get it.
pub(crate) fn check() -> Result<String, String> {
    match attempt() {
        Err(err) => Err(err.to_string()),
        Ok(Reply::Ended(ended)) if ended.code == Some(0) => Ok(format!(
            "user, mount, pid, network, ipc, uts and cgroup namespaces, Landlock {:?}, seccomp; memory is watched, not held by a cgroup",
            landlock_rules::abi().map_err(|err| err.to_string())?
        )),
        Ok(Reply::Ended(ended)) => Err(format!("a command that does nothing ended with {:?}", ended.code)),
        Ok(Reply::Refused(Refused { layer, message, .. })) => {
            Err(format!("{layer}: {message}{}", advice(&layer)))
        }
        Ok(_) => Err("the slot says something else".into()),
    }
}

fn attempt() -> io::Result<Reply> {
    let workspace = tempfile::tempdir()?;
    let home = tempfile::tempdir()?;
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    // Where they really are: a slot follows no links on the way.
    let found = Workspace::open(workspace.path()).map_err(io::Error::other)?;
    let private_home = Workspace::open(home.path()).map_err(io::Error::other)?;
    let run = Run {
        id: 1,
        argv: vec![b"true".to_vec()],
        environment: vec![b"PATH=/usr/bin:/bin".to_vec()],
        workspace: bytes(found.path()),
        directory: b".".to_vec(),
        home: b"/home/check".to_vec(),
        private_home: bytes(private_home.path()),
        limits: Limits {
            wall_ms: 10_000,
            memory_bytes: 64 << 20,
            processes: 64,
            scratch_bytes: 1 << 20,
            ..Limits::default()
        },
        is_alone: true,
        kind: Kind::Command.into(),
        ..Run::default()
    };
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let slot = Maker::new(None)?.slot()?;
    slot.run(run, &[null.as_fd(), null.as_fd(), null.as_fd(), found.as_descriptor()])?;
    let mut buffer = Buffer::default();
    loop {
        match slot.receive(&mut buffer)? {
            Some(Reply::Ready(_)) => {}
            Some(reply) => return Ok(reply),
            None => return Err(io::Error::other("the slot died")),
        }
    }
}

/// How a profile of AppArmor names this program: by the path that the kernel sees, which in a snap has a revision in it that
/// the next release changes (apparmor.d(5), "Globbing").
fn attachment(program: &Path) -> String {
    let mut parts: Vec<&str> = program.iter().filter_map(std::ffi::OsStr::to_str).collect();
    let of_snap = parts.windows(2).position(|pair| pair == ["snap", "skynet"]);
    if let Some(revision) = of_snap.and_then(|at| parts.get_mut(at + 2)) {
        *revision = "*";
    }
    parts.iter().collect::<PathBuf>().display().to_string()
}

/// What would give this host the layer.
fn advice(layer: &str) -> String {
    let is_set = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let program = attachment(&std::env::current_exe().unwrap_or_default());
    if layer == "landlock" {
        "; Landlock with ABI 2 or newer is needed: Linux 5.19 with `landlock` in the `lsm=` of its command line".into()
    } else if is_set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        format!(
            "; AppArmor keeps user namespaces from ordinary programs (Ubuntu 24.04): put `abi <abi/4.0>, include <tunables/global> profile skynet-sandbox {program} flags=(unconfined) {{ userns, }}` into /etc/apparmor.d/skynet-sandbox and run `apparmor_parser -r` on it"
        )
    } else if is_set("/proc/sys/user/max_user_namespaces", "0") {
        "; this host forbids user namespaces: set sysctl user.max_user_namespaces".into()
    } else if is_set("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "; this host keeps user namespaces for root: set sysctl kernel.unprivileged_userns_clone to 1".into()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_for_a_snap_outlasts_its_revision() {
        for (program, expected) in [
            ("/snap/skynet/x1/usr/lib/skynet/skynet-sandbox", "/snap/skynet/*/usr/lib/skynet/skynet-sandbox"),
            ("/usr/lib/skynet/skynet-sandbox", "/usr/lib/skynet/skynet-sandbox"),
            ("/home/ann/snap/bin/skynet-sandbox", "/home/ann/snap/bin/skynet-sandbox"),
        ] {
            assert_eq!(attachment(Path::new(program)), expected);
        }
    }
}
