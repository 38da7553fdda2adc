//! A terminal of the slot's own (pty(7)): the command has one end, its keeper the other.

use rustix::{
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use skynet_sandbox::protocol::TerminalSize;
use std::{io, os::fd::OwnedFd};

/// Opens one in the view, so that the command finds it by its name. First the keeper's end, then the command's.
pub(super) fn open(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    // By the descriptor, because the name of a pseudoterminal may be one of another devpts.
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    tcsetwinsize(&theirs, window(size))?;
    Ok((ours, theirs))
}

/// As the kernel counts it.
pub(crate) fn window(size: TerminalSize) -> Winsize {
    let of = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    Winsize { ws_row: of(size.rows), ws_col: of(size.columns), ws_xpixel: 0, ws_ypixel: 0 }
}
