//! The system calls for which no library offers a safe function. All of the `unsafe` of Skynet is here.
#![allow(unsafe_code)]

use rustix::process::Pid;
use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
};

/// A fork whose child is in new namespaces, `CLONE_NEW*` of `flags`, and in the control group (version 2) that `group`
/// is the directory of (clone3(2)). `None` in the child.
///
/// The caller must have one thread only: the child gets a copy of every lock as it is.
pub(crate) fn clone_process(flags: libc::c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    debug_assert_eq!(flags & !NAMESPACES, 0, "only namespaces");
    let pid = match group {
        Some(group) => clone_into(flags, group)?,
        None => {
            let flags = libc::c_long::from(flags | libc::SIGCHLD);
            // SAFETY: without CLONE_VM, CLONE_SETTLS and the like, and with no stack of its own, the child is a
            // copy-on-write copy of this process that goes on at this line, as after fork(2). No pointer is passed.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
        }
    };
    match libc::pid_t::try_from(pid) {
        Ok(-1) => Err(io::Error::last_os_error()),
        Ok(pid) => Ok(Pid::from_raw(pid)),
        Err(err) => Err(io::Error::other(err)),
    }
}

fn clone_into(flags: libc::c_int, group: BorrowedFd<'_>) -> io::Result<libc::c_long> {
    let unsigned = |number: libc::c_int| u64::try_from(number).map_err(io::Error::other);
    // SAFETY: all zeros is a valid `clone_args`: it holds numbers, and addresses that may be null.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = unsigned(flags)? | INTO_CGROUP;
    arguments.exit_signal = unsigned(libc::SIGCHLD)?;
    arguments.cgroup = unsigned(group.as_raw_fd())?;
    // SAFETY: the structure outlives the call and its size is given as it is. As above, the child is a copy of this
    // process that goes on at this line: there is no CLONE_VM, stack or pointer in it.
    Ok(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) })
}

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// The namespaces of clone(2) that a slot may have of its own.
pub(crate) const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// `SO_PEERGROUPS` of asm-generic/socket.h.
const PEER_GROUPS: libc::c_int = 59;

/// More groups than this the kernel gives nobody (setgroups(2), `NGROUPS_MAX`).
const MOST_GROUPS: usize = 65536;

/// The supplementary groups of the process at the other end when it connected (unix(7)).
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(&*groups)).map_err(io::Error::other)?;
        // SAFETY: the buffer is writable for `length` bytes, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                PEER_GROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let err = io::Error::last_os_error();
        // It says how long the list is.
        if err.raw_os_error() != Some(libc::ERANGE) || count > MOST_GROUPS {
            return Err(err);
        }
        groups.resize(count, 0);
    }
}

/// Sets attributes (`MOUNT_ATTR_*`) on a mount and all below it, and makes them private (mount_setattr(2)).
pub(crate) fn set_mount_attributes(tree: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a C string of static lifetime, the attributes are a valid `mount_attr` that outlives the call,
    // and their size is given as it is.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor but stdio and `kept`, which gets number 3 (close_range(2)).
///
/// For a process that was just copied and will never return to what it was copied from: that owns what is closed.
pub(crate) fn keep_only(kept: OwnedFd) -> io::Result<OwnedFd> {
    const FIRST: RawFd = 3;
    let kept = kept.into_raw_fd();
    // SAFETY: whatever had this number, and all others, belongs to code that does not run any more in this process.
    // From here on `FIRST` is open, and the one owner of it is what is returned.
    unsafe {
        if kept != FIRST && libc::dup3(kept, FIRST, libc::O_CLOEXEC) != FIRST {
            return Err(io::Error::last_os_error());
        }
        if libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(FIRST))
    }
}

/// Marks all descriptors from `lowest` on to be closed by execve (close_range(2)).
pub(crate) fn close_on_exec_from(lowest: RawFd) -> io::Result<()> {
    // SAFETY: this changes a flag of descriptors; none is closed under its owner.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, lowest, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes descriptor `to` a copy of `from` that execve leaves open (dup2(2)).
pub(crate) fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    debug_assert!((0..=2).contains(&to), "only stdio, which has no owner here");
    // SAFETY: `to` is one of the three descriptors of stdio, which nothing in this process owns as an `OwnedFd`.
    let result = unsafe { libc::dup2(from.as_raw_fd(), to) };
    if result == to { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The socket that systemd passes, if it does (sd_listen_fds(3)): one, with the first number after stdio. To be asked
/// once, before anything else is opened.
pub(crate) fn inherited_listener() -> Option<OwnedFd> {
    const FIRST: RawFd = 3;
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS") != Some(1) {
        return None;
    }
    // SAFETY: the process was started with this descriptor for it to take, and nothing else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(FIRST) })
}

/// Brings the loopback interface of this network namespace up (netdevice(7)).
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all zeros is a valid `ifreq`: it holds numbers, and pointers that may be null.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads name and flags of an `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes back what a Rust program and the slot changed about signals, which execve(2) would leave as it is.
pub(crate) fn reset_signals() -> io::Result<()> {
    // SAFETY: the default action runs no code of this process.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)
}

/// Ends this process without what its program does at its end: that is the program's it was copied from (_exit(2)).
pub(crate) fn exit(status: libc::c_int) -> ! {
    // SAFETY: it does not return, and runs no code of this process.
    unsafe { libc::_exit(status) }
}
