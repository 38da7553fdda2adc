//! What a command sees of the filesystem.
//!
//! The base is a tmpfs with two directories: `new`, the root to be, and `old`, the host's. What does not depend on the
//! command is mounted in `new` while the slot waits. When the command is known its workspace and home follow, `new`
//! becomes the root, and `old` is let go.
//!
//! What belongs to the system is opened as root where the broker is root's. What belongs to the user is opened as that
//! user: by then the slot has no right left but that to mount.

use super::{Layer as _, Refusal, command, overlay::Overlay, worktree};
use crate::{identity, syscall};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
        move_mount, open_tree, unmount,
    },
};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    places::{SYSTEM, TOOLCHAINS},
    protocol::{Kind, Run},
};
use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{PermissionsExt as _, symlink},
        },
    },
    path::{Component, Path, PathBuf},
};

/// Where the base is mounted; it hides what is there only within the slot.
const BASE: &str = "/tmp";
const OLD: &str = "/old";
const NEW: &str = "/new";

/// What programs need to know about the host: nothing here is private. What package managers are told may be, so it is not here.
const ETC: [&str; 28] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "group",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "profile",
    "protocols",
    "services",
    "shells",
    "ssl",
    "terminfo",
    "timezone",
];

/// Whole families of them.
const ETC_STARTS: [&str; 3] = ["java", "perl", "python3"];

/// What Git reads of a home directory: the names of the user, as data.
const GIT_SETTINGS: [&str; 2] = [".gitconfig", ".config/git"];

/// What OpenSSH knows of other hosts, of a home directory and of the system.
const KNOWN_HOSTS: &str = ".ssh/known_hosts";
const KNOWN_HOSTS_OF_ALL: &str = "/etc/ssh/ssh_known_hosts";

/// Without them Debian's Maven does not start; `settings.xml` beside them has the passwords of registries.
const MAVEN_START: [&str; 2] = ["/etc/maven/m2.conf", "/etc/maven/logging"];

/// Where hands find their own program.
pub(crate) const PROGRAMS: &str = "/skynet";

/// The program of hands.
pub(crate) const HANDS: &str = "skynet-hands";

/// The program that runs models.
pub(crate) const MODELS: &str = "skynet-models";

/// Of the scratch and the home of hands.
const HANDS_SCRATCH_BYTES: u64 = 256 << 20;

/// Devices that hold and reveal nothing.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// In place of a workspace.
const APART: &str = "/tmp/code";

/// Where the scratch is before the command sees it.
const HIDDEN: &str = "/scratch";

/// Where what lies over the workspace is kept: part of the scratch, so that it holds no more than that.
pub(super) const CHANGES: &str = "/scratch/changes";

/// Where everything may write, besides workspace and home.
pub(crate) const SCRATCH: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// A root that lacks only what depends on the command.
pub(crate) struct View {
    umask: Mode,
}

/// Where a command finds what is its own.
pub(crate) struct Place {
    pub(crate) workspace: PathBuf,
    pub(crate) home: PathBuf,
    /// Relative to the workspace.
    pub(crate) directory: PathBuf,
    /// The rest of the repository, where the workspace is one of its linked worktrees.
    pub(crate) linked: Option<PathBuf>,
    /// The user's.
    pub(crate) umask: Mode,
    /// What lies over the workspace, where that is only looked at.
    pub(crate) overlay: Option<Overlay>,
}

impl Place {
    /// Where the command starts.
    pub(crate) fn go_to_directory(&self) -> Result<(), Refusal> {
        rustix::process::chdir(self.workspace.join(&self.directory)).map_err(|err| {
            Refusal::command(
                ErrorKind::NotFound,
                format!("the directory `{}` cannot be entered: {err}", self.directory.display()),
            )
        })
    }
}

impl View {
    pub(crate) fn build() -> Result<Self, Refusal> {
        let build = || -> io::Result<()> {
            // What the host mounts and unmounts while the slot waits is mounted and unmounted here; never the other way.
            mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
            tmpfs(Path::new(BASE), "mode=0755,size=1m")?;
            fs::create_dir(Path::new(BASE).join("old"))?;
            fs::create_dir(Path::new(BASE).join("new"))?;
            rustix::process::pivot_root(BASE, Path::new(BASE).join("old"))?;
            rustix::process::chdir("/")?;
            tmpfs(Path::new(NEW), "mode=0755,size=4m")?;
            system()?;
            etc()?;
            devices()
        };
        // For the modes of what is made here.
        let umask = rustix::process::umask(Mode::WGRP | Mode::WOTH);
        build().layer("mount namespace")?;
        process().layer("process view")?;
        Ok(Self { umask })
    }

    /// Adds what is the command's own, and makes it all there is. `workspace` and `home` are what was opened for it: for
    /// a user of the broker's choice they can be mounted, otherwise they are found again by their paths. `programs` is
    /// where hands are on the host.
    pub(crate) fn enter(
        self,
        run: &Run,
        workspace: Option<&OwnedFd>,
        home: Option<&OwnedFd>,
        programs: &Path,
    ) -> Result<Place, Refusal> {
        let Some(workspace) = workspace else { return self.enter_alone(run, programs) };
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let mut place = Place {
            workspace: if run.is_apart { PathBuf::from(APART) } else { path(&run.workspace) },
            home: path(&run.home),
            directory: path(&run.directory),
            linked: None,
            umask: self.umask,
            overlay: None,
        };
        check_plain(&place.workspace).and_then(|()| check_plain(&place.home))?;
        scratch(run.limits.scratch_bytes).layer("scratch")?;
        if !place.workspace.starts_with(&place.home) && !run.is_apart {
            // In the home he makes it himself; elsewhere he may not.
            directory(&place.workspace).layer("workspace")?;
        }
        match (run.kind(), home) {
            (Kind::Command, Some(home)) => attach(home, &place.home),
            (Kind::Command, None) => show_home(&path(&run.private_home), &place.home),
            (Kind::Hands | Kind::Host | Kind::Remote | Kind::Models, _) => {
                home_of_hands(run, &place.home).and_then(|()| show_program(programs, HANDS))
            }
        }
        .layer("home")?;
        if let Some(identity) = &run.identity {
            identity::assume(identity, identity::RESERVED)
                .and_then(|()| identity::use_rights(identity::MOUNTS, false))
                .layer("identity")?;
        }
        let shown: &[&str] = if run.kind() == Kind::Command { &TOOLCHAINS } else { &GIT_SETTINGS };
        let known = (run.kind() == Kind::Remote).then_some(KNOWN_HOSTS);
        let mut shown = shown.iter().copied().chain(known);
        shown.try_for_each(|name| show_of_home(&place.home.join(name))).layer("home")?;
        if run.is_apart {
            // It is the user's, because it is made by him.
            directory(&place.workspace).layer("workspace")?;
        } else if run.identity.is_some() {
            attach(workspace, &place.workspace).layer("workspace")?;
        } else {
            mount_workspace(&place.workspace, workspace.as_fd())?;
        }
        if run.is_preview {
            let workspace = directory(&place.workspace).layer("workspace")?;
            let is_users = run.identity.is_none();
            let overlay = command::with_rights(run, || Overlay::mount(&workspace, is_users))?;
            place.overlay = Some(overlay.layer("overlay")?);
        }
        if !run.is_apart {
            place.linked = worktree::repository_of(Path::new(OLD), &place.workspace);
        }
        if let Some(linked) = &place.linked {
            let shown = if run.is_preview { show_read_only(linked) } else { show_writable(linked) };
            shown.layer("repository")?;
        }
        leave_old().layer("mount namespace")?;
        Ok(place)
    }

    /// With nothing of a user's, and nowhere to write.
    fn enter_alone(self, run: &Run, programs: &Path) -> Result<Place, Refusal> {
        show_program(programs, MODELS).layer("program")?;
        if let Some(identity) = &run.identity {
            identity::assume(identity, identity::RESERVED)
                .and_then(|()| identity::use_rights(identity::MOUNTS, false))
                .layer("identity")?;
        }
        leave_old().layer("mount namespace")?;
        Ok(Place {
            workspace: "/".into(),
            home: "/".into(),
            directory: ".".into(),
            linked: None,
            umask: self.umask,
            overlay: None,
        })
    }
}

/// A path that says where something is without a detour.
fn check_plain(path: &Path) -> Result<(), Refusal> {
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain {
        Ok(())
    } else {
        Err(Refusal::new("workspace", format!("`{}` is not absolute and plain", path.display())))
    }
}

/// The place of `path` in the root to be.
pub(super) fn inside(path: &Path) -> PathBuf {
    Path::new(NEW).join(path.strip_prefix("/").unwrap_or(path))
}

/// The place of `path` in the host's root.
fn outside(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, &*options)?)
}

/// A copy of the mount that an open file or directory is on, from there down, which is mounted nowhere yet.
pub(crate) fn detached(source: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(source, "", flags)?;
    // While it is detached: attached first, it would be a peer of the host's mount.
    syscall::set_mount_attributes(tree.as_fd(), attributes | libc::MOUNT_ATTR_NOSUID)?;
    Ok(tree)
}

/// Shows `source`, an open file or directory with all that is mounted below it, at `target`, which is open too.
fn show(source: BorrowedFd<'_>, target: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(detached(source, attributes)?, "", target, "", flags)?)
}

/// Mounts a [`detached`] copy at `path` of the root to be.
fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", directory(path)?, "", flags)?)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory `path` of the root to be, and makes what is missing of it. Follows no link, and removes what is
/// in the way: a command of before may have put it into its home, when the host's root is still here to be followed to.
fn directory(path: &Path) -> io::Result<OwnedFd> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |at: &OwnedFd, name: &OsStr| rustix::fs::openat(at, name, flags, Mode::empty());
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    let mut at = rustix::fs::open(NEW, flags, Mode::empty())?;
    for name in names {
        let make = |at: &OwnedFd| match rustix::fs::mkdirat(at, name, mode) {
            // Another slot of the same home was faster.
            Ok(()) | Err(Errno::EXIST) => open(at, name),
            Err(err) => Err(err),
        };
        at = match open(&at, name) {
            Err(Errno::NOENT) => make(&at)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlinkat(&at, name, AtFlags::empty())?;
                make(&at)?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// The same for a file, which is new.
fn file(path: &Path) -> io::Result<OwnedFd> {
    let (parent, name) = split(path);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory(parent)?, name, flags, Mode::RUSR | Mode::RGRP | Mode::ROTH)?)
}

/// Shows what the host has at `path` read-only: links as links, and nothing where there is nothing.
fn show_read_only(path: &Path) -> io::Result<()> {
    let source = outside(path);
    let kind = match fs::symlink_metadata(&source) {
        Ok(metadata) => metadata.file_type(),
        Err(_) => return Ok(()),
    };
    if kind.is_symlink() {
        let (parent, name) = split(path);
        return Ok(rustix::fs::symlinkat(fs::read_link(&source)?, directory(parent)?, name)?);
    }
    let target = if kind.is_dir() { directory(path)? } else { file(path)? };
    show(open(&source)?.as_fd(), target.as_fd(), libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV)
}

fn system() -> io::Result<()> {
    SYSTEM.iter().try_for_each(|path| show_read_only(Path::new(path)))
}

fn etc() -> io::Result<()> {
    fs::create_dir(inside(Path::new("/etc")))?;
    for entry in fs::read_dir(outside(Path::new("/etc")))? {
        let name = entry?.file_name();
        let is_shown = name.to_str().is_some_and(|name| {
            ETC.contains(&name) || ETC_STARTS.iter().any(|start| name.starts_with(start))
        });
        if is_shown {
            show_read_only(&Path::new("/etc").join(name))?;
        }
    }
    show_read_only(Path::new(KNOWN_HOSTS_OF_ALL))?;
    MAVEN_START.iter().try_for_each(|path| show_read_only(Path::new(path)))?;
    fs::write(inside(Path::new("/etc/hosts")), "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n")?;
    fs::write(inside(Path::new("/etc/hostname")), "sandbox\n")
}

fn devices() -> io::Result<()> {
    let place = inside(Path::new("/dev"));
    fs::create_dir(&place)?;
    for name in DEVICES {
        let target = file(&Path::new("/dev").join(name))?;
        show(open(&Path::new(OLD).join("dev").join(name))?.as_fd(), target.as_fd(), libc::MOUNT_ATTR_NOEXEC)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, place.join(name))?;
    }
    let terminals = place.join("pts");
    fs::create_dir(&terminals)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    Ok(mount("devpts", &terminals, "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620")?)
}

/// The processes of the slot, and no others. Read-only: what can be set there is the kernel's.
fn process() -> io::Result<()> {
    let directory = inside(Path::new("/proc"));
    fs::create_dir(&directory)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(mount("proc", &directory, "proc", flags, None)?)
}

/// Places of one tmpfs, so that together they hold no more than `bytes`.
fn scratch(bytes: u64) -> io::Result<()> {
    let hidden = Path::new(HIDDEN);
    fs::create_dir(hidden)?;
    tmpfs(hidden, &format!("mode=0755,size={bytes},nr_inodes=262144"))?;
    let everybodys = fs::Permissions::from_mode(0o1777);
    fs::create_dir(CHANGES)?;
    fs::set_permissions(CHANGES, everybodys.clone())?;
    for (place, number) in SCRATCH.iter().map(Path::new).zip(0_u8..) {
        let own = hidden.join(number.to_string());
        fs::create_dir(&own)?;
        fs::set_permissions(&own, everybodys.clone())?;
        show(open(&own)?.as_fd(), directory(place)?.as_fd(), libc::MOUNT_ATTR_NODEV)?;
    }
    Ok(())
}

/// A home that is the command's own.
fn show_home(private: &Path, home: &Path) -> io::Result<()> {
    show(open(&outside(private))?.as_fd(), directory(home)?.as_fd(), libc::MOUNT_ATTR_NODEV)
}

/// A home with nothing in it.
fn home_of_hands(run: &Run, home: &Path) -> io::Result<()> {
    let (uid, gid) = match &run.identity {
        Some(identity) => (identity.uid, identity.gid),
        None => (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
    };
    directory(home)?;
    tmpfs(&inside(home), &format!("mode=0700,size={HANDS_SCRATCH_BYTES},uid={uid},gid={gid}"))
}

/// What is executed of ours, at a place that does not depend on the installation.
fn show_program(programs: &Path, name: &str) -> io::Result<()> {
    let target = file(&Path::new(PROGRAMS).join(name))?;
    show(
        open(&outside(&programs.join(name)))?.as_fd(),
        target.as_fd(),
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV,
    )
}

/// What the user has at `path` in his home, read-only, if it is there and no link: that could lead to any place, and
/// would not be found here.
fn show_of_home(path: &Path) -> io::Result<()> {
    if outside(path).symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
        show_read_only(path)
    } else {
        Ok(())
    }
}

/// What the user has at `path`, to be changed.
fn show_writable(path: &Path) -> io::Result<()> {
    show(open(&outside(path))?.as_fd(), directory(path)?.as_fd(), libc::MOUNT_ATTR_NODEV)
}

/// What the descriptor says, found by its path: a descriptor from outside cannot be mounted in a user namespace.
fn mount_workspace(path: &Path, expected: BorrowedFd<'_>) -> Result<(), Refusal> {
    let found = open(&outside(path)).layer("workspace")?;
    let (is, should_be) =
        (rustix::fs::fstat(&found).layer("workspace")?, rustix::fs::fstat(expected).layer("workspace")?);
    if (is.st_dev, is.st_ino) != (should_be.st_dev, should_be.st_ino) {
        return Err(Refusal::command(
            ErrorKind::Conflict,
            format!("another directory has taken the place of the workspace `{}`", path.display()),
        ));
    }
    let target = directory(path).layer("workspace")?;
    show(found.as_fd(), target.as_fd(), libc::MOUNT_ATTR_NODEV).layer("workspace")
}

/// Makes the new root the root, and lets go of everything else.
fn leave_old() -> io::Result<()> {
    rustix::process::chdir(NEW)?;
    rustix::process::pivot_root(".", ".")?;
    // The base, with the host's root in it, is stacked on the new one now (pivot_root(2), "pivot_root(".", ".")").
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// The directory that holds `path`, and its name there; the workspace itself is `.` in itself.
pub(super) fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(path), path.file_name().unwrap_or_else(|| OsStr::new(".")))
}

/// Binds what is open onto itself: it can no longer be renamed or removed, and with `attributes` more.
pub(super) fn pin(open: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    show(open, open, attributes | libc::MOUNT_ATTR_NODEV)
}
