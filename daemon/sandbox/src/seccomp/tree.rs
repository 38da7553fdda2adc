//! Which verdict a call has by its number alone, as a search tree in classic BPF.
//!
//! A list of comparisons would do, but when a filter is installed the kernel runs it for every number there is, to know which
//! calls it need never ask about again (`seccomp_cache_prepare` in kernel/seccomp.c): with 300 comparisons in a row that took
//! two thirds of a millisecond for each command.

use seccompiler::{BpfProgram, SeccompAction, sock_filter};
use std::collections::BTreeMap;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// With EPERM.
    Refused,
    /// With ENOSYS.
    Missing,
    /// Its arguments decide.
    Depends,
}

// Opcodes of classic BPF (linux/bpf_common.h), and where seccomp_data has number and architecture (seccomp(2)).
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_ALWAYS: u16 = 0x05;
const RETURN: u16 = 0x06;
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` of linux/audit.h. Calls of 32-bit programs have other numbers.
const X86_64: u32 = 0xc000_003e;

/// Marks an instruction that jumps to the program behind the tree.
const TO_THE_REST: u32 = u32::MAX;

/// The tree, followed by `rest` for the calls that depend. A call that is not in `verdicts` is missing; so are those of
/// the x32 ABI, whose numbers begin at 0x4000_0000 (syscalls(2)).
pub(super) fn before(rest: BpfProgram, verdicts: &BTreeMap<u32, Verdict>) -> BpfProgram {
    // Where a verdict begins that differs from the one of the number before.
    let mut ranges = vec![(0, Verdict::Missing)];
    let mut push = |from: u32, verdict: Verdict| {
        if ranges.last().is_some_and(|(_, last)| *last != verdict) {
            ranges.push((from, verdict));
        }
    };
    let mut next = 0;
    for (number, verdict) in verdicts {
        if *number > next {
            push(next, Verdict::Missing);
        }
        push(*number, *verdict);
        next = number + 1;
    }
    push(next, Verdict::Missing);

    let kill = u32::from(SeccompAction::KillProcess);
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, ARCHITECTURE),
        instruction(JUMP_IF_EQUAL, 1, 0, X86_64),
        instruction(RETURN, 0, 0, kill),
        instruction(LOAD_WORD, 0, 0, NUMBER),
    ];
    program.extend(search(&ranges));
    let length = program.len();
    for (place, one) in program.iter_mut().enumerate() {
        if one.code == JUMP_ALWAYS && one.k == TO_THE_REST {
            one.k = u32::try_from(length - place - 1).unwrap_or_default();
        }
    }
    program.extend(rest);
    program
}

fn search(ranges: &[(u32, Verdict)]) -> BpfProgram {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some((from, verdict)) = upper.first().copied() else { return Vec::new() };
    if lower.is_empty() {
        return vec![leaf(verdict)];
    }
    let lower = search(lower);
    let past_it = u32::try_from(lower.len()).unwrap_or_default();
    let mut program =
        vec![instruction(JUMP_IF_AT_LEAST, 0, 1, from), instruction(JUMP_ALWAYS, 0, 0, past_it)];
    program.extend(lower);
    program.extend(search(upper));
    program
}

fn leaf(verdict: Verdict) -> sock_filter {
    let errno = |number: libc::c_int| SeccompAction::Errno(number.unsigned_abs());
    let action = match verdict {
        Verdict::Allowed => SeccompAction::Allow,
        Verdict::Refused => errno(libc::EPERM),
        Verdict::Missing => errno(libc::ENOSYS),
        Verdict::Depends => return instruction(JUMP_ALWAYS, 0, 0, TO_THE_REST),
    };
    instruction(RETURN, 0, 0, u32::from(action))
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers a call of that number; `None` if the rest is asked.
    fn run(program: &[sock_filter], number: u32, rest: usize) -> Option<u32> {
        let (mut place, mut word) = (0, 0);
        loop {
            if place >= rest {
                return None;
            }
            let one = &program[place];
            place += 1;
            match one.code {
                LOAD_WORD => word = if one.k == NUMBER { number } else { X86_64 },
                JUMP_IF_EQUAL => place += usize::from(if word == one.k { one.jt } else { one.jf }),
                JUMP_IF_AT_LEAST => place += usize::from(if word >= one.k { one.jt } else { one.jf }),
                JUMP_ALWAYS => place += one.k as usize,
                RETURN => return Some(one.k),
                code => panic!("{code}"),
            }
        }
    }

    #[test]
    fn every_number_finds_its_verdict() {
        let verdicts = [Verdict::Allowed, Verdict::Refused, Verdict::Depends, Verdict::Allowed];
        let verdicts: BTreeMap<u32, Verdict> =
            (0..600).filter(|number| number % 7 != 3).map(|n| (n, verdicts[(n / 5 % 4) as usize])).collect();
        let program = before(Vec::new(), &verdicts);
        for number in (0..700).chain([0x4000_0000, 0x4000_0027, u32::MAX]) {
            let verdict = verdicts.get(&number).copied().unwrap_or(Verdict::Missing);
            let expected = (verdict != Verdict::Depends).then(|| leaf(verdict).k);
            assert_eq!(run(&program, number, program.len()), expected, "{number}");
        }
    }
}
