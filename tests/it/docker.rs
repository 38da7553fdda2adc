//! How far each call of the docker family goes, and which of them a human is asked about whatever rules say. What only the
//! engine knows, whether a volume is there or a container reaches the host, is judged when the call is made (`tests/e2e/host/docker`).

use skynet_core::{
    Canonical,
    Effect::{self, Destroy, External, Read, Write},
    Registry,
};
use skynet_tests::workbench;
use std::sync::LazyLock;

static PRODUCT: LazyLock<Registry> = LazyLock::new(workbench::product);

/// Whether a human is asked each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ByRules,
    Always,
}
use Asked::{Always, ByRules};

fn judged(tool: &str, input: &str) -> skynet_core::Result<(Effect, Asked)> {
    let entry = PRODUCT.find(tool)?;
    let input = Canonical::parse(input.as_bytes())?;
    let asked = if entry.must_ask(&input, None)?.is_some() { Always } else { ByRules };
    Ok((entry.effect_of(&input)?, asked))
}

fn check(tool: &str, cases: &[(&str, Effect, Asked)]) {
    for (input, effect, asked) in cases {
        assert_eq!(judged(tool, input).unwrap(), (*effect, *asked), "{tool} {input}");
    }
}

/// Members of a container that is made, and what it does with them in no network.
const OF_A_CONTAINER: &[(&str, Effect, Asked)] = &[
    ("", Write, ByRules),
    (r#""user":"0""#, Write, ByRules),
    (r#""read_only":true"#, Write, ByRules),
    (r#""create_only":true"#, Write, ByRules),
    (r#""wait_seconds":5,"remove":true"#, Write, ByRules),
    // Once it comes back by itself, nobody has said so each time.
    (r#""restart":"no""#, Write, ByRules),
    (r#""restart":"always""#, External, ByRules),
    (r#""restart":"unless-stopped""#, External, ByRules),
    (r#""restart":"on-failure""#, External, ByRules),
    // Memory, a volume that is made or only read, one that others write to.
    (r#""mounts":[{"target":"/d"}]"#, Write, ByRules),
    (r#""mounts":[{"source":"data","target":"/d"}]"#, Write, ByRules),
    (r#""mounts":[{"source":"data","target":"/d","read_only":true}]"#, Write, ByRules),
    (r#""mounts":[{"source":"data","target":"/d"}],"existing_volumes":true"#, Destroy, ByRules),
    (r#""restart":"always","existing_volumes":true"#, Destroy, ByRules),
    (r#""host":{"host_volumes":true}"#, Destroy, Always),
    // Paths of the host, and the sockets by which its engine is had.
    (r#""mounts":[{"source":"/","target":"/host","read_only":true}]"#, Destroy, Always),
    (r#""mounts":[{"source":"/home/ann/project","target":"/d"}]"#, Destroy, Always),
    (r#""mounts":[{"source":"/run/docker.sock","target":"/s"}]"#, Destroy, Always),
    (r#""mounts":[{"source":"/var/run/docker.sock","target":"/s","read_only":true}]"#, Destroy, Always),
    (r#""mounts":[{"source":"/run/podman/podman.sock","target":"/s"}]"#, Destroy, Always),
    // Power over the host.
    (r#""host":{}"#, Write, ByRules),
    (r#""host":{"privileged":false}"#, Write, ByRules),
    (r#""host":{"privileged":true}"#, Destroy, Always),
    (r#""host":{"namespaces":["ipc"]}"#, Destroy, Always),
    (r#""host":{"namespaces":["network"]}"#, Destroy, Always),
    (r#""host":{"namespaces":["pid"]}"#, Destroy, Always),
    (r#""host":{"namespaces":["user"]}"#, Destroy, Always),
    (r#""host":{"namespaces":["uts"]}"#, Destroy, Always),
    (r#""host":{"capabilities":["SYS_ADMIN"]}"#, Destroy, Always),
    (r#""host":{"capabilities":["NET_BIND_SERVICE"]}"#, Write, ByRules),
    (r#""host":{"devices":["/dev/kvm"]}"#, Destroy, Always),
    (r#""restart":"always","host":{"privileged":true}"#, Destroy, Always),
];

#[test]
fn a_container_goes_as_far_as_what_it_is_made_with() {
    for (members, effect, asked) in OF_A_CONTAINER {
        let members = if members.is_empty() { String::new() } else { format!(",{members}") };
        let alone = format!(r#"{{"image":"x","network":"none"{members}}}"#);
        assert_eq!(judged("docker_run_container", &alone).unwrap(), (*effect, *asked), "{alone}");
        // In a network it leaves the host, which is no leave to lose or to reach anything.
        for network in ["", r#","network":"bridge""#] {
            let connected = format!(r#"{{"image":"x"{network}{members}}}"#);
            let expected = if *effect == Write { External } else { *effect };
            assert_eq!(
                judged("docker_run_container", &connected).unwrap(),
                (expected, *asked),
                "{connected}"
            );
        }
    }
    check("docker_run_container", &[(r#"{"image":"x","network":"host"}"#, Destroy, Always)]);
}

#[test]
fn containers_that_are_there_are_changed_as_far_as_told() {
    check(
        "docker_update_container",
        &[
            (r#"{"container":"x","cpus":1.5}"#, Write, ByRules),
            (r#"{"container":"x","restart":"no"}"#, Write, ByRules),
            (r#"{"container":"x","restart":"always"}"#, External, ByRules),
            (r#"{"container":"x","restart":"on-failure"}"#, External, ByRules),
            (r#"{"container":"x","memory_mib":64}"#, Destroy, ByRules),
            (r#"{"container":"x","processes":1}"#, Destroy, ByRules),
            (r#"{"container":"x","name":"y"}"#, Destroy, ByRules),
            (r#"{"container":"x","name":"y","restart":"always"}"#, Destroy, ByRules),
        ],
    );
    check(
        "docker_control_container",
        &[
            (r#"{"container":"x","action":"pause"}"#, Write, ByRules),
            (r#"{"container":"x","action":"unpause"}"#, External, ByRules),
            (r#"{"container":"x","action":"start"}"#, External, ByRules),
            (r#"{"container":"x","action":"start","reaches_host":true}"#, External, Always),
            (r#"{"container":"x","action":"stop"}"#, Destroy, ByRules),
            (r#"{"container":"x","action":"stop","reaches_host":true}"#, Destroy, ByRules),
            (r#"{"container":"x","action":"restart"}"#, Destroy, ByRules),
            (r#"{"container":"x","action":"restart","reaches_host":true}"#, Destroy, Always),
            (r#"{"container":"x","action":"kill"}"#, Destroy, ByRules),
            (r#"{"container":"x","action":"kill","signal":"SIGHUP"}"#, Destroy, ByRules),
        ],
    );
    check(
        "docker_exec_container",
        &[
            (r#"{"container":"x","argv":["id"]}"#, External, ByRules),
            (r#"{"container":"x","argv":["id"],"user":"root"}"#, External, ByRules),
            (r#"{"container":"x","argv":["id"],"user":"0:0"}"#, External, ByRules),
            (r#"{"container":"x","argv":["id"],"reaches_host":true}"#, Destroy, Always),
        ],
    );
    check(
        "docker_copy_files",
        &[
            (r#"{"container":"x","direction":"out_of_container","from":"/f","into":"."}"#, Write, ByRules),
            (
                r#"{"container":"x","direction":"out_of_container","from":"/f","into":".","reaches_host":true}"#,
                Destroy,
                Always,
            ),
            (r#"{"container":"x","direction":"into_container","from":"f","into":"/"}"#, External, ByRules),
            (
                r#"{"container":"x","direction":"into_container","from":"f","into":"/","reaches_host":true}"#,
                External,
                Always,
            ),
        ],
    );
    check(
        "docker_remove_container",
        &[
            (r#"{"container":"x"}"#, Destroy, ByRules),
            (r#"{"container":"x","force":true,"volumes":true}"#, Destroy, ByRules),
        ],
    );
}

#[test]
fn networks_volumes_and_images_are_changed_as_far_as_told() {
    check(
        "docker_control_network",
        &[
            (r#"{"network":"n","action":"create"}"#, Write, ByRules),
            (r#"{"network":"n","action":"connect","container":"x"}"#, External, ByRules),
            (r#"{"network":"n","action":"disconnect","container":"x"}"#, Destroy, ByRules),
            (r#"{"network":"n","action":"remove"}"#, Destroy, ByRules),
        ],
    );
    check(
        "docker_control_volume",
        &[
            (r#"{"volume":"v","action":"create"}"#, Write, ByRules),
            (r#"{"volume":"v","action":"remove"}"#, Destroy, ByRules),
        ],
    );
    for kind in ["containers", "dangling_images", "all_images", "networks", "volumes", "build_cache"] {
        let input = format!(r#"{{"kinds":["{kind}"]}}"#);
        check("docker_prune_unused", &[(input.as_str(), Destroy, ByRules)]);
    }
    check("docker_build_image", &[("{}", External, ByRules), (r#"{"offline":true}"#, External, ByRules)]);
    for (tool, input, effect, asked) in [
        ("docker_pull_image", r#"{"image":"x"}"#, External, ByRules),
        ("docker_push_image", r#"{"image":"x"}"#, External, ByRules),
        ("docker_save_images", r#"{"images":["x"],"path":"f.tar"}"#, Write, ByRules),
        // A name that is taken becomes another image's.
        ("docker_load_images", r#"{"path":"f.tar"}"#, Destroy, ByRules),
        ("docker_tag_image", r#"{"image":"x","tag":"y"}"#, Destroy, ByRules),
        ("docker_remove_image", r#"{"image":"x"}"#, Destroy, ByRules),
        ("docker_run_compose", r#"{"action":"up"}"#, Destroy, Always),
        ("docker_run_compose", r#"{"action":"down"}"#, Destroy, Always),
        ("docker_run_compose", r#"{"action":"ps"}"#, Read, ByRules),
        ("docker_run_compose", r#"{"action":"logs"}"#, Read, ByRules),
        ("docker_list_containers", "{}", Read, ByRules),
        ("docker_read_logs", r#"{"container":"x"}"#, Read, ByRules),
    ] {
        check(tool, &[(input, effect, asked)]);
    }
}

/// What no field says cannot be asked for beside them.
#[test]
fn what_would_give_more_than_the_fields_say_is_refused() {
    for (tool, input) in [
        ("docker_run_container", r#"{"image":"x","privileged":true}"#),
        ("docker_run_container", r#"{"image":"x","security_opt":["seccomp=unconfined"]}"#),
        ("docker_run_container", r#"{"image":"x","host":{"security_opt":["seccomp=unconfined"]}}"#),
        ("docker_run_container", r#"{"image":"x","host":{"namespaces":["cgroup"]}}"#),
        ("docker_run_container", r#"{"image":"x","network":"container:web"}"#),
        ("docker_run_container", r#"{"image":"x","network":"ns:/proc/1/ns/net"}"#),
        ("docker_exec_container", r#"{"container":"x","argv":["id"],"privileged":true}"#),
        ("docker_prune_unused", r#"{"kinds":["everything"]}"#),
    ] {
        let refused = judged(tool, input).unwrap_err();
        assert_eq!(refused.kind, skynet_core::ErrorKind::InvalidInput, "{tool} {input}: {refused:?}");
    }
}
