//! Where the daemon's socket is. Clients start the shim with `HOME`, `PATH` and `USER` alone, so the path is
//! computed from the uid and the home directory and never from `XDG_*`.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

/// The socket of a daemon that serves the whole host.
pub const SYSTEM_SOCKET: &str = "/run/skynet/skynet.sock";

/// The name, beside the socket of a whole host, of the one at which its broker is asked about tokens.
pub const TOKENS_SOCKET_NAME: &str = "tokens.sock";

/// The name of the socket inside its directory.
pub const SOCKET_NAME: &str = "skynet.sock";

/// The state of a user's daemon, below the home.
const STATE: &str = ".local/state/skynet";

/// The directory of the user daemon's socket: `/run/user/<uid>/skynet` where the login manager made
/// `/run/user/<uid>`, else `~/.local/state/skynet`.
#[must_use]
pub fn user_directory(uid: u32, home: &Path) -> PathBuf {
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    if runtime.is_dir() { runtime.join("skynet") } else { home.join(STATE) }
}

/// The socket to dial: the system daemon's where it exists, else the user daemon's. One that was started before its user had
/// logged in, or outlives that, listens in the home.
#[must_use]
pub fn default_path(uid: u32, home: &Path) -> PathBuf {
    let system = PathBuf::from(SYSTEM_SOCKET);
    if system.exists() {
        return system;
    }
    let own = user_directory(uid, home).join(SOCKET_NAME);
    let lasting = home.join(STATE).join(SOCKET_NAME);
    let listens = |path: &Path| UnixStream::connect(path).is_ok();
    if own != lasting && !listens(&own) && listens(&lasting) { lasting } else { own }
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
