//! Things that `cargo xtask env up` installs. A test that needs one asks for it by name.

use std::{ffi::OsString, path::PathBuf};

/// A copy of root's Rust toolchain that every account can enter, made by `cargo xtask test`.
const RUST: &str = "/opt/skynet-env/rust";

/// Where a component lies, or `None` after saying on stderr what to run.
///
/// # Panics
/// With `SKYNET_REQUIRE_ALL=1`, so that a run that must be whole cannot be green by skipping.
#[must_use]
pub fn find(name: &str, file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SKYNET_ENV").map_or_else(default_root, PathBuf::from);
    let found = root.join(name).join(file);
    if found.exists() {
        return Some(found);
    }
    assert!(!requires_all(), "the component `{name}` is missing at `{}`", found.display());
    eprintln!("SKIP {name}: run cargo xtask env up {name}");
    None
}

/// Where programs of these tests find programs.
#[must_use]
pub fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(RUST);
    path.push("/bin");
    path
}

/// A program of `PATH` or below `/opt/skynet-env`, or `None` after saying on stderr what installs it.
///
/// # Panics
/// As [`find`].
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = path();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.exists());
    if found.is_none() {
        assert!(!requires_all(), "there is no `{name}`");
        eprintln!("SKIP {name}: `cargo xtask test` as root installs it");
    }
    found
}

/// A font of the system, or `None` after saying on stderr what installs one.
///
/// # Panics
/// As [`find`].
#[must_use]
pub fn font() -> Option<PathBuf> {
    let found = PathBuf::from("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf");
    if found.exists() {
        return Some(found);
    }
    assert!(!requires_all(), "the font `{}` is missing", found.display());
    eprintln!("SKIP font: `cargo xtask test` as root installs it");
    None
}

/// Says on stderr what a test leaves out, and why.
///
/// # Panics
/// As [`find`].
pub fn skip(what: &str, why: &str) {
    assert!(!requires_all(), "{what}: {why}");
    eprintln!("SKIP {what}: {why}");
}

pub(crate) fn requires_all() -> bool {
    std::env::var_os("SKYNET_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// A filesystem of 32 MiB that this test may fill, or `None` after saying on stderr what makes one. Tests that use it
/// run one at a time, in directories of their own.
#[must_use]
pub fn small_disk() -> Option<PathBuf> {
    let found = std::env::var_os("SKYNET_SMALL_DISK").map(PathBuf::from);
    if found.is_none() {
        eprintln!("SKIP small disk: `cargo xtask test` as root, where it may mount, makes one");
    }
    found
}

fn default_root() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".cache/skynet-env")
}
