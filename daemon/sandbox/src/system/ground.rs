//! Which directories are opened for nobody as a workspace, whatever the daemon says: those of the system, and those in which the broker
//! listens and keeps things. Whoever is shown a directory in a slot can connect to each socket in it.

use crate::slot::Refusal;
use rustix::fs::{Mode, OFlags};
use skynet_core::ErrorKind;
use skynet_sandbox::places::NEVER_A_WORKSPACE;
use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

/// What is the broker's own.
pub(crate) struct Ground(Vec<PathBuf>);

impl Ground {
    /// Of sockets, files and directories whose own directories are there already.
    ///
    /// # Errors
    /// When one of these cannot be found.
    pub(crate) fn of<'a>(own: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let real = |path: &Path| -> io::Result<PathBuf> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(path.parent().unwrap_or(Path::new("/")), flags, Mode::empty())?;
            Ok(place_of(&directory)?.join(path.file_name().unwrap_or(OsStr::new("."))))
        };
        Ok(Self(own.into_iter().map(real).collect::<io::Result<_>>()?))
    }

    /// That what is at `place`, which is a path without links, may be a workspace of somebody.
    ///
    /// # Errors
    /// When it may be nobody's.
    pub(super) fn check(&self, place: &Path) -> Result<(), Refusal> {
        let is_of_system =
            place.parent().is_none() || NEVER_A_WORKSPACE.iter().any(|never| place.starts_with(never));
        // What is above shows it as well.
        let is_own = self.0.iter().any(|own| own.starts_with(place) || place.starts_with(own));
        if is_of_system || is_own {
            let message = format!("`{}` is never a workspace; use a project directory", place.display());
            return Err(Refusal::command(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }
}

/// Where an open directory really is. No path is walked for that (proc_pid_fd(5)).
pub(super) fn place_of(opened: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::unix::fs::symlink};

    #[test]
    fn no_workspace_shows_what_is_the_systems_or_the_brokers() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["run", "lib/homes/1000", "lib/project", "elsewhere"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        symlink(root.join("run"), root.join("link")).unwrap();
        // Where the sockets are is said by way of a link.
        let own = [root.join("link/tokens.sock"), root.join("lib/tokens"), root.join("lib/homes")];
        let ground = Ground::of(own.iter().map(PathBuf::as_path)).unwrap();
        for (name, may) in [
            ("elsewhere", true),
            ("lib/project", true),
            ("run", false),
            ("link", false),
            ("lib", false),
            ("lib/homes", false),
            ("lib/homes/1000", false),
            ("", false),
        ] {
            let opened = OwnedFd::from(File::open(root.join(name)).unwrap());
            let place = place_of(&opened).unwrap();
            assert_eq!(ground.check(&place).is_ok(), may, "{name}");
        }
        for never in ["/", "/run", "/run/user/1000/x", "/proc/1/cwd", "/etc", "/var/lib/skynet-sandbox/homes"]
        {
            assert!(ground.check(Path::new(never)).is_err(), "{never}");
        }
        assert!(ground.check(Path::new("/running")).is_ok());
        assert!(Ground::of([root.join("none/socket").as_path()]).is_err());
    }
}
