//! Which libraries of the system the programs need.

use crate::{build, shell};
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What Debian's own tool finds out; where there is none, the packages that Debian has had these libraries in for years.
pub(crate) fn debian(programs: &[PathBuf]) -> Result<String> {
    if !shell::has("dpkg-shlibdeps") {
        return computed(programs);
    }
    // It asks for the source of a package, of which it reads the name only.
    let source = tempfile::tempdir()?;
    fs::create_dir(source.path().join("debian"))?;
    fs::write(
        source.path().join("debian/control"),
        "Source: skynet\n\nPackage: skynet\nArchitecture: any\n",
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    command
        .current_dir(source.path())
        .arg("-O")
        .args(programs.iter().map(|path| format!("-e{}", path.display())));
    let found = shell::capture(&mut command)?;
    let depends = found.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.context("dpkg-shlibdeps found nothing")?.to_owned())
}

/// The files that the loader maps for programs in that directory, itself included, as they name them.
pub(crate) fn files(programs: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for name in build::PROGRAMS {
        let listed = shell::capture(Command::new("ldd").arg(programs.join(name)))?;
        // `libc.so.6 => /lib/libc.so.6 (0x...)`, or the path alone for the loader; the kernel's own has none.
        for line in listed.lines() {
            let path = line.split("=>").last().unwrap_or(line).split_whitespace().next();
            found.extend(path.filter(|path| path.starts_with('/')).map(PathBuf::from));
        }
    }
    Ok(found)
}

fn computed(programs: &[PathBuf]) -> Result<String> {
    let mut newest = (0, 0);
    let mut packages = BTreeSet::new();
    for path in programs {
        let program = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        newest = newest.max(newest_glibc(&program));
        for (library, package) in [("libgcc_s.so.1", "libgcc-s1"), ("libstdc++.so.6", "libstdc++6")] {
            if contains(&program, library.as_bytes()) {
                packages.insert(package);
            }
        }
    }
    let packages = packages.iter().map(|package| format!(", {package}"));
    Ok(format!("libc6 (>= {}.{}){}", newest.0, newest.1, packages.collect::<String>()))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The newest version of a symbol that a program asks glibc for (its table of strings has them, elf(5)).
fn newest_glibc(program: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(program);
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|char: char| char != '.' && !char.is_ascii_digit())?;
        let (major, minor) = rest.get(..end)?.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    });
    versions.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_counts() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.3.4\0GLIBC_PRIVATE\0"), (2, 34));
        assert_eq!(newest_glibc(b"nothing"), (0, 0));
    }
}
