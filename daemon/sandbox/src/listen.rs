//! From the options of a broker of the whole host to a serving one.

use crate::{
    SystemOptions, broker,
    groups::Groups,
    homes::Homes,
    slot::Maker,
    syscall,
    system::{Ground, Settings, System},
    tokens::{book::Book, desk::Desk},
};
use nix::unistd::{Gid, Group, User};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_peercred},
    },
};
use skynet_proto::socket::TOKENS_SOCKET_NAME;
use skynet_sandbox::protocol::Identity;
use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// Groups whose members can become root, on the systems that are known: by the engine's socket, the disks themselves, or
/// by design.
const ROOT_LIKE: [&str; 13] = [
    "root",
    "sudo",
    "wheel",
    "admin",
    "docker",
    "podman",
    "lxd",
    "incus",
    "incus-admin",
    "libvirt",
    "disk",
    "kmem",
    "shadow",
];

/// Clients that wait while there is no daemon; more are refused by the kernel and try again.
const BACKLOG: i32 = 4096;

/// The file of the tokens, beside the homes.
const BOOK: &str = "tokens";

/// How often it is looked, where there is no daemon, who has waited too long at the desk for tokens.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A daemon that takes nothing for that long is let go: while one is waited for, no token can be revoked.
const DAEMON_TAKES_WITHIN: Duration = Duration::from_secs(30);

/// Serves one daemon after the other, for ever.
pub(crate) fn serve(options: &SystemOptions) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::other(
            "a broker of the whole host must be root's; `skynetd` starts one for its own user",
        ));
    }
    let daemon = user(&options.daemon_user)?.uid;
    let settings = Settings {
        root_runs_as: options.root_runs_as.as_deref().map(identity).transpose()?,
        without_groups: without_groups(&options.without_group)?,
        engine_sockets: options.engine_socket.clone(),
        engine_users: options
            .engine_user
            .iter()
            .map(|name| Ok(user(name)?.uid.as_raw()))
            .collect::<io::Result<_>>()?,
        lends_agents: options.lend_ssh_agents,
    };
    DirBuilder::new().recursive(true).mode(0o711).create(&options.homes)?;
    check_roots(&options.homes)?;
    let book = options.homes.with_file_name(BOOK);
    // Whoever could rename there could put another in its place.
    check_roots(book.parent().ok_or_else(|| io::Error::other("the homes need a directory"))?)?;
    let book = Book::open(book)?;
    let homes = Homes::below(&options.homes)?;
    let mut maker = Maker::new(Some(Groups::claim().map_err(|err| said("control groups", err))?))?;
    let clients = match syscall::inherited_listener() {
        Some(listener) => listener,
        None => client_listener(options)?,
    };
    rustix::io::ioctl_fionbio(&clients, true)?;
    let daemons = listener(&options.daemon_socket, SocketType::SEQPACKET)?;
    rustix::fs::chmod(&options.daemon_socket, Mode::RUSR | Mode::WUSR)?;
    std::os::unix::fs::chown(&options.daemon_socket, Some(daemon.as_raw()), None)?;
    let desk = Desk::new(token_listener(&options.socket)?);
    let tokens = options.socket.with_file_name(TOKENS_SOCKET_NAME);
    let kept = options.homes.with_file_name(BOOK);
    let own = [&options.socket, &tokens, &options.daemon_socket, &kept, &options.homes];
    let ground = Ground::of(own.map(PathBuf::as_path))?;
    broker::settle_in()?;
    let mut system = System::new(settings, ground, clients, book, desk)?;
    // What starts after the broker finds its sockets (sd_notify(3)).
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    writeln!(io::stderr(), "ready at `{}`", options.socket.display())?;
    loop {
        let socket = next_daemon(&daemons, &mut system)?;
        let peer = socket_peercred(&socket)?;
        if peer.uid.as_raw() != daemon.as_raw() {
            continue;
        }
        set_socket_timeout(&socket, Timeout::Send, Some(DAEMON_TAKES_WITHIN))?;
        writeln!(io::stderr(), "daemon {} is here", peer.pid.as_raw_pid())?;
        // A daemon that breaks off has ended, like one that hangs up; there will be another.
        if let Err(err) = broker::serve(socket, &mut maker, &homes, Some(&mut system), options.warm) {
            writeln!(io::stderr(), "the connection to the daemon broke: {err}")?;
        }
        system.forget();
    }
}

/// Waits for the next daemon; tokens are made and ended meanwhile.
fn next_daemon(daemons: &OwnedFd, system: &mut System) -> io::Result<OwnedFd> {
    loop {
        let mut waiting: Vec<PollFd<'_>> = std::iter::once(daemons.as_fd())
            .chain(system.desk_sockets())
            .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
            .collect();
        match poll(&mut waiting, system.is_asked().then_some(&LOOK_EVERY)) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        let is_ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        drop(waiting);
        if let Some((is_there, is_asked)) = is_ready.split_first() {
            system.attend_desk(is_asked);
            if *is_there {
                return Ok(accept_with(daemons, SocketFlags::CLOEXEC)?);
            }
        }
    }
}

fn said(what: &str, err: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {err}"))
}

fn user(name: &str) -> io::Result<User> {
    User::from_name(name)?.ok_or_else(|| io::Error::other(format!("there is no user `{name}`")))
}

fn identity(name: &str) -> io::Result<Identity> {
    let user = user(name)?;
    if user.uid.is_root() {
        return Err(io::Error::other("root cannot run as root"));
    }
    let c_name = std::ffi::CString::new(name)?;
    let groups = nix::unistd::getgrouplist(&c_name, user.gid)?;
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
}

/// Their numbers. One that an administrator names must be there; the built-in ones are not everywhere.
fn without_groups(named: &[String]) -> io::Result<std::collections::HashSet<u32>> {
    let mut found = std::collections::HashSet::from([0]);
    for name in named {
        let group = Group::from_name(name)?;
        let group = group.ok_or_else(|| io::Error::other(format!("there is no group `{name}`")))?;
        found.insert(group.gid.as_raw());
    }
    if named.is_empty() {
        for name in ROOT_LIKE {
            found.extend(Group::from_name(name)?.map(|group| group.gid.as_raw()));
        }
    }
    Ok(found)
}

/// A directory that only root could have prepared.
fn check_roots(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        let path = path.display();
        Err(io::Error::other(format!("`{path}` must be a directory of root's that nobody else can write")))
    }
}

fn client_listener(options: &SystemOptions) -> io::Result<OwnedFd> {
    let listener = listener(&options.socket, SocketType::STREAM)?;
    let all = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    let mode = match &options.group {
        Some(name) => {
            let group = Group::from_name(name)?;
            let group = group.ok_or_else(|| io::Error::other(format!("there is no group `{name}`")))?;
            std::os::unix::fs::chown(&options.socket, Some(0), Some(group.gid.as_raw()))?;
            all
        }
        None => all | Mode::ROTH | Mode::WOTH,
    };
    rustix::fs::chmod(&options.socket, mode)?;
    Ok(listener)
}

/// Where tokens are asked for: whoever may connect as a client may do so here.
fn token_listener(clients: &Path) -> io::Result<OwnedFd> {
    let path = clients.with_file_name(TOKENS_SOCKET_NAME);
    let listener = listener(&path, SocketType::SEQPACKET)?;
    // Where a unit has the socket of clients elsewhere, it is not known who they may be.
    let (group, mode) = fs::metadata(clients).map_or((0, 0o600), |found| (found.gid(), found.mode() & 0o666));
    std::os::unix::fs::chown(&path, Some(0), Some(group))?;
    rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    Ok(listener)
}

/// Listens at `path`, in a directory of root's. What is there is of a broker before this one: systemd, or whoever starts
/// it, sees to it that there is one at a time.
fn listener(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a socket needs a directory"))?;
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    check_roots(directory)?;
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(said(&path.display().to_string(), err)),
    }
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
