//! Components that tests and benchmarks use: pinned, installed once, outside of the checkout.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command as Process,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Install components; without names, those of the tests.
    Up {
        /// Some of: python-sdk, typescript-sdk, mcp-suites, openbao, packagers, prometheus, models, docker, systemd, bench-node, bench-python, bench-models-node, bench-models-python.
        names: Vec<String>,
    },
    /// Print where they are.
    Path,
}

/// What the tests need.
const FOR_TESTS: [&str; 7] =
    ["python-sdk", "typescript-sdk", "mcp-suites", "openbao", "packagers", PROMETHEUS_NAME, MODELS_NAME];

/// The component that is a package of the system, taken apart instead of installed: no service of it is started.
const PROMETHEUS_NAME: &str = "prometheus";

/// The component that is installed as users install it.
pub(crate) const MODELS_NAME: &str = "models";
const MODELS: [&str; 3] = ["onnxruntime", "all-minilm-l6-v2", "multilingual-e5-small"];

/// What the benchmark needs.
pub(crate) const FOR_BENCH: [&str; 2] = ["bench-node", "bench-python"];

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Path => println!("{}", directory().display()),
        Command::Up { names } if names.is_empty() => up(&FOR_TESTS)?,
        Command::Up { names } => up(&names.iter().map(String::as_str).collect::<Vec<_>>())?,
    }
    Ok(())
}

/// Where components lie.
pub(crate) fn directory() -> PathBuf {
    if let Some(given) = std::env::var_os("SKYNET_ENV") {
        return given.into();
    }
    if shell::is_root() {
        return "/var/cache/skynet-env".into();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".cache/skynet-env")
}

/// What developers use, by the program and its package: the tests run them in slots. And polkit, which is asked about
/// approvals.
const TOOLCHAINS: [(&str, &str); 11] = [
    ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core"),
    ("bindfs", "bindfs"),
    ("cc", "gcc"),
    ("dbus-daemon", "dbus"),
    ("go", "golang-go"),
    ("javac", "default-jdk-headless"),
    ("make", "make"),
    ("pkttyagent", "polkitd"),
    ("pytest-3", "python3-pytest"),
    ("redis-check-rdb", "redis-tools"),
    ("ruby", "ruby"),
];

/// What packages are made and judged with.
const PACKAGERS: [(&str, &str); 6] = [
    ("dpkg-deb", "dpkg"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("lintian", "lintian"),
    ("minisign", "minisign"),
    ("mksquashfs", "squashfs-tools"),
    ("shellcheck", "shellcheck"),
];

/// A server is started when it is installed, where there is systemd; there its administrator decides, and its tests are skipped
/// without it.
const SERVERS: [(&str, &str); 1] = [("/usr/sbin/sshd", "openssh-server")];

/// A container engine that the tests start for themselves, and what an image is made of where there is no registry. As above.
const DOCKER: [(&str, &str); 6] = [
    ("/usr/sbin/dockerd", "docker.io"),
    ("containerd", "containerd"),
    ("docker-compose", "docker-compose"),
    ("iptables", "iptables"),
    ("runc", "runc"),
    ("/usr/share/doc/busybox-static/copyright", "busybox-static"),
];

/// The components that come from the system's packages.
const DOCKER_NAME: &str = "docker";
const MACHINE_NAME: &str = "systemd";

/// Installs what the tests need.
pub(crate) fn up_for_tests() -> Result<()> {
    shell::install_packages(&TOOLCHAINS)?;
    shell::install_packages(&PACKAGERS)?;
    if !Path::new("/run/systemd/system").exists() {
        shell::install_packages(&SERVERS)?;
        shell::install_packages(&DOCKER)?;
    }
    share_rust(Path::new("/opt/skynet-env/rust"))?;
    share_fuse(Path::new("/dev/fuse"))?;
    if shell::is_root() {
        plant_machine()?;
    }
    up(&FOR_TESTS)
}

/// What boots a systemd of the tests' own, and what makes its tree.
const MACHINE: [(&str, &str); 2] = [("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap")];

/// What is in the tree: systemd, its bus, managers for users, who decides what they may, and who changes packages for them.
const TREE: &str = "systemd,systemd-sysv,dbus,dbus-user-session,iproute2,libpam-systemd,libnss-systemd,packagekit,polkitd,procps";

/// Makes the tree of a machine that the tests boot, of this host's own release.
fn plant_machine() -> Result<()> {
    shell::install_packages(&MACHINE)?;
    let target = directory().join(MACHINE_NAME);
    let stamp = target.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == TREE) {
        shell::step("systemd: there");
        return Ok(());
    }
    shell::step(&format!("systemd: installing into {}", target.display()));
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("removing `{}`", target.display()))?;
    }
    fs::create_dir_all(&target).with_context(|| format!("making `{}`", target.display()))?;
    let release = fs::read_to_string("/etc/os-release")?;
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let release = release.context("/etc/os-release names no release of Debian or Ubuntu")?;
    shell::run(
        Process::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", &format!("--include={TREE}"), release])
            .arg(target.join("tree")),
    )?;
    Ok(fs::write(stamp, TREE)?)
}

/// For everybody, as udev has it where there is udev; some hosts have none of it at all.
fn share_fuse(device: &Path) -> Result<()> {
    if device.exists() {
        fs::set_permissions(device, fs::Permissions::from_mode(0o666))?;
    }
    Ok(())
}

/// Root's own toolchain, where other accounts can use it. It takes no room: the files are the same.
fn share_rust(target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let asked = Process::new("rustc").args(["--print", "sysroot"]).output().context("asking rustc")?;
    let sysroot = String::from_utf8(asked.stdout)?;
    let new = target.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    let copy = |how: &str| shell::run(Process::new("cp").arg(how).arg(sysroot.trim()).arg(&new));
    // On another filesystem it is a real copy.
    copy("-al").or_else(|_| copy("-a"))?;
    Ok(fs::rename(new, target)?)
}

/// Installs components that are missing or of another version.
pub(crate) fn up(names: &[&str]) -> Result<()> {
    shell::install_packages(&[("git", "git"), ("node", "nodejs"), ("npm", "npm")])?;
    for name in names {
        match *name {
            DOCKER_NAME => {
                shell::install_packages(&DOCKER)?;
                continue;
            }
            MACHINE_NAME => {
                plant_machine()?;
                continue;
            }
            PROMETHEUS_NAME => {
                unpack(PROMETHEUS_NAME, &directory().join(PROMETHEUS_NAME))?;
                continue;
            }
            MODELS_NAME => {
                install_models(&directory().join(MODELS_NAME))?;
                continue;
            }
            _ => {}
        }
        let source = crate::root().join("tests/components").join(name);
        let target = directory().join(name);
        let is_node = source.join("package-lock.json").exists();
        let pin = source.join(if is_node { "package-lock.json" } else { "requirements.txt" });
        let wanted = fs::read_to_string(&pin)
            .with_context(|| format!("`{name}` is no component: `{}`", pin.display()))?;
        let stamp = target.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            shell::step(&format!("{name}: there"));
            continue;
        }
        shell::step(&format!("{name}: installing into {}", target.display()));
        // What an earlier version left would mix with this one.
        if target.exists() {
            fs::remove_dir_all(&target).with_context(|| format!("removing `{}`", target.display()))?;
        }
        fs::create_dir_all(&target).with_context(|| format!("making `{}`", target.display()))?;
        if is_node {
            install_node(&source, &target)?;
        } else {
            install_python(&pin, &target)?;
        }
        crate::build::make_readable(&target)?;
        fs::write(&stamp, wanted)?;
    }
    Ok(())
}

/// Takes a package of the system apart.
fn unpack(package: &str, target: &Path) -> Result<()> {
    if target.join("usr").exists() {
        shell::step(&format!("{package}: there"));
        return Ok(());
    }
    shell::step(&format!("{package}: installing into {}", target.display()));
    fs::create_dir_all(target).with_context(|| format!("making `{}`", target.display()))?;
    let room = tempfile::tempdir()?;
    let download =
        || shell::run(Process::new("apt-get").args(["download", package]).current_dir(room.path()));
    if download().is_err() {
        // The lists of a fresh machine are empty.
        shell::run(Process::new("apt-get").args(["update", "--quiet=2"]))?;
        download()?;
    }
    for entry in fs::read_dir(room.path())? {
        shell::run(Process::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(target))?;
    }
    crate::build::make_readable(target)
}

/// What `skynetctl models install` installs, from the index that this host's pip asks, by the program that runs them.
fn install_models(target: &Path) -> Result<()> {
    if MODELS.iter().all(|id| target.join(id).join("installed.json").exists()) {
        shell::step("models: there");
        return Ok(());
    }
    shell::step(&format!("models: installing into {}", target.display()));
    let built = crate::build::cargo(&["build", "--workspace", "--bins"])?;
    let program = built.iter().find(|program| program.name == "skynet-models").context("skynet-models")?;
    shell::run(Process::new(&program.path).arg("install").arg(target))?;
    crate::build::make_readable(target)
}

fn install_node(source: &Path, target: &Path) -> Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        fs::copy(entry.path(), target.join(entry.file_name()))?;
    }
    shell::run(
        Process::new("npm")
            .args(["ci", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"])
            .current_dir(target),
    )
}

fn install_python(pin: &Path, target: &Path) -> Result<()> {
    // The system's interpreter, because a test account cannot enter the home of a user's own.
    let python = Path::new("/usr/bin/python3");
    if !python.exists() || !Path::new("/usr/lib/python3").exists() {
        shell::install_packages(&[("/usr/bin/python3", "python3")])?;
    }
    let made = Process::new(python).args(["-m", "venv"]).arg(target).status()?;
    if !made.success() {
        if !shell::is_root() {
            bail!("python3 cannot make a virtual environment; run: sudo apt-get install --yes python3-venv");
        }
        shell::run(Process::new("apt-get").args(["update", "--quiet=2"]))?;
        shell::run(Process::new("apt-get").args([
            "install",
            "--yes",
            "--no-install-recommends",
            "python3-venv",
        ]))?;
        shell::run(Process::new(python).args(["-m", "venv", "--clear"]).arg(target))?;
    }
    shell::run(
        Process::new(target.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(pin),
    )
}
