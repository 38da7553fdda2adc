//! The Debian package. That it installs, serves, upgrades and goes is tested in a booted machine.

use skynet_tests::{
    components,
    packages::{self, EPOCH, PROGRAMS, Workshop, mode, run},
    programs::program,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// One that was made, and its content laid out.
struct Deb {
    shop: Workshop,
    file: PathBuf,
}

impl Deb {
    /// The same for all tests; `None` where there is nothing to make one with.
    fn get() -> Option<&'static Self> {
        static DEB: OnceLock<Option<Deb>> = OnceLock::new();
        DEB.get_or_init(|| {
            components::program("dpkg-deb")?;
            let shop = Workshop::open()?;
            let file = shop.make("deb", "deb");
            run("dpkg-deb", &[Path::new("-R"), &file, &shop.path("root")]);
            Some(Self { shop, file })
        })
        .as_ref()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.shop.path("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    fn unpacked(&self, path: &str) -> String {
        run("gzip", &[Path::new("-dc"), &self.path(path)])
    }
}

#[test]
fn everything_is_in_its_place_and_roots() {
    let Some(deb) = Deb::get() else { return };
    for name in PROGRAMS {
        assert_eq!(mode(&deb.path(&format!("usr/lib/skynet/{name}"))), 0o755, "{name}");
    }
    for name in ["skynetctl", "skynet-shim"] {
        let link = deb.path(&format!("usr/bin/{name}"));
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("../lib/skynet").join(name));
        assert!(run(link.to_str().unwrap(), &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    }
    for (source, place) in [
        ("systemd/skynetd.service", "usr/lib/systemd/system/skynetd.service"),
        ("systemd/skynet-sandbox.service", "usr/lib/systemd/system/skynet-sandbox.service"),
        ("systemd/skynet.socket", "usr/lib/systemd/system/skynet.socket"),
        ("systemd/user/skynetd.service", "usr/lib/systemd/user/skynetd.service"),
        ("systemd/skynet.sysusers", "usr/lib/sysusers.d/skynet.conf"),
        ("systemd/skynet.tmpfiles", "usr/lib/tmpfiles.d/skynet.conf"),
        ("systemd/10-skynet.rules", "usr/share/polkit-1/rules.d/10-skynet.rules"),
        ("systemd/org.skynet.policy", "usr/share/polkit-1/actions/org.skynet.policy"),
        ("packaging/config.toml", "etc/skynet/config.toml"),
    ] {
        assert_eq!(fs::read(deb.path(place)).unwrap(), fs::read(packages::source().join(source)).unwrap());
        assert_eq!(mode(&deb.path(place)), 0o644, "{place}");
    }
    // What a unit starts is in the package.
    for unit in fs::read_dir(deb.path("usr/lib/systemd/system")).unwrap() {
        let text = fs::read_to_string(unit.unwrap().path()).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let program =
                line.split_whitespace().next().unwrap().trim_start_matches(['-', '+', '!', ':', '@']);
            assert!(deb.path(program.trim_start_matches('/')).is_file(), "{line}");
        }
    }
    let listed = run("dpkg-deb", &[Path::new("-c"), &deb.file]);
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        assert!(["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"].contains(&words[0]), "{line}");
        assert!(words[3].starts_with("2023-11-14"), "made when its source was: {line}");
    }
}

#[test]
fn control_says_what_it_is_and_needs() {
    let Some(deb) = Deb::get() else { return };
    let control = deb.read("DEBIAN/control");
    let field = |name: &str| {
        let line = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {control}")).to_owned()
    };
    assert_eq!(field("Version"), format!("{}-1", env!("CARGO_PKG_VERSION").replace('-', "~")));
    assert!(field("Depends").contains("libc6 (>= 2."), "{control}");
    assert!(field("Depends").contains("systemd-sysusers | adduser"), "{control}");
    assert!(field("Recommends").contains("git"), "{control}");
    assert!(field("Installed-Size").parse::<u64>().unwrap() > 1000);
    // What an administrator may change is asked about when a new version brings another.
    assert_eq!(deb.read("DEBIAN/conffiles"), "/etc/skynet/config.toml\n");
    assert_eq!(
        run("sh", &["-c", &format!("cd {} && md5sum -c --quiet DEBIAN/md5sums", deb.path("").display())]),
        ""
    );
}

#[test]
fn maintainer_scripts_are_scripts_of_any_shell() {
    let Some(deb) = Deb::get() else { return };
    for name in ["preinst", "postinst", "prerm", "postrm"] {
        let script = deb.path("DEBIAN").join(name);
        assert_eq!(mode(&script), 0o755, "{name}");
        run("sh", &[Path::new("-n"), &script]);
        let text = fs::read_to_string(&script).unwrap();
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"), "{name}");
        assert!(!text.contains("debconf"), "{name} asks nobody");
    }
    // Whatever dpkg says, without systemd and without anything there to act on.
    for arguments in [
        &["postrm", "upgrade", "1"][..],
        &["prerm", "upgrade", "1"],
        &["preinst", "upgrade", "1"],
        &["postinst", "triggered"],
    ] {
        run(deb.path("DEBIAN").join(arguments[0]).to_str().unwrap(), &arguments[1..]);
    }
}

#[test]
fn the_manual_is_there() {
    let Some(deb) = Deb::get() else { return };
    let page = deb.unpacked("usr/share/man/man1/skynetctl.1.gz");
    assert!(page.contains(".TH skynetctl 1"), "{page}");
    assert!(
        deb.path("usr/share/man/man1/skynetctl-audit-verify.1.gz").is_file(),
        "a page for each subcommand"
    );
    assert!(deb.unpacked("usr/share/man/man1/skynet-shim.1.gz").contains("\\-\\-workspace"));
    assert!(deb.unpacked("usr/share/man/man8/skynetd.8.gz").contains("\\-\\-system"));
    for completion in [
        "usr/share/bash-completion/completions/skynetctl",
        "usr/share/fish/vendor_completions.d/skynetctl.fish",
        "usr/share/zsh/vendor-completions/_skynetctl",
    ] {
        assert!(deb.read(completion).contains("skynetctl"), "{completion}");
    }
    let changes = deb.unpacked("usr/share/doc/skynet/changelog.Debian.gz");
    assert!(changes.starts_with("skynet (2."), "{changes}");
    assert!(changes.contains(" -- The Skynet developers <"), "{changes}");
    assert!(deb.unpacked("usr/share/doc/skynet/changelog.gz").starts_with("# Changelog\n"));
}

#[test]
fn every_crate_is_named_with_a_licence_whose_text_is_there() {
    let Some(deb) = Deb::get() else { return };
    let text = deb.read("usr/share/doc/skynet/copyright");
    let (mut named, mut given) = (Vec::new(), Vec::new());
    for paragraph in text.split("\n\n") {
        let licence = paragraph.lines().find_map(|line| line.strip_prefix("License: "));
        let Some(licence) = licence else { continue };
        if paragraph.starts_with("License: ") {
            given.push(licence);
            assert!(paragraph.lines().count() > 2, "{licence} has a text");
        } else {
            assert!(paragraph.contains("\nCopyright: "), "{paragraph}");
            named.extend(licence.split(" and "));
        }
    }
    for licence in named {
        assert!(given.contains(&licence), "{licence}");
    }
    for known in ["serde-1.", "tokio-1.", "ring-0.", "sled-0.34.7", "tree-sitter-bash-0."] {
        assert!(text.contains(known), "{known}");
    }
}

#[test]
fn the_configuration_that_is_installed_is_the_default() {
    let Some(deb) = Deb::get() else { return };
    let installed = deb.path("etc/skynet/config.toml");
    let show = |file: &Path| {
        let mut command = Command::new(program("skynetd"));
        command.args(["--system", "config", "show", "--config"]).arg(file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let default = show(&deb.shop.path("there-is-none.toml"));
    assert_eq!(show(&installed), default);
    // What is commented out is valid as well, and the values that stand alone are the defaults.
    let text = fs::read_to_string(&installed).unwrap();
    let all: Vec<&str> = text.lines().map(|line| setting(line).unwrap_or(line)).collect();
    let file = deb.shop.path("all.toml");
    fs::write(&file, all.join("\n")).unwrap();
    let shown = show(&file);
    for line in default.lines().filter(|line| line.contains(" = ") && !line.contains("= []")) {
        assert!(shown.contains(line), "the default is `{line}`, and the file says something else:\n{shown}");
    }
}

/// A line of the configuration that is commented out: no blank after the sign, unlike prose.
fn setting(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|char: char| char.is_ascii_lowercase() || char == '['))
}

#[test]
fn the_same_source_makes_the_same_package() {
    let Some(deb) = Deb::get() else { return };
    let again = deb.shop.make("deb", "again");
    assert!(fs::read(&again).unwrap() == fs::read(&deb.file).unwrap(), "made of the same at {EPOCH}");
}

#[test]
fn lintian_finds_nothing() {
    let Some(deb) = Deb::get() else { return };
    if components::program("lintian").is_none() {
        return;
    }
    run("lintian", &[Path::new("--allow-root"), Path::new("--fail-on=error,warning"), &deb.file]);
}
