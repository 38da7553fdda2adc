//! The image of Skynet, run by a container engine of the test's own.

use super::wait_until;
use serde_json::Value;
use skynet_tests::{engine::Dockerd, packages::Workshop};
use std::{fs, os::unix::fs::chown};

/// Who the image's programs run as.
const USER: u32 = 65532;

/// What the sandbox needs to make namespaces of its own: Docker's filter and masks off, and no right more.
const OPEN: [&str; 4] = ["--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"];

#[test]
fn the_image_serves_its_container() {
    let Some(shop) = Workshop::open_working() else { return };
    let Some(engine) = Dockerd::start(&shop.path("engine"), 0) else { return };
    let file = shop.make("image", "image");
    let loaded = engine.docker(&["load", "--quiet", "--input", file.to_str().unwrap()]);
    let image = loaded.rsplit(' ').next().unwrap();
    assert_eq!(image, format!("skynet:{}", env!("CARGO_PKG_VERSION")));
    let run = ["run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/skynetctl", image, "--version"];
    assert_eq!(engine.docker(&run), format!("skynetctl {}", env!("CARGO_PKG_VERSION")));

    let project = shop.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("a"), "of the host\n").unwrap();
    chown(&project, Some(USER), Some(USER)).unwrap();
    let volume = format!("{}:/home/skynet/work", project.display());
    let start = [
        &["run", "--detach", "--network", "none", "--name", "skynet", "--volume", &volume],
        &OPEN[..],
        &[image],
    ];
    let _ = engine.docker(&start.concat());
    let ctl = |arguments: &[&str]| {
        engine.try_docker(&[&["exec", "skynet", "/usr/bin/skynetctl"], arguments].concat())
    };
    wait_until(|| ctl(&["status"]).is_ok());
    let status: Value = serde_json::from_str(&ctl(&["--json", "status"]).unwrap()).unwrap();
    assert_eq!(status["pid"], 1, "{status}");
    let call =
        |tool: &str, input: &str| ctl(&["tools", "call", "--workspace", "/home/skynet/work", tool, input]);
    let read = call("files_read", "{\"path\":\"a\"}").unwrap();
    assert!(read.contains("of the host"), "{read}");
    let _ = call("files_write", "{\"path\":\"b\",\"content\":\"of the container\"}").unwrap();
    assert_eq!(fs::read_to_string(project.join("b")).unwrap(), "of the container");
    // There is no program in it but Skynet's own.
    let said = call("exec_run", "{\"script\":\"true\"}").unwrap_err();
    assert!(said.contains("not found") || said.contains("no such"), "{said}");
}
