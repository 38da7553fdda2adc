//! Where the daemon's socket is. Clients start the shim with `HOME`, `PATH` and `USER` alone, so the path is
//! computed from the uid and the home directory and never from `XDG_*`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The socket of a daemon that serves the whole host.
pub const SYSTEM_SOCKET: &str = "/run/skynet/skynet.sock";

/// The name of the socket inside its directory.
pub const SOCKET_NAME: &str = "skynet.sock";

/// The directory of the user daemon's socket: `/run/user/<uid>/skynet` where the login manager made
/// `/run/user/<uid>`, else `~/.local/state/skynet`.
#[must_use]
pub fn user_directory(uid: u32, home: &Path) -> PathBuf {
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    if runtime.is_dir() { runtime.join("skynet") } else { home.join(".local/state/skynet") }
}

/// The socket to dial: the system daemon's where it exists, else the user daemon's.
#[must_use]
pub fn default_path(uid: u32, home: &Path) -> PathBuf {
    let system = PathBuf::from(SYSTEM_SOCKET);
    if system.exists() { system } else { user_directory(uid, home).join(SOCKET_NAME) }
}

/// Refuses a user socket directory that somebody else could have placed or can enter.
///
/// # Errors
/// `PermissionDenied` when `directory` is not owned by `uid` or not of mode 0700; otherwise what `stat` said.
pub fn check_private(directory: &Path, uid: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    let mode = found.mode() & 0o777;
    if !found.is_dir() || found.uid() != uid || mode != 0o700 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "`{}` must be a directory of mode 0700 owned by uid {uid}; it has mode {mode:04o} and uid {}",
                directory.display(),
                found.uid()
            ),
        ));
    }
    Ok(())
}
