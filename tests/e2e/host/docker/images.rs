//! Images, networks, volumes, and the engine as a whole.

use super::{AGREED, Stage};
use serde_json::{Value, json};
use skynet_tests::{engine::IMAGE, programs::outcome, registry};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

impl Stage {
    /// Files of the workspace, of its user.
    fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.project.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let owner = format!("{}:{}", self.ann.uid, self.ann.gid);
        let status = std::process::Command::new("chown").arg("-R").arg(owner).arg(&self.project).status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn images_are_built_shown_tagged_saved_and_removed() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.write(&[
        ("app/Dockerfile", "FROM busybox\nARG WORD=no\nCOPY . /app\nRUN echo says $WORD; ls -A /app\nLABEL of=test\nENTRYPOINT [\"sh\"]\n"),
        ("app/main.sh", "echo hi\n"),
        ("app/target/large", "not sent"),
        ("app/sub/node_modules/x", "not sent"),
        ("app/drop.log", "not sent"),
        ("app/keep.log", "sent"),
        ("app/.dockerignore", "# ours\n/target/\n**/node_modules\n*.log  \n!keep.log\n"),
        ("bad/Dockerfile", "FROM busybox\nRUN echo before; exit 3\n"),
    ]);
    let mut shim = stage.member();
    let mut call = |tool: &str, input: Value| shim.call(tool, input);
    let input = json!({ "context": "app", "tag": "app:1", "arguments": { "WORD": "yes" }, "offline": true });
    let built = call("docker_build_image", input).unwrap();
    let log = built["log"].to_string();
    assert!(log.contains("says yes") && log.contains("main.sh") && !log.contains("target"), "{built}");
    assert!(log.contains("keep.log") && !log.contains("drop.log"), "{built}");
    assert!(
        built["image_id"].as_str().unwrap().starts_with("sha256:")
            && built["context_bytes"].as_u64().unwrap() > 1024,
        "{built}"
    );
    let err = call("docker_build_image", json!({ "context": "bad", "offline": true })).unwrap_err();
    assert!(err.starts_with("conflict: the build failed") && err.contains("before"), "{err}");
    for (context, part) in
        [("missing", "missing"), ("../..", "leads out of the workspace"), ("app/sub", "Dockerfile")]
    {
        let err = call("docker_build_image", json!({ "context": context })).unwrap_err();
        assert!(err.contains(part), "{context}: {err}");
    }

    let listed = call("docker_list_images", json!({ "name": "app" })).unwrap();
    assert_eq!((&listed["total"], &listed["images"][0]["tags"]), (&json!(1), &json!(["app:1"])), "{listed}");
    let shown = call("docker_show_image", json!({ "image": "app:1" })).unwrap();
    assert_eq!((&shown["labels"]["of"], &shown["command"]), (&json!("test"), &json!(["sh"])), "{shown}");
    assert!(shown["history"].as_array().unwrap().len() >= 5, "{shown}");
    assert!(call("docker_show_image", json!({ "image": "ap" })).unwrap_err().contains("near it are `app:1`"));
    let tagged = call("docker_tag_image", json!({ "image": "app:1", "tag": "app:2" })).unwrap();
    assert_eq!(tagged, json!({ "image": "app:1", "tag": "app:2" }));
    assert!(
        call("docker_tag_image", json!({ "image": "nothing", "tag": "x" }))
            .unwrap_err()
            .starts_with("not_found")
    );

    let saved =
        call("docker_save_images", json!({ "images": ["app:1", "app:2"], "path": "out.tar" })).unwrap();
    let length = fs::metadata(stage.project.join("out.tar")).unwrap().len();
    assert_eq!(saved["bytes"], length, "{saved}");
    assert!(
        call("docker_save_images", json!({ "images": ["nothing"], "path": "x.tar" }))
            .unwrap_err()
            .starts_with("not_found")
    );
    for tag in ["app:1", "app:2"] {
        let removed = call("docker_remove_image", json!({ "image": tag })).unwrap();
        assert_eq!(removed["untagged"], json!([tag]), "{removed}");
    }
    assert!(call("docker_remove_image", json!({ "image": "app:1" })).unwrap_err().starts_with("not_found"));
    let mut loaded = call("docker_load_images", json!({ "path": "out.tar" })).unwrap();
    loaded["images"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    assert_eq!(loaded, json!({ "images": ["app:1", "app:2"] }));
    assert!(
        call("docker_load_images", json!({ "path": "missing.tar" })).unwrap_err().contains("missing.tar")
    );
    assert!(call("docker_load_images", json!({ "path": "app/main.sh" })).is_err());
    // Nobody answers there, which is said by the engine.
    for tool in ["docker_pull_image", "docker_push_image"] {
        let _ = stage.engine.docker(&["tag", IMAGE, "127.0.0.1:1/a"]);
        let err = call(tool, json!({ "image": "127.0.0.1:1/a" })).unwrap_err();
        assert!(
            err.starts_with("unavailable: image `127.0.0.1:1/a`") && err.contains("refused"),
            "{tool}: {err}"
        );
        let err = call(tool, json!({ "image": "127.0.0.1:1/a", "secret": "none-of-that-name" })).unwrap_err();
        assert!(err.contains("none-of-that-name"), "{tool}: {err}");
    }

    // Followed, and stopped where its caller stops.
    stage.write(&[("slow/Dockerfile", "FROM busybox\nRUN echo began; sleep 600\n")]);
    let call = json!({ "name": "docker_build_image", "arguments": { "context": "slow", "offline": true }, "_meta": { "progressToken": 1 } });
    let id = shim.post("tools/call", call);
    while !shim.receive()["params"]["message"].as_str().is_some_and(|text| text.contains("began")) {}
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    skynet_tests::programs::wait_until(|| stage.engine.docker(&["ps", "-q"]).is_empty());
    outcome(&shim.request("tools/call", json!({ "name": "docker_list_images", "arguments": {} }))).unwrap();
}

#[test]
fn many_files_that_cannot_be_used_are_said_and_hold_nothing_up() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("box", "sleep 600");
    stage.write(&[("app/Dockerfile", "FROM busybox\n"), ("app/.dockerignore", "none\n")]);
    // Not its user's. There is a line about each, and a pipe holds 64 KiB of them (pipe(7)).
    let sealed = stage.project.join("app/sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, Permissions::from_mode(0o755)).unwrap();
    for number in 0..1200 {
        let path = sealed.join(format!("{number:0100}"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    }
    let fill = "mkdir /many; cd /many; for n in $(seq 1200); do : > $(printf %0100d $n); done";
    let _ = stage.engine.docker(&["exec", "box", "sh", "-c", fill]);
    let mut shim = stage.member();
    let copy = |direction: &str, from: &str, into: &str| json!({ "container": "box", "direction": direction, "from": from, "into": into });
    for (tool, input) in [
        ("docker_build_image", json!({ "context": "app", "offline": true })),
        ("docker_copy_files", copy("into_container", "app", "/")),
        ("docker_copy_files", copy("out_of_container", "/many", "app/sealed")),
    ] {
        let err = shim.call(tool, input.clone()).unwrap_err();
        assert!(err.starts_with("invalid_input") && err.contains("Permission denied"), "{input}: {err}");
    }
}

#[test]
fn an_image_is_pulled_layer_by_layer() {
    let Some(stage) = Stage::set(AGREED) else { return };
    let directory = tempfile::tempdir().unwrap();
    let image = format!("127.0.0.1:{}/two", registry::serve(directory.path()));
    let mut shim = stage.member();
    let call = json!({ "name": "docker_pull_image", "arguments": { "image": image }, "_meta": { "progressToken": 1 } });
    let id = shim.post("tools/call", call);
    let mut shown = Vec::new();
    let answer = loop {
        let message = shim.receive();
        if message["id"] == id {
            break outcome(&message).unwrap();
        }
        shown.extend(message["params"]["message"].as_str().map(str::to_owned));
    };
    assert_eq!((&answer["image"], &answer["layers"]), (&json!(image), &json!(2)), "{answer}");
    assert!(answer["status"].as_str().unwrap().contains("Downloaded newer image"), "{answer}");
    assert!(shown.iter().any(|text| text.contains(": Pull complete")), "{shown:?}");
    let err = shim.call("docker_pull_image", json!({ "image": format!("{image}:none") })).unwrap_err();
    assert!(err.contains("none"), "{err}");
    assert_eq!(shim.call("docker_list_images", json!({ "name": "two" })).unwrap()["total"], 1);
}

#[test]
fn networks_volumes_and_the_engine_are_shown_and_cleaned() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("web", "sleep 600");
    let mut shim = stage.member();
    let mut call = |tool: &str, input: Value| shim.call(tool, input);
    let made =
        call("docker_control_network", json!({ "action": "create", "network": "inner", "internal": true }))
            .unwrap();
    let network = &made["networks"][0];
    assert_eq!((&network["driver"], &network["internal"]), (&json!("bridge"), &json!(true)), "{made}");
    for (input, kind, part) in [
        (json!({ "action": "create", "network": "inner" }), "conflict", "exists already"),
        (json!({ "action": "connect", "network": "inner" }), "invalid_input", "`container` is missing"),
        (
            json!({ "action": "connect", "network": "iner", "container": "box" }),
            "not_found",
            "near it are `web`",
        ),
        (json!({ "action": "remove", "network": "iner" }), "not_found", "`inner`"),
    ] {
        let err = call("docker_control_network", input.clone()).unwrap_err();
        assert!(err.starts_with(kind) && err.contains(part), "{input}: {err}");
    }
    let _ = stage.engine.docker(&["create", "--network", "inner", "--name", "other", IMAGE]);
    call(
        "docker_control_network",
        json!({ "action": "disconnect", "network": "inner", "container": "other" }),
    )
    .unwrap();
    call("docker_control_network", json!({ "action": "connect", "network": "inner", "container": "other" }))
        .unwrap();
    let listed = call("docker_list_networks", json!({})).unwrap();
    assert!(listed["networks"].to_string().contains("inner"), "{listed}");

    let made = call("docker_control_volume", json!({ "action": "create", "volume": "data" })).unwrap();
    assert_eq!(made["volumes"][0]["name"], "data", "{made}");
    assert_eq!(call("docker_list_volumes", json!({ "name": "dat" })).unwrap()["total"], 1);
    let gone = call("docker_control_volume", json!({ "action": "remove", "volume": "data" })).unwrap();
    assert_eq!(gone, json!({ "volumes": [] }));
    let err = call("docker_control_volume", json!({ "action": "remove", "volume": "data" })).unwrap_err();
    assert!(err.starts_with("not_found"), "{err}");

    let engine = call("docker_show_engine", json!({})).unwrap();
    let usage = engine["usage"].as_array().unwrap();
    assert_eq!(
        (usage.len(), &engine["containers_running"], &engine["rootless"]),
        (4, &json!(1), &json!(false)),
        "{engine}"
    );
    assert!(usage[0]["size_bytes"].as_u64().unwrap() > 100_000 && usage[1]["count"] == 2, "{engine}");
    let events = call("docker_watch_events", json!({ "since": "10m", "container": "web" })).unwrap();
    let actions: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|one| one["action"].clone()).collect();
    assert!(actions.contains(&json!("create")) && actions.contains(&json!("start")), "{events}");
    assert!(call("docker_watch_events", json!({ "since": "then" })).unwrap_err().contains("is no time"));
    assert_eq!(call("docker_list_projects", json!({})).unwrap(), json!({ "projects": [] }));
    let labels = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=cart"];
    let _ = stage.engine.docker(&[&["create", "--name", "of-shop"], &labels[..], &[IMAGE]].concat());
    let found = call("docker_list_projects", json!({})).unwrap();
    assert_eq!(found, json!({ "projects": [{ "name": "shop", "services": { "cart": "created" } }] }));

    let kinds = json!({ "kinds": ["containers", "networks", "volumes", "dangling_images", "build_cache"] });
    let pruned = call("docker_prune_unused", kinds).unwrap();
    let counts: Vec<_> =
        pruned["pruned"].as_array().unwrap().iter().map(|one| one["count"].clone()).collect();
    assert_eq!(counts, [json!(2), json!(1), json!(0), json!(0), json!(0)], "{pruned}");
    assert!(call("docker_prune_unused", json!({ "kinds": [] })).unwrap_err().starts_with("invalid_input"));

    let call = json!({ "name": "docker_watch_events", "arguments": { "seconds": 600 }, "_meta": { "progressToken": 1 } });
    let id = shim.post("tools/call", call);
    // Until it is watched nothing of this is heard.
    let mut is_heard = false;
    while !is_heard {
        let _ = stage.engine.docker(&["pause", "web"]);
        let _ = stage.engine.docker(&["unpause", "web"]);
        is_heard =
            shim.receive()["params"]["message"].as_str().is_some_and(|text| text.contains("container web"));
    }
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    outcome(&shim.request("tools/call", json!({ "name": "docker_list_volumes", "arguments": {} }))).unwrap();
}
