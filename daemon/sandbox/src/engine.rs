//! The way to the container engine, for whoever this process is to the kernel: what it may not open, nobody opens for it.

use nix::unistd::{Gid, Group, Uid, User};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with},
};
use skynet_core::{Error, Result};
use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

/// Where the engine of a host listens: Docker, and Podman as root.
pub const HOST_SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];

/// Where the engines of one user listen, below his `/run/user/UID`.
pub const OWN_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// Connects to the first of these sockets that somebody listens at. May wait for the engine.
///
/// # Errors
/// `Denied` when one is there that this user may not open, else `Unavailable`.
pub fn connect(sockets: &[PathBuf]) -> Result<OwnedFd> {
    let mut refused = None;
    for path in sockets {
        let err = match connect_at(path) {
            Ok(socket) => return Ok(socket),
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(Errno::ACCESS | Errno::PERM) => denied(path),
            Err(Errno::CONNREFUSED) => Error::unavailable(format!(
                "nobody listens at `{}`; the container engine is down: `systemctl start docker` starts it",
                path.display()
            )),
            Err(err) => Error::unavailable(format!("`{}` cannot be connected to: {err}", path.display())),
        };
        refused.get_or_insert(err);
    }
    Err(refused.unwrap_or_else(|| {
        let sockets: Vec<_> = sockets.iter().map(|path| format!("`{}`", path.display())).collect();
        Error::unavailable(format!(
            "no container engine listens at {}; install Docker or Podman and start it, or have an administrator name its socket in the configuration",
            sockets.join(" or ")
        ))
    }))
}

fn connect_at(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect_to(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The group whose members may connect to the first of these that is there.
#[must_use]
pub fn group_of(sockets: &[PathBuf]) -> Option<u32> {
    let mut found = sockets.iter().filter_map(|path| fs::metadata(path).ok());
    // Writing is what connecting takes (unix(7), "Pathname socket ownership and permissions").
    found
        .find(|found| found.file_type().is_socket())
        .filter(|found| found.mode() & 0o020 != 0)
        .map(|found| found.gid())
}

/// Says who may.
fn denied(path: &Path) -> Error {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let socket = path.display();
    let found = fs::metadata(path).ok().filter(|found| found.file_type().is_socket());
    // Writing is what connecting takes (unix(7), "Pathname socket ownership and permissions").
    let group = found.filter(|found| found.mode() & 0o020 != 0).map(|found| found.gid());
    Error::denied(match group {
        Some(gid) => {
            let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
            let group = group.map_or_else(|| gid.to_string(), |group| group.name);
            format!(
                "the container engine at `{socket}` serves members of the group `{group}`, and `{name}` is not one; an administrator can make him one with `usermod --append --groups {group} {name}`, which gives him root's power, and it counts once he has logged in again; or lend him the engine for some calls, by a rule with `lend = \"engine\"`"
            )
        }
        None => format!(
            "the container engine at `{socket}` serves its owner alone, and not `{name}`; an administrator can give the socket to a group that `{name}` is in"
        ),
    })
}
