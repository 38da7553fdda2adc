//! From a copy of the slot to the command: rights are laid down one after the other, and then it is executed.

use super::{Layer as _, Refusal, landlock_rules::Rules, view::Place};
use crate::{groups::Gate, identity, seccomp::Filter, syscall};
use nix::errno::Errno;
use prost::Message as _;
use rustix::{
    fs::Mode,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use skynet_core::ErrorKind;
use skynet_sandbox::protocol::{Kind, Refused, Run};
use std::{
    convert::Infallible,
    ffi::CString,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

/// Open files of one process: what the kernel keeps for them is not counted as its memory. Less than daemon and broker
/// may have, because descriptors on their way through sockets are counted per user, against the limit of whoever sends
/// next (unix(7)).
const MOST_OPEN: u64 = 4096;

/// What a shell says where nothing could be executed.
const NOT_EXECUTED: i32 = 127;

/// Starts the command of a prepared slot. Returns once it is executed.
pub(super) fn start(
    run: &Run,
    place: &Place,
    gate: Option<&Gate>,
    stdio: &[OwnedFd; 3],
    filter: &Filter,
) -> Result<Pid, Refusal> {
    let has_identity = run.identity.is_some();
    // For the last time, on both sides.
    let lose_rights = || {
        if has_identity { identity::use_rights(identity::MOUNTS, true).layer("capabilities") } else { Ok(()) }
    };
    let started = with_rights(run, || {
        start_in(gate.and_then(Gate::birthplace), run.id, || {
            lose_rights()?;
            gate.map_or(Ok(()), Gate::enter).layer("control group")?;
            confine(run, stdio, place.umask, &Rules::of_slot(run.kind(), place), filter)
        })
    })?;
    lose_rights()?;
    started
}

/// Does something with the rights that a slot of another user than the broker's has in reserve.
pub(super) fn with_rights<T>(run: &Run, what: impl FnOnce() -> T) -> Result<T, Refusal> {
    if run.identity.is_none() {
        return Ok(what());
    }
    identity::use_rights(identity::RESERVED, false).layer("capabilities")?;
    let done = what();
    identity::use_rights(identity::MOUNTS, false).layer("capabilities")?;
    Ok(done)
}

/// Starts a process, in a control group if one can be born there, that executes something at the end of `begin`.
/// Returns once it did.
pub(super) fn start_in(
    group: Option<BorrowedFd<'_>>,
    id: u64,
    begin: impl FnOnce() -> Result<Infallible, Refusal>,
) -> Result<Pid, Refusal> {
    let (refusals, mut refuse) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .layer("start")?;
    let Some(pid) = syscall::clone_process(0, group).layer("start")? else {
        let Err(refusal) = begin();
        // A slot that is gone reads nothing.
        let _ = refuse.write_all(&refusal.of(id).encode_to_vec());
        syscall::exit(NOT_EXECUTED)
    };
    drop(refuse);
    let mut refusal = Vec::new();
    (&refusals).read_to_end(&mut refusal).layer("start")?;
    if refusal.is_empty() {
        return Ok(pid);
    }
    waitpid(Some(pid), WaitOptions::empty()).layer("start")?;
    Err(Refusal::from(Refused::decode(&*refusal).layer("start")?))
}

/// Lays down all rights but those to what `rules` name, and executes the command.
pub(super) fn confine(
    run: &Run,
    stdio: &[OwnedFd; 3],
    umask: Mode,
    rules: &Rules,
    filter: &Filter,
) -> Result<Infallible, Refusal> {
    let argv = strings(&run.argv)?;
    let environment = strings(&run.environment)?;
    rustix::process::setsid().layer("session")?;
    if run.terminal.is_some() {
        let [terminal, ..] = stdio;
        rustix::process::ioctl_tiocsctty(terminal).layer("terminal")?;
    }
    for (descriptor, number) in stdio.iter().zip(0..) {
        syscall::duplicate_onto(descriptor.as_fd(), number).layer("descriptors")?;
    }
    syscall::close_on_exec_from(3).layer("descriptors")?;
    syscall::reset_signals().layer("signals")?;
    rustix::process::umask(umask);
    limit(Resource::Core, 0).layer("limits")?;
    limit(Resource::Nofile, MOST_OPEN).layer("limits")?;
    if run.limits.disk_bytes > 0 {
        limit(Resource::Fsize, run.limits.disk_bytes).layer("limits")?;
    }
    if run.identity.is_none() && run.kind() != Kind::Host {
        // Counted in the slot's user namespace. Elsewhere it would count all processes of the user; there the control
        // group counts, and what asks about the host is not an agent's.
        limit(Resource::Nproc, run.limits.processes).layer("limits")?;
    }
    if run.identity.is_none() && matches!(run.kind(), Kind::Hands | Kind::Host | Kind::Remote) {
        // No control group holds them, and nothing watches them. Not the address space: files that are mapped to be read
        // are as large as they are, and Git maps all of its packs. What counts is memory of their own, since Linux 4.7
        // also that which is mapped (setrlimit(2), `RLIMIT_DATA`). Each of them has so much, as programs that hands start
        // are not many; one that wants more is ended by its own allocator, and the daemon starts new hands.
        limit(Resource::Data, run.limits.memory_bytes).layer("limits")?;
    }
    drop_capabilities().layer("capabilities")?;
    set_no_new_privs(true).layer("no_new_privs")?;
    rules.restrict().layer("landlock")?;
    filter.install().layer("seccomp")?;
    Err(execute(&argv, &environment))
}

fn strings(bytes: &[Vec<u8>]) -> Result<Vec<CString>, Refusal> {
    let string = |bytes: &Vec<u8>| {
        CString::new(bytes.clone()).map_err(|_| {
            Refusal::command(ErrorKind::InvalidInput, "an argument or variable holds a NUL byte".into())
        })
    };
    bytes.iter().map(string).collect()
}

/// For this process and its children, with no way back (setrlimit(2)).
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// None is left, and none can be had again (capabilities(7)).
fn drop_capabilities() -> rustix::io::Result<()> {
    // Who has none gets none: `no_new_privs` sees to that, and nobody in here can make a user namespace.
    let has_some = capabilities(None)?.effective.contains(CapabilitySet::SETPCAP);
    for capability in CapabilitySet::all().iter().filter(|_| has_some) {
        match remove_capability_from_bounding_set(capability) {
            // This kernel does not have it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(err) => return Err(err),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Like execvpe(3), with the `PATH` the command gets. Returns only what went wrong.
fn execute(argv: &[CString], environment: &[CString]) -> Refusal {
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
        return Refusal::command(ErrorKind::InvalidInput, "there is no program to run".into());
    };
    let name = program.to_string_lossy();
    let candidates: Vec<CString> = if program.as_bytes().contains(&b'/') {
        vec![program.clone()]
    } else {
        let path = environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
        let directories = path.unwrap_or_default().split(|byte| *byte == b':').filter(|one| !one.is_empty());
        directories
            .filter_map(|directory| CString::new([directory, b"/", program.as_bytes()].concat()).ok())
            .collect()
    };
    let mut last = Errno::ENOENT;
    for candidate in candidates {
        let Err(err) = nix::unistd::execve(&candidate, argv, environment);
        if !matches!(err, Errno::ENOENT | Errno::ENOTDIR) {
            last = err;
        }
        if !matches!(err, Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) {
            break;
        }
    }
    let (kind, message) = match last {
        Errno::ENOENT => (
            ErrorKind::NotFound,
            format!("`{name}` was not found; give its path, or a `PATH` that leads to it in `environment`"),
        ),
        Errno::EACCES => (ErrorKind::Denied, format!("`{name}` cannot be executed: permission denied")),
        Errno::ENOEXEC => (
            ErrorKind::InvalidInput,
            format!("`{name}` is neither a program nor a script whose first line names its interpreter"),
        ),
        Errno::E2BIG => (ErrorKind::InvalidInput, "arguments and environment are too long".into()),
        err => (ErrorKind::Unavailable, format!("`{name}` cannot be executed: {err}")),
    };
    Refusal::command(kind, message)
}
