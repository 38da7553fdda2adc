//! Lists network interfaces and what listens.

use crate::{process::user_name, sockets, unreadable};
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use procfs::net::{TcpState, UdpState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

pub(crate) struct SystemListNetwork;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only listeners on this port.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// Leave the interfaces out.
    #[serde(default)]
    ports_only: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    /// TCP sockets that listen and UDP sockets that are bound, in order of port.
    listening: Vec<Listener>,
}

#[derive(Default, Serialize, JsonSchema)]
struct Interface {
    /// Its name.
    name: String,
    /// Whether it is up and has a carrier.
    is_up: bool,
    /// Hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    /// With the length of the prefix.
    addresses: Vec<String>,
    /// Received since it exists.
    received_bytes: u64,
    /// Sent since it exists.
    sent_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Listener {
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Local address; `0.0.0.0` and `::` mean all.
    pub(crate) address: String,
    /// Local port.
    pub(crate) port: u16,
    /// Whose socket it is.
    pub(crate) user: String,
    /// The process, where the kernel lets this one look into it: not of another user, and not from behind Landlock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// Name of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    /// The control group that made the socket, whoever looks: of a service `system.slice/NAME.service`, of one that systemd opened for a
    /// service `init.scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control_group: Option<String>,
}

impl Tool for SystemListNetwork {
    const NAME: &'static str = "system_list_network";
    const SUMMARY: &'static str = "List network interfaces with addresses and traffic, and the ports that programs listen on; like ip addr and ss -l.";
    const KEYWORDS: &'static str = "network ip address interface port listening open socket ss netstat who uses port 8080 occupied traffic mac ethernet wifi | réseau adresse interface port ouvert écoute occupé utilise trafic carte";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let interfaces = if input.ports_only { Vec::new() } else { interfaces()? };
        let mut listening = listeners()?;
        listening.retain(|one| input.port.is_none_or(|port| one.port == port));
        listening.sort_by(|a, b| (a.port, a.protocol, &a.address).cmp(&(b.port, b.protocol, &b.address)));
        Ok(Output { interfaces, listening })
    }
}

fn interfaces() -> Result<Vec<Interface>> {
    let found = getifaddrs()
        .map_err(|err| Error::unavailable("the network interfaces cannot be listed").with_source(err))?;
    let mut named: BTreeMap<String, Interface> = BTreeMap::new();
    for one in found {
        let interface = named.entry(one.interface_name.clone()).or_default();
        interface.is_up |= one.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let Some(address) = one.address else { continue };
        let ip: Option<IpAddr> = address
            .as_sockaddr_in()
            .map(|v4| IpAddr::V4(v4.ip()))
            .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        if let Some(ip) = ip {
            let mask = one.netmask.and_then(|mask| {
                let v4 = mask.as_sockaddr_in().map(|mask| mask.ip().to_bits().count_ones());
                v4.or_else(|| mask.as_sockaddr_in6().map(|mask| mask.ip().to_bits().count_ones()))
            });
            interface.addresses.push(mask.map_or_else(|| ip.to_string(), |length| format!("{ip}/{length}")));
        }
        if let Some(mac) = address.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr) {
            let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            interface.mac = mac.iter().any(|byte| *byte != 0).then(|| text.join(":"));
        }
    }
    // Some sandboxes hide the counters; the addresses are worth having without them.
    let counters = procfs::net::dev_status().unwrap_or_default();
    Ok(named
        .into_iter()
        .map(|(name, interface)| {
            let counted = counters.get(&name);
            Interface {
                received_bytes: counted.map_or(0, |device| device.recv_bytes),
                sent_bytes: counted.map_or(0, |device| device.sent_bytes),
                name,
                ..interface
            }
        })
        .collect())
}

/// TCP sockets that listen and UDP sockets that are bound, in no order.
pub(crate) fn listeners() -> Result<Vec<Listener>> {
    let (owners, groups) = (socket_owners(), sockets::groups());
    let show = |protocol, address: SocketAddr, uid, inode| {
        let owner: Option<&(i32, String)> = owners.get(&inode);
        Listener {
            protocol,
            address: address.ip().to_string(),
            port: address.port(),
            user: user_name(uid),
            pid: owner.map(|(pid, _)| *pid),
            process: owner.map(|(_, name)| name.clone()),
            control_group: groups.get(&inode).cloned(),
        }
    };
    let mut found = Vec::new();
    let tcp = procfs::net::tcp().map_err(unreadable("/proc/net/tcp"))?;
    // Hosts without IPv6 have no such file.
    for entry in tcp.into_iter().chain(procfs::net::tcp6().unwrap_or_default()) {
        if entry.state == TcpState::Listen {
            found.push(show("tcp", entry.local_address, entry.uid, entry.inode));
        }
    }
    let udp = procfs::net::udp().map_err(unreadable("/proc/net/udp"))?;
    for entry in udp.into_iter().chain(procfs::net::udp6().unwrap_or_default()) {
        if entry.state == UdpState::Close {
            found.push(show("udp", entry.local_address, entry.uid, entry.inode));
        }
    }
    Ok(found)
}

/// Which process holds a socket, by inode; only of processes whose descriptors may be read.
fn socket_owners() -> HashMap<u64, (i32, String)> {
    let mut owners = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let (Ok(stat), Ok(descriptors)) = (process.stat(), process.fd()) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            if let procfs::process::FDTarget::Socket(inode) = descriptor.target {
                owners.entry(inode).or_insert_with(|| (stat.pid, stat.comm.clone()));
            }
        }
    }
    owners
}
