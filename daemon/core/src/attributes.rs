//! What a new file takes over from the one whose place it takes: group, access list and other extended attributes, and mode.
//! Nobody gets a right by it that he did not have; an access list that cannot be taken over is an error, because with it
//! rights would go unnoticed.

use crate::{Error, RelativePath, Result, canonical::hex, change::Rights, error::IoContext as _};
use rustix::{
    fs::{Gid, Mode, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr, fstat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{fs::File, sync::LazyLock};

/// Of a value, and of all names (xattr(7), `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`).
const MOST_BYTES: usize = 64 << 10;

/// Who may do what, by user and group (acl(5)).
const POSIX_LIST: &[u8] = b"system.posix_acl_access";

/// The same of file servers: they have one for each file, and some show it without taking another one.
const SERVER_LISTS: [&[u8]; 2] = [b"system.nfs4_acl", b"system.richacl"];

/// What is said of a content, and not of a file: rights of whoever executes it, and its signature.
const OF_CONTENT: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

/// Of an entry of an access list (linux/posix_acl.h).
const USER_OBJECT: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJECT: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// What stands for each group that is not mapped here (proc_sys_kernel(5), `overflowgid`), unless the host has another one.
const OVERFLOW: u32 = 65_534;

static OVERFLOW_OF_HOST: LazyLock<u32> = LazyLock::new(|| {
    let found = std::fs::read_to_string("/proc/sys/kernel/overflowgid").ok();
    found.and_then(|found| found.trim().parse().ok()).unwrap_or(OVERFLOW)
});

/// Gives `new`, which nobody but its owner may read yet, what `old` has, and `mode`.
///
/// A group that it cannot be given, because its owner is not in it, loses its rights but those of everybody: editors do
/// the same where they write a new file (Vim, `backupcopy`).
pub(crate) fn carry_over(old: &File, new: &File, mode: Mode, path: &RelativePath) -> Result<()> {
    let has_group = carry_group(old, new).on(path)?;
    let names = names_of(old).on(path)?;
    let inherited = names_of(new).on(path)?;
    // The directory gives such a list to what is made in it (acl(5), "Object creation and default ACLs").
    for name in inherited.iter().filter(|name| is_list(name) && !names.contains(name)) {
        match fremovexattr(new, name.as_slice()) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(err) => return Err(err).on(path),
        }
    }
    for name in names.iter().filter(|name| !OF_CONTENT.contains(&name.as_slice())) {
        carry(old, new, name, has_group, path)?;
    }
    // Where there is an access list, this is its mask, and what the group may is in the list.
    let has_list = names.iter().any(|name| name == POSIX_LIST);
    fchmod(new, if has_group || has_list { mode } else { without_group(mode) }).on(path)
}

/// Whom the permissions of this file or directory are for; `None` if nobody here can tell.
#[must_use]
pub fn rights_of(file: &File) -> Option<Rights> {
    let group = fstat(file).ok().map(|stat| stat.st_gid).filter(|group| !is_unknown(*group))?;
    let mut names: Vec<_> = names_of(file).ok()?.into_iter().filter(|name| is_list(name)).collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    let mut has_list = false;
    for name in &names {
        let Some(list) = value_of(file, name).ok()? else { continue };
        has_list = true;
        hash.update(name);
        if name != POSIX_LIST {
            hash.update(&list);
        } else if has_unknown(&list) {
            return None;
        } else {
            for (tag, rights, id) in of_list(&list) {
                hash.update(tag.to_le_bytes());
                hash.update(rights.to_le_bytes());
                hash.update(id.to_le_bytes());
            }
        }
    }
    let list = if has_list { hex(&hash.finalize()) } else { String::new() };
    Some(Rights { group, list })
}

/// Whether a file has an access list, which a new file in its place may not be given.
pub(crate) fn has_list(file: &File) -> rustix::io::Result<bool> {
    Ok(names_of(file)?.iter().any(|name| is_list(name)))
}

/// Tries to give something new the group that it had once, and takes from it the list that its directory gave it if it had
/// none. Whether that was enough is for [`set_mode`] to see.
pub(crate) fn give_back(new: &File, wanted: &Rights) {
    // Best effort: without them it is given fewer rights.
    if fstat(new).is_ok_and(|stat| stat.st_gid != wanted.group) {
        let _ = fchown(new, None, Some(Gid::from_raw(wanted.group)));
    }
    if wanted.list.is_empty() {
        let _ = fremovexattr(new, POSIX_LIST);
    }
}

/// Gives an entry that was there before, and was for `wanted`, its mode again. If its group or its access list is not that
/// one now, nobody gets a right by it.
pub(crate) fn set_mode(file: &File, mode: Mode, wanted: Option<&Rights>) -> rustix::io::Result<()> {
    let is_same = wanted.is_some() && rights_of(file).as_ref() == wanted;
    fchmod(file, if is_same { mode } else { for_others(mode, wanted) })
}

/// Whether the new one has the group of the old one now. A group that is not mapped in this user namespace looks like any
/// other that is not (user_namespaces(7)), so it is never taken for the same.
fn carry_group(old: &File, new: &File) -> rustix::io::Result<bool> {
    let wanted = fstat(old)?.st_gid;
    if is_unknown(wanted) {
        return Ok(false);
    }
    if fstat(new)?.st_gid != wanted && fchown(new, None, Some(Gid::from_raw(wanted))).is_err() {
        return Ok(false);
    }
    // Some filesystems say yes to everything.
    Ok(fstat(new)?.st_gid == wanted)
}

/// Whether it stands for ids that are not mapped. In access lists these are told as the largest number (linux/posix_acl.h,
/// `ACL_UNDEFINED_ID`).
fn is_unknown(id: u32) -> bool {
    [u32::MAX, OVERFLOW, *OVERFLOW_OF_HOST].contains(&id)
}

/// Whether a POSIX access list names somebody who is not mapped.
fn has_unknown(list: &[u8]) -> bool {
    entries_of(list).any(|(tag, _, id)| [USER, GROUP].contains(&tag) && is_unknown(id))
}

/// For other people than `wanted`. Who was in the group may be one of everybody now, and the other way round, so both may
/// what both could. A list may have denied somebody what everybody could: without it nobody but the owner is sure to have
/// had a right.
fn for_others(mode: Mode, wanted: Option<&Rights>) -> Mode {
    let bits = mode.as_raw_mode();
    Mode::from_raw_mode(match wanted {
        Some(wanted) if wanted.list.is_empty() => {
            let both = (bits >> 3) & bits & 0o007;
            (bits & 0o7700) | (both << 3) | both
        }
        Some(_) | None => bits & 0o700,
    })
}

/// The group may what everybody may, and no more than before.
fn without_group(mode: Mode) -> Mode {
    let bits = mode.as_raw_mode();
    Mode::from_raw_mode(bits & (!0o070 | ((bits & 0o007) << 3)))
}

fn is_list(name: &[u8]) -> bool {
    name == POSIX_LIST || SERVER_LISTS.contains(&name)
}

fn carry(old: &File, new: &File, name: &[u8], has_group: bool, path: &RelativePath) -> Result<()> {
    let is_lost = |err: Errno| {
        let message = format!(
            "`{path}` has an access list that a new file in its place cannot be given; change it in place with a command"
        );
        Error::denied(message).with_source(std::io::Error::from(err))
    };
    let wanted = match value_of(old, name) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Ok(()),
        Err(err) if is_list(name) => return Err(is_lost(err)),
        // What may not be read is somebody else's to care for.
        Err(Errno::PERM | Errno::ACCESS) => return Ok(()),
        Err(err) => return Err(err).on(path),
    };
    let wanted = if name == POSIX_LIST && !has_group { list_without_group(&wanted) } else { wanted };
    let is_there = match value_of(new, name) {
        Ok(Some(found)) if name == POSIX_LIST => of_list(&found) == of_list(&wanted) && !has_unknown(&wanted),
        Ok(Some(found)) => found == wanted,
        Ok(None) | Err(_) => false,
    };
    if is_there {
        return Ok(());
    }
    match fsetxattr(new, name, &wanted, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::NOTSUP) if name != POSIX_LIST => Ok(()),
        Err(err) if is_list(name) => Err(is_lost(err)),
        // A label that only others may give, or that means nothing to this kernel.
        Err(Errno::PERM | Errno::ACCESS | Errno::INVAL) => Ok(()),
        Err(err) => Err(err).on(path),
    }
}

/// Where there are no extended attributes, there are no names.
fn names_of(file: &File) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = vec![0; MOST_BYTES];
    let length = match flistxattr(file, buffer.as_mut_slice()) {
        Err(Errno::NOTSUP | Errno::NOSYS) => 0,
        length => length?,
    };
    buffer.truncate(length);
    Ok(buffer.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// `None` if it has none of that name any more.
fn value_of(file: &File, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; MOST_BYTES];
    match fgetxattr(file, name, buffer.as_mut_slice()) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(err) => Err(err),
    }
}

/// The tag, the rights and the number of each entry of a POSIX access list; they follow four bytes of a version and are
/// little-endian (linux/posix_acl_xattr.h).
fn entries_of(list: &[u8]) -> impl Iterator<Item = (u16, u16, u32)> {
    let entries = list.get(4..).unwrap_or_default().chunks_exact(8);
    entries.filter_map(|entry| match *entry {
        [a, b, c, d, e, f, g, h] => {
            Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), u32::from_le_bytes([e, f, g, h])))
        }
        _ => None,
    })
}

/// What is no part of the mode, which is given last.
fn of_list(list: &[u8]) -> Vec<(u16, u16, u32)> {
    entries_of(list).filter(|(tag, ..)| ![USER_OBJECT, MASK, OTHER].contains(tag)).collect()
}

/// [`without_group`] for an access list.
fn list_without_group(list: &[u8]) -> Vec<u8> {
    let everybody = entries_of(list).find(|(tag, ..)| *tag == OTHER).map_or(0, |(_, rights, _)| rights);
    let mut narrowed = list.get(..4).unwrap_or_default().to_vec();
    for (tag, rights, id) in entries_of(list) {
        let rights = if tag == GROUP_OBJECT { rights & everybody } else { rights };
        narrowed.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        narrowed.extend(id.to_le_bytes());
    }
    narrowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        list
    }

    #[test]
    fn a_group_that_is_lost_keeps_what_everybody_may() {
        for (mode, expected) in
            [(0o664, 0o644), (0o660, 0o600), (0o640, 0o600), (0o646, 0o646), (0o604, 0o604), (0o775, 0o755)]
        {
            assert_eq!(without_group(Mode::from_raw_mode(mode)).as_raw_mode(), expected, "{mode:o}");
        }
        let none = u32::MAX;
        let old = [(1, 6, none), (2, 6, 1000), (4, 6, none), (8, 7, 1001), (16, 7, none), (32, 4, none)];
        let new = [(1, 6, none), (2, 6, 1000), (4, 4, none), (8, 7, 1001), (16, 7, none), (32, 4, none)];
        assert_eq!(list_without_group(&list(&old)), list(&new));
    }

    #[test]
    fn ids_that_are_not_mapped_are_nobodys() {
        let none = u32::MAX;
        let named = |tag, id| list(&[(1, 6, none), (4, 6, none), (tag, 6, id), (16, 6, none), (32, 0, none)]);
        for (tag, id, expected) in
            [(2, 1000, false), (8, 1000, false), (2, none, true), (8, none, true), (2, OVERFLOW, true)]
        {
            assert_eq!(has_unknown(&named(tag, id)), expected, "{tag} {id}");
        }
        assert!(is_unknown(OVERFLOW) && !is_unknown(0) && !is_unknown(1000));
    }

    #[test]
    fn what_was_for_somebody_else_gives_nobody_a_right() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("f")).unwrap();
        let own = rights_of(&file).unwrap();
        let other = Rights { group: own.group + 1, list: String::new() };
        let shared = Rights { list: "0".repeat(64), ..own.clone() };
        for (wanted, mode, expected) in [
            (Some(&own), 0o664, 0o664),
            (Some(&other), 0o664, 0o644),
            // Who was in the group could less than everybody.
            (Some(&other), 0o604, 0o600),
            (Some(&other), 0o646, 0o644),
            (Some(&other), 0o752, 0o700),
            (Some(&own), 0o604, 0o604),
            // The list may have denied somebody what everybody could.
            (Some(&shared), 0o664, 0o600),
            (None, 0o664, 0o600),
        ] {
            set_mode(&file, Mode::from_raw_mode(mode), wanted).unwrap();
            assert_eq!(fstat(&file).unwrap().st_mode & 0o777, expected, "{wanted:?} {mode:o}");
        }
    }

    #[test]
    fn lists_are_the_same_whatever_the_mode() {
        let none = u32::MAX;
        let closed = [(1, 6, none), (2, 6, 1000), (4, 6, none), (16, 0, none), (32, 0, none)];
        let open = [(1, 7, none), (2, 6, 1000), (4, 6, none), (16, 7, none), (32, 4, none)];
        let other = [(1, 6, none), (2, 4, 1000), (4, 6, none), (16, 0, none), (32, 0, none)];
        assert_eq!(of_list(&list(&closed)), of_list(&list(&open)));
        assert_ne!(of_list(&list(&closed)), of_list(&list(&other)));
    }
}
