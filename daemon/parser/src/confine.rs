//! What a parser gives up before it looks at a file. Each layer alone would hold; a kernel without one of them gets no
//! parser.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::{collections::BTreeMap, io, path::Path};

/// Whether a task writes text into a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fonts {
    /// It opens no file at all.
    None,
    /// It opens those of the system, for reading.
    System,
}

/// Where they are (Filesystem Hierarchy Standard 3.0, section 4.11).
pub const FONTS: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];

/// Address space: a picture of 100 million pixels takes 400 MB, and is decoded and scaled in a few times that.
const MEMORY_BYTES: u64 = 3 << 30;

/// Processor time.
const SECONDS: u64 = 120;

/// What it writes.
const FILE_BYTES: u64 = 512 << 20;

/// What is allowed whatever its arguments, with the reason.
const ALLOWED: [(&str, &[libc::c_long]); 5] = [
    (
        "reading and writing what it was given",
        &[
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_pread64,
            libc::SYS_lseek,
            libc::SYS_close,
            libc::SYS_writev,
        ],
    ),
    (
        "memory",
        &[
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_mprotect,
            libc::SYS_madvise,
            libc::SYS_brk,
        ],
    ),
    (
        "threads: libraries share their work out",
        &[
            libc::SYS_futex,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_gettid,
            libc::SYS_sched_yield,
            libc::SYS_sched_getaffinity,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ],
    ),
    (
        "signals of its own: a stack that overflows is told",
        &[libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack],
    ),
    ("time and random seeds of hash maps", &[libc::SYS_clock_gettime, libc::SYS_getrandom]),
];

/// For fonts. Landlock says which files are opened; of others no more is told than what kind they are.
const OF_FONTS: [libc::c_long; 6] = [
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_getdents64,
    libc::SYS_readlink,
];

/// Gives up everything else, for this process and for good.
pub(crate) fn enter(fonts: Fonts) -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, MEMORY_BYTES),
        (Resource::Cpu, SECONDS),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    restrict_files(fonts)?;
    seccompiler::apply_filter(&program(fonts).map_err(io::Error::other)?).map_err(io::Error::other)
}

/// No file is opened, made, or renamed. ABI 2 is the oldest that hands run on.
fn restrict_files(fonts: Fonts) -> io::Result<()> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))
        .and_then(Ruleset::create);
    let mut rules = rules.map_err(io::Error::other)?;
    if fonts == Fonts::System {
        for path in FONTS.map(Path::new).into_iter().filter(|path| path.is_dir()) {
            let directory = PathFd::new(path).map_err(io::Error::other)?;
            let rule = PathBeneath::new(directory, AccessFs::ReadFile | AccessFs::ReadDir);
            rules = rules.add_rule(rule).map_err(io::Error::other)?;
        }
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(io::Error::other(format!("Landlock is enforced only so far: {:?}", status.ruleset)))
    }
}

/// A call that is not listed does not exist, so that the C library makes threads by clone(2), whose flags can be read,
/// and not by clone3(2).
fn program(fonts: Fonts) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().flat_map(|(_, calls)| calls.iter()).map(|call| (*call, Vec::new())).collect();
    if fonts == Fonts::System {
        allowed.extend(OF_FONTS.map(|call| (call, Vec::new())));
    }
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    allowed.insert(libc::SYS_clone, vec![rule(0, Compare::MaskedEq(thread), thread)?]);
    // To hands; no other descriptor is a socket.
    allowed.insert(libc::SYS_sendmsg, Vec::new());
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(allowed, absent, SeccompAction::Allow, arch)?.try_into()
}

fn rule(argument: u8, compare: Compare, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, Length::Dword, compare, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::{CWD, Mode, OFlags, openat},
        net::{AddressFamily, SocketType, socket},
        process::{Pid, Signal, getppid, kill_process},
    };
    use std::{fs, process::Command};

    /// Set for the process that is confined.
    const CONFINED: &str = "SKYNET_TEST_CONFINED";

    /// What must not work any more.
    fn attacks(parent: Option<Pid>) -> [(&'static str, bool); 9] {
        [
            ("open", openat(CWD, "/etc/passwd", OFlags::RDONLY, Mode::empty()).is_ok()),
            ("create", fs::write("/tmp/skynet-parser-was-here", "").is_ok()),
            ("list", fs::read_dir("/").is_ok()),
            ("link", std::os::unix::fs::symlink("/", "/tmp/skynet-parser-link").is_ok()),
            ("socket", socket(AddressFamily::INET, SocketType::STREAM, None).is_ok()),
            ("unix socket", socket(AddressFamily::UNIX, SocketType::STREAM, None).is_ok()),
            ("start", Command::new("/bin/true").status().is_ok()),
            ("signal", parent.is_some_and(|parent| kill_process(parent, Signal::CONT).is_ok())),
            ("more room", setrlimit(Resource::As, Rlimit { current: None, maximum: None }).is_ok()),
        ]
    }

    #[test]
    fn a_confined_process_reaches_nothing_and_still_computes() {
        // Afterwards it cannot even be asked who that is.
        let parent = getppid();
        if std::env::var_os(CONFINED).is_some() {
            enter(if std::env::var_os("FONTS").is_some() { Fonts::System } else { Fonts::None }).unwrap();
            let sum: u64 = std::thread::spawn(|| (0..1000).sum()).join().unwrap();
            let working: Vec<_> = attacks(parent).into_iter().filter(|(_, works)| *works).collect();
            assert!(sum == 499_500 && working.is_empty(), "{working:?}");
            return;
        }
        // Each of them works where nobody is confined.
        let working = attacks(parent).into_iter().filter(|(name, works)| *works || *name == "more room");
        assert_eq!(working.count(), 9);
        for path in ["/tmp/skynet-parser-was-here", "/tmp/skynet-parser-link"] {
            fs::remove_file(path).unwrap();
        }
        for fonts in [None, Some(("FONTS", "1"))] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "confine::tests::a_confined_process_reaches_nothing_and_still_computes"]);
            let status = child.env(CONFINED, "1").envs(fonts).status().unwrap();
            assert!(status.success(), "{fonts:?}");
        }
    }
}
