//! In which control group a socket was made, as the kernel tells of all of them (sock_diag(7)). What a process holds is hidden from
//! behind Landlock; this is not, and systemd names the group of a service after its unit.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::Path,
};

/// Where version 2 of control groups is: alone, or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Hosts with very many containers have some thousand.
const MOST_GROUPS: usize = 20_000;

/// As large as the kernel makes a packet of a dump (linux, `netlink_dump`).
const PACKET_BYTES: usize = 32 << 10;

/// Of linux/sock_diag.h and linux/netlink.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Of linux/inet_diag.h: lengths of the header of netlink, of `inet_diag_req_v2` and of `inet_diag_msg`, where its inode is, and the
/// attribute that came with Linux 5.7.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
const SOCKET_BYTES: usize = 72;
const INODE_AT: usize = 68;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// Family, protocol and states of what listens: TCP in `LISTEN`, UDP in `CLOSE` (socket(2), linux/in.h, linux/tcp_states.h).
const ASKED: [(u8, u8, u32); 4] = [(2, 6, 1 << 10), (10, 6, 1 << 10), (2, 17, 1 << 7), (10, 17, 1 << 7)];

/// The control groups of sockets that listen, by the inode of the socket; empty where the kernel does not tell.
pub(crate) fn groups() -> HashMap<u64, String> {
    let mut ids = HashMap::new();
    for (family, protocol, states) in ASKED {
        // What one protocol does not tell, the others may.
        ids.extend(ask(family, protocol, states).unwrap_or_default());
    }
    let names = names(&ids.values().copied().collect());
    ids.into_iter().filter_map(|(inode, id)| Some((u64::from(inode), names.get(&id)?.clone()))).collect()
}

/// The ids of control groups, by the inode of the socket.
fn ask(family: u8, protocol: u8, states: u32) -> io::Result<HashMap<u32, u64>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(family, protocol, states), SendFlags::empty())?;
    let (mut found, mut buffer) = (HashMap::new(), vec![0_u8; PACKET_BYTES]);
    loop {
        // The kernel answers while it is asked, and goes on while its answer is taken: there is nothing to wait for.
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT)?;
        if take(buffer.get(..length).unwrap_or_default(), &mut found)? == Left::Nothing {
            return Ok(found);
        }
    }
}

/// Whether another packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

fn request(family: u8, protocol: u8, states: u32) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + REQUEST_BYTES).unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    // A number and a port of its own, of which neither is needed for one question.
    bytes.extend([0; 8]);
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    // Whatever its addresses are.
    bytes.resize(HEADER_BYTES + REQUEST_BYTES, 0);
    bytes
}

/// Takes in the sockets of a packet.
fn take(mut packet: &[u8], found: &mut HashMap<u32, u64>) -> io::Result<Left> {
    while let (Some(length), Some(kind)) = (number(packet, 0), number(packet, 4)) {
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or_default();
        let Some(message) = packet.get(HEADER_BYTES..length) else { break };
        match u16::from_ne_bytes(kind) {
            NLMSG_DONE => return Ok(Left::Nothing),
            NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
            _ => found.extend(socket(message)),
        }
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Left::More)
}

/// The inode of a socket and the id of its control group.
fn socket(message: &[u8]) -> Option<(u32, u64)> {
    let inode = u32::from_ne_bytes(number(message, INODE_AT)?);
    let mut attributes = message.get(SOCKET_BYTES..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(number(attributes, 0)?));
        let kind = u16::from_ne_bytes(number(attributes, 2)?);
        if kind == INET_DIAG_CGROUP_ID {
            return Some((inode, u64::from_ne_bytes(number(attributes, 4)?)));
        }
        // An attribute is at least its own header (netlink(7)).
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The names of control groups: the id of one is the inode of its directory.
fn names(wanted: &HashSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let mut roots = ROOTS.iter().map(Path::new);
    let Some(root) = roots.find(|root| root.join("cgroup.controllers").exists()) else { return found };
    let (mut waiting, mut seen) = (vec![root.to_owned()], 0);
    while let Some(directory) = waiting.pop() {
        // One that is gone meanwhile has no sockets.
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            seen += 1;
            if seen > MOST_GROUPS {
                return found;
            }
            let path = entry.path();
            if wanted.contains(&entry.ino())
                && let Ok(name) = path.strip_prefix(root)
            {
                found.insert(entry.ino(), name.display().to_string());
            }
            waiting.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of netlink.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A socket with these attributes.
    fn body(inode: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; SOCKET_BYTES];
        bytes[INODE_AT..].copy_from_slice(&inode.to_ne_bytes());
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len()).unwrap();
            bytes.extend([&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn sockets_of_a_packet_are_read_with_their_groups() {
        let group = 0x1_0000_0007_u64.to_ne_bytes();
        let sockets = [
            message(SOCK_DIAG_BY_FAMILY, &body(11, &[(8, &[1]), (INET_DIAG_CGROUP_ID, &group)])),
            // A kernel that does not tell.
            message(SOCK_DIAG_BY_FAMILY, &body(12, &[(8, &[1])])),
            message(SOCK_DIAG_BY_FAMILY, &body(13, &[(INET_DIAG_CGROUP_ID, &group)])),
        ]
        .concat();
        let mut found = HashMap::new();
        assert_eq!(take(&sockets, &mut found).unwrap(), Left::More);
        assert_eq!(found, HashMap::from([(11, 0x1_0000_0007), (13, 0x1_0000_0007)]));
        assert_eq!(take(&message(NLMSG_DONE, &[0; 4]), &mut found).unwrap(), Left::Nothing);
        assert!(take(&message(NLMSG_ERROR, &[0; 20]), &mut found).is_err());
        // What is cut off or says nonsense about its length ends there.
        for cut in 0..sockets.len() {
            take(&sockets[..cut], &mut HashMap::new()).unwrap();
        }
        assert_eq!(take(&[0; 64], &mut HashMap::new()).unwrap(), Left::More);
        assert_eq!(socket(&body(14, &[])), None);
    }

    #[test]
    fn the_kernel_tells_of_a_socket_that_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
        let Ok(found) = ask(2, 6, 1 << 10) else {
            println!("SKIP: this kernel has no sock_diag");
            return;
        };
        // Before Linux 5.7 it tells of no group at all.
        assert!(found.is_empty() || found.keys().any(|known| u64::from(*known) == inode), "{found:?}");
    }
}
