//! The snap.

use skynet_tests::{
    components,
    packages::{self, PROGRAMS, Workshop, mode, run},
};
use std::{fs, path::Path};

#[test]
fn it_has_the_programs_and_what_snapd_reads() {
    if components::program("mksquashfs").is_none() {
        return;
    }
    let Some(shop) = Workshop::open() else { return };
    let file = shop.make("snap", "snap");
    let root = shop.path("root");
    run("unsquashfs", &[Path::new("-quiet"), Path::new("-no-progress"), Path::new("-dest"), &root, &file]);
    for name in PROGRAMS {
        assert_eq!(mode(&root.join("usr/lib/skynet").join(name)), 0o755, "{name}");
    }
    let told = fs::read_to_string(root.join("meta/snap.yaml")).unwrap();
    let recipe = fs::read_to_string(packages::source().join("packaging/snap/snapcraft.yaml")).unwrap();
    for line in ["name: skynet", "base: core24", "confinement: classic", "grade: devel"] {
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
        assert!(recipe.lines().any(|found| found == line), "{line}: {recipe}");
    }
    assert!(told.contains(&format!("\nversion: '{}'\n", env!("CARGO_PKG_VERSION"))), "{told}");
    assert!(told.contains("\narchitectures: ["), "{told}");
    for of_the_build in ["parts:", "platforms:", "adopt-info:", "override-build:"] {
        assert!(recipe.contains(of_the_build) && !told.contains(of_the_build), "{of_the_build}: {told}");
    }
    // What an app starts is there, and starts.
    let commands: Vec<&str> = told.lines().filter_map(|line| line.trim().strip_prefix("command: ")).collect();
    assert_eq!(commands, ["usr/bin/skynet-shim", "usr/bin/skynetctl"]);
    for command in commands {
        let version = run(root.join(command).to_str().unwrap(), &["--version"]);
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
    for completer in told.lines().filter_map(|line| line.trim().strip_prefix("completer: ")) {
        assert!(root.join(completer).is_file(), "{completer}");
    }
    assert!(
        run("unsquashfs", &[Path::new("-lln"), &file])
            .lines()
            .all(|line| !line.contains("rwxrwx") || line.starts_with('l'))
    );
}
