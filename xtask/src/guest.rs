//! The tests of a whole host in a virtual machine, which has what the machine of a developer may not have: systemd as the
//! first process, one hierarchy of control groups (cgroup v2), and AppArmor. The processor is emulated, so that it
//! needs no rights to a hypervisor; it takes some minutes.

use crate::{build, environment, shell};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Show all that the guest prints.
    #[arg(long)]
    verbose: bool,
}

/// A guest that takes longer hangs.
const LONGEST: &str = "30m";

/// Of the guest; its files are part of it.
const MEMORY: &str = "4G";

/// Modules of the kernel that tests need, by their place and name.
const MODULES: [&str; 2] = ["fs/overlayfs/overlay.ko", "net/netfilter/nfnetlink.ko"];

/// A Debian with what the tests use.
const RELEASE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,libnss-systemd,ca-certificates,procps,git,python3,curl,iproute2,util-linux,apparmor,kmod,passwd,polkitd,openssh-client,openssh-server";

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(shell::is_root(), "only root can make the files of a virtual machine");
    shell::install_packages(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("mmdebstrap", "mmdebstrap"),
        ("cpio", "cpio"),
        ("strip", "binutils"),
    ])?;
    let place = environment::directory().join("guest");
    fs::create_dir_all(&place)?;
    let kernel = kernel(&place)?;
    let system = system(&place)?;
    let ours = ours(&place, &kernel)?;
    let image = place.join("initrd.cpio");
    // The kernel unpacks one archive after the other (initramfs buffer format).
    let mut all = File::create(&image)?;
    for part in [&system, &ours] {
        std::io::copy(&mut File::open(part)?, &mut all)?;
    }
    boot(&kernel.join("vmlinuz"), &image, options)
}

/// A kernel of Debian, unpacked, not installed.
fn kernel(place: &Path) -> Result<PathBuf> {
    let unpacked = place.join("kernel");
    if unpacked.join("vmlinuz").exists() {
        return Ok(unpacked);
    }
    shell::step("fetching a kernel");
    fs::create_dir_all(&unpacked)?;
    let about = Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]).output()?;
    let about = String::from_utf8(about.stdout)?;
    let package =
        about.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).context("its package")?;
    shell::run(Command::new("apt-get").args(["download", "--quiet=2", package]).current_dir(&unpacked))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let package = entries(&unpacked)?.into_iter().find(is_package).context("the package of the kernel")?;
    shell::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    let kernel = entries(&unpacked.join("boot"))?;
    let kernel =
        kernel.iter().find(|path| path.to_string_lossy().contains("vmlinuz")).context("the kernel")?;
    let modules = entries(&unpacked.join("lib/modules"))?.pop().context("the modules of the kernel")?;
    for module in MODULES.map(Path::new) {
        let name = module.file_name().context("the name of a module")?;
        fs::copy(modules.join("kernel").join(module), unpacked.join(name))?;
    }
    fs::rename(kernel, unpacked.join("vmlinuz"))?;
    Ok(unpacked)
}

/// The files of a small system, as an archive.
fn system(place: &Path) -> Result<PathBuf> {
    let archive = place.join("system.cpio");
    let stamp = place.join("system.packages");
    if fs::read_to_string(&stamp).is_ok_and(|packages| packages == PACKAGES) {
        return Ok(archive);
    }
    shell::step("making a system for the guest");
    let tree = place.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase", "--format=directory"]).arg(format!("--include={PACKAGES}"));
    shell::run(make.arg(RELEASE).arg(&tree))?;
    pack(&tree, &archive)?;
    fs::remove_dir_all(&tree)?;
    fs::write(&stamp, PACKAGES)?;
    Ok(archive)
}

/// What is of this checkout: a package, its programs for tests, and these.
fn ours(place: &Path, kernel: &Path) -> Result<PathBuf> {
    let tree = place.join("ours");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let (programs, units) = (tree.join("skynet/programs"), tree.join("usr/lib/systemd/system"));
    let wanted = tree.join("etc/systemd/system/multi-user.target.wants");
    for directory in [&programs, &units, &wanted] {
        fs::create_dir_all(directory)?;
    }
    let strip = |from: &Path, to: &Path| shell::run(Command::new("strip").arg("-o").arg(to).arg(from));
    let mut built = build::cargo(&["test", "--package", "skynet-tests", "--test", "e2e", "--no-run"])?;
    built.extend(build::cargo(&["build", "--workspace", "--bins"])?);
    let mut packager = None;
    for program in built {
        if !program.is_test && program.name == "xtask" {
            packager = Some(program.path.clone());
        }
        if program.is_test && program.name == "e2e" {
            strip(&program.path, &tree.join("skynet/e2e"))?;
        } else if !program.is_test && build::PROGRAMS.contains(&program.name.as_str()) {
            strip(&program.path, &programs.join(&program.name))?;
        }
    }
    // Not this very file, in whose place there may be another by now.
    let mut package = Command::new(packager.context("the program that packs")?);
    package
        .args(["package", "deb", "--fast", "--binaries"])
        .arg(&programs)
        .arg("--out")
        .arg(tree.join("skynet/package"));
    shell::run(&mut package)?;
    for module in MODULES {
        let name = Path::new(module).file_name().context("the name of a module")?;
        fs::copy(kernel.join(name), tree.join("skynet").join(name))?;
    }
    for (name, script) in [("begin.sh", include_str!("begin.sh")), ("guest.sh", include_str!("guest.sh"))] {
        let path = tree.join("skynet").join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    let unit = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nExecStart=/skynet/guest.sh\nTimeoutStartSec=infinity\n";
    fs::write(units.join("guest.service"), unit)?;
    symlink("/usr/lib/systemd/system/guest.service", wanted.join("guest.service"))?;
    let archive = place.join("ours.cpio");
    pack(&tree, &archive)?;
    Ok(archive)
}

fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let line = "find . -xdev | cpio --create --format=newc --quiet";
    let made =
        Command::new("sh").args(["-c", line]).current_dir(tree).stdout(File::create(archive)?).status()?;
    ensure!(made.success(), "packing `{}` failed", tree.display());
    Ok(())
}

/// Starts it, and listens to its console until it ends.
fn boot(kernel: &Path, image: &Path, options: &Options) -> Result<()> {
    shell::step("starting the guest");
    let mut guest = Command::new("timeout");
    guest.args([
        LONGEST,
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        MEMORY,
    ]);
    guest.args(["-nographic", "-no-reboot", "-kernel"]).arg(kernel).arg("-initrd").arg(image);
    guest.args(["-append", "console=ttyS0 rdinit=/skynet/begin.sh quiet systemd.show_status=false"]);
    let mut guest = guest.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting QEMU")?;
    let console = guest.stdout.take().context("the console of the guest")?;
    let (mut is_done, mut faults) = (false, 0);
    for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        faults += u32::from(line.starts_with("FAULT"));
        is_done |= line == "guest: done";
        let is_news = ["guest:", "test ", "FAULT"].iter().any(|start| line.starts_with(start));
        if options.verbose || is_news || faults > 0 {
            println!("{line}");
        }
    }
    guest.wait()?;
    match (is_done, faults) {
        (true, 0) => Ok(()),
        (true, faults) => bail!("{faults} faults in the guest"),
        (false, _) => bail!("the guest ended before its tests; `--verbose` shows what it printed"),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("reading `{}`", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
