//! The system calls of a command: what is not listed here does not exist for it.
//!
//! Programs ask for what a kernel may not have and do without, so what is not allowed answers ENOSYS. What they
//! take for a defect if it is missing answers EPERM. Two filters say so, compiled into one program, because the kernel
//! needs longer to install two.

mod policy;

use policy::{
    ALLOWED, FAMILIES, NEW_NAMESPACE, NOT_FOR_THE_FIRST, NOT_FOR_THE_FIRST_PROCESS, REFUSED, TYPING, X32,
};

/// The process that watches over the command.
const FIRST: u64 = 1;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};
use std::{collections::BTreeMap, io};

/// A program, compiled once: slots are copies of the process that did it.
pub(crate) struct Filter(BpfProgram);

impl Filter {
    pub(crate) fn compile() -> io::Result<Self> {
        program().map(Self).map_err(io::Error::other)
    }

    /// Installs it for this thread and all it starts.
    pub(crate) fn install(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.0).map_err(io::Error::other)
    }
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = all(ALLOWED);
    // With a namespace, or with a structure in memory that no filter can read (clone3), there is none.
    allowed.insert(libc::SYS_clone, vec![rule(&[(0, Compare::MaskedEq(NEW_NAMESPACE), 0)])?]);
    let mut sockets = Vec::new();
    for family in FAMILIES {
        // Raw packets need a capability anyway.
        sockets.push(rule(&[(0, Compare::Eq, family)])?);
    }
    // Programs ask the routing table for the addresses of the host (netlink(7), NETLINK_ROUTE).
    sockets.push(rule(&[(0, Compare::Eq, libc::AF_NETLINK as u64), (2, Compare::Eq, 0)])?);
    allowed.insert(libc::SYS_socket, sockets);
    allowed.insert(libc::SYS_socketpair, vec![rule(&[(0, Compare::Eq, libc::AF_UNIX as u64)])?]);
    allowed.insert(libc::SYS_ioctl, vec![rule(&[(1, Compare::Ne, TYPING[0]), (1, Compare::Ne, TYPING[1])])?]);
    for call in NOT_FOR_THE_FIRST {
        allowed.insert(call, vec![rule(&[(0, Compare::Ne, FIRST)])?]);
    }
    for (call, process) in NOT_FOR_THE_FIRST_PROCESS {
        allowed.insert(call, vec![rule(&[(0, Compare::Eq, process), (1, Compare::Ne, FIRST)])?]);
    }
    // Limits of others are nobody's business.
    allowed.insert(libc::SYS_prlimit64, vec![rule(&[(0, Compare::Eq, 0)])?]);
    let allow =
        SeccompFilter::new(allowed, SeccompAction::Errno(errno(libc::ENOSYS)), SeccompAction::Allow, arch)?;

    let mut refused = all(REFUSED);
    let mut namespaces = Vec::new();
    for bit in (0..u64::BITS).map(|bit| 1 << bit).filter(|bit| NEW_NAMESPACE & bit != 0) {
        namespaces.push(rule(&[(0, Compare::MaskedEq(bit), bit)])?);
    }
    refused.insert(libc::SYS_clone, namespaces);
    refused.insert(
        libc::SYS_ioctl,
        vec![rule(&[(1, Compare::Eq, TYPING[0])])?, rule(&[(1, Compare::Eq, TYPING[1])])?],
    );
    let refuse =
        SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(errno(libc::EPERM)), arch)?;
    Ok(one_after_the_other(refuse.try_into()?, allow.try_into()?))
}

const fn errno(number: libc::c_int) -> u32 {
    number.unsigned_abs()
}

fn all(groups: &[(&str, &[libc::c_long])]) -> BTreeMap<i64, Vec<SeccompRule>> {
    groups.iter().flat_map(|(_, calls)| calls.iter()).map(|call| (*call, Vec::new())).collect()
}

/// One that holds if all of these arguments, compared as 32 bits, do.
fn rule(conditions: &[(u8, Compare, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.iter().map(|(argument, compare, value)| {
        SeccompCondition::new(*argument, Length::Dword, compare.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// One program: what the first allows is for the second to judge. In front, calls of x32 are refused.
fn one_after_the_other(mut first: BpfProgram, second: BpfProgram) -> BpfProgram {
    // Opcodes of classic BPF, from linux/bpf_common.h; offset 0 of seccomp_data is the number of the call (seccomp(2)).
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP_ALWAYS: u16 = 0x05;
    const RETURN: u16 = 0x06;
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let allow = u32::from(SeccompAction::Allow);
    let length = first.len();
    for (place, one) in first.iter_mut().enumerate() {
        if one.code == RETURN && one.k == allow {
            let ahead = u32::try_from(length - place - 1).unwrap_or_default();
            *one = instruction(JUMP_ALWAYS, 0, 0, ahead);
        }
    }
    let refuse = u32::from(SeccompAction::Errno(errno(libc::ENOSYS)));
    let front = [
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, refuse),
    ];
    front.into_iter().chain(first).chain(second).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_refused_and_the_program_fits_the_kernel() {
        let (allowed, refused) = (all(ALLOWED), all(REFUSED));
        assert!(refused.keys().all(|call| !allowed.contains_key(call)));
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(program().unwrap().len() < 4096);
    }
}
