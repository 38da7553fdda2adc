//! Names of units.

use skynet_core::{Error, Result};

/// The kinds of units (systemd.unit(5)).
const KINDS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// Units without which nobody reaches the host any more, or nobody sees what is done there; by name, without instance.
const CRITICAL: [&str; 30] = [
    "connman.service",
    "dbus.service",
    "dbus-broker.service",
    "dbus.socket",
    "dhcpcd.service",
    "dropbear.service",
    "dropbear.socket",
    "ifup.service",
    "iwd.service",
    "network.service",
    "network.target",
    "networking.service",
    "NetworkManager.service",
    "polkit.service",
    "skynet.socket",
    "skynetd.service",
    "skynet-sandbox.service",
    "ssh.service",
    "ssh.socket",
    "sshd.service",
    "sshd.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-udevd.service",
    "wicked.service",
    "wpa_supplicant.service",
];

/// Kinds of which stopping one ends many.
const CRITICAL_KINDS: [&str; 4] = ["slice", "target", "mount", "scope"];

/// A name with its kind: `nginx` is `nginx.service`.
pub(crate) fn full(name: &str) -> Result<String> {
    /// `UNIT_NAME_MAX` of systemd.
    const LONGEST: usize = 255;
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_fit) {
        return Err(Error::invalid_input(format!(
            "`{name}` is no name of a unit: letters, digits and `:-_.\\@`, such as `nginx` or `backup.timer`"
        )));
    }
    let has_kind = name.rsplit_once('.').is_some_and(|(_, kind)| KINDS.contains(&kind));
    Ok(if has_kind { name.to_owned() } else { format!("{name}.service") })
}

/// Whether the host depends on it.
pub(crate) fn is_critical(full: &str) -> bool {
    let (stem, kind) = full.rsplit_once('.').unwrap_or((full, ""));
    let template = stem.split('@').next().unwrap_or(stem);
    let is = |name: &str| CRITICAL.iter().any(|critical| critical.eq_ignore_ascii_case(name));
    is(full)
        || is(&format!("{template}.{kind}"))
        || CRITICAL_KINDS.contains(&kind)
        || ["user", "user-runtime-dir"].contains(&template) && kind == "service"
}

/// Refuses another name of what the host depends on: about that one a human is asked, about this one nobody was.
pub(crate) fn check_alias(asked: &str, real: &str) -> Result<()> {
    if is_critical(real) && !is_critical(asked) {
        return Err(Error::denied(format!(
            "`{asked}` is another name of `{real}`; call it `{real}`, so that a human is asked"
        )));
    }
    Ok(())
}

/// Whether starting it stops much else: a target, also of a name that says so little as `rescue`, or what turns the host off.
pub(crate) fn ends_much(full: &str) -> bool {
    const POWER: [&str; 8] =
        ["poweroff", "reboot", "soft-reboot", "halt", "kexec", "suspend", "hibernate", "hybrid-sleep"];
    let (stem, kind) = full.rsplit_once('.').unwrap_or((full, ""));
    let is_power = stem
        .strip_prefix("systemd-")
        .is_some_and(|name| POWER.contains(&name) || name == "exit" || name == "suspend-then-hibernate");
    kind == "target" || is_power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_kind_and_odd_ones_are_refused() {
        for (name, expected) in [
            ("nginx", Some("nginx.service")),
            ("backup.timer", Some("backup.timer")),
            ("python3.11", Some("python3.11.service")),
            ("getty@tty1", Some("getty@tty1.service")),
            ("dev-sda1.device", Some("dev-sda1.device")),
            ("", None),
            ("a b", None),
            ("../x", None),
            ("a;reboot", None),
        ] {
            assert_eq!(full(name).ok().as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_the_host_depends_on_is_known() {
        for (name, expected) in [
            ("ssh.service", true),
            ("SSHD.service", true),
            ("ssh@1-10.0.0.1:22.service", true),
            ("user@1000.service", true),
            ("ifup@eth0.service", true),
            ("wpa_supplicant@wlan0.service", true),
            ("multi-user.target", true),
            ("system.slice", true),
            ("skynetd.service", true),
            ("nginx.service", false),
            ("ssh-agent-proxy.service", false),
            ("systemd-networkd-wait-online.service", false),
            ("backup.timer", false),
        ] {
            assert_eq!(is_critical(name), expected, "{name}");
        }
        for (name, expected) in [
            ("poweroff.target", true),
            ("rescue.target", true),
            ("systemd-reboot.service", true),
            ("nginx.service", false),
            ("reboot-notifier.service", false),
        ] {
            assert_eq!(ends_much(name), expected, "{name}");
        }
    }
}
