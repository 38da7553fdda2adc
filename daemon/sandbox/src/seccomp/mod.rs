//! The system calls of a command: what is not listed here does not exist for it.
//!
//! Programs ask for what a kernel may not have and do without, so what is not allowed answers ENOSYS. What they
//! take for a defect if it is missing answers EPERM, and so does an allowed call with arguments that are not.

mod policy;
mod tree;

use policy::{
    ALLOWED, FAMILIES, Groups, MAKES_A_FILE, NEW_NAMESPACE, NOT_FOR_THE_FIRST, NOT_FOR_THE_FIRST_PROCESS,
    OF_HANDS, OF_MODE, OF_OPENING, OF_TERMINALS, REFUSED, SET_ID,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use skynet_sandbox::protocol::Kind;
use std::{collections::BTreeMap, io};
use tree::Verdict;

/// The process that watches over the command.
const FIRST: u64 = 1;

/// Programs, compiled once: slots are copies of the process that did it.
pub(crate) struct Filters {
    command: Filter,
    hands: Filter,
    host: Filter,
    remote: Filter,
    models: Filter,
}

impl Filters {
    pub(crate) fn compile() -> io::Result<Self> {
        let compile = |kind| program(kind).map(Filter).map_err(io::Error::other);
        Ok(Self {
            command: compile(Kind::Command)?,
            hands: compile(Kind::Hands)?,
            host: compile(Kind::Host)?,
            remote: compile(Kind::Remote)?,
            models: compile(Kind::Models)?,
        })
    }

    pub(crate) const fn of(&self, kind: Kind) -> &Filter {
        match kind {
            Kind::Command => &self.command,
            Kind::Hands => &self.hands,
            Kind::Host => &self.host,
            Kind::Remote => &self.remote,
            Kind::Models => &self.models,
        }
    }
}

/// One of them.
pub(crate) struct Filter(BpfProgram);

impl Filter {
    /// Installs it for this thread and all it starts.
    pub(crate) fn install(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.0).map_err(io::Error::other)
    }
}

fn program(kind: Kind) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    // With a namespace, or with a structure in memory that no filter can read (clone3), there is none.
    allowed.insert(libc::SYS_clone, vec![rule(&[(0, Compare::MaskedEq(NEW_NAMESPACE), 0)])?]);
    let mut sockets = vec![rule(&[(0, Compare::Eq, libc::AF_UNIX as u64)])?];
    if matches!(kind, Kind::Command | Kind::Remote) {
        for family in FAMILIES {
            // Raw packets need a capability anyway.
            sockets.push(rule(&[(0, Compare::Eq, family)])?);
        }
    }
    if !matches!(kind, Kind::Hands | Kind::Models) {
        // Programs ask the routing table for the addresses of the host (netlink(7), NETLINK_ROUTE).
        sockets.push(rule(&[(0, Compare::Eq, libc::AF_NETLINK as u64), (2, Compare::Eq, 0)])?);
    }
    if kind == Kind::Host {
        // Who listens is asked of the kernel (sock_diag(7)); to end somebody's connection by it takes a capability.
        let asks =
            [(0, Compare::Eq, libc::AF_NETLINK as u64), (2, Compare::Eq, libc::NETLINK_SOCK_DIAG as u64)];
        sockets.push(rule(&asks)?);
    }
    allowed.insert(libc::SYS_socket, sockets);
    allowed.insert(libc::SYS_socketpair, vec![rule(&[(0, Compare::Eq, libc::AF_UNIX as u64)])?]);
    allowed.insert(libc::SYS_ioctl, vec![rule(&OF_TERMINALS.map(|order| (1, Compare::Ne, order)))?]);
    for call in NOT_FOR_THE_FIRST {
        allowed.insert(call, vec![rule(&[(0, Compare::Ne, FIRST)])?]);
    }
    for (call, process) in NOT_FOR_THE_FIRST_PROCESS {
        allowed.insert(call, vec![rule(&[(0, Compare::Eq, process), (1, Compare::Ne, FIRST)])?]);
    }
    if kind == Kind::Command {
        for (call, mode) in OF_MODE {
            allowed.insert(call, vec![rule(&[(mode, Compare::MaskedEq(SET_ID), 0)])?]);
        }
        for (call, flags, mode) in OF_OPENING {
            // Without those flags there may be anything in place of the mode.
            let opens = rule(&[(flags, Compare::MaskedEq(MAKES_A_FILE), 0)])?;
            allowed.insert(call, vec![opens, rule(&[(mode, Compare::MaskedEq(SET_ID), 0)])?]);
        }
    }
    // Limits of others are nobody's business.
    allowed.insert(libc::SYS_prlimit64, vec![rule(&[(0, Compare::Eq, 0)])?]);

    let verdicts = verdicts(kind, allowed.keys().copied());
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rest = SeccompFilter::new(allowed, refused, SeccompAction::Allow, arch)?;
    Ok(tree::before(rest.try_into()?, &verdicts))
}

/// By number alone; those of `depending` need a look at their arguments.
fn verdicts(kind: Kind, depending: impl Iterator<Item = i64>) -> BTreeMap<u32, Verdict> {
    let of = |groups: Groups, verdict| {
        groups.iter().flat_map(|(_, calls)| calls.iter()).map(move |call| (*call, verdict))
    };
    let more: Groups = if matches!(kind, Kind::Command | Kind::Models) { &[] } else { OF_HANDS };
    let all =
        of(ALLOWED, Verdict::Allowed).chain(of(more, Verdict::Allowed)).chain(of(REFUSED, Verdict::Refused));
    // Its callers do without it.
    let missing = (kind == Kind::Command).then_some((libc::SYS_openat2, Verdict::Missing));
    all.chain(depending.map(|call| (call, Verdict::Depends)))
        .chain(missing)
        .filter_map(|(call, verdict)| Some((u32::try_from(call).ok()?, verdict)))
        .collect()
}

/// One that holds if all of these arguments, compared as 32 bits, do.
fn rule(conditions: &[(u8, Compare, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.iter().map(|(argument, compare, value)| {
        SeccompCondition::new(*argument, Length::Dword, compare.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_refused_and_the_program_fits_the_kernel() {
        let calls =
            |groups: Groups| -> Vec<i64> { groups.iter().flat_map(|(_, calls)| calls.to_vec()).collect() };
        let (allowed, refused) = (calls(ALLOWED), calls(REFUSED));
        assert!(refused.iter().all(|call| !allowed.contains(call)));
        // BPF_MAXINSNS of linux/bpf_common.h.
        for kind in [Kind::Command, Kind::Hands, Kind::Host, Kind::Remote, Kind::Models] {
            assert!(program(kind).unwrap().len() < 4096);
        }
    }
}
