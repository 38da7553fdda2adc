//! Who the user of a token is today: looked up whenever he comes, in a process of its own, because a directory server may
//! keep it waiting for ever.

use crate::{child::Child, slot::Refusal, syscall};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    channel::{self, BlockingSocket},
    protocol::{FromBroker, Identity, Reply},
};
use std::{ffi::CString, io};

/// Begins to look a user up; the process says [`Reply::Known`] or why he is not.
pub(crate) fn start_lookup(uid: u32) -> io::Result<(Child, BlockingSocket)> {
    let (ours, theirs) = channel::pair()?;
    if let Some(pid) = syscall::clone_process(0, None)? {
        return Ok((Child::hold(pid)?, BlockingSocket::new(ours)));
    }
    drop(ours);
    let Ok(socket) = syscall::keep_only(theirs) else { syscall::exit(1) };
    let reply = match look_up(uid) {
        Ok(Some(identity)) => Reply::Known(identity),
        Ok(None) => {
            let message = format!("this host knows no user with the number {uid} any more");
            Reply::Refused(Refusal::command(ErrorKind::Denied, message).of(0))
        }
        Err(err) => {
            let message = format!("the user with the number {uid} cannot be looked up: {err}");
            Reply::Refused(Refusal::command(ErrorKind::Unavailable, message).of(0))
        }
    };
    // A broker that is gone learns nothing.
    let _ = BlockingSocket::new(socket).send(&FromBroker::from(reply), &[]);
    syscall::exit(0)
}

/// With the groups that a login would give him (initgroups(3)).
fn look_up(uid: u32) -> io::Result<Option<Identity>> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(None) };
    let groups = getgrouplist(&CString::new(user.name)?, user.gid)?;
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(Some(Identity { uid, gid: user.gid.as_raw(), groups }))
}

/// The number of the user of that name or number.
///
/// # Errors
/// What the database of users says, in words.
pub(crate) fn number_of(user: &str) -> skynet_core::Result<u32> {
    let found = match user.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let found = found
        .map_err(|err| skynet_core::Error::unavailable("the user cannot be looked up").with_source(err))?;
    found.map(|user| user.uid.as_raw()).ok_or_else(|| {
        skynet_core::Error::not_found(format!("this host knows no user `{}`", user.escape_debug()))
    })
}
