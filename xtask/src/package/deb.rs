//! The Debian package, by `dpkg-deb`. What its scripts do is written in them, in `packaging/deb`.

use super::{
    Compression, DESCRIPTION, MAINTAINER, Material, SUMMARY, VERSION, copyright, libraries, require, tree,
    tree::Tree,
};
use crate::{build, changelog, shell};
use anyhow::{Context as _, Result};
use std::{fs, process::Command};

/// Which of them `dpkg` runs.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// Who makes the account, where there is systemd and where there is none.
const ACCOUNTS: &str = "systemd-sysusers | adduser";

/// What tools are for, or asked by: without them those say what is missing.
const RECOMMENDED: &str = "ca-certificates, git, openssh-client, polkitd | policykit-1";

/// Makes it; says where it is.
pub(crate) fn make(material: &Material) -> Result<()> {
    require("dpkg-deb", "dpkg")?;
    let scratch = tempfile::tempdir()?;
    let tree = Tree::new(&scratch.path().join("root"))?;
    tree.programs(material)?;
    tree.units()?;
    tree.configuration()?;
    tree.manual(material)?;
    documents(&tree, material)?;
    control(&tree)?;
    let file = material.out.join(format!("skynet_{}_{}.deb", version(), architecture()));
    let mut command = material.command("dpkg-deb");
    command.args(["--root-owner-group", "--build"]);
    command.args(match material.compression {
        Compression::Best => ["-Zxz", "-z6"],
        Compression::Fast => ["-Zgzip", "-z1"],
    });
    shell::run(command.arg(tree.path("")).arg(&file))?;
    shell::step(&format!("made {}", file.display()));
    Ok(())
}

/// Debian sorts `~` before the end, so that an alpha comes before its release. The last number is that of the packaging.
fn version() -> String {
    format!("{}-1", VERSION.replace('-', "~"))
}

/// As Debian names this processor.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "riscv64" => "riscv64",
        other => other,
    }
}

fn documents(tree: &Tree, material: &Material) -> Result<()> {
    const PLACE: &str = "usr/share/doc/skynet";
    tree.put(&format!("{PLACE}/copyright"), copyright::file(&material.crates)?, 0o644)?;
    tree.copy("packaging/deb/README.Debian", &format!("{PLACE}/README.Debian"))?;
    tree.changes()?;
    let changes = changelog::debian(&version(), MAINTAINER, material.epoch)?;
    tree.compressed(&format!("{PLACE}/changelog.Debian"), changes)?;
    tree.copy("packaging/deb/lintian-overrides", "usr/share/lintian/overrides/skynet")
}

/// What dpkg reads. Last, because it says what else there is.
fn control(tree: &Tree) -> Result<()> {
    let files = tree.files()?;
    let mut sums = Command::new("md5sum");
    sums.current_dir(tree.path(""));
    let regular = files.iter().filter(|path| !tree.path(&path.to_string_lossy()).is_symlink());
    let sums = shell::capture(sums.args(regular))?;
    // By this directory dpkg-shlibdeps knows that the programs are where they will be.
    tree.directory("DEBIAN")?;
    let programs: Vec<_> =
        build::PROGRAMS.iter().map(|name| tree.path(&format!("{}/{name}", tree::PROGRAMS))).collect();
    let text = format!(
        "Package: skynet\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\nDepends: {}, {ACCOUNTS}\nRecommends: {RECOMMENDED}\nSuggests: docker.io\nSection: admin\nPriority: optional\nDescription: {SUMMARY}\n{}",
        version(),
        architecture(),
        size(tree)?,
        libraries::debian(&programs)?,
        DESCRIPTION.lines().map(|line| format!(" {line}\n")).collect::<String>(),
    );
    tree.put("DEBIAN/control", text, 0o644)?;
    tree.put("DEBIAN/md5sums", sums, 0o644)?;
    // What an administrator writes stays his through every upgrade (Debian policy, 10.7.3).
    let settings = files.iter().filter(|path| path.starts_with("etc"));
    tree.put(
        "DEBIAN/conffiles",
        settings.map(|path| format!("/{}\n", path.display())).collect::<String>(),
        0o644,
    )?;
    for script in SCRIPTS {
        let source = crate::root().join("packaging/deb").join(script);
        let text = fs::read(&source).with_context(|| format!("reading `{}`", source.display()))?;
        tree.put(&format!("DEBIAN/{script}"), text, 0o755)?;
    }
    Ok(())
}

/// In KiB, each file by itself (Debian policy, 5.6.20).
fn size(tree: &Tree) -> Result<u64> {
    let mut kib = 0;
    for file in tree.files()? {
        kib += fs::symlink_metadata(tree.path(&file.to_string_lossy()))?.len().div_ceil(1024);
    }
    Ok(kib)
}
