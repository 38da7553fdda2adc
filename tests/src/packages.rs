//! Packages made of the staged programs, by the program that makes those of a release.

use crate::{components, programs::program};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// When everything in these packages was made: in 2023.
pub const EPOCH: &str = "1700000000";

/// The programs of a package.
pub const PROGRAMS: [&str; 6] =
    ["skynetd", "skynet-hands", "skynet-models", "skynet-sandbox", "skynetctl", "skynet-shim"];

/// A directory in which packages are made.
pub struct Workshop {
    xtask: PathBuf,
    directory: tempfile::TempDir,
}

impl Workshop {
    /// One whose programs are all the relay but for `skynetctl`, which writes its own manual: the smallest there are, so that
    /// packing them takes no time. `None` after saying on stderr what is missing.
    #[must_use]
    pub fn open() -> Option<Self> {
        Self::with(|name| if name == "skynetctl" { name } else { "skynet-shim" })
    }

    /// One whose programs work.
    #[must_use]
    pub fn open_working() -> Option<Self> {
        Self::with(|name| name)
    }

    fn with(standing_in: impl Fn(&str) -> &str) -> Option<Self> {
        let built = std::env::current_exe().unwrap().parent().unwrap().with_file_name("xtask");
        let Some(xtask) = [program("xtask"), built].into_iter().find(|path| path.is_file()) else {
            assert!(!components::requires_all(), "there is no `xtask`");
            eprintln!("SKIP packages: cargo build --package xtask");
            return None;
        };
        sweep();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        let programs = directory.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for name in PROGRAMS {
            fs::copy(program(standing_in(name)), programs.join(name)).unwrap();
        }
        Some(Self { xtask, directory })
    }

    /// A place in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `cargo xtask`, in what packages are made of.
    #[must_use]
    pub fn xtask(&self, source: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.xtask);
        command.args(arguments).env("SKYNET_SOURCE", source).env("SOURCE_DATE_EPOCH", EPOCH);
        command.env("PATH", components::path()).output().unwrap()
    }

    /// Makes a package of that kind; the one file that it is.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn make(&self, kind: &str, out: &str) -> PathBuf {
        let (programs, out) = (self.path("programs"), self.path(out));
        let (from, to) = (programs.to_str().unwrap(), out.to_str().unwrap());
        let made = self.xtask(&source(), &["package", kind, "--fast", "--binaries", from, "--out", to]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let files: Vec<PathBuf> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        file.clone()
    }
}

/// How workshops are called, before the process they are of.
const PREFIX: &str = "skp-";

/// Removes what runs before this one have left: what is shared by all tests of a process is not dropped at its end.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            // It may be another user's, or be swept by somebody else right now.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What packages are made of: the copy that is staged, or the checkout.
#[must_use]
pub fn source() -> PathBuf {
    let staged = program("source");
    if staged.is_dir() { staged } else { Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned() }
}

/// Runs a program; what it printed.
///
/// # Panics
/// When it fails.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let output = Command::new(program).args(arguments).env("PATH", components::path()).output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
    String::from_utf8(output.stdout).unwrap()
}

/// The permissions of a file, without its kind.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|err| panic!("{}: {err}", path.display())).permissions().mode()
        & 0o7777
}
