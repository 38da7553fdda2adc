//! A bus of its own with a real polkitd on it, which sees our action and the rules of a test, and nothing of the host's.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A bus on which anybody may own any name and call whom he likes.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/><allow send_type="signal"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

/// Both programs, until this is dropped.
pub struct Polkit {
    bus: Child,
    authority: Child,
    socket: PathBuf,
}

impl Polkit {
    /// Starts them with `rules` (polkit(8), "AUTHORIZATION RULES"), for the daemon's user of that name, in `directory`.
    /// Only root can, and polkitd must be installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(directory: &Path, rules: &str, daemon: &str) -> Self {
        let socket = directory.join("bus");
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let config = write("bus.conf", &BUS.replace("SOCKET", &socket.display().to_string()));
        let action = include_str!("../../systemd/org.skynet.policy");
        write(
            "actions/org.skynet.policy",
            &action.replace("unix-user:skynet", &format!("unix-user:{daemon}")),
        );
        write("rules/50-test.rules", rules);
        let mut bus = Command::new("dbus-daemon")
            .args(["--nofork", "--nosyslog", "--print-address=1", "--config-file"])
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        // In mounts of its own, so that the host's files are as they were.
        let script = "mount --bind \"$1/actions\" /usr/share/polkit-1/actions && \
            mount --bind \"$1/rules\" /etc/polkit-1/rules.d && \
            mount -t tmpfs none /usr/share/polkit-1/rules.d && exec /usr/lib/polkit-1/polkitd";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "polkitd"]).arg(directory);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
        let authority = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut polkit = Self { bus, authority, socket };
        while !polkit.is_there() {
            assert_eq!(polkit.authority.try_wait().unwrap(), None, "polkitd is not there, or has ended");
        }
        polkit
    }

    /// Whether polkitd has its name on the bus.
    fn is_there(&self) -> bool {
        let mut command = Command::new("dbus-send");
        command.arg(format!("--bus={}", self.address()));
        command.args([
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/",
            "org.freedesktop.DBus.NameHasOwner",
        ]);
        let asked = command.arg("string:org.freedesktop.PolicyKit1").output().unwrap();
        String::from_utf8_lossy(&asked.stdout).contains("boolean true")
    }

    /// As `DBUS_SYSTEM_BUS_ADDRESS` has it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        for child in [&mut self.authority, &mut self.bus] {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
