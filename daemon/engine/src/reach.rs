//! Which containers reach the host: those whose processes could become root there, or read and write its files.

use bollard::models::{ContainerInspectResponse, HostConfig, MountType};

/// Capabilities that a container has without asking are not among these.
const HARMLESS: [&str; 2] = ["NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"];

/// What a confined container has of itself, or makes it more confined. A profile of somebody's own may allow anything.
const CONFINING: [&str; 5] = [
    "no-new-privileges",
    "no-new-privileges:true",
    "no-new-privileges=true",
    "apparmor=docker-default",
    "seccomp=builtin",
];

/// In words, each way in which a container reaches the host; empty if it does not.
pub(crate) fn of_container(found: &ContainerInspectResponse) -> Vec<String> {
    let mut ways = found.host_config.as_ref().map(of_settings).unwrap_or_default();
    for mount in found.mounts.iter().flatten() {
        // A volume may be one as well: see `Client::ways_to_host`.
        if mount.typ.as_deref() == Some("bind") {
            add(&mut ways, format!("host path {}", mount.source.as_deref().unwrap_or_default()));
        }
    }
    ways
}

/// The same of what a container is made with.
pub(crate) fn of_settings(settings: &HostConfig) -> Vec<String> {
    let mut ways = Vec::new();
    if settings.privileged == Some(true) {
        add(&mut ways, "privileged".to_owned());
    }
    // A list that is there and empty unmasks all of it (`systempaths=unconfined`).
    for paths in [&settings.masked_paths, &settings.readonly_paths] {
        if paths.as_ref().is_some_and(Vec::is_empty) && settings.privileged != Some(true) {
            add(&mut ways, "settings of the kernel".to_owned());
        }
    }
    let modes = [
        ("network", &settings.network_mode),
        ("pid", &settings.pid_mode),
        ("ipc", &settings.ipc_mode),
        ("uts", &settings.uts_mode),
        ("user", &settings.userns_mode),
    ];
    for (name, mode) in modes {
        let mode = mode.as_deref().unwrap_or_default();
        if mode == "host" {
            add(&mut ways, format!("{name} namespace of the host"));
        } else if mode.starts_with("ns:") {
            add(&mut ways, format!("{name} namespace that is named by a path"));
        } else if mode.starts_with("container:") {
            // That one may be the host's.
            add(&mut ways, format!("{name} namespace of another container"));
        }
    }
    for capability in settings.cap_add.iter().flatten() {
        if !HARMLESS.contains(&capability.as_str()) {
            add(&mut ways, format!("capability {capability}"));
        }
    }
    for device in settings.devices.iter().flatten() {
        add(&mut ways, format!("device {}", device.path_on_host.as_deref().unwrap_or_default()));
    }
    if settings.device_requests.iter().flatten().next().is_some()
        || settings.device_cgroup_rules.iter().flatten().next().is_some()
    {
        add(&mut ways, "devices".to_owned());
    }
    for option in settings.security_opt.iter().flatten() {
        if !CONFINING.contains(&option.as_str()) {
            add(&mut ways, format!("security option {option}"));
        }
    }
    if settings.cgroup_parent.as_deref().is_some_and(|parent| !parent.is_empty()) {
        add(&mut ways, "control group of the host".to_owned());
    }
    if settings.volumes_from.iter().flatten().next().is_some() {
        add(&mut ways, "volumes of another container".to_owned());
    }
    for bind in settings.binds.iter().flatten() {
        if let Some((path, _)) = bind.split_once(':').filter(|(path, _)| path.starts_with('/')) {
            add(&mut ways, format!("host path {path}"));
        }
    }
    for mount in settings.mounts.iter().flatten() {
        if mount.typ == Some(MountType::BIND) {
            add(&mut ways, format!("host path {}", mount.source.as_deref().unwrap_or_default()));
        }
        let driver = mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref());
        // Any option could make it a path of the host.
        if driver.and_then(|driver| driver.options.as_ref()).is_some_and(|options| !options.is_empty()) {
            add(&mut ways, "a volume with options of its driver".to_owned());
        }
    }
    ways
}

fn add(ways: &mut Vec<String>, way: String) {
    if !ways.contains(&way) {
        ways.push(way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{
        DeviceMapping, DeviceRequest, Mount, MountPoint, MountVolumeOptions, MountVolumeOptionsDriverConfig,
    };

    #[test]
    fn what_reaches_the_host_is_seen_and_nothing_else() {
        let plain = HostConfig {
            network_mode: Some("bridge".into()),
            ipc_mode: Some("private".into()),
            userns_mode: Some(String::new()),
            cgroup_parent: Some(String::new()),
            cap_add: Some(vec!["NET_BIND_SERVICE".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            binds: Some(vec!["data:/data".into()]),
            mounts: Some(vec![Mount { typ: Some(MountType::VOLUME), ..Mount::default() }]),
            ..HostConfig::default()
        };
        assert_eq!(of_settings(&plain), Vec::<String>::new());
        let all = HostConfig {
            privileged: Some(true),
            network_mode: Some("host".into()),
            pid_mode: Some("container:web".into()),
            cap_add: Some(vec!["SYS_ADMIN".into()]),
            security_opt: Some(vec!["seccomp=unconfined".into()]),
            binds: Some(vec!["/var/run/docker.sock:/s".into()]),
            ..HostConfig::default()
        };
        let ways = of_settings(&all);
        assert_eq!(
            ways,
            [
                "privileged",
                "network namespace of the host",
                "pid namespace of another container",
                "capability SYS_ADMIN",
                "security option seccomp=unconfined",
                "host path /var/run/docker.sock"
            ]
        );
        let mounts = Some(vec![MountPoint {
            typ: Some("bind".into()),
            source: Some("/".into()),
            ..MountPoint::default()
        }]);
        let found = ContainerInspectResponse { mounts, ..ContainerInspectResponse::default() };
        assert_eq!(of_container(&found), ["host path /"]);
    }

    /// Each by itself, as the engine tells it of a container that somebody else made.
    #[test]
    fn each_way_to_the_host_is_seen_by_itself() {
        let one = |word: &str| Some(vec![word.to_owned()]);
        let mode = |mode: &str| Some(mode.to_owned());
        let none = HostConfig::default;
        let driver = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let driver_config = Some(MountVolumeOptionsDriverConfig {
                options: Some(options.collect()),
                ..MountVolumeOptionsDriverConfig::default()
            });
            let options = MountVolumeOptions { driver_config, ..MountVolumeOptions::default() };
            let mount =
                Mount { typ: Some(MountType::VOLUME), volume_options: Some(options), ..Mount::default() };
            HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() }
        };
        let bind = |source: &str| {
            let mount =
                Mount { typ: Some(MountType::BIND), source: Some(source.to_owned()), ..Mount::default() };
            HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() }
        };
        let device = DeviceMapping { path_on_host: mode("/dev/kvm"), ..DeviceMapping::default() };
        for (settings, way) in [
            (HostConfig { privileged: Some(true), ..none() }, "privileged"),
            (HostConfig { masked_paths: Some(Vec::new()), ..none() }, "settings of the kernel"),
            (HostConfig { readonly_paths: Some(Vec::new()), ..none() }, "settings of the kernel"),
            (HostConfig { network_mode: mode("host"), ..none() }, "network namespace of the host"),
            (HostConfig { pid_mode: mode("host"), ..none() }, "pid namespace of the host"),
            (HostConfig { ipc_mode: mode("host"), ..none() }, "ipc namespace of the host"),
            (HostConfig { uts_mode: mode("host"), ..none() }, "uts namespace of the host"),
            (HostConfig { userns_mode: mode("host"), ..none() }, "user namespace of the host"),
            (
                HostConfig { network_mode: mode("ns:/proc/1/ns/net"), ..none() },
                "network namespace that is named by a path",
            ),
            (HostConfig { ipc_mode: mode("container:web"), ..none() }, "ipc namespace of another container"),
            (HostConfig { cap_add: one("SYS_PTRACE"), ..none() }, "capability SYS_PTRACE"),
            (HostConfig { cap_add: one("ALL"), ..none() }, "capability ALL"),
            (HostConfig { devices: Some(vec![device]), ..none() }, "device /dev/kvm"),
            (HostConfig { device_requests: Some(vec![DeviceRequest::default()]), ..none() }, "devices"),
            (HostConfig { device_cgroup_rules: one("c 1:3 rwm"), ..none() }, "devices"),
            (
                HostConfig { security_opt: one("apparmor=unconfined"), ..none() },
                "security option apparmor=unconfined",
            ),
            (HostConfig { security_opt: one("label=disable"), ..none() }, "security option label=disable"),
            (HostConfig { cgroup_parent: mode("/system.slice"), ..none() }, "control group of the host"),
            (HostConfig { volumes_from: one("web"), ..none() }, "volumes of another container"),
            (HostConfig { binds: one("/etc:/etc:ro"), ..none() }, "host path /etc"),
            (bind("/run/docker.sock"), "host path /run/docker.sock"),
            (
                driver(&[("type", "none"), ("o", "bind"), ("device", "/")]),
                "a volume with options of its driver",
            ),
        ] {
            assert_eq!(of_settings(&settings), [way]);
        }
        for settings in [
            none(),
            driver(&[]),
            HostConfig { privileged: Some(false), ..none() },
            HostConfig { network_mode: mode("none"), ..none() },
            HostConfig { ipc_mode: mode("shareable"), ..none() },
            HostConfig { cap_add: one("CAP_NET_BIND_SERVICE"), ..none() },
            HostConfig { security_opt: one("seccomp=builtin"), ..none() },
        ] {
            assert_eq!(of_settings(&settings), Vec::<String>::new());
        }
    }
}
